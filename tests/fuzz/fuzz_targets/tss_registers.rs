//! Register files of tpm2-tools: what is read has each register once, with a value as long as its bank's digest.
#![no_main]

use hallmark_tpm_wire::PcrValues;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(values) = PcrValues::from_tss(bytes) {
        for (bank, pcr, value) in values.iter() {
            assert!(pcr < 32 && value.len() == bank.digest_len());
        }
    }
});
