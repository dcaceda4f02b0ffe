//! The writer: elements from their parts, always in their one DER form.

/// Tags of the types that are written and read here (X.680, section 8.6, table 1; bit 0x20 is "constructed").
pub mod tag {
    /// INTEGER.
    pub const INTEGER: u8 = 0x02;
    /// BIT STRING.
    pub const BIT_STRING: u8 = 0x03;
    /// OCTET STRING.
    pub const OCTET_STRING: u8 = 0x04;
    /// NULL.
    pub const NULL: u8 = 0x05;
    /// OBJECT IDENTIFIER.
    pub const OID: u8 = 0x06;
    /// UTF8String.
    pub const UTF8_STRING: u8 = 0x0c;
    /// PrintableString.
    pub const PRINTABLE_STRING: u8 = 0x13;
    /// UTCTime.
    pub const UTC_TIME: u8 = 0x17;
    /// GeneralizedTime.
    pub const GENERALIZED_TIME: u8 = 0x18;
    /// SEQUENCE.
    pub const SEQUENCE: u8 = 0x30;
    /// SET.
    pub const SET: u8 = 0x31;
}

/// One element: tag, length, and the parts one after the other.
#[must_use]
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(len.saturating_add(6));
    out.push(tag);
    match u8::try_from(len) {
        Ok(short @ 0..=0x7f) => out.push(short),
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

/// A SEQUENCE of the parts.
#[must_use]
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(tag::SEQUENCE, parts)
}

/// A non-negative INTEGER from big-endian digits, in its shortest form.
#[must_use]
pub fn unsigned(big_endian: &[u8]) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    let digits = big_endian.get(zeros..).unwrap_or_default();
    let needs_sign = digits.first().is_none_or(|byte| *byte >= 0x80);
    let sign: &[u8] = if needs_sign { &[0] } else { &[] };
    element(tag::INTEGER, &[sign, digits])
}

/// A BIT STRING of whole bytes.
#[must_use]
pub fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(tag::BIT_STRING, &[&[0], bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_shortest_and_never_negative() {
        for (digits, written) in [
            (&[0, 0, 1][..], &[2, 1, 1][..]),
            (&[0x80], &[2, 2, 0, 0x80]),
            (&[0x7f], &[2, 1, 0x7f]),
            (&[], &[2, 1, 0]),
            (&[0, 0], &[2, 1, 0]),
        ] {
            assert_eq!(unsigned(digits), written);
        }
    }

    #[test]
    fn long_lengths_use_the_long_form() {
        assert_eq!(element(4, &[&[7; 0x7f]])[..2], [4, 0x7f]);
        assert_eq!(element(4, &[&[7; 0x80]])[..3], [4, 0x81, 0x80]);
        assert_eq!(element(4, &[&[7; 0x100], &[7; 0x23]])[..4], [4, 0x82, 0x01, 0x23]);
        assert_eq!(element(4, &[&[7; 0x1_0000]])[..5], [4, 0x83, 1, 0, 0]);
    }
}
