//! Reading the one request message of a call.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::body::Body;
use tokio::time::timeout;

use super::refusal::Refusal;

/// What stands before each gRPC message: a compression flag and a length.
const PREFIX: usize = 5;
/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);

/// Reads one length-prefixed message of at most `limit` bytes.
///
/// # Errors
/// When it is malformed, compressed (this server announces no compression), too large, or too slow.
pub(super) async fn read_message<B>(body: B, limit: usize) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    match timeout(ARRIVAL, read(body, limit)).await {
        Ok(message) => message,
        Err(_) => Err(Refusal::RequestTimeout),
    }
}

async fn read<B>(mut body: B, limit: usize) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut arrived = BytesMut::new();
    loop {
        if let Some(length) = message_length(&arrived, limit)?
            && arrived.len() >= PREFIX + length
        {
            arrived.advance(PREFIX);
            return Ok(arrived.split_to(length).freeze());
        }
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    arrived.extend_from_slice(&data);
                }
            }
            Some(Err(_)) | None => {
                return Err(Refusal::Malformed { why: "it is cut off" });
            }
        }
    }
}

fn message_length(mut arrived: &[u8], limit: usize) -> Result<Option<usize>, Refusal> {
    if arrived.len() < PREFIX {
        return Ok(None);
    }
    if arrived.get_u8() != 0 {
        return Err(Refusal::Malformed {
            why: "it is compressed, which was not offered",
        });
    }
    let length = usize::try_from(arrived.get_u32()).unwrap_or(usize::MAX);
    if length > limit {
        return Err(Refusal::Malformed { why: "it is too large" });
    }
    Ok(Some(length))
}
