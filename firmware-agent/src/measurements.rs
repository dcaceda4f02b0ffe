//! The machine's measurement logs: read from the kernel and from systemd, sent as far as the server wants them.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use hallmark_api::attest::LogOffset;
use hallmark_evidence::anchor::{AnchorFile, Anchors};
use hallmark_evidence::{Limits, Log, LogKind};
use hallmark_tpm_wire::ClockInfo;

use crate::AgentError;

/// Where the logs are. One without a path is not sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPaths {
    /// The firmware's event log.
    pub tcg: Option<PathBuf>,
    /// systemd's user-space measurement log.
    pub systemd: Option<PathBuf>,
    /// The kernel's IMA list, in binary form.
    pub ima: Option<PathBuf>,
    /// Where systemd keeps what the boot loader handed over as credentials. Of these only its NvPCR anchors are read, and sent
    /// beside its log.
    pub credentials: Option<PathBuf>,
}

/// What the server wants of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    kind: LogKind,
    offset: u64,
    reset_count: u32,
    restart_count: u32,
}

impl Wanted {
    fn is_of_boot(&self, clock: &ClockInfo) -> bool {
        (self.reset_count, self.restart_count) == (clock.reset_count, clock.restart_count)
    }
}

/// Logs for one quote.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    wanted: Vec<Wanted>,
    /// The logs, in the order of the binding.
    pub logs: Vec<Log>,
}

impl LogPaths {
    fn of(&self, kind: LogKind) -> Option<&PathBuf> {
        match kind {
            LogKind::Tcg => self.tcg.as_ref(),
            LogKind::Systemd => self.systemd.as_ref(),
            LogKind::Ima => self.ima.as_ref(),
            _ => None,
        }
    }

    /// What is there of each log, for people. One that is not there is none that is wrong: the server says what it needs.
    ///
    /// # Errors
    /// A log is there and cannot be opened.
    pub fn found(&self) -> Result<String, AgentError> {
        let logs = [("TCG", &self.tcg), ("systemd", &self.systemd), ("IMA", &self.ima)];
        let mut found = Vec::new();
        for (name, path) in logs {
            let Some(path) = path else {
                found.push(format!("{name} not configured"));
                continue;
            };
            found.push(match File::open(path) {
                Ok(file) if name == "TCG" && is_empty(&file) => {
                    format!("an empty {name} log at {}, which is none", path.display())
                }
                Ok(_) => format!("{name} at {}", path.display()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    format!("no {name} log at {}", path.display())
                }
                Err(error) => {
                    return Err(AgentError::Log {
                        log: name,
                        path: path.display().to_string(),
                        detail: error.to_string(),
                    });
                }
            });
        }
        Ok(found.join(", "))
    }

    /// Reads what the server wants and the statements are bound to: each log from the offset up to which the server
    /// holds it. The others are read by [`after_quote`](Self::after_quote).
    ///
    /// A log that does not exist on this machine is left out; whether that will do is the server's to judge. Blocks on
    /// the file system.
    ///
    /// # Errors
    /// The server wants an unknown log, or one twice; a log cannot be read, or is larger than may be sent.
    pub fn read(&self, wanted: &[LogOffset]) -> Result<Reading, AgentError> {
        let mut all: Vec<Wanted> = Vec::new();
        for offset in wanted.iter().take(Limits::LOGS + 1) {
            let kind = LogKind::from_number(offset.kind)
                .map_err(|_| AgentError::Protocol("its challenge wants a log of an unknown kind"))?;
            if all.iter().any(|other| other.kind == kind) {
                return Err(AgentError::Protocol("its challenge wants a log twice"));
            }
            all.push(Wanted {
                kind,
                offset: offset.offset,
                reset_count: offset.reset_count,
                restart_count: offset.restart_count,
            });
        }
        self.reading(all)
    }

