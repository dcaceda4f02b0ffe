//! Asking the running agent whether it serves.

use std::{path::Path, time::Duration};

use hallmark_api::workload::{X509BundlesRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};
use tonic::{Code, Request, metadata::MetadataValue, transport::Endpoint};
use tower::service_fn;

use crate::AgentError;

const LIMIT: Duration = Duration::from_secs(5);

/// Asks the Workload API for bundles. "No identity issued" is a healthy answer too: the caller has no entry.
///
/// # Errors
/// Nobody answers at the socket, or the agent is not ready.
pub(crate) async fn ask(socket: &Path) -> Result<(), AgentError> {
    let slow = |_| AgentError::NotReady {
        detail: "no answer in time".into(),
    };
    timeout(LIMIT, ask_within(socket)).await.map_err(slow)?
}

async fn ask_within(socket: &Path) -> Result<(), AgentError> {
    let not_ready = |detail: String| AgentError::NotReady { detail };
    let path = socket.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .map_err(|error| not_ready(format!("{}: {error}", socket.display())))?;
    let mut request = Request::new(X509BundlesRequest {});
    request
        .metadata_mut()
        .insert("workload.spiffe.io", MetadataValue::from_static("true"));
    let answer = SpiffeWorkloadApiClient::new(channel).fetch_x509_bundles(request).await;
    let status = match answer {
        Ok(stream) => match stream.into_inner().message().await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => return Err(not_ready("the stream ended".into())),
            Err(status) => status,
        },
        Err(status) => status,
    };
    match status.code() {
        Code::PermissionDenied => Ok(()),
        code => Err(not_ready(format!("{code:?}: {}", status.message()))),
    }
}
