//! Writes lists, in both forms.

use hallmark_tpm_wire::HashAlg;

pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat()
}

/// `d-ng`.
pub(crate) fn digest(algorithm: &str, value: &[u8]) -> Vec<u8> {
    [format!("{algorithm}:").as_bytes(), &[0], value].concat()
}

/// `n-ng`.
pub(crate) fn name(name: &[u8]) -> Vec<u8> {
    [name, &[0]].concat()
}

/// A line of any template but the oldest, with the right hash.
pub(crate) fn line(template: &str, fields: &[Vec<u8>]) -> Vec<u8> {
    let data: Vec<u8> = fields.iter().flat_map(|field| sized(field)).collect();
    line_with_hash(template, &data, &HashAlg::Sha1.digest(&data))
}

/// A line with any hash.
pub(crate) fn line_with_hash(template: &str, data: &[u8], hash: &[u8]) -> Vec<u8> {
    [
        &10_u32.to_le_bytes()[..],
        hash,
        &sized(template.as_bytes()),
        &sized(data),
    ]
    .concat()
}

/// A line of `ima-ng` about a file.
pub(crate) fn file(path: &str, value: &[u8; 32]) -> Vec<u8> {
    line("ima-ng", &[digest("sha256", value), name(path.as_bytes())])
}

/// A line of the oldest template.
pub(crate) fn original(path: &[u8], value: &[u8; 20]) -> Vec<u8> {
    let mut hashed = [&value[..], path].concat();
    hashed.resize(276, 0);
    [
        &10_u32.to_le_bytes()[..],
        &HashAlg::Sha1.digest(&hashed),
        &sized(b"ima"),
        value,
        &sized(path),
    ]
    .concat()
}
