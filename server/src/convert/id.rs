//! SPIFFE IDs.

use hallmark_api::types;
use hallmark_spiffe::{SpiffeId, TrustDomain};
use tonic::Status;

/// Reads an id in two parts; `what` names the field in the refusal.
///
/// # Errors
/// `InvalidArgument` when it is missing or breaks a rule of SPIFFE-ID.
pub fn spiffe_id(message: Option<&types::Spiffeid>, what: &str) -> Result<SpiffeId, Status> {
    let message = message.ok_or_else(|| Status::invalid_argument(format!("{what} is missing")))?;
    let invalid = |error| Status::invalid_argument(format!("invalid {what}: {error}"));
    // The name comes from clients as a bare name, or as the id of the trust domain.
    let name = message
        .trust_domain
        .strip_prefix("spiffe://")
        .unwrap_or(&message.trust_domain);
    let trust_domain = TrustDomain::parse(name).map_err(invalid)?;
    SpiffeId::new(&trust_domain, &message.path).map_err(invalid)
}

/// An id in two parts.
#[must_use]
pub fn id_message(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid {
        trust_domain: id.trust_domain().as_str().to_owned(),
        path: id.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_goes_there_and_back() {
        let id = SpiffeId::parse("spiffe://example.org/a/b").unwrap();
        assert_eq!(spiffe_id(Some(&id_message(&id)), "id").unwrap(), id);
    }

    #[test]
    fn hostile_ids_are_refused() {
        let message = |trust_domain: &str, path: &str| types::Spiffeid {
            trust_domain: trust_domain.into(),
            path: path.into(),
        };
        for (trust_domain, path) in [
            ("", "/a"),
            ("Example.org", "/a"),
            ("a/b", "/c"),
            ("a", "b"),
            ("a", "/../b"),
        ] {
            let refused = spiffe_id(Some(&message(trust_domain, path)), "id").unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{trust_domain} {path}");
        }
        assert!(spiffe_id(None, "id").is_err());
        assert!(spiffe_id(Some(&message("a", "/b")), "id").is_ok());
    }
}
