//! Making, finding, listing and destroying keys.

use aws_lc_rs::rand;
use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, ObjectClass, ObjectHandle},
    types::Ulong,
};
use hallmark_der::NamedCurve;
use hallmark_hsm::{HsmError, KeyId, KeyInfo, KeyKind};

use crate::{
    attributes::{self, ED25519_PARAMETERS, PrivateFacts},
    connection::{Connection, LoadedKey},
    failure::Failure,
    sign,
};

/// What is signed to see whether both halves belong together. It is neither DER nor a JWT, so it can pass as nothing else.
const TOGETHER: &[u8] = b"hallmark: do both halves belong together?";

/// Makes a key and checks that it is as asked for; one that is not is destroyed again.
pub(crate) fn generate(connection: &mut Connection, label: &str, kind: KeyKind) -> Result<KeyInfo, Failure> {
    connection.mechanisms.require(kind)?;
    connection.check_login()?;
    let taken = [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY]
        .into_iter()
        .map(|class| labelled(connection, class, label))
        .collect::<Result<Vec<_>, _>>()?;
    if taken.iter().any(|found| !found.is_empty()) {
        return Err(Failure::Final(HsmError::KeyExists {
            label: label.to_owned(),
        }));
    }
    let mut id = [0; 16];
    rand::fill(&mut id).map_err(|_| HsmError::DeviceError {
        function: "choosing a key's id".to_owned(),
        cause: "the system gives no random bytes".to_owned(),
    })?;
    let (public, private) = generate_pair(connection, label, kind, &id)?;
    let made = PrivateFacts::read(connection, private).and_then(|facts| whole(connection, facts, private, public));
    // Some make a key for which they have no words, of a curve that they half know.
    let made = match made {
        Err(Failure::Final(HsmError::KeyIncomplete { cause, .. })) => Err(Failure::Final(HsmError::NotSupported {
            what: format!("{kind} keys"),
            cause: format!("it made one, and {cause}"),
        })),
        Ok(made) if made.kind != kind => Err(Failure::Final(HsmError::NotSupported {
            what: format!("{kind} keys"),
            cause: format!("it made one of {}", made.kind),
        })),
        other => other,
    };
    if made.is_err() {
        for handle in [private, public] {
            if let Err(error) = connection.session.destroy_object(handle) {
                tracing::warn!(label, %error, "a key that is not safe could not be destroyed again");
            }
        }
    }
    made
}

fn generate_pair(
    connection: &Connection,
    label: &str,
    kind: KeyKind,
    id: &[u8],
) -> Result<(ObjectHandle, ObjectHandle), Failure> {
    let made = call_generate(connection, label, kind, id, true);
    let Err(Failure::Gone(HsmError::DeviceError { .. }) | Failure::Final(HsmError::TokenFull { .. })) = made else {
        return made;
    };
    // Some drivers do not say that there is no room, and others say so when they have lost their device. A key that is made but
    // not stored tells.
    match (call_generate(connection, label, kind, id, false), made) {
        (Ok((public, private)), _) => {
            for handle in [public, private] {
                let _ = connection.session.destroy_object(handle);
            }
            Err(Failure::Final(HsmError::TokenFull {
                label: connection.label.to_string(),
            }))
        }
        (Err(Failure::Final(HsmError::TokenFull { .. })), _) => Err(Failure::Gone(HsmError::DeviceError {
            function: "the making of a key".to_owned(),
            cause: "no memory, neither for a key that is stored nor for one that is not".to_owned(),
        })),
        (Err(gone @ Failure::Gone(_)), Err(Failure::Final(_))) => Err(gone),
        (Err(_), made) => made,
    }
}

/// A key pair, in the token or for the session alone.
fn call_generate(
    connection: &Connection,
    label: &str,
    kind: KeyKind,
    id: &[u8],
    on_token: bool,
) -> Result<(ObjectHandle, ObjectHandle), Failure> {
    let (mechanism, parameters) = match kind {
        KeyKind::EcP256 => (Mechanism::EccKeyPairGen, ec_parameters(NamedCurve::P256.oid())),
        KeyKind::EcP384 => (Mechanism::EccKeyPairGen, ec_parameters(NamedCurve::P384.oid())),
        KeyKind::EcP521 => (Mechanism::EccKeyPairGen, ec_parameters(NamedCurve::P521.oid())),
        KeyKind::Rsa2048 => (Mechanism::RsaPkcsKeyPairGen, rsa_parameters(2048)),
        KeyKind::Rsa3072 => (Mechanism::RsaPkcsKeyPairGen, rsa_parameters(3072)),
        KeyKind::Rsa4096 => (Mechanism::RsaPkcsKeyPairGen, rsa_parameters(4096)),
        KeyKind::Ed25519 => return edwards_pair(connection, label, id, on_token),
    };
    let (public, private) = (public(label, id, on_token, parameters), private(label, id, on_token));
    connection
        .session
        .generate_key_pair(&mechanism, &public, &private)
        .map_err(connection.failed(&format!("the making of a {kind} key")))
}

