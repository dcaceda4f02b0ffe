//! The mark beside the store: how far its journal goes.
//!
//! A journal whose last rows are missing reads as a whole one: its write-ahead log was lost, or an older file was put in its
//! place. So the server writes the last revision and its chain hash into `<file>.mark`, after each flush, and a start finds
//! them in the journal or refuses. The mark is not flushed: after a power cut it may be behind the journal, but it is never
//! ahead of it. It has two slots, written in turn, each with a checksum: one that was torn leaves the other.

use std::{
    fs::{File, metadata},
    io::{ErrorKind, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    apply,
    exclusive::{beside, open_error, open_private},
    files::{Stamp, identity, log_of, told},
    json, migrations,
};
use crate::StoreError;

/// A slot's bytes: no two are in one sector of a disk.
const SLOT: u64 = 4096;
const FORM: &str = "hallmark-mark 1";

/// How far a journal goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// Another one after each roll-back that was accepted; random.
    pub(super) incarnation: u128,
    /// The last record.
    pub(super) revision: u64,
    /// Its chain hash.
    pub(super) chain: [u8; 32],
    /// The store's file, as its log belongs to it; `None` while the log may be folded into it.
    pub(super) stamp: Option<Stamp>,
}

impl Mark {
    fn line(&self, number: u64) -> String {
        let stamp = self.stamp.map_or_else(
            || "- - -".to_owned(),
            |stamp| format!("{} {} {}", stamp.size, stamp.at.0, stamp.at.1),
        );
        let text = format!(
            "{FORM} {number} {:032x} {} {} {stamp} ",
            self.incarnation,
            self.revision,
            json::hex(&self.chain)
        );
        format!("{text}{}\n", checksum(&text))
    }

    /// The mark in a slot, and its number; `None` for anything else.
    fn read(slot: &[u8]) -> Option<(u64, Self)> {
        let text = std::str::from_utf8(slot).ok()?.split('\n').next()?;
        let (content, sum) = text.rsplit_once(' ')?;
        if checksum(&format!("{content} ")) != sum {
            return None;
        }
        let mut words = content.strip_prefix(FORM)?.split_whitespace();
        let mut next = || words.next();
        let number = next()?.parse().ok()?;
        let incarnation = u128::from_str_radix(next()?, 16).ok()?;
        let revision = next()?.parse().ok()?;
        let chain = json::hash(next()?)?;
        let stamp = match (next()?, next()?, next()?) {
            ("-", "-", "-") => None,
            (size, seconds, nanoseconds) => Some(Stamp {
                size: size.parse().ok()?,
                at: (seconds.parse().ok()?, nanoseconds.parse().ok()?),
            }),
        };
        let mark = Self {
            incarnation,
            revision,
            chain,
            stamp,
        };
        Some((number, mark))
    }

    fn told(&self) -> String {
        told_of(self.revision, &self.chain)
    }
}

fn checksum(text: &str) -> String {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    json::hex(&sum)
}

fn told_of(revision: u64, chain: &[u8; 32]) -> String {
    match revision {
        0 => "no record".into(),
        _ => format!("record {revision} with the chain hash {}", json::hex(chain)),
    }
}

/// The file of the mark.
pub(super) struct MarkFile {
    store: PathBuf,
    path: PathBuf,
    /// `None` until it is written for the first time.
    file: Option<File>,
    /// Of the slot that was written last.
    number: u64,
    last: Option<Mark>,
    /// It could not be written; told once.
    failed: bool,
}

