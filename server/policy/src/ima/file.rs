//! A line of the list, as it is kept.

use hallmark_evidence::ima::{DigestKind, Field, ImaEvent};
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::ima::{FileSignature, ImaKeys, SignatureFault, SignatureVerdict, file_signature};
use serde::{Deserialize, Serialize};

use crate::selectors::hex;

/// The longest name that is kept whole, in bytes (`PATH_MAX`).
const MAX_NAME: usize = 4096;

/// Something that was measured: a line of the list, without what only its replay needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredFile {
    /// The first line that says so, from 0.
    #[serde(rename = "l")]
    pub line: u64,
    /// What the line is about.
    #[serde(rename = "t", default, skip_serializing_if = "LineKind::is_file")]
    pub kind: LineKind,
    /// `sha256:` and hex; `verity:sha256:` and hex for a digest of fs-verity. As weak as the machine took it.
    #[serde(rename = "d")]
    pub digest: String,
    /// The name: bytes that are no text, control characters and `\` are spelt `\x00`, so that one spelling is one name.
    #[serde(rename = "n")]
    pub name: String,
    /// What became of its signature; none if it has none.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineKind {
    /// A file.
    #[default]
    File,
    /// Something else that the kernel measured, such as a keyring's key or kexec's command line, which is in the list.
    Buffer,
    /// Nothing that its template lets anybody say for sure.
    Unclear,
}

impl LineKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    fn is_file(&self) -> bool {
        *self == Self::File
    }
}

/// What became of a line's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Signed {
    /// It could vouch for the digest under no key.
    Fault(SignatureFault),
    /// It is kept, for no key made it that was known.
    Open(Box<FileSignature>),
    /// A known key made it over the line's digest, which stays true whatever keys count later: it need not be kept.
    By {
        /// SHA-256 of the key's SPKI.
        key: String,
    },
}

/// A line, as reasons name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineRef {
    /// Its number, from 0.
    pub line: u64,
    /// The register that it was measured into, as the list says.
    pub pcr: u32,
    /// Its name, spelt as [`MeasuredFile::name`].
    pub name: String,
}

impl LineRef {
    pub(super) fn of(event: &ImaEvent<'_>, line: u64) -> Self {
        Self {
            line,
            pcr: event.pcr,
            name: spelt(&event.name),
        }
    }
}

impl MeasuredFile {
    /// As they are stored: a line of JSON each, so that what is added later is put behind.
    #[must_use]
    pub fn to_lines(files: Vec<Self>) -> Vec<u8> {
        let size = |file: &Self| file.name.len() + file.digest.len() + if file.signed.is_some() { 800 } else { 40 };
        let mut lines = Vec::with_capacity(files.iter().map(size).sum());
        for file in files {
            // Numbers, texts and lists always have a JSON form, and memory takes it.
            drop(serde_json::to_writer(&mut lines, &file));
            lines.push(b'\n');
        }
        lines
    }

    /// About how many bytes it takes when it is stored, with the key of its signature in the signature's place.
    pub(super) fn stored_size(&self) -> u64 {
        // In JSON these take a byte more; control characters are spelt.
        let escaped = self.name.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        let signed = if self.signed.is_some() { 90 } else { 0 };
        u64::try_from(self.name.len() + escaped + self.digest.len() + signed + 40).unwrap_or(u64::MAX)
    }

    /// What [`to_lines`](Self::to_lines) gave.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_lines(lines: &[u8]) -> Result<Vec<Self>, serde_json::Error> {
        let lines = lines.split_inclusive(|byte| *byte == b'\n');
        lines.map(serde_json::from_slice).collect()
    }

    pub(super) fn of(event: &ImaEvent<'_>, line: u64) -> Self {
        let kind = kind(event);
        Self {
            line,
            kind,
            digest: digest(event),
            name: spelt(&event.name),
            signed: match file_signature(event) {
                Some(Ok(signature)) if kind == LineKind::File => Some(Signed::Open(Box::new(signature))),
                Some(Err(fault)) if kind == LineKind::File => Some(Signed::Fault(fault)),
                _ => None,
            },
        }
    }

    /// Whether the name is one that a pattern may match: absolute or a bare word, and spelt without a trick.
    pub(super) fn has_plain_name(&self) -> bool {
        let parts = self.name.strip_prefix('/').unwrap_or(&self.name).split('/');
        let odd = |part: &str| matches!(part, "" | "." | "..");
        self.kind != LineKind::Unclear && !self.name.contains('\\') && !parts.into_iter().any(odd)
    }

    /// Whether the digest is one that no other file has.
    pub(super) fn has_strong_digest(&self) -> bool {
        let digest = self.digest.strip_prefix("verity:").unwrap_or(&self.digest);
        digest.split_once(':').is_some_and(|(algorithm, hex)| {
            HashAlg::from_name(algorithm).is_some_and(|it| it.is_strong() && it.digest_len() * 2 == hex.len())
        })
    }

    /// Looks for the key that made its signature. Gives whether a key with the right id did not.
    pub(super) fn settle(&mut self, keys: &ImaKeys) -> bool {
        let Some(Signed::Open(signature)) = &self.signed else {
            return false;
        };
        match keys.verify(signature) {
            SignatureVerdict::Valid(key) => {
                let key = key.sha256().to_owned();
                self.signed = Some(Signed::By { key });
                false
            }
            SignatureVerdict::Bad => true,
            SignatureVerdict::UnknownKey => false,
        }
    }
}

/// What a line is about. Which template it has is the word of whoever handed in the list; that a buffer is one shows by
/// its digest, which is that of the buffer.
fn kind(event: &ImaEvent<'_>) -> LineKind {
    if !event.template.leads_with_digest_and_name() || event.name.len() > MAX_NAME {
        return LineKind::Unclear;
    }
    let buffer = event.fields().find(|(field, _)| *field == Field::Buffer);
    let digest = HashAlg::from_name(&event.digest.algorithm).filter(|hash| hash.is_strong());
    let is_buffer = buffer.zip(digest).is_some_and(|((_, bytes), hash)| {
        event.digest.kind == DigestKind::File
            && hash.digest(bytes) == *event.digest.value
            && !event.name.contains(&b'/')
    });
    if is_buffer { LineKind::Buffer } else { LineKind::File }
}

fn digest(event: &ImaEvent<'_>) -> String {
    let kind = match event.digest.kind {
        DigestKind::File => "",
        DigestKind::Verity => "verity:",
    };
    format!("{kind}{}:{}", event.digest.algorithm, hex(&event.digest.value))
}

/// A name in one spelling. What is over-long is cut, and its line is unclear.
pub(super) fn spelt(name: &[u8]) -> String {
    let name = name.get(..MAX_NAME).unwrap_or(name);
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(is_odd) => text.to_owned(),
        _ => {
            let mut spelt = String::new();
            for chunk in name.utf8_chunks() {
                for character in chunk.valid().chars() {
                    if is_odd(character) {
                        let mut bytes = [0; 4];
                        spell(&mut spelt, character.encode_utf8(&mut bytes).as_bytes());
                    } else {
                        spelt.push(character);
                    }
                }
                spell(&mut spelt, chunk.invalid());
            }
            spelt
        }
    }
}

fn is_odd(character: char) -> bool {
    character.is_control() || character == '\\'
}

fn spell(to: &mut String, bytes: &[u8]) {
    for byte in bytes {
        to.push_str("\\x");
        to.push_str(&hex(&[*byte]));
    }
}
