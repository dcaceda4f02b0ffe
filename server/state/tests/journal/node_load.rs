//! How much one node may be authorised for.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hallmark_reason::Coded as _;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    Change, Entry, EntryDraft, EntryLoad, Event, Record, State, View,
    decide::{EntryItem, EntryOperation, EntryRefusal, EntryWriter, write_entries},
};

use crate::samples::{A, B, NEW, NOW, draft, eid, entry, id, node_id, put_entry, selector, state, transaction};

/// What node a has already: /web and /child; an expired one counts until it is deleted.
const HAS: usize = 3;

fn with(mut state: State, changes: Vec<Change>) -> State {
    let revision = state.revision() + 1;
    state.apply(&Record {
        revision,
        first_event: 1,
        transaction: Arc::new(transaction(changes, Vec::<Event>::new())),
    });
    state
}

/// So many entries below a parent.
fn many(name: &str, count: usize, parent: &SpiffeId) -> Vec<Change> {
    let one = entry("x", "/x", parent.clone());
    let entry = |n: usize| Entry {
        id: eid(&format!("{name}-{n}")),
        spiffe_id: id(&format!("/{name}/{n}")),
        ..one.clone()
    };
    (0..count).map(|n| put_entry(entry(n))).collect()
}

fn create<'a>(name: &str, draft: EntryDraft) -> EntryOperation<'a> {
    EntryOperation::Create {
        draft,
        id: eid(name),
        is_chosen: false,
    }
}

/// An alias of machines with this selector.
fn alias<'a>(path: &str, of: &str) -> EntryOperation<'a> {
    let draft = EntryDraft::new(id(path), id("/spire/server"), vec![selector(of)]);
    create(&path.replace('/', ""), draft)
}

