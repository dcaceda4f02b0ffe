//! The reader: elements in order, each of the type that is expected.

use crate::strict::{self, DerFault};
use crate::tag;

/// Reads elements in order. Only the one DER form of a length is accepted, and no tag above 30; the inside of an element is not
/// looked at before it is read in turn ([`check`](crate::check) walks a whole value).
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Where `rest` begins, from the start of the outermost value.
    offset: usize,
}

/// An element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// With its tag and length.
    pub whole: &'a [u8],
    /// Without.
    pub contents: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// The next element, which has `tag`.
    ///
    /// # Errors
    /// [`DerFault`] when its header is not DER, it is longer than what holds it, or it has another tag.
    pub fn take(&mut self, tag: u8) -> Result<Element<'a>, DerFault> {
        let element = strict::split(self.rest, self.offset)?;
        if element.tag != tag {
            return Err(self.fault("another type than belongs here"));
        }
        let length = self.rest.len() - element.rest.len();
        let whole = self.rest.get(..length).unwrap_or_default();
        self.offset += length;
        self.rest = element.rest;
        Ok(Element {
            whole,
            contents: element.contents,
        })
    }

    /// The next element's contents, read in turn to their end by `inner`.
    ///
    /// # Errors
    /// As [`take`](Self::take), what `inner` refuses, and what `inner` leaves unread.
    pub fn inside<T>(&mut self, tag: u8, inner: impl FnOnce(&mut Self) -> Result<T, DerFault>) -> Result<T, DerFault> {
        let element = self.take(tag)?;
        let mut contents = Self {
            rest: element.contents,
            offset: self.offset - element.contents.len(),
        };
        let value = inner(&mut contents)?;
        contents.end()?;
        Ok(value)
    }

    /// The digits of a positive INTEGER in its shortest form, without a sign byte.
    ///
    /// # Errors
    /// As [`take`](Self::take), and for zero, a negative number or another form.
    pub fn positive(&mut self) -> Result<&'a [u8], DerFault> {
        let fault = self.fault("not a positive INTEGER in its shortest form");
        match self.take(tag::INTEGER)?.contents {
            [0, digits @ ..] if digits.first().is_some_and(|first| *first >= 0x80) => Ok(digits),
            digits @ [1..=0x7f, ..] => Ok(digits),
            _ => Err(fault),
        }
    }

    /// The contents of a BIT STRING of whole bytes.
    ///
    /// # Errors
    /// As [`take`](Self::take), and for a count of bits that is not one of bytes.
    pub fn bits(&mut self) -> Result<&'a [u8], DerFault> {
        let fault = self.fault("not a BIT STRING of whole bytes");
        match self.take(tag::BIT_STRING)?.contents {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(fault),
        }
    }

    /// What is left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Requires that nothing is left.
    ///
    /// # Errors
    /// [`DerFault`] at the first byte that is left.
    pub const fn end(&self) -> Result<(), DerFault> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.fault("bytes follow the value"))
        }
    }

    /// The fault `what` at the place that is read next.
    #[must_use]
    pub const fn fault(&self, what: &'static str) -> DerFault {
        DerFault {
            offset: self.offset,
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tag::{OCTET_STRING, SEQUENCE};
    use crate::{bit_string, check, element, sequence, unsigned};

    #[test]
    fn what_is_written_reads_back_at_every_length_of_length() {
        for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let bytes = vec![7; len];
            let written = element(OCTET_STRING, &[&bytes]);
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
            ("overlong length of three", &[4, 0x83, 0, 0, 1, 7]),
        ] {
            assert!(Reader::new(bytes).take(OCTET_STRING).is_err(), "{why}");
        }
        assert!(Reader::new(&[4, 1, 7]).take(OCTET_STRING).is_ok(), "the control");
        assert!(Reader::new(&[0]).end().is_err());
    }

    #[test]
    fn integers_are_positive_and_shortest() {
        for bytes in [&[2, 0][..], &[2, 1, 0], &[2, 1, 0x80], &[2, 2, 0, 1], &[2, 2, 0, 0]] {
            assert!(Reader::new(bytes).positive().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_fault_inside_is_located() {
        let value = sequence(&[&unsigned(&[1]), &[2, 1, 0]]);
        let read = Reader::new(&value).inside(SEQUENCE, |inner| {
            inner.positive()?;
            inner.positive()
        });
        assert_eq!(read.unwrap_err().offset, 5);
        let left = Reader::new(&value).inside(SEQUENCE, |inner| inner.positive().map(<[u8]>::len));
        assert_eq!(left.unwrap_err().offset, 5);
    }

    proptest! {
        #[test]
        fn what_is_written_is_der_and_reads_back(
            number in proptest::collection::vec(any::<u8>(), 0..40),
            bits in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
            let written = sequence(&[&unsigned(&number), &bit_string(&bits)]);
            prop_assert_eq!(check(&written), Ok(()));
            let read = Reader::new(&written).inside(SEQUENCE, |inner| {
                let number = if digits.is_empty() { inner.take(tag::INTEGER)?.contents } else { inner.positive()? };
                Ok((number, inner.bits()?))
            });
            let expected = if digits.is_empty() { vec![0] } else { digits };
            prop_assert_eq!(read, Ok((expected.as_slice(), bits.as_slice())));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            let _ = reader.inside(SEQUENCE, |inner| Ok((inner.positive()?, inner.bits()?)));
            let _ = reader.end();
        }
    }
}