    /// The logs that no statement is bound to: the quoted register proves those of their lines that it covers. `clock` is
    /// the quote's: of another boot than the one that the server knows they come whole.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn after_quote(&self, reading: &Reading, clock: &ClockInfo) -> Result<Vec<Log>, AgentError> {
        let wanted = reading.wanted.iter().map(|wanted| Wanted {
            offset: if wanted.is_of_boot(clock) { wanted.offset } else { 0 },
            ..*wanted
        });
        self.logs(&wanted.collect::<Vec<_>>(), |kind| !kind.is_bound())
    }

    /// Whether the logs that the statements are bound to are still as they were read: else something was measured
    /// between reading and quote.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn stood_still(&self, reading: &Reading) -> Result<bool, AgentError> {
        Ok(self.logs(&reading.wanted, LogKind::is_bound)? == reading.logs)
    }

    /// The same logs again, as they are now; from their beginning if `whole`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn again(&self, reading: Reading, whole: bool) -> Result<Reading, AgentError> {
        let mut wanted = reading.wanted;
        if whole {
            for wanted in &mut wanted {
                wanted.offset = 0;
            }
        }
        self.reading(wanted)
    }

    fn reading(&self, wanted: Vec<Wanted>) -> Result<Reading, AgentError> {
        let logs = self.logs(&wanted, LogKind::is_bound)?;
        Ok(Reading { wanted, logs })
    }

    fn logs(&self, wanted: &[Wanted], which: fn(LogKind) -> bool) -> Result<Vec<Log>, AgentError> {
        let mut logs = Vec::new();
        for one in wanted.iter().filter(|one| which(one.kind)) {
            let Some(path) = self.of(one.kind) else { continue };
            let unreadable = |error: io::Error| AgentError::Log {
                log: one.kind.as_str(),
                path: path.display().to_string(),
                detail: error.to_string(),
            };
            match self.read_log(one, path) {
                Ok((0, data)) if one.kind == LogKind::Tcg && data.is_empty() => {
                    tracing::debug!(path = %path.display(), "the firmware left no log: the kernel's is empty");
                }
                Ok((offset, data)) => logs.push(Log::new(one.kind, offset, data).map_err(|_| AgentError::Log {
                    log: one.kind.as_str(),
                    path: path.display().to_string(),
                    detail: format!("it is larger than {} bytes", one.kind.limit()),
                })?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::debug!(log = one.kind.as_str(), path = %path.display(), "this machine has no such log");
                }
                Err(error) => return Err(unreadable(error)),
            }
        }
        Ok(logs)
    }
}

impl LogPaths {
    /// The bytes of a log from the wanted offset on. systemd's comes whole where anchors stand before it.
    fn read_log(&self, wanted: &Wanted, path: &PathBuf) -> io::Result<(u64, Vec<u8>)> {
        let limit = wanted.kind.limit();
        let folder = self.credentials.as_ref().filter(|_| wanted.kind == LogKind::Systemd);
        match folder
            .map(|folder| anchors(folder))
            .filter(|anchors| !anchors.is_empty())
        {
            None => read_from(path, wanted.offset, limit),
            Some(anchors) => {
                let (_, log) = read_from(path, 0, limit)?;
                Ok((0, [anchors.to_record(), log].concat()))
            }
        }
    }
}

/// Firmware without a log leaves the kernel a file of no bytes, which is of no length where there is one too.
fn is_empty(mut file: &File) -> bool {
    matches!(file.read(&mut [0]), Ok(0))
}

/// The NvPCR anchors in `folder`, where systemd has dropped the ends of their names. Without the right to read it there are
/// none: then the server does not know what was measured, and its rules decide.
fn anchors(folder: &Path) -> Anchors {
    let told = |error: io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::debug!(folder = %folder.display(), %error, "the credentials of the boot loader cannot be read");
        }
    };
    let entries = std::fs::read_dir(folder).map_err(told).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let read = |name: String| {
        if !name.starts_with(AnchorFile::PREFIX) {
            return None;
        }
        let (_, contents) = read_from(&folder.join(&name), 0, AnchorFile::MAX_CONTENTS)
            .map_err(told)
            .ok()?;
        AnchorFile::new(&format!("{name}{}", AnchorFile::SUFFIX), contents)
    };
    Anchors::new(names.filter_map(read).collect()).unwrap_or_default()
}

