//! Revocation lists of TPM vendors: whatever a vendor's server answers with, it is a list or a refusal.
#![no_main]

use std::{sync::OnceLock, time::SystemTime};

use hallmark_evidence::EkCertificateChain;
use hallmark_verify::testing::{RevocationDraft, SoftwareMachine, VendorCa};
use hallmark_verify::{Revocation, Trust, is_revoked, verify_claim};
use libfuzzer_sys::fuzz_target;

struct Scene {
    chain: EkCertificateChain,
    trust: Trust,
    genuine: Vec<u8>,
}

/// A machine whose certificate every list is held against.
fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let vendor = VendorCa::new();
        let trust = SoftwareMachine::trust(&vendor);
        let machine = SoftwareMachine::new(&vendor);
        let claim = machine.claim().decode().expect("well-formed");
        let verified_claim = verify_claim(claim, &trust, None, SystemTime::now()).expect("honest");
        Scene {
            chain: verified_claim.new_certificate().expect("genuine").clone(),
            trust,
            genuine: RevocationDraft::of_intermediate().sign(&vendor.intermediate_key),
        }
    })
}

fuzz_target!(|bytes: &[u8]| {
    let scene = scene();
    // The first byte says whether the bytes are a list, or are laid over a genuine one.
    let Some((how, rest)) = bytes.split_first() else { return };
    let mut list = rest.to_vec();
    if how & 1 == 1 {
        list.clone_from(&scene.genuine);
        for (at, change) in rest
            .chunks_exact(3)
            .map(|change| (usize::from(u16::from_be_bytes([change[0], change[1]])), change[2]))
        {
            let place = at % list.len();
            list[place] ^= change;
        }
    }
    let changed = list != scene.genuine;
    let mut revocation = Revocation::default();
    if revocation.add("fuzz", &list).is_err() {
        assert!(revocation.is_empty(), "nothing of a bad file is taken");
        assert!(changed, "the genuine list reads");
        return;
    }
    let trust = Trust {
        revocation: revocation.into(),
        ..scene.trust.clone()
    };
    assert!(
        !is_revoked(&scene.chain, &trust, SystemTime::now()),
        "only a list that the vendor signed revokes"
    );
});
