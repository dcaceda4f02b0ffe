//! What an import of the inventory changes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use hallmark_node::{EkId, Form, InventoryItem, read_inventory};
use hallmark_state::{InventorySnapshot, Plan};
use hallmark_verify::{
    Trust,
    testing::{SoftwareMachine, VendorCa, attest},
};

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn other(digit: char) -> String {
    HASH.replace('1', &digit.to_string())
}

#[test]
fn lines_of_eks_that_stand_in_another_line_now_go() {
    let (two, three) = (other('2'), other('3'));
    let read = |text: &str| read_inventory(format!("ek_sha256\n{text}\n").as_bytes(), Form::Csv).unwrap();
    let present = |text: &str| {
        read(text)
            .into_iter()
            .map(|line| (line.ek, line))
            .collect::<BTreeMap<_, _>>()
    };
    let key = |text: &str| EkId::parse(text).unwrap();
    let plan = Plan::of(
        &present(&format!("{HASH}\n{two}\n{three}")),
        read(&format!("{HASH};{two}")),
        false,
    );
    assert_eq!((plan.added.len(), plan.changed.len()), (0, 1));
    assert_eq!(plan.removed, [key(&two)], "and no other");
    // Apart again.
    let plan = Plan::of(&present(&format!("{HASH};{two}")), read(&two), false);
    assert_eq!((plan.added.len(), plan.removed), (1, vec![key(HASH)]));
}

#[test]
fn a_plan_says_what_changes() {
    let line = |digit: char, owner: &str| InventoryItem {
        owner: owner.into(),
        ..InventoryItem::new(EkId::parse(&other(digit)).unwrap())
    };
    let present: BTreeMap<_, _> = [line('2', "a"), line('3', "a"), line('4', "a")]
        .map(|line| (line.ek, line))
        .into();
    let file = vec![line('2', "a"), line('3', "b"), line('5', "a")];
    let plan = Plan::of(&present, file.clone(), false);
    assert_eq!(plan.added, [line('5', "a")]);
    assert_eq!(plan.changed, [line('3', "b")]);
    assert_eq!((plan.unchanged.len(), plan.removed.len()), (1, 0));
    let plan = Plan::of(&present, file, true);
    assert_eq!(plan.removed, [line('4', "a").ek]);
    assert!(!plan.is_empty());
    assert!(Plan::of(&present, present.values().cloned().collect(), true).is_empty());
}

#[test]
fn owner_and_labels_count_from_the_file_and_from_imports_and_the_import_comes_first() {
    let vendor = VendorCa::new();
    let (machine, trust) = (SoftwareMachine::new(&vendor), SoftwareMachine::trust(&vendor));
    let attested =
        |trust: &Trust| attest(&machine, trust, None, UNIX_EPOCH + Duration::from_secs(1_790_000_000)).unwrap();
    let ek = EkId::Spki(*attested(&trust).ek_sha256()).to_string();
    let read = |owner: &str, label: &str| {
        let file = format!("ek_sha256,owner,labels\n{ek},{owner},{label}\n");
        read_inventory(file.as_bytes(), Form::Csv).unwrap()
    };
    let configured = Arc::new(Trust {
        inventory: read("ops", "site=berlin").into_iter().collect(),
        ..trust
    });
    let labels = |lines: Vec<InventoryItem>| {
        let known = InventorySnapshot::new(
            &configured,
            lines.into_iter().map(|line| (line.ek, Arc::new(line))).collect(),
        );
        known.labels(&attested(&known.trust()))
    };
    let expected = |pairs: [(&str, &str); 2]| -> BTreeMap<String, String> {
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    };
    assert_eq!(labels(Vec::new()), expected([("owner", "ops"), ("site", "berlin")]));
    assert_eq!(
        labels(read("payments", "rack=7")),
        expected([("owner", "payments"), ("rack", "7")])
    );
}
