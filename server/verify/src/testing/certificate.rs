//! A TPM vendor: root, intermediate, EK certificates. Written by hand, since no certificate library writes bad ones.

use super::asn1::{attribute, bit_string, common_name, element, oid, sequence, time, unsigned};
use super::ek::SoftwareEk;
use super::key::SoftwareKey;

/// Extension and algorithm identifiers, dotted.
pub mod oids {
    /// basicConstraints.
    pub const BASIC_CONSTRAINTS: &str = "2.5.29.19";
    /// keyUsage.
    pub const KEY_USAGE: &str = "2.5.29.15";
    /// extKeyUsage.
    pub const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
    /// subjectAltName.
    pub const SUBJECT_ALT_NAME: &str = "2.5.29.17";
    /// tcg-kp-EKCertificate.
    pub const EK_CERTIFICATE: &str = "2.23.133.8.1";
    /// ecdsa-with-SHA256.
    pub const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
    /// ecdsa-with-SHA1.
    pub const ECDSA_SHA1: &str = "1.2.840.10045.4.1";
}

/// keyUsage bits, first byte.
const KEY_ENCIPHERMENT: u8 = 0x20;
const KEY_AGREEMENT: u8 = 0x08;
const KEY_CERT_SIGN: u8 = 0x04;
const CRL_SIGN: u8 = 0x02;

/// 2020-01-01 and 2050-06-01, Unix seconds.
const NOT_BEFORE: i64 = 1_577_836_800;
const NOT_AFTER: i64 = 2_537_654_400;

/// One extension before encoding.
#[derive(Debug, Clone)]
pub struct ExtensionDraft {
    /// Dotted identifier.
    pub oid: &'static str,
    /// The critical mark.
    pub critical: bool,
    /// extnValue's contents.
    pub value: Vec<u8>,
}

impl ExtensionDraft {
    /// basicConstraints of a CA.
    #[must_use]
    pub fn ca(path_len: Option<u8>) -> Self {
        let limit = path_len.map_or_else(Vec::new, |limit| unsigned(&[limit]));
        let value = sequence(&[&element(0x01, &[0xff]), &limit]);
        Self {
            oid: oids::BASIC_CONSTRAINTS,
            critical: true,
            value,
        }
    }

    /// keyUsage with these bits in the first byte (bit 0, digitalSignature, is 0x80).
    #[must_use]
    pub fn key_usage(bits: u8) -> Self {
        let unused = u8::try_from(bits.trailing_zeros().min(7)).expect("at most seven");
        let value = element(0x03, &[unused, bits]);
        Self {
            oid: oids::KEY_USAGE,
            critical: true,
            value,
        }
    }

    /// extKeyUsage with these purposes.
    #[must_use]
    pub fn extended_key_usage(purposes: &[&str]) -> Self {
        let purposes: Vec<u8> = purposes.iter().flat_map(|purpose| oid(purpose)).collect();
        Self {
            oid: oids::EXTENDED_KEY_USAGE,
            critical: false,
            value: element(0x30, &purposes),
        }
    }

    /// subjectAltName with a directoryName of these attributes (dotted identifier, text), one RDN each.
    #[must_use]
    pub fn tpm_attributes(attributes: &[(&str, &str)]) -> Self {
        let rdns: Vec<u8> = attributes
            .iter()
            .flat_map(|(oid, text)| element(0x31, &attribute(oid, text)))
            .collect();
        let value = sequence(&[&element(0xa4, &element(0x30, &rdns))]);
        Self {
            oid: oids::SUBJECT_ALT_NAME,
            critical: true,
            value,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let critical = if self.critical {
            element(0x01, &[0xff])
        } else {
            Vec::new()
        };
        sequence(&[&oid(self.oid), &critical, &element(0x04, &self.value)])
    }
}

/// A certificate before it is signed.
#[derive(Debug, Clone)]
pub struct CertificateDraft {
    /// 2 for v3; `None` leaves the field out, which is v1.
    pub version: Option<u8>,
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// AlgorithmIdentifier of the signature, DER, in both places.
    pub signature_algorithm: Vec<u8>,
    /// Issuer's Name, DER.
    pub issuer: Vec<u8>,
    /// Begin of validity, Unix seconds.
    pub not_before: i64,
    /// End of validity, Unix seconds.
    pub not_after: i64,
    /// Subject's Name, DER.
    pub subject: Vec<u8>,
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// The extensions, in order.
    pub extensions: Vec<ExtensionDraft>,
}

impl CertificateDraft {
    fn new(issuer: &[u8], subject: &[u8], spki: Vec<u8>, extensions: Vec<ExtensionDraft>) -> Self {
        Self {
            version: Some(2),
            serial: vec![0x01, 0x23, 0x45],
            signature_algorithm: sequence(&[&oid(oids::ECDSA_SHA256)]),
            issuer: issuer.to_vec(),
            not_before: NOT_BEFORE,
            not_after: NOT_AFTER,
            subject: subject.to_vec(),
            spki,
            extensions,
        }
    }