/// Tokens name the curve in different ways, and refuse what they do not know.
fn edwards_pair(
    connection: &Connection,
    label: &str,
    id: &[u8],
    on_token: bool,
) -> Result<(ObjectHandle, ObjectHandle), Failure> {
    let make = |curve: &[u8]| {
        let (public, private) = (
            public(label, id, on_token, ec_parameters(curve)),
            private(label, id, on_token),
        );
        connection
            .session
            .generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private)
            .map_err(connection.failed("the making of an ed25519 key"))
    };
    let [usual, others @ ..] = ED25519_PARAMETERS;
    others.iter().fold(make(usual), |made, curve| match made {
        Err(Failure::Final(HsmError::NotSupported { .. } | HsmError::DeviceError { .. }) | Failure::Gone(_)) => {
            make(curve).or(made)
        }
        other => other,
    })
}

/// CKA_VERIFY is left out: some tokens refuse it beside what the private half is denied, and nothing is verified in the token.
fn public(label: &str, id: &[u8], on_token: bool, parameters: Vec<Attribute>) -> Vec<Attribute> {
    let mut public = vec![
        Attribute::Token(on_token),
        Attribute::Label(label.into()),
        Attribute::Id(id.into()),
    ];
    public.extend(parameters);
    public
}

fn private(label: &str, id: &[u8], on_token: bool) -> Vec<Attribute> {
    vec![
        Attribute::Token(on_token),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::Label(label.into()),
        Attribute::Id(id.into()),
    ]
}

fn ec_parameters(curve: &[u8]) -> Vec<Attribute> {
    vec![Attribute::EcParams(curve.into())]
}

fn rsa_parameters(bits: u32) -> Vec<Attribute> {
    vec![
        Attribute::ModulusBits(Ulong::new(bits.into())),
        Attribute::PublicExponent(vec![1, 0, 1]),
    ]
}

/// The key with this label, whole and safe.
pub(crate) fn find(connection: &mut Connection, label: &str) -> Result<Option<KeyInfo>, Failure> {
    connection.check_login()?;
    let privates = labelled(connection, ObjectClass::PRIVATE_KEY, label)?;
    let publics = labelled(connection, ObjectClass::PUBLIC_KEY, label)?;
    match (privates.as_slice(), publics.as_slice()) {
        ([], []) => Ok(None),
        ([private], [public]) => {
            let facts = PrivateFacts::read(connection, *private)?;
            whole(connection, facts, *private, *public).map(Some)
        }
        ([_], []) => Err(incomplete(label, "its public half is missing")),
        ([], [_]) => Err(incomplete(label, "its private half is missing")),
        (privates, publics) => Err(Failure::Final(HsmError::KeyAmbiguous {
            key: format!("{label:?}"),
            count: privates.len().max(publics.len()),
        })),
    }
}

/// Every private key of a known kind whose public half is there.
pub(crate) fn list(connection: &mut Connection) -> Result<Vec<KeyInfo>, Failure> {
    connection.check_login()?;
    let mut keys = Vec::new();
    for handle in search(connection, &[Attribute::Class(ObjectClass::PRIVATE_KEY)])? {
        connection.pulse.beat();
        let facts = PrivateFacts::read(connection, handle)?;
        let Some(kind) = facts.kind else {
            continue;
        };
        let publics = with_id(connection, ObjectClass::PUBLIC_KEY, &facts.id)?;
        let spki = match publics.first() {
            Some(public) => attributes::spki(connection, *public, kind)?,
            None => None,
        };
        if let Some(spki) = spki {
            keys.push(facts.into_info(kind, spki));
        }
    }
    keys.sort_by(|a, b| (&a.label, &a.id).cmp(&(&b.label, &b.id)));
    Ok(keys)
}

