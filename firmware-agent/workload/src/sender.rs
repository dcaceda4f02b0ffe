//! Who wrote what arrives on a connection.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _};

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, getsockopt, recvmsg, setsockopt, sockopt,
};
use rustix::io::ioctl_fionread;

/// Has the kernel tell the writer of whatever arrives on a socket. Set on a listening socket before it listens, it holds
/// for every octet of every connection: the kernel notes the writer when it writes.
///
/// # Errors
/// When the kernel refuses.
pub fn tell_senders(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::PassCred, &true).map_err(Into::into)
}

/// Whether everything that was written to a socket has been received.
///
/// The kernel notes the writer when something is written, and its octets may be put in later: splice(2) and its like
/// leave a reference to a page, which can be shared with another process. What was received has its octets.
///
/// # Errors
/// As ioctl(2).
pub fn nothing_waits(socket: &impl AsFd) -> io::Result<bool> {
    Ok(ioctl_fionread(socket)? == 0)
}

/// What arrived at once: it has one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many octets; none when the other side has closed.
    pub length: usize,
    /// The process id of who wrote them, in this process's namespace. `None` where the kernel does not tell, or the
    /// writer sent something beside octets.
    pub sender: Option<i32>,
}

/// Receives octets together with who wrote them.
#[derive(Debug)]
pub struct Receiver {
    /// Room for credentials and nothing else: descriptors that somebody sends along find none, and the kernel closes
    /// them.
    control: Vec<u8>,
}

impl Receiver {
    /// For a socket whose senders the kernel tells; `None` for any other.
    #[must_use]
    pub fn of(socket: &impl AsFd) -> Option<Self> {
        let told = getsockopt(socket, sockopt::PassCred).unwrap_or(false);
        told.then(|| Self {
            control: cmsg_space!(UnixCredentials),
        })
    }

    /// Receives into `buffer` without waiting, from the socket that this is of.
    ///
    /// # Errors
    /// As recvmsg(2); `WouldBlock` when nothing is there.
    pub fn receive(&mut self, socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let fd = socket.as_fd().as_raw_fd();
        let message = recvmsg::<UnixAddr>(fd, &mut parts, Some(&mut self.control), flags)?;
        let mut sender = None;
        // What found no room makes this fail.
        for part in message.cmsgs().into_iter().flatten() {
            match part {
                ControlMessageOwned::ScmCredentials(credentials) => sender = Some(credentials.pid()),
                _ => sender = None,
            }
        }
        Ok(Received {
            length: message.bytes,
            // The kernel's word for: outside this namespace.
            sender: sender.filter(|pid| *pid > 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Write as _};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Command, Stdio};

    use nix::sys::socket::{ControlMessage, sendmsg};

    use super::*;

    fn me() -> Option<i32> {
        i32::try_from(std::process::id()).ok()
    }

    /// Everything that is there, by writer.
    fn receive_all(socket: &UnixStream) -> Vec<(Vec<u8>, Option<i32>)> {
        let (mut receiver, mut all) = (Receiver::of(socket).unwrap(), Vec::new());
        let mut buffer = [0; 100];
        loop {
            match receiver.receive(socket, &mut buffer) {
                Ok(Received { length: 0, .. }) => return all,
                Ok(received) => all.push((buffer[..received.length].to_vec(), received.sender)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return all,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn each_writer_is_told_also_of_what_was_written_before_the_connection_was_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        tell_senders(&listener).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"early").unwrap();
        let written = Command::new("echo")
            .args(["-n", "child"])
            .stdout(Stdio::from(OwnedFd::from(client.try_clone().unwrap())))
            .spawn()
            .unwrap();
        let child = i32::try_from(written.id()).unwrap();
        assert!(written.wait_with_output().unwrap().status.success());
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"late").unwrap();
        assert_eq!(
            receive_all(&server),
            [
                (b"early".to_vec(), me()),
                (b"child".to_vec(), Some(child)),
                (b"late".to_vec(), me()),
            ]
        );
    }

    #[test]
    fn a_socket_that_was_not_told_to_has_no_receiver() {
        let (_client, server) = UnixStream::pair().unwrap();
        assert!(Receiver::of(&server).is_none());
        tell_senders(&server).unwrap();
        assert!(Receiver::of(&server).is_some());
    }

    #[test]
    fn descriptors_that_are_sent_along_are_not_taken() {
        let (client, server) = UnixStream::pair().unwrap();
        tell_senders(&server).unwrap();
        for count in [1, 8] {
            let (mut reading, writing) = io::pipe().unwrap();
            let descriptors = vec![writing.as_raw_fd(); count];
            let along = [ControlMessage::ScmRights(&descriptors)];
            sendmsg::<UnixAddr>(
                client.as_raw_fd(),
                &[IoSlice::new(b"x")],
                &along,
                MsgFlags::empty(),
                None,
            )
            .unwrap();
            assert_eq!(
                receive_all(&server),
                [(b"x".to_vec(), None)],
                "nor is the writer believed"
            );
            drop(writing);
            // It ends when nobody holds the other end.
            assert_eq!(io::Read::read(&mut reading, &mut [0]).unwrap(), 0);
        }
        (&client).write_all(b"x").unwrap();
        assert_eq!(receive_all(&server), [(b"x".to_vec(), me())], "the control");
    }
}
