//! Asking the running server whether it serves.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hallmark_api::admin::{GetStatusRequest, GetStatusResponse, Part, admin_client::AdminClient};
use hallmark_reason::{Coded, ReasonCode};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;

const LIMIT: Duration = Duration::from_secs(5);

/// Why the server counts as not serving.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    /// Nobody answers at the admin socket.
    #[error("no server answers at {}", socket.display())]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// What the system or the server said.
        cause: String,
    },
    /// The admin socket is there, and this user may not use it.
    #[error("this user may not use the admin socket {}", socket.display())]
    Forbidden {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// A part of the server does not do its work.
    #[error("the server is not ready: {}", failing(parts))]
    NotReady {
        /// Every part.
        parts: Vec<Part>,
    },
}

impl Coded for HealthError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Silent { .. } => ReasonCode::new("HM-SRV-0008"),
            Self::NotReady { .. } => ReasonCode::new("HM-SRV-0009"),
            Self::Forbidden { .. } => ReasonCode::new("HM-SRV-0031"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Silent { cause, .. } | Self::Forbidden { cause, .. } => Some(cause.clone()),
            Self::NotReady { .. } => None,
        }
    }
}

/// The parts that do not do their work, with their codes.
fn failing(parts: &[Part]) -> String {
    let failing: Vec<_> = parts.iter().filter(|part| !part.ok).map(line).collect();
    failing.join("; ")
}

/// A part in words.
pub(crate) fn line(part: &Part) -> String {
    match (part.ok, part.code.is_empty()) {
        (true, true) => format!("{} ok", part.name),
        (true, false) => format!("{} warning {} {}", part.name, part.code, part.message),
        (false, _) => format!("{} {} {}", part.name, part.code, part.message),
    }
}

/// Asks over the admin socket for the server's status, of which every part is in order.
///
/// # Errors
/// [`HealthError`] when nobody answers within five seconds, or a part is not in order.
pub(crate) async fn ask(socket: &Path) -> Result<GetStatusResponse, HealthError> {
    let silent = |cause: String| HealthError::Silent {
        socket: socket.to_owned(),
        cause,
    };
    // Tried first, as the channel's own error does not say what the system said.
    if let Err(error) = UnixStream::connect(socket).await {
        return Err(match error.kind() {
            io::ErrorKind::PermissionDenied => HealthError::Forbidden {
                socket: socket.to_owned(),
                cause: error.to_string(),
            },
            _ => silent(error.to_string()),
        });
    }
    let answer = timeout(LIMIT, status(socket))
        .await
        .map_err(|_| silent(format!("no answer within {} s", LIMIT.as_secs())))?;
    let status = answer.map_err(silent)?;
    if status.parts.iter().all(|part| part.ok) {
        return Ok(status);
    }
    Err(HealthError::NotReady { parts: status.parts })
}

async fn status(socket: &Path) -> Result<GetStatusResponse, String> {
    let path = socket.to_owned();
    let connector = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .map_err(|error| error.to_string())?;
    let answer = AdminClient::new(channel).get_status(GetStatusRequest {}).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|error| error.to_string())
}
