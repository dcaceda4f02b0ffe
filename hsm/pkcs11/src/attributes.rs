//! What the token says about a key, read back from it.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use hallmark_der::NamedCurve;
use hallmark_hsm::{HsmError, KeyId, KeyInfo, KeyKind};

use crate::{connection::Connection, der, failure::Failure};

/// How tokens name the curve of Ed25519 in CKA_EC_PARAMS, in the order in which they are tried: the OBJECT IDENTIFIER of RFC 8410,
/// the PrintableString `edwards25519` and the older OBJECT IDENTIFIER 1.3.6.1.4.1.11591.15.1.
pub(crate) const ED25519_PARAMETERS: [&[u8]; 3] = [
    hallmark_der::ED25519,
    b"\x13\x0cedwards25519",
    &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01],
];

/// The attributes of a private key that decide whether it may be used. What the token does not tell counts as the
/// worse answer.
#[derive(Debug, Clone)]
pub(crate) struct PrivateFacts {
    pub(crate) id: KeyId,
    pub(crate) label: String,
    /// `None` for keys of a kind that is not used here.
    pub(crate) kind: Option<KeyKind>,
    on_token: bool,
    private: bool,
    sign: bool,
    sensitive: bool,
    always_sensitive: bool,
    extractable: bool,
    never_extractable: bool,
    local: bool,
    /// Uses other than signing. What the token does not tell is not there: many kinds of keys have no such use.
    decrypt: bool,
    unwrap: bool,
    derive: bool,
}

/// What is demanded of keys beside what always is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// CKA_LOCAL. Some tokens do not keep it.
    pub(crate) require_local: bool,
}

impl PrivateFacts {
    pub(crate) fn read(connection: &Connection, handle: ObjectHandle) -> Result<Self, Failure> {
        let mut facts = Self {
            id: KeyId::new(&[]),
            label: String::new(),
            kind: None,
            on_token: false,
            private: false,
            sign: false,
            sensitive: false,
            always_sensitive: false,
            extractable: true,
            never_extractable: false,
            local: false,
            decrypt: false,
            unwrap: false,
            derive: false,
        };
        let wanted = [
            AttributeType::Id,
            AttributeType::Label,
            AttributeType::Token,
            AttributeType::Private,
            AttributeType::Sign,
            AttributeType::Sensitive,
            AttributeType::AlwaysSensitive,
            AttributeType::Extractable,
            AttributeType::NeverExtractable,
            AttributeType::Local,
            AttributeType::Decrypt,
            AttributeType::Unwrap,
            AttributeType::Derive,
        ];
        for attribute in read(connection, handle, &wanted)? {
            match attribute {
                Attribute::Id(id) => facts.id = KeyId::new(&id),
                Attribute::Label(label) => facts.label = text(&label),
                Attribute::Token(value) => facts.on_token = value,
                Attribute::Private(value) => facts.private = value,
                Attribute::Sign(value) => facts.sign = value,
                Attribute::Sensitive(value) => facts.sensitive = value,
                Attribute::AlwaysSensitive(value) => facts.always_sensitive = value,
                Attribute::Extractable(value) => facts.extractable = value,
                Attribute::NeverExtractable(value) => facts.never_extractable = value,
                Attribute::Local(value) => facts.local = value,
                Attribute::Decrypt(value) => facts.decrypt = value,
                Attribute::Unwrap(value) => facts.unwrap = value,
                Attribute::Derive(value) => facts.derive = value,
                _ => {}
            }
        }
        facts.kind = kind(connection, handle)?;
        Ok(facts)
    }

    /// Fails unless the key is kept so that it cannot leave, and never could, and can do nothing but sign.
    pub(crate) fn check(&self, policy: Policy) -> Result<(), HsmError> {
        let properties: Vec<String> = [
            ("CKA_TOKEN", self.on_token, true),
            ("CKA_PRIVATE", self.private, true),
            ("CKA_SIGN", self.sign, true),
            ("CKA_SENSITIVE", self.sensitive, true),
            ("CKA_ALWAYS_SENSITIVE", self.always_sensitive, true),
            ("CKA_EXTRACTABLE", self.extractable, false),
            ("CKA_NEVER_EXTRACTABLE", self.never_extractable, true),
            ("CKA_LOCAL", self.local || !policy.require_local, true),
            ("CKA_DECRYPT", self.decrypt && self.is_rsa(), false),
            ("CKA_UNWRAP", self.unwrap && self.is_rsa(), false),
            ("CKA_DERIVE", self.derive && !self.is_rsa(), false),
        ]
        .into_iter()
        .filter(|(_, found, wanted)| found != wanted)
        .map(|(name, found, wanted)| format!("{name} is {found}, must be {wanted}"))
        .collect();
        if properties.is_empty() {
            return Ok(());
        }
        Err(HsmError::KeyExposed {
            label: self.label.clone(),
            properties: properties.join("; "),
        })
    }

