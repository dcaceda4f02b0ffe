//! Attacks 15, 33 and 41: what a TPM's counters and clock rule out. Every refusal stands beside the honest sequence that
//! it differs from.

use std::time::Duration;

use hallmark_reason::Coded as _;
use hallmark_verify::history::{
    AgentRunId, AgentRuns, CLOCK_SAVED_WITHIN, Continuity, HistoryError, QuoteClock, STEP_TOLERANCE, Succession,
};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// An hour into boot 5, never resumed.
/// `now` after `last`, of an agent that runs on.
fn follow(last: &QuoteClock, now: &QuoteClock) -> Result<Succession, HistoryError> {
    AgentRuns::resume(*last).require_follows(A, now)
}

fn last() -> QuoteClock {
    QuoteClock {
        reset_count: 5,
        restart_count: 0,
        clock: 100 * HOUR,
        safe: true,
        firmware_version: 0x0007_0055,
        seen_at: 1_795_392_000_000,
    }
}

/// `last`, later by the same time on both clocks, and changed.
fn later(by: u64, change: impl FnOnce(&mut QuoteClock)) -> QuoteClock {
    let mut now = last();
    now.clock += by;
    now.seen_at += by;
    change(&mut now);
    now
}

fn saved() -> u64 {
    u64::try_from(CLOCK_SAVED_WITHIN.as_millis()).unwrap()
}

fn tolerance() -> u64 {
    u64::try_from(STEP_TOLERANCE.as_millis()).unwrap()
}

#[test]
fn honest_sequences_are_told_apart() {
    let rows: [(&str, QuoteClock, Continuity); 11] = [
        ("at once", later(0, |_| ()), Continuity::SameBoot),
        ("thirty seconds on", later(30_000, |_| ()), Continuity::SameBoot),
        ("a year on", later(365 * 24 * HOUR, |_| ()), Continuity::SameBoot),
        (
            "a fast clock",
            later(HOUR, |now| now.clock += HOUR * 15 / 100),
            Continuity::SameBoot,
        ),
        (
            "a slow answer before a fast one",
            later(0, |now| now.clock += tolerance()),
            Continuity::SameBoot,
        ),
        (
            "slept with the TPM's power on",
            later(8 * HOUR, |now| now.clock = last().clock),
            Continuity::SameBoot,
        ),
        (
            "resumed",
            later(8 * HOUR, |now| {
                now.restart_count = 1;
                now.clock = last().clock + MINUTE;
            }),
            Continuity::Resumed,
        ),
        (
            "rebooted",
            later(5 * MINUTE, |now| now.reset_count = 6),
            Continuity::Rebooted,
        ),
        (
            "rebooted after a resume: the restart count begins anew",
            later(5 * MINUTE, |now| now.reset_count = 9),
            Continuity::Rebooted,
        ),
        (
            "power failed: the clock goes on from where it was saved",
            later(5 * MINUTE, |now| {
                now.reset_count = 6;
                now.safe = false;
                now.clock = last().clock - saved();
            }),
            Continuity::Rebooted,
        ),
        (
            "power failed: the clock goes on from where it would have been saved",
            later(5 * MINUTE, |now| {
                now.reset_count = 6;
                now.clock += saved();
            }),
            Continuity::Rebooted,
        ),
    ];
    for (what, now, continuity) in rows {
        let succession = follow(&last(), &now).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(succession.continuity, continuity, "{what}");
    }
}

