//! Bundles as PEM.

use base64::{Engine as _, engine::general_purpose::STANDARD};

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

pub(super) fn decode(trust_domain: &TrustDomain, file: &[u8]) -> Result<Bundle, BundleError> {
    if file.len() > Bundle::MAX_DOCUMENT_LEN {
        return Err(BundleError::TooLarge { len: file.len() });
    }
    let mut bundle = Bundle::empty(trust_domain.clone());
    let certificates = hallmark_der::certificates(file);
    for der in certificates.map_err(|cause| BundleError::NotPem {
        what: cause.to_string(),
    })? {
        let index = bundle.x509_authorities.len();
        if index >= Bundle::MAX_KEYS {
            return Err(BundleError::TooManyKeys { count: index + 1 });
        }
        x509::check_authority(&der, trust_domain).map_err(|source| BundleError::Authority { index, source })?;
        bundle.x509_authorities.push(der);
    }
    Ok(bundle)
}
