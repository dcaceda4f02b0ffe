//! `TPML_PCR_SELECTION`: written back byte for byte; the canonical form selects the same registers.
#![no_main]

use std::collections::BTreeSet;

use hallmark_tpm_wire::PcrSelection;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(selection) = PcrSelection::parse(bytes) {
        assert_eq!(selection.marshal(), bytes);
        let canonical = selection.canonical();
        assert_eq!(canonical.canonical(), canonical);
        assert_eq!(selection.pcrs().collect::<BTreeSet<_>>(), canonical.pcrs().collect());
        assert_eq!(PcrSelection::parse(&canonical.marshal()), Ok(canonical));
    }
});
