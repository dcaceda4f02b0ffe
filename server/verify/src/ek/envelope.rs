//! What surrounds an EK certificate in NV memory: the TCG wrapper and padding.

use super::EkCertificateError;
use crate::der;

/// No EK certificate in the field comes near this; NV memory of a TPM is a few KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// TCG_PCCLIENT_STORED_CERT with certificate type "full" (TCG PC Client Specific Implementation 1.2, 7.3.2).
const STORED_CERT: [u8; 3] = [0x10, 0x01, 0x00];
/// TCG_FULL_CERT, the tag before the certificate inside the wrapper.
const FULL_CERT: [u8; 2] = [0x10, 0x02];

/// The certificate itself, out of what NV memory held: the wrapper is taken off and padding behind is dropped.
/// Padding is a run of one value, 00 or FF (erased NV memory); any other byte behind the certificate is refused.
///
/// # Errors
/// [`EkCertificateError`] if it is too large, the wrapper is cut off, the header is not DER or other bytes follow.
pub(crate) fn open(nv: &[u8]) -> Result<&[u8], EkCertificateError> {
    if nv.len() > MAX_CERTIFICATE_BYTES {
        return Err(EkCertificateError::TooLarge {
            limit: MAX_CERTIFICATE_BYTES,
            actual: nv.len(),
        });
    }
    let value = match nv.strip_prefix(&STORED_CERT) {
        Some(rest) => unwrap(rest)?,
        None => nv,
    };
    let length = der::element_len(value).map_err(EkCertificateError::NotDer)?;
    let (certificate, behind) = value.split_at_checked(length).unwrap_or((value, &[]));
    require_padding(behind)?;
    Ok(certificate)
}

/// `rest` is what follows the wrapper's tag: a 16-bit size, then that many bytes, then padding.
fn unwrap(rest: &[u8]) -> Result<&[u8], EkCertificateError> {
    let (size, rest) = rest.split_first_chunk::<2>().ok_or(EkCertificateError::WrapperCutOff)?;
    let size = usize::from(u16::from_be_bytes(*size));
    let (inside, behind) = rest.split_at_checked(size).ok_or(EkCertificateError::WrapperCutOff)?;
    require_padding(behind)?;
    Ok(inside.strip_prefix(&FULL_CERT).unwrap_or(inside))
}

fn require_padding(behind: &[u8]) -> Result<(), EkCertificateError> {
    let run_of = |value: u8| behind.iter().all(|&byte| byte == value);
    if run_of(0x00) || run_of(0xff) {
        Ok(())
    } else {
        Err(EkCertificateError::TrailingBytes { count: behind.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0x05];

    #[test]
    fn wrapper_and_padding_are_taken_off() {
        let wrapped =
            |padding: &[u8]| [&[0x10, 0x01, 0x00, 0x00, 0x07, 0x10, 0x02], &CERTIFICATE[..], padding].concat();
        let unwrapped_tag = [&[0x10, 0x01, 0x00, 0x00, 0x05], &CERTIFICATE[..]].concat();
        for nv in [
            CERTIFICATE.to_vec(),
            [&CERTIFICATE[..], &[0xff; 90]].concat(),
            [&CERTIFICATE[..], &[0x00; 90]].concat(),
            wrapped(&[]),
            wrapped(&[0xff; 3]),
            unwrapped_tag,
        ] {
            assert_eq!(open(&nv).unwrap(), CERTIFICATE, "{nv:02x?}");
        }
    }

    #[test]
    fn attack_10_bytes_behind_that_are_not_padding_are_refused() {
        for behind in [&[0x01][..], &[0xff, 0x00], &[0x00, 0xff], &[0x30, 0x00]] {
            let nv = [&CERTIFICATE[..], behind].concat();
            assert!(
                matches!(open(&nv), Err(EkCertificateError::TrailingBytes { .. })),
                "{behind:02x?}"
            );
        }
    }

    #[test]
    fn attack_10_64_kib_and_a_cut_off_wrapper_are_refused() {
        let mut nv = CERTIFICATE.to_vec();
        nv.resize(MAX_CERTIFICATE_BYTES, 0xff);
        assert!(open(&nv).is_ok());
        nv.push(0xff);
        assert!(matches!(open(&nv), Err(EkCertificateError::TooLarge { .. })));
        for cut in [
            &[0x10, 0x01, 0x00][..],
            &[0x10, 0x01, 0x00, 0x00],
            &[0x10, 0x01, 0x00, 0x00, 0x09, 0x30],
        ] {
            assert!(
                matches!(open(cut), Err(EkCertificateError::WrapperCutOff)),
                "{cut:02x?}"
            );
        }
    }
}
