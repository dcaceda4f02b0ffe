//! Public keys and ECDSA signatures in their canonical DER (RFC 5280, section 4.1.2.7; RFC 3279, sections 2.2.3 and 2.3; RFC 5480).

use crate::strict::DerFault;
use crate::{Reader, bit_string, sequence, tag, unsigned};

/// The AlgorithmIdentifier rsaEncryption (1.2.840.113549.1.1.1) with NULL parameters.
pub const RSA_ENCRYPTION: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// id-ecPublicKey (1.2.840.10045.2.1), an OBJECT IDENTIFIER.
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// id-Ed25519 (1.3.101.112; RFC 8410, section 3), an OBJECT IDENTIFIER.
pub const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// The mark of an uncompressed point (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 0x04;

/// The curves of NIST that keys may be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedCurve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl NamedCurve {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// Its OBJECT IDENTIFIER, DER.
    #[must_use]
    pub const fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Self::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
            Self::P521 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
        }
    }

    /// Bytes of a coordinate.
    #[must_use]
    pub const fn field_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// Whether these bytes have the form of an uncompressed point; not whether it is on the curve.
    #[must_use]
    pub fn is_point(self, point: &[u8]) -> bool {
        point.len() == 2 * self.field_len() + 1 && point.first() == Some(&UNCOMPRESSED)
    }
}

/// The SubjectPublicKeyInfo of an elliptic-curve key with this uncompressed point.
#[must_use]
pub fn ec_spki(curve: NamedCurve, point: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(&[EC_PUBLIC_KEY, curve.oid()]), &bit_string(point)])
}

/// Curve and uncompressed point of a SubjectPublicKeyInfo in its canonical form; `None` for anything else.
#[must_use]
pub fn ec_point(spki: &[u8]) -> Option<(NamedCurve, &[u8])> {
    NamedCurve::ALL.into_iter().find_map(|curve| {
        let mut reader = Reader::new(spki);
        let point = reader.inside(tag::SEQUENCE, |spki| {
            spki.inside(tag::SEQUENCE, |algorithm| {
                let fault = algorithm.fault("another algorithm");
                let found = [algorithm.take(tag::OID)?.whole, algorithm.take(tag::OID)?.whole];
                if found == [EC_PUBLIC_KEY, curve.oid()] {
                    Ok(())
                } else {
                    Err(fault)
                }
            })?;
            spki.bits()
        });
        let point = point.ok().filter(|point| curve.is_point(point))?;
        reader.end().is_ok().then_some((curve, point))
    })
}

/// The SubjectPublicKeyInfo of an Ed25519 key (RFC 8410, section 4).
#[must_use]
pub fn ed25519_spki(key: &[u8; 32]) -> Vec<u8> {
    sequence(&[&sequence(&[ED25519]), &bit_string(key)])
}

/// The SubjectPublicKeyInfo of an RSA key, from its big-endian modulus and exponent.
#[must_use]
pub fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    rsa_spki_of(&sequence(&[&unsigned(modulus), &unsigned(exponent)]))
}

/// The SubjectPublicKeyInfo around an RSAPublicKey (RFC 8017, appendix A.1.1).
#[must_use]
pub fn rsa_spki_of(rsa_public_key: &[u8]) -> Vec<u8> {
    sequence(&[RSA_ENCRYPTION, &bit_string(rsa_public_key)])
}

/// Modulus and exponent of a SubjectPublicKeyInfo of an RSA key in its canonical form, big-endian without leading zeros.
///
/// # Errors
/// [`DerFault`] for anything else.
pub fn rsa_numbers(spki: &[u8]) -> Result<(&[u8], &[u8]), DerFault> {
    let mut reader = Reader::new(spki);
    let bits = reader.inside(tag::SEQUENCE, |spki| {
        let fault = spki.fault("another algorithm");
        if spki.take(tag::SEQUENCE)?.whole != RSA_ENCRYPTION {
            return Err(fault);
        }
        spki.bits()
    })?;
    reader.end()?;
    let mut key = Reader::new(bits);
    let numbers = key.inside(tag::SEQUENCE, |key| Ok((key.positive()?, key.positive()?)))?;
    key.end()?;
    Ok(numbers)
}

/// An ECDSA signature (Ecdsa-Sig-Value) from its two numbers, big-endian.
#[must_use]
pub fn ecdsa_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    sequence(&[&unsigned(r), &unsigned(s)])
}

/// The two numbers of an ECDSA signature, positive, without leading zeros.
///
/// # Errors
/// [`DerFault`] when it has another form.
pub fn ecdsa_numbers(signature: &[u8]) -> Result<(&[u8], &[u8]), DerFault> {
    let mut reader = Reader::new(signature);
    let numbers = reader.inside(tag::SEQUENCE, |pair| Ok((pair.positive()?, pair.positive()?)))?;
    reader.end()?;
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check;

    #[test]
    fn an_elliptic_curve_key_reads_back_and_no_other_form_does() {
        for curve in NamedCurve::ALL {
            let point = [&[UNCOMPRESSED][..], &vec![9; 2 * curve.field_len()]].concat();
            let spki = ec_spki(curve, &point);
            assert_eq!(check(&spki), Ok(()));
            assert_eq!(ec_point(&spki), Some((curve, point.as_slice())));
            assert_eq!(ec_point(&[&spki[..], &[0]].concat()), None);
            let compressed = [&[2][..], &vec![9; curve.field_len()]].concat();
            assert_eq!(ec_point(&ec_spki(curve, &compressed)), None);
        }
        assert_eq!(ec_point(&rsa_spki(&[1; 256], &[1, 0, 1])), None);
    }

    proptest! {
        #[test]
        fn numbers_read_back(
            one in proptest::collection::vec(any::<u8>(), 1..300),
            other in proptest::collection::vec(any::<u8>(), 1..80),
        ) {
            let digits = |number: &[u8]| -> Vec<u8> { number.iter().copied().skip_while(|byte| *byte == 0).collect() };
            let expected = (digits(&one), digits(&other));
            prop_assume!(!expected.0.is_empty() && !expected.1.is_empty());
            let expected = Ok((expected.0.as_slice(), expected.1.as_slice()));
            let (spki, signature) = (rsa_spki(&one, &other), ecdsa_signature(&one, &other));
            prop_assert_eq!(rsa_numbers(&spki), expected);
            prop_assert_eq!(ecdsa_numbers(&signature), expected);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (ec_point(&bytes), rsa_numbers(&bytes), ecdsa_numbers(&bytes));
        }
    }
}
