//! DER by hand, so that it can also be written wrongly.

use super::narrow;

/// One element with these contents, in DER.
#[must_use]
pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let header = match length {
        0..=0x7f => vec![tag, narrow(length)],
        0x80..=0xff => vec![tag, 0x81, narrow(length)],
        0x100..=0xffff => [&[tag, 0x82][..], &narrow::<u16>(length).to_be_bytes()].concat(),
        _ => [&[tag, 0x84][..], &narrow::<u32>(length).to_be_bytes()].concat(),
    };
    [&header, contents].concat()
}

/// SEQUENCE of the parts.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// OBJECT IDENTIFIER from dotted text.
#[must_use]
pub fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u32> = dotted
        .split('.')
        .map(|arc| arc.parse().expect("arc is a number"))
        .collect();
    let (first_two, rest) = arcs.split_at_checked(2).expect("an OID has two arcs");
    let first = first_two.iter().fold(0, |sum, arc| sum * 40 + arc);
    let mut contents = base_128(first);
    rest.iter().for_each(|arc| contents.extend(base_128(*arc)));
    element(0x06, &contents)
}

fn base_128(number: u32) -> Vec<u8> {
    let digits = (0..5).map(|place| (number >> (7 * place)) & 0x7f);
    let mut digits: Vec<u8> = digits.map(|digit| u8::try_from(digit).expect("seven bits")).collect();
    while digits.len() > 1 && digits.last() == Some(&0) {
        digits.pop();
    }
    digits.iter_mut().skip(1).for_each(|digit| *digit |= 0x80);
    digits.reverse();
    digits
}

/// INTEGER of an unsigned big-endian number.
pub(super) fn unsigned(number: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
    match digits.first() {
        None => element(0x02, &[0]),
        Some(first) if first & 0x80 != 0 => element(0x02, &[&[0], &digits[..]].concat()),
        Some(_) => element(0x02, &digits),
    }
}

/// BIT STRING of whole bytes.
pub(super) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], bytes].concat())
}

/// A Name of one common name (UTF8String).
pub(super) fn common_name(name: &str) -> Vec<u8> {
    sequence(&[&element(0x31, &attribute("2.5.4.3", name))])
}

/// AttributeTypeAndValue with a UTF8String.
pub(super) fn attribute(dotted: &str, text: &str) -> Vec<u8> {
    sequence(&[&oid(dotted), &element(0x0c, text.as_bytes())])
}

/// GeneralizedTime (or UTCTime before 2050) of Unix seconds.
pub(super) fn time(seconds: i64) -> Vec<u8> {
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).expect("a time that can be written");
    let (year, month, day) = at.to_calendar_date();
    let rest = format!(
        "{:02}{day:02}{:02}{:02}{:02}Z",
        u8::from(month),
        at.hour(),
        at.minute(),
        at.second()
    );
    if year < 2050 {
        element(0x17, format!("{:02}{rest}", year % 100).as_bytes())
    } else {
        element(0x18, format!("{year:04}{rest}").as_bytes())
    }
}
