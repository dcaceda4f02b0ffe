//! EKs that the operator enrolled one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallmark_tpm_wire::templates::EK_TEMPLATES;
use hallmark_tpm_wire::{HashAlg, Name, PublicArea};

use super::TrustError;
use crate::ek::TpmClass;

/// Largest inventory file, in bytes: about a million TPMs.
const MAX_FILE_BYTES: usize = 128 * 1024 * 1024;
/// nameAlg SHA-256, with which a Name in an inventory begins.
const NAME_ALG_SHA256: [u8; 2] = [0x00, 0x0b];
/// The file's columns; the last three may be left out.
const COLUMNS: [&str; 6] = ["ek_sha256", "owner", "expires", "class", "manufacturer", "model"];

/// How an inventory names an EK: exactly, by one of two digests. One is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EkId {
    /// SHA-256 of the EK's canonical SubjectPublicKeyInfo, DER.
    Spki([u8; 32]),
    /// Digest of the EK's TPM Name, nameAlg SHA-256.
    Name([u8; 32]),
}

impl EkId {
    /// Reads 64 hex digits of either case as an SPKI hash, 68 that begin with `000b` as a Name. Nothing else is taken:
    /// no prefix, separator, blank or path character.
    ///
    /// # Errors
    /// [`TrustError::InventoryKey`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let fault = |reason| TrustError::InventoryKey { line: None, reason };
        let bytes = decode_hex(text).ok_or(fault("characters that are not hex digits, or an odd number of them"))?;
        match bytes.strip_prefix(&NAME_ALG_SHA256) {
            Some(digest) if bytes.len() == 34 => digest.try_into().map(Self::Name).map_err(|_| fault("wrong length")),
            _ if bytes.len() == 34 => Err(fault("a Name that does not begin with 000b (nameAlg SHA-256)")),
            _ => bytes
                .try_into()
                .map(Self::Spki)
                .map_err(|_| fault("wrong length: a whole hash is needed")),
        }
    }

    /// The key of a Name; `None` for a Name of another algorithm, by which no inventory names an EK.
    #[must_use]
    pub fn of_name(name: &Name) -> Option<Self> {
        let digest = name.as_bytes().strip_prefix(&NAME_ALG_SHA256)?;
        digest.try_into().ok().map(Self::Name)
    }

    /// The Name, of a key that is one.
    #[must_use]
    pub fn name(&self) -> Option<Name> {
        match self {
            Self::Spki(_) => None,
            Self::Name(digest) => Name::parse(&[&NAME_ALG_SHA256[..], digest].concat()).ok(),
        }
    }
}

/// The Names that an inventory may know an EK by. A Name is over more than the key, and the rest of it is the machine's
/// word; so they are those that the profile's templates give the key, beside the one that it shows.
pub(crate) fn names_of(ek: &PublicArea) -> BTreeSet<Name> {
    let templates = EK_TEMPLATES.iter().filter_map(|it| ek.as_made_with(&it.template));
    let names = std::iter::once(ek.name()).chain(templates.map(|area| area.name()));
    names.filter(|name| name.hash_alg() == HashAlg::Sha256).collect()
}

impl std::fmt::Display for EkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (prefix, digest) = match self {
            Self::Spki(digest) => ("", digest),
            Self::Name(digest) => ("000b", digest),
        };
        f.write_str(prefix)?;
        digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Hex alone. Many tools print fingerprints in upper case.
fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let mut pairs = text.as_bytes().chunks_exact(2);
    let bytes = pairs
        .by_ref()
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()?;
    pairs.remainder().is_empty().then_some(bytes)
}

/// What the inventory says about one EK.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InventoryItem {
    /// Who answers for the machine; may be empty.
    pub owner: String,
    /// From when on the line no longer counts; `None` is never.
    pub expires: Option<SystemTime>,
    /// The class of the TPM in the operator's words, for one that shows no certificate; never `Unknown`.
    pub class: Option<TpmClass>,
    /// Its manufacturer, as an EK certificate would name it (`id:49465800`).
    pub manufacturer: Option<String>,
    /// Its model, as an EK certificate would name it.
    pub model: Option<String>,
}

/// The line of an EK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryMatch {
    /// By which key the inventory names the EK.
    pub key: EkId,
    /// What it says.
    pub item: InventoryItem,
    /// Whether the line has expired. Then it lets nobody in, and its labels still say which rules are for the machine.
    pub expired: bool,
}

