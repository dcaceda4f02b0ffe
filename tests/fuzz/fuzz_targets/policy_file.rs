//! What operators apply: policies (TOML), baselines (JSON), and either in a signed file. Nobody's key opens one.
#![no_main]

use hallmark_policy::{
    Baseline, Policy, PolicySet,
    signed::{FileKind, OperatorKeys, SignedFile},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(policy) = Policy::from_toml("fuzz", text) {
        let again = Policy::from_toml("fuzz", text).expect("it was read before");
        assert_eq!(again, policy, "equal files, equal policies");
        PolicySet::default().apply(policy);
    }
    if let Ok(baseline) = Baseline::from_json(text) {
        let again = Baseline::from_json(&baseline.to_json()).expect("what was written can be read");
        assert_eq!(again, baseline);
    }
    if let Ok(file) = SignedFile::parse(text) {
        for kind in [FileKind::Policy, FileKind::Baseline] {
            assert!(file.clone().open(kind, None, &OperatorKeys::default()).is_err());
        }
    }
});
