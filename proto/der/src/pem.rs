//! The sections of a PEM text (RFC 7468). Reading one is rustls-pki-types'; where each begins is found here, since files are
//! joined in ways that a reader by lines passes over: without a line's end between two sections, or behind other text.

use rustls_pki_types::pem::{PemObject as _, SectionKind};

pub(crate) const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
/// What is shown of a label that is not known.
const MAX_LABEL: usize = 64;

/// A section that cannot be read. Places count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// It has no end, or another one, or its text is no base64.
    #[error("section {place} is damaged: {detail}")]
    Damaged {
        /// Its place in the text.
        place: usize,
        /// What is wrong.
        detail: String,
    },
    /// Its label is none that is read here.
    #[error("section {place} is a {label:?}, which is not read here")]
    Unknown {
        /// Its place in the text.
        place: usize,
        /// The label.
        label: String,
    },
}

/// Every section of `text`, in order. Text before, between and behind them says nothing.
///
/// # Errors
/// [`PemError`] for the first section that cannot be read: none is left out.
pub fn sections(text: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, PemError> {
    let begins: Vec<usize> = starts(text, BEGIN).collect();
    let ends = begins.iter().copied().skip(1).chain([text.len()]);
    let pieces = begins.iter().zip(ends).map(|(&begin, end)| text.get(begin..end));
    let numbered = (1..).zip(pieces.flatten());
    numbered.map(|(place, piece)| section(place, piece)).collect()
}

fn section(place: usize, piece: &[u8]) -> Result<(SectionKind, Vec<u8>), PemError> {
    // The end stands in a line of its own for the reader, whatever stood before it.
    let at = starts(piece, END).next().unwrap_or(piece.len());
    let (body, end) = piece.split_at_checked(at).unwrap_or((piece, &[]));
    let piece = [body, b"\n", end].concat();
    match <(SectionKind, Vec<u8>)>::pem_slice_iter(&piece).next() {
        Some(Ok(section)) => Ok(section),
        Some(Err(error)) => Err(PemError::Damaged {
            place,
            detail: error.to_string(),
        }),
        None => Err(PemError::Unknown {
            place,
            label: label(&piece),
        }),
    }
}

fn label(piece: &[u8]) -> String {
    let rest = piece.strip_prefix(BEGIN).unwrap_or(piece);
    let end = rest.iter().position(|byte| *byte == b'-').unwrap_or(rest.len());
    let label = rest.get(..end.min(MAX_LABEL)).unwrap_or_default();
    String::from_utf8_lossy(label).into_owned()
}

/// Where `mark` stands in `text`.
pub(crate) fn starts<'a>(text: &'a [u8], mark: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let windows = text.windows(mark.len()).enumerate();
    windows.filter(move |(_, window)| *window == mark).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END CERTIFICATE-----";
    const TWO: &str = "-----BEGIN X509 CRL-----\nMAMCAQY=\n-----END X509 CRL-----";

    fn one() -> (SectionKind, Vec<u8>) {
        (SectionKind::Certificate, vec![0x30, 3, 2, 1, 5])
    }

    fn two() -> (SectionKind, Vec<u8>) {
        (SectionKind::Crl, vec![0x30, 3, 2, 1, 6])
    }

    #[test]
    fn sections_are_found_however_they_were_joined() {
        for (text, expected) in [
            (ONE.to_owned(), vec![one()]),
            (format!("{ONE}\n{TWO}\n"), vec![one(), two()]),
            (format!("{ONE}{TWO}{ONE}"), vec![one(), two(), one()]),
            (format!("{ONE}\r\n{TWO}\r").replace('\n', "\r\n"), vec![one(), two()]),
            (
                format!("Certificate:\n  Data: 0\n{ONE}\nsubject=/CN=x\n\n  {TWO} and more"),
                vec![one(), two()],
            ),
            (format!("\u{feff}{ONE}"), vec![one()]),
            (ONE.replace('\n', "\n    "), vec![one()]),
            (ONE.replace("=\n", "="), vec![one()]),
            ("nothing".to_owned(), vec![]),
            (String::new(), vec![]),
        ] {
            assert_eq!(sections(text.as_bytes()), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn none_is_left_out() {
        for (bad, damaged) in [
            (ONE.replace("-----END CERTIFICATE-----", ""), true),
            (ONE.replace("END CERTIFICATE", "END X509 CRL"), true),
            (ONE.replace("MAMC", "M?MC"), true),
            (ONE.replace("BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE"), true),
            (ONE.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), false),
            (ONE.replace("CERTIFICATE", "PKCS7"), false),
        ] {
            for text in [format!("{TWO}{bad}"), format!("{TWO}\n{bad}\n{TWO}")] {
                let error = sections(text.as_bytes()).unwrap_err();
                let (PemError::Damaged { place, .. } | PemError::Unknown { place, .. }) = &error;
                assert_eq!(
                    (*place, matches!(error, PemError::Damaged { .. })),
                    (2, damaged),
                    "{text:?}: {error}"
                );
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn as_many_are_read_as_begin(text in "(-----BEGIN |-----END |CERTIFICATE|-----|MAMCAQU=|\n| |x){0,40}") {
            let begins = text.matches("-----BEGIN ").count();
            if let Ok(read) = sections(text.as_bytes()) {
                proptest::prop_assert_eq!(read.len(), begins);
            }
        }
    }
}
