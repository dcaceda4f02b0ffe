//! What surrounds a certificate in a TPM's NV memory: the TCG wrapper and padding.

use crate::strict::{self, DerFault};
use crate::{Reader, tag};

/// `TCG_PCCLIENT_STORED_CERT` with certificate type "full" (TCG PC Client Specific Implementation 1.2, 7.3.2).
pub(crate) const STORED_CERT: [u8; 3] = [0x10, 0x01, 0x00];
/// `TCG_FULL_CERT`, the tag before the certificate inside the wrapper.
const FULL_CERT: [u8; 2] = [0x10, 0x02];

/// Why what NV memory held is no certificate with padding behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The wrapper announces more bytes than follow.
    #[error("the TCG wrapper is cut off")]
    CutOff,
    /// The header is not DER.
    #[error("not DER: {0}")]
    NotDer(DerFault),
    /// Something other than padding follows.
    #[error("{count} bytes follow that are not padding")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
}

/// The certificate itself, out of what NV memory held: the wrapper is taken off and padding behind is dropped.
/// Padding is a run of one value, 00 or FF (erased NV memory); any other byte behind the certificate is refused.
///
/// # Errors
/// [`EnvelopeError`] if the wrapper is cut off, the header is not DER or other bytes follow.
pub fn unwrap(nv: &[u8]) -> Result<&[u8], EnvelopeError> {
    let value = match nv.strip_prefix(&STORED_CERT) {
        Some(rest) => inside(rest)?,
        None => nv,
    };
    let length = strict::element_len(value).map_err(EnvelopeError::NotDer)?;
    let (certificate, behind) = value.split_at_checked(length).unwrap_or((value, &[]));
    require_padding(behind)?;
    Ok(certificate)
}

/// The SEQUENCE that NV memory begins with, behind a wrapper if there is one; what follows it is not looked at. `None` where there is
/// none. For a reader that passes on what it finds to somebody who judges it ([`unwrap`]).
#[must_use]
pub fn first(nv: &[u8]) -> Option<&[u8]> {
    let value = match nv.strip_prefix(&STORED_CERT) {
        Some([_, _, rest @ ..]) => rest.strip_prefix(&FULL_CERT).unwrap_or(rest),
        _ => nv,
    };
    let element = Reader::new(value).take(tag::SEQUENCE).ok()?;
    Some(element.whole)
}

/// `rest` is what follows the wrapper's tag: a 16-bit size, then that many bytes, then padding.
fn inside(rest: &[u8]) -> Result<&[u8], EnvelopeError> {
    let (size, rest) = rest.split_first_chunk::<2>().ok_or(EnvelopeError::CutOff)?;
    let size = usize::from(u16::from_be_bytes(*size));
    let (inside, behind) = rest.split_at_checked(size).ok_or(EnvelopeError::CutOff)?;
    require_padding(behind)?;
    Ok(inside.strip_prefix(&FULL_CERT).unwrap_or(inside))
}

fn require_padding(behind: &[u8]) -> Result<(), EnvelopeError> {
    if is_padding(behind) {
        Ok(())
    } else {
        Err(EnvelopeError::TrailingBytes { count: behind.len() })
    }
}

pub(crate) fn is_padding(bytes: &[u8]) -> bool {
    let run_of = |value: u8| bytes.iter().all(|&byte| byte == value);
    run_of(0x00) || run_of(0xff)
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
            assert_eq!(unwrap(&nv).unwrap(), CERTIFICATE, "{nv:02x?}");
        }
    }

    #[test]
    fn what_follows_the_first_value_is_left_to_its_judge() {
        let nv = [&CERTIFICATE[..], &[0x01, 0x02]].concat();
        assert_eq!(first(&nv), Some(&CERTIFICATE[..]));
        let wrapped = [&[0x10, 0x01, 0x00, 0x00, 0x07, 0x10, 0x02], &nv[..]].concat();
        assert_eq!(first(&wrapped), Some(&CERTIFICATE[..]));
        for none in [&CERTIFICATE[..4], &[0xff; 8], &[]] {
            assert_eq!(first(none), None, "{none:02x?}");
        }
    }

    #[test]
    fn attack_10_bytes_behind_that_are_not_padding_are_refused() {
        for behind in [&[0x01][..], &[0xff, 0x00], &[0x00, 0xff], &[0x30, 0x00]] {
            let nv = [&CERTIFICATE[..], behind].concat();
            assert!(
                matches!(unwrap(&nv), Err(EnvelopeError::TrailingBytes { .. })),
                "{behind:02x?}"
            );
        }
    }

    #[test]
    fn attack_10_a_cut_off_wrapper_is_refused() {
        for cut in [
            &[0x10, 0x01, 0x00][..],
            &[0x10, 0x01, 0x00, 0x00],
            &[0x10, 0x01, 0x00, 0x00, 0x09, 0x30],
        ] {
            assert_eq!(unwrap(cut), Err(EnvelopeError::CutOff), "{cut:02x?}");
        }
    }
}
