//! Keys in software, shaped as TPM objects.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256};
use hallmark_tpm_wire::{HashAlg, templates};

use super::asn1::{bit_string, oid, sequence, unsigned};
use super::sized;

/// A TPMT_PUBLIC with every field open.
#[derive(Debug, Clone)]
pub struct PublicDraft {
    /// TPM_ALG_ID of the object type: 0x0001 RSA, 0x0023 ECC.
    pub object_type: u16,
    /// TPM_ALG_ID of the nameAlg.
    pub name_alg: u16,
    /// TPMA_OBJECT.
    pub attributes: u32,
    /// authPolicy.
    pub auth_policy: Vec<u8>,
    /// Wire form of the parameters: symmetric, scheme, and curve with kdf, or keyBits with exponent.
    pub parameters: Vec<u8>,
    /// Wire form of `unique`: a sized modulus, or sized x and y.
    pub unique: Vec<u8>,
}

impl PublicDraft {
    /// The TPMT_PUBLIC.
    #[must_use]
    pub fn marshal(&self) -> Vec<u8> {
        [
            &self.object_type.to_be_bytes()[..],
            &self.name_alg.to_be_bytes(),
            &self.attributes.to_be_bytes(),
            &sized(&self.auth_policy),
            &self.parameters,
            &self.unique,
        ]
        .concat()
    }

    /// The Name: nameAlg and digest. For a nameAlg that is not known here the digest is SHA-256.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let hash = HashAlg::from_id(self.name_alg).unwrap_or(HashAlg::Sha256);
        [&self.name_alg.to_be_bytes()[..], &hash.digest(&self.marshal())].concat()
    }

    /// The Qualified Name as primary key of the hierarchy with this handle.
    #[must_use]
    pub fn qualified_name(&self, hierarchy: u32) -> Vec<u8> {
        let hash = HashAlg::from_id(self.name_alg).unwrap_or(HashAlg::Sha256);
        let digest = hash.digest(&[&hierarchy.to_be_bytes()[..], &self.name()].concat());
        [&self.name_alg.to_be_bytes()[..], &digest].concat()
    }
}

#[derive(Debug)]
enum Material {
    Ecc(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

/// A signing key: what a TPM would hold, here in memory.
#[derive(Debug)]
pub struct SoftwareKey {
    /// What the key claims to be.
    pub public: PublicDraft,
    /// How it signs: TPM_ALG_ID of scheme and hash, written into every TPMT_SIGNATURE. Signing itself is done with the
    /// scheme 0x0014 (RSASSA), 0x0016 (RSAPSS) or 0x0018 (ECDSA), always with SHA-256.
    pub scheme: (u16, u16),
    material: Material,
}

impl SoftwareKey {
    /// A P-256 key with these TPMA_OBJECT bits, bound to ECDSA with SHA-256.
    #[must_use]
    pub fn ecc(attributes: u32) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("P-256 key");
        let (x, y) = coordinates(pair.public_key().as_ref());
        let public = PublicDraft {
            object_type: 0x0023,
            name_alg: 0x000b,
            attributes,
            auth_policy: Vec::new(),
            // symmetric null; ECDSA, SHA-256; P-256; kdf null
            parameters: wire(&[0x0010, 0x0018, 0x000b, 0x0003, 0x0010]),
            unique: [sized(&x), sized(&y)].concat(),
        };
        Self {
            public,
            scheme: (0x0018, 0x000b),
            material: Material::Ecc(pair),
        }
    }

    /// An RSA-2048 key with these TPMA_OBJECT bits, bound to `scheme` (0x0014 RSASSA, 0x0016 RSAPSS) with SHA-256.
    #[must_use]
    pub fn rsa(attributes: u32, scheme: u16) -> Self {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("RSA key");
        let modulus = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
        let public = PublicDraft {
            object_type: 0x0001,
            name_alg: 0x000b,
            attributes,
            auth_policy: Vec::new(),
            // symmetric null; scheme, SHA-256; 2048 bits; exponent 0
            parameters: wire(&[0x0010, scheme, 0x000b, 2048, 0, 0]),
            unique: sized(&modulus),
        };
        Self {
            public,
            scheme: (scheme, 0x000b),
            material: Material::Rsa(pair),
        }
    }

    /// A good attestation key.
    #[must_use]
    pub fn ak() -> Self {
        Self::ecc(templates::AK_ATTRIBUTES.bits())
    }

    /// A good SVID key.
    #[must_use]
    pub fn svid() -> Self {
        Self::ecc(templates::SVID_KEY_ATTRIBUTES.bits())
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        match &self.material {
            Material::Ecc(pair) => p256_spki(pair.public_key().as_ref()),
            Material::Rsa(pair) => {
                let (modulus, exponent) = (pair.public_key().modulus(), pair.public_key().exponent());
                rsa_spki(
                    modulus.big_endian_without_leading_zero(),
                    exponent.big_endian_without_leading_zero(),
                )
            }
        }
    }

    /// TPMT_SIGNATURE over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let header = wire(&[self.scheme.0, self.scheme.1]);
        let random = SystemRandom::new();
        match &self.material {
            Material::Ecc(pair) => {
                let signature = pair.sign(&random, message).expect("ECDSA");
                let (r, s) = signature.as_ref().split_at(32);
                [header, sized(r), sized(s)].concat()
            }
            Material::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding = if self.scheme.0 == 0x0016 {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                pair.sign(padding, &random, message, &mut signature)
                    .expect("RSA signature");
                [header, sized(&signature)].concat()
            }
        }
    }

