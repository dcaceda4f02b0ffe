//! The attester against a swtpm: quotes whose values are proven by their digest, registers that move meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code beside the test functions")]

use hallmark_agent::{
    AgentError,
    attester::Attester,
    measurements::{LogPaths, Reading},
};
use hallmark_kit::{EkAuthority, Fault, Swtpm, SwtpmOptions, TctiProxy};
use hallmark_tpm::{EsysTpm, Tcti, TpmError, TpmHandle};
use hallmark_tpm_wire::{HashAlg, PcrSelection};

const PCR_READ: u32 = 0x17e;
const QUOTE: u32 = 0x158;

struct Machine {
    proxy: TctiProxy,
    attester: Attester,
    _swtpm: Swtpm,
    _folder: tempfile::TempDir,
}

fn machine(booted: bool) -> Machine {
    let folder = tempfile::tempdir().unwrap();
    let authority = EkAuthority::create(&folder.path().join("ca")).unwrap();
    let options = SwtpmOptions {
        booted,
        ..SwtpmOptions::default()
    };
    let mut swtpm = Swtpm::manufacture(folder.path(), &authority, options).unwrap();
    swtpm.power_on().unwrap();
    let proxy = TctiProxy::start(swtpm.port()).unwrap();
    let tpm = EsysTpm::open(Tcti::parse(&proxy.tcti()).unwrap()).unwrap();
    let attester = Attester::new(TpmHandle::spawn(tpm).unwrap(), false, LogPaths::default());
    Machine {
        proxy,
        attester,
        _swtpm: swtpm,
        _folder: folder,
    }
}

fn selection() -> PcrSelection {
    PcrSelection::new([(HashAlg::Sha256, [0, 1, 2, 3, 4, 5, 6, 7].as_slice())]).unwrap()
}

fn count(machine: &Machine, code: u32) -> u64 {
    machine.proxy.counts().get(&code).copied().unwrap_or(0)
}

#[tokio::test]
async fn registers_are_read_once_and_then_proven_by_the_quote() {
    let mut machine = machine(true);
    let first = machine
        .attester
        .quote(&selection(), [1; 32], &Reading::default())
        .await
        .unwrap()
        .values;
    let second = machine
        .attester
        .quote(&selection(), [2; 32], &Reading::default())
        .await
        .unwrap()
        .values;
    assert_eq!(first, second);
    assert_eq!((count(&machine, QUOTE), count(&machine, PCR_READ)), (2, 1));
}

#[tokio::test]
async fn registers_that_nothing_was_measured_into_need_no_reading() {
    let mut machine = machine(false);
    let values = machine
        .attester
        .quote(&selection(), [1; 32], &Reading::default())
        .await
        .unwrap()
        .values;
    assert_eq!(values.get(HashAlg::Sha256, 7), Some([0; 32].as_slice()));
    assert_eq!((count(&machine, QUOTE), count(&machine, PCR_READ)), (1, 0));
}

#[tokio::test]
async fn a_register_that_moves_between_quote_and_reading_is_quoted_again() {
    let mut machine = machine(true);
    let mut moves = 2;
    // The last byte of an answer to PCR_Read belongs to PCR 7.
    machine.proxy.set_rule(move |code, _| {
        if code == PCR_READ && moves > 0 {
            moves -= 1;
            return Fault::FlipResponse(10 + 4 + 10 + 4 + 8 * 34 - 1);
        }
        Fault::None
    });
    machine
        .attester
        .quote(&selection(), [1; 32], &Reading::default())
        .await
        .unwrap();
    assert_eq!((count(&machine, QUOTE), count(&machine, PCR_READ)), (3, 3));
}

#[tokio::test]
async fn registers_that_never_stand_still_are_given_up_on() {
    let mut machine = machine(true);
    machine.proxy.set_rule(|code, _| match code {
        PCR_READ => Fault::FlipResponse(10 + 4 + 10 + 4 + 8 * 34 - 1),
        _ => Fault::None,
    });
    let given_up = machine.attester.quote(&selection(), [1; 32], &Reading::default()).await;
    let moving = AgentError::from(TpmError::PcrsMoving { attempts: 5 });
    assert_eq!(given_up.unwrap_err().to_string(), moving.to_string());
}

#[tokio::test]
async fn an_attester_remembers_the_machine_and_notices_another_one() {
    let mut first = machine(true);
    let known = first.attester.identify().await.unwrap();
    let mut second = machine(true);
    second.attester.recall(known.clone(), None);
    let other = second.attester.identify().await.unwrap();
    assert_ne!(other, known);
    first.proxy.reset();
    assert_eq!(first.attester.identify().await.unwrap(), known);
    assert_eq!(first.proxy.total(), 0);
}
