//! `TPMT_PUBLIC`: what is accepted is written back byte for byte, has a Name that is read back, and never is weak.
#![no_main]

use hallmark_tpm_wire::{Name, PublicArea, templates};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(area) = PublicArea::parse(bytes) {
        assert_eq!(area.marshal(), bytes);
        assert!(area.name_alg().is_strong());
        assert_eq!(Name::parse(area.name().as_bytes()).as_ref(), Ok(&area.name()));
        assert_eq!(area.spki_der().is_ok(), area.scheme().is_some());
        let _ = templates::ek_template_of(&area);
    }
    let _ = PublicArea::parse_sized(bytes);
});
