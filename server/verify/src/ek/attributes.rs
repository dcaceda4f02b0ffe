//! The TPM's manufacturer, model and version, as an EK certificate names them.
//!
//! TCG EK Credential Profile 3.1.2 and 3.2: attributes 2.23.133.2.1, .2 and .3 in a directoryName of the subject
//! alternative name; vendors write them as three RDNs or as one RDN of three.

use hallmark_node::{Maker, Model};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{AttributeTypeAndValue, SubjectAlternativeName};

use super::EkCertificateError;

/// Longest attribute accepted, in bytes; `id:` and 8 hex digits, and model names, are far shorter.
const MAX_ATTRIBUTE_BYTES: usize = 128;

/// What the certificate says about the TPM. All texts are printable and not empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TpmAttributes {
    /// Vendor id such as `id:00001014` (four bytes in hex, from the TCG vendor id registry).
    pub manufacturer: Maker,
    /// Part number such as `SLB9670`.
    pub model: Model,
    /// Firmware version at the time of certification, such as `id:20191023`.
    pub version: String,
}

const ATTRIBUTES: [(&str, &str); 3] = [
    ("2.23.133.2.1", "manufacturer"),
    ("2.23.133.2.2", "model"),
    ("2.23.133.2.3", "version"),
];

/// Reads the three attributes, each of which must be there exactly once in the whole extension.
///
/// # Errors
/// [`EkCertificateError`] if one is missing, there twice, or not printable text.
pub(super) fn read(names: &SubjectAlternativeName<'_>) -> Result<TpmAttributes, EkCertificateError> {
    let [manufacturer, model, version] = ATTRIBUTES.map(|(oid, attribute)| read_one(names, oid, attribute));
    Ok(TpmAttributes {
        manufacturer: manufacturer?.into(),
        model: model?.into(),
        version: version?,
    })
}

fn read_one(
    names: &SubjectAlternativeName<'_>,
    oid: &str,
    attribute: &'static str,
) -> Result<String, EkCertificateError> {
    let mut found = names
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DirectoryName(directory) => Some(directory),
            _ => None,
        })
        .flat_map(|directory| directory.iter_attributes())
        .filter(|candidate| candidate.attr_type().to_id_string() == oid);
    let value = found
        .next()
        .ok_or(EkCertificateError::TpmAttributeMissing { attribute })?;
    if found.next().is_some() {
        return Err(EkCertificateError::TpmAttributeTwice { attribute });
    }
    text(value).ok_or(EkCertificateError::TpmAttributeText { attribute })
}

fn text(value: &AttributeTypeAndValue<'_>) -> Option<String> {
    // as_str covers UTF8String, PrintableString and IA5String, the types that the profile and RFC 5280 allow here.
    let text = value.as_str().ok()?;
    let printable = |c: char| c == ' ' || (!hallmark_reason::is_misleading(c) && !c.is_whitespace());
    let sane = !text.is_empty() && text.len() <= MAX_ATTRIBUTE_BYTES && text.chars().all(printable);
    sane.then(|| text.to_owned())
}