/// What becomes of each: nothing, or the compared values of the refusal.
fn written(state: &State, operations: &[EntryOperation<'_>]) -> Vec<Option<String>> {
    let configured = BTreeSet::new();
    let by = EntryWriter {
        over_tls: None,
        configured: &configured,
        max_ttl: Duration::from_secs(3600),
        reason: "",
    };
    let (_, items) = write_entries(View::new(state), operations, &by, NOW).unwrap();
    let told = |item: EntryItem| match item {
        EntryItem::Done(_) => None,
        EntryItem::Refused(EntryRefusal::Rule(error)) => {
            assert_eq!(error.code().as_str(), "HM-REG-0093", "{error}");
            Some(error.compared().unwrap())
        }
        other => panic!("{other:?}"),
    };
    items.into_iter().map(told).collect()
}

fn refused(written: &[Option<String>]) -> Vec<bool> {
    written.iter().map(Option::is_some).collect()
}

#[test]
fn a_node_has_so_many_entries_and_no_more() {
    let (a, most) = (node_id(A), EntryLoad::MOST_AT_SOCKET.entries);
    let mut state = with(state(), many("some", most - HAS - 1, &a));
    let below = |name: &str, parent: SpiffeId| create(name, draft(&format!("/{name}"), parent));
    let told = written(
        &state,
        &[
            below("last", a.clone()),
            below("over", a.clone()),
            below("deeper", id("/child")),
            below("other", node_id(B)),
            below("nobody", node_id(NEW)),
        ],
    );
    assert_eq!(refused(&told), [false, true, true, false, false]);
    let words = told[1].as_deref().unwrap();
    assert!(
        words.starts_with(&format!("{a} would have {} entries of ", most + 1))
            && words.ends_with(&format!(
                "at most {most} entries and {} bytes allowed",
                EntryLoad::MOST_AT_SOCKET.bytes
            )),
        "{words}"
    );
    // What is deleted makes room, in the same batch as well; what becomes smaller, or stays as it is, needs none.
    state = with(state, many("full", 1, &a));
    let revise = |draft: &mut EntryDraft| {
        draft.admin = true;
        Ok(())
    };
    let change = EntryOperation::Update {
        id: eid("web"),
        revise: &revise,
        is_whole: false,
    };
    let told = written(
        &state,
        &[
            below("over", a.clone()),
            change,
            EntryOperation::Delete(eid("expired")),
            below("instead", a.clone()),
            below("another", a),
        ],
    );
    assert_eq!(refused(&told), [true, false, false, false, true]);
}

#[test]
fn a_node_has_so_many_bytes_and_no_more() {
    let a = node_id(A);
    let large = |n: usize| {
        let long = |m: usize| selector(&format!("unix:path:/{m}/{}", "p".repeat(8000)));
        let selectors = (0..30).map(long).collect();
        create(
            &format!("large-{n}"),
            EntryDraft::new(id(&format!("/large/{n}")), a.clone(), selectors),
        )
    };
    let operations: Vec<_> = (0..300).map(large).collect();
    let told = refused(&written(&state(), &operations));
    let taken = told.iter().filter(|refused| !**refused).count();
    assert!((260..280).contains(&taken), "{taken}");
    assert!(told.is_sorted(), "the first ones are taken");
}

#[test]
fn what_a_node_has_by_its_selectors_counts() {
    let most = EntryLoad::MOST_AT_SOCKET.entries;
    let halves = [many("rack", most / 2, &id("/rack")), many("own", most / 2, &node_id(A))].concat();
    let state = with(state(), halves);
    let simulators = "tpm2:class:simulator";
    let told = written(
        &state,
        &[
            // The alias itself is nobody's; what hangs below it comes with it.
            alias("/rack", simulators),
            alias("/rack", "tpm2:class:discrete"),
            alias("/small", simulators),
            create("below", draft("/below", id("/small"))),
        ],
    );
    assert_eq!(refused(&told), [true, false, false, false]);
    assert!(
        told[0].as_deref().unwrap().starts_with(&node_id(A).to_string()),
        "{told:?}"
    );
    // An alias that brings just enough, and then one entry more, below either.
    let rack = Entry {
        parent_id: id("/spire/server"),
        selectors: [selector(simulators)].into(),
        ..entry("alias", "/rack", id("/x"))
    };
    let first = many("own", HAS, &node_id(A)).into_iter().map(|change| match change {
        Change::PutEntry { entry, .. } => Change::DeleteEntry(entry),
        other => other,
    });
    let state = with(state, first.chain([put_entry(rack)]).collect());
    let below = |name: &str, parent: SpiffeId| create(name, draft(&format!("/{name}"), parent));
    let told = written(
        &state,
        &[
            below("over", id("/rack")),
            below("own", node_id(A)),
            below("other", node_id(B)),
        ],
    );
    assert_eq!(
        refused(&told),
        [true, true, false],
        "b has the alias, and little of its own"
    );
}

/// Where the parts are there already, small entries bring them together.
#[test]
fn what_is_brought_together_in_one_batch_counts() {
    let parts: Vec<Change> = (0..4)
        .flat_map(|n| many(&format!("part{n}"), 20_000, &id(&format!("/part{n}"))))
        .collect();
    let state = with(state(), parts);
    let attach = |n: usize, parent: SpiffeId| create(&format!("attach-{n}"), draft(&format!("/part{n}"), parent));
    let told = written(
        &state,
        &[attach(0, node_id(A)), attach(1, id("/part0")), attach(2, id("/part1"))],
    );
    assert_eq!(refused(&told), [false, false, true]);
    // The other way round: the way to the node comes last.
    let told = written(
        &state,
        &[
            attach(0, id("/way")),
            attach(1, id("/way")),
            attach(2, id("/way")),
            create("way", draft("/way", node_id(A))),
        ],
    );
    assert_eq!(refused(&told), [false, false, false, true]);
    let told = written(
        &state,
        &[attach(0, node_id(A)), attach(1, node_id(B)), attach(2, node_id(NEW))],
    );
    assert_eq!(refused(&told), [false, false, false], "the control");
}

/// A node that has the selectors of one alias has those of every alias with the same ones or fewer.
#[test]
fn aliases_that_come_together_count_together() {
    let half = EntryLoad::MOST_AT_SOCKET.entries / 2 + 1;
    let alias_of = |name: &str, of: &[&str]| Entry {
        parent_id: id("/spire/server"),
        selectors: of.iter().map(|one| selector(one)).collect(),
        ..entry(&format!("alias-{name}"), &format!("/{name}"), id("/x"))
    };
    let (team, rack) = ("inventory:owner:newteam", "inventory:label:rack");
    let parts = |one: Entry, other: Entry| {
        let [one_id, other_id] = [one.spiffe_id.clone(), other.spiffe_id.clone()];
        let below = [many("one", half, &one_id), many("other", half, &other_id)].concat();
        with(
            state(),
            below.into_iter().chain([put_entry(one), put_entry(other)]).collect(),
        )
    };
    let below = |parent: &str| create("below", draft("/below", id(parent)));
    // The same selectors, and more of them, whichever is asked for; the control has others.
    for (first, second, is_refused) in [
        (alias_of("one", &[team]), alias_of("other", &[team]), true),
        (alias_of("one", &[team]), alias_of("other", &[team, rack]), true),
        (alias_of("one", &[team, rack]), alias_of("other", &[rack]), true),
        (alias_of("one", &[team]), alias_of("other", &[rack]), false),
    ] {
        let state = parts(first, second);
        for parent in ["/one", "/other"] {
            assert_eq!(refused(&written(&state, &[below(parent)])), [is_refused], "{parent}");
        }
    }
}

#[test]
fn administrators_over_tls_have_half_of_the_room() {
    let own = entry("own", "/own", node_id(A));
    let of_another = Entry {
        over_tls: true,
        ..own.clone()
    };
    assert_eq!(EntryLoad::most_with(&own), EntryLoad::MOST_AT_SOCKET);
    assert_eq!(EntryLoad::most_with(&of_another), EntryLoad::MOST);
    assert!(EntryLoad::MOST.fits(EntryLoad::MOST_AT_SOCKET) && !EntryLoad::MOST_AT_SOCKET.fits(EntryLoad::MOST));
}

/// Of a node that has too much, an update is taken that makes none of what is too much larger.
#[test]
fn an_update_that_makes_nothing_larger_that_is_too_large_is_taken() {
    let (a, most) = (node_id(A), EntryLoad::MOST_AT_SOCKET);
    type Revise<'a> = &'a (dyn Fn(&mut EntryDraft) -> Result<(), String> + Send + Sync);
    let update = |id: &str, revise: Revise<'_>, state: &State| {
        let operation = EntryOperation::Update {
            id: eid(id),
            revise,
            is_whole: false,
        };
        written(state, &[operation]).remove(0).is_some()
    };
    let hint = |length: usize| {
        move |draft: &mut EntryDraft| {
            draft.hint = "h".repeat(length);
            Ok(())
        }
    };
    // Too many, of few bytes.
    let state_of = |changes| with(state(), changes);
    let many_entries = state_of(many("some", most.entries, &a));
    assert!(
        refused(&written(&many_entries, &[create("more", draft_below("/more", &a))]))[0],
        "the control"
    );
    assert!(
        !update("web", &hint(400), &many_entries),
        "larger in what is not too much"
    );
    // Too many bytes, in few entries.
    let large = |n: usize| {
        let one = entry("x", "/x", a.clone());
        let long = |m: usize| selector(&format!("unix:path:/{m}/{}", "p".repeat(8000)));
        put_entry(Entry {
            id: eid(&format!("large-{n}")),
            spiffe_id: id(&format!("/large/{n}")),
            selectors: (0..30).map(long).collect(),
            ..one
        })
    };
    let many_bytes = state_of((0..300).map(large).collect());
    assert!(update("web", &hint(400), &many_bytes), "larger in what is too much");
    let smaller = |draft: &mut EntryDraft| {
        draft.selectors.pop();
        draft.hint = "h".repeat(400);
        Ok(())
    };
    assert!(!update("large-7", &smaller, &many_bytes), "smaller in all");
    // Larger by itself, and no more above what hung below it.
    let mut below = vec![put_entry(entry("group", "/group", a.clone()))];
    below.extend((0..300).map(|n| match large(n) {
        Change::PutEntry { entry, .. } => put_entry(Entry {
            parent_id: id("/group"),
            ..Entry::clone(&entry)
        }),
        other => other,
    }));
    let grouped = state_of(below);
    let away = |draft: &mut EntryDraft| {
        draft.spiffe_id = id("/another-group");
        draft.hint = "h".repeat(400);
        Ok(())
    };
    assert!(!update("group", &away, &grouped), "smaller in total");
    assert!(update("group", &hint(400), &grouped), "the control");
    // And what comes to a node that has too much is refused as ever.
    let group_of_b = with(grouped, vec![put_entry(entry("b", "/b-group", node_id(B)))]);
    let below_a = |draft: &mut EntryDraft| {
        draft.parent_id = node_id(A);
        Ok(())
    };
    assert!(update("b", &below_a, &group_of_b), "moved to it");
}

fn draft_below(path: &str, parent: &SpiffeId) -> EntryDraft {
    EntryDraft::new(id(path), parent.clone(), vec![selector("unix:uid:77")])
}
