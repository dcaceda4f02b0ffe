//! The process behind an accepted unix socket connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::PeerError;
use crate::executable;
use crate::process::{self, Status};

/// The process that opened a unix socket connection: who it was when it connected, and a pidfd that
/// pins it. However often its number is used again, the pidfd stands for that one process.
#[derive(Debug)]
pub struct Peer {
    pid: i32,
    uid: u32,
    gid: u32,
    pidfd: OwnedFd,
    binary: Option<(u64, u64)>,
}

impl Peer {
    /// The peer of an accepted connection.
    ///
    /// Since Linux 6.5 the kernel itself hands out the pidfd of the process that connected
    /// (`SO_PEERPIDFD`). On older kernels the pidfd is opened by number, and refused if the process
    /// changed meanwhile, has other credentials than the connection, or has hung up.
    ///
    /// # Errors
    /// When the process is gone, is not visible from here, or is no longer who it was.
    pub fn of(socket: impl AsFd) -> Result<Self, PeerError> {
        let socket = socket.as_fd();
        let credentials = Credentials::of(socket)?;
        let pidfd = match getsockopt(&socket, sockopt::PeerPidfd) {
            Ok(pidfd) => pidfd,
            Err(nix::Error::ENOPROTOOPT) => by_number(socket, credentials, &Proc)?,
            Err(_) => {
                return Err(PeerError::Gone { pid: credentials.pid });
            }
        };
        let peer = Self {
            pid: credentials.pid,
            uid: credentials.uid,
            gid: credentials.gid,
            pidfd,
            binary: executable::running(credentials.pid),
        };
        peer.assure_alive()?;
        Ok(peer)
    }

    /// The process id, in this agent's namespace. It means this process only while
    /// [`Peer::assure_alive`] holds.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The effective user id when the connection was opened.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The effective group id when the connection was opened.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Device and inode of the file that the process ran when the connection was accepted; `None` where that could not
    /// be told.
    pub(crate) fn binary(&self) -> Option<(u64, u64)> {
        self.binary
    }

    /// The pidfd: readable once the process has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Checks that the process has not ended. Facts read by process id before a success are about this
    /// process: its number cannot be taken while it lives.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn assure_alive(&self) -> Result<(), PeerError> {
        if has_ended(self.pidfd.as_fd())? {
            Err(PeerError::Gone { pid: self.pid })
        } else {
            Ok(())
        }
    }
}

/// What `SO_PEERCRED` tells: taken by the kernel when the connection was opened (unix(7)).
#[derive(Debug, Clone, Copy)]
struct Credentials {
    pid: i32,
    uid: u32,
    gid: u32,
}

impl Credentials {
    fn of(socket: BorrowedFd<'_>) -> Result<Self, PeerError> {
        let taken = getsockopt(&socket, sockopt::PeerCredentials).map_err(|error| PeerError::System {
            call: "getsockopt(SO_PEERCRED)",
            errno: Errno::from_io_error(&error.into()).unwrap_or(Errno::IO),
        })?;
        if taken.pid() <= 0 {
            return Err(PeerError::OutsideNamespace);
        }
        Ok(Self {
            pid: taken.pid(),
            uid: taken.uid(),
            gid: taken.gid(),
        })
    }
}

/// Where a process id is looked up; the tests change the process between two looks.
trait Processes {
    fn start_time(&self, pid: i32) -> std::io::Result<u64>;
    fn status(&self, pid: i32) -> std::io::Result<Status>;
}

struct Proc;

impl Processes for Proc {
    fn start_time(&self, pid: i32) -> std::io::Result<u64> {
        process::start_time(pid)
    }

    fn status(&self, pid: i32) -> std::io::Result<Status> {
        Status::read(pid)
    }
}

/// Opens the pidfd by number, for kernels before 6.5.
///
/// What is left open there: between connecting and this call the process ends, another process of the
/// same user and group gets its number, and a third one keeps the connection open.
fn by_number(
    socket: BorrowedFd<'_>,
    credentials: Credentials,
    processes: &dyn Processes,
) -> Result<OwnedFd, PeerError> {
    let Credentials { pid, uid, gid } = credentials;
    let gone = || PeerError::Gone { pid };
    let before = processes.start_time(pid).map_err(|_| gone())?;
    let number = Pid::from_raw(pid).ok_or(PeerError::OutsideNamespace)?;
    let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH | Errno::INVAL) => return Err(gone()),
        Err(errno) => {
            return Err(PeerError::System {
                call: "pidfd_open",
                errno,
            });
        }
    };
    let status = processes.status(pid).map_err(|_| gone())?;
    let after = processes.start_time(pid).map_err(|_| gone())?;
    if before != after || has_ended(pidfd.as_fd())? || has_hung_up(socket)? {
        return Err(gone());
    }
    if (status.uid, status.gid) != (uid, gid) {
        return Err(PeerError::CredentialsChanged {
            pid,
            connected: format!("{uid}:{gid}"),
            now: format!("{}:{}", status.uid, status.gid),
        });
    }
    Ok(pidfd)
}

fn has_ended(pidfd: BorrowedFd<'_>) -> Result<bool, PeerError> {
    Ok(!events(pidfd, PollFlags::IN)?.is_empty())
}

fn has_hung_up(socket: BorrowedFd<'_>) -> Result<bool, PeerError> {
    Ok(events(socket, PollFlags::RDHUP)?.intersects(PollFlags::RDHUP | PollFlags::HUP))
}

fn events(fd: BorrowedFd<'_>, wanted: PollFlags) -> Result<PollFlags, PeerError> {
    let mut fds = [PollFd::from_borrowed_fd(fd, wanted)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&at_once)))
        .map_err(|errno| PeerError::System { call: "poll", errno })?;
    let [fd] = fds;
    Ok(fd.revents())
}

#[cfg(test)]
#[path = "peer_tests.rs"]
pub(crate) mod tests;