#[test]
fn attack_33_what_goes_back_or_jumps_is_refused() {
    let rows: [(&str, QuoteClock, &str); 10] = [
        (
            "resetCount went back",
            later(MINUTE, |now| now.reset_count = 4),
            "HM-VERIFY-0801",
        ),
        (
            "resetCount went back to zero, as after a clear",
            later(MINUTE, |now| {
                now.reset_count = 0;
                now.clock = 0;
            }),
            "HM-VERIFY-0801",
        ),
        (
            "the clock went back within a boot",
            later(MINUTE, |now| now.clock = last().clock - 1),
            "HM-VERIFY-0803",
        ),
        (
            "the clock went back over a resume",
            later(MINUTE, |now| {
                now.restart_count = 1;
                now.clock = last().clock - 1;
                now.safe = false;
            }),
            "HM-VERIFY-0803",
        ),
        (
            "the clock went back over a reboot and is called safe",
            later(MINUTE, |now| {
                now.reset_count = 6;
                now.clock = last().clock - 1;
            }),
            "HM-VERIFY-0803",
        ),
        (
            "the clock went back by more than it is saved",
            later(MINUTE, |now| {
                now.reset_count = 6;
                now.safe = false;
                now.clock = last().clock - saved() - 1;
            }),
            "HM-VERIFY-0803",
        ),
        (
            "the clock ran faster than drift allows",
            later(HOUR, |now| now.clock += HOUR * 15 / 100 + tolerance() + 1),
            "HM-VERIFY-0804",
        ),
        (
            "the clock jumped over a reboot",
            later(HOUR, |now| {
                now.reset_count = 6;
                now.clock += HOUR * 15 / 100 + tolerance() + saved() + 1;
            }),
            "HM-VERIFY-0804",
        ),
        (
            "safe turned to NO within a boot",
            later(MINUTE, |now| now.safe = false),
            "HM-VERIFY-0805",
        ),
        (
            "the firmware changed within a boot",
            later(MINUTE, |now| now.firmware_version += 1),
            "HM-VERIFY-0806",
        ),
    ];
    for (what, now, code) in rows {
        let error = follow(&last(), &now).expect_err(what);
        assert_eq!(error.code().as_str(), code, "{what}");
        assert!(error.compared().is_some() && error.likely_cause().is_some() && error.next_step().is_some());
    }
}

/// A virtual TPM that began its clock anew stays behind what it proved until it has run as long again, and each reboot
/// sends it back: only an operator's word helps, and the advice must say so.
#[test]
fn a_clock_that_went_back_is_told_with_what_helps() {
    let crashed = later(MINUTE, |now| {
        now.reset_count += 1;
        now.clock = 15_250;
    });
    let error = follow(&last(), &crashed).unwrap_err();
    assert!(error.likely_cause().unwrap().contains("crashed or lost power"));
    assert!(
        error
            .compared()
            .unwrap()
            .contains("15250 ms after a reboot, safe = YES")
    );
    let restored = later(MINUTE, |now| now.clock = last().clock - 1);
    let told_of_snapshot = follow(&last(), &restored).unwrap_err();
    assert!(!told_of_snapshot.likely_cause().unwrap().contains("crashed"));
    assert!(told_of_snapshot.compared().unwrap().contains("in the same boot"));
    for (what, error) in [("crashed", error), ("restored", told_of_snapshot)] {
        let next = error.next_step().unwrap();
        assert!(next.contains("hallmark node evict NODE"), "{what}: {next}");
        assert!(next.contains("a reboot does not help"), "{what}: {next}");
    }
    let booted_again = QuoteClock {
        reset_count: crashed.reset_count + 1,
        clock: 5_000,
        ..crashed
    };
    assert!(follow(&last(), &booted_again).is_err(), "a reboot does not help");
}

#[test]
fn attack_33_the_restart_count_does_not_shrink_within_a_boot() {
    let slept_twice = QuoteClock {
        restart_count: 2,
        ..last()
    };
    let once = later(MINUTE, |now| now.restart_count = 1);
    let error = follow(&slept_twice, &once).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-VERIFY-0802");
    let rebooted = later(MINUTE, |now| {
        now.restart_count = 1;
        now.reset_count += 1;
    });
    assert_eq!(
        follow(&slept_twice, &rebooted).unwrap().continuity,
        Continuity::Rebooted
    );
}

#[test]
fn the_limits_of_drift_are_exact() {
    let most = HOUR + HOUR * 15 / 100 + tolerance();
    let at = |ran: u64| later(HOUR, |now| now.clock = last().clock + ran);
    assert!(follow(&last(), &at(most)).is_ok());
    assert!(follow(&last(), &at(most + 1)).is_err());
}

#[test]
fn attack_41_registers_that_were_reset_show_in_the_counters() {
    // With the machine's own reset, either count grows: the log is wanted whole, and its offsets begin anew.
    for (restarts, resets) in [(1, 0), (0, 1)] {
        let now = later(MINUTE, |now| {
            now.restart_count += restarts;
            now.reset_count += resets;
        });
        let succession = follow(&last(), &now).unwrap();
        assert_ne!(succession.continuity, Continuity::SameBoot);
        assert!(!now.is_same_run(&last()));
    }
    let ran_on = later(MINUTE, |_| ());
    assert!(ran_on.is_same_run(&last()));
    assert_eq!(follow(&last(), &ran_on).unwrap().continuity, Continuity::SameBoot);
}

