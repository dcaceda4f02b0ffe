//! Strict DER: is this byte string one well-formed DER value, and nothing else?
//!
//! Certificate parsers differ in how much BER they let pass. What two parsers read differently an attacker can use, so
//! every certificate and CSR is walked once before anything looks at its meaning. The walk is iterative in breadth and
//! bounded in depth; it looks at encodings only (X.690 chapters 8, 10 and 11).

/// Deeper nesting than any certificate needs.
const MAX_DEPTH: u8 = 32;

/// Where and why a value is not DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub struct DerFault {
    /// Offset of the faulty element from the start of the value.
    pub offset: usize,
    /// The rule that it breaks.
    pub what: &'static str,
}

/// One element: its tag, where its contents start, the contents, and what follows.
pub(crate) struct Split<'a> {
    pub(crate) tag: u8,
    header: usize,
    pub(crate) contents: &'a [u8],
    pub(crate) rest: &'a [u8],
}

/// Checks that `value` is exactly one DER element, DER all the way down.
///
/// # Errors
/// [`DerFault`] with the offset of the first element that is not DER, or of the first byte after the value.
pub fn check(value: &[u8]) -> Result<(), DerFault> {
    let rest = check_element(value, 0, 0)?;
    if rest.is_empty() {
        Ok(())
    } else {
        Err(DerFault {
            offset: value.len() - rest.len(),
            what: "bytes follow the value",
        })
    }
}

/// The total length of the element that `value` starts with, judged by its header only.
///
/// # Errors
/// [`DerFault`] if the header is not DER or claims more bytes than there are.
pub fn element_len(value: &[u8]) -> Result<usize, DerFault> {
    let element = split(value, 0)?;
    Ok(value.len() - element.rest.len())
}

fn check_element(value: &[u8], offset: usize, depth: u8) -> Result<&[u8], DerFault> {
    let fault = |what| DerFault { offset, what };
    if depth > MAX_DEPTH {
        return Err(fault("nested too deep"));
    }
    let element = split(value, offset)?;
    let constructed = element.tag & 0x20 != 0;
    let universal = element.tag & 0xc0 == 0;
    if universal {
        check_universal(element.tag, element.contents).map_err(fault)?;
    }
    if constructed {
        let mut inside = element.contents;
        let mut at = offset + element.header;
        while !inside.is_empty() {
            let rest = check_element(inside, at, depth + 1)?;
            at += inside.len() - rest.len();
            inside = rest;
        }
    }
    Ok(element.rest)
}

pub(crate) fn split(value: &[u8], offset: usize) -> Result<Split<'_>, DerFault> {
    let fault = |what| DerFault { offset, what };
    let (&tag, after_tag) = value.split_first().ok_or(fault("empty"))?;
    if tag & 0x1f == 0x1f {
        return Err(fault("high tag number"));
    }
    let (&first, after_first) = after_tag.split_first().ok_or(fault("no length"))?;
    let (length, after_length) = match first {
        0..=0x7f => (usize::from(first), after_first),
        0x80 => return Err(fault("indefinite length")),
        0x81..=0x84 => long_length(usize::from(first & 0x7f), after_first).map_err(fault)?,
        _ => return Err(fault("length of more than four bytes")),
    };
    let (contents, rest) = after_length
        .split_at_checked(length)
        .ok_or(fault("longer than what holds it"))?;
    Ok(Split {
        tag,
        header: value.len() - after_length.len(),
        contents,
        rest,
    })
}

fn long_length(count: usize, bytes: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    let (digits, rest) = bytes.split_at_checked(count).ok_or("cut off in its length")?;
    if digits.first() == Some(&0) {
        return Err("length with leading zeros");
    }
    let length = digits.iter().try_fold(0_usize, |sum, &digit| {
        sum.checked_mul(256).and_then(|sum| sum.checked_add(usize::from(digit)))
    });
    match length {
        Some(length) if length >= 0x80 => Ok((length, rest)),
        Some(_) => Err("long form of a short length"),
        None => Err("length out of range"),
    }
}

/// Rules for universal types (X.690 8.1.4, 10.2, 11.1, 11.2; RFC 5280 4.1.2.2 for integers).
fn check_universal(tag: u8, contents: &[u8]) -> Result<(), &'static str> {
    let constructed = tag & 0x20 != 0;
    let must_be_constructed = matches!(tag & 0x1f, 0x08 | 0x0b | 0x10 | 0x11);
    if constructed != must_be_constructed {
        return Err("wrong primitive or constructed form");
    }
    match tag {
        0x00 => Err("end-of-contents octets"),
        0x01 if !matches!(contents, [0x00 | 0xff]) => Err("BOOLEAN that is neither 00 nor FF"),
        0x02 | 0x0a => check_integer(contents),
        0x03 => check_bit_string(contents),
        0x05 if !contents.is_empty() => Err("NULL with contents"),
        0x06 => check_oid(contents),
        _ => Ok(()),
    }
}

