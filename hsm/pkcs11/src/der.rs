//! The little DER that PKCS#11 leaves to its callers: public keys and ECDSA signatures.

use hallmark_hsm::KeyKind;

/// `prime256v1` as a DER OBJECT IDENTIFIER (RFC 5480, section 2.1.1.1), the form of CKA_EC_PARAMS.
pub(crate) const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `secp384r1`.
pub(crate) const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// `rsaEncryption` with its NULL parameters (RFC 3279, section 2.3.1).
const RSA_ENCRYPTION: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// The start of a `DigestInfo` for SHA-256 (RFC 8017, section 9.2, note 1); the digest follows.
const DIGEST_INFO_SHA256: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// The SubjectPublicKeyInfo of an EC key. `ec_point` is CKA_EC_POINT: an uncompressed point in a DER OCTET STRING,
/// or bare as some tokens give it. `None` when it is neither.
pub(crate) fn ec_spki(kind: KeyKind, ec_point: &[u8]) -> Option<Vec<u8>> {
    let (curve, field_len) = curve(kind)?;
    let point_len = 2 * field_len + 1;
    let point = if ec_point.len() == point_len {
        ec_point
    } else {
        ec_point.strip_prefix(&[OCTET_STRING, u8::try_from(point_len).ok()?])?
    };
    if point.len() != point_len || point.first() != Some(&0x04) {
        return None;
    }
    let algorithm = tlv(SEQUENCE, &[EC_PUBLIC_KEY, curve]);
    Some(tlv(SEQUENCE, &[&algorithm, &tlv(BIT_STRING, &[&[0], point])]))
}

/// The SubjectPublicKeyInfo of an RSA key, from big-endian CKA_MODULUS and CKA_PUBLIC_EXPONENT.
pub(crate) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = tlv(SEQUENCE, &[&unsigned(modulus), &unsigned(exponent)]);
    tlv(
        SEQUENCE,
        &[&tlv(SEQUENCE, &[RSA_ENCRYPTION]), &tlv(BIT_STRING, &[&[0], &key])],
    )
}

/// `ECDSA-Sig-Value` (RFC 3279, section 2.2.3) from r||s as CKM_ECDSA gives it. `None` when the length is not
/// that of the curve, or a half is zero.
pub(crate) fn ecdsa_signature(kind: KeyKind, raw: &[u8]) -> Option<Vec<u8>> {
    let (_, field_len) = curve(kind)?;
    if raw.len() != 2 * field_len {
        return None;
    }
    let (r, s) = raw.split_at_checked(field_len)?;
    let all_zero = |half: &[u8]| half.iter().all(|byte| *byte == 0);
    if all_zero(r) || all_zero(s) {
        return None;
    }
    Some(tlv(SEQUENCE, &[&unsigned(r), &unsigned(s)]))
}

/// The `DigestInfo` that CKM_RSA_PKCS signs.
pub(crate) fn digest_info_sha256(digest: &[u8]) -> Vec<u8> {
    [DIGEST_INFO_SHA256, digest].concat()
}

const fn curve(kind: KeyKind) -> Option<(&'static [u8], usize)> {
    match kind {
        KeyKind::EcP256 => Some((P256, 32)),
        KeyKind::EcP384 => Some((P384, 48)),
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => None,
    }
}

/// A non-negative INTEGER in its shortest form.
fn unsigned(big_endian: &[u8]) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    let digits = big_endian.get(zeros..).unwrap_or_default();
    let needs_sign = digits.first().is_none_or(|byte| *byte >= 0x80);
    let sign: &[u8] = if needs_sign { &[0] } else { &[] };
    tlv(INTEGER, &[sign, digits])
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(len + 5);
    out.push(tag);
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = len.to_be_bytes();
            let digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            out.extend(digits);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_shortest_and_never_negative() {
        assert_eq!(unsigned(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(unsigned(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[]), [2, 1, 0]);
    }

    #[test]
    fn long_lengths_use_the_long_form() {
        assert_eq!(tlv(4, &[&[7; 0x7f]])[..2], [4, 0x7f]);
        assert_eq!(tlv(4, &[&[7; 0x80]])[..3], [4, 0x81, 0x80]);
        assert_eq!(tlv(4, &[&[7; 0x123]])[..4], [4, 0x82, 0x01, 0x23]);
    }

    #[test]
    fn a_point_is_taken_wrapped_or_bare_and_nothing_else() {
        let mut bare = vec![4];
        bare.extend([9; 64]);
        let wrapped = tlv(OCTET_STRING, &[&bare]);
        let spki = ec_spki(KeyKind::EcP256, &bare).unwrap();
        assert_eq!(ec_spki(KeyKind::EcP256, &wrapped), Some(spki));
        assert_eq!(ec_spki(KeyKind::EcP384, &wrapped), None);
        assert_eq!(ec_spki(KeyKind::EcP256, &wrapped[..66]), None);
        bare[0] = 2;
        assert_eq!(ec_spki(KeyKind::EcP256, &bare), None);
    }

    #[test]
    fn what_is_no_signature_is_not_encoded() {
        assert!(ecdsa_signature(KeyKind::EcP256, &[1; 64]).is_some());
        assert_eq!(ecdsa_signature(KeyKind::EcP256, &[1; 63]), None);
        assert_eq!(ecdsa_signature(KeyKind::EcP256, &[1; 96]), None);
        let mut r_is_zero = [1; 64];
        r_is_zero[..32].fill(0);
        assert_eq!(ecdsa_signature(KeyKind::EcP256, &r_is_zero), None);
    }
}