impl Reading {
    /// Whether the logs are of the boot that `clock`, from the quote, speaks of: what was left out because the server
    /// holds it must have been written in the same boot.
    #[must_use]
    pub fn is_of_boot(&self, clock: &ClockInfo) -> bool {
        self.logs.iter().filter(|log| log.offset > 0).all(|log| {
            let wanted = self.wanted.iter().find(|wanted| wanted.kind == log.kind);
            wanted.is_some_and(|wanted| wanted.is_of_boot(clock))
        })
    }
}

/// The bytes of `path` from `offset` on; from the beginning where the log is shorter than that, which is then another
/// boot's.
///
/// The kernel's files are read through from their beginning: they have no length, and Linux (6.1 was seen) gives the last
/// event of the firmware's log once more to whoever seeks to its end.
fn read_from(path: &PathBuf, offset: u64, limit: usize) -> io::Result<(u64, Vec<u8>)> {
    let mut file = File::open(path)?;
    let passed = io::copy(&mut file.by_ref().take(offset), &mut io::sink())?;
    if passed < offset {
        return read_from(path, 0, limit);
    }
    let mut data = Vec::new();
    // One byte more than is allowed, so that a log that is too large is noticed.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut data)?;
    Ok((offset, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(kind: i32, offset: u64) -> LogOffset {
        LogOffset {
            kind,
            offset,
            reset_count: 3,
            restart_count: 1,
        }
    }

    fn paths(folder: &std::path::Path) -> LogPaths {
        std::fs::write(folder.join("tcg"), b"firmware").unwrap();
        std::fs::write(folder.join("ima"), b"lines").unwrap();
        LogPaths {
            tcg: Some(folder.join("tcg")),
            systemd: Some(folder.join("absent")),
            ima: Some(folder.join("ima")),
            credentials: Some(folder.join("credentials")),
        }
    }

    fn clock(reset_count: u32, restart_count: u32) -> ClockInfo {
        ClockInfo {
            clock: 1,
            reset_count,
            restart_count,
            safe: true,
        }
    }

    fn parts(reading: &Reading) -> Vec<(LogKind, u64, &[u8])> {
        all(&reading.logs)
    }

    fn all(logs: &[Log]) -> Vec<(LogKind, u64, &[u8])> {
        let each = logs.iter().map(|log| (log.kind, log.offset, log.data.as_slice()));
        each.collect()
    }

    #[test]
    fn a_log_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("tcg");
        std::fs::write(&there, "x").unwrap();
        let paths = LogPaths {
            tcg: Some(there.clone()),
            ima: Some(folder.path().join("ima")),
            ..LogPaths::default()
        };
        let found = paths.found().unwrap();
        assert!(found.starts_with(&format!(
            "TCG at {}, systemd not configured, no IMA log at ",
            there.display()
        )));
    }

    #[test]
    fn an_empty_log_of_the_firmware_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        assert_eq!(paths.read(&[wanted(1, 0)]).unwrap().logs.len(), 1);
        std::fs::write(folder.path().join("tcg"), b"").unwrap();
        assert!(paths.read(&[wanted(1, 0)]).unwrap().logs.is_empty());
        assert!(paths.found().unwrap().starts_with("an empty TCG log at "));
    }

    #[test]
    fn only_what_is_wanted_and_new_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        assert!(paths.read(&[]).unwrap().logs.is_empty());
        let whole = paths.read(&[wanted(3, 0), wanted(1, 0), wanted(2, 0)]).unwrap();
        assert_eq!(parts(&whole), [(LogKind::Tcg, 0, &b"firmware"[..])]);
        let growing = paths.after_quote(&whole, &clock(3, 1)).unwrap();
        assert_eq!(all(&growing), [(LogKind::Ima, 0, &b"lines"[..])]);
        let new = paths.read(&[wanted(3, 3), wanted(1, 8)]).unwrap();
        assert_eq!(parts(&new), [(LogKind::Tcg, 8, &b""[..])]);
        assert!(new.is_of_boot(&clock(3, 1)));
        assert!(!new.is_of_boot(&clock(4, 0)) && !new.is_of_boot(&clock(3, 2)));
        let again = paths.again(new, true).unwrap();
        assert_eq!(parts(&again), [(LogKind::Tcg, 0, &b"firmware"[..])]);
        assert!(again.is_of_boot(&clock(4, 0)), "a whole log stands for itself");
    }

    #[test]
    fn the_list_that_grows_is_read_behind_the_quote_and_whole_where_the_boot_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let read = |clock| {
            let reading = paths.read(&[wanted(3, 3)]).unwrap();
            paths.after_quote(&reading, &clock).unwrap()
        };
        assert_eq!(all(&read(clock(3, 1))), [(LogKind::Ima, 3, &b"es"[..])]);
        assert_eq!(all(&read(clock(4, 0))), [(LogKind::Ima, 0, &b"lines"[..])]);
    }

    #[test]
    fn what_is_measured_between_reading_and_quote_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let reading = paths.read(&[wanted(1, 0), wanted(3, 0)]).unwrap();
        assert!(paths.stood_still(&reading).unwrap());
        std::fs::write(folder.path().join("ima"), b"lines and more").unwrap();
        assert!(paths.stood_still(&reading).unwrap(), "that log is not bound");
        std::fs::write(folder.path().join("tcg"), b"firmware and more").unwrap();
        assert!(!paths.stood_still(&reading).unwrap());
    }

    #[test]
    fn a_log_that_is_shorter_than_the_server_thinks_is_sent_whole() {
        let folder = tempfile::tempdir().unwrap();
        let reading = paths(folder.path()).read(&[wanted(1, 9)]).unwrap();
        assert_eq!(parts(&reading), [(LogKind::Tcg, 0, &b"firmware"[..])]);
    }

    /// A pipe cannot be sought in; the kernel's log of the firmware can, and then tells its last event twice.
    #[test]
    fn a_log_is_read_without_seeking() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        for (offset, rest) in [(0, &b"firmware"[..]), (4, b"ware"), (8, b"")] {
            let writer = std::thread::spawn({
                let pipe = pipe.clone();
                move || std::fs::write(pipe, b"firmware")
            });
            assert_eq!(read_from(&pipe, offset, 100).unwrap(), (offset, rest.to_vec()));
            writer.join().unwrap().unwrap();
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = paths(folder.path());
        for wanted in [vec![wanted(4, 0)], vec![wanted(1, 0), wanted(1, 5)]] {
            assert!(matches!(paths.read(&wanted), Err(AgentError::Protocol(_))));
        }
        let long = File::create(folder.path().join("tcg")).unwrap();
        long.set_len(u64::try_from(LogKind::Tcg.limit()).unwrap() + 1).unwrap();
        assert!(matches!(paths.read(&[wanted(1, 0)]), Err(AgentError::Log { .. })));
        paths.tcg = Some(folder.path().to_owned());
        assert!(matches!(paths.read(&[wanted(1, 0)]), Err(AgentError::Log { .. })));
    }

    #[test]
    fn anchors_stand_before_systemds_log_and_nothing_else_of_the_folder_does() {
        let folder = tempfile::tempdir().unwrap();
        let paths = LogPaths {
            systemd: Some(folder.path().join("words")),
            ..paths(folder.path())
        };
        let systemd = LogKind::Systemd.number().into();
        let read = |offset| paths.read(&[wanted(systemd, offset)]).unwrap();
        std::fs::write(folder.path().join("words"), b"\x1ewords").unwrap();
        assert_eq!(parts(&read(2)), [(LogKind::Systemd, 2, &b"ords"[..])]);
        let credentials = folder.path().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        std::fs::write(credentials.join("secret"), b"of somebody").unwrap();
        assert_eq!(parts(&read(2)), [(LogKind::Systemd, 2, &b"ords"[..])]);
        std::fs::write(credentials.join("nvpcr-anchor.6083"), b"sealed").unwrap();
        let anchor = AnchorFile::new("nvpcr-anchor.6083.cred", b"sealed".to_vec()).unwrap();
        let whole = [Anchors::new(vec![anchor]).unwrap().to_record(), b"\x1ewords".to_vec()].concat();
        for offset in [0, 2] {
            assert_eq!(parts(&read(offset)), [(LogKind::Systemd, 0, &whole[..])]);
        }
        assert!(paths.stood_still(&read(0)).unwrap());
    }
}
