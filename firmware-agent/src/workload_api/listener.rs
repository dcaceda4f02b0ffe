//! The socket: where it is, who may open it, and what to do with one that is left over.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use hallmark_host::{Foreign, Purpose, make_folder};
use hallmark_workload::{UnixAttestor, tell_senders};
use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tokio::net::UnixListener;

use super::ListenError;
use crate::socket_path::socket_path;

/// Who may connect is everybody: who gets what is decided by attestation (Workload Endpoint, section 5).
const SOCKET_MODE: u32 = 0o777;
const FOLDER_MODE: u32 = 0o755;
/// Connections that may wait to be accepted; no more than net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A bound Workload API socket. Dropping it removes the socket file, if it still is this one.
#[derive(Debug)]
pub struct Listener {
    socket: StdListener,
    path: PathBuf,
    /// The file that the agent made, which goes with it. What the service manager made stays.
    file: Option<(u64, u64)>,
}

impl Listener {
    /// Binds the socket, making its folder (mode 0755) if there is none. A socket that is left over and
    /// that nobody listens on is removed.
    ///
    /// # Errors
    /// When somebody listens there already, something else is in the way, or the filesystem refuses.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        Self::bind_with(path, |_| Ok(()))
    }

    /// As [`Listener::bind`]; where the attestor reads binaries, the kernel tells the writer of whatever arrives.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn bind_for(path: &Path, attestor: &UnixAttestor) -> Result<Self, ListenError> {
        Self::bind_with(path, |socket| match attestor.reads_binaries() {
            true => tell_senders(socket),
            false => Ok(()),
        })
    }

    /// Takes the socket that the service manager listens on for the agent (sd_listen_fds(3)), where there is one; workloads
    /// that ask while the agent restarts wait in its queue. Binds it as [`Listener::bind_for`] where there is none.
    ///
    /// # Errors
    /// What was handed over is not a socket that listens at `path`, or, where the attestor reads binaries, the kernel does not
    /// tell the writers of what waits there; or as [`Listener::bind`].
    pub fn take_or_bind(path: &Path, attestor: &UnixAttestor) -> Result<Self, ListenError> {
        let mut handed = ListenFd::from_env();
        match handed.len() {
            0 => Self::bind_for(path, attestor),
            1 => {
                let socket = handed
                    .take_unix_listener(0)
                    .map_err(|error| ListenError::handed(path, error))?;
                let socket = socket.ok_or_else(|| ListenError::handed(path, "it is gone"))?;
                Self::of_handed(socket, path, attestor.reads_binaries())
            }
            more => Err(ListenError::handed(path, format!("there are {more} of them"))),
        }
    }

    fn of_handed(socket: StdListener, path: &Path, tells_senders: bool) -> Result<Self, ListenError> {
        let path = socket_path(&path.to_string_lossy())?;
        let failed = |error: io::Error| ListenError::handed(&path, error);
        let address = socket.local_addr().map_err(failed)?;
        if address.as_pathname() != Some(&path) {
            return Err(ListenError::handed(&path, format!("it is at {address:?}")));
        }
        if !sockopt::socket_acceptconn(&socket).map_err(|error| failed(error.into()))? {
            return Err(ListenError::handed(&path, "it does not listen"));
        }
        // Set now, it would not hold for connections that wait already.
        if tells_senders && !sockopt::socket_passcred(&socket).map_err(|error| failed(error.into()))? {
            return Err(ListenError::handed(&path, "its unit lacks PassCredentials=yes"));
        }
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            socket,
            path,
            file: None,
        })
    }

    fn bind_with(path: &Path, prepare: impl FnOnce(&OwnedFd) -> io::Result<()>) -> Result<Self, ListenError> {
        let path = socket_path(&path.to_string_lossy())?;
        let failed = |action| {
            let path = path.clone();
            move |source| ListenError::Filesystem { action, path, source }
        };
        if let Some(folder) = path.parent() {
            // Who may write there could also have the mode of a file of its choice changed below.
            if let Some(Foreign { place, why }) =
                make_folder(folder, FOLDER_MODE, Purpose::OneEntry).map_err(failed("make the folder of"))?
            {
                return Err(ListenError::Exposed { path, place, why });
            }
        }
        clear(&path)?;
        let socket = listening(&path, prepare).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken { path: path.clone() },
            _ => failed("bind")(source),
        })?;
        fs::set_permissions(&path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed("set the mode of"))?;
        let metadata = fs::symlink_metadata(&path).map_err(failed("look at"))?;
        let file = Some((metadata.dev(), metadata.ino()));
        Ok(Self { socket, path, file })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, registered with the tokio runtime that this is called on.
    pub(super) fn socket(&self) -> io::Result<UnixListener> {
        UnixListener::from_std(self.socket.try_clone()?)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|metadata| Some((metadata.dev(), metadata.ino())) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(socket = %self.path.display(), %error, "the socket cannot be removed");
        }
    }
}

