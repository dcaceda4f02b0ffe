//! Where the Workload API is, and what it sends.

use std::{env, path::PathBuf, time::Duration};

use clap::Args;
use hallmark_api::workload::{X509svidRequest, X509svidResponse, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use super::{ApiError, X509Context};

/// The variable that every SPIFFE client reads (Workload Endpoint, section 4).
const VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";
const DEFAULT: &str = "/run/hallmark-agent/workload.sock";
/// The largest message that is read.
const MAX_MESSAGE: usize = 16 << 20;

/// Where the Workload API is.
#[derive(Args)]
pub(super) struct SocketArg {
    /// The Workload API's socket: a path, or unix:///path. Otherwise SPIFFE_ENDPOINT_SOCKET says, or it is
    /// /run/hallmark-agent/workload.sock.
    #[arg(long, value_name = "SOCKET")]
    socket: Option<String>,
}

impl SocketArg {
    /// The socket.
    ///
    /// # Errors
    /// [`ApiError::Address`].
    pub(super) fn find(&self) -> Result<Socket, ApiError> {
        let variable = env::var(VARIABLE).ok().filter(|value| !value.is_empty());
        let (given, by) = match (&self.socket, variable) {
            (Some(given), _) => (given.clone(), "--socket"),
            (None, Some(given)) => (given, VARIABLE),
            (None, None) => (DEFAULT.to_owned(), "the default"),
        };
        path_of(&given).map(Socket).ok_or(ApiError::Address { given, by })
    }
}

/// The absolute path in `path`, `unix:path` or `unix://path`.
fn path_of(address: &str) -> Option<PathBuf> {
    let path = match address.strip_prefix("unix:") {
        Some(path) => path.strip_prefix("//").unwrap_or(path),
        None => address,
    };
    (path.starts_with('/') && !path.contains(['\0', '?', '#'])).then(|| path.into())
}

/// The socket of a Workload API.
#[derive(Debug, Clone)]
pub(super) struct Socket(PathBuf);

impl Socket {
    /// Nobody answered for so long: an agent that runs, or none at all.
    pub(super) async fn silent(&self, limit: Duration) -> ApiError {
        let message = format!("no answer within {} s", limit.as_secs());
        match UnixStream::connect(&self.0).await {
            Ok(_) => ApiError::NotNow { message },
            Err(_) => self.unreachable(message),
        }
    }

    fn unreachable(&self, detail: String) -> ApiError {
        ApiError::Unreachable {
            socket: self.0.clone(),
            detail,
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(super) async fn client(&self) -> Result<SpiffeWorkloadApiClient<Channel>, ApiError> {
        let path = self.0.clone();
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        let connected = endpoint.connect_with_connector(connector).await;
        let channel = connected.map_err(|error| self.unreachable(cause(&error)))?;
        Ok(SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(MAX_MESSAGE))
    }

    /// Opens a stream of this process's X.509 identities.
    ///
    /// # Errors
    /// Nobody listens there, or the agent refuses.
    pub(super) async fn open(&self) -> Result<Contexts, ApiError> {
        let stream = self.client().await?.fetch_x509svid(request(X509svidRequest {})).await;
        let stream = stream.map_err(|status| self.refused(&status))?;
        Ok(Contexts {
            socket: self.clone(),
            stream: stream.into_inner(),
        })
    }

    /// What a status of the agent's, or of the transport's, says.
    pub(super) fn refused(&self, status: &Status) -> ApiError {
        let code = status
            .metadata()
            .get("hallmark-reason")
            .and_then(|code| code.to_str().ok());
        let message = match code {
            Some(code) => format!("{} ({code})", status.message()),
            None => status.message().to_owned(),
        };
        match status.code() {
            Code::PermissionDenied => ApiError::Denied { message },
            Code::InvalidArgument if code.is_some_and(|code| code.starts_with("HM-ID-")) => {
                ApiError::Rejected { message }
            }
            Code::InvalidArgument if code.is_some() => ApiError::Request { message },
            Code::Unavailable if code.is_some() => ApiError::NotNow { message },
            // The transport's own words: the connection broke.
            Code::Unavailable | Code::Unknown | Code::Cancelled => self.unreachable(message),
            _ => ApiError::Unusable { what: message },
        }
    }
}

/// A message with the security metadata.
pub(super) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let security = MetadataValue::from_static("true");
    request.metadata_mut().insert("workload.spiffe.io", security);
    request
}

/// The innermost cause: what is around it says only that a transport failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// This process's identities, each time they change.
pub(super) struct Contexts {
    socket: Socket,
    stream: Streaming<X509svidResponse>,
}

impl Contexts {
    /// The next state.
    ///
    /// # Errors
    /// When the stream ends, or what came cannot be used.
    pub(super) async fn next(&mut self) -> Result<X509Context, ApiError> {
        match self.stream.message().await {
            Ok(Some(response)) => X509Context::read(response),
            Ok(None) => Err(self.socket.unreachable("the stream ended".into())),
            Err(status) => Err(self.socket.refused(&status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hallmark_reason::Coded as _;

    use super::*;

    #[test]
    fn addresses_are_those_of_spiffe_clients() {
        for good in ["/run/a.sock", "unix:/run/a.sock", "unix:///run/a.sock"] {
            assert_eq!(path_of(good).as_deref(), Some(Path::new("/run/a.sock")), "{good}");
        }
        for bad in [
            "",
            "run/a.sock",
            "unix:run/a",
            "unix://host/a",
            "tcp://127.0.0.1:1",
            "unix:///a?b",
            "unix:///a#b",
        ] {
            assert_eq!(path_of(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn an_agent_that_has_no_answer_yet_is_told_from_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = Socket(path.clone());
        let silent = async || socket.silent(Duration::from_secs(3)).await.code().to_string();
        assert_eq!(silent().await, "HM-WL-0031", "nobody listens");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        assert_eq!(silent().await, "HM-WL-0033");
    }
}
