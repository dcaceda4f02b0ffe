//! `binary_runtime_measurements`, little-endian (security/integrity/ima/ima_fs.c, `ima_measurements_show`), and
//! `binary_runtime_measurements_sha256` and its kin (Linux 6.10 and later), which record the template hashes of a bank.

use std::{borrow::Cow, sync::Arc};

use hallmark_tpm_wire::HashAlg;

use super::{
    error::ImaError,
    event::{Head, ImaEvent, ORIGINAL_NAME},
    template::{Field, Template},
};

/// The longest template name or format.
const MAX_TEMPLATE: usize = 160;
/// The longest data of one line: the kernel's largest measured buffer is below it.
const MAX_DATA: usize = 1024 * 1024;

/// The algorithm of the recorded hashes: the one whose length leads to the name of a template.
pub(super) fn recorded_hash(bytes: &[u8]) -> HashAlg {
    let leads_to_template = |hash: &HashAlg| {
        let mut cursor = Cursor { bytes, line: 0 };
        let name = cursor
            .take(4 + hash.digest_len(), "template hash")
            .and_then(|_| cursor.sized("template name", MAX_TEMPLATE));
        name.is_ok_and(|name| template(name, 0, &mut None).is_ok())
    };
    HashAlg::ALL
        .into_iter()
        .find(leads_to_template)
        .unwrap_or(HashAlg::Sha1)
}

/// Reads the line at the beginning of `bytes`; gives it with what is behind it.
pub(super) fn line<'a>(
    bytes: &'a [u8],
    number: u64,
    hash: HashAlg,
    known: &mut Option<Arc<Template>>,
    check: bool,
) -> Result<(ImaEvent<'a>, &'a [u8]), ImaError> {
    let mut cursor = Cursor { bytes, line: number };
    let pcr = cursor.u32("register")?;
    let recorded = Cow::Borrowed(cursor.take(hash.digest_len(), "template hash")?);
    let name = cursor.sized("template name", MAX_TEMPLATE)?;
    let template = template(name, number, known)?;
    let head = Head {
        line: number,
        pcr,
        hash,
        recorded,
        check,
    };
    if template.is_original() {
        let digest = cursor.take(20, "digest")?;
        let name = cursor.sized("name", ORIGINAL_NAME)?;
        let data = original_data(digest, name);
        let fields = [Cow::Borrowed(digest), Cow::Borrowed(name)];
        return Ok((
            ImaEvent::assemble(head, template, Cow::Owned(data), &fields)?,
            cursor.bytes,
        ));
    }
    let data = cursor.sized("template data", MAX_DATA)?;
    let mut inner = Cursor {
        bytes: data,
        line: number,
    };
    let mut fields = Vec::with_capacity(template.fields().len());
    for _ in template.fields() {
        fields.push(Cow::Borrowed(inner.sized("field", MAX_DATA)?));
    }
    if !inner.bytes.is_empty() {
        return Err(ImaError::Malformed {
            line: number,
            detail: "more fields than its template has",
        });
    }
    Ok((
        ImaEvent::assemble(head, template, Cow::Borrowed(data), &fields)?,
        cursor.bytes,
    ))
}

/// What the oldest template hashes: the digest, and the name in a field of 256 bytes.
pub(super) fn original_data(digest: &[u8], name: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(20 + ORIGINAL_NAME + 1);
    data.extend_from_slice(digest);
    data.extend_from_slice(name);
    data.resize(20 + ORIGINAL_NAME + 1, 0);
    data
}

/// What all other templates hash: each field with its length before it.
pub(super) fn data(fields: &[Vec<u8>]) -> Vec<u8> {
    let sized = |field: &Vec<u8>| {
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        [&length.to_le_bytes()[..], field].concat()
    };
    fields.iter().flat_map(sized).collect()
}

/// The template of a name; lists have thousands of lines of the same one.
pub(super) fn template(name: &[u8], line: u64, known: &mut Option<Arc<Template>>) -> Result<Arc<Template>, ImaError> {
    if let Some(template) = known.as_ref().filter(|template| template.name().as_bytes() == name) {
        return Ok(Arc::clone(template));
    }
    let parsed = std::str::from_utf8(name).ok().and_then(Template::parse);
    let template = Arc::new(parsed.ok_or_else(|| ImaError::Template {
        line,
        name: String::from_utf8_lossy(name).escape_default().to_string(),
    })?);
    *known = Some(Arc::clone(&template));
    Ok(template)
}

impl Field {
    /// Whether the ascii form writes the field in hex.
    pub(super) const fn is_hex(self) -> bool {
        !matches!(
            self,
            Self::Digest | Self::DigestNg | Self::DigestNgV2 | Self::Name | Self::NameNg | Self::ModsigDigest
        )
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    line: u64,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], ImaError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(ImaError::Truncated { line: self.line, field })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, ImaError> {
        let mut word = [0; 4];
        word.copy_from_slice(self.take(4, field)?);
        Ok(u32::from_le_bytes(word))
    }

    fn sized(&mut self, field: &'static str, limit: usize) -> Result<&'a [u8], ImaError> {
        let length = usize::try_from(self.u32(field)?).unwrap_or(usize::MAX);
        if length > limit {
            return Err(ImaError::TooLong {
                line: self.line,
                field,
                limit,
                actual: length,
            });
        }
        self.take(length, field)
    }
}
