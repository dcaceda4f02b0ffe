//! An endorsement key in software: it opens credentials as TPM2_ActivateCredential does.
//!
//! Written on its own from TPM 2.0 part 1, 11.4.10 and 24, and annexes B and C, so that it also checks MakeCredential.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::{digest, hmac};
use hallmark_tpm_wire::credential::Credential;
use hallmark_tpm_wire::templates;

use super::key::{PublicDraft, coordinates, p256_spki, wire};
use super::sized;

/// An endorsement key with its private part.
#[derive(Debug)]
pub struct SoftwareEk {
    /// What the key claims to be.
    pub public: PublicDraft,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Ecc {
        private: PrivateKey,
        point: Vec<u8>,
    },
    Rsa {
        private: PrivateDecryptingKey,
        spki: Vec<u8>,
    },
}

impl SoftwareEk {
    /// A P-256 key after template L-2.
    #[must_use]
    pub fn ecc() -> Self {
        let private = PrivateKey::generate(&agreement::ECDH_P256).expect("P-256 key");
        let point = private.compute_public_key().expect("P-256 point").as_ref().to_vec();
        let (x, y) = coordinates(&point);
        // AES, 128, CFB; scheme null; P-256; kdf null
        let parameters = wire(&[0x0006, 128, 0x0043, 0x0010, 0x0003, 0x0010]);
        let unique = [sized(&x), sized(&y)].concat();
        Self {
            public: public(0x0023, parameters, unique),
            material: Material::Ecc { private, point },
        }
    }

    /// An RSA-2048 key after template L-1.
    #[must_use]
    pub fn rsa() -> Self {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("RSA key");
        let der: PublicKeyX509Der<'_> = private.public_key().as_der().expect("RSA public key");
        let spki = der.as_ref().to_vec();
        // SEQUENCE, AlgorithmIdentifier, BIT STRING, SEQUENCE, INTEGER: for 2048 bits the modulus stands at byte 33.
        let modulus = spki.get(33..33 + 256).expect("modulus of 2048 bits");
        // AES, 128, CFB; scheme null; 2048 bits; exponent 0
        let parameters = wire(&[0x0006, 128, 0x0043, 0x0010, 2048, 0, 0]);
        let unique = sized(modulus);
        Self {
            public: public(0x0001, parameters, unique),
            material: Material::Rsa { private, spki },
        }
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        match &self.material {
            Material::Ecc { point, .. } => p256_spki(point),
            Material::Rsa { spki, .. } => spki.clone(),
        }
    }

    /// True if an EK certificate for this key needs keyAgreement, false if keyEncipherment.
    #[must_use]
    pub const fn is_ecc(&self) -> bool {
        matches!(self.material, Material::Ecc { .. })
    }

    /// TPM2_ActivateCredential with a loaded key of Name `name`: the secret, or `None` where a TPM answers
    /// TPM_RC_INTEGRITY or TPM_RC_VALUE.
    #[must_use]
    pub fn activate(&self, credential: &Credential, name: &[u8]) -> Option<Vec<u8>> {
        let seed = self.seed(&credential.encrypted_secret)?;
        let (size, rest) = credential.id_object.split_first_chunk::<2>()?;
        let (mac, identity) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        let mac_key = kdfa(&seed, "INTEGRITY", &[], 256);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &mac_key);
        hmac::verify(&key, &[identity, name].concat(), mac).ok()?;
        let cipher = UnboundCipherKey::new(&AES_128, &kdfa(&seed, "STORAGE", name, 128)).ok()?;
        let mut plain = identity.to_vec();
        let start = DecryptionContext::Iv128(FixedLength::from([0; 16]));
        let opened = DecryptingKey::cfb128(cipher).ok()?.decrypt(&mut plain, start).ok()?;
        let (size, secret) = opened.split_first_chunk::<2>()?;
        secret.get(..usize::from(u16::from_be_bytes(*size))).map(<[u8]>::to_vec)
    }

    fn seed(&self, encrypted: &[u8]) -> Option<Vec<u8>> {
        match &self.material {
            Material::Ecc { private, point } => {
                let (x, y) = (encrypted.get(2..34)?, encrypted.get(36..68)?);
                let peer = UnparsedPublicKey::new(&agreement::ECDH_P256, [&[0x04], x, y].concat());
                let z = agreement::agree(private, peer, (), |z| Ok(z.to_vec())).ok()?;
                let (own_x, _) = coordinates(point);
                Some(kdfe(&z, "IDENTITY", x, &own_x))
            }
            Material::Rsa { private, .. } => {
                let key = OaepPrivateDecryptingKey::new(private.clone()).ok()?;
                let mut room = vec![0; key.min_output_size()];
                let seed = key
                    .decrypt(&OAEP_SHA256_MGF1SHA256, encrypted, &mut room, Some(b"IDENTITY\0"))
                    .ok()?;
                Some(seed.to_vec())
            }
        }
    }
}

fn public(object_type: u16, parameters: Vec<u8>, unique: Vec<u8>) -> PublicDraft {
    PublicDraft {
        object_type,
        name_alg: 0x000b,
        attributes: templates::EK_LOW_ATTRIBUTES.bits(),
        auth_policy: templates::POLICY_A_SHA256.to_vec(),
        parameters,
        unique,
    }
}

/// KDFa with SHA-256, one block (TPM 2.0 part 1, 11.4.10.2).
fn kdfa(key: &[u8], label: &str, context: &[u8], bits: u32) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let message = [
        &1_u32.to_be_bytes()[..],
        label.as_bytes(),
        &[0],
        context,
        &bits.to_be_bytes(),
    ]
    .concat();
    let mut block = hmac::sign(&key, &message).as_ref().to_vec();
    block.truncate(usize::try_from(bits / 8).expect("a few bytes"));
    block
}

/// KDFe with SHA-256, one block (TPM 2.0 part 1, 11.4.10.3).
fn kdfe(z: &[u8], label: &str, party_u: &[u8], party_v: &[u8]) -> Vec<u8> {
    let message = [&1_u32.to_be_bytes()[..], z, label.as_bytes(), &[0], party_u, party_v].concat();
    digest::digest(&digest::SHA256, &message).as_ref().to_vec()
}
