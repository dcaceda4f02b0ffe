//! How an endorsement key is named.

use hallmark_reason::{Coded, ReasonCode};
use hallmark_tpm_wire::Name;

/// nameAlg SHA-256, with which a Name in an inventory begins.
const NAME_ALG_SHA256: [u8; 2] = [0x00, 0x0b];

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
    /// [`EkIdError`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, EkIdError> {
        let fault = |reason| EkIdError { reason };
        let bytes =
            hex::decode(text).map_err(|_| fault("characters that are not hex digits, or an odd number of them"))?;
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

/// A text that names no endorsement key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an EK hash: {reason}")]
pub struct EkIdError {
    /// What is wrong.
    pub reason: &'static str,
}

impl Coded for EkIdError {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-VERIFY-0153")
    }
    fn compared(&self) -> Option<String> {
        Some("expected 64 (SPKI hash) or 68 (Name) hex digits, got something else".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
