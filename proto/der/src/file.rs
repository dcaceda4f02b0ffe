//! Files of certificates, revocation lists and public keys, in the forms in which they are handed over.

use rustls_pki_types::pem::SectionKind;

use crate::Reader;
use crate::envelope::{self, EnvelopeError, STORED_CERT};
use crate::pem::{self, PemError};
use crate::strict::DerFault;
use crate::tag::SEQUENCE;

/// A file that is none of the forms that are read, or holds something else beside what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Neither PEM nor DER.
    #[error("no {wanted} in it: it is neither PEM nor DER")]
    Neither {
        /// What was looked for.
        wanted: &'static str,
    },
    /// A section of PEM cannot be read.
    #[error("not PEM: {0}")]
    Pem(#[from] PemError),
    /// A section of PEM is something else.
    #[error("section {place} is not a {wanted}: it is a {found:?}")]
    Other {
        /// Its place in the file, from 1.
        place: usize,
        /// What was looked for.
        wanted: &'static str,
        /// The section's label.
        found: String,
    },
    /// DER that breaks off, or with something else behind it.
    #[error("not DER: {0}")]
    NotDer(DerFault),
    /// What a TPM's NV memory held, damaged.
    #[error("not what a TPM's NV memory holds: {0}")]
    Envelope(#[from] EnvelopeError),
}

/// Every certificate of a file, DER, in order. See [`objects`].
///
/// # Errors
/// [`FileError`].
pub fn certificates(file: &[u8]) -> Result<Vec<Vec<u8>>, FileError> {
    objects(file, SectionKind::Certificate)
}

/// Every object of this kind in a file, in order, at least one. The file may be
///
/// - DER: one object or several, one behind the other, with line ends or other white space behind them, behind certificates
///   also the padding of NV memory;
/// - PEM: any number of sections, all of this kind, with any text before, between and behind them, joined in any way;
/// - what `tpm2_nvread` gives: a certificate in the TCG's wrapper (`TCG_PCCLIENT_STORED_CERT`), with padding.
///
/// Of DER only the headers are looked at.
///
/// # Errors
/// [`FileError`] if the file is none of these, or holds anything else: nothing is left out.
pub fn objects(file: &[u8], kind: SectionKind) -> Result<Vec<Vec<u8>>, FileError> {
    if file.starts_with(&STORED_CERT) {
        return Ok(vec![envelope::unwrap(file)?.to_vec()]);
    }
    let in_der = der(file, kind == SectionKind::Certificate);
    // Text may begin with the byte that DER begins with, a zero.
    if in_der.is_err() && is_pem(file) {
        return in_pem(file, kind);
    }
    match in_der {
        Ok(objects) => Ok(objects),
        Err(fault) if file.first() == Some(&SEQUENCE) => Err(FileError::NotDer(fault)),
        Err(_) => Err(FileError::Neither { wanted: noun(kind) }),
    }
}

/// Whether a section of PEM begins in it.
#[must_use]
pub fn is_pem(file: &[u8]) -> bool {
    pem::starts(file, pem::BEGIN).next().is_some()
}

fn in_pem(file: &[u8], kind: SectionKind) -> Result<Vec<Vec<u8>>, FileError> {
    let sections = (1..).zip(pem::sections(file)?);
    let of_kind = sections.map(|(place, (found, der))| {
        if found == kind {
            return Ok(der);
        }
        Err(FileError::Other {
            place,
            wanted: noun(kind),
            found: label(found).to_owned(),
        })
    });
    of_kind.collect()
}

/// SEQUENCEs to the end of the file, or to its padding.
fn der(file: &[u8], padded: bool) -> Result<Vec<Vec<u8>>, DerFault> {
    let (mut objects, mut reader) = (Vec::new(), Reader::new(file));
    let is_over = |rest: &[u8]| rest.trim_ascii().is_empty() || padded && envelope::is_padding(rest);
    while objects.is_empty() || !is_over(reader.rest()) {
        objects.push(reader.take(SEQUENCE)?.whole.to_vec());
    }
    Ok(objects)
}

const fn noun(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "certificate",
        SectionKind::Crl => "revocation list",
        SectionKind::PublicKey => "public key",
        SectionKind::Csr => "certificate request",
        _ => "object of the wanted kind",
    }
}

const fn label(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "CERTIFICATE",
        SectionKind::Crl => "X509 CRL",
        SectionKind::PublicKey => "PUBLIC KEY",
        SectionKind::Csr => "CERTIFICATE REQUEST",
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => "private key",
        _ => "section of another kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 5] = [0x30, 3, 2, 1, 5];
    const B: [u8; 5] = [0x30, 3, 2, 1, 6];
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END CERTIFICATE-----";

    #[test]
    fn every_form_gives_the_same() {
        let wrapped = [&[0x10, 0x01, 0x00, 0x00, 0x07, 0x10, 0x02], &A[..], &[0xff; 9]].concat();
        for (file, expected) in [
            (A.to_vec(), vec![A]),
            ([A, B].concat(), vec![A, B]),
            ([&A[..], &B, &[0xff; 7]].concat(), vec![A, B]),
            ([&A[..], &[0; 7]].concat(), vec![A]),
            ([&A[..], b"\n"].concat(), vec![A]),
            ([&A[..], &B, b" \r\n"].concat(), vec![A, B]),
            (wrapped, vec![A]),
            (PEM.into(), vec![A]),
            (format!("{PEM}{PEM}").into(), vec![A, A]),
            (format!("0 s:CN = x\n{PEM}\n").into(), vec![A]),
            (format!("\u{feff}Bag Attributes\n{PEM}\n").into(), vec![A]),
        ] {
            assert_eq!(certificates(&file).unwrap(), expected, "{file:02x?}");
        }
    }

    #[test]
    fn what_is_something_else_is_named_and_not_left_out() {
        let told = |file: &[u8]| certificates(file).unwrap_err().to_string();
        for (file, part) in [
            (&b""[..], "neither PEM nor DER"),
            (b"<html>", "neither PEM nor DER"),
            (&[0xff; 8], "neither PEM nor DER"),
            (&A[..4], "not DER"),
            (&[&A[..], &[1]].concat(), "not DER: at byte 5"),
            (&[&A[..], b"\nx"].concat(), "not DER: at byte 5"),
            (&[&A[..], &B[..3]].concat(), "not DER: at byte 5"),
            (&[0x10, 0x01, 0x00, 0x01], "wrapper is cut off"),
            (
                format!("{PEM}{}", PEM.replace("CERTIFICATE", "X509 CRL")).as_bytes(),
                "section 2 is not a certificate: it is a \"X509 CRL\"",
            ),
            (
                format!("{PEM}\n{}", PEM.replace("CERTIFICATE", "PKCS7")).as_bytes(),
                "section 2 is a \"PKCS7\"",
            ),
            (PEM.replace("MAMC", "M").as_bytes(), "section 1 is damaged"),
        ] {
            let told = told(file);
            assert!(told.contains(part), "{told}");
        }
        let list = PEM.replace("CERTIFICATE", "X509 CRL");
        let lists = |file: &[u8]| objects(file, SectionKind::Crl);
        assert_eq!(
            (lists(list.as_bytes()), lists(&A)),
            (Ok(vec![A.to_vec()]), Ok(vec![A.to_vec()]))
        );
        assert_eq!(lists(&[&A[..], b"\n"].concat()), Ok(vec![A.to_vec()]));
        assert!(lists(&[&A[..], &[0]].concat()).is_err(), "NV memory holds no lists");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = certificates(&bytes);
        }
    }
}
