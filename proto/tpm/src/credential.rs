//! MakeCredential in software (part 1, section 24 "Credential Protection"; part 3, section 12.6 "TPM2_MakeCredential").

use aws_lc_rs::{
    agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    cipher::{AES_128, AES_192, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    hmac,
    iv::FixedLength,
    rand::{self, SystemRandom},
    rsa::{
        OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepPublicEncryptingKey,
        PublicEncryptingKey,
    },
};
use zeroize::Zeroizing;

use crate::{
    alg::HashAlg,
    attributes::ObjectAttributes,
    curve::Curve,
    error::WireError,
    kdf::{kdfa, kdfe},
    name::Name,
    public::{EccPublic, PublicArea, PublicKind, RsaPublic},
    scheme::Symmetric,
    spki,
    writer::{Writer, with_size},
};

/// The label of the seed's protection (part 1, section 24.4), without its terminating zero.
const IDENTITY: &str = "IDENTITY";

/// A secret that only the TPM holding the endorsement key gives back, and only while a key with the named Name is
/// loaded in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `TPMS_ID_OBJECT`: what goes into TPM2_ActivateCredential's `credentialBlob`, without the outer size.
    pub id_object: Vec<u8>,
    /// What goes into TPM2_ActivateCredential's `secret`, without the outer size.
    pub encrypted_secret: Vec<u8>,
}

/// Protects `secret` so that only the TPM that holds `ek` gives it back, and only if a key named `ak_name` is in it.
///
/// Whether `ek` belongs to a trusted TPM is for the caller to know. The seed and the ephemeral key come from the
/// cryptographic library's random generator and are wiped after use.
///
/// # Errors
/// `ek` is not a restricted decryption key with a cipher (so not an endorsement key), its numbers are no valid key, or
/// `secret` is empty or longer than a digest of the key's nameAlg.
pub fn make(ek: &PublicArea, ak_name: &Name, secret: &[u8]) -> Result<Credential, WireError> {
    check_storage_key(ek)?;
    let limit = ek.name_alg().digest_len();
    if secret.is_empty() || secret.len() > limit {
        return Err(WireError::SecretLength {
            limit,
            actual: secret.len(),
        });
    }
    let (seed, encrypted_secret) = match ek.kind() {
        PublicKind::Rsa(rsa) => rsa_seed(rsa, ek.name_alg())?,
        PublicKind::Ecc(ecc) => ecc_seed(ecc, ek.name_alg())?,
        PublicKind::KeyedHash { .. } => return Err(WireError::NotAKeyPair("keyed-hash")),
        PublicKind::SymCipher { .. } => return Err(WireError::NotAKeyPair("symmetric cipher")),
    };
    let id_object = protect(ek, &seed, ak_name, secret)?;
    Ok(Credential {
        id_object,
        encrypted_secret,
    })
}

fn check_storage_key(ek: &PublicArea) -> Result<(), WireError> {
    let attributes = ek.attributes();
    if !attributes.contains(ObjectAttributes::RESTRICTED.with(ObjectAttributes::DECRYPT)) {
        return Err(WireError::NotAnEndorsementKey("it is not a restricted decryption key"));
    }
    if attributes.contains(ObjectAttributes::SIGN) {
        return Err(WireError::NotAnEndorsementKey("it may sign"));
    }
    if ek.storage_cipher() == Symmetric::Null {
        return Err(WireError::NotAnEndorsementKey("it has no cipher"));
    }
    Ok(())
}

/// A random seed, under RSA-OAEP with the key's nameAlg (part 1, annex B.10.3).
#[expect(
    clippy::disallowed_methods,
    reason = "MakeCredential draws a seed (part 1, annex B.10.3); no verdict depends on it"
)]
fn rsa_seed(key: &RsaPublic, hash: HashAlg) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), WireError> {
    let mut seed = Zeroizing::new(vec![0_u8; hash.digest_len()]);
    rand::fill(&mut seed).map_err(|_| WireError::Crypto("random generation"))?;
    let algorithm = match hash {
        HashAlg::Sha1 => {
            return Err(WireError::Weak {
                field: "nameAlg",
                found: "SHA-1",
            });
        }
        HashAlg::Sha256 => &OAEP_SHA256_MGF1SHA256,
        HashAlg::Sha384 => &OAEP_SHA384_MGF1SHA384,
        HashAlg::Sha512 => &OAEP_SHA512_MGF1SHA512,
    };
    let public = PublicEncryptingKey::from_der(&spki::rsa(key)).map_err(|_| WireError::InvalidKey("RSA"))?;
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| WireError::InvalidKey("RSA"))?;
    let mut encrypted = vec![0_u8; public.ciphertext_size()];
    let label = [IDENTITY.as_bytes(), &[0]].concat();
    let written = public
        .encrypt(algorithm, &seed, &mut encrypted, Some(&label))
        .map_err(|_| WireError::Crypto("RSA-OAEP"))?
        .len();
    encrypted.truncate(written);
    Ok((seed, encrypted))
}

