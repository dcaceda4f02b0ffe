//! `TPMS_ATTEST`: a quote's selection is one that can be written and read back.
#![no_main]

use hallmark_tpm_wire::{Attest, AttestKind, PcrSelection};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(attest) = Attest::parse(bytes) {
        assert!(bytes.starts_with(&[0xff, 0x54, 0x43, 0x47]));
        if let AttestKind::Quote(quote) = attest.kind {
            assert_eq!(
                PcrSelection::parse(&quote.selection.marshal()).as_ref(),
                Ok(&quote.selection)
            );
        }
    }
});
