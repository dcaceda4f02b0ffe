//! Addresses and socket paths that somebody else has, or nobody can have.

use crate::kept::{Kept, UNEXPECTED};
use hallmark_kit::LabError;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

fn taken(path: &Path, by: &str) -> String {
    format!(
        "HM-SRV-0002: the admin socket {0} is taken\n  compared: expected nothing or a dead socket, found {by}\n  cause: \
         another server runs already\n  next: ss -lxp src {0}; stop the other server",
        path.display()
    )
}

fn unusable(path: &Path) -> String {
    format!(
        "HM-SRV-0003: the admin socket {} cannot be made\n  compared: *\n  cause: the server's user may not write there, or \
         the path is longer than 107 bytes\n  next: ls -ld {}",
        path.display(),
        path.parent().unwrap().display()
    )
}

#[test]
fn an_admin_socket_that_another_has_is_left_to_it() {
    let mut kept = Kept::filled();
    let (config, socket) = (kept.config(), kept.trial.lab.server().admin_socket());
    let silent = UnixListener::bind(&socket).unwrap();
    let start = Instant::now();
    kept.must_refuse(
        &config,
        UNEXPECTED,
        &taken(&socket, "another process that listens on it"),
    );
    // Who waits for the server over that socket hears nothing, and does not wait for ever.
    let error = kept.trial.lab.start_server().expect_err("it started");
    let ended = error.downcast::<LabError>().unwrap();
    assert!(matches!(ended, LabError::Ended { .. }), "{ended}");
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_ok(), "the listener still has its socket");
    // What nobody listens on is what a dead server left.
    drop(silent);
    assert!(socket.exists());
    kept.must_go_on();
    assert!(!socket.exists());

    std::fs::write(&socket, "precious").unwrap();
    kept.must_refuse(&config, UNEXPECTED, &taken(&socket, "a file that is not a socket"));
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
    std::fs::remove_file(&socket).unwrap();
    std::fs::create_dir(&socket).unwrap();
    kept.must_refuse(&config, UNEXPECTED, &taken(&socket, "a file that is not a socket"));
    std::fs::remove_dir(&socket).unwrap();
    kept.must_go_on();
}

#[test]
fn an_admin_socket_that_cannot_be_made_is_told() {
    let mut kept = Kept::filled();
    let in_a_file = kept.file("file", "").join("admin.sock");
    let too_long = kept.path(&"x".repeat(120));
    for path in [in_a_file, too_long] {
        let config = kept.with("listen", "admin_socket", path.display().to_string());
        kept.must_refuse(&config, UNEXPECTED, &unusable(&path));
    }
    kept.must_go_on();
}

#[test]
fn an_address_that_another_has_is_left_to_it() {
    let mut kept = Kept::filled();
    let told = |address: &str, port: &str| {
        format!(
            "HM-SRV-0001: cannot listen on {address}\n  compared: *\n  cause: another server runs already, or the address is \
             not this machine's\n  next: ss -ltnp 'sport = :{port}'"
        )
    };
    let (config, address) = (kept.config(), kept.trial.lab.server().address());
    let other = TcpListener::bind(&address).unwrap();
    let port = address.rsplit(':').next().unwrap().to_owned();
    kept.must_refuse(&config, UNEXPECTED, &told(&address, &port));
    drop(other);
    kept.must_go_on();
    // Of the block for documentation (RFC 5737): no machine has it.
    let config = kept.with("listen", "address", "192.0.2.1:8081");
    kept.must_refuse(&config, UNEXPECTED, &told("192.0.2.1:8081", "8081"));
}