/// A seed agreed between an ephemeral key and the endorsement key (part 1, annex C.6.4).
#[expect(
    clippy::disallowed_methods,
    reason = "MakeCredential draws a key (part 1, annex C.6.4); no verdict depends on it"
)]
fn ecc_seed(key: &EccPublic, hash: HashAlg) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), WireError> {
    let algorithm = match key.curve {
        Curve::P256 => &agreement::ECDH_P256,
        Curve::P384 => &agreement::ECDH_P384,
        Curve::P521 => &agreement::ECDH_P521,
    };
    let private = EphemeralPrivateKey::generate(algorithm, &SystemRandom::new())
        .map_err(|_| WireError::Crypto("ECC key generation"))?;
    let public = private
        .compute_public_key()
        .map_err(|_| WireError::Crypto("ECC key generation"))?;
    let (x, y) = public
        .as_ref()
        .split_first()
        .and_then(|(_, point)| point.split_at_checked(key.curve.coordinate_len()))
        .ok_or(WireError::Crypto("ECC point encoding"))?;
    let seed_len = digest_len_u16(hash)?;
    let peer = UnparsedPublicKey::new(algorithm, key.uncompressed_point());
    let seed = agree_ephemeral(private, peer, WireError::InvalidKey(key.curve.as_str()), |z| {
        Ok(kdfe(hash, z, IDENTITY, x, &key.x, seed_len))
    })?;
    let mut point = Writer::default();
    point.sized(x);
    point.sized(y);
    Ok((seed, point.into_bytes()))
}

/// The encrypted identity and its integrity value (part 1, sections 24.5 and 24.6).
fn protect(ek: &PublicArea, seed: &[u8], ak_name: &Name, secret: &[u8]) -> Result<Vec<u8>, WireError> {
    let hash = ek.name_alg();
    let key_len = ek.storage_cipher().key_bits().unwrap_or_default() / 8;
    let cipher_key = kdfa(hash, seed, "STORAGE", ak_name.as_bytes(), &[], key_len);
    let mut identity = Zeroizing::new(with_size("credential secret", secret)?);
    encrypt_cfb(ek.storage_cipher(), &cipher_key, &mut identity)?;

    let mac_key = kdfa(hash, seed, "INTEGRITY", &[], &[], digest_len_u16(hash)?);
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hash.hmac(), &mac_key));
    mac.update(&identity);
    mac.update(ak_name.as_bytes());

    let mut id_object = Writer::default();
    id_object.sized(mac.sign().as_ref());
    id_object.bytes(&identity);
    Ok(id_object.into_bytes())
}

/// CFB with a zero vector, as the TCG prescribes; the key is fresh for every credential.
fn encrypt_cfb(cipher: Symmetric, key: &[u8], in_out: &mut [u8]) -> Result<(), WireError> {
    let failed = |_| WireError::Crypto("AES-CFB");
    let algorithm = match cipher {
        Symmetric::Null => return Err(WireError::NotAnEndorsementKey("it has no cipher")),
        Symmetric::Aes128Cfb => &AES_128,
        Symmetric::Aes192Cfb => &AES_192,
        Symmetric::Aes256Cfb => &AES_256,
    };
    let key = UnboundCipherKey::new(algorithm, key).map_err(failed)?;
    let context = EncryptionContext::Iv128(FixedLength::from([0_u8; 16]));
    EncryptingKey::cfb128(key)
        .and_then(|key| key.less_safe_encrypt(in_out, context))
        .map_err(failed)?;
    Ok(())
}

fn digest_len_u16(hash: HashAlg) -> Result<u16, WireError> {
    u16::try_from(hash.digest_len()).map_err(|_| WireError::Crypto("digest length"))
}
