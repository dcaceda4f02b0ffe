//! Unix sockets: bound where nobody else can put another in their place.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener as BlockingListener, UnixStream as BlockingStream},
    },
    path::{Path, PathBuf},
};

use hallmark_host::{Foreign, Purpose, make_folder};
use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with},
};
use tokio::net::UnixListener;

use crate::errors::StartError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Who may use a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    /// What the socket is called: "admin socket".
    pub(crate) what: &'static str,
    /// The mode of its folder, where that is made.
    pub(crate) folder: u32,
    /// The mode of the socket.
    pub(crate) socket: u32,
}

/// A bound socket; its file goes when it is dropped.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    pub(crate) listener: UnixListener,
    pub(crate) file: SocketFile,
}

/// The file of a bound socket.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "a socket's file was gone before");
        }
    }
}

impl BoundSocket {
    /// Makes the folder where it is missing, removes what a dead server left, and binds. Call within a runtime.
    ///
    /// # Errors
    /// When another server listens there, something else has the path, or it cannot be bound.
    pub(crate) fn bind(path: &Path, access: Access) -> Result<Self, StartError> {
        let what = access.what;
        let fault = |error: io::Error| StartError::SocketUnusable {
            what,
            path: path.to_owned(),
            cause: error.to_string(),
        };
        // Who may write there could put a socket of its own in this one's place, and hear what is said to it.
        let folder = path.parent().unwrap_or(path);
        if let Some(Foreign { place, why }) = make_folder(folder, access.folder, Purpose::OneEntry).map_err(fault)? {
            return Err(StartError::SocketExposed {
                what,
                path: path.to_owned(),
                exposed: format!("{}: {why}", place.display()),
            });
        }
        remove_stale(what, path)?;
        let listener = listen(path, access.socket).map_err(fault)?;
        let file = SocketFile(path.to_owned());
        // The umask took some away.
        fs::set_permissions(path, fs::Permissions::from_mode(access.socket)).map_err(fault)?;
        Ok(Self { listener, file })
    }
}

/// Binds a socket that is never open to more than its mode says: it has the mode before it has a name.
fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::from_raw_mode(mode))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(BlockingListener::from(socket))
}

fn remove_stale(what: &'static str, path: &Path) -> Result<(), StartError> {
    let taken = |by| StartError::SocketTaken {
        what,
        path: path.to_owned(),
        by,
    };
    let fault = |error: io::Error| StartError::SocketUnusable {
        what,
        path: path.to_owned(),
        cause: error.to_string(),
    };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault(error)),
    };
    if !found.file_type().is_socket() {
        return Err(taken("a file that is not a socket"));
    }
    match BlockingStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(fault),
        // Whoever is there, or cannot be asked, is not pushed aside.
        _ => Err(taken("another process that listens on it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODE: u32 = 0o770;

    #[tokio::test]
    async fn the_socket_is_never_open_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let _listener = listen(&path, MODE).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !MODE, 0, "{mode:o} as it is bound");
        // The control: what a socket is given that nobody sets the mode of.
        let other = folder.path().join("other.sock");
        let _other = BlockingListener::bind(&other).unwrap();
        let mode = fs::metadata(&other).unwrap().permissions().mode() & 0o777;
        assert_ne!(mode & !MODE, 0, "{mode:o}");
    }
}
