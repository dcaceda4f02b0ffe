//! The templates of the keys that an attestation is made of, one truth for the agent that creates them and the
//! verifier that judges them.
//!
//! Endorsement keys: "TCG EK Credential Profile for TPM Family 2.0", annex B "EK templates": the low range (L, policy
//! A, NV index 0x01C00002 and 0x01C0000A) and the high range (H, policy B, NV indexes from 0x01C00012).

use crate::{
    alg::{ALG_ECC, ALG_NULL, ALG_RSA, HashAlg},
    attributes::ObjectAttributes,
    curve::Curve,
    public::{PublicArea, PublicKind},
    scheme::{AsymScheme, Symmetric},
    writer::Writer,
};

const TPM_MADE: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .with(ObjectAttributes::FIXED_PARENT)
    .with(ObjectAttributes::SENSITIVE_DATA_ORIGIN);

/// The attributes of the attestation key, exactly: made in the TPM and never leaving it, signing nothing but the TPM's
/// own structures, used without an auth value and so without dictionary-attack protection.
pub const AK_ATTRIBUTES: ObjectAttributes = SVID_KEY_ATTRIBUTES.with(ObjectAttributes::RESTRICTED);

/// The attributes of the SVID key, exactly: as the attestation key, but not restricted, so that it signs TLS handshakes
/// and certificate requests.
pub const SVID_KEY_ATTRIBUTES: ObjectAttributes = TPM_MADE
    .with(ObjectAttributes::USER_WITH_AUTH)
    .with(ObjectAttributes::NO_DA)
    .with(ObjectAttributes::SIGN);

/// The attributes of a low-range endorsement key (0x000300B2).
pub const EK_LOW_ATTRIBUTES: ObjectAttributes = TPM_MADE
    .with(ObjectAttributes::ADMIN_WITH_POLICY)
    .with(ObjectAttributes::RESTRICTED)
    .with(ObjectAttributes::DECRYPT);

/// The attributes of a high-range endorsement key (0x000300F2).
pub const EK_HIGH_ATTRIBUTES: ObjectAttributes = EK_LOW_ATTRIBUTES.with(ObjectAttributes::USER_WITH_AUTH);

/// Policy A with SHA-256: `PolicySecret(TPM_RH_ENDORSEMENT)`, the policy of the low range.
pub const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// Policy B with SHA-256: `PolicyOR(policy A, PolicyAuthorizeNV(0x01C07F01))`, the policy of the high range.
pub const POLICY_B_SHA256: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3, 0xa3, 0x85, 0xd4,
    0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
];

/// Policy B with SHA-384: `PolicyOR(policy A, PolicyAuthorizeNV(0x01C07F02))`.
pub const POLICY_B_SHA384: [u8; 48] = [
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41, 0x48,
    0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96,
    0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
];

/// Policy B with SHA-512: `PolicyOR(policy A, PolicyAuthorizeNV(0x01C07F03))`.
pub const POLICY_B_SHA512: [u8; 64] = [
    0xb8, 0x22, 0x1c, 0xa6, 0x9e, 0x85, 0x50, 0xa4, 0x91, 0x4d, 0xe3, 0xfa, 0xa6, 0xa1, 0x8c, 0x07, 0x2c, 0xc0, 0x12,
    0x08, 0x07, 0x3a, 0x92, 0x8d, 0x5d, 0x66, 0xd5, 0x9e, 0xf7, 0x9e, 0x49, 0xa4, 0x29, 0xc4, 0x1a, 0x6b, 0x26, 0x95,
    0x71, 0xd5, 0x7e, 0xdb, 0x25, 0xfb, 0xdb, 0x18, 0x38, 0x42, 0x56, 0x08, 0xb4, 0x13, 0xcd, 0x61, 0x6a, 0x5f, 0x6d,
    0xb5, 0xb6, 0x07, 0x1a, 0xf9, 0x9b, 0xea,
];

/// The kind of key that a template makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateKey {
    /// RSA with this many bits and exponent 65537.
    Rsa(u16),
    /// A key on this curve.
    Ecc(Curve),
}

/// Everything about a key but its public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// The algorithm of the Name.
    pub name_alg: HashAlg,
    /// The object attributes.
    pub attributes: ObjectAttributes,
    /// The policy digest; empty for none.
    pub auth_policy: &'static [u8],
    /// The cipher for child objects.
    pub symmetric: Symmetric,
    /// The scheme that the key is bound to.
    pub scheme: AsymScheme,
    /// The kind of key.
    pub key: TemplateKey,
}

