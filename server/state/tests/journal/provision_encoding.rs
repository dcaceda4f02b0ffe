//! Installations as they stand in journals.

use std::sync::Arc;

use hallmark_node::EkId;
use hallmark_state::{
    Change, Event, ImageAssignment, InstallAct, InstallStage,
    journal::encoding::{decode, encode},
};

use crate::{
    provision::assignment,
    samples::{A, name, transaction},
};

/// Each stage and each step as they are in journals from now on: they stay readable, and say the same.
#[test]
fn journals_with_installations_stay_readable() {
    let stages = [
        InstallStage::Assigned,
        InstallStage::Writing { done: 7 },
        InstallStage::Written,
        InstallStage::Restarting,
        InstallStage::Done,
        InstallStage::Failed {
            code: "HM-IMAGE-0022".into(),
            reason: "no disk".into(),
        },
    ];
    let of = |(attempt, stage)| ImageAssignment {
        attempt,
        stage,
        returns: 2,
        ..assignment(EkId::Spki(A))
    };
    let all: Vec<ImageAssignment> = (1..).zip(stages).map(of).collect();
    let put = |it: &ImageAssignment| Change::PutImageAssignment(Arc::new(it.clone()));
    let mut changes: Vec<Change> = all.iter().map(put).collect();
    changes.push(Change::DeleteImageAssignment(EkId::of_name(&name(0x77)).unwrap()));
    let events = InstallAct::ALL.map(|act| Event::install_step("a", act, all.last().unwrap(), "why"));
    let bytes = encode(&[transaction(changes, events.to_vec())]);
    let seed = include_bytes!("../../../../tests/fuzz/corpus/journal/installation");
    assert!(bytes == seed);
    let read = decode(seed, &mut |_| None).unwrap();
    assert_eq!(read[0].events, events);
    let read = read[0].changes.iter().filter_map(|change| match change {
        Change::PutImageAssignment(it) => Some(ImageAssignment::clone(it)),
        _ => None,
    });
    assert_eq!(read.collect::<Vec<_>>(), all);
}
