//! The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: within one length the codes count up in the order of the octets, so a length's
//! first code and the octets in order are all there is to know.

use super::hpack::HpackError;

/// The codes of one length.
struct Row {
    /// Length of the codes, in bits.
    bits: u32,
    /// The first code of this length.
    first: u32,
    /// How many codes there are.
    count: u32,
    /// Where their octets begin in [`OCTETS`].
    offset: u32,
}

/// Appends the decoded octets to `out`, at most until it holds `limit` octets.
///
/// # Errors
/// When padding is longer than seven bits or not of ones, EOS is coded, or the limit is passed.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), HpackError> {
    let mut window = Window {
        rest: coded.iter(),
        bits: 0,
        held: 0,
    };
    loop {
        window.fill();
        if window.held < 8 && window.only_ones() {
            return Ok(());
        }
        let (octet, bits) = window.symbol().ok_or(HpackError::Huffman)?;
        if bits > window.held {
            return Err(HpackError::Huffman);
        }
        if out.len() >= limit {
            return Err(HpackError::TooLarge);
        }
        out.push(octet);
        window.bits <<= bits;
        window.held -= bits;
    }
}

/// The next bits of the input, left-aligned in 64.
struct Window<'a> {
    rest: std::slice::Iter<'a, u8>,
    bits: u64,
    held: u32,
}

impl Window<'_> {
    /// Fills up to at least 32 bits, as long as there is input.
    fn fill(&mut self) {
        while self.held <= 56 {
            let Some(octet) = self.rest.next() else {
                return;
            };
            self.bits |= u64::from(*octet) << (56 - self.held);
            self.held += 8;
        }
    }

    /// Whether what is held is padding: the first bits of EOS, which are all ones.
    fn only_ones(&self) -> bool {
        self.bits.leading_ones() >= self.held
    }

    /// The octet that the next bits code, and how many bits that takes. EOS is in no row.
    fn symbol(&self) -> Option<(u8, u32)> {
        ROWS.iter().find_map(|row| {
            let code = u32::try_from(self.bits >> (64 - row.bits)).ok()?;
            let place = code.checked_sub(row.first).filter(|place| *place < row.count)?;
            let octet = OCTETS.get(usize::try_from(row.offset + place).ok()?)?;
            Some((*octet, row.bits))
        })
    }
}

const ROWS: &[Row] = &[
    Row {
        bits: 5,
        first: 0x0,
        count: 10,
        offset: 0,
    },
    Row {
        bits: 6,
        first: 0x14,
        count: 26,
        offset: 10,
    },
    Row {
        bits: 7,
        first: 0x5c,
        count: 32,
        offset: 36,
    },
    Row {
        bits: 8,
        first: 0xf8,
        count: 6,
        offset: 68,
    },
    Row {
        bits: 10,
        first: 0x3f8,
        count: 5,
        offset: 74,
    },
    Row {
        bits: 11,
        first: 0x7fa,
        count: 3,
        offset: 79,
    },
    Row {
        bits: 12,
        first: 0xffa,
        count: 2,
        offset: 82,
    },
    Row {
        bits: 13,
        first: 0x1ff8,
        count: 6,
        offset: 84,
    },
    Row {
        bits: 14,
        first: 0x3ffc,
        count: 2,
        offset: 90,
    },
    Row {
        bits: 15,
        first: 0x7ffc,
        count: 3,
        offset: 92,
    },
    Row {
        bits: 19,
        first: 0x7fff0,
        count: 3,
        offset: 95,
    },
    Row {
        bits: 20,
        first: 0xfffe6,
        count: 8,
        offset: 98,
    },
    Row {
        bits: 21,
        first: 0x1fffdc,
        count: 13,
        offset: 106,
    },
    Row {
        bits: 22,
        first: 0x3fffd2,
        count: 26,
        offset: 119,
    },
    Row {
        bits: 23,
        first: 0x7fffd8,
        count: 29,
        offset: 145,
    },
    Row {
        bits: 24,
        first: 0xffffea,
        count: 12,
        offset: 174,
    },
    Row {
        bits: 25,
        first: 0x1ffffec,
        count: 4,
        offset: 186,
    },
    Row {
        bits: 26,
        first: 0x3ffffe0,
        count: 15,
        offset: 190,
    },
    Row {
        bits: 27,
        first: 0x7ffffde,
        count: 19,
        offset: 205,
    },
    Row {
        bits: 28,
        first: 0xfffffe2,
        count: 29,
        offset: 224,
    },
    Row {
        bits: 30,
        first: 0x3ffffffc,
        count: 3,
        offset: 253,
    },
];

