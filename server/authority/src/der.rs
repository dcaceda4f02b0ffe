//! The DER that certificates are made of: a writer, and a reader for foreign bytes.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// One element: tag, length, and the parts one after the other.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(len + 6);
    out.push(tag);
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = len.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let digits = bytes.get(zeros..).unwrap_or_default();
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            out.extend_from_slice(digits);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A non-negative INTEGER from big-endian digits, in its shortest form.
pub(crate) fn unsigned(big_endian: &[u8]) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    let digits = big_endian.get(zeros..).unwrap_or_default();
    let needs_sign = digits.first().is_none_or(|byte| *byte >= 0x80);
    let sign: &[u8] = if needs_sign { &[0] } else { &[] };
    tlv(INTEGER, &[sign, digits])
}

/// A BIT STRING of whole bytes.
pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], bytes])
}

/// Reads elements in order. Indefinite and overlong lengths, and tags above 30, are refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// What a [`Reader`] met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotDer;

/// An element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    /// With its tag and length.
    pub(crate) whole: &'a [u8],
    /// Without.
    pub(crate) contents: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next element, which has `tag`.
    pub(crate) fn take(&mut self, tag: u8) -> Result<Element<'a>, NotDer> {
        let (header, len) = match *self.0 {
            [found, len @ 0..=0x7f, ..] if found == tag => (2, usize::from(len)),
            [found, 0x81, len @ 0x80..=0xff, ..] if found == tag => (3, usize::from(len)),
            [found, 0x82, high @ 1..=0xff, low, ..] if found == tag => (4, usize::from(high) << 8 | usize::from(low)),
            _ => return Err(NotDer),
        };
        let (whole, rest) = self.0.split_at_checked(header + len).ok_or(NotDer)?;
        let contents = whole.get(header..).ok_or(NotDer)?;
        self.0 = rest;
        Ok(Element { whole, contents })
    }

    /// The next element's contents, read in turn to their end by `inner`.
    pub(crate) fn inside<T>(
        &mut self,
        tag: u8,
        inner: impl FnOnce(&mut Reader<'a>) -> Result<T, NotDer>,
    ) -> Result<T, NotDer> {
        let mut contents = Reader(self.take(tag)?.contents);
        let value = inner(&mut contents)?;
        contents.end()?;
        Ok(value)
    }

    /// The digits of a positive INTEGER in its shortest form, without a sign byte.
    pub(crate) fn positive(&mut self) -> Result<&'a [u8], NotDer> {
        match self.take(INTEGER)?.contents {
            [0, digits @ ..] if digits.first().is_some_and(|first| *first >= 0x80) => Ok(digits),
            digits @ [1..=0x7f, ..] => Ok(digits),
            _ => Err(NotDer),
        }
    }

    /// The contents of a BIT STRING of whole bytes.
    pub(crate) fn bits(&mut self) -> Result<&'a [u8], NotDer> {
        match self.take(BIT_STRING)?.contents {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(NotDer),
        }
    }

    /// Fails when something is left.
    pub(crate) const fn end(&self) -> Result<(), NotDer> {
        if self.0.is_empty() { Ok(()) } else { Err(NotDer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_at_every_length_of_length() {
        for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff] {
            let bytes = vec![7; len];
            let written = tlv(OCTET_STRING, &[&bytes]);
            let mut reader = Reader::new(&written);
            let element = reader.take(OCTET_STRING).unwrap();
            assert_eq!(element.contents, bytes);
            assert_eq!(element.whole, written);
            reader.end().unwrap();
        }
    }

    #[test]
    fn what_is_not_der_is_refused() {
        for (why, bytes) in [
            ("empty", &[][..]),
            ("tag alone", &[4]),
            ("other tag", &[2, 1, 7]),
            ("cut off", &[4, 2, 7]),
            ("indefinite length", &[4, 0x80, 0, 0]),
            ("overlong length", &[4, 0x81, 1, 7]),
            ("overlong length of two", &[4, 0x82, 0, 1, 7]),
            ("length of three", &[4, 0x83, 0, 0, 1, 7]),
        ] {
            assert!(Reader::new(bytes).take(OCTET_STRING).is_err(), "{why}");
        }
        assert!(Reader::new(&[4, 1, 7]).take(OCTET_STRING).is_ok(), "the control");
        assert!(Reader::new(&[0]).end().is_err());
    }

    #[test]
    fn integers_are_positive_and_shortest() {
        for digits in [&[1][..], &[0x7f], &[0x80], &[0xff, 0]] {
            let written = unsigned(digits);
            assert_eq!(Reader::new(&written).positive(), Ok(digits));
        }
        for bytes in [&[2, 0][..], &[2, 1, 0], &[2, 1, 0x80], &[2, 2, 0, 1], &[2, 2, 0, 0]] {
            assert!(Reader::new(bytes).positive().is_err(), "{bytes:?}");
        }
    }
}
