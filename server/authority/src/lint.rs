//! The lint: what was written is read back by a decoder that shares nothing with the writer, held against the
//! profile, and compared with what was granted.

use hallmark_spiffe::{SpiffeId, x509};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::{
    AuthorityError, Serial, SubjectKey, X509Authority,
    authority::{path_len, subject_key_id},
    validity::Validity,
};

/// What a leaf has to say.
pub(crate) struct Expected<'a> {
    pub(crate) spiffe_id: &'a SpiffeId,
    pub(crate) dns_names: &'a [String],
    pub(crate) key: &'a SubjectKey,
    pub(crate) authority: &'a X509Authority,
    pub(crate) serial: Serial,
    pub(crate) validity: Validity,
}

/// What an authority below this one has to say.
pub(crate) struct ExpectedAuthority<'a> {
    pub(crate) path_len: u8,
    pub(crate) key: &'a SubjectKey,
    pub(crate) authority: &'a X509Authority,
    pub(crate) serial: Serial,
    pub(crate) validity: Validity,
}

/// Checks an intermediate authority's certificate (DER) whose signature is a placeholder.
pub(crate) fn intermediate(der: &[u8], expected: &ExpectedAuthority<'_>) -> Result<(), AuthorityError> {
    x509::lint_signing(der, expected.authority.trust_domain()).map_err(AuthorityError::Profile)?;
    let (_, found) = X509Certificate::from_der(der).map_err(|_| deviates("encoding"))?;
    check_issued(
        &found,
        expected.key,
        expected.authority,
        expected.serial,
        expected.validity,
    )?;
    same("path length", &path_len(&found), &Some(u32::from(expected.path_len)))?;
    let usage = found.key_usage().ok().flatten();
    let signs = usage.is_some_and(|usage| usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    same("key usage", &signs, &true)?;
    // What it is for otherwise, and what it may name, is not for it to say.
    same(
        "extended key usage",
        &found.extended_key_usage().is_ok_and(|it| it.is_none()),
        &true,
    )?;
    same(
        "name constraints",
        &found.name_constraints().is_ok_and(|it| it.is_none()),
        &true,
    )?;
    check_names(&found, &[])
}

/// Checks a leaf certificate (DER) whose signature is a placeholder.
pub(crate) fn leaf(der: &[u8], expected: &Expected<'_>) -> Result<(), AuthorityError> {
    let id = x509::lint_leaf(der).map_err(AuthorityError::Profile)?;
    same("SPIFFE ID", &id, expected.spiffe_id)?;
    let (_, found) = X509Certificate::from_der(der).map_err(|_| deviates("encoding"))?;
    check_issued(
        &found,
        expected.key,
        expected.authority,
        expected.serial,
        expected.validity,
    )?;
    check_names(&found, expected.dns_names)
}

/// Who issued it, for which key, when, and under which number.
fn check_issued(
    found: &X509Certificate<'_>,
    key: &SubjectKey,
    authority: &X509Authority,
    serial: Serial,
    expected: Validity,
) -> Result<(), AuthorityError> {
    same("issuer", found.issuer().as_raw(), authority.subject())?;
    same("public key", found.public_key().raw, key.spki())?;
    same(
        "subject key identifier",
        subject_key_id(found).unwrap_or_default(),
        &key.key_id()[..],
    )?;
    same(
        "authority key identifier",
        authority_key_id(found),
        authority.subject_key_id(),
    )?;
    let serial = serial.value().to_be_bytes();
    let digits = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
    same("serial number", &digits(found.raw_serial()), &digits(&serial))?;
    let validity = Validity {
        not_before: found.validity().not_before.timestamp(),
        not_after: found.validity().not_after.timestamp(),
    };
    same("validity", &validity, &expected)
}

/// One URI, which the profile has checked, and exactly the granted DNS names.
fn check_names(found: &X509Certificate<'_>, dns_names: &[String]) -> Result<(), AuthorityError> {
    let mut expected = dns_names.iter();
    for extension in found.extensions() {
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::URI(_) => {}
                GeneralName::DNSName(name) if expected.next().is_some_and(|next| next == name) => {}
                _ => return Err(deviates("subject alternative names")),
            }
        }
    }
    match expected.next() {
        None => Ok(()),
        Some(_) => Err(deviates("subject alternative names")),
    }
}

fn authority_key_id<'a>(found: &'a X509Certificate<'_>) -> &'a [u8] {
    let id = found
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        });
    id.map(|id| id.0).unwrap_or_default()
}

fn same<T: PartialEq + ?Sized>(field: &'static str, found: &T, expected: &T) -> Result<(), AuthorityError> {
    if found == expected {
        Ok(())
    } else {
        Err(deviates(field))
    }
}

const fn deviates(field: &'static str) -> AuthorityError {
    AuthorityError::Deviates { field }
}

#[cfg(test)]
mod tests;
