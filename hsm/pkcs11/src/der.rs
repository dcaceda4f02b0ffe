//! The forms that PKCS#11 leaves to its callers: public keys and ECDSA signatures.

use hallmark_der::{NamedCurve, tag::OCTET_STRING};
use hallmark_hsm::KeyKind;

/// The SubjectPublicKeyInfo of an EC key. `ec_point` is CKA_EC_POINT: an uncompressed point in a DER OCTET STRING,
/// or bare as some tokens give it. `None` when it is neither.
pub(crate) fn ec_spki(kind: KeyKind, ec_point: &[u8]) -> Option<Vec<u8>> {
    let curve = curve(kind)?;
    let bare = |point: &[u8]| curve.is_point(point).then(|| hallmark_der::ec_spki(curve, point));
    bare(ec_point).or_else(|| {
        let mut reader = hallmark_der::Reader::new(ec_point);
        let point = reader.take(OCTET_STRING).ok()?.contents;
        reader.end().ok()?;
        bare(point)
    })
}

/// `ECDSA-Sig-Value` (RFC 3279, section 2.2.3) from r||s as CKM_ECDSA gives it. `None` when the length is not
/// that of the curve, or a half is zero.
pub(crate) fn ecdsa_signature(kind: KeyKind, raw: &[u8]) -> Option<Vec<u8>> {
    let field_len = curve(kind)?.field_len();
    if raw.len() != 2 * field_len {
        return None;
    }
    let (r, s) = raw.split_at_checked(field_len)?;
    let all_zero = |half: &[u8]| half.iter().all(|byte| *byte == 0);
    if all_zero(r) || all_zero(s) {
        return None;
    }
    Some(hallmark_der::ecdsa_signature(r, s))
}

/// The SubjectPublicKeyInfo of an Ed25519 key. `ec_point` is CKA_EC_POINT: 32 bytes, bare, in a DER OCTET STRING or in a DER BIT
/// STRING, as versions 2.40 to 3.1 of the specification had it. `None` when it is none of them.
pub(crate) fn ed25519_spki(ec_point: &[u8]) -> Option<Vec<u8>> {
    let key = match ec_point {
        [0x04, 0x20, key @ ..] | [0x03, 0x21, 0x00, key @ ..] if key.len() == 32 => key,
        bare => bare,
    };
    Some(hallmark_der::ed25519_spki(key.try_into().ok()?))
}

pub(crate) const fn curve(kind: KeyKind) -> Option<NamedCurve> {
    match kind {
        KeyKind::EcP256 => Some(NamedCurve::P256),
        KeyKind::EcP384 => Some(NamedCurve::P384),
        KeyKind::EcP521 => Some(NamedCurve::P521),
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 | KeyKind::Ed25519 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_der::element;

    #[test]
    fn a_point_is_taken_wrapped_or_bare_and_nothing_else() {
        let mut bare = vec![4];
        bare.extend([9; 64]);
        let wrapped = element(OCTET_STRING, &[&bare]);
        let spki = ec_spki(KeyKind::EcP256, &bare).unwrap();
        assert_eq!(ec_spki(KeyKind::EcP256, &wrapped), Some(spki));
        assert_eq!(ec_spki(KeyKind::EcP384, &wrapped), None);
        assert_eq!(ec_spki(KeyKind::EcP256, &wrapped[..66]), None);
        bare[0] = 2;
        assert_eq!(ec_spki(KeyKind::EcP256, &bare), None);
    }

    #[test]
    fn an_edwards_key_is_taken_in_each_form_that_tokens_give() {
        let key = [7; 32];
        let spki = ed25519_spki(&key).unwrap();
        assert!(spki.ends_with(&key) && spki.len() == 44);
        assert_eq!(ed25519_spki(&element(OCTET_STRING, &[&key])), Some(spki.clone()));
        assert_eq!(ed25519_spki(&hallmark_der::bit_string(&key)), Some(spki));
        assert_eq!(ed25519_spki(&key[1..]), None);
        assert_eq!(ed25519_spki(&[9; 34]), None);
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
