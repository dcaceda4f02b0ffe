//! The CA certificate of a server below this one: prepared, linted; sealed like every other [`Draft`].

use std::time::SystemTime;

use hallmark_state::DownstreamGrant;

use crate::{
    AuthorityError, Draft, Serial, SubjectKey, X509Authority,
    draft::{require_usable, to_be_signed},
    extensions,
    lint::{self, ExpectedAuthority},
    name, signature,
    validity::{self, Validity},
};

/// Prepares an intermediate CA certificate for what was granted, under which at most `path_len` further CAs stand: URI SAN
/// `spiffe://<trust domain>`, Key Usage keyCertSign and cRLSign alone, Basic Constraints cA with pathLen (X509-SVID, sections 3.2 and
/// 4), no Extended Key Usage. notBefore 10 s before `now`, notAfter at the end of the grant's lifetime, neither beyond the authority's
/// own validity.
///
/// # Errors
/// When the grant is for another trust domain, the key is the authority's own, the authority is not valid at `now` or may have no CA
/// with this `path_len` below it, or the lint finds a fault.
pub fn prepare_downstream(
    grant: &DownstreamGrant,
    path_len: u8,
    key: &SubjectKey,
    authority: &X509Authority,
    serial: Serial,
    now: SystemTime,
) -> Result<Draft, AuthorityError> {
    let now = validity::unix(now)?;
    require_usable(grant.spiffe_id(), key, authority, now)?;
    // Whoever verifies takes the least of what the certificates of the way say.
    if let Some(allowed) = authority.path_len()
        && allowed <= u32::from(path_len)
    {
        return Err(AuthorityError::PathLen { allowed, path_len });
    }
    let granted = Validity::starting(now, grant.ttl())?;
    let validity = granted.within(authority.validity());
    let algorithm = authority.signature_algorithm();
    let tbs = to_be_signed(&[
        &serial.to_der(),
        algorithm.identifier(),
        authority.subject(),
        &validity.to_der()?,
        &name::authority(serial),
        key.spki(),
        &extensions::intermediate(grant.spiffe_id(), path_len, key.key_id(), authority.key_id_extension()),
    ]);
    let expected = ExpectedAuthority {
        path_len,
        key,
        authority,
        serial,
        validity,
    };
    lint::intermediate(
        &signature::certificate(&tbs, algorithm, signature::PLACEHOLDER),
        &expected,
    )?;
    Ok(Draft::linted(
        tbs,
        algorithm,
        grant.spiffe_id().clone(),
        serial,
        (validity, granted),
    ))
}
