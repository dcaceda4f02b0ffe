//! A certs-only CMC Simple PKI Response: CMS SignedData that signs nothing and carries certificates (RFC 5272, 4.1; RFC 5652, 5.1).
//!
//! The certificates are DER. What is around them may be BER with indefinite lengths, which common EST servers write; nothing else of
//! BER is taken, and nothing may be signed, since nobody would verify it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hallmark_der::{DerFault, Reader, element_len, tag};

use crate::{chain::MAX_CERTIFICATES, error::Fault};

/// `id-signedData` (RFC 5652, 5.1).
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `id-data` (RFC 5652, 4).
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// `[0]`: the content, and `[0]` of the certificates.
const ZERO: u8 = 0xa0;
/// `[1]` of the revocation lists.
const ONE: u8 = 0xa1;

/// The certificates of an EST server's answer, in DER, in its order; one at least. `body` is the base64 of a certs-only message;
/// spaces and ends of lines may stand anywhere, and `Content-Transfer-Encoding` says nothing (RFC 8951, 3).
///
/// # Errors
/// When it is not base64, not a certs-only message, or holds too many certificates.
pub fn certs_only(body: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let text: Vec<u8> = body.iter().copied().filter(|byte| !is_space(byte)).collect();
    let message = STANDARD
        .decode(text)
        .map_err(|error| Fault::malformed(format!("not base64: {error}")))?;
    let certificates =
        read(&message).map_err(|fault| Fault::malformed(format!("not a certs-only PKCS#7 message: {fault}")))?;
    match certificates.len() {
        0 => Err(Fault::malformed("the PKCS#7 message has no certificate")),
        1..=MAX_CERTIFICATES => Ok(certificates),
        many => Err(Fault::malformed(format!(
            "{many} certificates, {MAX_CERTIFICATES} at most"
        ))),
    }
}

fn read(message: &[u8]) -> Result<Vec<Vec<u8>>, DerFault> {
    let mut whole = Wrapped::new(message);
    let certificates = whole.inside(tag::SEQUENCE, |info| {
        info.object_identifier(SIGNED_DATA, "not signedData")?;
        info.inside(ZERO, |content| content.inside(tag::SEQUENCE, signed_data))
    })?;
    whole.end()?;
    Ok(certificates)
}

/// `SignedData` (RFC 5652, 5.1), of which a certs-only message has version, certificates and perhaps revocation lists.
fn signed_data(data: &mut Wrapped<'_>) -> Result<Vec<Vec<u8>>, DerFault> {
    data.element(tag::INTEGER)?;
    data.inside(tag::SET, |algorithms| algorithms.skip_all())?;
    data.inside(tag::SEQUENCE, |content| {
        content.object_identifier(DATA, "content of another type than data")
    })?;
    let mut certificates = Vec::new();
    if data.peek() == Some(ZERO) {
        data.inside(ZERO, |set| {
            while !set.is_over() && certificates.len() <= MAX_CERTIFICATES {
                certificates.push(set.element(tag::SEQUENCE)?.to_vec());
            }
            set.skip_all()
        })?;
    }
    if data.peek() == Some(ONE) {
        data.inside(ONE, |lists| lists.skip_all())?;
    }
    data.inside(tag::SET, |signers| {
        if signers.is_over() {
            Ok(())
        } else {
            Err(signers.fault("a signature, which nobody would verify"))
        }
    })?;
    Ok(certificates)
}

/// A reader whose constructed elements may be of indefinite length (X.690, 8.1.3.6).
struct Wrapped<'a> {
    rest: &'a [u8],
    offset: usize,
    /// Whether it ends with end-of-contents octets in place of its length.
    is_open: bool,
}

