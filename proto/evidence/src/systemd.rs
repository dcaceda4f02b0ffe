//! systemd's user-space measurement log (`/run/log/systemd/tpm2-measure.log`): what user space extended after the
//! firmware's log ended. A sequence of JSON texts (RFC 7464), each with register, digests and what was measured.

use hallmark_reason::{Coded, ReasonCode};
use hallmark_tpm_wire::HashAlg;
use serde::Deserialize;

use crate::anchor::{self, Anchors};
use crate::tcg::{PCRS, Replay};

/// The word that `systemd-pcrosseparator.service` measures in the initrd (systemd 261 and later) into the registers of
/// [`OS_SEPARATOR_REGISTERS`]: it separates what firmware and loaders measured from what the system does.
pub const OS_SEPARATOR: &str = "os-separator";

/// Where the word is measured.
pub const OS_SEPARATOR_REGISTERS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14];

/// The most records that are read.
const MAX_RECORDS: usize = 16 * 1024;
/// The longest record, in bytes.
const MAX_RECORD: usize = 64 * 1024;
/// The separator before each text.
const RECORD_SEPARATOR: u8 = 0x1e;

/// A user-space log, decoded and not believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemdLog {
    records: Vec<SystemdRecord>,
    anchors: Anchors,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemdRecord {
    /// Its place in the log, from 0.
    pub number: u32,
    /// The register.
    pub pcr: u8,
    /// A digest for each bank that is known here.
    pub digests: Vec<(HashAlg, Vec<u8>)>,
    /// What was measured, in words; a hint unless [`is_proven`](Self::is_proven).
    pub text: String,
    /// What kind of measurement it was (`phase`, `machine-id`, …); never more than a hint.
    pub kind: String,
}

/// Why a user-space log was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SystemdLogError {
    /// A record is no JSON text of the log's form.
    #[error("record {record} of the user-space measurement log is malformed")]
    Malformed {
        /// The record.
        record: u32,
        /// What is wrong.
        detail: String,
    },
    /// More records, or longer ones, than any log has.
    #[error("the user-space measurement log is too long")]
    TooLong {
        /// The limit.
        limit: usize,
        /// What was found.
        actual: usize,
    },
}

impl Coded for SystemdLogError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Malformed { .. } => ReasonCode::new("HM-EVID-0201"),
            Self::TooLong { .. } => ReasonCode::new("HM-EVID-0202"),
        }
    }

    fn compared(&self) -> Option<String> {
        Some(match self {
            Self::Malformed { detail, .. } => detail.clone(),
            Self::TooLong { limit, actual } => format!("limit {limit}, found {actual}"),
        })
    }
}

#[derive(Deserialize)]
struct Form {
    pcr: Option<u8>,
    digests: Vec<DigestForm>,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    content: serde_json::Value,
}

#[derive(Deserialize)]
struct DigestForm {
    #[serde(rename = "hashAlg")]
    hash_alg: String,
    digest: String,
}

#[derive(Deserialize, Default)]
struct Content {
    #[serde(default)]
    string: String,
    #[serde(default, rename = "eventType")]
    event_type: String,
}

impl SystemdLog {
    /// Reads a whole log. An empty one has no records. What is measured into an NV index and not into a register is
    /// passed over: no quote speaks of it.
    ///
    /// # Errors
    /// [`SystemdLogError`] for the first thing that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, SystemdLogError> {
        let (mut records, mut anchors) = (Vec::new(), None);
        let mut texts = bytes.split(|byte| *byte == RECORD_SEPARATOR);
        let before = texts.next().unwrap_or_default();
        if !before.iter().all(u8::is_ascii_whitespace) {
            return Err(malformed(0, "it does not begin with a record separator"));
        }
        for text in texts {
            let number = u32::try_from(records.len()).unwrap_or(u32::MAX);
            if records.len() >= MAX_RECORDS || text.len() > MAX_RECORD {
                let over_length = text.len() > MAX_RECORD;
                let (limit, actual) = if over_length {
                    (MAX_RECORD, text.len())
                } else {
                    (MAX_RECORDS, records.len() + 1)
                };
                return Err(SystemdLogError::TooLong { limit, actual });
            }
            match read(text, number)? {
                Some(Read::Measured(record)) => records.push(record),
                Some(Read::Anchors(_)) if anchors.is_some() => return Err(malformed(number, "NvPCR anchors twice")),
                Some(Read::Anchors(files)) => anchors = Some(files),
                None => {}
            }
        }
        Ok(Self {
            records,
            anchors: anchors.unwrap_or_default(),
        })
    }

    /// The NvPCR anchors that the agent sent beside the log. Nothing is said of them until they are what was measured.
    #[must_use]
    pub const fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// The records, in the order of the log.
    #[must_use]
    pub fn records(&self) -> &[SystemdRecord] {
        &self.records
    }

    /// The log with these words behind its records, measured into a register of each of these banks.
    #[must_use]
    pub fn followed_by(&self, pcr: u8, words: &[&str], banks: &[HashAlg]) -> Self {
        let mut log = self.clone();
        for word in words {
            let digests = banks.iter().map(|bank| (*bank, bank.digest(word.as_bytes())));
            log.records.push(SystemdRecord {
                number: u32::try_from(log.records.len()).unwrap_or(u32::MAX),
                pcr,
                digests: digests.collect(),
                text: (*word).to_owned(),
                kind: "phase".to_owned(),
            });
        }
        log
    }

    /// Extends the registers of `replay`, which holds what the firmware's log left.
    pub fn extend(&self, replay: &mut Replay) {
        for record in &self.records {
            for (bank, digest) in &record.digests {
                replay.extend(*bank, record.pcr, digest);
            }
        }
    }
}

