//! What authorities above answer: certs-only PKCS#7 of EST servers, JSON of Vault.
#![no_main]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hallmark_der::element_len;
use hallmark_upstream::{certs_only, signed_answer};
use libfuzzer_sys::fuzz_target;

/// No answer has more.
const MOST: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let is_element = |der: &Vec<u8>| element_len(der) == Ok(der.len());
    // The fuzzer's bytes as the message itself, since few of them are base64.
    if let Ok(read) = certs_only(STANDARD.encode(bytes).as_bytes()) {
        assert!((1..=MOST).contains(&read.len()) && read.iter().all(is_element));
        for der in &read {
            assert!(bytes.windows(der.len()).any(|window| window == der));
        }
        assert!(read.iter().map(Vec::len).sum::<usize>() < bytes.len());
    }
    if let Ok(read) = certs_only(bytes) {
        assert!((1..=MOST).contains(&read.len()) && read.iter().all(is_element));
    }
    if let Ok(read) = signed_answer(bytes) {
        assert!(read.pool.len() <= MOST);
        assert!(read.warnings.len() < 20_000 && !read.warnings.contains(char::is_control));
        // What does not parse as JSON of some kind gives nothing.
        assert!(bytes.iter().any(|byte| *byte == b'{'));
    }
});
