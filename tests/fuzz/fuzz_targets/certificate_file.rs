//! Files of certificates, in any form and joined in any way: as many are read as begin, or the file is refused.
#![no_main]

use hallmark_der::{SectionKind, certificates, element_len, is_pem, objects, sections};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let begins = bytes.windows(11).filter(|window| *window == b"-----BEGIN ").count();
    if let Ok(read) = sections(bytes) {
        assert_eq!(read.len(), begins);
    }
    for kind in [SectionKind::Certificate, SectionKind::Crl, SectionKind::PublicKey] {
        let Ok(read) = objects(bytes, kind) else { continue };
        assert!(!read.is_empty());
        let size: usize = read.iter().map(Vec::len).sum();
        assert!(size <= bytes.len());
        let is_der = bytes.first() == Some(&0x30) && read.iter().all(|der| element_len(der) == Ok(der.len()));
        assert!(is_der || bytes.starts_with(&[0x10, 0x01, 0x00]) || (is_pem(bytes) && read.len() == begins));
    }
    // What was read is read again, one behind the other.
    if let Ok(read) = certificates(bytes)
        && read
            .iter()
            .all(|der| element_len(der) == Ok(der.len()) && der.first() == Some(&0x30))
    {
        assert_eq!(certificates(&read.concat()), Ok(read));
    }
});