impl SystemdRecord {
    /// Whether the digests of every bank are those of the text. Those of secrets (a volume's key) are not.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        let of_text = |(bank, digest): &(HashAlg, Vec<u8>)| bank.digest(self.text.as_bytes()) == *digest;
        !self.digests.is_empty() && self.digests.iter().all(of_text)
    }

    /// The digest that was extended into `bank`.
    #[must_use]
    pub fn digest(&self, bank: HashAlg) -> Option<&[u8]> {
        let digest = self.digests.iter().find(|(alg, _)| *alg == bank)?;
        Some(&digest.1)
    }
}

/// What a text of the log is.
enum Read {
    Measured(SystemdRecord),
    Anchors(Anchors),
}

fn read(text: &[u8], number: u32) -> Result<Option<Read>, SystemdLogError> {
    let form: Form = serde_json::from_slice(text).map_err(|error| malformed(number, &error.to_string()))?;
    let Some(pcr) = form.pcr else {
        let is_ours = form.content_type == anchor::CONTENT_TYPE;
        let anchors = is_ours.then(|| Anchors::from_record(form.content)).transpose();
        return Ok(anchors.map_err(|detail| malformed(number, &detail))?.map(Read::Anchors));
    };
    let content: Content = match form.content {
        serde_json::Value::Null => Content::default(),
        content => serde_json::from_value(content).map_err(|error| malformed(number, &error.to_string()))?,
    };
    if pcr >= PCRS {
        return Err(malformed(
            number,
            &format!("expected a register from 0 to 23, found {pcr}"),
        ));
    }
    let mut digests: Vec<(HashAlg, Vec<u8>)> = Vec::new();
    for digest in form.digests {
        let Some(bank) = HashAlg::from_name(&digest.hash_alg) else {
            continue;
        };
        let value = hex::decode(&digest.digest)
            .ok()
            .filter(|value| value.len() == bank.digest_len());
        let value = value.ok_or_else(|| malformed(number, "a digest that is not of its algorithm"))?;
        if digests.iter().any(|(other, _)| *other == bank) {
            return Err(malformed(number, "a bank twice"));
        }
        digests.push((bank, value));
    }
    Ok(Some(Read::Measured(SystemdRecord {
        number,
        pcr,
        digests,
        text: content.string,
        kind: content.event_type,
    })))
}

fn malformed(record: u32, detail: &str) -> SystemdLogError {
    SystemdLogError::Malformed {
        record,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pcr: u8, string: &str, digest: &[u8]) -> String {
        format!(
            "\u{1e}{{\"pcr\":{pcr},\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{}\"}}],\"content_type\":\"systemd\",\
             \"content\":{{\"string\":\"{string}\",\"bootId\":\"x\",\"timestamp\":1,\"eventType\":\"phase\"}}}}\n",
            hex::encode(digest)
        )
    }

    #[test]
    fn phases_are_read_and_extend_their_register() {
        let phase = HashAlg::Sha256.digest(b"enter-initrd");
        let log = text(11, "enter-initrd", &phase) + &text(15, "volume-key", &[7; 32]);
        let log = SystemdLog::parse(log.as_bytes()).unwrap();
        assert_eq!(log.records().len(), 2);
        assert!(log.records()[0].is_proven(), "its digest is the text's");
        assert!(!log.records()[1].is_proven(), "its digest is a secret's");
        let mut replay = Replay::at_reset(&[HashAlg::Sha256], 0);
        log.extend(&mut replay);
        let extended = HashAlg::Sha256.digest(&[&[0; 32][..], &phase].concat());
        assert_eq!(replay.value(HashAlg::Sha256, 11), Some(extended.as_slice()));
        assert!(SystemdLog::parse(b"").unwrap().records().is_empty());
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let good = text(11, "x", &[1; 32]);
        assert!(SystemdLog::parse(good.as_bytes()).is_ok());
        for bad in [
            good.trim_start_matches('\u{1e}').to_owned(),
            good.trim_end().trim_end_matches('}').to_owned(),
            text(24, "x", &[1; 32]),
            text(11, "x", &[1; 20]),
            "\u{1e}\n".to_owned(),
            good.replace("[{", "[{\"hashAlg\":\"sha256\",\"digest\":\"00\"},{"),
        ] {
            assert!(
                matches!(
                    SystemdLog::parse(bad.as_bytes()),
                    Err(SystemdLogError::Malformed { .. })
                ),
                "{bad}"
            );
        }
        let long = good.repeat(MAX_RECORDS + 1);
        assert!(matches!(
            SystemdLog::parse(long.as_bytes()),
            Err(SystemdLogError::TooLong { .. })
        ));
        let nv_index = "\u{1e}{\"nv_index_name\":\"cryptsetup\",\"digests\":[]}";
        assert!(SystemdLog::parse(nv_index.as_bytes()).unwrap().records().is_empty());
    }
}
