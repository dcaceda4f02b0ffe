//! What surrounds an EK certificate in NV memory: the TCG wrapper and padding.

use hallmark_der::EnvelopeError;

use super::EkCertificateError;

/// No EK certificate in the field comes near this; NV memory of a TPM is a few KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// The certificate itself, out of what NV memory held ([`hallmark_der::unwrap`]).
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
    hallmark_der::unwrap(nv).map_err(|error| match error {
        EnvelopeError::CutOff => EkCertificateError::WrapperCutOff,
        EnvelopeError::NotDer(fault) => EkCertificateError::NotDer(fault),
        EnvelopeError::TrailingBytes { count } => EkCertificateError::TrailingBytes { count },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_10_more_than_64_kib_are_refused() {
        let mut nv = vec![0x30, 0x03, 0x02, 0x01, 0x05];
        nv.resize(MAX_CERTIFICATE_BYTES, 0xff);
        assert!(open(&nv).is_ok());
        nv.push(0xff);
        assert!(matches!(open(&nv), Err(EkCertificateError::TooLarge { .. })));
    }
}
