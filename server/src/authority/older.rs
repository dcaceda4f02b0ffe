//! A store of an older schema: a start that its authority refuses leaves it as it is.

use std::path::Path;

use hallmark_authority::X509Authority;
use hallmark_hsm::{HsmError, KeyKind, KeyStore};
use hallmark_spiffe::TrustDomain;
use hallmark_store::OlderStore;

use super::{
    AuthorityError,
    active::is_of,
    bootstrap::{check_clock, in_force, key_label},
    token_keys::MAX_NUMBER,
};

/// Refuses what [`Keeper::keep`](super::Keeper::keep) would refuse behind the change of the schema.
///
/// # Errors
/// When the token's key is missing or another one, the clock is outside the certificate's time, or the token fails.
pub(crate) async fn require_usable(
    older: &OlderStore,
    keys: &dyn KeyStore,
    trust_domain: &TrustDomain,
    store: &Path,
    kind: KeyKind,
    now: i64,
) -> Result<(), AuthorityError> {
    if let Some(authority) = in_force(&older.authorities, now) {
        let label = &authority.label;
        let key = keys.find(label).await?;
        let key = key.ok_or_else(|| AuthorityError::KeyMissing { label: label.clone() })?;
        let x509 = X509Authority::from_certificate(&authority.certificate, trust_domain)?;
        is_of(&x509, &key, label)?;
        return check_clock(&x509, now);
    }
    for number in 1..=MAX_NUMBER {
        let label = key_label(trust_domain, number);
        let found = match keys.find(&label).await {
            Ok(Some(key)) => Some(key.kind),
            Err(HsmError::KeyIncomplete { .. }) => None,
            Ok(None) => continue,
            Err(error) => return Err(error.into()),
        };
        if !older.recorded_keys.contains(&label) {
            let store = store.to_owned();
            return Err(AuthorityError::OtherStore { label, store });
        }
        if let Some(found) = found {
            let configured = kind;
            return if found == configured {
                Ok(())
            } else {
                Err(AuthorityError::OtherKind {
                    label,
                    found,
                    configured,
                })
            };
        }
    }
    Ok(())
}