#[test]
fn a_firmware_update_over_a_reboot_is_told_and_a_lag_too() {
    let updated = later(8 * HOUR, |now| {
        now.reset_count += 1;
        now.firmware_version += 1;
        now.clock = last().clock + HOUR;
    });
    let succession = follow(&last(), &updated).unwrap();
    assert!(succession.firmware_changed);
    let expected = 7 * HOUR - 8 * HOUR * 15 / 100 - tolerance();
    assert_eq!(succession.lag, Duration::from_millis(expected));
    let plain = follow(&last(), &later(8 * HOUR, |_| ())).unwrap();
    assert!(!plain.firmware_changed && plain.lag.is_zero());
}

#[test]
fn a_server_whose_clock_went_back_loses_no_good_node() {
    let now = QuoteClock {
        seen_at: last().seen_at - HOUR,
        clock: last().clock + MINUTE,
        ..last()
    };
    assert_eq!(follow(&last(), &now).unwrap().continuity, Continuity::SameBoot);
    let back = QuoteClock {
        clock: last().clock - 1,
        ..now
    };
    assert!(
        follow(&last(), &back).is_err(),
        "the counters are still held against each other"
    );
}

type Change = fn(&mut QuoteClock);

#[test]
fn a_quote_whose_time_is_not_known_is_held_against_counters_and_clock_alone() {
    let ahead = later(0, |last| last.seen_at += 2 * HOUR);
    let now = later(3 * HOUR, |_| ());
    // The control: by a clock that was ahead, the TPM's seems to have run too fast.
    assert_eq!(follow(&ahead, &now).unwrap_err().code().as_str(), "HM-VERIFY-0804");
    let doubted = ahead.without_time();
    assert_eq!(follow(&doubted, &now).unwrap().continuity, Continuity::SameBoot);
    let rows: [(Change, &str); 3] = [
        (|now| now.clock = last().clock - 1, "HM-VERIFY-0803"),
        (|now| now.reset_count -= 1, "HM-VERIFY-0801"),
        (|now| now.safe = false, "HM-VERIFY-0805"),
    ];
    for (change, code) in rows {
        let refused = follow(&doubted, &later(HOUR, change)).unwrap_err();
        assert_eq!(refused.code().as_str(), code);
    }
    let mut runs = AgentRuns::resume(ahead);
    runs.observe(A, now).unwrap_err();
    runs = runs.without_time();
    runs.observe(A, now).unwrap();
    assert_eq!(runs.last(), Some(&now), "the new time is known");
}

const A: AgentRunId = AgentRunId(1);
const B: AgentRunId = AgentRunId(2);
const C: AgentRunId = AgentRunId(3);

#[test]
fn attack_15_two_machines_with_one_tpm_are_found_by_their_turns() {
    let mut runs = AgentRuns::default();
    let at = |minutes: u64| later(minutes * MINUTE, |_| ());
    assert_eq!(runs.observe(A, at(0)).unwrap().continuity, Continuity::First);
    runs.observe(A, at(1)).unwrap();
    runs.observe(B, at(2)).unwrap();
    let before = runs.clone();
    let error = runs.observe(A, at(3)).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-VERIFY-0807");
    assert_eq!(runs, before, "a refusal changes nothing");
    // The control: an agent that was started again, twice, each time in a session of its own.
    let mut restarted = AgentRuns::default();
    for (session, minute) in [(A, 0), (A, 1), (B, 2), (B, 3), (C, 4), (C, 5)] {
        restarted.observe(session, at(minute)).unwrap();
    }
}

#[test]
fn attack_15_a_copy_whose_counters_differ_is_found_at_once() {
    let mut runs = AgentRuns::resume(last());
    runs.observe(B, later(2 * MINUTE, |now| now.reset_count = 6)).unwrap();
    let error = runs.observe(C, later(3 * MINUTE, |_| ())).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-VERIFY-0801");
    runs.observe(B, later(4 * MINUTE, |now| now.reset_count = 6)).unwrap();
}

#[test]
fn what_is_remembered_of_sessions_is_bounded_and_survives_the_server() {
    let mut runs = AgentRuns::default();
    for number in 0..100 {
        runs.observe(AgentRunId(number), later(number * MINUTE, |_| ()))
            .unwrap();
    }
    let json = serde_json::to_string(&runs).unwrap();
    assert!(json.len() < 400, "{json}");
    let mut read: AgentRuns = serde_json::from_str(&json).unwrap();
    assert_eq!(read, runs);
    let error = read.observe(AgentRunId(98), later(101 * MINUTE, |_| ())).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-VERIFY-0807");
    read.observe(AgentRunId(99), later(101 * MINUTE, |_| ())).unwrap();
}