/// Destroys both halves.
pub(crate) fn destroy(connection: &mut Connection, id: &KeyId) -> Result<(), Failure> {
    connection.check_login()?;
    let private = only(connection, ObjectClass::PRIVATE_KEY, id)?;
    connection.keys.remove(id);
    let publics = with_id(connection, ObjectClass::PUBLIC_KEY, id)?;
    for handle in std::iter::once(private).chain(publics) {
        connection
            .session
            .destroy_object(handle)
            .map_err(connection.failed("destroying a key"))?;
    }
    connection.seen.forget(id);
    Ok(())
}

/// The private key with this id, from this session's memory or found and checked anew.
pub(crate) fn load(connection: &mut Connection, id: &KeyId) -> Result<LoadedKey, Failure> {
    if let Some(known) = connection.keys.get(id) {
        return Ok(known.clone());
    }
    connection.check_login()?;
    let handle = only(connection, ObjectClass::PRIVATE_KEY, id)?;
    let facts = PrivateFacts::read(connection, handle)?;
    facts.check(connection.policy)?;
    let public = only(connection, ObjectClass::PUBLIC_KEY, id).map_err(|failure| match failure {
        Failure::Final(HsmError::KeyMissing { .. }) => incomplete(&facts.label, "its public half is missing"),
        other => other,
    })?;
    let loaded = loaded(connection, &facts, handle, public)?;
    connection.seen.keep(id, &loaded.public);
    connection.keys.insert(id.clone(), loaded.clone());
    Ok(loaded)
}

/// The key with its public half, which stays the one that was seen first.
fn loaded(
    connection: &Connection,
    facts: &PrivateFacts,
    handle: ObjectHandle,
    public: ObjectHandle,
) -> Result<LoadedKey, Failure> {
    let Some(kind) = facts.kind else {
        return Err(incomplete(&facts.label, "it is of a kind that is not used here"));
    };
    let Some(spki) = attributes::spki(connection, public, kind)? else {
        return Err(incomplete(&facts.label, "its public half is not readable"));
    };
    let Some(public) = connection.seen.first(&facts.id, kind, &spki) else {
        return Err(incomplete(
            &facts.label,
            "its public half is another than it was, or no key",
        ));
    };
    Ok(LoadedKey { handle, kind, public })
}

/// Checks that the key is safe and that both halves belong together: by id, and by a signature.
fn whole(
    connection: &mut Connection,
    facts: PrivateFacts,
    private: ObjectHandle,
    public: ObjectHandle,
) -> Result<KeyInfo, Failure> {
    facts.check(connection.policy)?;
    if facts.id.as_bytes().is_empty() || attributes::public_id(connection, public)? != facts.id {
        return Err(incomplete(&facts.label, "its halves have no common CKA_ID"));
    }
    // Signing finds the key by its id alone.
    only(connection, ObjectClass::PRIVATE_KEY, &facts.id)?;
    let loaded = loaded(connection, &facts, private, public)?;
    let algorithm = loaded.kind.signature_alg();
    let signature = sign::one(connection, &loaded, algorithm, TOGETHER)?;
    if !loaded.public.verifies(algorithm, TOGETHER, &signature) {
        return Err(incomplete(&facts.label, "its public half is another key's"));
    }
    connection.seen.keep(&facts.id, &loaded.public);
    let (kind, spki) = (loaded.kind, loaded.public.spki().to_vec());
    connection.keys.insert(facts.id.clone(), loaded);
    Ok(facts.into_info(kind, spki))
}

fn only(connection: &Connection, class: ObjectClass, id: &KeyId) -> Result<ObjectHandle, Failure> {
    match with_id(connection, class, id)?.as_slice() {
        [] => Err(Failure::Final(HsmError::KeyMissing { key: id.to_string() })),
        [handle] => Ok(*handle),
        several => Err(Failure::Final(HsmError::KeyAmbiguous {
            key: id.to_string(),
            count: several.len(),
        })),
    }
}

fn labelled(connection: &Connection, class: ObjectClass, label: &str) -> Result<Vec<ObjectHandle>, Failure> {
    search(connection, &[Attribute::Class(class), Attribute::Label(label.into())])
}

fn with_id(connection: &Connection, class: ObjectClass, id: &KeyId) -> Result<Vec<ObjectHandle>, Failure> {
    search(
        connection,
        &[Attribute::Class(class), Attribute::Id(id.as_bytes().into())],
    )
}

fn search(connection: &Connection, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Failure> {
    connection.pulse.beat();
    connection
        .session
        .find_objects(template)
        .map_err(connection.failed("searching for keys"))
}

fn incomplete(label: &str, cause: &str) -> Failure {
    Failure::Final(HsmError::KeyIncomplete {
        label: label.to_owned(),
        cause: cause.to_owned(),
    })
}
