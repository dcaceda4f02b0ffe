//! Who wrote what arrives on a connection.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _};

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, getsockopt, recvmsg, setsockopt, sockopt,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{ioctl_fionread, retry_on_intr};
use rustix::net::sockopt::set_socket_oobinline;

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
/// As ioctl(2) and poll(2).
pub fn nothing_waits(socket: &impl AsFd) -> io::Result<bool> {
    // Whether urgent octets are counted depends on the kernel.
    let mut urgent = [PollFd::new(socket, PollFlags::PRI)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(ioctl_fionread(socket)? == 0 && retry_on_intr(|| poll(&mut urgent, Some(&at_once)))? == 0)
}

/// What arrived at once: it has one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many octets; none when the other side has closed.
    pub length: usize,
    /// The process id of who wrote them, in this process's namespace. `None` where the kernel does not tell.
    pub sender: Option<i32>,
}

/// Receives octets, with who wrote them where the kernel tells.
///
/// It takes no descriptors that somebody sends along. It does not even receive what they come with, as the kernel would
/// close them in the receiving thread, and closing one can take as long as its sender likes (a TCP socket with
/// `SO_LINGER`, a file of a FUSE file system).
#[derive(Debug)]
pub struct Receiver {
    /// Room for credentials and nothing else.
    control: Vec<u8>,
    is_told: bool,
}

impl Receiver {
    /// For a stream socket. Whether the kernel tells its senders stays as it is then.
    ///
    /// # Errors
    /// As setsockopt(2).
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        // Else an urgent octet, with what comes along, is thrown away by whoever receives what is behind it.
        set_socket_oobinline(socket, true)?;
        Ok(Self {
            control: cmsg_space!(UnixCredentials),
            is_told: getsockopt(socket, sockopt::PassCred)?,
        })
    }

    /// Whether the kernel tells who wrote what arrives.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.is_told
    }

    /// Receives into `buffer` without waiting, from the socket that this is of.
    ///
    /// # Errors
    /// As recvmsg(2); `WouldBlock` when nothing is there; `InvalidData` when descriptors were sent along: they still wait,
    /// and the socket is to be closed where that may take its time.
    pub fn receive(&mut self, socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
        let seen = self.take(socket, buffer, MsgFlags::MSG_PEEK)?;
        // No more than what was seen: behind it there may be others by now.
        let seen = buffer.get_mut(..seen.length).unwrap_or_default();
        if seen.is_empty() {
            return Ok(Received {
                length: 0,
                sender: None,
            });
        }
        self.take(socket, seen, MsgFlags::empty())
    }

    fn take(&mut self, socket: &impl AsFd, buffer: &mut [u8], how: MsgFlags) -> io::Result<Received> {
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC | how;
        let control = self.is_told.then_some(self.control.as_mut_slice());
        let message = recvmsg::<UnixAddr>(socket.as_fd().as_raw_fd(), &mut parts, control, flags)?;
        if message.flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "descriptors were sent along",
            ));
        }
        let mut sender = None;
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
    use std::os::fd::{AsRawFd, OwnedFd};
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
    fn a_socket_that_was_not_told_to_tells_nobody() {
        let (mut client, server) = UnixStream::pair().unwrap();
        assert!(!Receiver::of(&server).unwrap().is_told());
        client.write_all(b"x").unwrap();
        assert_eq!(receive_all(&server), [(b"x".to_vec(), None)]);
        tell_senders(&server).unwrap();
        assert!(Receiver::of(&server).unwrap().is_told());
    }

    /// Sends `words` with descriptors of a pipe's end.
    fn send_along(client: &UnixStream, words: &[u8], descriptor: &impl AsRawFd, count: usize, flags: MsgFlags) {
        let descriptors = vec![descriptor.as_raw_fd(); count];
        let along = [ControlMessage::ScmRights(&descriptors)];
        let sent = sendmsg::<UnixAddr>(client.as_raw_fd(), &[IoSlice::new(words)], &along, flags, None);
        assert_eq!(sent, Ok(words.len()));
    }

    #[test]
    fn what_comes_with_descriptors_is_not_received() {
        for (told, count, flags) in [
            (true, 1, MsgFlags::empty()),
            (true, 8, MsgFlags::empty()),
            (false, 1, MsgFlags::empty()),
            (true, 1, MsgFlags::MSG_OOB),
            (false, 1, MsgFlags::MSG_OOB),
        ] {
            let (client, server) = UnixStream::pair().unwrap();
            if told {
                tell_senders(&server).unwrap();
            }
            let mut receiver = Receiver::of(&server).unwrap();
            let (mut reading, writing) = io::pipe().unwrap();
            (&client).write_all(b"before").unwrap();
            send_along(&client, b"x", &writing, count, flags);
            (&client).write_all(b"after").unwrap();
            drop(writing);
            let (mut got, mut buffer) = (Vec::new(), [0; 4]);
            let refused = loop {
                match receiver.receive(&server, &mut buffer) {
                    Ok(received) => got.extend_from_slice(&buffer[..received.length]),
                    Err(error) => break error,
                }
                assert!(got.len() <= 6, "{got:?}");
            };
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{refused}");
            assert!(!nothing_waits(&server).unwrap(), "it still waits");
            // Nobody has let go of the descriptors.
            rustix::io::ioctl_fionbio(&reading, true).unwrap();
            let error = io::Read::read(&mut reading, &mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            drop(server);
            // The kernel lets go of them when it comes to it.
            rustix::io::ioctl_fionbio(&reading, false).unwrap();
            let (told, heard) = std::sync::mpsc::channel();
            std::thread::spawn(move || told.send(io::Read::read(&mut reading, &mut [0])));
            let ended = heard.recv_timeout(std::time::Duration::from_secs(30)).expect("it ends");
            assert_eq!(ended.unwrap(), 0, "now it has ended");
        }
    }

    #[test]
    fn an_urgent_octet_is_one_like_others() {
        let (client, server) = UnixStream::pair().unwrap();
        rustix::net::send(&client, b"x", rustix::net::SendFlags::OOB).unwrap();
        assert!(!nothing_waits(&server).unwrap());
        assert_eq!(receive_all(&server), [(b"x".to_vec(), None)]);
        assert!(nothing_waits(&server).unwrap());
    }
}
