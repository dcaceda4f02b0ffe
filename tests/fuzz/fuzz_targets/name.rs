//! Names.
#![no_main]

use hallmark_tpm_wire::Name;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(name) = Name::parse(bytes) {
        assert_eq!(name.as_bytes(), bytes);
        assert_eq!(name.to_string().len(), bytes.len() * 2);
    }
});