    /// The certificate, signed by `key`.
    #[must_use]
    pub fn sign(&self, key: &SoftwareKey) -> Vec<u8> {
        let version = self
            .version
            .map_or_else(Vec::new, |version| element(0xa0, &unsigned(&[version])));
        let extensions: Vec<u8> = self.extensions.iter().flat_map(ExtensionDraft::encode).collect();
        let extensions = if self.version.is_some() && !extensions.is_empty() {
            element(0xa3, &element(0x30, &extensions))
        } else {
            Vec::new()
        };
        let tbs = sequence(&[
            &version,
            &unsigned(&self.serial),
            &self.signature_algorithm,
            &self.issuer,
            &sequence(&[&time(self.not_before), &time(self.not_after)]),
            &self.subject,
            &self.spki,
            &extensions,
        ]);
        sequence(&[&tbs, &self.signature_algorithm, &bit_string(&key.sign_x509(&tbs))])
    }

    /// The extension with this identifier.
    ///
    /// # Panics
    /// There is none.
    pub fn extension(&mut self, oid: &str) -> &mut ExtensionDraft {
        self.extensions
            .iter_mut()
            .find(|extension| extension.oid == oid)
            .expect("the extension is there")
    }

    /// Takes out every extension with this identifier.
    pub fn without(&mut self, oid: &str) {
        self.extensions.retain(|extension| extension.oid != oid);
    }
}

/// A TPM vendor with a root and an intermediate, P-256. Its keys live and die with it.
#[derive(Debug)]
pub struct VendorCa {
    /// The root's key.
    pub root_key: SoftwareKey,
    /// The intermediate's key.
    pub intermediate_key: SoftwareKey,
    root: Vec<u8>,
    intermediate: Vec<u8>,
}

impl Default for VendorCa {
    fn default() -> Self {
        Self::new()
    }
}

impl VendorCa {
    /// A new vendor. The root allows one CA below itself, the intermediate none.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    /// A new vendor whose certificates are changed before they are signed.
    #[must_use]
    pub fn with(root: impl FnOnce(&mut CertificateDraft), intermediate: impl FnOnce(&mut CertificateDraft)) -> Self {
        let (root_key, intermediate_key) = (SoftwareKey::ecc(0), SoftwareKey::ecc(0));
        let mut root_draft = Self::ca_draft(&Self::root_name(), &Self::root_name(), &root_key, Some(1));
        root(&mut root_draft);
        let mut draft = Self::ca_draft(
            &Self::root_name(),
            &Self::intermediate_name(),
            &intermediate_key,
            Some(0),
        );
        intermediate(&mut draft);
        let (root, intermediate) = (root_draft.sign(&root_key), draft.sign(&root_key));
        Self {
            root_key,
            intermediate_key,
            root,
            intermediate,
        }
    }

    /// A CA certificate's draft.
    #[must_use]
    pub fn ca_draft(issuer: &[u8], subject: &[u8], key: &SoftwareKey, path_len: Option<u8>) -> CertificateDraft {
        let extensions = vec![
            ExtensionDraft::ca(path_len),
            ExtensionDraft::key_usage(KEY_CERT_SIGN | CRL_SIGN),
        ];
        CertificateDraft::new(issuer, subject, key.spki(), extensions)
    }

    /// The root's Name, DER.
    #[must_use]
    pub fn root_name() -> Vec<u8> {
        common_name("Software Machine Test Root")
    }

    /// The intermediate's Name, DER.
    #[must_use]
    pub fn intermediate_name() -> Vec<u8> {
        common_name("Software Machine Test Intermediate")
    }

    /// The root certificate, DER.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        &self.root
    }

    /// The intermediate certificate, DER.
    #[must_use]
    pub fn intermediate_der(&self) -> &[u8] {
        &self.intermediate
    }

    /// A good EK certificate.
    #[must_use]
    pub fn ek_certificate(&self, ek: &SoftwareEk) -> Vec<u8> {
        self.ek_certificate_with(ek, |_| {})
    }

    /// An EK certificate that is changed before it is signed by the intermediate.
    #[must_use]
    pub fn ek_certificate_with(&self, ek: &SoftwareEk, change: impl FnOnce(&mut CertificateDraft)) -> Vec<u8> {
        let usage = if ek.is_ecc() { KEY_AGREEMENT } else { KEY_ENCIPHERMENT };
        let extensions = vec![
            ExtensionDraft::key_usage(usage),
            ExtensionDraft::extended_key_usage(&[oids::EK_CERTIFICATE]),
            // Infineon's id and a model of theirs: class discrete.
            ExtensionDraft::tpm_attributes(&[
                ("2.23.133.2.1", "id:49465800"),
                ("2.23.133.2.2", "SLB9670"),
                ("2.23.133.2.3", "id:00070055"),
            ]),
        ];
        let mut draft = CertificateDraft::new(&Self::intermediate_name(), &sequence(&[]), ek.spki(), extensions);
        change(&mut draft);
        draft.sign(&self.intermediate_key)
    }
}