/// All octets, by the length of their code and then by value.
#[rustfmt::skip]
const OCTETS: &[u8; 256] = &[
    0x30, 0x31, 0x32, 0x61, 0x63, 0x65, 0x69, 0x6f, 0x73, 0x74, 0x20, 0x25, 0x2d, 0x2e, 0x2f,
    0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3d, 0x41, 0x5f, 0x62, 0x64, 0x66, 0x67, 0x68,
    0x6c, 0x6d, 0x6e, 0x70, 0x72, 0x75, 0x3a, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x59,
    0x6a, 0x6b, 0x71, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x26, 0x2a, 0x2c, 0x3b, 0x58, 0x5a, 0x21,
    0x22, 0x28, 0x29, 0x3f, 0x27, 0x2b, 0x7c, 0x23, 0x3e, 0x00, 0x24, 0x40, 0x5b, 0x5d, 0x7e,
    0x5e, 0x7d, 0x3c, 0x60, 0x7b, 0x5c, 0xc3, 0xd0, 0x80, 0x82, 0x83, 0xa2, 0xb8, 0xc2, 0xe0,
    0xe2, 0x99, 0xa1, 0xa7, 0xac, 0xb0, 0xb1, 0xb3, 0xd1, 0xd8, 0xd9, 0xe3, 0xe5, 0xe6, 0x81,
    0x84, 0x85, 0x86, 0x88, 0x92, 0x9a, 0x9c, 0xa0, 0xa3, 0xa4, 0xa9, 0xaa, 0xad, 0xb2, 0xb5,
    0xb9, 0xba, 0xbb, 0xbd, 0xbe, 0xc4, 0xc6, 0xe4, 0xe8, 0xe9, 0x01, 0x87, 0x89, 0x8a, 0x8b,
    0x8c, 0x8d, 0x8f, 0x93, 0x95, 0x96, 0x97, 0x98, 0x9b, 0x9d, 0x9e, 0xa5, 0xa6, 0xa8, 0xae,
    0xaf, 0xb4, 0xb6, 0xb7, 0xbc, 0xbf, 0xc5, 0xe7, 0xef, 0x09, 0x8e, 0x90, 0x91, 0x94, 0x9f,
    0xab, 0xce, 0xd7, 0xe1, 0xec, 0xed, 0xc7, 0xcf, 0xea, 0xeb, 0xc0, 0xc1, 0xc8, 0xc9, 0xca,
    0xcd, 0xd2, 0xd5, 0xda, 0xdb, 0xee, 0xf0, 0xf2, 0xf3, 0xff, 0xcb, 0xcc, 0xd3, 0xd4, 0xd6,
    0xdd, 0xde, 0xdf, 0xf1, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0x02,
    0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x0b, 0x0c, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14,
    0x15, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x7f, 0xdc, 0xf9, 0x0a, 0x0d,
    0x16,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(hexadecimal: &str) -> Result<Vec<u8>, HpackError> {
        let mut out = Vec::new();
        decode(&hex::decode(hexadecimal).unwrap(), &mut out, 100).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_standard_decode() {
        // RFC 7541, C.4 and C.6.
        for (coded, plain) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            (
                "d07abe941054d444a8200595040b8166e082a62d1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            ("", ""),
        ] {
            assert_eq!(decoded(coded).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn wrong_padding_and_eos_are_refused() {
        assert_eq!(decoded("1f").unwrap(), b"a", "00011 and three ones");
        for bad in ["18", "1fff", "ff", "ffffffff", "fffffffc", "fffffffffc"] {
            assert_eq!(decoded(bad), Err(HpackError::Huffman), "{bad}");
        }
    }

    #[test]
    fn the_limit_holds() {
        let mut out = Vec::new();
        assert!(
            decode(&[0; 5], &mut out, 8).is_ok(),
            "five octets of zeros are eight times '0'"
        );
        out.clear();
        assert_eq!(decode(&[0; 5], &mut out, 7), Err(HpackError::TooLarge));
    }
}
