//! What a TPM, the way to it, or its earlier users can do wrong, and what the driver makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code beside the test functions"
)]

mod machine;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hallmark_kit::{Fault, SwtpmOptions};
use hallmark_tpm::{Authorization, Credential, EsysTpm, KeyId, Tpm, TpmError, Unique};
use hallmark_tpm_wire::{HashAlg, PcrSelection, credential};
use machine::Machine;

const CREATE_PRIMARY: u32 = 0x131;
const ACTIVATE: u32 = 0x147;
const QUOTE: u32 = 0x158;
const NV_READ_PUBLIC: u32 = 0x169;

fn selection() -> PcrSelection {
    PcrSelection::new([(HashAlg::Sha256, [0, 1, 2, 3, 4, 5, 6, 7].as_slice())]).unwrap()
}

fn activate(tpm: &mut EsysTpm) -> Result<(), TpmError> {
    let endorsement = tpm.endorsement()?;
    let ak = tpm.attestation_key()?;
    let made = credential::make(&endorsement.public, &ak.name(), &[3; 32]).unwrap();
    let credential = Credential {
        id_object: made.id_object,
        encrypted_secret: made.encrypted_secret,
    };
    let secret = tpm.activate(&endorsement.public, &credential)?;
    assert_eq!(secret.as_slice(), [3; 32]);
    tpm.release_endorsement()
}

#[test]
fn a_busy_tpm_is_waited_for_but_not_for_ever() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let mut left = 4;
    machine.proxy.set_rule(move |_, _| {
        left -= 1;
        if left > 0 {
            Fault::ResponseCode(0x922)
        } else {
            Fault::None
        }
    });
    tpm.attestation_key().unwrap();
    for busy in [0x908, 0x920, 0x922] {
        machine.proxy.set_rule(move |_, _| Fault::ResponseCode(busy));
        let start = Instant::now();
        let refused = tpm.quote(&selection(), &[0; 32]);
        assert!(
            matches!(refused, Err(TpmError::Busy { rc, .. }) if rc == busy),
            "{refused:?}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:?} {:x?}",
            start.elapsed(),
            machine.proxy.counts()
        );
    }
    machine.proxy.clear_rule();
    tpm.quote(&selection(), &[0; 32]).unwrap();
}

#[test]
fn a_wrong_authorization_is_tried_once_only() {
    let machine = Machine::new();
    machine.tool("tpm2_changeauth", &["-c", "owner", "secret"]);
    machine.tool("tpm2_changeauth", &["-c", "endorsement", "secret"]);
    let mut tpm = machine.open();
    assert_eq!(tpm.attestation_key(), Err(TpmError::HierarchyAuthSet("endorsement")));
    assert_eq!(machine.proxy.total(), 1);
    // An owner's password is in nobody's way: the null hierarchy has none.
    tpm.svid_key(&Unique([1; 32])).unwrap();
    drop(tpm);
    machine.tool("tpm2_changeauth", &["-c", "endorsement", "-p", "secret"]);
    machine.open().attestation_key().unwrap();
}

#[test]
fn a_password_of_the_endorsement_hierarchy_is_used_and_never_crosses_the_bus() {
    let machine = Machine::new();
    let known = {
        let mut tpm = machine.open();
        (tpm.endorsement().unwrap().public, tpm.attestation_key().unwrap())
    };
    for hierarchy in ["owner", "endorsement", "lockout"] {
        machine.tool("tpm2_changeauth", &["-c", hierarchy, "a long password"]);
    }
    let opened = |value: &[u8]| machine.open().with_endorsement_auth(Authorization::new(value));
    assert_eq!(
        opened(b"another password").attestation_key(),
        Err(TpmError::HierarchyAuthWrong("endorsement"))
    );
    let mut tpm = opened(b"a long password");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let bus = Arc::clone(&seen);
    machine.proxy.set_rule(move |_, command| {
        bus.lock().unwrap().push(command.to_vec());
        Fault::None
    });
    assert_eq!(
        (tpm.endorsement().unwrap().public, tpm.attestation_key().unwrap()),
        known
    );
    activate(&mut tpm).unwrap();
    machine.proxy.clear_rule();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let shows = |what: &[u8]| {
        seen.iter()
            .any(|command| command.windows(what.len()).any(|bytes| bytes == what))
    };
    assert!(shows(&CREATE_PRIMARY.to_be_bytes()), "the control: commands are seen");
    assert!(!shows(b"a long password"));
    drop(tpm);
    // The control: nobody leaves sessions behind, however often it is tried with the wrong one.
    for _ in 0..70 {
        assert_eq!(
            opened(b"another password").attestation_key(),
            Err(TpmError::HierarchyAuthWrong("endorsement"))
        );
    }
    activate(&mut opened(b"a long password")).unwrap();
}