    /// Signature over `message` as X.509 has it: ECDSA with SHA-256, DER, or RSA PKCS #1 v1.5 with SHA-256.
    #[must_use]
    pub fn sign_x509(&self, message: &[u8]) -> Vec<u8> {
        match &self.material {
            Material::Ecc(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).expect("ECDSA");
                let (r, s) = signature.as_ref().split_at(32);
                sequence(&[&unsigned(r), &unsigned(s)])
            }
            Material::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .expect("RSA signature");
                signature
            }
        }
    }

    /// A CSR for `spki`, signed by this key.
    #[must_use]
    pub fn csr_for(&self, spki: &[u8]) -> Vec<u8> {
        self.csr(spki, &[])
    }

    /// A CSR for this key that asks for a URI name.
    #[must_use]
    pub fn csr_naming(&self, uri: &str) -> Vec<u8> {
        let names = sequence(&[&super::element(0x86, uri.as_bytes())]);
        let san = sequence(&[&oid("2.5.29.17"), &super::element(0x04, &names)]);
        let extensions = super::element(0x31, &sequence(&[&san]));
        self.csr(&self.spki(), &sequence(&[&oid("1.2.840.113549.1.9.14"), &extensions]))
    }

    fn csr(&self, spki: &[u8], attributes: &[u8]) -> Vec<u8> {
        let info = sequence(&[&unsigned(&[0]), &sequence(&[]), spki, &super::element(0xa0, attributes)]);
        let algorithm = sequence(&[&oid("1.2.840.10045.4.3.2")]);
        sequence(&[&info, &algorithm, &bit_string(&self.sign_x509(&info))])
    }
}

/// 16-bit numbers, big-endian.
pub(super) fn wire(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// x and y of an uncompressed P-256 point.
pub(super) fn coordinates(point: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (_, xy) = point.split_first().expect("a point");
    let (x, y) = xy.split_at(xy.len() / 2);
    (x.to_vec(), y.to_vec())
}

/// SPKI of a P-256 point.
pub(super) fn p256_spki(point: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[&oid("1.2.840.10045.2.1"), &oid("1.2.840.10045.3.1.7")]);
    sequence(&[&algorithm, &bit_string(point)])
}

/// SPKI of an RSA key under rsaEncryption.
pub(super) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[&oid("1.2.840.113549.1.1.1"), &[0x05, 0x00]]);
    sequence(&[
        &algorithm,
        &bit_string(&sequence(&[&unsigned(modulus), &unsigned(exponent)])),
    ])
}
