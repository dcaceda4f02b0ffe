//! Peers that are real processes: this test binary, started again as another user.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::{UnixAttestor, UnixConfig};

const SOCKET: &str = "HALLMARK_TEST_PEER_SOCKET";
const HAND_OVER: &str = "HALLMARK_TEST_PEER_HANDS_OVER";
const EXECUTE: &str = "HALLMARK_TEST_PEER_EXECUTES";

/// Not a test: what a child process does. It connects, and then either waits until it is killed, or
/// hands its end to a grandchild and ends.
#[test]
#[ignore = "the body of the child processes of the other tests"]
fn as_a_peer() {
    let Some(socket) = std::env::var_os(SOCKET) else {
        return;
    };
    let stream = UnixStream::connect(socket).unwrap();
    if std::env::var_os(EXECUTE).is_some() {
        let mut wait = [0];
        std::io::Read::read_exact(&mut &stream, &mut wait).unwrap();
        let failed = Command::new("sleep").arg("60").stdin(OwnedFd::from(stream)).exec();
        panic!("{failed}");
    }
    if std::env::var_os(HAND_OVER).is_some() {
        let mut wait = [0];
        std::io::Read::read_exact(&mut &stream, &mut wait).unwrap();
        // It ends when the test closes its own end.
        Command::new("cat").stdin(OwnedFd::from(stream)).spawn().unwrap();
        std::process::exit(0);
    }
    // Real time: this process lives until the test ends it.
    std::thread::sleep(std::time::Duration::from_secs(60));
}