#[test]
fn a_disabled_endorsement_hierarchy_and_a_lockout_have_their_own_codes() {
    let machine = Machine::new();
    machine.tool("tpm2_hierarchycontrol", &["-C", "p", "ehEnable", "clear"]);
    let mut tpm = machine.open();
    assert_eq!(tpm.attestation_key(), Err(TpmError::HierarchyDisabled("endorsement")));
    drop(tpm);
    machine.tool("tpm2_hierarchycontrol", &["-C", "p", "ehEnable", "set"]);
    let mut tpm = machine.open();
    tpm.attestation_key().unwrap();
    machine.proxy.reset();
    machine.proxy.set_rule(|_, _| Fault::ResponseCode(0x921));
    assert_eq!(tpm.quote(&selection(), &[0; 32]), Err(TpmError::LockedOut));
    assert_eq!(machine.proxy.total(), 1);
    machine.proxy.set_rule(|_, _| Fault::ResponseCode(0x101));
    assert_eq!(
        tpm.quote(&selection(), &[0; 32]),
        Err(TpmError::NotOperational { rc: 0x101 })
    );
}

#[test]
fn an_answer_that_does_not_decode_is_refused_and_the_next_one_counts() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    tpm.attestation_key().unwrap();
    let headers: [&[u8]; 4] = [
        &[0x80, 0x02, 0, 0, 0, 10, 0, 0, 0, 0],
        &[0x80, 0x02, 0, 0, 0, 14, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0, 0, 0, 10, 0, 0, 0, 0],
        &[0x80, 0x02, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff, 0, 0, 0, 0],
    ];
    for answer in headers {
        let answer = answer.to_vec();
        machine.proxy.set_rule(move |code, _| {
            if code == QUOTE {
                Fault::Response(answer.clone())
            } else {
                Fault::None
            }
        });
        let refused = tpm.quote(&selection(), &[0; 32]);
        assert!(refused.is_err(), "{refused:?}");
        machine.proxy.clear_rule();
        tpm.quote(&selection(), &[0; 32]).unwrap();
    }
}

#[test]
fn an_altered_answer_in_the_salted_session_is_noticed() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    activate(&mut tpm).unwrap();
    machine.proxy.set_rule(|code, _| {
        if code == ACTIVATE {
            Fault::FlipResponse(18)
        } else {
            Fault::None
        }
    });
    let refused = activate(&mut tpm);
    assert_eq!(
        refused,
        Err(TpmError::ResponseTampered {
            command: "TPM2_ActivateCredential"
        })
    );
    machine.proxy.clear_rule();
    activate(&mut tpm).unwrap();
    drop(tpm);
    assert_eq!(machine.left_behind(), 0);
}

#[test]
fn the_secret_does_not_cross_the_bus_in_clear() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let endorsement = tpm.endorsement().unwrap();
    let ak = tpm.attestation_key().unwrap();
    let made = credential::make(&endorsement.public, &ak.name(), &[3; 32]).unwrap();
    let credential = Credential {
        id_object: made.id_object,
        encrypted_secret: made.encrypted_secret,
    };
    // Sessions: tag 0x8002. The session's attributes in the command say that the answer is encrypted (bit 6) and that
    // the session ends with it (bit 0 clear).
    let (seen, attributes) = std::sync::mpsc::channel();
    machine.proxy.set_rule(move |code, command| {
        if code == ACTIVATE {
            // Header 10, two handles 8, size 4, password session 9, then handle 4, nonce (2 + 32).
            let _ = seen.send(command.get(10 + 8 + 4 + 9 + 4 + 2 + 32).copied());
        }
        Fault::None
    });
    tpm.activate(&endorsement.public, &credential).unwrap();
    let attributes = attributes.recv().unwrap().unwrap();
    assert_eq!(attributes & 0x41, 0x40, "{attributes:02x}");
}

