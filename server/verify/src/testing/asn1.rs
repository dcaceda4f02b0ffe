//! Parts of certificates by hand, so that they can also be written wrongly.

pub(super) use hallmark_der::{bit_string, sequence, unsigned};

/// One element with these contents, in DER.
#[must_use]
pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    hallmark_der::element(tag, &[contents])
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
