//! The control of the Workload API: gRPC over a unix socket and nothing else.

use anyhow::Result;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use hallmark_api::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use hallmark_api::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest, WitsvidResponse,
    X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use hallmark_kit::Process;
use prost::Message as _;
use std::path::Path;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The first word of the command line of the control's process.
pub(crate) const WORD: &str = "control-echo";

/// Starts the control in a process of its own; it answers with the message in `answer`.
pub(crate) fn start(folder: &Path, socket: &Path, answer: &[u8]) -> Result<Process> {
    let file = folder.join("answer");
    std::fs::write(&file, answer)?;
    let args = [
        WORD.to_owned(),
        socket.display().to_string(),
        file.display().to_string(),
    ];
    Process::start(
        "the control",
        &std::env::current_exe()?,
        &args,
        &[],
        &folder.join("echo.log"),
    )
}

/// The control's process.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let [socket, file] = args else {
        anyhow::bail!("{WORD} SOCKET ANSWER_FILE")
    };
    let answer = X509svidResponse::decode(std::fs::read(file)?.as_slice())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let connections = UnixListenerStream::new(UnixListener::bind(socket)?);
        let service = SpiffeWorkloadApiServer::new(Echo(answer));
        Ok(Server::builder()
            .add_service(service)
            .serve_with_incoming(connections)
            .await?)
    })
}

struct Echo(X509svidResponse);

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// One message; then the stream stays open, as an agent's does.
fn once<T: Send + 'static>(message: T) -> Response<Answers<T>> {
    Response::new(stream::iter([Ok(message)]).chain(stream::pending()).boxed())
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the control answers FetchX509SVID alone"))
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Echo {
    type FetchX509SVIDStream = Answers<X509svidResponse>;
    type FetchX509BundlesStream = Answers<X509BundlesResponse>;
    type FetchJWTBundlesStream = Answers<JwtBundlesResponse>;
    type FetchWITSVIDStream = Answers<WitsvidResponse>;
    type FetchWITBundlesStream = Answers<WitBundlesResponse>;

    async fn fetch_x509svid(&self, _: Request<X509svidRequest>) -> Result<Response<Answers<X509svidResponse>>, Status> {
        Ok(once(self.0.clone()))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Result<Response<Answers<X509BundlesResponse>>, Status> {
        // Asked to see whether it is up.
        Ok(once(X509BundlesResponse::default()))
    }

    async fn fetch_jwtsvid(&self, _: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        not_here()
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Result<Response<Answers<JwtBundlesResponse>>, Status> {
        not_here()
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        not_here()
    }

    async fn fetch_witsvid(&self, _: Request<WitsvidRequest>) -> Result<Response<Answers<WitsvidResponse>>, Status> {
        not_here()
    }

    async fn fetch_wit_bundles(
        &self,
        _: Request<WitBundlesRequest>,
    ) -> Result<Response<Answers<WitBundlesResponse>>, Status> {
        not_here()
    }
}
