//! `Tpm2Proof`, from the bytes of the message to the verdict: nothing but the recorded machine's own words passes.
#![no_main]

use std::sync::LazyLock;

use hallmark_fuzz::{CLAIM, EXPORTER, NONCE, challenged, decode_proof, now, recorded_trust};
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::{HeldLogs, Trust, verify_logs, verify_proof};
use libfuzzer_sys::fuzz_target;

static TRUST: LazyLock<Trust> = LazyLock::new(recorded_trust);

fuzz_target!(|bytes: &[u8]| {
    let Some(Ok(proof)) = decode_proof(bytes) else {
        return;
    };
    let (verified_claim, challenge) = challenged(CLAIM, &TRUST);
    let verified_proof = verify_proof(verified_claim, challenge, proof, &EXPORTER, now());
    if let Ok(evidence) =
        verified_proof.and_then(|verified_proof| verify_logs(verified_proof, Vec::new(), &HeldLogs::default()))
    {
        assert_eq!(evidence.nonce(), &NONCE);
        assert!(evidence.pcrs().get(HashAlg::Sha256, 7).is_some());
    }
});