impl MarkFile {
    /// Reads the mark of the store at `store`, where there is one.
    pub(super) fn read(store: &Path) -> Result<Self, StoreError> {
        let path = beside(store, ".mark");
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => drop(
                file.take(2 * SLOT)
                    .read_to_end(&mut bytes)
                    .map_err(|e| open_error(&path, &e))?,
            ),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(open_error(&path, &e)),
        }
        let slots = bytes.chunks(usize::try_from(SLOT).unwrap_or(usize::MAX));
        let newest = slots.filter_map(Mark::read).max_by_key(|(number, _)| *number);
        let (number, last) = newest.map_or((0, None), |(number, mark)| (number, Some(mark)));
        Ok(Self {
            store: store.to_owned(),
            path,
            file: None,
            number,
            last,
            failed: false,
        })
    }

    /// The mark as it was read or written last.
    pub(super) const fn last(&self) -> Option<&Mark> {
        self.last.as_ref()
    }

    /// Refuses a write-ahead log that is another file's. To be asked before SQLite opens the store: it would write what is in
    /// the log into it, or remove the log.
    ///
    /// # Errors
    /// [`StoreError::StaleLog`].
    pub(super) fn require_own_log(&self) -> Result<(), StoreError> {
        let log = std::fs::metadata(log_of(&self.store)).map_or(0, |found| found.len());
        let found = Stamp::at(&self.store);
        let known = self.last.as_ref().and_then(|mark| mark.stamp);
        if log == 0 || known.is_none_or(|known| found == Some(known)) {
            return Ok(());
        }
        Err(StoreError::StaleLog {
            path: self.store.clone(),
            found: told(found),
            known: format!("the log is of {}", told(known)),
        })
    }

    /// Refuses a journal that does not have the marked record.
    ///
    /// # Errors
    /// [`StoreError::RolledBack`], [`StoreError::MarkMissing`], or the store cannot be read.
    pub(super) fn require_in(&self, connection: &Connection, schema: u32) -> Result<(), StoreError> {
        let at = |e: rusqlite::Error| StoreError::from_sqlite(&self.store, &e);
        let row = |sql: &str, value: u64| {
            let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u64>(0)?, row.get::<_, [u8; 32]>(1)?));
            let found = connection.query_row(sql, params![value], read).optional();
            found.map_err(at)
        };
        let (mut end, mut there, mut incarnation) = (None, None, None);
        if schema >= migrations::JOURNAL {
            let sql = "SELECT revision, chain FROM journal WHERE ?1 = ?1 ORDER BY revision DESC LIMIT 1";
            end = row(sql, 0)?;
            incarnation = stored_incarnation(&self.store, connection)?;
            if let Some(mark) = &self.last {
                there = row("SELECT revision, chain FROM journal WHERE revision = ?1", mark.revision)?;
            }
        }
        let ends = end.map_or_else(|| told_of(0, &[0; 32]), |(revision, chain)| told_of(revision, &chain));
        let Some(mark) = &self.last else {
            // A store of a version before the mark gets its first one.
            if incarnation.is_none() || end.is_none() {
                return Ok(());
            }
            return Err(StoreError::MarkMissing {
                path: self.path.clone(),
                ends,
            });
        };
        let is_there = mark.revision == 0 || there == Some((mark.revision, mark.chain));
        if is_there && incarnation.is_none_or(|it| it == mark.incarnation) {
            return Ok(());
        }
        Err(StoreError::RolledBack {
            path: self.store.clone(),
            marked: mark.told(),
            found: match there {
                Some((revision, chain)) => format!("has {}, and ends with {ends}", told_of(revision, &chain)),
                None => format!("ends with {ends}"),
            },
        })
    }

    /// Whether the file is no longer the one that is written: somebody else removed or replaced it.
    pub(super) fn is_gone(&self) -> bool {
        let own = self.file.as_ref().and_then(|file| file.metadata().ok());
        own.is_some_and(|own| metadata(&self.path).ok().as_ref().map(identity) != Some(identity(&own)))
    }

    /// Makes the file anew, with the mark that was written last; flushed. It is in the journal.
    pub(super) fn write_anew(&mut self) -> Result<(), StoreError> {
        self.file = None;
        self.last.clone().map_or(Ok(()), |last| self.write(last, true))
    }

    /// Writes the mark; with `durable` it is flushed, and a failure is the caller's. Else a failure is logged: the mark
    /// stays behind, which is allowed.
    pub(super) fn write(&mut self, mark: Mark, durable: bool) -> Result<(), StoreError> {
        let written = self.try_write(&mark, durable);
        self.last = Some(mark);
        match written {
            Ok(()) => {
                self.failed = false;
                Ok(())
            }
            Err(e) if durable => Err(open_error(&self.path, &e)),
            Err(e) => {
                if !self.failed {
                    tracing::error!(mark = %self.path.display(), error = %e, "the mark beside the store was not written");
                }
                self.failed = true;
                Ok(())
            }
        }
    }

    fn try_write(&mut self, mark: &Mark, durable: bool) -> std::io::Result<()> {
        let is_new = self.file.is_none() && !self.path.exists();
        let file = match self.file.take() {
            Some(file) => file,
            None => open_private(&self.path)?,
        };
        let file = self.file.insert(file);
        self.number = self.number.saturating_add(1);
        file.write_all_at(mark.line(self.number).as_bytes(), (self.number % 2) * SLOT)?;
        if durable {
            file.sync_all()?;
        }
        if is_new && let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// The incarnation that the store has; `None` in one from before the mark.
pub(super) fn stored_incarnation(path: &Path, connection: &Connection) -> Result<Option<u128>, StoreError> {
    apply::meta(path, connection, "incarnation", |text| {
        u128::from_str_radix(text, 16).ok()
    })
}

/// Puts another incarnation into the store.
pub(super) fn put_incarnation(path: &Path, connection: &Connection, incarnation: u128) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES ('incarnation', ?1)",
            [format!("{incarnation:032x}")],
        )
        .map(drop)
        .map_err(|e| StoreError::from_sqlite(path, &e))
}

/// A new incarnation.
///
/// # Errors
/// When the system has no random bytes to give.
pub(super) fn incarnation() -> Result<u128, StoreError> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| StoreError::Random)?;
    Ok(u128::from_be_bytes(random))
}
