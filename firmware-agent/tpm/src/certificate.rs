//! The little DER that the driver needs: where a certificate in NV ends, what key it is for, and ECDSA signatures.

use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Header of `TCG_PCCLIENT_STORED_CERT` (TCG PC Client Implementation for TPM 1.2, 7.3.2): tag 0x1001, type 0 (full
/// certificate), 16-bit length. Some makers kept it in TPM 2.0 NV.
const STORED_CERT_TAG: [u8; 3] = [0x10, 0x01, 0x00];

/// What an endorsement certificate says about its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CertifiedKey {
    /// Modulus, without leading zeros, and its size in bits.
    Rsa(Vec<u8>),
    /// Coordinates, as wide as the curve.
    Ecc(Vec<u8>, Vec<u8>),
}

/// Takes the stored-certificate header off, if there is one.
pub(crate) fn unwrap_stored(contents: &[u8]) -> &[u8] {
    match contents.strip_prefix(&STORED_CERT_TAG) {
        Some([_, _, rest @ ..]) => rest,
        _ => contents,
    }
}

/// The DER SEQUENCE at the start, without what follows it. `None` where there is none.
pub(crate) fn first_der(bytes: &[u8]) -> Option<&[u8]> {
    let (header, length) = match bytes {
        [0x30, length @ 0..=0x7f, ..] => (2, usize::from(*length)),
        [0x30, 0x81, length, ..] => (3, usize::from(*length)),
        [0x30, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => return None,
    };
    bytes
        .get(..length.checked_add(header)?)
        .filter(|der| der.len() > header)
}

/// The DER SEQUENCEs that follow one another; padding at the end is passed over.
pub(crate) fn all_der(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let der = first_der(rest)?;
        rest = rest.get(der.len()..).unwrap_or_default();
        Some(der)
    })
}

/// The key that a certificate is for. `None` where the certificate or its key cannot be read; the server will say more
/// about it.
pub(crate) fn certified_key(der: &[u8]) -> Option<CertifiedKey> {
    use x509_parser::public_key::PublicKey;
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let spki = certificate.public_key();
    // Old makers put RSAES-OAEP in the algorithm; the key inside is an RSA key all the same.
    if let Ok(PublicKey::RSA(rsa)) = spki.parsed() {
        return Some(CertifiedKey::Rsa(strip_zeros(rsa.modulus)));
    }
    if let Ok(PublicKey::EC(point)) = spki.parsed() {
        let coordinates = point.data().strip_prefix(&[0x04])?;
        let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
        return Some(CertifiedKey::Ecc(x.to_vec(), y.to_vec()));
    }
    let (_, rsa) = x509_parser::public_key::RSAPublicKey::from_der(&spki.subject_public_key.data).ok()?;
    Some(CertifiedKey::Rsa(strip_zeros(rsa.modulus)))
}

fn strip_zeros(number: &[u8]) -> Vec<u8> {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number.get(first..).unwrap_or_default().to_vec()
}

/// `ECDSA-Sig-Value` (RFC 3279, section 2.2.3) from the two numbers, big-endian, at most 66 bytes each.
pub(crate) fn ecdsa_sig_value(r: &[u8], s: &[u8]) -> Vec<u8> {
    let content = [integer(r), integer(s)].concat();
    sequence(&content)
}

fn integer(number: &[u8]) -> Vec<u8> {
    let mut digits = strip_zeros(number);
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        digits.insert(0, 0);
    }
    tagged(0x02, &digits)
}

fn sequence(content: &[u8]) -> Vec<u8> {
    tagged(0x30, content)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    // Two numbers of at most 67 bytes: the length fits one byte, with or without the long form's mark.
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    let mut out = if length < 0x80 {
        vec![tag, length]
    } else {
        vec![tag, 0x81, length]
    };
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_and_the_old_header_are_taken_off() {
        let der = [0x30, 0x03, 1, 2, 3];
        let padded = [&der[..], &[0xff; 7]].concat();
        assert_eq!(first_der(&padded), Some(&der[..]));
        let wrapped = [&[0x10, 0x01, 0x00, 0x00, 0x05], &padded[..]].concat();
        assert_eq!(first_der(unwrap_stored(&wrapped)), Some(&der[..]));
        assert_eq!(first_der(&der[..4]), None);
        assert_eq!(first_der(&[0xff; 8]), None);
        let two = [&der[..], &der[..], &[0, 0]].concat();
        assert_eq!(all_der(&two).count(), 2);
    }

    #[test]
    fn integers_are_minimal_and_positive() {
        assert_eq!(
            ecdsa_sig_value(&[0, 0, 0x7f], &[0x80]),
            [0x30, 0x07, 0x02, 0x01, 0x7f, 0x02, 0x02, 0x00, 0x80]
        );
    }
}