#[test]
fn a_credential_for_another_key_is_refused_and_leaves_nothing() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let endorsement = tpm.endorsement().unwrap();
    let other = tpm.svid_key(&Unique([5; 32])).unwrap();
    let made = credential::make(&endorsement.public, &other.public.name(), &[3; 32]).unwrap();
    let credential = Credential {
        id_object: made.id_object,
        encrypted_secret: made.encrypted_secret,
    };
    let refused = tpm.activate(&endorsement.public, &credential);
    assert!(
        matches!(refused, Err(TpmError::CredentialRefused { .. })),
        "{refused:?}"
    );
    activate(&mut tpm).unwrap();
    drop(tpm);
    assert_eq!(machine.left_behind(), 0);
}

#[test]
fn a_connection_that_breaks_is_made_again_with_the_same_keys() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let key = tpm.svid_key(&Unique([1; 32])).unwrap();
    let mut cut = true;
    machine.proxy.set_rule(move |_, _| {
        if std::mem::take(&mut cut) {
            Fault::Cut
        } else {
            Fault::None
        }
    });
    tpm.certify(key.id, &[0; 32]).unwrap();
    machine.proxy.set_rule(|_, _| Fault::Cut);
    assert!(matches!(
        tpm.certify(key.id, &[0; 32]),
        Err(TpmError::ConnectionLost { .. })
    ));
}

/// Signs over a connection that is made anew, as after anything that the TPM lived through.
fn sign_on_a_new_connection(machine: &Machine, tpm: &mut EsysTpm, key: KeyId) -> Result<Vec<u8>, TpmError> {
    let mut cut = true;
    machine.proxy.set_rule(move |_, _| {
        if std::mem::take(&mut cut) {
            Fault::Cut
        } else {
            Fault::None
        }
    });
    tpm.sign(key, &[0; 32])
}

#[test]
fn attack_47_a_reset_tpm_does_not_get_the_last_boots_key_back() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let key = tpm.svid_key(&Unique([1; 32])).unwrap();
    machine.reset_tpm();
    let refused = sign_on_a_new_connection(&machine, &mut tpm, key.id);
    assert!(matches!(refused, Err(TpmError::KeyChanged { .. })), "{refused:?}");
}

#[test]
fn a_tpm_that_is_reset_under_an_open_connection_is_started_and_told_at_once() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let key = tpm.svid_key(&Unique([1; 32])).unwrap();
    tpm.sign(key.id, &[7; 32]).unwrap();
    let control = format!("127.0.0.1:{}", machine.swtpm.port() + 1);
    machine.tool("swtpm_ioctl", &["--tcp", &control, "-i"]);
    let refused = tpm.sign(key.id, &[7; 32]);
    assert!(matches!(refused, Err(TpmError::KeyChanged { .. })), "{refused:?}");
    // A new key is one of the new boot.
    let key = tpm.svid_key(&Unique([1; 32])).unwrap();
    tpm.sign(key.id, &[7; 32]).unwrap();
}

#[test]
fn a_tpm_with_a_new_endorsement_seed_is_told_once_and_then_taken_as_it_is() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let before = tpm.attestation_key().unwrap();
    machine.tool("tpm2_changeeps", &[]);
    let ask = |tpm: &mut EsysTpm| {
        let mut first = true;
        machine.proxy.set_rule(move |_, _| {
            if std::mem::take(&mut first) {
                Fault::Cut
            } else {
                Fault::None
            }
        });
        tpm.quote(&selection(), &[0; 32])?;
        tpm.attestation_key()
    };
    let told = ask(&mut tpm);
    assert!(matches!(told, Err(TpmError::KeyChanged { .. })), "{told:?}");
    assert_ne!(ask(&mut tpm).unwrap(), before);
}

