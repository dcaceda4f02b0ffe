//! The admin socket: whoever the file's permissions let in administers the server.

mod bound;
mod connection;

use std::{future::Future, path::Path};

use tokio_stream::{StreamExt as _, wrappers::UnixListenerStream};
use tonic::service::Routes;

pub(crate) use self::bound::BoundFile;
use self::connection::AdminConnection;
use super::{
    grpc,
    unix::{Access, BoundSocket},
};
use crate::{caller::AuthoriseLayer, errors::StartError};

/// Folder and socket are for the server's user and group.
const ACCESS: Access = Access {
    what: "admin socket",
    folder: 0o750,
    socket: 0o770,
};

/// The bound socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct AdminSocket(BoundSocket);

impl AdminSocket {
    /// Makes the folder where it is missing, removes what a dead server left, and binds. Call within a runtime.
    ///
    /// # Errors
    /// When another server listens there, something else has the path, or it cannot be bound.
    pub fn bind(path: &Path) -> Result<Self, StartError> {
        BoundSocket::bind(path, ACCESS).map(Self)
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
        let BoundSocket { listener, file } = self.0;
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use hallmark_reason::Coded as _;

    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_permissions_are_narrow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin").join("admin.sock");
        fs::create_dir(folder.path().join("admin")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = AdminSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, ACCESS.socket);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_missing_folder_is_made_for_its_group_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("admin.sock");
        let _socket = AdminSocket::bind(&path).unwrap();
        assert_eq!(
            fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777,
            ACCESS.folder
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
