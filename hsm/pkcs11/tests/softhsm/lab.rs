//! A folder with tokens, and the child process that a test runs in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use hallmark_hsm::HsmError;
use hallmark_pkcs11::{Pkcs11Config, Pkcs11KeyStore, TokenSelector};
use secrecy::SecretString;

pub(crate) const PIN: &str = "correct-horse";
pub(crate) const SO_PIN: &str = "security-officer";
pub(crate) const LABEL: &str = "hallmark";
const INSIDE: &str = "HALLMARK_PKCS11_TEST_FOLDER";

/// Runs `body` in a child process whose SoftHSM has its own configuration. `name` is the test's full name.
pub(crate) fn isolated(name: &str, body: impl FnOnce(Lab)) {
    isolated_with(name, |_| Vec::new(), body);
}

/// As [`isolated`], with variables that are made from the folder.
pub(crate) fn isolated_with(
    name: &str,
    variables: impl FnOnce(&Path) -> Vec<(&'static str, PathBuf)>,
    body: impl FnOnce(Lab),
) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        body(Lab {
            folder: PathBuf::from(folder),
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tokens")).unwrap();
    let conf = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
        folder.path().join("tokens").display()
    );
    fs::write(folder.path().join("softhsm2.conf"), conf).unwrap();
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("SOFTHSM2_CONF", folder.path().join("softhsm2.conf"))
        .env(INSIDE, folder.path())
        .envs(variables(folder.path()))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stdout);
    let erred = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}\n{told}\n{erred}", out.status);
    assert!(told.contains("1 passed"), "{name} did not run: {told}");
    for line in told.lines().filter(|line| line.starts_with("measured:")) {
        println!("{line}");
    }
}

/// The folder, seen from inside the child process.
pub(crate) struct Lab {
    folder: PathBuf,
}

impl Lab {
    pub(crate) fn with_token(self) -> Self {
        self.init_token(LABEL);
        self
    }

    pub(crate) fn init_token(&self, label: &str) {
        ok(Command::new("softhsm2-util").args([
            "--init-token",
            "--free",
            "--label",
            label,
            "--pin",
            PIN,
            "--so-pin",
            SO_PIN,
        ]));
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// `pkcs11-tool` with the token; a program of its own, so it cannot share our login.
    pub(crate) fn pkcs11_tool(&self, args: &[&str]) -> Output {
        Command::new("pkcs11-tool")
            .arg("--module")
            .arg(module())
            .args(args)
            .output()
            .unwrap()
    }

    /// The token's flags as `pkcs11-tool` shows them.
    pub(crate) fn token_flags(&self) -> String {
        let out = self.pkcs11_tool(&["--list-token-slots"]);
        String::from_utf8_lossy(&out.stdout)
            .lines()
            .find(|line| line.trim_start().starts_with("token flags"))
            .unwrap()
            .to_owned()
    }

    /// Any other program logs in with the right PIN, which sets the token's counter back.
    pub(crate) fn another_program_logs_in(&self, pin: &str) {
        let out = self.pkcs11_tool(&["--token-label", LABEL, "--login", "--pin", pin, "-O"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

pub(crate) fn module() -> PathBuf {
    [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
    .expect("SoftHSM is installed")
}

pub(crate) fn config(pin: &str, sessions: usize) -> Pkcs11Config {
    Pkcs11Config::new(
        module(),
        TokenSelector::labelled(LABEL),
        SecretString::from(pin),
        sessions,
    )
}

pub(crate) fn open(pin: &str) -> Result<Pkcs11KeyStore, HsmError> {
    Pkcs11KeyStore::open(config(pin, 2))
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
        .block_on(async {
            tokio::time::timeout(Duration::from_secs(120), future)
                .await
                .expect("the test ends in time")
        })
}

pub(crate) fn ok(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path) } else { vec![path] }
        })
        .collect()
}
