//! Signing.

use aws_lc_rs::digest::{self, SHA256, SHA384};
use cryptoki::mechanism::Mechanism;
use hallmark_hsm::{HsmError, KeyId, KeyKind, SignatureAlg};

use crate::{
    connection::{Connection, LoadedKey},
    der,
    failure::Failure,
    keys,
};

/// Signs every message with the key, which is looked up once per session.
pub(crate) fn batch(
    connection: &mut Connection,
    id: &KeyId,
    algorithm: SignatureAlg,
    messages: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>, Failure> {
    let known = connection.keys.contains_key(id);
    match all(connection, id, algorithm, messages) {
        // The handle was known and has gone stale: the key may have been made anew, or the token exchanged.
        Err(Failure::StaleHandle) if known => {
            connection.keys.remove(id);
            match all(connection, id, algorithm, messages) {
                Err(Failure::Final(HsmError::KeyMissing { .. })) => Err(Failure::StaleHandle),
                other => other,
            }
        }
        other => other,
    }
}

fn all(
    connection: &mut Connection,
    id: &KeyId,
    algorithm: SignatureAlg,
    messages: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>, Failure> {
    let key = keys::load(connection, id)?;
    if key.kind.signature_alg() != algorithm {
        return Err(Failure::Final(HsmError::WrongAlgorithm {
            kind: key.kind,
            algorithm,
        }));
    }
    messages.iter().map(|message| one(connection, key, message)).collect()
}

/// Hashes in software: many tokens lack the mechanisms that hash as well.
pub(crate) fn one(connection: &Connection, key: LoadedKey, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let (mechanism, input) = match key.kind {
        KeyKind::EcP256 => (Mechanism::Ecdsa, digest::digest(&SHA256, message).as_ref().to_vec()),
        KeyKind::EcP384 => (Mechanism::Ecdsa, digest::digest(&SHA384, message).as_ref().to_vec()),
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => (
            Mechanism::RsaPkcs,
            der::digest_info_sha256(digest::digest(&SHA256, message).as_ref()),
        ),
    };
    let raw = connection
        .session
        .sign(&mechanism, key.handle, &input)
        .map_err(connection.failed("signing"))?;
    let len = raw.len();
    let signature = match key.kind {
        KeyKind::EcP256 | KeyKind::EcP384 => der::ecdsa_signature(key.kind, &raw),
        KeyKind::Rsa2048 => Some(raw).filter(|_| len == 256),
        KeyKind::Rsa3072 => Some(raw).filter(|_| len == 384),
        KeyKind::Rsa4096 => Some(raw).filter(|_| len == 512),
    };
    signature.ok_or(Failure::Final(HsmError::BadSignature { len }))
}
