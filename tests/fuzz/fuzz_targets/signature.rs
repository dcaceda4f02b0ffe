//! `TPMT_SIGNATURE`: no made-up signature verifies under a real key.
#![no_main]

use std::sync::LazyLock;

use hallmark_tpm_wire::{PublicArea, Signature};
use libfuzzer_sys::fuzz_target;

static AK: LazyLock<PublicArea> = LazyLock::new(|| {
    PublicArea::parse(include_bytes!("../../../proto/tpm/tests/vectors/ak.public")).expect("the vector is good")
});
static GOOD: &[u8] = include_bytes!("../../../proto/tpm/tests/vectors/quote.sig");
static MESSAGE: &[u8] = include_bytes!("../../../proto/tpm/tests/vectors/quote.msg");

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signature) = Signature::parse(bytes) {
        assert!(signature.hash().is_strong());
        assert_eq!(signature.verify(&AK, MESSAGE).is_ok(), bytes == GOOD);
    }
});
