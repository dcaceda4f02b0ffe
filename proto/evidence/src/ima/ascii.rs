//! `ascii_runtime_measurements` and `ascii_runtime_measurements_sha256`: the form for people. Every line is put back into
//! its binary form, whose recorded hash must fit, so a name with spaces or line ends cannot pass for other fields.

use std::{borrow::Cow, sync::Arc};

use hallmark_tpm_wire::HashAlg;

use super::{
    binary::{data, original_data, template},
    error::ImaError,
    event::{Head, ImaEvent},
    template::{Field, Template},
};

/// The longest line.
const MAX_LINE: usize = 2 * 1024 * 1024 + 8192;
/// Register and template hash take less of a line.
const MAX_HEAD: usize = 256;

/// The algorithm of the recorded hashes: the one of the length of the second field.
pub(super) fn recorded_hash(bytes: &[u8]) -> HashAlg {
    let head = bytes.get(..MAX_HEAD.min(bytes.len())).unwrap_or_default();
    let mut parts = head.split(|byte| *byte == b' ').filter(|part| !part.is_empty());
    let digits = parts.nth(1).map_or(0, <[u8]>::len);
    HashAlg::ALL
        .into_iter()
        .find(|hash| hash.digest_len() * 2 == digits)
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
    let malformed = |detail| ImaError::Malformed { line: number, detail };
    let end = bytes
        .iter()
        .take(MAX_LINE)
        .position(|byte| *byte == b'\n')
        .ok_or(ImaError::Truncated {
            line: number,
            field: "line",
        })?;
    let (text, rest) = (
        bytes.get(..end).unwrap_or_default(),
        bytes.get(end + 1..).unwrap_or_default(),
    );
    let mut parts = text.splitn(4, |byte| *byte == b' ').filter(|part| !part.is_empty());
    let mut part = || parts.next().ok_or(malformed("a field is missing"));
    let pcr = std::str::from_utf8(part()?).ok().and_then(|text| text.parse().ok());
    let pcr = pcr.ok_or(malformed("the register is not a number"))?;
    let recorded = hex::decode(part()?).ok().filter(|it| it.len() == hash.digest_len());
    let recorded = recorded.ok_or(malformed("the template hash is none of the list's algorithm in hex"))?;
    let template = template(part()?, number, known)?;
    let fields = fields(part()?, &template).ok_or(malformed("the fields are not those of the template"))?;
    let data = match (template.is_original(), fields.as_slice()) {
        (true, [digest, name]) => original_data(digest, name),
        _ => data(&fields),
    };
    let head = Head {
        line: number,
        pcr,
        hash,
        recorded: Cow::Owned(recorded),
        check,
    };
    let fields: Vec<Cow<'a, [u8]>> = fields.into_iter().map(Cow::Owned).collect();
    Ok((ImaEvent::assemble(head, template, Cow::Owned(data), &fields)?, rest))
}

/// The fields in their binary form. Only names may hold spaces: what stands behind a name is cut off from the end.
fn fields(text: &[u8], template: &Template) -> Option<Vec<Vec<u8>>> {
    let all = template.fields();
    let name = all
        .iter()
        .position(|field| matches!(field, Field::Name | Field::NameNg))?;
    let behind = all.len().checked_sub(name + 1)?;
    let mut text = text;
    let mut last: Vec<&[u8]> = Vec::new();
    for _ in 0..behind {
        let at = text.iter().rposition(|byte| *byte == b' ')?;
        last.push(text.get(at + 1..)?);
        text = text.get(..at)?;
    }
    let mut first: Vec<&[u8]> = text.splitn(name + 1, |byte| *byte == b' ').collect();
    first.extend(last.into_iter().rev());
    if first.len() != all.len() {
        return None;
    }
    all.iter()
        .zip(first)
        .map(|(field, text)| binary_field(*field, text))
        .collect()
}

fn binary_field(field: Field, text: &[u8]) -> Option<Vec<u8>> {
    match field {
        Field::Name => Some(text.to_vec()),
        Field::NameNg => Some([text, &[0]].concat()),
        Field::Digest => hex::decode(text).ok(),
        Field::DigestNg | Field::DigestNgV2 | Field::ModsigDigest => {
            if text.is_empty() {
                return Some(Vec::new());
            }
            let at = text.iter().rposition(|byte| *byte == b':')?;
            let (prefix, digest) = text.split_at_checked(at + 1)?;
            Some([prefix, &[0], &hex::decode(digest).ok()?].concat())
        }
        field if field.is_hex() => hex::decode(text).ok(),
        _ => None,
    }
}
