//! The logs that follow a proof: they must be those that its binding covers.

use hallmark_evidence::{Log, LogDigest};
use hallmark_reason::ReasonCode;

use crate::fingerprint::hex;
use crate::refusal::{RefusalClass, Row, coded_by_row, expected};

/// Why the logs that followed are not those that were announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogsError {
    /// More or fewer logs, or logs of other kinds or offsets.
    #[error("the logs are not those that the proof announced")]
    Others {
        /// What the proof announced.
        announced: String,
        /// What followed.
        actual: String,
    },
    /// A log is said to go on from a place that is not where the held one ends.
    #[error("the {log} log begins at another place than where the last one ended")]
    Offset {
        /// Which log.
        log: &'static str,
        /// Where the last one ended, in bytes.
        expected: u64,
        /// Where this one begins.
        actual: u64,
    },
    /// A log's bytes are other ones.
    #[error("the {log} log is not the one that the proof is bound to")]
    Digest {
        /// Which log.
        log: &'static str,
        /// SHA-256 that the TPM signed for, hex.
        announced: String,
        /// SHA-256 of what followed, hex.
        actual: String,
    },
}

impl LogsError {
    fn row(&self) -> Row {
        match self {
            Self::Others { announced, actual } => Row::new(
                ReasonCode::new("HM-VERIFY-0161"),
                RefusalClass::Malformed,
                expected(announced, actual),
            ),
            Self::Offset {
                expected: held, actual, ..
            } => Row::new(
                ReasonCode::new("HM-VERIFY-0163"),
                RefusalClass::Stale,
                expected(held, actual),
            ),
            Self::Digest { announced, actual, .. } => Row::new(
                ReasonCode::new("HM-VERIFY-0162"),
                RefusalClass::NotBound,
                expected(announced, actual),
            ),
        }
    }
}

coded_by_row!(LogsError);

/// Whether `logs` are exactly the announced ones.
pub(crate) fn require_announced(announced: &[LogDigest], logs: &[Log]) -> Result<(), LogsError> {
    let actual: Vec<LogDigest> = logs.iter().map(Log::digest).collect();
    let places = |logs: &[LogDigest]| -> Vec<_> { logs.iter().map(|log| (log.kind, log.offset, log.length)).collect() };
    if places(announced) != places(&actual) {
        return Err(LogsError::Others {
            announced: text(announced),
            actual: text(&actual),
        });
    }
    for (announced, actual) in announced.iter().zip(&actual) {
        if announced.sha256 != actual.sha256 {
            return Err(LogsError::Digest {
                log: announced.kind.as_str(),
                announced: hex(&announced.sha256),
                actual: hex(&actual.sha256),
            });
        }
    }
    Ok(())
}

/// The whole log: what is held and what came behind it.
pub(crate) fn continued(log: &Log, held: &[u8]) -> Result<Vec<u8>, LogsError> {
    let held_length = u64::try_from(held.len()).unwrap_or(u64::MAX);
    if log.offset == 0 {
        Ok(log.data.clone())
    } else if log.offset == held_length {
        Ok([held, &log.data].concat())
    } else {
        Err(LogsError::Offset {
            log: log.kind.as_str(),
            expected: held_length,
            actual: log.offset,
        })
    }
}

fn text(logs: &[LogDigest]) -> String {
    let each = logs
        .iter()
        .map(|log| format!("{} from {} ({} bytes)", log.kind.as_str(), log.offset, log.length));
    let text = each.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "no log".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_evidence::LogKind;
    use hallmark_reason::Coded as _;

    fn log(kind: LogKind, offset: u64, data: &[u8]) -> Log {
        Log::new(kind, offset, data.to_vec()).unwrap()
    }

    fn code(announced: &[Log], logs: &[Log]) -> Option<String> {
        let announced: Vec<_> = announced.iter().map(Log::digest).collect();
        let refused = require_announced(&announced, logs).err();
        refused.map(|error| error.code().to_string())
    }

    #[test]
    fn only_the_announced_logs_pass() {
        let good = [log(LogKind::Tcg, 0, b"events"), log(LogKind::Ima, 8, b"lines")];
        assert_eq!(code(&good, &good), None);
        assert_eq!(code(&[], &[]), None);
        let others: [&[Log]; 7] = [
            &[],
            &good[..1],
            &good[1..],
            &[good[1].clone(), good[0].clone()],
            &[good[0].clone(), log(LogKind::Ima, 7, b"lines")],
            &[good[0].clone(), log(LogKind::Systemd, 8, b"lines")],
            &[good[0].clone(), log(LogKind::Ima, 8, b"lines!")],
        ];
        for logs in others {
            assert_eq!(code(&good, logs).as_deref(), Some("HM-VERIFY-0161"), "{logs:?}");
        }
        let changed = [good[0].clone(), log(LogKind::Ima, 8, b"lineS")];
        assert_eq!(code(&good, &changed).as_deref(), Some("HM-VERIFY-0162"));
    }
}