    /// Only RSA keys can decrypt and unwrap, and only elliptic-curve keys derive; of the others tokens say what they like.
    const fn is_rsa(&self) -> bool {
        matches!(self.kind, Some(KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096))
    }

    pub(crate) fn into_info(self, kind: KeyKind, spki_der: Vec<u8>) -> KeyInfo {
        let does_more = if self.is_rsa() {
            self.decrypt || self.unwrap
        } else {
            self.derive
        };
        let sign_only = self.sign && !does_more;
        KeyInfo {
            label: self.label,
            id: self.id,
            kind,
            spki_der,
            sensitive: self.sensitive,
            always_sensitive: self.always_sensitive,
            extractable: self.extractable,
            never_extractable: self.never_extractable,
            local: self.local,
            sign_only,
        }
    }
}

/// The id of a public key object.
pub(crate) fn public_id(connection: &Connection, handle: ObjectHandle) -> Result<KeyId, Failure> {
    let id = read(connection, handle, &[AttributeType::Id])?
        .into_iter()
        .find_map(|attribute| match attribute {
            Attribute::Id(id) => Some(KeyId::new(&id)),
            _ => None,
        });
    Ok(id.unwrap_or_else(|| KeyId::new(&[])))
}

/// The SubjectPublicKeyInfo of a public key object of the given kind; `None` when its attributes do not add up to
/// one.
pub(crate) fn spki(connection: &Connection, handle: ObjectHandle, kind: KeyKind) -> Result<Option<Vec<u8>>, Failure> {
    let wanted: &[AttributeType] = match kind {
        KeyKind::EcP256 | KeyKind::EcP384 | KeyKind::EcP521 | KeyKind::Ed25519 => &[AttributeType::EcPoint],
        _ => &[AttributeType::Modulus, AttributeType::PublicExponent],
    };
    let (mut point, mut modulus, mut exponent) = (None, None, None);
    for attribute in read(connection, handle, wanted)? {
        match attribute {
            Attribute::EcPoint(value) => point = Some(value),
            Attribute::Modulus(value) => modulus = Some(value),
            Attribute::PublicExponent(value) => exponent = Some(value),
            _ => {}
        }
    }
    Ok(match (point, modulus, exponent) {
        (Some(point), _, _) if kind == KeyKind::Ed25519 => der::ed25519_spki(&point),
        (Some(point), _, _) => der::ec_spki(kind, &point),
        (None, Some(modulus), Some(exponent)) if rsa_kind(&modulus) == Some(kind) => {
            Some(hallmark_der::rsa_spki(&modulus, &exponent))
        }
        _ => None,
    })
}

/// The kind of a key object, private or public.
pub(crate) fn kind(connection: &Connection, handle: ObjectHandle) -> Result<Option<KeyKind>, Failure> {
    let key_type = read(connection, handle, &[AttributeType::KeyType])?;
    let wanted = match key_type.as_slice() {
        [Attribute::KeyType(KeyType::EC | KeyType::EC_EDWARDS)] => AttributeType::EcParams,
        [Attribute::KeyType(KeyType::RSA)] => AttributeType::Modulus,
        _ => return Ok(None),
    };
    Ok(match read(connection, handle, &[wanted])?.as_slice() {
        [Attribute::EcParams(curve)] if curve == NamedCurve::P256.oid() => Some(KeyKind::EcP256),
        [Attribute::EcParams(curve)] if curve == NamedCurve::P384.oid() => Some(KeyKind::EcP384),
        [Attribute::EcParams(curve)] if curve == NamedCurve::P521.oid() => Some(KeyKind::EcP521),
        [Attribute::EcParams(curve)] if ED25519_PARAMETERS.contains(&curve.as_slice()) => Some(KeyKind::Ed25519),
        [Attribute::Modulus(modulus)] => rsa_kind(modulus),
        _ => None,
    })
}

fn rsa_kind(modulus: &[u8]) -> Option<KeyKind> {
    let digits: &[u8] = match modulus {
        [0, digits @ ..] => digits,
        digits => digits,
    };
    // A modulus of n bits has its highest bit set.
    match (digits.len(), digits.first()) {
        (256, Some(0x80..)) => Some(KeyKind::Rsa2048),
        (384, Some(0x80..)) => Some(KeyKind::Rsa3072),
        (512, Some(0x80..)) => Some(KeyKind::Rsa4096),
        _ => None,
    }
}

fn read(connection: &Connection, handle: ObjectHandle, wanted: &[AttributeType]) -> Result<Vec<Attribute>, Failure> {
    connection
        .session
        .get_attributes(handle, wanted)
        .map_err(connection.failed("reading a key's attributes"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
