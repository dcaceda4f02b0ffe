//! One line.

use std::{borrow::Cow, sync::Arc};

use hallmark_tpm_wire::HashAlg;

use super::{
    error::ImaError,
    template::{Field, Template},
};

/// The longest name that the oldest template hashes (`IMA_EVENT_NAME_LEN_MAX`).
pub(super) const ORIGINAL_NAME: usize = 255;

/// What a digest is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigestKind {
    /// Of the file's contents.
    File,
    /// fs-verity's, of the file's Merkle tree.
    Verity,
}

/// A file's digest, as a line gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest<'a> {
    /// What it is of.
    pub kind: DigestKind,
    /// The algorithm's name as the kernel writes it: `sha256`.
    pub algorithm: Cow<'a, str>,
    /// The digest.
    pub value: Cow<'a, [u8]>,
}

/// A line of the list, borrowed from it as far as its form allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaEvent<'a> {
    /// Its place, from 0, among the lines that were given.
    pub line: u64,
    /// The register that the list says it was measured into.
    pub pcr: u32,
    /// Its template.
    pub template: Arc<Template>,
    /// The algorithm of the recorded hash: SHA-1, or that of the bank whose list it is (Linux 6.10 and later).
    pub hash: HashAlg,
    /// The recorded template hash. Zeros for a violation.
    pub recorded: Cow<'a, [u8]>,
    /// What is hashed: the fields, each with its length.
    pub data: Cow<'a, [u8]>,
    /// The digest of what was measured.
    pub digest: FileDigest<'a>,
    /// Its name: a path, or what the kernel calls it (`boot_aggregate`). No encoding is promised.
    pub name: Cow<'a, [u8]>,
    /// The file's signature; empty without one, or where the template has none.
    pub signature: Cow<'a, [u8]>,
    /// The measured buffer; empty where the template has none.
    pub buffer: Cow<'a, [u8]>,
}

impl<'a> ImaEvent<'a> {
    /// A violation: the file was written while it was read, so the line measures nothing (ToMToU, open writers).
    #[must_use]
    pub fn is_violation(&self) -> bool {
        self.recorded.iter().all(|byte| *byte == 0)
    }

    /// The name for people: text that is not UTF-8, and control characters, spelt out.
    #[must_use]
    pub fn shown_name(&self) -> String {
        let text = String::from_utf8_lossy(&self.name);
        let spell = |c: char| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                c.to_string()
            }
        };
        text.chars().map(spell).collect()
    }

    /// The fields as they are hashed, in their order. The oldest template has none that could be told apart.
    ///
    /// The template's name is not hashed: whoever hands in a list may call a line by another template whose fields fit.
    /// What is read from a field must therefore prove itself, or be at a place where all templates have the same.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &[u8])> {
        let known = if self.template.is_original() {
            &[]
        } else {
            self.template.fields()
        };
        let mut rest = &self.data[..];
        known.iter().map_while(move |field| {
            let (length, behind) = rest.split_first_chunk()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (bytes, behind) = behind.split_at_checked(length)?;
            rest = behind;
            Some((*field, bytes))
        })
    }

    /// What the line extends `bank` with (Linux 5.8 and later): the hash of its data in that bank's algorithm; ones for a
    /// violation.
    #[must_use]
    pub fn extension(&self, bank: HashAlg) -> Vec<u8> {
        if self.is_violation() {
            vec![0xff; bank.digest_len()]
        } else if bank == self.hash {
            self.recorded.to_vec()
        } else {
            bank.digest(&self.data)
        }
    }

    /// What a kernel before 5.8 extends `bank` with, whatever the bank: the SHA-1 of the line's data, and zeros up to the
    /// bank's length.
    #[must_use]
    pub fn padded_extension(&self, bank: HashAlg) -> Vec<u8> {
        let mut value = self.extension(HashAlg::Sha1);
        value.resize(bank.digest_len(), 0);
        value
    }

    /// Puts a line together and checks that its recorded hash is the one of its fields.
    pub(super) fn assemble(
        head: Head<'a>,
        template: Arc<Template>,
        data: Cow<'a, [u8]>,
        fields: &[Cow<'a, [u8]>],
    ) -> Result<Self, ImaError> {
        let line = head.line;
        let malformed = |detail| ImaError::Malformed { line, detail };
        let mut event = Self {
            line,
            pcr: head.pcr,
            hash: head.hash,
            recorded: head.recorded,
            digest: FileDigest {
                kind: DigestKind::File,
                algorithm: Cow::Borrowed(""),
                value: Cow::Borrowed(&[]),
            },
            name: Cow::Borrowed(&[]),
            signature: Cow::Borrowed(&[]),
            buffer: Cow::Borrowed(&[]),
            data,
            template: Arc::clone(&template),
        };
        for (field, bytes) in template.fields().iter().zip(fields) {
            match field {
                Field::Digest => {
                    event.digest = original_digest(bytes).ok_or(malformed("a digest of another length"))?
                }
                Field::DigestNg | Field::DigestNgV2 => {
                    event.digest = prefixed_digest(bytes, *field).ok_or(malformed("a digest without its algorithm"))?;
                }
                Field::Name => event.name = bytes.clone(),
                Field::NameNg => {
                    event.name = without_nul(bytes).ok_or(malformed("a name with a NUL within or none behind"))?
                }
                Field::Signature | Field::EvmSignature => event.signature = bytes.clone(),
                Field::Buffer => event.buffer = bytes.clone(),
                _ => {}
            }
        }
        if head.check {
            event.require_recorded_hash()?;
        }
        Ok(event)
    }

    fn require_recorded_hash(&self) -> Result<(), ImaError> {
        if self.is_violation() {
            return Ok(());
        }
        let computed = self.hash.digest(&self.data);
        if computed == *self.recorded {
            return Ok(());
        }
        Err(ImaError::TemplateHash {
            line: self.line,
            computed: hex::encode(computed),
            recorded: hex::encode(&self.recorded),
        })
    }
}

