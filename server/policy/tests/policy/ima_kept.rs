//! What policies found in IMA lists whose lines are not at hand.

use hallmark_policy::{DigestList, ImaSummary, MachineFacts, PolicySet};

use crate::ima::{file, first_line, machine, proven, rules};
use crate::machine::{now, policy};

/// The facts as they are read again, with the list's lines or without them.
pub(crate) fn stored(facts: &MachineFacts, with_lines: bool) -> MachineFacts {
    let mut read: MachineFacts = serde_json::from_str(&serde_json::to_string(facts).unwrap()).unwrap();
    let lines = &facts.ima.as_ref().unwrap().files;
    let ima = read.ima.as_mut().unwrap();
    assert!(ima.files.is_empty() && ima.kept > 0);
    if with_lines {
        let lines = serde_json::from_str(&serde_json::to_string(lines).unwrap()).unwrap();
        assert!(ima.recall(lines));
    }
    read
}

fn set_of(lines: &str) -> PolicySet {
    let mut set = PolicySet::default();
    set.apply(policy(&rules(lines)));
    set
}

#[test]
fn what_a_policy_found_in_lines_that_are_away_still_counts_and_nothing_else_does() {
    let allow = "allow = [\"$HASH1\", \"$HASH2\"]";
    for (lines, found) in [
        (vec![file("/a", 1), file("/b", 2)], "holds"),
        (vec![file("/a", 1), file("/x", 9), file("/y", 9)], "HM-POLICY-0209"),
    ] {
        let code = |set: &PolicySet, facts: &MachineFacts| {
            let result = set.judge(facts, now());
            result
                .refusal()
                .map_or("holds".to_owned(), |it| it.code.as_str().to_owned())
        };
        let set = set_of(allow);
        let mut facts = machine(&lines);
        let whole = set.judge(&facts, now());
        set.look(facts.ima.as_mut().unwrap());
        assert_eq!(set.judge(&facts, now()), whole, "looking changes no finding");

        let away = stored(&facts, false);
        assert!(!set.needs_lines(away.ima.as_ref().unwrap()));
        assert_eq!(set.judge(&away, now()), whole, "nor does it that the lines are away");
        assert_eq!(code(&set, &away), found);

        // Other rules, were they ever so like these, saw nothing yet: without the lines nothing holds.
        let others = [
            "allow = [\"$HASH1\"]",
            "allow = [\"$HASH1\", \"$HASH2\"]\nany_path = true",
            "allow = [\"$HASH1\", \"$HASH2\"]\nexclude = [\"/x\"]",
            "allow = [\"$HASH1\", \"$HASH2\"]\nbuffers = [\"x\"]",
            "allow = [\"$HASH1\", \"$HASH2\"]\nkeys = [$P256]",
            "allow = [\"$HASH1\", \"$HASH2\"]\nlists = [\"image\"]",
        ];
        for other in others.map(set_of) {
            let mut away = away.clone();
            assert!(other.needs_lines(away.ima.as_ref().unwrap()));
            let reasons = other.judge(&away, now());
            let unproven = reasons.failures().any(|it| it.code.as_str() == "HM-POLICY-0219");
            assert!(unproven, "{:?}", reasons.refusal());
            // Nor do they see anything without them; with them they do.
            other.look(away.ima.as_mut().unwrap());
            assert_eq!(other.judge(&away, now()), reasons);
            let mut back = stored(&facts, true);
            other.look(back.ima.as_mut().unwrap());
            assert!(!other.needs_lines(&stored(&back, false).ima.unwrap()));
            assert_eq!(
                other.judge(&stored(&back, false), now()),
                other.judge(&machine(&lines), now())
            );
        }
        // Rules over the list as a whole, or over nothing of it, need no lines.
        for indifferent in ["lines_at_most = 9", "violations = \"allow\""] {
            assert!(!set_of(indifferent).needs_lines(away.ima.as_ref().unwrap()));
            assert_eq!(code(&set_of(indifferent), &away), "holds");
        }
    }
}

#[test]
fn a_list_that_a_policy_names_is_part_of_its_rules() {
    let mut set = set_of("lists = [\"image\"]");
    let list = |serial, digit: u8| {
        DigestList::import("image", serial, &hex::encode([digit; 32]))
            .unwrap()
            .0
    };
    set.add_digest_list(list(1, 1));
    let mut facts = machine(&[file("/a", 1)]);
    set.look(facts.ima.as_mut().unwrap());
    let away = stored(&facts, false);
    assert!(set.judge(&away, now()).is_trusted());
    for change in [Some(list(2, 1)), Some(list(1, 2)), None] {
        let mut other = set.clone();
        match change {
            Some(list) => drop(other.add_digest_list(list)),
            None => drop(other.remove_digest_list("image")),
        }
        assert!(other.needs_lines(away.ima.as_ref().unwrap()));
        assert!(!other.judge(&away, now()).is_trusted());
    }
    set.add_digest_list(list(1, 1));
    assert!(set.judge(&away, now()).is_trusted(), "the same again");
}

#[test]
fn new_lines_alone_are_looked_at_behind_those_that_are_away() {
    let set = set_of("allow = [\"$HASH1\"]");
    let (first, more) = (
        [first_line(), file("/a", 1)],
        [file("/b", 1), file("/c", 9), file("/d", 8)],
    );
    let before = proven(None, &first);
    let mut facts = machine(&first[1..]);
    set.look(facts.ima.as_mut().unwrap());
    let mut away = stored(&facts, false);
    let mut replay = before.replay().clone();
    for (line, trusted) in more.iter().zip([true, false, false]) {
        let new = proven(Some(replay), std::slice::from_ref(line));
        replay = new.replay().clone();
        let mut ima = ImaSummary::of(away.ima.take(), &new).unwrap();
        assert_eq!(ima.files.len(), 1);
        set.look(&mut ima);
        away.ima = Some(ima);
        let result = set.judge(&away, now());
        assert_eq!(result.is_trusted(), trusted);
        if let Some(reason) = result.refusal() {
            assert_eq!(reason.first_event.as_ref().unwrap().number, 3, "the first that offends");
        }
        away = stored(&away, false);
    }
    // A line that nobody looked at is not passed over by looking at those behind it.
    let (unseen, seen) = (proven(None, &first), &more[..1]);
    let mut ima = ImaSummary::of(None, &unseen).unwrap();
    ima.files.clear();
    assert!(ima.extend(&proven(Some(unseen.replay().clone()), seen)));
    set.look(&mut ima);
    let blind = MachineFacts { ima: Some(ima), ..away };
    let code = set.judge(&blind, now()).refusal().unwrap().code;
    assert_eq!(code.as_str(), "HM-POLICY-0219");
}
