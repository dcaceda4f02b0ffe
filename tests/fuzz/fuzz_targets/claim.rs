//! `Tpm2Claim` with its CSR, from the bytes of the message to the appraisal of certificate, keys and CSR.
#![no_main]

use std::sync::LazyLock;

use hallmark_fuzz::{decode_claim, now, recorded_trust};
use hallmark_verify::{Trust, verify_claim};
use libfuzzer_sys::fuzz_target;

static TRUST: LazyLock<Trust> = LazyLock::new(recorded_trust);

fuzz_target!(|bytes: &[u8]| {
    if let Some(Ok(claim)) = decode_claim(bytes) {
        let ak_name = claim.ak_public.name();
        if let Ok(verified_claim) = verify_claim(claim, &TRUST, None, now()) {
            assert_eq!(verified_claim.ak_name(), &ak_name);
            assert!(!verified_claim.ak_is_known());
        }
    }
});
