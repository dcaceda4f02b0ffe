//! Endorsement certificates: what key one is for, and how a chain in NV is taken apart.

use hallmark_der::{Reader, tag::SEQUENCE};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What an endorsement certificate says about its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CertifiedKey {
    /// Modulus, without leading zeros, and its size in bits.
    Rsa(Vec<u8>),
    /// Coordinates, as wide as the curve.
    Ecc(Vec<u8>, Vec<u8>),
}

/// The DER SEQUENCEs that follow one another; padding at the end is passed over.
pub(crate) fn all_der(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(move || reader.take(SEQUENCE).ok().map(|element| element.whole))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_taken_apart_and_padding_is_passed_over() {
        let der = [0x30, 0x03, 1, 2, 3];
        let two = [&der[..], &der[..], &[0, 0]].concat();
        assert_eq!(all_der(&two).collect::<Vec<_>>(), [&der[..], &der[..]]);
        assert_eq!(all_der(&[0xff; 8]).count(), 0);
    }
}
