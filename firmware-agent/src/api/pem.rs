//! PEM (RFC 7468), in memory that is wiped.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Characters of a line.
const LINE: usize = 64;

/// Appends one section.
pub(super) fn write(label: &str, der: &[u8], out: &mut Zeroizing<String>) {
    // Room for all of it, so that no part of a key stays behind in memory that was outgrown.
    let coded = der.len().div_ceil(3) * 4;
    let room = coded + coded / LINE + 2 * label.len() + 64;
    let mut grown = Zeroizing::new(String::with_capacity(out.len() + room));
    grown.push_str(out);
    grown.push_str("-----BEGIN ");
    grown.push_str(label);
    grown.push_str("-----\n");
    let mut coded = Zeroizing::new(String::with_capacity(coded));
    STANDARD.encode_string(der, &mut coded);
    let mut rest = coded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        grown.push_str(line);
        grown.push('\n');
        rest = after;
    }
    grown.push_str("-----END ");
    grown.push_str(label);
    grown.push_str("-----\n");
    *out = grown;
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    #[test]
    fn what_is_written_is_read() {
        let mut text = Zeroizing::new(String::new());
        let all: Vec<Vec<u8>> = [0, 1, 2, 47, 48, 49, 500].map(|length| vec![0xA5; length]).to_vec();
        for der in &all {
            write("CERTIFICATE", der, &mut text);
        }
        let read = CertificateDer::pem_slice_iter(text.as_bytes());
        let read: Vec<Vec<u8>> = read.map(|der| der.unwrap().to_vec()).collect();
        assert_eq!(read, all);
        assert!(text.lines().all(|line| line.len() <= LINE));
    }
}
