//! Messages to and from the agent's own types.

use hallmark_api::{attest as wire, types};
use hallmark_evidence::Log;
use std::{collections::BTreeSet, time::Instant};

use hallmark_host::log::LogThrottle;
use hallmark_spiffe::{Bundle, SpiffeId, TrustDomain, jwt::JwtAuthority};
use hallmark_tpm::Signed;
use hallmark_tpm_wire::PcrValues;

use crate::AgentError;

/// A SPIFFE ID from its message.
pub(crate) fn spiffe_id(message: Option<types::Spiffeid>) -> Option<SpiffeId> {
    let message = message?;
    let trust_domain = TrustDomain::parse(&message.trust_domain).ok()?;
    SpiffeId::new(&trust_domain, &message.path).ok()
}

/// A bundle from its message; authorities that are tainted come second.
pub(crate) fn bundle(trust_domain: &TrustDomain, message: types::Bundle) -> Result<(Bundle, Vec<Vec<u8>>), AgentError> {
    if message.trust_domain.trim_start_matches("spiffe://") != trust_domain.as_str() {
        let detail = format!("expected {trust_domain}, found {}", message.trust_domain);
        return Err(AgentError::Bundle { detail });
    }
    let mut bundle = Bundle::empty(trust_domain.clone());
    let mut tainted = Vec::new();
    for authority in message.x509_authorities {
        if authority.tainted {
            tainted.push(authority.asn1.to_vec());
        }
        bundle.x509_authorities.push(authority.asn1.to_vec());
    }
    bundle.jwt_authorities = jwt_authorities(message.jwt_authorities);
    bundle.sequence = message.sequence_number;
    bundle.refresh_hint = std::time::Duration::from_secs(u64::try_from(message.refresh_hint).unwrap_or(0));
    if bundle.x509_authorities.is_empty() {
        return Err(AgentError::Bundle {
            detail: "it has no X.509 authority".into(),
        });
    }
    bundle.authorities().map_err(|error| AgentError::Bundle {
        detail: error.to_string(),
    })?;
    Ok((bundle, tainted))
}

/// The keys that JWT-SVIDs are verified with. One that cannot be used is passed over, as the standard has it (TDB-09): what it signs
/// is refused.
fn jwt_authorities(messages: Vec<types::JwtKey>) -> Vec<JwtAuthority> {
    static PASSED_OVER: LogThrottle = LogThrottle::new();
    let (mut keys, mut ids) = (Vec::new(), BTreeSet::new());
    for message in messages {
        match JwtAuthority::new(message.key_id, message.public_key.to_vec()) {
            Ok(mut key) if ids.insert(key.key_id().to_owned()) => {
                key.expires_at = message.expires_at;
                key.tainted = message.tainted;
                keys.push(key);
            }
            unusable => {
                if let Some(left_out) = PASSED_OVER.due(Instant::now()) {
                    let error = unusable.map_or_else(|error| error.to_string(), |_| "its id stands twice".into());
                    tracing::warn!(error, left_out, "a JWT key of the server's bundle is passed over");
                }
            }
        }
    }
    keys
}

/// A log as a proof announces it.
pub(crate) fn announced_log(log: &Log) -> wire::Log {
    let digest = log.digest();
    wire::Log {
        kind: i32::from(digest.kind.number()),
        offset: digest.offset,
        length: digest.length,
        sha256: digest.sha256.to_vec().into(),
    }
}

pub(crate) fn signed(signed: Signed) -> wire::Signed {
    wire::Signed {
        attest: signed.attest.into(),
        signature: signed.signature.into(),
    }
}

pub(crate) fn pcr_values(values: &PcrValues) -> Vec<wire::PcrValue> {
    values
        .iter()
        .map(|(bank, pcr, digest)| wire::PcrValue {
            hash_alg: u32::from(bank.id()),
            pcr: u32::from(pcr),
            digest: digest.to_vec().into(),
        })
        .collect()
}
