//! Reference values as makers publish them: a CoRIM gives a baseline that reads back as the same, or a refusal.
#![no_main]

use hallmark_policy::{Baseline, signed::OperatorKeys};
use libfuzzer_sys::fuzz_target;

const NOW: i64 = 1_795_392_000;

fuzz_target!(|bytes: &[u8]| {
    // Nobody's key: what is signed is decoded up to its signature.
    assert!(Baseline::from_corim(bytes, "fuzz", 1, NOW, Some(&OperatorKeys::default())).is_err());
    if let Ok((baseline, _)) = Baseline::from_corim(bytes, "fuzz", 1, NOW, None) {
        let again = Baseline::from_json(&baseline.to_json()).expect("what was made can be read");
        assert_eq!(again, baseline);
    }
});
