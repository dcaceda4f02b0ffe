//! Where the Workload API's socket is, as it is written.

use std::path::PathBuf;

use hallmark_reason::{Coded, ReasonCode};

/// The longest path that fits a `sockaddr_un`, without its terminating zero (unix(7)).
const MAX_PATH: usize = 107;

/// A value names no socket path: it is relative, too long, or no unix socket at all.
#[derive(Debug, thiserror::Error)]
#[error("{given:?} cannot be used for the Workload API")]
pub struct SocketPathError {
    given: String,
    why: &'static str,
}

impl Coded for SocketPathError {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-WL-0022")
    }

    fn compared(&self) -> Option<String> {
        Some(format!("given {:?}, but {}", self.given, self.why))
    }
}

/// The socket path that a configured value names: an absolute path, or `unix:///absolute/path` as in
/// `SPIFFE_ENDPOINT_SOCKET`.
///
/// # Errors
/// When the value is a TCP address (a TCP port cannot tell its callers apart), a relative path, or too
/// long for a socket.
pub fn socket_path(value: &str) -> Result<PathBuf, SocketPathError> {
    let place = |why| SocketPathError {
        given: value.into(),
        why,
    };
    let path = match value.split_once("://") {
        None => value,
        Some(("unix", path)) => path,
        Some(("tcp", _)) => {
            return Err(place("TCP cannot tell callers apart: only unix sockets are served"));
        }
        Some(_) => return Err(place("only unix sockets are served")),
    };
    if !path.starts_with('/') {
        return Err(place("the path must be absolute"));
    }
    if path.len() > MAX_PATH {
        return Err(place("a socket path has at most 107 bytes"));
    }
    if path.contains(['\0', '?', '#']) {
        return Err(place("a zero byte, '?' and '#' cannot stand in a socket's address"));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_unix_sockets_have_a_path() {
        for good in ["/run/a.sock", "unix:///run/a.sock"] {
            assert_eq!(socket_path(good).unwrap(), Path::new("/run/a.sock"));
        }
        let long = format!("/{}", "a".repeat(107));
        for bad in [
            "tcp://127.0.0.1:80",
            "http://x",
            "unix://host/p",
            "run/a.sock",
            "",
            "/a?b",
            "/a#b",
            &long,
        ] {
            assert_eq!(socket_path(bad).unwrap_err().code().as_str(), "HM-WL-0022", "{bad:?}");
        }
    }
}
