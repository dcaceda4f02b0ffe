//! Files that were named, read within limits.

use std::{fs::File, io::Read as _, path::Path};

use hallmark_policy::signed::{FileKind, OperatorKeys, SignedFile};
use hallmark_spiffe::TrustDomain;

use crate::error::CliError;

/// The largest file that is no log.
pub(super) const MAX_FILE: usize = 1024 * 1024;
/// The largest baseline.
pub(super) const MAX_RULES: usize = 16 * 1024 * 1024;

/// A file of at most `limit` bytes. Files of the kernel have no length beforehand.
pub(in crate::command) fn limited(path: &Path, limit: usize) -> Result<Vec<u8>, CliError> {
    let failed = |cause| CliError::File {
        file: path.to_owned(),
        cause,
    };
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .map_err(failed)?
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > limit {
        return Err(CliError::Unfit {
            what: "content",
            file: path.to_owned(),
            detail: format!("it has more than {limit} bytes"),
        });
    }
    Ok(bytes)
}

/// A text file of at most `limit` bytes, without the mark that some editors write before it.
pub(in crate::command) fn text(path: &Path, limit: usize) -> Result<String, CliError> {
    let bytes = limited(path, limit)?;
    let detail = match bytes.as_slice() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16; save it as UTF-8",
        _ => "it is not UTF-8",
    };
    let mut text = String::from_utf8(bytes).map_err(|_| CliError::Unfit {
        what: "text",
        file: path.to_owned(),
        detail: detail.to_owned(),
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// Rules as they are, or out of a signed file: one of `keys` must have signed it, and for `audience` where that is known.
pub(super) fn rules(
    path: &Path,
    (kind, limit): (FileKind, usize),
    keys: &OperatorKeys,
    audience: Option<&TrustDomain>,
) -> Result<Vec<u8>, CliError> {
    // A signed file is in base64, with a few fields around it.
    let content = limited(path, limit.saturating_mul(2))?;
    let Some(signed) = std::str::from_utf8(&content)
        .ok()
        .filter(|text| SignedFile::is_one(text))
    else {
        return Ok(content);
    };
    if keys.is_empty() {
        return Err(CliError::Unfit {
            what: "signed file",
            file: path.to_owned(),
            detail: "nothing says who may have signed it: give --operator-key FILE".to_owned(),
        });
    }
    let opened = SignedFile::parse(signed).and_then(|signed| signed.open(kind, audience, keys));
    let opened = opened.map_err(|cause| CliError::Signed {
        file: path.to_owned(),
        cause,
    })?;
    Ok(opened.payload)
}