/// What every line begins with.
#[derive(Debug, Clone)]
pub(super) struct Head<'a> {
    pub(super) line: u64,
    pub(super) pcr: u32,
    pub(super) hash: HashAlg,
    pub(super) recorded: Cow<'a, [u8]>,
    /// Whether the recorded hash is to be held against the fields.
    pub(super) check: bool,
}

fn original_digest<'a>(bytes: &Cow<'a, [u8]>) -> Option<FileDigest<'a>> {
    (bytes.len() == 20).then(|| FileDigest {
        kind: DigestKind::File,
        algorithm: Cow::Borrowed("sha1"),
        value: bytes.clone(),
    })
}

/// `sha256:` NUL digest; in the second version `ima:` or `verity:` stands before it.
fn prefixed_digest<'a>(bytes: &Cow<'a, [u8]>, field: Field) -> Option<FileDigest<'a>> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    let (prefix, value) = (slice(bytes, 0, at), slice(bytes, at + 1, bytes.len()));
    let prefix = match prefix {
        Cow::Borrowed(prefix) => Cow::Borrowed(std::str::from_utf8(prefix).ok()?),
        Cow::Owned(prefix) => Cow::Owned(String::from_utf8(prefix).ok()?),
    };
    let (kind, length) = match field {
        Field::DigestNgV2 if prefix.starts_with("ima:") => (DigestKind::File, 4),
        Field::DigestNgV2 if prefix.starts_with("verity:") => (DigestKind::Verity, 7),
        Field::DigestNgV2 => return None,
        _ => (DigestKind::File, 0),
    };
    let algorithm = |text: &str| -> Option<usize> {
        let name = text.get(length..)?.strip_suffix(':')?;
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain.then_some(length + name.len())
    };
    let end = algorithm(&prefix)?;
    let algorithm = match prefix {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(length..end)?),
        Cow::Owned(text) => Cow::Owned(text.get(length..end)?.to_owned()),
    };
    Some(FileDigest { kind, algorithm, value })
}

fn without_nul<'a>(bytes: &Cow<'a, [u8]>) -> Option<Cow<'a, [u8]>> {
    let (last, name) = bytes.split_last()?;
    (*last == 0 && !name.contains(&0)).then(|| slice(bytes, 0, name.len()))
}

fn slice<'a>(bytes: &Cow<'a, [u8]>, from: usize, to: usize) -> Cow<'a, [u8]> {
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(from..to).unwrap_or_default()),
        Cow::Owned(bytes) => Cow::Owned(bytes.get(from..to).unwrap_or_default().to_vec()),
    }
}
