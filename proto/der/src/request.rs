//! Certification requests: PKCS #10 (RFC 2986, sections 4.1 and 4.2).

use crate::{DerFault, Element, Reader, tag};

/// The `[0]` around a request's attributes.
const ATTRIBUTES: u8 = 0xa0;

/// The parts of a certification request on which a decision hangs. Subject and attributes have to be there, and are not looked
/// into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificationRequest<'a> {
    /// The CertificationRequestInfo with its header: what is signed.
    pub info: &'a [u8],
    /// The SubjectPublicKeyInfo with its header.
    pub spki: &'a [u8],
    /// The AlgorithmIdentifier of the signature.
    pub algorithm: Element<'a>,
    /// The signature: the bits, without their header.
    pub signature: &'a [u8],
}

impl<'a> CertificationRequest<'a> {
    /// Reads a request, to its last byte. Whether it is signed by its key is for the caller to find out.
    ///
    /// # Errors
    /// [`DerFault`] when the bytes are no request of version 1 (which is encoded as 0), or more than one.
    pub fn read(der: &'a [u8]) -> Result<Self, DerFault> {
        let mut reader = Reader::new(der);
        let request = reader.inside(tag::SEQUENCE, |request| {
            let info = request.take(tag::SEQUENCE)?;
            Ok(Self {
                info: info.whole,
                spki: read_key(info.contents)?,
                algorithm: request.take(tag::SEQUENCE)?,
                signature: request.bits()?,
            })
        })?;
        reader.end()?;
        Ok(request)
    }
}

fn read_key(info: &[u8]) -> Result<&[u8], DerFault> {
    let mut info = Reader::new(info);
    let fault = info.fault("another version than 1");
    if info.take(tag::INTEGER)?.contents != [0] {
        return Err(fault);
    }
    info.take(tag::SEQUENCE)?;
    let spki = info.take(tag::SEQUENCE)?.whole;
    info.take(ATTRIBUTES)?;
    info.end()?;
    Ok(spki)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bit_string, element, sequence};

    /// A request with these parts of its information, in place of version, subject, key and attributes.
    fn request(info: &[&[u8]], more: &[u8]) -> Vec<u8> {
        let whole = sequence(&[
            &sequence(info),
            &sequence(&[b"\x06\x01\x2a"]),
            &bit_string(b"signature"),
        ]);
        [&whole, more].concat()
    }

    #[test]
    fn the_parts_are_read_and_nothing_may_be_missing_or_left() {
        let (version, name, key) = (element(tag::INTEGER, &[&[0]]), sequence(&[]), sequence(&[b"\x05\0"]));
        let attributes = element(ATTRIBUTES, &[]);
        let info: [&[u8]; 4] = [&version, &name, &key, &attributes];
        let good = request(&info, b"");
        let read = CertificationRequest::read(&good).unwrap();
        assert_eq!((read.info, read.spki), (&sequence(&info)[..], &key[..]));
        assert_eq!(
            (read.algorithm.contents, read.signature),
            (&b"\x06\x01\x2a"[..], &b"signature"[..])
        );

        let other_version = element(tag::INTEGER, &[&[1]]);
        for bad in [
            request(&info, b"\x05\0"),
            request(&[&version, &name, &key, &attributes, &name], b""),
            request(&[&version, &name, &key], b""),
            request(&[&name, &key, &attributes], b""),
            request(&[&other_version, &name, &key, &attributes], b""),
        ] {
            CertificationRequest::read(&bad).unwrap_err();
        }
        for end in 0..good.len() {
            CertificationRequest::read(&good[..end]).unwrap_err();
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = CertificationRequest::read(&bytes);
        }
    }
}