impl<'a> Wrapped<'a> {
    const fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            offset: 0,
            is_open: false,
        }
    }

    const fn fault(&self, what: &'static str) -> DerFault {
        DerFault {
            offset: self.offset,
            what,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn is_over(&self) -> bool {
        if self.is_open {
            self.rest.starts_with(&[0, 0])
        } else {
            self.rest.is_empty()
        }
    }

    fn advance(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
        self.offset += count;
    }

    /// Nothing is left but the end-of-contents octets of an open one, which are taken.
    fn end(&mut self) -> Result<(), DerFault> {
        if !self.is_over() {
            return Err(self.fault("bytes follow the value"));
        }
        if self.is_open {
            self.advance(2);
        }
        Ok(())
    }

    /// An element in DER with this tag, whole.
    fn element(&mut self, tag: u8) -> Result<&'a [u8], DerFault> {
        let at = |fault: DerFault| DerFault {
            offset: self.offset + fault.offset,
            ..fault
        };
        let whole = Reader::new(self.rest).take(tag).map_err(at)?.whole;
        self.advance(whole.len());
        Ok(whole)
    }

    fn object_identifier(&mut self, expected: &[u8], otherwise: &'static str) -> Result<(), DerFault> {
        let fault = self.fault(otherwise);
        let found = self.element(tag::OID)?;
        if found.get(2..) == Some(expected) {
            Ok(())
        } else {
            Err(fault)
        }
    }

    /// Whatever is left, element by element, each in DER.
    fn skip_all(&mut self) -> Result<(), DerFault> {
        while !self.is_over() {
            let at = |fault: DerFault| DerFault {
                offset: self.offset + fault.offset,
                ..fault
            };
            let length = element_len(self.rest).map_err(at)?;
            self.advance(length);
        }
        Ok(())
    }

    /// What is inside a constructed element, read to its end.
    fn inside<T>(&mut self, tag: u8, inner: impl FnOnce(&mut Self) -> Result<T, DerFault>) -> Result<T, DerFault> {
        if let [found, 0x80, rest @ ..] = self.rest
            && *found == tag
        {
            let mut contents = Self {
                rest,
                offset: self.offset + 2,
                is_open: true,
            };
            let value = inner(&mut contents)?;
            contents.end()?;
            self.rest = contents.rest;
            self.offset = contents.offset;
            return Ok(value);
        }
        let begin = self.offset;
        let at = |fault: DerFault| DerFault {
            offset: begin + fault.offset,
            ..fault
        };
        let element = Reader::new(self.rest).take(tag).map_err(at)?;
        let mut contents = Self {
            rest: element.contents,
            offset: begin + element.whole.len() - element.contents.len(),
            is_open: false,
        };
        let value = inner(&mut contents)?;
        contents.end()?;
        self.advance(element.whole.len());
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use hallmark_der::{element, sequence};

    use super::*;

    const A: [u8; 5] = [0x30, 3, 2, 1, 5];
    const B: [u8; 5] = [0x30, 3, 2, 1, 6];

    fn oid(contents: &[u8]) -> Vec<u8> {
        element(tag::OID, &[contents])
    }

    /// A message with these parts in place of certificates and signers.
    fn message(certificates: &[u8], signers: &[u8]) -> Vec<u8> {
        let data = sequence(&[
            &element(tag::INTEGER, &[&[1]]),
            &element(tag::SET, &[]),
            &sequence(&[&oid(DATA)]),
            &element(ZERO, &[certificates]),
            &element(tag::SET, &[signers]),
        ]);
        sequence(&[&oid(SIGNED_DATA), &element(ZERO, &[&data])])
    }

    /// The same with indefinite lengths wherever there may be one.
    fn open(certificates: &[u8]) -> Vec<u8> {
        let end: &[u8] = &[0, 0];
        [
            &[0x30, 0x80][..],
            &oid(SIGNED_DATA),
            &[ZERO, 0x80, 0x30, 0x80, 2, 1, 1, tag::SET, 0x80],
            end,
            &[0x30, 0x80],
            &oid(DATA),
            end,
            &[ZERO, 0x80],
            certificates,
            end,
            &[tag::SET, 0x80],
            end,
            end,
            end,
            end,
        ]
        .concat()
    }

    fn told(message: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        certs_only(STANDARD.encode(message).as_bytes()).map_err(|fault| match fault {
            Fault::Malformed { detail } => detail,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn both_forms_of_length_give_the_same() {
        let both = [A, B].concat();
        let expected = vec![A.to_vec(), B.to_vec()];
        assert_eq!(told(&message(&both, &[])), Ok(expected.clone()));
        assert_eq!(told(&open(&both)), Ok(expected.clone()));
        let mut lines = Vec::new();
        for line in STANDARD.encode(message(&both, &[])).as_bytes().chunks(11) {
            lines.extend_from_slice(line);
            lines.extend_from_slice(b"\r\n \t");
        }
        assert_eq!(certs_only(&lines).unwrap(), expected);
    }

    #[test]
    fn what_is_not_certs_only_is_refused() {
        let good = message(&A, &[]);
        let mut another = good.clone();
        another[12] ^= 1;
        for (bad, why) in [
            (message(&A, &B), "a signature"),
            (message(&[], &[]), "no certificate"),
            (message(&A.repeat(MAX_CERTIFICATES + 1), &[]), "at most"),
            (message(&[2, 1, 1], &[]), "another type"),
            (message(&A[..4], &[]), "longer than"),
            ([&good[..], &[0]].concat(), "bytes follow"),
            (another, "not signedData"),
            (open(&A)[..open(&A).len() - 2].to_vec(), "bytes follow"),
            (vec![], "empty"),
            (A.to_vec(), "another type"),
            (vec![0x30, 0x80], "empty"),
        ] {
            let told = told(&bad).unwrap_err();
            assert!(told.contains(why), "{told}; expected {why}");
        }
        for bad in [&b"<html>"[..], b"MAMC?", &good, b"-----BEGIN PKCS7-----"] {
            assert!(certs_only(bad).is_err(), "{bad:02x?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_read_stands_in_them(
            at in 0..200_usize,
            byte in proptest::num::u8::ANY,
            cut in 0..200_usize,
            is_open in proptest::bool::ANY,
        ) {
            let both = [A, B].concat();
            let mut bytes = if is_open { open(&both) } else { message(&both, &[]) };
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(bytes.len().saturating_sub(cut % 7));
            for der in certs_only(STANDARD.encode(&bytes).as_bytes()).unwrap_or_default() {
                proptest::prop_assert!(bytes.windows(der.len()).any(|window| window == der));
            }
        }
    }
}
