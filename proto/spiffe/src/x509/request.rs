//! What a certification request (PKCS#10, RFC 2986) asks to be certified. Whoever issues what a request asks for reads it with
//! this; everywhere else a request conveys its key alone.

use hallmark_reason::{Coded, ReasonCode};
use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{GeneralName, ParsedExtension, X509Extension},
    prelude::FromDer as _,
};

use crate::{IdError, SpiffeId};

/// The longest request that is read, in bytes. One for RSA-4096 with a full set of extensions has about 2,000.
pub const MAX_REQUEST_LEN: usize = 16 * 1024;

/// The names that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedNames {
    /// Its one URI.
    pub spiffe_id: SpiffeId,
    /// Its DNS names, in order, as they stand.
    pub dns_names: Vec<String>,
}

/// Why a request is not issued as it asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Longer than [`MAX_REQUEST_LEN`].
    #[error("invalid CSR: it is too large")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// Not one whole PKCS#10 request in DER.
    #[error("malformed CSR")]
    Malformed,
    /// No URI among the names.
    #[error("invalid CSR: URI SAN is required")]
    NoUri,
    /// More than one URI.
    #[error("invalid CSR: only one URI SAN is expected")]
    ManyUris {
        /// How many.
        count: usize,
    },
    /// The URI is no SPIFFE ID.
    #[error("invalid CSR: {0}")]
    Id(#[source] IdError),
    /// A name that is neither a URI nor a DNS name.
    #[error("invalid CSR: names of this kind are not issued: {name}")]
    NameKind {
        /// The name.
        name: String,
    },
    /// An extension that would make more of the certificate than a leaf, or that says what is not understood.
    #[error("invalid CSR: it asks for what is not issued: {what}")]
    Extension {
        /// What it asks for.
        what: String,
    },
}

impl RequestedNames {
    /// Reads the names of a request in DER: exactly one URI, a SPIFFE ID, and any number of DNS names. Of the other extensions
    /// those pass that ask for no more than every leaf has: Basic Constraints without cA, Key Usage without keyCertSign and
    /// cRLSign, serverAuth and clientAuth, a key identifier. The request's signature is not checked.
    ///
    /// # Errors
    /// The first thing in it that is not issued.
    pub fn read(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_REQUEST_LEN {
            return Err(RequestError::TooLarge { len: der.len() });
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| RequestError::Malformed)?;
        if !rest.is_empty() {
            return Err(RequestError::Malformed);
        }
        let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
        for attribute in request.certification_request_info.iter_attributes() {
            let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else {
                continue;
            };
            for extension in &asked.extensions {
                read_extension(extension, &mut uris, &mut dns_names)?;
            }
        }
        match *uris {
            [uri] => Ok(Self {
                spiffe_id: SpiffeId::parse(uri).map_err(RequestError::Id)?,
                dns_names,
            }),
            [] => Err(RequestError::NoUri),
            ref many => Err(RequestError::ManyUris { count: many.len() }),
        }
    }
}

fn read_extension<'a>(
    extension: &'a X509Extension<'a>,
    uris: &mut Vec<&'a str>,
    dns_names: &mut Vec<String>,
) -> Result<(), RequestError> {
    let refused = |what: &str| Err(RequestError::Extension { what: what.to_owned() });
    match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => {
            for name in &names.general_names {
                match name {
                    GeneralName::URI(uri) => uris.push(uri),
                    GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                    other => {
                        return Err(RequestError::NameKind {
                            name: other.to_string(),
                        });
                    }
                }
            }
            Ok(())
        }
        ParsedExtension::BasicConstraints(constraints) if constraints.ca => refused("Basic Constraints with cA"),
        ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
            refused("Key Usage with keyCertSign or cRLSign")
        }
        ParsedExtension::ExtendedKeyUsage(usage) => {
            let other = [
                (usage.any, "anyExtendedKeyUsage"),
                (usage.code_signing, "codeSigning"),
                (usage.email_protection, "emailProtection"),
                (usage.time_stamping, "timeStamping"),
                (usage.ocsp_signing, "OCSPSigning"),
                (!usage.other.is_empty(), "a purpose that is not known"),
            ];
            match other.into_iter().find(|(asked, _)| *asked) {
                Some((_, purpose)) => refused(&format!("Extended Key Usage with {purpose}")),
                None => Ok(()),
            }
        }
        ParsedExtension::BasicConstraints(_)
        | ParsedExtension::KeyUsage(_)
        | ParsedExtension::SubjectKeyIdentifier(_) => Ok(()),
        _ => refused(&format!("the extension {}", extension.oid.to_id_string())),
    }
}

impl Coded for RequestError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::new("HM-ID-0105"),
            Self::Malformed => ReasonCode::new("HM-ID-0106"),
            Self::NoUri | Self::ManyUris { .. } => ReasonCode::new("HM-ID-0107"),
            Self::Id(source) => source.code(),
            Self::NameKind { .. } => ReasonCode::new("HM-ID-0108"),
            Self::Extension { .. } => ReasonCode::new("HM-ID-0109"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Id(source) => Some(source),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TooLarge { len } => Some(format!("{len} bytes, at most {MAX_REQUEST_LEN} allowed")),
            Self::NoUri => Some("0 URIs, 1 expected".to_owned()),
            Self::ManyUris { count } => Some(format!("{count} URIs, 1 expected")),
            _ => self.inner()?.compared(),
        }
    }
}
