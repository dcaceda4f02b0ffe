//! The harness can fail: each fault that is built in is found within a few seeds, as the law that it breaks.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use hallmark_simulation::{Broken, Law, Setup, run, run_steps, schedule, shortest};

/// Within how many seeds each is found.
const SEEDS: u64 = 1500;

/// Whether this is a law that the fault breaks.
fn breaks(broken: Broken, found: Law) -> bool {
    // What is acknowledged too early is signed too early as well.
    found == law(broken) || (broken == Broken::AnswersBeforeFlush && found == Law::NothingUnrecordedIsSigned)
}

/// The law that each fault breaks.
fn law(broken: Broken) -> Law {
    match broken {
        Broken::IgnoresExpectations
        | Broken::SignsBeforeCommit
        | Broken::ForgetsNode
        | Broken::ForgetsEntries
        | Broken::ForgetsRules
        | Broken::ForgetsAuthority
        | Broken::ForgetsTrust
        | Broken::IgnoresStaleness => Law::NothingUnrecordedIsSigned,
        Broken::ActivatesUnpublished => Law::PublishedBeforeItSigns,
        Broken::ForgetsOtherKeepers => Law::OneSigns,
        Broken::OutlivesAuthority => Law::NothingLosesItsAuthority,
        Broken::NumbersBeforeCommit => Law::NumbersWithoutGap,
        Broken::AnswersBeforeFlush => Law::AcknowledgedIsThere,
        Broken::KeepsRefused => Law::RefusedIsNotThere,
        Broken::LosesRecord | Broken::TornSnapshot => Law::StateIsAFold,
        Broken::ReordersEvents => Law::EventsArePrefix,
        Broken::RepeatsSerials => Law::SerialOnce,
        Broken::NeverAsks | Broken::NeverCatchesUp => Law::NobodyWaitsForEver,
        Broken::RepeatsAfterLostAnswer => Law::DecidedOnce,
        Broken::NeverDoubts | Broken::KeepsDoubtfulVerdicts => Law::ClocksHeal,
        Broken::NeverLinks => Law::ListedIsOneMachine,
        Broken::ForgetsRole => Law::RolesStand,
        Broken::OneGivesBack => Law::TwoGiveBack,
        Broken::IgnoresFailOver | Broken::ComparesNumbersOnly => Law::DecidedOnThisJournal,
    }
}

fn are_found_with(servers: usize) {
    let mut wrong = Vec::new();
    for broken in Broken::ALL.into_iter().filter(|it| it.least_servers() <= servers) {
        let setup = Setup {
            servers,
            steps: 400,
            broken: Some(broken),
        };
        let mut seeds = 0..SEEDS;
        let found = seeds.find_map(|seed| Some((seed, run_steps(setup, seed, &schedule(seed, setup.steps)).err()?)));
        match found {
            None => wrong.push(format!("{broken:?} is not found within {SEEDS} seeds")),
            Some((seed, violation)) if !breaks(broken, violation.law) => {
                wrong.push(format!("{broken:?}, seed {seed}: {violation}"));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_fault_is_found_with_one_server() {
    are_found_with(1);
}

#[test]
fn each_fault_is_found_with_several_servers() {
    are_found_with(3);
}

#[test]
fn a_seed_that_fails_tells_its_shortest_schedule_and_how_to_run_it_again() {
    let setup = Setup {
        servers: 3,
        steps: 400,
        broken: Some(Broken::ForgetsNode),
    };
    let failure = (0..SEEDS).find_map(|seed| run(setup, seed).err()).unwrap();
    assert!(failure.steps.len() < 60, "{failure}");
    // It fails, and with any one step less it does not.
    let again = run_steps(setup, failure.seed, &failure.steps).unwrap_err();
    assert_eq!(again, failure.violation);
    for gone in 0..failure.steps.len() {
        let mut steps = failure.steps.clone();
        steps.remove(gone);
        let law = run_steps(setup, failure.seed, &steps).err().map(|found| found.law);
        assert_ne!(law, Some(failure.violation.law), "step {gone} could go");
    }
    let text = failure.to_string();
    let only: Vec<String> = failure.steps.iter().map(|step| step.at.to_string()).collect();
    assert!(text.contains(&format!(
        "--seed {} --servers 3 --steps 400 --only {}",
        failure.seed,
        only.join(",")
    )));
    // The control: the same seed without the fault.
    let whole = Setup { broken: None, ..setup };
    run(whole, failure.seed).unwrap();
    assert_eq!(
        shortest(setup, failure.seed, failure.steps.clone(), again).steps,
        failure.steps
    );
}