#[test]
fn a_cleared_tpm_keeps_this_boots_keys() {
    // TPM2_Clear gives the owner's hierarchy a new seed. That of the null hierarchy ends with the boot alone.
    let machine = Machine::new();
    let mut tpm = machine.open();
    let key = tpm.svid_key(&Unique([1; 32])).unwrap();
    machine.tool("tpm2_clear", &["-c", "p"]);
    sign_on_a_new_connection(&machine, &mut tpm, key.id).unwrap();
    tpm.certify(key.id, &[0; 32]).unwrap();
}

#[test]
fn slots_that_a_killed_predecessor_filled_are_emptied() {
    let machine = Machine::new();
    for name in ["a", "b", "c"] {
        let file = format!("{}/{name}.ctx", machine.folder().display());
        machine.tool(
            "tpm2_createprimary",
            &["-C", "o", "-G", "ecc", "-g", "sha256", "-c", &file],
        );
    }
    assert_eq!(machine.left_behind(), 3);
    let mut tpm = machine.open();
    activate(&mut tpm).unwrap();
    tpm.svid_key(&Unique([1; 32])).unwrap();
    drop(tpm);
    assert_eq!(machine.left_behind(), 0);
}

#[test]
fn more_keys_than_slots_take_turns() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let keys: Vec<_> = (0..5).map(|n| tpm.svid_key(&Unique([n; 32])).unwrap()).collect();
    for key in &keys {
        tpm.certify(key.id, &[0; 32]).unwrap();
        tpm.sign(key.id, &[0; 32]).unwrap();
    }
    activate(&mut tpm).unwrap();
    drop(tpm);
    assert_eq!(machine.left_behind(), 0);
}

#[test]
fn a_machine_without_certificates_shows_its_persistent_key() {
    let machine = Machine::with(SwtpmOptions {
        ek_certificate: false,
        ..SwtpmOptions::default()
    });
    let mut tpm = machine.open();
    let endorsement = tpm.endorsement().unwrap();
    assert_eq!(endorsement.certificate, None);
    activate(&mut tpm).unwrap();
}

#[test]
fn an_ecc_only_machine_attests_with_its_p384_key() {
    let machine = Machine::new();
    // The RSA certificate is hidden; the P-384 one at 0x01c00016 is left.
    machine.proxy.set_rule(|code, command| {
        let hidden = code == NV_READ_PUBLIC && command.get(10..14) == Some(&[0x01, 0xc0, 0x00, 0x02]);
        if hidden {
            Fault::ResponseCode(0x18b)
        } else {
            Fault::None
        }
    });
    let mut tpm = machine.open();
    assert_eq!(tpm.endorsement().unwrap().public.name_alg(), HashAlg::Sha384);
    activate(&mut tpm).unwrap();
    drop(tpm);
    assert_eq!(machine.left_behind(), 0);
}

#[test]
fn a_thousand_runs_with_errors_leave_nothing_behind() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let mut count = 0_u32;
    machine.proxy.set_rule(move |code, _| {
        count += 1;
        match count % 29 {
            7 => Fault::ResponseCode(0x922),
            11 => Fault::ResponseCode(0x1c4),
            17 if code != CREATE_PRIMARY => Fault::Cut,
            23 => Fault::ResponseCode(0x902),
            27 => Fault::FlipResponse(6),
            _ => Fault::None,
        }
    });
    let (mut good, mut bad) = (0_u32, 0_u32);
    for run in 0_u32..1000 {
        let mut unique = [0; 32];
        unique[..4].copy_from_slice(&run.to_be_bytes());
        let done = tpm.svid_key(&Unique(unique)).and_then(|key| {
            let worked = tpm
                .certify(key.id, &[1; 32])
                .and_then(|_| tpm.quote(&selection(), &[1; 32]))
                .and_then(|_| if run % 10 == 0 { activate(&mut tpm) } else { Ok(()) });
            tpm.release(key.id).and(worked)
        });
        if done.is_ok() { good += 1 } else { bad += 1 }
    }
    assert!(good > 300 && bad > 100, "{good} good, {bad} bad");
    machine.proxy.clear_rule();
    drop(tpm);
    assert_eq!(machine.left_behind(), 0);
}
