//! Extensions (RFC 5280, section 4.2; X509-SVID, section 4).

use hallmark_der::{self as der, tag};
use hallmark_spiffe::SpiffeId;

use crate::KeyType;

/// DER of BOOLEAN TRUE.
const TRUE: &[u8] = &[0x01, 0x01, 0xff];
/// What makes an extension critical.
const CRITICAL: &[u8] = TRUE;
const SUBJECT_KEY_ID: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x0f];
const ALT_NAMES: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x13];
const AUTHORITY_KEY_ID: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x23];
const EXTENDED_KEY_USAGE: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x25];

/// A SEQUENCE of serverAuth and clientAuth.
const SERVER_AND_CLIENT_AUTH: &[u8] = &[
    0x30, 0x14, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05,
    0x07, 0x03, 0x02,
];
/// BIT STRINGs: number of unused bits, then the bits from the highest.
const DIGITAL_SIGNATURE: &[u8] = &[0x03, 0x02, 0x07, 0x80];
const DIGITAL_SIGNATURE_KEY_ENCIPHERMENT: &[u8] = &[0x03, 0x02, 0x05, 0xa0];
const CERT_SIGN_CRL_SIGN: &[u8] = &[0x03, 0x02, 0x01, 0x06];
/// cA absent, hence false; written out because some clients refuse leaves without the extension.
const NOT_A_CA: &[u8] = &[0x30, 0x00];
const A_CA: &[u8] = &[0x30, 0x03, 0x01, 0x01, 0xff];

/// GeneralName tags (RFC 5280, section 4.2.1.6).
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
/// The `[0]` of AuthorityKeyIdentifier's keyIdentifier.
const KEY_IDENTIFIER: u8 = 0x80;
/// The `[3]` around a certificate's extensions.
const EXTENSIONS: u8 = 0xa3;

/// A leaf's extensions. `authority_key_id` is the extension as [`authority_key_id`] made it.
pub(crate) fn leaf(
    id: &SpiffeId,
    dns_names: &[String],
    key_type: KeyType,
    key_id: &[u8],
    authority_key_id: &[u8],
) -> Vec<u8> {
    // RFC 8813, section 3: no keyEncipherment for elliptic curves.
    let usage = match key_type {
        KeyType::EcP256 | KeyType::EcP384 => DIGITAL_SIGNATURE,
        KeyType::Rsa { .. } => DIGITAL_SIGNATURE_KEY_ENCIPHERMENT,
    };
    let mut names = der::element(URI, &[id.as_str().as_bytes()]);
    for name in dns_names {
        names.extend(der::element(DNS_NAME, &[name.as_bytes()]));
    }
    let names = der::element(tag::SEQUENCE, &[&names]);
    wrap(&[
        &extension(KEY_USAGE, CRITICAL, usage),
        &extension(EXTENDED_KEY_USAGE, &[], SERVER_AND_CLIENT_AUTH),
        &extension(BASIC_CONSTRAINTS, CRITICAL, NOT_A_CA),
        &subject_key_id(key_id),
        authority_key_id,
        &extension(ALT_NAMES, &[], &names),
    ])
}

/// A self-signed authority's extensions. `id` is its trust domain's.
pub(crate) fn authority(id: &SpiffeId, key_id: &[u8]) -> Vec<u8> {
    let names = der::element(tag::SEQUENCE, &[&der::element(URI, &[id.as_str().as_bytes()])]);
    wrap(&[
        &extension(KEY_USAGE, CRITICAL, CERT_SIGN_CRL_SIGN),
        &extension(BASIC_CONSTRAINTS, CRITICAL, A_CA),
        &subject_key_id(key_id),
        &authority_key_id(key_id),
        &extension(ALT_NAMES, &[], &names),
    ])
}

/// The extensions that an authority asks the one above for, a SEQUENCE. `id` is its trust domain's.
pub(crate) fn requested(id: &SpiffeId) -> Vec<u8> {
    let names = der::element(tag::SEQUENCE, &[&der::element(URI, &[id.as_str().as_bytes()])]);
    der::sequence(&[
        &extension(KEY_USAGE, CRITICAL, CERT_SIGN_CRL_SIGN),
        &extension(BASIC_CONSTRAINTS, CRITICAL, A_CA),
        &extension(ALT_NAMES, &[], &names),
    ])
}

/// An intermediate authority's extensions: at most `path_len` authorities stand below it. `id` is its trust domain's;
/// `authority_key_id` is the extension as [`authority_key_id`] made it.
pub(crate) fn intermediate(id: &SpiffeId, path_len: u8, key_id: &[u8], authority_key_id: &[u8]) -> Vec<u8> {
    let names = der::element(tag::SEQUENCE, &[&der::element(URI, &[id.as_str().as_bytes()])]);
    let constraints = der::element(tag::SEQUENCE, &[TRUE, &der::unsigned(&[path_len])]);
    wrap(&[
        &extension(KEY_USAGE, CRITICAL, CERT_SIGN_CRL_SIGN),
        &extension(BASIC_CONSTRAINTS, CRITICAL, &constraints),
        &subject_key_id(key_id),
        authority_key_id,
        &extension(ALT_NAMES, &[], &names),
    ])
}

/// The Authority Key Identifier that names the issuer's key.
pub(crate) fn authority_key_id(key_id: &[u8]) -> Vec<u8> {
    let value = der::element(tag::SEQUENCE, &[&der::element(KEY_IDENTIFIER, &[key_id])]);
    extension(AUTHORITY_KEY_ID, &[], &value)
}

fn subject_key_id(key_id: &[u8]) -> Vec<u8> {
    extension(SUBJECT_KEY_ID, &[], &der::element(tag::OCTET_STRING, &[key_id]))
}

fn extension(oid: &[u8], critical: &[u8], value: &[u8]) -> Vec<u8> {
    der::element(
        tag::SEQUENCE,
        &[oid, critical, &der::element(tag::OCTET_STRING, &[value])],
    )
}

fn wrap(extensions: &[&[u8]]) -> Vec<u8> {
    der::element(EXTENSIONS, &[&der::element(tag::SEQUENCE, extensions)])
}
