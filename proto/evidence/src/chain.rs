//! An EK certificate with its issuers, as it is kept.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{error::EvidenceError, file::binary, limits::Limits};

/// An EK certificate with the certificates between it and its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EkCertificateChain {
    /// The EK certificate, DER.
    pub certificate: Vec<u8>,
    /// The certificates between it and its root, DER, any order.
    pub intermediates: Vec<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    certificate: String,
    #[serde(default)]
    intermediates: Vec<String>,
}

impl EkCertificateChain {
    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// It is not of that form, or a certificate is over its limit.
    pub fn from_json(json: &str) -> Result<Self, EvidenceError> {
        let form: Form = serde_json::from_str(json).map_err(|error| EvidenceError::File {
            detail: error.to_string(),
        })?;
        Limits::check("EK chain", form.intermediates.len(), Limits::CHAIN)?;
        let certificate = |text: &String| binary("EK certificate", text, Limits::CERTIFICATE);
        Ok(Self {
            certificate: certificate(&form.certificate)?,
            intermediates: form.intermediates.iter().map(certificate).collect::<Result<_, _>>()?,
        })
    }

    /// As JSON; the certificates are base64.
    #[must_use]
    pub fn to_json(&self) -> String {
        let form = Form {
            certificate: STANDARD.encode(&self.certificate),
            intermediates: self.intermediates.iter().map(|der| STANDARD.encode(der)).collect(),
        };
        // Texts always have a JSON form.
        serde_json::to_string(&form).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_reads_back_within_its_limits() {
        let chain = EkCertificateChain {
            certificate: vec![0x30; Limits::CERTIFICATE],
            intermediates: vec![vec![1], vec![2, 3]],
        };
        assert_eq!(EkCertificateChain::from_json(&chain.to_json()).unwrap(), chain);
        let long = EkCertificateChain {
            certificate: vec![0x30; Limits::CERTIFICATE + 1],
            ..chain.clone()
        };
        let many = EkCertificateChain {
            intermediates: vec![vec![1]; Limits::CHAIN + 1],
            ..chain
        };
        for bad in [long.to_json(), many.to_json(), "{}".to_owned(), String::new()] {
            assert!(EkCertificateChain::from_json(&bad).is_err());
        }
    }
}
