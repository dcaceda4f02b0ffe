//! Bundles as PEM.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::pem::{PemObject as _, SectionKind};

use super::{Bundle, BundleError};
use crate::{TrustDomain, x509};

const LINE: usize = 64;

pub(super) fn encode(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

pub(super) fn decode(trust_domain: &TrustDomain, text: &str) -> Result<Bundle, BundleError> {
    if text.len() > Bundle::MAX_DOCUMENT_LEN {
        return Err(BundleError::TooLarge { len: text.len() });
    }
    let mut bundle = Bundle::empty(trust_domain.clone());
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, der) = section.map_err(|cause| not_pem(&cause.to_string()))?;
        if kind != SectionKind::Certificate {
            return Err(not_pem("a section that is no certificate"));
        }
        let index = bundle.x509_authorities.len();
        if index >= Bundle::MAX_KEYS {
            return Err(BundleError::TooManyKeys { count: index + 1 });
        }
        x509::check_authority(&der, trust_domain).map_err(|source| BundleError::Authority { index, source })?;
        bundle.x509_authorities.push(der);
    }
    if bundle.x509_authorities.is_empty() {
        return Err(not_pem("no certificate in it"));
    }
    Ok(bundle)
}

fn not_pem(what: &str) -> BundleError {
    BundleError::NotPem { what: what.into() }
}
