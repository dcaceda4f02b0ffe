//! Key derivation functions (part 1, section 11.4.10).

use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

use crate::alg::HashAlg;

/// KDFa (SP 800-108 in counter mode with HMAC; part 1, section 11.4.10.2): `len` bytes from `key`. The label's
/// terminating zero is added here.
pub(crate) fn kdfa(
    hash: HashAlg,
    key: &[u8],
    label: &str,
    context_u: &[u8],
    context_v: &[u8],
    len: u16,
) -> Zeroizing<Vec<u8>> {
    let key = hmac::Key::new(hash.hmac(), key);
    let bits = u32::from(len).saturating_mul(8);
    expand(len, |counter| {
        let mut mac = hmac::Context::with_key(&key);
        for part in [
            &counter.to_be_bytes(),
            label.as_bytes(),
            &[0],
            context_u,
            context_v,
            &bits.to_be_bytes(),
        ] {
            mac.update(part);
        }
        Zeroizing::new(mac.sign().as_ref().to_vec())
    })
}

/// KDFe (SP 800-56A one-step; part 1, section 11.4.10.3): `len` bytes from the shared x coordinate `z`.
pub(crate) fn kdfe(
    hash: HashAlg,
    z: &[u8],
    label: &str,
    party_u: &[u8],
    party_v: &[u8],
    len: u16,
) -> Zeroizing<Vec<u8>> {
    expand(len, |counter| {
        let mut state = digest::Context::new(hash.algorithm());
        for part in [&counter.to_be_bytes(), z, label.as_bytes(), &[0], party_u, party_v] {
            state.update(part);
        }
        Zeroizing::new(state.finish().as_ref().to_vec())
    })
}

fn expand(len: u16, block: impl Fn(u32) -> Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let len = usize::from(len);
    let mut out = Zeroizing::new(Vec::with_capacity(len));
    for counter in 1_u32.. {
        if out.len() >= len {
            break;
        }
        let missing = len.saturating_sub(out.len());
        out.extend(block(counter).iter().take(missing));
    }
    out
}