/// Copies a program in a process of its own: one that this process wrote could not be run while a child of another test,
/// born meanwhile, holds the file open for writing.
pub(crate) fn copied(from: &std::path::Path, to: &std::path::Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// A socket in a folder that every user may enter, and a copy of this binary beside it.
struct Lab {
    folder: tempfile::TempDir,
    listener: UnixListener,
}

impl Lab {
    fn set() -> Self {
        let folder = tempfile::Builder::new().permissions(mode(0o755)).tempdir().unwrap();
        copied(&std::env::current_exe().unwrap(), &folder.path().join("peer"));
        std::fs::set_permissions(folder.path().join("peer"), mode(0o755)).unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        std::fs::set_permissions(folder.path().join("socket"), mode(0o777)).unwrap();
        Self { folder, listener }
    }

    /// Starts a peer through `setpriv` with the given options, and accepts its connection.
    fn peer(&self, options: &[&str], hand_over: bool) -> (Running, UnixStream) {
        self.peer_that(options, hand_over.then_some(HAND_OVER))
    }

    /// As [`Lab::peer`], with what it does once it is told.
    fn peer_that(&self, options: &[&str], then: Option<&str>) -> (Running, UnixStream) {
        let mut command = Command::new(if options.is_empty() { "env" } else { "setpriv" });
        command.args(options).arg(self.folder.path().join("peer"));
        command.args(["--exact", "peer::tests::as_a_peer", "--ignored"]);
        command.env(SOCKET, self.folder.path().join("socket"));
        command.envs(then.map(|then| (then, "1")));
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        (Running(child), self.listener.accept().unwrap().0)
    }
}

fn mode(mode: u32) -> std::fs::Permissions {
    std::fs::Permissions::from_mode(mode)
}

struct Running(Child);

impl Running {
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn texts(selectors: &BTreeSet<hallmark_spiffe::Selector>) -> Vec<String> {
    selectors.iter().map(ToString::to_string).collect()
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_living_peer_is_known_by_its_kernel_facts() {
    let lab = Lab::set();
    let (mut child, stream) = lab.peer(&[], false);
    let peer = Peer::of(&stream).unwrap();
    assert_eq!(peer.pid(), child.pid());
    assert_eq!(peer.uid(), rustix::process::geteuid().as_raw());
    let attestor = UnixAttestor::new(UnixConfig {
        path: true,
        sha256: true,
    });
    let mut selectors = texts(&attestor.attest(&peer).unwrap());
    assert!(
        selectors
            .iter()
            .all(|s| !s.contains(":path:") && !s.contains(":sha256:")),
        "{selectors:?}"
    );
    let read = attestor.binary(&peer).unwrap();
    assert!(read.selectors().iter().all(UnixAttestor::is_of_binary));
    assert!(!attestor.attest(&peer).unwrap().iter().any(UnixAttestor::is_of_binary));
    selectors.extend(texts(read.selectors()));
    assert!(read.still_runs(&peer).is_ok());
    let binary = lab.folder.path().join("peer");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &std::fs::read(&binary).unwrap());
    for expected in [
        format!("unix:uid:{}", peer.uid()),
        format!("unix:gid:{}", peer.gid()),
        format!("unix:path:{}", binary.display()),
        format!("unix:sha256:{}", hex::encode(digest)),
    ] {
        assert!(selectors.contains(&expected), "{expected} in {selectors:?}");
    }
    let plain = UnixAttestor::new(UnixConfig::default());
    assert!(!plain.reads_binaries() && plain.binary(&peer).unwrap().selectors().is_empty());

    child.end();
    assert!(matches!(read.still_runs(&peer), Err(PeerError::Gone { .. })));
    assert!(matches!(attestor.binary(&peer), Err(PeerError::Gone { .. })));
    assert!(matches!(peer.assure_alive(), Err(PeerError::Gone { .. })));
    assert!(matches!(attestor.attest(&peer), Err(PeerError::Gone { .. })));
    assert!(matches!(Peer::of(&stream), Err(PeerError::Gone { .. })));
}

#[test]
fn a_program_that_is_run_after_connecting_lends_its_name_to_nobody() {
    let lab = Lab::set();
    let (child, stream) = lab.peer_that(&[], Some(EXECUTE));
    let peer = Peer::of(&stream).unwrap();
    let attestor = UnixAttestor::new(UnixConfig {
        path: true,
        sha256: true,
    });
    let read = attestor.binary(&peer).unwrap();
    assert_eq!(read.selectors().len(), 2, "the control: before");
    let exe = format!("/proc/{}/exe", child.pid());
    let before = std::fs::read_link(&exe).unwrap();
    std::io::Write::write_all(&mut &stream, &[1]).unwrap();
    // While it is exchanged there is no program at all.
    let since = std::time::Instant::now();
    while std::fs::read_link(&exe).map_or(true, |now| now == before) {
        assert!(since.elapsed().as_secs() < 60, "the other program is not run");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(peer.assure_alive().is_ok(), "it is the same process");
    assert!(attestor.attest(&peer).is_ok());
    assert!(matches!(attestor.binary(&peer), Err(PeerError::BinaryChanged { .. })));
    assert!(matches!(read.still_runs(&peer), Err(PeerError::BinaryChanged { .. })));
}

#[test]
fn a_process_in_a_user_namespace_of_its_own_has_no_binary() {
    if !root() {
        return;
    }
    let lab = Lab::set();
    let attestor = UnixAttestor::new(UnixConfig {
        path: true,
        sha256: true,
    });
    let (_child, stream) = lab.peer(&["--reuid=54321", "--regid=54321", "--clear-groups"], false);
    assert_eq!(
        attestor.binary(&Peer::of(&stream).unwrap()).unwrap().selectors().len(),
        2
    );
    let (_child, stream) = lab.peer(
        &["--reuid=54321", "--regid=54321", "--clear-groups", "unshare", "--user"],
        false,
    );
    let peer = Peer::of(&stream).unwrap();
    assert!(attestor.attest(&peer).is_ok());
    assert!(matches!(attestor.binary(&peer), Err(PeerError::UserNamespace { .. })));
}

#[test]
fn user_group_and_supplementary_groups_are_those_of_the_process() {
    if !root() {
        return;
    }
    let lab = Lab::set();
    let (_child, stream) = lab.peer(&["--reuid=1", "--regid=2", "--groups=3,54321"], false);
    let selectors = UnixAttestor::new(UnixConfig::default())
        .attest(&Peer::of(&stream).unwrap())
        .unwrap();
    assert_eq!(
        texts(&selectors),
        [
            "unix:gid:2",
            "unix:group:bin",
            "unix:supplementary_gid:3",
            "unix:supplementary_gid:54321",
            "unix:supplementary_group:sys",
            "unix:uid:1",
            "unix:user:daemon",
        ]
    );
    let (_child, stream) = lab.peer(&["--reuid=54321", "--regid=54321", "--clear-groups"], false);
    let selectors = UnixAttestor::new(UnixConfig::default())
        .attest(&Peer::of(&stream).unwrap())
        .unwrap();
    assert_eq!(
        texts(&selectors),
        ["unix:gid:54321", "unix:uid:54321"],
        "no names for a nameless account"
    );
}

#[test]
fn credentials_that_changed_since_connecting_are_refused() {
    if !root() {
        return;
    }
    let lab = Lab::set();
    let (_child, stream) = lab.peer(&["--reuid=1", "--regid=1", "--clear-groups"], false);
    let mut peer = Peer::of(&stream).unwrap();
    let attestor = UnixAttestor::new(UnixConfig::default());
    assert!(attestor.attest(&peer).is_ok());
    peer.uid = 2;
    assert!(matches!(
        attestor.attest(&peer),
        Err(PeerError::CredentialsChanged { .. })
    ));
}

/// Starts processes until one has the wanted number. Where the kernel lets nobody choose, there is none.
fn take_number(pid: i32) -> Option<Running> {
    for _ in 0..200 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let child = Running(Command::new("sleep").arg("60").spawn().unwrap());
        if child.pid() == pid {
            return Some(child);
        }
    }
    None
}

#[test]
fn a_recycled_process_id_does_not_inherit() {
    let lab = Lab::set();
    // The peer's end lives on in its grandchild, so the connection itself shows nothing.
    let (mut child, stream) = lab.peer(&[], true);
    let peer = Peer::of(&stream).unwrap();
    let attestor = UnixAttestor::new(UnixConfig::default());
    assert!(attestor.attest(&peer).is_ok());
    std::io::Write::write_all(&mut &stream, &[1]).unwrap();
    child.0.wait().unwrap();
    let Some(_heir) = take_number(child.pid()) else {
        return;
    };
    assert!(Status::read(peer.pid()).is_ok(), "another process has the number now");
    assert!(matches!(peer.assure_alive(), Err(PeerError::Gone { .. })));
    assert!(matches!(attestor.attest(&peer), Err(PeerError::Gone { .. })));
    assert!(matches!(Peer::of(&stream), Err(PeerError::Gone { .. })));
}

/// Lets the process change between the looks of [`by_number`].
struct Changing {
    looks: Cell<u64>,
    start_changes: bool,
    uid: u32,
}

impl Processes for Changing {
    fn start_time(&self, pid: i32) -> std::io::Result<u64> {
        self.looks.set(self.looks.get() + 1);
        Ok(process::start_time(pid)? + if self.start_changes { self.looks.get() } else { 0 })
    }

    fn status(&self, pid: i32) -> std::io::Result<Status> {
        Ok(Status {
            uid: self.uid,
            ..Status::read(pid)?
        })
    }
}

#[test]
fn without_the_kernels_pidfd_a_change_between_the_looks_is_refused() {
    let lab = Lab::set();
    let (mut child, stream) = lab.peer(&[], false);
    let credentials = Credentials::of(stream.as_fd()).unwrap();
    let uid = credentials.uid;
    let open = |start_changes, uid| {
        by_number(
            stream.as_fd(),
            credentials,
            &Changing {
                looks: Cell::new(0),
                start_changes,
                uid,
            },
        )
    };
    assert!(by_number(stream.as_fd(), credentials, &Proc).is_ok());
    assert!(open(false, uid).is_ok());
    assert!(matches!(open(true, uid), Err(PeerError::Gone { .. })));
    assert!(matches!(
        open(false, uid + 1),
        Err(PeerError::CredentialsChanged { .. })
    ));
    child.end();
    assert!(matches!(
        by_number(stream.as_fd(), credentials, &Proc),
        Err(PeerError::Gone { .. })
    ));
}

#[test]
fn without_the_kernels_pidfd_a_connection_that_hung_up_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let connected = UnixStream::connect(folder.path().join("socket")).unwrap();
    let accepted = listener.accept().unwrap().0;
    let credentials = Credentials::of(accepted.as_fd()).unwrap();
    assert!(by_number(accepted.as_fd(), credentials, &Proc).is_ok());
    drop(connected);
    assert!(matches!(
        by_number(accepted.as_fd(), credentials, &Proc),
        Err(PeerError::Gone { .. })
    ));
}