fn check_integer(contents: &[u8]) -> Result<(), &'static str> {
    match contents {
        [] => Err("INTEGER without contents"),
        [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err("INTEGER with redundant leading bytes"),
        _ => Ok(()),
    }
}

fn check_bit_string(contents: &[u8]) -> Result<(), &'static str> {
    match contents {
        [] => Err("BIT STRING without contents"),
        [0] => Ok(()),
        [unused @ 0..=7, .., last] => {
            let padding = (1_u8 << unused) - 1;
            if last & padding == 0 {
                Ok(())
            } else {
                Err("BIT STRING with set padding bits")
            }
        }
        _ => Err("BIT STRING with a wrong count of unused bits"),
    }
}

fn check_oid(contents: &[u8]) -> Result<(), &'static str> {
    let mut starts_arc = true;
    for &byte in contents {
        if starts_arc && byte == 0x80 {
            return Err("OBJECT IDENTIFIER with a padded arc");
        }
        starts_arc = byte & 0x80 == 0;
    }
    if contents.is_empty() || !starts_arc {
        return Err("OBJECT IDENTIFIER cut off");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_passes() {
        for good in [
            &[0x30, 0x00][..],
            &[0x30, 0x03, 0x02, 0x01, 0x05],
            &[0x02, 0x02, 0x00, 0x80],
            &[0x01, 0x01, 0xff],
            &[0x03, 0x02, 0x05, 0xa0],
            &[0x06, 0x03, 0x55, 0x1d, 0x11],
            &[0xa0, 0x03, 0x02, 0x01, 0x02],
        ] {
            assert_eq!(check(good), Ok(()), "{good:02x?}");
        }
    }

    #[test]
    fn what_is_not_der_is_named() {
        for (bad, what) in [
            (&[][..], "empty"),
            (&[0x30], "no length"),
            (&[0x30, 0x80, 0x00, 0x00], "indefinite length"),
            (&[0x30, 0x81, 0x01, 0x05], "long form of a short length"),
            (&[0x30, 0x82, 0x00, 0x81], "length with leading zeros"),
            (&[0x30, 0x85, 1, 1, 1, 1, 1], "length of more than four bytes"),
            (&[0x30, 0x02, 0x05], "longer than what holds it"),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], "longer than what holds it"),
            (&[0x30, 0x02, 0x05, 0x00, 0x00], "bytes follow the value"),
            (&[0x1f, 0x01, 0x00], "high tag number"),
            (&[0x01, 0x01, 0x01], "BOOLEAN that is neither 00 nor FF"),
            (&[0x02, 0x00], "INTEGER without contents"),
            (&[0x02, 0x02, 0x00, 0x01], "INTEGER with redundant leading bytes"),
            (&[0x03, 0x02, 0x05, 0xbf], "BIT STRING with set padding bits"),
            (&[0x03, 0x01, 0x05], "BIT STRING with a wrong count of unused bits"),
            (&[0x05, 0x01, 0x00], "NULL with contents"),
            (&[0x06, 0x02, 0x55, 0x80], "OBJECT IDENTIFIER with a padded arc"),
            (&[0x24, 0x02, 0x04, 0x00], "wrong primitive or constructed form"),
            (&[0x10, 0x00], "wrong primitive or constructed form"),
        ] {
            assert_eq!(check(bad).map_err(|fault| fault.what), Err(what), "{bad:02x?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| {
            (0..depth).fold(vec![0x30, 0x00], |inner, _| {
                let mut outer = vec![0x30, 0x81, u8::try_from(inner.len()).unwrap()];
                if inner.len() < 0x80 {
                    outer = vec![0x30, u8::try_from(inner.len()).unwrap()];
                }
                outer.extend(inner);
                outer
            })
        };
        assert_eq!(check(&nested(20)), Ok(()));
        assert_eq!(check(&nested(40)).map_err(|fault| fault.what), Err("nested too deep"));
    }

    #[test]
    fn a_fault_inside_is_located() {
        let fault = check(&[0x30, 0x06, 0x05, 0x00, 0x02, 0x02, 0x00, 0x01]).unwrap_err();
        assert_eq!(
            fault,
            DerFault {
                offset: 4,
                what: "INTEGER with redundant leading bytes"
            }
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = check(&bytes);
            let _ = element_len(&bytes);
        }
    }
}
