//! Identities as files.
//!
//! Each state has a folder of its own, which is complete before `current` leads to it and never changes afterwards:
//! whoever looks for both files through one folder has a key that fits its certificate. The names beside it (`svid.pem`
//! and so on) are links into `current`. The state before stays until the next change, for who is reading it.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use hallmark_host::{Foreign, Purpose, make_folder};
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use super::{ApiError, X509Context, pem};

/// The link to the folder of the state that counts.
const CURRENT: &str = "current";
/// What the folders of states are called, before their number.
const STATE: &str = "state-";
const FOLDER_MODE: u32 = 0o755;
const PUBLIC_MODE: u32 = 0o644;
const KEY_MODE: u32 = 0o600;

/// A folder that this process alone writes identities into.
#[derive(Debug)]
pub(super) struct SvidFolder {
    path: PathBuf,
    /// Locked as long as it is open.
    handle: File,
}

struct Content {
    name: String,
    text: Zeroizing<String>,
    mode: u32,
}

impl SvidFolder {
    /// Opens the folder, and makes it where it is missing.
    ///
    /// # Errors
    /// When others could change what is in it, another process writes there, or the filesystem refuses.
    pub(super) fn open(path: &Path) -> Result<Self, ApiError> {
        let path = std::path::absolute(path).map_err(failed("find", path))?;
        let made = make_folder(&path, FOLDER_MODE, Purpose::Files).map_err(failed("make the folder", &path))?;
        if let Some(Foreign { place, why }) = made {
            let why = format!("{}: {why}", place.display());
            return Err(ApiError::Exposed { folder: path, why });
        }
        let handle = File::open(&path).map_err(failed("open", &path))?;
        match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, handle }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(ApiError::Locked { folder: path }),
            Err(error) => Err(failed("lock", &path)(error.into())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the identities, unless they are there already; says whether anything changed.
    ///
    /// # Errors
    /// When something else is in the way, or the filesystem refuses: then what was there before still counts.
    pub(super) fn write(&self, context: &X509Context) -> Result<bool, ApiError> {
        let contents = contents(context);
        let names: BTreeSet<&str> = contents.iter().map(|content| content.name.as_str()).collect();
        self.check_ways(&names)?;
        if self.holds(&contents, &names) {
            return Ok(false);
        }
        let before = fs::read_link(self.path.join(CURRENT)).ok();
        let number = self.states()?.into_iter().max().unwrap_or(0) + 1;
        let state = format!("{STATE}{number}");
        self.fill(&self.path.join(&state), &contents)?;
        self.lead("current", Path::new(&state))?;
        for name in &names {
            let target = Path::new(CURRENT).join(name);
            if fs::read_link(self.path.join(name)).ok().as_ref() != Some(&target) {
                self.lead(name, &target)?;
            }
        }
        for left in self.links()?.iter().filter(|link| !names.contains(link.as_str())) {
            let link = self.path.join(left);
            fs::remove_file(&link).map_err(failed("remove", &link))?;
        }
        self.sync(&self.handle, &self.path)?;
        let kept = before.and_then(|before| number_of(&before.to_string_lossy()));
        for old in self
            .states()?
            .into_iter()
            .filter(|old| *old != number && Some(*old) != kept)
        {
            let old = self.path.join(format!("{STATE}{old}"));
            fs::remove_dir_all(&old).map_err(failed("remove", &old))?;
        }
        Ok(true)
    }

    /// Where a link is to stand, nothing else may.
    fn check_ways(&self, names: &BTreeSet<&str>) -> Result<(), ApiError> {
        for name in names.iter().chain([&CURRENT]) {
            let path = self.path.join(name);
            match fs::symlink_metadata(&path) {
                Ok(found) if !found.file_type().is_symlink() => return Err(ApiError::InTheWay { path }),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed("look at", &path)(error)),
            }
        }
        Ok(())
    }

    /// Whether exactly this is what counts.
    fn holds(&self, contents: &[Content], names: &BTreeSet<&str>) -> bool {
        let link = |name: &str| fs::read_link(self.path.join(name)).ok();
        let there = |content: &Content| {
            let read = fs::read(self.path.join(CURRENT).join(&content.name)).map(Zeroizing::new);
            read.is_ok_and(|read| *read == *content.text.as_bytes())
                && link(&content.name) == Some(Path::new(CURRENT).join(&content.name))
        };
        let links = self.links().unwrap_or_default();
        contents.iter().all(there) && links.iter().all(|link| names.contains(link.as_str()))
    }

    /// Makes the folder of a state, whole.
    fn fill(&self, state: &Path, contents: &[Content]) -> Result<(), ApiError> {
        DirBuilder::new()
            .mode(0o700)
            .create(state)
            .map_err(failed("make the folder", state))?;
        for content in contents {
            let path = state.join(&content.name);
            let write = || {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(KEY_MODE)
                    .open(&path)?;
                file.write_all(content.text.as_bytes())?;
                // The umask took some away.
                file.set_permissions(Permissions::from_mode(content.mode))?;
                file.sync_all()
            };
            write().map_err(failed("write", &path))?;
        }
        fs::set_permissions(state, Permissions::from_mode(FOLDER_MODE)).map_err(failed("open up", state))?;
        let handle = File::open(state).map_err(failed("open", state))?;
        self.sync(&handle, state)
    }

    fn sync(&self, handle: &File, path: &Path) -> Result<(), ApiError> {
        handle.sync_all().map_err(failed("keep", path))
    }

    /// Puts a link in place, in one step.
    fn lead(&self, name: &str, target: &Path) -> Result<(), ApiError> {
        let (link, new) = (self.path.join(name), self.path.join(format!(".{name}.new")));
        let swap = || {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            symlink(target, &new)?;
            fs::rename(&new, &link)
        };
        swap().map_err(failed("link", &link))
    }

    /// The links into what counts.
    fn links(&self) -> Result<Vec<String>, ApiError> {
        let entries = fs::read_dir(&self.path).map_err(failed("list", &self.path))?;
        let links = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let target = fs::read_link(self.path.join(&name)).ok()?;
            target.starts_with(CURRENT).then_some(name)
        });
        Ok(links.collect())
    }

    /// The numbers of all states.
    fn states(&self) -> Result<Vec<u64>, ApiError> {
        let entries = fs::read_dir(&self.path).map_err(failed("list", &self.path))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| number_of(&name)).collect())
    }
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(STATE)?.parse().ok()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ApiError {
    move |error| ApiError::Filesystem {
        action,
        path: path.to_owned(),
        detail: error.to_string(),
    }
}

/// The files of an answer: those of the default identity without a number.
fn contents(context: &X509Context) -> Vec<Content> {
    let mut contents = Vec::with_capacity(context.svids.len() * 3);
    for (place, svid) in context.svids.iter().enumerate() {
        let [mut chain, mut key, mut bundle] = [(); 3].map(|()| Zeroizing::new(String::new()));
        for certificate in &svid.chain {
            pem::write("CERTIFICATE", certificate, &mut chain);
        }
        pem::write("PRIVATE KEY", &svid.key, &mut key);
        for certificate in &svid.bundle {
            pem::write("CERTIFICATE", certificate, &mut bundle);
        }
        let parts = [
            ("svid", chain, PUBLIC_MODE),
            ("key", key, KEY_MODE),
            ("bundle", bundle, PUBLIC_MODE),
        ];
        contents.extend(parts.map(|(what, text, mode)| Content {
            name: match place {
                0 => format!("{what}.pem"),
                _ => format!("{what}.{place}.pem"),
            },
            text,
            mode,
        }));
    }
    contents
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
