//! SoftHSM answers a missing configuration or token folder with nothing but `GeneralError`: which of them it is can be seen
//! from here.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

const VARIABLE: &str = "SOFTHSM2_CONF";
const DEFAULT: &str = "/etc/softhsm2.conf";

/// What SoftHSM's configuration lacks; `None` where it lacks nothing, or the module is another.
pub(crate) fn lacks(module: &Path) -> Option<String> {
    let name = module.file_name()?.to_str()?;
    if !name.contains("softhsm") {
        return None;
    }
    let conf = env::var_os(VARIABLE).map_or_else(default_conf, PathBuf::from);
    missing(&conf)
}

/// As SoftHSM looks for it: the user's own before the machine's.
fn default_conf() -> PathBuf {
    let own = env::home_dir().map(|home| home.join(".config/softhsm2/softhsm2.conf"));
    own.filter(|path| path.exists()).unwrap_or_else(|| DEFAULT.into())
}

fn missing(conf: &Path) -> Option<String> {
    let cannot = |what: &str, path: &Path, error: &io::Error| format!("{what} {}: {error}", path.display());
    let text = match fs::read_to_string(conf) {
        Ok(text) => text,
        Err(error) => return Some(cannot("SoftHSM's configuration (SOFTHSM2_CONF)", conf, &error)),
    };
    let folder = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "directories.tokendir").then(|| PathBuf::from(value.trim()))
    });
    let Some(folder) = folder else {
        return Some(format!("{} names no directories.tokendir", conf.display()));
    };
    let read = fs::read_dir(&folder);
    read.err()
        .map(|error| cannot("SoftHSM's token folder (directories.tokendir)", &folder, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lack_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (conf, tokens) = (folder.path().join("softhsm2.conf"), folder.path().join("tokens"));
        let told = missing(&conf).unwrap();
        assert!(
            told.contains("configuration") && told.contains("softhsm2.conf"),
            "{told}"
        );
        fs::write(&conf, "log.level = ERROR\n").unwrap();
        assert!(missing(&conf).unwrap().contains("names no directories.tokendir"));
        fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
        let told = missing(&conf).unwrap();
        assert!(told.contains("token folder") && told.contains("/tokens: "), "{told}");
        fs::create_dir(&tokens).unwrap();
        assert_eq!(missing(&conf), None);
        assert_eq!(lacks(Path::new("/usr/lib/other.so")), None);
    }
}
