//! A token as it comes: taken apart, nothing believed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{JwtAlgorithm, JwtError, claims::Claims};

/// The longest token that is read, in bytes.
pub const MAX_TOKEN_LEN: usize = 32 * 1024;

/// The only parameters that a header may have (JWT-02). Others, `jwk`, `jku`, `x5c` and `crit` among them, would have the token
/// say what it is to be verified with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
}

/// A JWS in compact form (RFC 7515, section 7.1), decoded.
pub(super) struct Token<'a> {
    pub(super) algorithm: JwtAlgorithm,
    pub(super) key_id: Option<String>,
    pub(super) claims: Claims,
    /// What was signed: the first two parts as they came.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    pub(super) fn parse(text: &'a str) -> Result<Self, JwtError> {
        if text.len() > MAX_TOKEN_LEN {
            return Err(JwtError::TooLarge { len: text.len() });
        }
        let malformed = |what| JwtError::Malformed { what };
        let (signed, signature) = text.rsplit_once('.').ok_or(malformed("it does not have three parts"))?;
        let (header, payload) = signed
            .split_once('.')
            .ok_or(malformed("it does not have three parts"))?;
        if payload.contains('.') {
            return Err(malformed("it does not have three parts"));
        }
        let decode = |part: &str, what| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed(what));
        let header = decode(header, "its header is not base64url")?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| malformed("its header"))?;
        let algorithm = JwtAlgorithm::from_name(&header.alg).ok_or(JwtError::Algorithm)?;
        if let Some(typ) = header.typ.filter(|typ| typ != "JWT" && typ != "JOSE") {
            let found = typ.chars().take(32).collect();
            return Err(JwtError::Type { found });
        }
        let payload = decode(payload, "its claims are not base64url")?;
        let claims = serde_json::from_slice(&payload).map_err(|_| malformed("its claims"))?;
        Ok(Self {
            algorithm,
            key_id: header.kid,
            claims,
            signed: signed.as_bytes(),
            signature: decode(signature, "its signature is not base64url")?,
        })
    }
}
