//! The credential that systemd 259 to 261 leaves on the boot partition for its NvPCRs, and what systemd-stub measures of it.
//!
//! From the machine's second boot on, systemd-stub packs it into an archive for the initrd and measures that into PCR 12, where
//! the log has no more than a title. So the agent sends the files beside systemd's log, and whoever judges the log packs them
//! again: if the digest is the measured one, the archive held these files and nothing else. By their name nothing reads them
//! but systemd's set-up of NvPCRs: they are no override and no credential of anybody's.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// The archive's folder, as systemd-stub names it for credentials of the whole boot partition.
const FOLDER: &str = ".extra/global_credentials";
/// The most files of a machine: one for each system that boots from the partition.
const MAX_FILES: usize = 16;
/// The longest name.
const MAX_NAME: usize = 128;

/// One `nvpcr-anchor.….cred`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnchorFile {
    name: String,
    contents: Vec<u8>,
}

impl AnchorFile {
    /// What its name begins with.
    pub const PREFIX: &'static str = "nvpcr-anchor.";
    /// What its name ends with on the boot partition.
    pub const SUFFIX: &'static str = ".cred";
    /// The largest one, in bytes: a sealed secret and its wrapping take some hundred.
    pub const MAX_CONTENTS: usize = 16 * 1024;

    /// A file by the name that it has on the boot partition; `None` if it is no anchor.
    #[must_use]
    pub fn new(name: &str, contents: Vec<u8>) -> Option<Self> {
        let token = name.strip_prefix(Self::PREFIX)?.strip_suffix(Self::SUFFIX)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_name = !token.is_empty() && name.len() <= MAX_NAME && token.bytes().all(plain);
        (is_name && contents.len() <= Self::MAX_CONTENTS).then(|| Self {
            name: name.to_owned(),
            contents,
        })
    }
}

/// The anchors of one boot, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anchors(Vec<AnchorFile>);

