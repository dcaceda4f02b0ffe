//! Commands per flow, counted between the driver and a swtpm (docs/reference/tpm-commands.md).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code beside the test functions"
)]

mod machine;

use hallmark_tpm::{Credential, EsysTpm, SvidKey, Tpm, Unique};
use hallmark_tpm_wire::{HashAlg, PcrSelection, credential};
use machine::Machine;

const BINDING: [u8; 32] = [7; 32];
const DIGEST: [u8; 32] = [9; 32];

fn selection() -> PcrSelection {
    PcrSelection::new([(HashAlg::Sha256, [0, 1, 2, 3, 4, 5, 6, 7].as_slice())]).unwrap()
}

/// What the agent asks for at its first attestation, the certificate request's signature included.
fn first_attestation(tpm: &mut EsysTpm) -> SvidKey {
    let endorsement = tpm.endorsement().unwrap();
    let ak = tpm.attestation_key().unwrap();
    let key = tpm.svid_key(&Unique([1; 32])).unwrap();
    tpm.sign(key.id, &DIGEST).unwrap();
    let made = credential::make(&endorsement.public, &ak.name(), &[3; 32]).unwrap();
    let credential = Credential {
        id_object: made.id_object,
        encrypted_secret: made.encrypted_secret,
    };
    assert_eq!(
        tpm.activate(&endorsement.public, &credential).unwrap().as_slice(),
        [3; 32]
    );
    tpm.certify(key.id, &BINDING).unwrap();
    tpm.quote(&selection(), &BINDING).unwrap();
    tpm.read_pcrs(&selection()).unwrap();
    tpm.release_endorsement().unwrap();
    key
}

#[test]
fn every_flow_stays_in_its_budget() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let key = first_attestation(&mut tpm);
    assert!(machine.proxy.total() <= 12, "first: {:x?}", machine.proxy.counts());

    machine.proxy.reset();
    tpm.sign(key.id, &DIGEST).unwrap();
    assert_eq!(machine.proxy.total(), 1, "handshake");

    machine.proxy.reset();
    let next = tpm.svid_key(&Unique([2; 32])).unwrap();
    tpm.certify(next.id, &BINDING).unwrap();
    tpm.quote(&selection(), &BINDING).unwrap();
    assert_eq!(machine.proxy.total(), 3, "renewal");

    machine.proxy.reset();
    tpm.release(key.id).unwrap();
    assert_eq!(machine.proxy.total(), 1, "release");
    drop(tpm);

    machine.proxy.reset();
    let mut tpm = machine.open();
    let again = tpm.svid_key(&Unique([2; 32])).unwrap();
    assert_eq!(again.public, next.public, "the same bytes give the same key");
    tpm.certify(again.id, &BINDING).unwrap();
    tpm.quote(&selection(), &BINDING).unwrap();
    assert!(machine.proxy.total() <= 4, "restart: {:x?}", machine.proxy.counts());
    drop(tpm);
    assert_eq!(machine.left_behind(), 0);
}

#[test]
fn an_endorsement_key_that_has_to_be_made_costs_two_more() {
    let machine = Machine::new();
    machine.evict_endorsement_keys();
    let mut tpm = machine.open();
    first_attestation(&mut tpm);
    assert!(machine.proxy.total() <= 14, "first: {:x?}", machine.proxy.counts());
    drop(tpm);
    assert_eq!(machine.left_behind(), 0);
}
