//! Asking a running program.

use std::{io, path::Path, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};

use super::Report;

/// The longest report.
const MOST: usize = 256 * 1024;

/// Asks the program that listens at the unix socket `socket` whether it is ready.
///
/// # Errors
/// Nobody listens there, this user may not ask, or there is no answer within `limit`.
pub async fn ask(socket: &Path, limit: Duration) -> io::Result<Report> {
    let late = |_| {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", limit.as_secs()),
        )
    };
    timeout(limit, asked(socket)).await.map_err(late)?
}

async fn asked(socket: &Path) -> io::Result<Report> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/ready")
        .header(header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    let report = body.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    serde_json::from_slice(&report).map_err(io::Error::other)
}
