//! The admin socket: whoever the file's permissions let in administers the server.

mod bound;
mod connection;

use std::{
    fs,
    future::Future,
    io,
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
use tokio_stream::{StreamExt as _, wrappers::UnixListenerStream};
use tonic::service::Routes;

pub(crate) use self::bound::BoundFile;
use self::connection::AdminConnection;
use super::grpc;
use crate::{caller::AuthoriseLayer, errors::StartError};

/// The folder is for the server's user and group.
const FOLDER_MODE: u32 = 0o750;
/// So is the socket.
const SOCKET_MODE: u32 = 0o770;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// The bound socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the admin socket's file was gone before");
        }
    }
}

impl AdminSocket {
    /// Makes the folder where it is missing, removes what a dead server left, and binds. Call within a runtime.
    ///
    /// # Errors
    /// When another server listens there, something else has the path, or it cannot be bound.
    pub fn bind(path: &Path) -> Result<Self, StartError> {
        let fault = |error: io::Error| StartError::SocketUnusable {
            path: path.to_owned(),
            cause: error.to_string(),
        };
        // Who may write there could put a socket of its own in this one's place, and hear what operators say.
        let folder = path.parent().unwrap_or(path);
        if let Some(Foreign { place, why }) = make_folder(folder, FOLDER_MODE, Purpose::OneEntry).map_err(fault)? {
            return Err(StartError::SocketExposed {
                path: path.to_owned(),
                exposed: format!("{}: {why}", place.display()),
            });
        }
        remove_stale(path)?;
        let listener = listen(path).map_err(fault)?;
        let file = SocketFile(path.to_owned());
        // The umask took some away.
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(fault)?;
        Ok(Self { listener, file })
    }

    /// Serves until `stop` is done, then until open requests are.
    ///
    /// # Errors
    /// When the listener fails as a whole.
    pub async fn serve(
        self,
        routes: Routes,
        authorise: AuthoriseLayer,
        stop: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let Self { listener, file } = self;
        let connections = UnixListenerStream::new(listener).map(|accepted| accepted.map(AdminConnection::new));
        let served = grpc()
            .layer(authorise)
            .add_routes(routes)
            .serve_with_incoming_shutdown(connections, stop)
            .await;
        drop(file);
        served
    }
}

/// Binds a socket that is never open to more than its mode says: it has the mode before it has a name.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(BlockingListener::from(socket))
}

fn remove_stale(path: &Path) -> Result<(), StartError> {
    let taken = |by| StartError::SocketTaken {
        path: path.to_owned(),
        by,
    };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(StartError::SocketUnusable {
                path: path.to_owned(),
                cause: error.to_string(),
            });
        }
    };
    if !found.file_type().is_socket() {
        return Err(taken("a file that is not a socket"));
    }
    match BlockingStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| StartError::SocketUnusable {
                path: path.to_owned(),
                cause: error.to_string(),
            })
        }
        // Whoever is there, or cannot be asked, is not pushed aside.
        _ => Err(taken("another process that listens on it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_reason::Coded as _;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_permissions_are_narrow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin").join("admin.sock");
        fs::create_dir(folder.path().join("admin")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = AdminSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_socket_is_never_open_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let _listener = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !SOCKET_MODE, 0, "{mode:o} as it is bound");
        // The control: what a socket is given that nobody sets the mode of.
        let other = folder.path().join("other.sock");
        let _other = BlockingListener::bind(&other).unwrap();
        let mode = fs::metadata(&other).unwrap().permissions().mode() & 0o777;
        assert_ne!(mode & !SOCKET_MODE, 0, "{mode:o}");
    }

    #[tokio::test]
    async fn a_missing_folder_is_made_for_its_group_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("admin.sock");
        let _socket = AdminSocket::bind(&path).unwrap();
        assert_eq!(
            fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777,
            FOLDER_MODE
        );
    }

    #[tokio::test]
    async fn a_taken_path_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let first = AdminSocket::bind(&path).unwrap();
        assert_eq!(AdminSocket::bind(&path).unwrap_err().code().as_str(), "HM-SRV-0002");
        assert!(path.exists());
        drop(first);
        fs::write(&path, "precious").unwrap();
        assert_eq!(AdminSocket::bind(&path).unwrap_err().code().as_str(), "HM-SRV-0002");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
        assert!(AdminSocket::bind(&path).is_ok());
    }

    #[tokio::test]
    async fn a_folder_that_others_may_write_to_gets_no_socket_unless_it_is_sticky() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("open").join("admin.sock");
        fs::create_dir(folder.path().join("open")).unwrap();
        for (mode, taken) in [(0o777, false), (0o1777, true), (0o755, true)] {
            fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(mode)).unwrap();
            match AdminSocket::bind(&path) {
                Ok(_) => assert!(taken, "{mode:o}"),
                Err(error) => assert_eq!((error.code().as_str(), taken), ("HM-SRV-0019", false), "{mode:o}"),
            }
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_has_its_code() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x".repeat(120));
        assert_eq!(AdminSocket::bind(&path).unwrap_err().code().as_str(), "HM-SRV-0003");
    }
}
