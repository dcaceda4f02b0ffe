//! The properties that each key must have (attributes: TPM 2.0 part 2, table "TPMA_OBJECT").

use hallmark_tpm_wire::{AsymScheme, Curve, HashAlg, ObjectAttributes, PublicArea, PublicKind, Symmetric, templates};

use super::{KeyError, KeyFault, KeyRole};

/// Born in this TPM and never leaving it.
const BOUND: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .with(ObjectAttributes::FIXED_PARENT)
    .with(ObjectAttributes::SENSITIVE_DATA_ORIGIN);

/// Contradicts [`BOUND`] or belongs to a kind of key that has no place here.
const NEVER: ObjectAttributes = ObjectAttributes::ENCRYPTED_DUPLICATION.with(ObjectAttributes::X509_SIGN);

/// What a role asks of the attributes. Bits in neither set are free: they say who may use the key on the node
/// (userWithAuth, adminWithPolicy, noDA) or narrow its life (stClear, firmwareLimited, svnLimited).
struct Attributes {
    required: ObjectAttributes,
    forbidden: ObjectAttributes,
}

const EK: Attributes = Attributes {
    required: BOUND.with(ObjectAttributes::RESTRICTED).with(ObjectAttributes::DECRYPT),
    forbidden: NEVER.with(ObjectAttributes::SIGN),
};
const AK: Attributes = Attributes {
    required: BOUND.with(ObjectAttributes::RESTRICTED).with(ObjectAttributes::SIGN),
    forbidden: NEVER.with(ObjectAttributes::DECRYPT),
};
const SVID: Attributes = Attributes {
    required: BOUND.with(ObjectAttributes::SIGN),
    forbidden: NEVER.with(ObjectAttributes::RESTRICTED).with(ObjectAttributes::DECRYPT),
};

/// An endorsement key: a storage key (restricted, decrypt, with a cipher and no scheme) that is bound to its TPM, as in
/// TCG EK Credential Profile, annex B. An unrestricted decryption key would open credentials for any software AK.
///
/// # Errors
/// [`KeyError`] with what is wrong.
pub(crate) fn require_ek(key: &PublicArea) -> Result<(), KeyError> {
    let role = KeyRole::Ek;
    require_attributes(key, role, &EK)?;
    let scheme = require_key_pair(key, role)?;
    if scheme != AsymScheme::Null {
        return Err(fault(
            role,
            KeyFault::Scheme {
                required: "none",
                actual: scheme.to_string(),
            },
        ));
    }
    match key.storage_cipher() {
        Symmetric::Null => Err(fault(role, KeyFault::Cipher { required: "AES-CFB" })),
        _ => Ok(()),
    }
}

/// An attestation key: restricted, signs only, bound to its TPM, one fixed scheme of SHA-256 or better.
///
/// # Errors
/// [`KeyError`] with what is wrong.
pub(crate) fn require_ak(key: &PublicArea) -> Result<(), KeyError> {
    let role = KeyRole::Ak;
    require_attributes(key, role, &AK)?;
    let scheme = require_key_pair(key, role)?;
    require_no_cipher(key, role)?;
    let strong = scheme.hash().is_some_and(HashAlg::is_strong);
    if scheme.is_signing() && strong && key.name_alg().is_strong() {
        Ok(())
    } else {
        let required = "RSASSA, RSAPSS or ECDSA with SHA-256 or better";
        Err(fault(
            role,
            KeyFault::Scheme {
                required,
                actual: scheme.to_string(),
            },
        ))
    }
}

/// The attestation key of Hallmark's agent: of [`require_ak`]'s properties, and exactly of the one template. A TPM then
/// makes one such key out of its endorsement seed (part 1, "Primary Seeds"), and it is known by that key's Name whichever
/// of its endorsement keys it shows.
///
/// # Errors
/// [`KeyError`] with what is wrong.
pub(crate) fn require_agents_ak(key: &PublicArea) -> Result<(), KeyError> {
    require_ak(key)?;
    if templates::AK.matches(key) {
        return Ok(());
    }
    let required = "P-256, ECDSA with SHA-256, nameAlg SHA-256, no policy, the attributes of the agent's template";
    let kind = match key.kind() {
        PublicKind::Ecc(ecc) => ecc.curve.to_string(),
        _ => "RSA".to_owned(),
    };
    let scheme = key
        .scheme()
        .map_or_else(|| "no scheme".to_owned(), |scheme| scheme.to_string());
    let policy = if key.auth_policy().is_empty() {
        "no policy"
    } else {
        "a policy"
    };
    let actual = format!(
        "{kind}, {scheme}, nameAlg {}, {policy}, {}",
        key.name_alg(),
        key.attributes()
    );
    Err(fault(KeyRole::Ak, KeyFault::Template { required, actual }))
}

/// The key of the SVID: P-256, signs anything, bound to its TPM.
///
/// # Errors
/// [`KeyError`] with what is wrong.
pub(crate) fn require_svid_key(key: &PublicArea) -> Result<(), KeyError> {
    let role = KeyRole::Svid;
    require_attributes(key, role, &SVID)?;
    let scheme = require_key_pair(key, role)?;
    require_no_cipher(key, role)?;
    match key.kind() {
        PublicKind::Ecc(ecc) if ecc.curve == Curve::P256 => {}
        PublicKind::Ecc(ecc) => {
            return Err(fault(
                role,
                KeyFault::Type {
                    required: "P-256",
                    actual: ecc.curve.to_string(),
                },
            ));
        }
        _ => {
            return Err(fault(
                role,
                KeyFault::Type {
                    required: "P-256",
                    actual: "RSA".to_owned(),
                },
            ));
        }
    }
    if matches!(scheme, AsymScheme::Null | AsymScheme::Ecdsa(HashAlg::Sha256)) {
        Ok(())
    } else {
        Err(fault(
            role,
            KeyFault::Scheme {
                required: "ECDSA with SHA-256, or none",
                actual: scheme.to_string(),
            },
        ))
    }
}

fn require_attributes(key: &PublicArea, role: KeyRole, rule: &Attributes) -> Result<(), KeyError> {
    let actual = key.attributes();
    if !actual.contains(rule.required) {
        let (required, actual) = (rule.required.to_string(), actual.to_string());
        return Err(fault(role, KeyFault::AttributesMissing { required, actual }));
    }
    if actual.without(rule.forbidden) != actual {
        let (forbidden, actual) = (rule.forbidden.to_string(), actual.to_string());
        return Err(fault(role, KeyFault::AttributesForbidden { forbidden, actual }));
    }
    Ok(())
}

fn require_key_pair(key: &PublicArea, role: KeyRole) -> Result<AsymScheme, KeyError> {
    key.scheme().ok_or_else(|| fault(role, KeyFault::NotAKeyPair))
}

fn require_no_cipher(key: &PublicArea, role: KeyRole) -> Result<(), KeyError> {
    match key.storage_cipher() {
        Symmetric::Null => Ok(()),
        _ => Err(fault(role, KeyFault::Cipher { required: "none" })),
    }
}

const fn fault(role: KeyRole, fault: KeyFault) -> KeyError {
    KeyError { role, fault }
}
