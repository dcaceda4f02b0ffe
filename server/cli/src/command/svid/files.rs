//! An X509-SVID as files: `svid.pem`, `key.pem` and `bundle.pem` in one folder.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use hallmark_host::{Foreign, Purpose, make_folder};
use zeroize::Zeroizing;

use super::MintError;
use crate::error::CliError;

const FOLDER_MODE: u32 = 0o755;
const PUBLIC_MODE: u32 = 0o644;
const KEY_MODE: u32 = 0o600;

/// A folder that an SVID goes into.
pub(super) struct SvidFolder {
    path: PathBuf,
    replace: bool,
}

/// What goes into it, PEM.
pub(super) struct SvidFiles {
    pub(super) chain: String,
    /// `None` where somebody else has it.
    pub(super) key: Option<Zeroizing<String>>,
    pub(super) bundle: String,
}

/// A file that is whole, under a name of its own until it is placed.
struct Staged {
    from: PathBuf,
    to: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Where it was renamed there is none left.
        let _ = fs::remove_file(&self.from);
    }
}

impl SvidFolder {
    /// Makes the folder where it is missing, and looks whether an SVID, `with_key` or without, can be written there: before one is
    /// asked for.
    ///
    /// # Errors
    /// When others could change what is in it, or a file is there that is not to be replaced.
    pub(super) fn open(path: &Path, replace: bool, with_key: bool) -> Result<Self, CliError> {
        let found = make_folder(path, FOLDER_MODE, Purpose::Files).map_err(failed(path))?;
        if let Some(Foreign { place, why }) = found {
            let why = format!("{}: {why}", place.display());
            let folder = path.to_owned();
            return Err(MintError::Exposed { folder, why }.into());
        }
        let folder = Self {
            path: path.to_owned(),
            replace,
        };
        for name in ["svid.pem", "key.pem", "bundle.pem"] {
            let file = folder.path.join(name);
            // A key that stays would lie beside the certificate of another one.
            let may_go = replace && (with_key || name != "key.pem");
            match fs::symlink_metadata(&file) {
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Ok(found) if may_go && found.is_file() => {}
                Ok(_) => return Err(MintError::Occupied { file }.into()),
                Err(cause) => return Err(CliError::Write { file, cause }),
            }
        }
        Ok(folder)
    }

    /// Writes the files: each is there whole or not at all, and the certificate comes last. Gives their paths.
    ///
    /// # Errors
    /// When the file system refuses, or a file has come meanwhile. Then nothing is left that was not there before, unless files
    /// were to be replaced.
    pub(super) fn write(&self, files: &SvidFiles) -> Result<Vec<PathBuf>, CliError> {
        let mut staged = vec![self.stage("bundle.pem", files.bundle.as_bytes(), PUBLIC_MODE)?];
        if let Some(key) = &files.key {
            staged.push(self.stage("key.pem", key.as_bytes(), KEY_MODE)?);
        }
        staged.push(self.stage("svid.pem", files.chain.as_bytes(), PUBLIC_MODE)?);
        let mut placed = Vec::new();
        for file in &staged {
            if let Err(error) = self.place(file) {
                if !self.replace {
                    placed.iter().for_each(|path| drop(fs::remove_file(path)));
                }
                return Err(error);
            }
            placed.push(file.to.clone());
        }
        drop(staged);
        let kept = File::open(&self.path).and_then(|folder| folder.sync_all());
        kept.map_err(failed(&self.path))?;
        Ok(placed)
    }

    fn stage(&self, name: &str, content: &[u8], mode: u32) -> Result<Staged, CliError> {
        let from = self.path.join(format!(".{name}.{}", std::process::id()));
        // Nobody else reads it, not even for a moment.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(KEY_MODE);
        let mut file = options.open(&from).map_err(failed(&from))?;
        let staged = Staged {
            from,
            to: self.path.join(name),
        };
        let mut write = || {
            file.write_all(content)?;
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()
        };
        write().map_err(failed(&staged.from))?;
        Ok(staged)
    }

    fn place(&self, file: &Staged) -> Result<(), CliError> {
        let done = if self.replace {
            fs::rename(&file.from, &file.to)
        } else {
            // A link takes the place of nothing.
            fs::hard_link(&file.from, &file.to)
        };
        done.map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => MintError::Occupied { file: file.to.clone() }.into(),
            _ => CliError::Write {
                file: file.to.clone(),
                cause,
            },
        })
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    let file = path.to_owned();
    move |cause| CliError::Write { file, cause }
}