impl InventoryItem {
    pub(crate) fn is_valid_at(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// All EKs that are enrolled one by one.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    items: BTreeMap<EkId, InventoryItem>,
    machines: Vec<BTreeSet<EkId>>,
}

impl Inventory {
    /// Reads a CSV file with the header `ek_sha256,owner,expires`, behind which `class,manufacturer,model` may stand. The
    /// first column is an SPKI hash or a Name (see [`EkId::parse`]), or several of one machine with `;` between them; `expires` is empty or RFC 3339; the last three are
    /// empty where nothing is stated.
    ///
    /// # Errors
    /// [`TrustError`] naming the first line that is wrong.
    pub fn from_csv(file: &[u8]) -> Result<Self, TrustError> {
        let fault = |line: u64, reason: String| TrustError::InventoryLine { line, reason };
        if file.len() > MAX_FILE_BYTES {
            return Err(fault(
                1,
                format!("{} bytes, at most {MAX_FILE_BYTES} are read", file.len()),
            ));
        }
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(file);
        let header = reader.headers().map_err(|error| fault(1, error.to_string()))?;
        if !header.iter().eq(COLUMNS) && !header.iter().eq(COLUMNS.into_iter().take(3)) {
            return Err(fault(
                1,
                "the header must be ek_sha256,owner,expires or ek_sha256,owner,expires,class,manufacturer,model"
                    .to_owned(),
            ));
        }
        let mut inventory = Self::default();
        for record in reader.records() {
            let record =
                record.map_err(|error| fault(error.position().map_or(0, csv::Position::line), error.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            let field = |index| record.get(index).unwrap_or_default();
            let keys = field(0).split(';').map(EkId::parse).collect::<Result<Vec<_>, _>>();
            let keys = keys.map_err(|error| located(error, line))?;
            let item = InventoryItem {
                owner: field(1).to_owned(),
                expires: parse_expiry(field(2)).map_err(|reason| fault(line, reason))?,
                class: parse_class(field(3)).map_err(|reason| fault(line, reason))?,
                manufacturer: stated(field(4)),
                model: stated(field(5)),
            };
            for key in &keys {
                let inserted = inventory.insert(*key, item.clone());
                inserted.map_err(|error| located(error, line))?;
            }
            if keys.len() > 1 {
                inventory.machines.push(keys.into_iter().collect());
            }
        }
        Ok(inventory)
    }

    /// Adds one EK.
    ///
    /// # Errors
    /// [`TrustError::InventoryTwice`] if it is already there.
    pub fn insert(&mut self, key: EkId, item: InventoryItem) -> Result<(), TrustError> {
        if self.items.contains_key(&key) {
            return Err(TrustError::InventoryTwice {
                line: None,
                key: key.to_string(),
            });
        }
        self.items.insert(key, item);
        Ok(())
    }

    /// The item of exactly this key.
    #[must_use]
    pub fn find(&self, key: &EkId) -> Option<&InventoryItem> {
        self.items.get(key)
    }

    /// The line of an EK: by its SPKI, else by one of its Names (see [`names_of`]).
    pub(crate) fn find_ek(&self, spki: [u8; 32], ek: &PublicArea, now: SystemTime) -> Option<InventoryMatch> {
        let names = names_of(ek);
        let mut keys = std::iter::once(EkId::Spki(spki)).chain(names.iter().filter_map(EkId::of_name));
        keys.find_map(|key| {
            let item = self.items.get(&key)?.clone();
            let expired = !item.is_valid_at(now);
            Some(InventoryMatch { key, item, expired })
        })
    }

    /// The EKs of each machine of which several are listed.
    pub fn machines(&self) -> impl Iterator<Item = &BTreeSet<EkId>> {
        self.machines.iter()
    }

    /// Every EK with its item, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&EkId, &InventoryItem)> {
        self.items.iter()
    }

    /// How many EKs are enrolled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

fn located(error: TrustError, at: u64) -> TrustError {
    match error {
        TrustError::InventoryKey { reason, .. } => TrustError::InventoryKey { line: Some(at), reason },
        TrustError::InventoryTwice { key, .. } => TrustError::InventoryTwice { line: Some(at), key },
        other => other,
    }
}

fn stated(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn parse_class(text: &str) -> Result<Option<TpmClass>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    TpmClass::from_name(text)
        .filter(|class| *class != TpmClass::Unknown)
        .map(Some)
        .ok_or_else(|| format!("class is {text:?}, not one of discrete, firmware, virtual, simulator"))
}

fn parse_expiry(text: &str) -> Result<Option<SystemTime>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
        .map_err(|error| format!("expires is not RFC 3339: {error}"))?;
    let seconds = u64::try_from(parsed.unix_timestamp()).map_err(|_| "expires lies before 1970".to_owned())?;
    Ok(Some(UNIX_EPOCH + Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_reason::Coded;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn attack_12_only_the_exact_key_is_taken() {
        assert!(EkId::parse(HASH).is_ok());
        assert!(EkId::parse(&format!("000b{HASH}")).is_ok());
        let upper = HASH.to_ascii_uppercase();
        assert_ne!(upper, HASH);
        assert_eq!(EkId::parse(&upper).unwrap(), EkId::parse(HASH).unwrap());
        assert_eq!(EkId::parse(&upper).unwrap().to_string(), HASH);
        assert_eq!(
            EkId::parse(&format!("000B{upper}")).unwrap(),
            EkId::parse(&format!("000b{HASH}")).unwrap()
        );
        for bad in [
            HASH[..62].to_owned(),
            HASH[..63].to_owned(),
            format!("{HASH}00"),
            format!("0004{HASH}"),
            format!("0004{}", HASH.to_ascii_uppercase()),
            HASH.replace('a', "g"),
            format!("sha256:{HASH}"),
            format!(" {HASH}"),
            format!("../{}", &HASH[3..]),
            format!("{}*", &HASH[..63]),
            HASH.replace('a', "а"),
            String::new(),
        ] {
            let error = EkId::parse(&bad).expect_err(&bad);
            assert_eq!(error.code().as_str(), "HM-VERIFY-0153");
        }
    }

    #[test]
    fn attack_12_a_name_is_never_taken_for_an_spki_hash() {
        let name = EkId::parse(&format!("000b{HASH}")).unwrap();
        let spki = EkId::parse(HASH).unwrap();
        let mut inventory = Inventory::default();
        inventory.insert(name, InventoryItem::default()).unwrap();
        assert!(inventory.find(&name).is_some());
        assert!(inventory.find(&spki).is_none());
        assert_eq!(name.to_string(), format!("000b{HASH}"));
    }

    #[test]
    fn a_csv_is_read_and_its_bad_line_is_named() {
        let good = format!("ek_sha256,owner,expires\n{HASH},\"team a, ops\",\n000b{HASH},b,2030-01-31T00:00:00Z\n");
        let inventory = Inventory::from_csv(good.as_bytes()).unwrap();
        assert_eq!(inventory.len(), 2);
        let item = inventory.find(&EkId::parse(&format!("000b{HASH}")).unwrap()).unwrap();
        assert_eq!(item.expires, Some(UNIX_EPOCH + Duration::from_secs(1_896_048_000)));
        for (bad, text) in [
            (format!("{good}{HASH},c,\n"), "line 4"),
            (format!("{good}abc,c,\n"), "line 4"),
            (format!("{good}{},c,tomorrow\n", HASH.replace('0', "1")), "line 4"),
            (format!("{good}{HASH}\n"), "line 4"),
            (format!("{HASH},a,\n"), "line 1"),
        ] {
            let error = Inventory::from_csv(bad.as_bytes()).expect_err(&bad).to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_line_may_state_what_a_certificate_would_say() {
        let header = COLUMNS.join(",");
        let good = format!("{header}\n{HASH},ops,,firmware,id:494E5443,ADL\n000b{HASH},ops,,,,\n");
        let inventory = Inventory::from_csv(good.as_bytes()).unwrap();
        let item = |text: &str| inventory.find(&EkId::parse(text).unwrap()).unwrap();
        assert_eq!(item(HASH).class, Some(TpmClass::Firmware));
        assert_eq!(item(HASH).manufacturer.as_deref(), Some("id:494E5443"));
        assert_eq!(item(HASH).model.as_deref(), Some("ADL"));
        let silent = item(&format!("000b{HASH}"));
        assert_eq!(
            (silent.class, &silent.manufacturer, &silent.model),
            (None, &None, &None)
        );
        for bad in ["unknown", "any", "Discrete"] {
            let text = format!("{header}\n{HASH},ops,,{bad},,\n");
            let error = Inventory::from_csv(text.as_bytes()).expect_err(bad).to_string();
            assert!(error.contains("line 2"), "{error}");
        }
        assert!(
            Inventory::from_csv(b"ek_sha256,owner,expires,class\n").is_err(),
            "all three or none"
        );
    }

    #[test]
    fn an_item_counts_until_it_expires() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let item = InventoryItem {
            expires: Some(at(100)),
            ..InventoryItem::default()
        };
        assert!(item.is_valid_at(at(99)));
        assert!(!item.is_valid_at(at(100)));
    }
}
