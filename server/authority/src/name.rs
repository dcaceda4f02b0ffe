//! Subject names.

use hallmark_der::{self as der, tag};

use crate::Serial;

const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
const SERIAL_NUMBER: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x05];
const ORGANIZATION: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x0a];
/// `ub-common-name` (RFC 5280, appendix A.1).
const MAX_COMMON_NAME: usize = 64;

/// A leaf's subject: O=Hallmark, and the first DNS name as CN when it fits.
pub(crate) fn leaf(dns_names: &[String]) -> Vec<u8> {
    let organization = attribute(ORGANIZATION, tag::UTF8_STRING, b"Hallmark");
    match dns_names.first() {
        Some(name) if name.len() <= MAX_COMMON_NAME => {
            let common_name = attribute(COMMON_NAME, tag::UTF8_STRING, name.as_bytes());
            der::element(tag::SEQUENCE, &[&organization, &common_name])
        }
        _ => der::element(tag::SEQUENCE, &[&organization]),
    }
}

/// An authority's subject: O=Hallmark and the serial number as an attribute, so that authorities that follow each
/// other have different names.
pub(crate) fn authority(serial: Serial) -> Vec<u8> {
    let organization = attribute(ORGANIZATION, tag::UTF8_STRING, b"Hallmark");
    let number = serial.to_string();
    let number = attribute(SERIAL_NUMBER, tag::PRINTABLE_STRING, number.as_bytes());
    der::element(tag::SEQUENCE, &[&organization, &number])
}

/// A RelativeDistinguishedName of one attribute.
fn attribute(oid: &[u8], string: u8, value: &[u8]) -> Vec<u8> {
    let pair = der::element(tag::SEQUENCE, &[oid, &der::element(string, &[value])]);
    der::element(tag::SET, &[&pair])
}
