//! One certificate, decoded once, with the few facts that the profile asks for.

use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Extension, X509Version};

use super::ProfileError;

/// The longest certificate that is read, in bytes.
pub const MAX_CERTIFICATE_LEN: usize = 64 * 1024;

/// What the profile looks at.
pub(super) struct Certificate<'a> {
    pub(super) x509: X509Certificate<'a>,
    pub(super) uris: Vec<&'a str>,
    pub(super) has_alt_names: bool,
    pub(super) alt_names_critical: bool,
    /// `None` when the extension is absent; otherwise cA and pathLen.
    pub(super) basic_constraints: Option<(bool, Option<u32>)>,
    /// `None` when absent.
    pub(super) key_usage: Option<KeyUsage>,
    /// serverAuth and clientAuth; `None` when the extension is absent.
    pub(super) extended_key_usage: Option<(bool, bool)>,
    pub(super) has_subject_key_id: bool,
    pub(super) has_authority_key_id: bool,
}

#[derive(Clone, Copy)]
pub(super) struct KeyUsage {
    pub(super) critical: bool,
    pub(super) digital_signature: bool,
    pub(super) cert_sign: bool,
    pub(super) crl_sign: bool,
    /// keyEncipherment, keyAgreement or another use by the key's own holder.
    pub(super) holder_use: bool,
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, ProfileError> {
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(ProfileError::TooLarge { len: der.len() });
        }
        let (rest, x509) = X509Certificate::from_der(der).map_err(|cause| ProfileError::Malformed {
            what: cause.to_string(),
        })?;
        if !rest.is_empty() {
            return Err(malformed("bytes after the certificate"));
        }
        if x509.version() != X509Version::V3 {
            return Err(ProfileError::Version);
        }
        let mut certificate = Self {
            uris: Vec::new(),
            has_alt_names: false,
            alt_names_critical: false,
            basic_constraints: None,
            key_usage: None,
            extended_key_usage: None,
            has_subject_key_id: false,
            has_authority_key_id: false,
            x509,
        };
        certificate.read_extensions()?;
        Ok(certificate)
    }

    fn read_extensions(&mut self) -> Result<(), ProfileError> {
        let extensions = self.x509.extensions().to_vec();
        for (index, extension) in extensions.iter().enumerate() {
            let twice = extensions
                .iter()
                .take(index)
                .any(|earlier| earlier.oid == extension.oid);
            if twice {
                return Err(ProfileError::DuplicateExtension {
                    oid: extension.oid.to_id_string(),
                });
            }
            self.read_extension(extension)?;
        }
        Ok(())
    }

    fn read_extension(&mut self, extension: &X509Extension<'a>) -> Result<(), ProfileError> {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                self.has_alt_names = true;
                self.alt_names_critical = extension.critical;
                for name in &names.general_names {
                    match name {
                        GeneralName::URI(uri) => self.uris.push(uri),
                        GeneralName::Invalid(..) => {
                            return Err(malformed("a subject alternative name"));
                        }
                        _ => {}
                    }
                }
            }
            ParsedExtension::BasicConstraints(constraints) => {
                self.basic_constraints = Some((constraints.ca, constraints.path_len_constraint));
            }
            ParsedExtension::KeyUsage(usage) => {
                self.key_usage = Some(KeyUsage {
                    critical: extension.critical,
                    digital_signature: usage.digital_signature(),
                    cert_sign: usage.key_cert_sign(),
                    crl_sign: usage.crl_sign(),
                    holder_use: usage.digital_signature()
                        || usage.key_encipherment()
                        || usage.key_agreement()
                        || usage.data_encipherment(),
                });
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.extended_key_usage = Some((usage.server_auth, usage.client_auth));
            }
            ParsedExtension::SubjectKeyIdentifier(_) => self.has_subject_key_id = true,
            ParsedExtension::AuthorityKeyIdentifier(_) => self.has_authority_key_id = true,
            ParsedExtension::ParseError { .. } => {
                return Err(ProfileError::Malformed {
                    what: format!("extension {}", extension.oid.to_id_string()),
                });
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn subject_is_empty(&self) -> bool {
        self.x509.subject().iter_rdn().next().is_none()
    }

    /// The serial number's big-endian bytes without leading zeros.
    pub(super) fn serial(&self) -> Vec<u8> {
        self.x509
            .raw_serial()
            .iter()
            .copied()
            .skip_while(|byte| *byte == 0)
            .collect()
    }
}

fn malformed(what: &str) -> ProfileError {
    ProfileError::Malformed { what: what.into() }
}
