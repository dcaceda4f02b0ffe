//! The public half of a key: what its signatures are verified with before they leave.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use hallmark_hsm::{KeyId, KeyKind, SignatureAlg};

use crate::mechanisms::Way;

/// A public key, read once.
pub(crate) struct PublicHalf {
    spki: Vec<u8>,
    /// For the algorithm that such keys usually sign with.
    usual: (SignatureAlg, ParsedPublicKey),
}

impl PublicHalf {
    /// `None` when the bytes are no key of this kind.
    pub(crate) fn read(kind: KeyKind, spki: &[u8]) -> Option<Self> {
        let algorithm = kind.signature_alg();
        let parsed = ParsedPublicKey::new(verification(algorithm), spki).ok()?;
        Some(Self {
            spki: spki.to_vec(),
            usual: (algorithm, parsed),
        })
    }

    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether this key verifies `signature` of `message`.
    pub(crate) fn verifies(&self, algorithm: SignatureAlg, message: &[u8], signature: &[u8]) -> bool {
        let (usual, parsed) = &self.usual;
        if *usual == algorithm {
            return parsed.verify_sig(message, signature).is_ok();
        }
        ParsedPublicKey::new(verification(algorithm), &self.spki)
            .is_ok_and(|parsed| parsed.verify_sig(message, signature).is_ok())
    }
}

impl fmt::Debug for PublicHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicHalf").finish_non_exhaustive()
    }
}

fn verification(algorithm: SignatureAlg) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        SignatureAlg::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
        SignatureAlg::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        SignatureAlg::EcdsaP521Sha512 => &ECDSA_P521_SHA512_ASN1,
        SignatureAlg::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        SignatureAlg::RsaPkcs1Sha384 => &RSA_PKCS1_2048_8192_SHA384,
        SignatureAlg::RsaPkcs1Sha512 => &RSA_PKCS1_2048_8192_SHA512,
        SignatureAlg::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
        SignatureAlg::RsaPssSha384 => &RSA_PSS_2048_8192_SHA384,
        SignatureAlg::RsaPssSha512 => &RSA_PSS_2048_8192_SHA512,
        SignatureAlg::Ed25519 => &ED25519,
    }
}

/// The public halves that were seen, by the id of their keys, for as long as the store is open: another token, or a token
/// that was exchanged, cannot put another key in the place of one that has signed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    halves: Mutex<HashMap<KeyId, Arc<PublicHalf>>>,
    latest: Mutex<Option<KeyId>>,
    /// The keys that were there when they were last looked for.
    present: Mutex<HashSet<KeyId>>,
    /// How the token was seen to sign, by algorithm: some list what they cannot do with keys that only sign.
    ways: Mutex<HashMap<SignatureAlg, Way>>,
}

impl Seen {
    /// The half to verify with: the one that was seen first. `None` when `found` is another one, or no key.
    pub(crate) fn first(&self, id: &KeyId, kind: KeyKind, found: &[u8]) -> Option<Arc<PublicHalf>> {
        match self.halves().get(id) {
            Some(known) => (known.spki() == found).then(|| Arc::clone(known)),
            None => PublicHalf::read(kind, found).map(Arc::new),
        }
    }

    /// Remembers a half; one that is known stays.
    pub(crate) fn keep(&self, id: &KeyId, half: &Arc<PublicHalf>) {
        self.halves().entry(id.clone()).or_insert_with(|| Arc::clone(half));
        lock(&self.present).insert(id.clone());
    }

    /// The key is destroyed.
    pub(crate) fn forget(&self, id: &KeyId) {
        self.halves().remove(id);
        lock(&self.present).remove(id);
        let mut latest = lock(&self.latest);
        if latest.as_ref() == Some(id) {
            *latest = None;
        }
    }

    /// The key that was used last. After a loss it shows whether the token signs again.
    pub(crate) fn latest(&self) -> Option<KeyId> {
        lock(&self.latest).clone()
    }

    /// Whether a key that is missing was there before; once.
    pub(crate) fn misses(&self, id: &KeyId) -> bool {
        lock(&self.present).remove(id)
    }

    pub(crate) fn forget_latest(&self) {
        *lock(&self.latest) = None;
    }

    pub(crate) fn used(&self, id: &KeyId) {
        let mut latest = lock(&self.latest);
        if latest.as_ref() != Some(id) {
            *latest = Some(id.clone());
        }
    }

    /// The way that has worked.
    pub(crate) fn way(&self, algorithm: SignatureAlg) -> Option<Way> {
        lock(&self.ways).get(&algorithm).copied()
    }

    pub(crate) fn works(&self, algorithm: SignatureAlg, way: Way) {
        lock(&self.ways).insert(algorithm, way);
    }

    fn halves(&self) -> MutexGuard<'_, HashMap<KeyId, Arc<PublicHalf>>> {
        lock(&self.halves)
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