impl Anchors {
    /// Files, each there once; `None` if one is there twice, or there are more than any machine has.
    #[must_use]
    pub fn new(mut files: Vec<AnchorFile>) -> Option<Self> {
        files.sort();
        let twice = files
            .iter()
            .zip(files.iter().skip(1))
            .any(|(one, next)| one.name == next.name);
        (!twice && files.len() <= MAX_FILES).then_some(Self(files))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What systemd-stub packs of them (`cpio` in its new ASCII form): the folders, the files in the order of their names.
    #[must_use]
    pub fn archive(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        let folders = FOLDER.match_indices('/').filter_map(|(at, _)| FOLDER.get(..at));
        let folders = folders.map(|folder| (folder, 0o040_555)).chain([(FOLDER, 0o040_500)]);
        let mut inode = 0;
        for (folder, mode) in folders {
            inode += 1;
            entry(&mut archive, inode, mode, folder, &[]);
        }
        for file in &self.0 {
            inode += 1;
            entry(
                &mut archive,
                inode,
                0o100_400,
                &format!("{FOLDER}/{}", file.name),
                &file.contents,
            );
        }
        archive.extend(b"070701");
        for word in [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0] {
            archive.extend(format!("{word:08X}").bytes());
        }
        archive.extend(b"TRAILER!!!\0\0\0\0");
        archive
    }

    /// The record that stands for them before systemd's own log.
    #[must_use]
    pub fn to_record(&self) -> Vec<u8> {
        let file = |file: &AnchorFile| FileForm {
            name: file.name.clone(),
            data: STANDARD.encode(&file.contents),
        };
        let record = RecordForm {
            content_type: CONTENT_TYPE.to_owned(),
            digests: [],
            content: Files {
                files: self.0.iter().map(file).collect(),
            },
        };
        // Strings and lists always have a JSON form.
        let text = serde_json::to_string(&record).unwrap_or_default();
        format!("\u{1e}{text}\n").into_bytes()
    }

    /// Those of a record's contents; `Err` says what is wrong.
    pub(crate) fn from_record(content: serde_json::Value) -> Result<Self, String> {
        let files: Files = serde_json::from_value(content).map_err(|error| error.to_string())?;
        let read = |file: FileForm| {
            let contents = STANDARD.decode(&file.data).map_err(|error| error.to_string())?;
            AnchorFile::new(&file.name, contents).ok_or_else(|| format!("{:?} is not an NvPCR anchor", file.name))
        };
        let files = files.files.into_iter().map(read).collect::<Result<Vec<_>, String>>()?;
        Self::new(files).ok_or_else(|| "an NvPCR anchor twice, or more of them than any machine has".to_owned())
    }
}

/// What stands in such a record for the form of its contents.
pub(crate) const CONTENT_TYPE: &str = "hallmark-nvpcr-anchors";

/// No digests and no register: whoever does not know the record passes it over, as what was measured into an NV index.
#[derive(Serialize)]
struct RecordForm {
    content_type: String,
    digests: [(); 0],
    content: Files,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    files: Vec<FileForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    name: String,
    data: String,
}

/// A header of thirteen words, the name, the contents, each to a multiple of four bytes.
fn entry(archive: &mut Vec<u8>, inode: usize, mode: usize, name: &str, contents: &[u8]) {
    archive.extend(b"070701");
    let links = 1;
    for word in [
        inode,
        mode,
        0,
        0,
        links,
        0,
        contents.len(),
        0,
        0,
        0,
        0,
        name.len() + 1,
        0,
    ] {
        archive.extend(format!("{word:08x}").bytes());
    }
    archive.extend(name.bytes());
    archive.push(0);
    pad(archive);
    archive.extend(contents);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::SystemdLog;
    use hallmark_tpm_wire::HashAlg;

    fn file(name: &str, contents: &[u8]) -> AnchorFile {
        AnchorFile::new(name, contents.to_vec()).unwrap()
    }

    /// The archive was written by another program, from the description of the form alone.
    #[test]
    fn an_archive_is_packed_as_the_stub_packs_it() {
        let one = file(
            "nvpcr-anchor.60831444225341dc9bf4534be89fb4fa.cred",
            b"DHzAexF2RZGcSwvqCLwg\n",
        );
        let archive = Anchors::new(vec![one.clone()]).unwrap().archive();
        assert_eq!(archive.len(), 592);
        assert_eq!(
            hex::encode(HashAlg::Sha256.digest(&archive)),
            "158cec5c5aaf6268be0fdabc3374f98f1afa9b2a6e26e914b51dfcd2bf2c7cf5"
        );
        // In the order of the names, whatever the order in which they were found.
        let other = file("nvpcr-anchor.1.cred", b"x");
        let packed = |files: &[&AnchorFile]| {
            Anchors::new(files.iter().copied().cloned().collect())
                .unwrap()
                .archive()
        };
        assert_eq!(packed(&[&one, &other]), packed(&[&other, &one]));
        assert_ne!(packed(&[&one, &other]), packed(&[&one]));
    }

    #[test]
    fn anchors_travel_beside_systemds_log() {
        let anchors = Anchors::new(vec![
            file("nvpcr-anchor.a.cred", b"one"),
            file("nvpcr-anchor.b.cred", b""),
        ])
        .unwrap();
        let phase = HashAlg::Sha256.digest(b"ready");
        let words = format!(
            "\u{1e}{{\"pcr\":11,\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{}\"}}],\"content\":{{\"string\":\"ready\"}}}}\n",
            hex::encode(phase)
        );
        let record = anchors.to_record();
        let log = SystemdLog::parse(&[&record[..], words.as_bytes()].concat()).unwrap();
        assert_eq!((log.anchors(), log.records().len()), (&anchors, 1));
        assert!(log.records()[0].is_proven());
        assert!(SystemdLog::parse(words.as_bytes()).unwrap().anchors().is_empty());
        let text = String::from_utf8(record.clone()).unwrap();
        for bad in [
            text.replace("nvpcr-anchor.a.cred", "passwd.cred"),
            text.replace("nvpcr-anchor.a.cred", "nvpcr-anchor.a/../b.cred"),
            text.replace("nvpcr-anchor.a.cred", "nvpcr-anchor.b.cred"),
            text.replace("b25l", "b25"),
            text.replace("\"name\"", "\"path\""),
        ] {
            assert!(SystemdLog::parse(text.as_bytes()).is_ok());
            assert!(SystemdLog::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(SystemdLog::parse(&[&record[..], &record].concat()).is_err(), "twice");
    }

    #[test]
    fn what_is_no_anchor_is_none() {
        for name in [
            "nvpcr-anchor.cred",
            "nvpcr-anchor..cred",
            "nvpcr-anchor.a",
            "a.cred",
            "nvpcr-anchor.a b.cred",
            "",
        ] {
            let is_one = AnchorFile::new(name, Vec::new()).is_some();
            assert!(!is_one, "{name}");
        }
        assert!(AnchorFile::new("nvpcr-anchor.a.cred", vec![0; AnchorFile::MAX_CONTENTS + 1]).is_none());
        let many = (0..17)
            .map(|number| file(&format!("nvpcr-anchor.{number}.cred"), b""))
            .collect();
        assert_eq!(Anchors::new(many), None);
    }
}
