//! `Tpm2Challenge`, as the agent takes it from a server: everything within the limits of TPM and protocol.
#![no_main]

use hallmark_evidence::Limits;
use hallmark_fuzz::take_challenge;
use hallmark_tpm_wire::PcrSelection;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(challenge) = take_challenge(bytes) else {
        return;
    };
    assert!(challenge.nonce.len() == 32 && challenge.logs <= Limits::LOGS);
    let selection = &challenge.selection;
    assert!((1..=PcrSelection::MAX_BANKS).contains(&selection.banks().len()));
    assert!(selection.pcrs().all(|(_, pcr)| pcr < 32));
    assert_eq!(PcrSelection::parse(&selection.marshal()).as_ref(), Ok(selection));
    if let Some((id_object, secret)) = &challenge.credential {
        assert!((1..=132).contains(&id_object.len()) && (1..=512).contains(&secret.len()));
    }
});