/// What a template's `unique` field holds when a primary key is created: it takes part in the key's derivation, so
/// other bytes give another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unique<'a> {
    /// Nothing.
    Empty,
    /// Zeros as wide as the key: low-range endorsement keys.
    Zeros,
    /// These bytes, in the modulus or the x coordinate: a fresh key for fresh bytes.
    Bytes(&'a [u8]),
}

impl Template {
    /// The `TPMT_PUBLIC` for TPM2_CreatePrimary.
    #[must_use]
    pub fn marshal(&self, unique: Unique<'_>) -> Vec<u8> {
        let mut out = Writer::default();
        out.u16(match self.key {
            TemplateKey::Rsa(_) => ALG_RSA,
            TemplateKey::Ecc(_) => ALG_ECC,
        });
        out.u16(self.name_alg.id());
        out.u32(self.attributes.bits());
        out.sized(self.auth_policy);
        self.symmetric.write(&mut out);
        self.scheme.write(&mut out);
        match self.key {
            TemplateKey::Rsa(bits) => {
                out.u16(bits);
                out.u32(0);
                out.sized(&unique_field(unique, usize::from(bits / 8)));
            }
            TemplateKey::Ecc(curve) => {
                out.u16(curve.id());
                out.u16(ALG_NULL);
                out.sized(&unique_field(unique, curve.coordinate_len()));
                out.sized(&match unique {
                    Unique::Bytes(_) => Vec::new(),
                    other => unique_field(other, curve.coordinate_len()),
                });
            }
        }
        out.into_bytes()
    }

    /// Whether a key has every property of this template.
    #[must_use]
    pub fn matches(&self, area: &PublicArea) -> bool {
        let key = match area.kind() {
            PublicKind::Rsa(rsa) if rsa.exponent() == 65_537 => TemplateKey::Rsa(rsa.bits),
            PublicKind::Ecc(ecc) => TemplateKey::Ecc(ecc.curve),
            _ => return false,
        };
        key == self.key
            && area.name_alg() == self.name_alg
            && area.attributes() == self.attributes
            && area.auth_policy() == self.auth_policy
            && area.storage_cipher() == self.symmetric
            && area.scheme() == Some(self.scheme)
    }
}

fn unique_field(unique: Unique<'_>, width: usize) -> Vec<u8> {
    match unique {
        Unique::Empty => Vec::new(),
        Unique::Zeros => vec![0; width],
        Unique::Bytes(bytes) => bytes.iter().copied().take(width).collect(),
    }
}

/// The attestation key: a primary key of the endorsement hierarchy, ECC P-256, bound to ECDSA with SHA-256.
pub const AK: Template = Template {
    name_alg: HashAlg::Sha256,
    attributes: AK_ATTRIBUTES,
    auth_policy: &[],
    symmetric: Symmetric::Null,
    scheme: AsymScheme::Ecdsa(HashAlg::Sha256),
    key: TemplateKey::Ecc(Curve::P256),
};

/// The SVID key: ECC P-256, bound to ECDSA with SHA-256.
///
/// The scheme is fixed although the key is not restricted: TLS 1.3 with P-256 and the certificate request need no
/// other, TPM2_Sign with a null scheme then makes plain ECDSA with SHA-256, and the key can be talked into nothing else
/// (a different hash, ECDAA, or Schnorr).
pub const SVID_KEY: Template = Template {
    attributes: SVID_KEY_ATTRIBUTES,
    ..AK
};

/// An endorsement key template with the place of its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EkTemplate {
    /// The kind of key, and behind it the profile's name of the template: `rsa-2048-l1` is L-1.
    pub name: &'static str,
    /// The NV index of the EK certificate.
    pub certificate_index: u32,
    /// The NV index of the nonce that replaces `unique` where it is present (low range only).
    pub nonce_index: Option<u32>,
    /// The NV index of a template that replaces this one where it is present.
    pub template_index: u32,
    /// The key's properties.
    pub template: Template,
    /// What `unique` holds where the profile's nonce is absent.
    pub unique: Unique<'static>,
}

/// The NV indexes of the certificates that lead from an EK certificate to its root, first and last.
pub const EK_CHAIN_INDEXES: (u32, u32) = (0x01c0_0100, 0x01c0_01ff);