/// A listening socket that was prepared before anybody could connect.
fn listening(path: &Path, prepare: impl FnOnce(&OwnedFd) -> io::Result<()>) -> io::Result<StdListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    prepare(&socket)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Removes a left-over socket. Only a refused connection shows that nobody listens.
fn clear(path: &Path) -> Result<(), ListenError> {
    let failed = |action, source| ListenError::Filesystem {
        action,
        path: path.into(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.into() });
        }
        Ok(_) => {}
    }
    match StdStream::connect(path) {
        Ok(_) => Err(ListenError::Taken { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(socket = %path.display(), "removing a left-over socket");
            fs::remove_file(path).map_err(|error| failed("remove", error))
        }
        // A listener whose queue is full is alive.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ListenError::Taken { path: path.into() }),
        Err(error) => Err(failed("look at", error)),
    }
}

#[cfg(test)]
mod tests {
    use hallmark_reason::Coded as _;

    use super::*;

    #[test]
    fn the_socket_is_open_to_all_and_goes_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/workload.sock");
        let listener = Listener::bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(listener.path()), 0o777);
        assert_eq!(mode(path.parent().unwrap()), 0o755);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_taken_path_is_refused_and_a_left_over_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workload.sock");
        let first = Listener::bind(&path).unwrap();
        let error = Listener::bind(&path).unwrap_err();
        assert_eq!(error.code().as_str(), "HM-WL-0020");
        assert!(StdStream::connect(&path).is_ok(), "the first one still listens");
        drop(first);

        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists(), "a socket is left over");
        let second = Listener::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        assert_eq!(Listener::bind(&path).unwrap_err().code().as_str(), "HM-WL-0021");
        drop(second);
        assert!(path.exists(), "what is not ours is not removed");
    }

    #[test]
    fn a_folder_that_others_may_write_to_gets_no_socket_unless_it_is_sticky() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("open/workload.sock");
        for (mode, taken) in [(0o777, false), (0o1777, true), (0o755, true)] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(mode)).unwrap();
            match Listener::bind(&path) {
                Ok(_) => assert!(taken, "{mode:o}"),
                Err(error) => assert_eq!((error.code().as_str(), taken), ("HM-WL-0024", false), "{mode:o}"),
            }
            assert!(!path.exists());
        }
    }

    #[test]
    fn no_folder_is_made_where_others_lead() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        for (mode, made) in [(0o777, false), (0o755, true)] {
            fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
            let bound = Listener::bind(&open.join("below/workload.sock"));
            assert_eq!((bound.is_ok(), open.join("below").exists()), (made, made), "{mode:o}");
        }
    }

    #[test]
    fn a_socket_of_the_service_managers_is_taken_and_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workload.sock");
        let handed = |passes: bool| {
            let _ = fs::remove_file(&path);
            let prepare = |socket: &OwnedFd| if passes { tell_senders(socket) } else { Ok(()) };
            StdListener::from(OwnedFd::from(listening(&path, prepare).unwrap()))
        };
        let code = |taken: Result<Listener, ListenError>| taken.unwrap_err().code().as_str().to_owned();
        let taken = Listener::of_handed(handed(true), &path, true).unwrap();
        assert_eq!(taken.path(), path);
        assert!(StdStream::connect(&path).is_ok());
        drop(taken);
        assert!(path.exists(), "the service manager's file stays");

        // Where nobody asks for a binary, the writer is not asked for either.
        assert!(Listener::of_handed(handed(false), &path, false).is_ok());
        assert_eq!(code(Listener::of_handed(handed(false), &path, true)), "HM-WL-0025");
        assert_eq!(
            code(Listener::of_handed(handed(true), Path::new("/elsewhere"), true)),
            "HM-WL-0025"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = Listener::bind(&folder.path().join("file/workload.sock")).unwrap_err();
        assert_eq!(error.code().as_str(), "HM-WL-0023");
    }
}
