//! The names that a CSR asks for. Only minting by hand reads them; elsewhere a CSR conveys its key alone.

use hallmark_spiffe::SpiffeId;
use tonic::Status;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
};

/// What a CSR asks for in its subject alternative names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) spiffe_id: SpiffeId,
    pub(super) dns_names: Vec<String>,
}

/// Reads the names: exactly one URI, any number of DNS names. The CSR's signature is checked when its key is used.
pub(super) fn names(der: &[u8]) -> Result<Names, Status> {
    let malformed = || Status::invalid_argument("malformed CSR");
    let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| malformed())?;
    if !rest.is_empty() {
        return Err(malformed());
    }
    let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
    for extension in csr.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(san) = extension {
            for name in &san.general_names {
                match name {
                    GeneralName::URI(uri) => uris.push(*uri),
                    GeneralName::DNSName(dns) => dns_names.push((*dns).to_owned()),
                    other => {
                        return Err(unfit(&format!("names of this kind are not issued: {other}")));
                    }
                }
            }
        }
    }
    match *uris {
        [uri] => {
            let spiffe_id = SpiffeId::parse(uri).map_err(|error| unfit(&error.to_string()))?;
            Ok(Names { spiffe_id, dns_names })
        }
        [] => Err(unfit("URI SAN is required")),
        _ => Err(unfit("only one URI SAN is expected")),
    }
}

fn unfit(why: &str) -> Status {
    Status::invalid_argument(format!("invalid CSR: {why}"))
}
