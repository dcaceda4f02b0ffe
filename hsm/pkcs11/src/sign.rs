//! Signing, and verifying what was signed.

use std::sync::Arc;

use hallmark_hsm::{HsmError, KeyId, KeyKind, SignatureAlg};

use crate::{
    connection::{Connection, LoadedKey},
    der,
    failure::Failure,
    keys,
    mechanisms::{self, Way},
    public::PublicHalf,
};

/// What is signed to see whether a token works. It is neither DER nor a JWT, so it can pass as nothing else.
const PROBE: &[u8] = b"hallmark: a probe, not a certificate: does the token sign?";

/// Signatures that nobody has verified yet. There is no other way to them than by verifying all of them.
#[derive(Debug)]
pub(crate) struct Unverified {
    signatures: Vec<Vec<u8>>,
    public: Arc<PublicHalf>,
    algorithm: SignatureAlg,
    /// The opening of the token in which they were made.
    pub(crate) generation: u64,
}

impl Unverified {
    /// The signatures, if each of them verifies; one P-256 signature costs about as much as making it in software.
    pub(crate) fn verified(self, messages: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
        let all = self.signatures.len() == messages.len()
            && messages
                .iter()
                .zip(&self.signatures)
                .all(|(message, signature)| self.public.verifies(self.algorithm, message, signature));
        all.then_some(self.signatures)
    }
}

/// Signs every message with the key, which is looked up once per session.
pub(crate) fn batch(
    connection: &mut Connection,
    id: &KeyId,
    algorithm: SignatureAlg,
    messages: &[Vec<u8>],
) -> Result<Unverified, Failure> {
    let known = connection.keys.contains_key(id);
    let made = match all(connection, id, algorithm, messages) {
        // The handle was known and has gone stale: the key may have been made anew, or the token exchanged.
        Err(Failure::StaleHandle) if known => {
            connection.keys.remove(id);
            all(connection, id, algorithm, messages)
        }
        other => other,
    };
    match made {
        // It was there, and nobody here has destroyed it: rather the token is away.
        Err(Failure::Final(HsmError::KeyMissing { .. })) if connection.seen.misses(id) => Err(Failure::StaleHandle),
        other => other,
    }
}

fn all(
    connection: &mut Connection,
    id: &KeyId,
    algorithm: SignatureAlg,
    messages: &[Vec<u8>],
) -> Result<Unverified, Failure> {
    let key = keys::load(connection, id)?;
    if !key.kind.algorithms().contains(&algorithm) {
        return Err(Failure::Final(HsmError::WrongAlgorithm {
            kind: key.kind,
            algorithm,
        }));
    }
    connection.seen.used(id);
    let signatures = messages
        .iter()
        .map(|message| one(connection, &key, algorithm, message))
        .collect::<Result<_, _>>()?;
    Ok(Unverified {
        signatures,
        public: key.public,
        algorithm,
        generation: connection.generation,
    })
}

/// One signature, not verified. Where the token lists two ways and the first does not work, the second is tried, and the one that
/// works is kept to: what a token lists it need not do with keys that only sign.
pub(crate) fn one(
    connection: &Connection,
    key: &LoadedKey,
    algorithm: SignatureAlg,
    message: &[u8],
) -> Result<Vec<u8>, Failure> {
    if let Some(way) = connection.seen.way(algorithm) {
        return by(way, connection, key, algorithm, message);
    }
    let (first, other) = connection.mechanisms.ways(algorithm)?;
    let (signed, way) = match (by(first, connection, key, algorithm, message), other) {
        (
            Err(Failure::Gone(HsmError::DeviceError { .. }) | Failure::Final(HsmError::NotSupported { .. })),
            Some(other),
        ) => (by(other, connection, key, algorithm, message), other),
        (signed, _) => (signed, first),
    };
    if signed.is_ok() {
        connection.seen.works(algorithm, way);
    }
    signed
}

fn by(
    way: Way,
    connection: &Connection,
    key: &LoadedKey,
    algorithm: SignatureAlg,
    message: &[u8],
) -> Result<Vec<u8>, Failure> {
    let (mechanism, input) = mechanisms::request(algorithm, way, message);
    connection.pulse.beat();
    let raw = connection
        .session
        .sign(&mechanism, key.handle, &input)
        .map_err(connection.failed("signing"))?;
    let len = raw.len();
    let fits = |wanted| Some(raw.clone()).filter(|_| len == wanted);
    let signature = match key.kind {
        KeyKind::EcP256 | KeyKind::EcP384 | KeyKind::EcP521 => der::ecdsa_signature(key.kind, &raw),
        KeyKind::Rsa2048 => fits(256),
        KeyKind::Rsa3072 => fits(384),
        KeyKind::Rsa4096 => fits(512),
        KeyKind::Ed25519 => fits(64),
    };
    // A token that answers so is not to be used before it was seen to work again.
    signature.ok_or(Failure::Gone(HsmError::BadSignature { len }))
}

/// Has the token sign with the key that was used last, and verifies the signature: sessions that open show nothing. With no key
/// used yet there is nothing to see.
pub(crate) fn prove(connection: &mut Connection) -> Result<(), Failure> {
    let Some(id) = connection.seen.latest() else {
        return Ok(());
    };
    let key = match keys::load(connection, &id) {
        Ok(key) => key,
        Err(Failure::Final(error @ HsmError::KeyMissing { .. })) => return Err(Failure::Gone(error)),
        // What is wrong with the key is told to whoever wants to use it.
        Err(Failure::Final(_)) => return Ok(()),
        Err(other) => return Err(other),
    };
    let algorithm = key.kind.signature_alg();
    let signature = one(connection, &key, algorithm, PROBE)?;
    if key.public.verifies(algorithm, PROBE, &signature) {
        return Ok(());
    }
    Err(Failure::Gone(HsmError::SignatureWrong {
        label: connection.label.to_string(),
        key: id.to_string(),
    }))
}
