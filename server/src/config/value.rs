//! The values that only a server's configuration has. They check themselves while they are read, so that a fault has its line.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_hsm::KeyKind;
use hallmark_node::TpmClass;
use hallmark_pkcs11::{BadTokenUri, TokenSelector};
use hallmark_settings::{List, table, value};
use hallmark_tpm_wire::templates::{EkTemplate, UnknownTemplate};
use serde::{Deserialize, Deserializer, de::Error as _};

/// How many sessions: 1 to 256.
pub(super) fn sessions<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    match usize::deserialize(from)? {
        number @ 1..=256 => Ok(number),
        number => Err(D::Error::custom(format!("{number} sessions: must be 1 to 256"))),
    }
}

/// The kinds of keys that certificates are signed with here.
const X509_KINDS: &[KeyKind] = &[
    KeyKind::EcP256,
    KeyKind::EcP384,
    KeyKind::Rsa2048,
    KeyKind::Rsa3072,
    KeyKind::Rsa4096,
];
/// The kinds of keys that JWT-SVIDs are signed with; SPIFFE's list of algorithms has no Ed25519.
const JWT_KINDS: &[KeyKind] = &[
    KeyKind::EcP256,
    KeyKind::EcP384,
    KeyKind::EcP521,
    KeyKind::Rsa2048,
    KeyKind::Rsa3072,
    KeyKind::Rsa4096,
];

/// The kind of a key that signs certificates.
pub(super) fn x509_key_kind<'de, D: Deserializer<'de>>(from: D) -> Result<KeyKind, D::Error> {
    key_kind(from, X509_KINDS)
}

/// The kind of a key that signs JWT-SVIDs.
pub(super) fn jwt_key_kind<'de, D: Deserializer<'de>>(from: D) -> Result<KeyKind, D::Error> {
    key_kind(from, JWT_KINDS)
}

fn key_kind<'de, D: Deserializer<'de>>(from: D, kinds: &'static [KeyKind]) -> Result<KeyKind, D::Error> {
    value::text(from, |text| {
        let found = kinds.iter().find(|kind| kind.as_str() == text);
        found.copied().ok_or_else(|| {
            let known: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
            format!("unknown key type {text:?}; known: {}", known.join(", "))
        })
    })
}

/// A token by its PKCS#11 URI; none where it is empty.
pub(super) fn token<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TokenSelector>, D::Error> {
    value::text(from, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|error: BadTokenUri| format!("invalid PKCS#11 URI {text:?}: {error}"))
    })
}

/// Classes of TPMs.
pub(super) fn classes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<TpmClass>, D::Error> {
    let read = |text: String| {
        let known = "discrete, firmware, virtual, simulator, unknown";
        TpmClass::from_name(&text).ok_or_else(|| format!("unknown class {text:?}; known: {known}"))
    };
    List::new(read).each(from)
}

/// Templates of endorsement keys, by name; at least one.
pub(super) fn ek_templates<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<&'static EkTemplate>, D::Error> {
    template_list().each(from)
}

/// Templates of endorsement keys, by the manufacturer of the TPM.
pub(super) fn templates_by_manufacturer<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Vec<&'static EkTemplate>>, D::Error> {
    table(from, Ok, template_list)
}

fn template_list() -> List<impl Fn(String) -> Result<&'static EkTemplate, String> + Clone, &'static EkTemplate> {
    let named = |name: String| name.parse().map_err(|error: UnknownTemplate| error.to_string());
    List::new(named).not_empty("name at least one template: without one no TPM could attest")
}

/// SHA-256 hashes in hex: 64 digits each, of either case.
pub(super) fn ek_hashes<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<[u8; 32]>, D::Error> {
    let read = |text: String| {
        let mut hash = [0; 32];
        hex::decode_to_slice(&text, &mut hash)
            .map(|()| hash)
            .map_err(|_| format!("invalid SHA-256 digest {text:?}: write 64 hexadecimal digits"))
    };
    List::new(read).each(from)
}

/// Login names, and user ids in digits.
pub(super) fn users<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    let read = |name: String| {
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if name.is_empty() || name.contains([':', '/', ' ', '\0']) || (is_number && name.parse::<u32>().is_err()) {
            return Err(format!(
                "invalid user {name:?}: write a login name, or a user id in digits"
            ));
        }
        Ok(name)
    };
    List::new(read).each(from)
}

/// Firmware versions as selectors show them: 64 bits in hexadecimal.
pub(super) fn firmware_versions<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<u64>, D::Error> {
    let read = |text: String| {
        u64::from_str_radix(&text, 16)
            .map_err(|_| format!("invalid firmware version {text:?}: write up to 16 hexadecimal digits"))
    };
    List::new(read).each(from)
}

/// Numbers of PCRs, none twice, and none of those that programs may reset.
pub(super) fn pcrs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let mut pcrs = Vec::<u8>::deserialize(from)?;
    pcrs.sort_unstable();
    if pcrs.is_empty() {
        return Err(D::Error::custom(
            "a quote over no PCR proves nothing: name at least one",
        ));
    }
    if let Some(pcr) = pcrs.iter().find(|pcr| **pcr > 23) {
        return Err(D::Error::custom(format!("there is no PCR {pcr}: 0 to 23")));
    }
    if let Some(pcr) = pcrs.iter().find(|pcr| matches!(**pcr, 16 | 23)) {
        return Err(D::Error::custom(format!(
            "any program may reset PCR {pcr}: a quote over it proves nothing"
        )));
    }
    let before = pcrs.len();
    pcrs.dedup();
    if pcrs.len() < before {
        return Err(D::Error::custom("a PCR is named twice"));
    }
    Ok(pcrs)
}