const fn low(key: TemplateKey) -> Template {
    Template {
        name_alg: HashAlg::Sha256,
        attributes: EK_LOW_ATTRIBUTES,
        auth_policy: &POLICY_A_SHA256,
        symmetric: Symmetric::Aes128Cfb,
        scheme: AsymScheme::Null,
        key,
    }
}

const fn high(key: TemplateKey, name_alg: HashAlg, auth_policy: &'static [u8], symmetric: Symmetric) -> Template {
    Template {
        name_alg,
        attributes: EK_HIGH_ATTRIBUTES,
        auth_policy,
        symmetric,
        scheme: AsymScheme::Null,
        key,
    }
}

const fn high_range(name: &'static str, certificate_index: u32, template: Template) -> EkTemplate {
    let template_index = certificate_index + 1;
    EkTemplate {
        name,
        certificate_index,
        nonce_index: None,
        template_index,
        template,
        unique: Unique::Empty,
    }
}

/// Every endorsement key template that Hallmark knows, in the order in which an agent looks for a certificate.
pub const EK_TEMPLATES: [EkTemplate; 8] = [
    EkTemplate {
        name: "rsa-2048-l1",
        certificate_index: 0x01c0_0002,
        nonce_index: Some(0x01c0_0003),
        template_index: 0x01c0_0004,
        template: low(TemplateKey::Rsa(2048)),
        unique: Unique::Zeros,
    },
    EkTemplate {
        name: "ecc-p256-l2",
        certificate_index: 0x01c0_000a,
        nonce_index: Some(0x01c0_000b),
        template_index: 0x01c0_000c,
        template: low(TemplateKey::Ecc(Curve::P256)),
        unique: Unique::Zeros,
    },
    high_range(
        "rsa-2048-h1",
        0x01c0_0012,
        high(
            TemplateKey::Rsa(2048),
            HashAlg::Sha256,
            &POLICY_B_SHA256,
            Symmetric::Aes128Cfb,
        ),
    ),
    high_range(
        "ecc-p256-h2",
        0x01c0_0014,
        high(
            TemplateKey::Ecc(Curve::P256),
            HashAlg::Sha256,
            &POLICY_B_SHA256,
            Symmetric::Aes128Cfb,
        ),
    ),
    high_range(
        "ecc-p384-h3",
        0x01c0_0016,
        high(
            TemplateKey::Ecc(Curve::P384),
            HashAlg::Sha384,
            &POLICY_B_SHA384,
            Symmetric::Aes256Cfb,
        ),
    ),
    high_range(
        "ecc-p521-h4",
        0x01c0_0018,
        high(
            TemplateKey::Ecc(Curve::P521),
            HashAlg::Sha512,
            &POLICY_B_SHA512,
            Symmetric::Aes256Cfb,
        ),
    ),
    high_range(
        "rsa-3072-h6",
        0x01c0_001c,
        high(
            TemplateKey::Rsa(3072),
            HashAlg::Sha384,
            &POLICY_B_SHA384,
            Symmetric::Aes256Cfb,
        ),
    ),
    high_range(
        "rsa-4096-h7",
        0x01c0_001e,
        high(
            TemplateKey::Rsa(4096),
            HashAlg::Sha384,
            &POLICY_B_SHA384,
            Symmetric::Aes256Cfb,
        ),
    ),
];

/// The template that a key was made with, if it is one of the profile's.
#[must_use]
pub fn ek_template_of(area: &PublicArea) -> Option<&'static EkTemplate> {
    const TEMPLATES: &[EkTemplate] = &EK_TEMPLATES;
    TEMPLATES.iter().find(|ek| ek.template.matches(area))
}

/// A name that is none of a template's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown template {name:?}; known: {}", EK_TEMPLATES.map(|template| template.name).join(", "))]
pub struct UnknownTemplate {
    /// The name.
    pub name: String,
}

impl std::str::FromStr for &'static EkTemplate {
    type Err = UnknownTemplate;

    fn from_str(name: &str) -> Result<Self, UnknownTemplate> {
        ek_template_named(name).ok_or_else(|| UnknownTemplate { name: name.to_owned() })
    }
}

/// The template of this name (see [`EkTemplate::name`]).
#[must_use]
pub fn ek_template_named(name: &str) -> Option<&'static EkTemplate> {
    const TEMPLATES: &[EkTemplate] = &EK_TEMPLATES;
    TEMPLATES.iter().find(|ek| ek.name == name)
}
