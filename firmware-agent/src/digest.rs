//! SHA-256.

use aws_lc_rs::digest::{SHA256, digest};

/// SHA-256 of `data`.
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (slot, byte) in out.iter_mut().zip(digest(&SHA256, data).as_ref()) {
        *slot = *byte;
    }
    out
}
