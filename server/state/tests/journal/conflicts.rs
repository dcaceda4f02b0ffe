//! For each decision: which changes of others make it be made again, and which do not.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hallmark_node::{EkId, InventoryItem};
use hallmark_policy::signed::FileKind;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    Action, Appraised, Approvers, Change, Decision, EkCertificate, Entry, Event, FirstRequest, Manifest, Node,
    NodeFacts, NodeState, NodeSvid, Outcome, PolicyFile, State, SvidTtl, Tail, View, What,
    decide::{
        Accepted, ApprovalRules, Asker, Basis, EntryOperation, EntryWriter, Evidence, Import, NodeAsk,
        PolicyFileChange, Proven, Reappraisal, RoleHolder, accept, authorise, change_node, delete_expired, import,
        link_machines, policy_files, prove_names, put_policy_file, reappraise_page, refuse, remove, take_back,
        use_svid, wait_for_approval, write_entries,
    },
};

use crate::samples::{
    A, A2, B, NEW, NOW, SERIAL, attestation, authority, draft, eid, entry, id, line, name, new_evidence, node, node_id,
    put_entry, put_evidence, put_name, state, transaction,
};

const RULES: ApprovalRules = ApprovalRules {
    approvers: Approvers::None,
    lifetime: Duration::from_secs(3600),
};

fn put_node(ek: [u8; 32], state: NodeState) -> Change {
    Change::PutNode(Arc::new(Node { state, ..node(ek) }))
}

fn update(name: &str) -> Change {
    let state = state();
    let before = state.entries().entry(name).unwrap();
    let after = Entry {
        revision: before.revision + 1,
        ..Entry::clone(before)
    };
    Change::PutEntry {
        entry: Arc::new(after),
        replaces: Some(Arc::clone(before)),
    }
}

fn delete(name: &str) -> Change {
    Change::DeleteEntry(Arc::clone(state().entries().entry(name).unwrap()))
}

/// What others may have changed meanwhile.
pub(crate) fn changes_of_others() -> Vec<(&'static str, Change)> {
    let mut all = changes_of_nodes();
    all.extend(changes_of_entries());
    all.extend(changes_of_rules_and_inventory());
    all.extend(crate::provision::changes_of_images());
    all
}

fn changes_of_nodes() -> Vec<(&'static str, Change)> {
    let a = node_id(A);
    let facts = NodeFacts {
        node: a.clone(),
        facts: "{}".into(),
        revision: 0,
    };
    let judged = Change::PutAppraised {
        node: a.clone(),
        appraised: Appraised::default(),
    };
    let without_time = Change::PutQuoteTime {
        node: a.clone(),
        state: Arc::new(attestation(100).without_time()),
    };
    let request = |node: SpiffeId| Change::PutRequests {
        node,
        action: Action::Unban,
        requests: vec![FirstRequest {
            id: id("/ops"),
            agent: node_id(B),
            issued_at: NOW,
            at: NOW,
        }],
    };
    let role = Change::PutRoleSvid {
        serial: 1,
        agent: a.clone(),
        issued_at: NOW,
        expires_at: NOW,
    };
    vec![
        ("a banned", put_node(A, NodeState::Banned)),
        ("a evicted", Change::DeleteNode(a.clone())),
        ("a judged", judged),
        ("a attested", put_evidence(A, 150)),
        ("a's quote without time", without_time),
        ("a's facts", Change::put_facts(Arc::new(facts))),
        ("a2 attested", put_node(A2, NodeState::Active)),
        ("b banned", put_node(B, NodeState::Banned)),
        ("b attested", put_evidence(B, 150)),
        ("new waits", put_node(NEW, NodeState::Pending)),
        ("requests about a", request(a)),
        ("requests about b", request(node_id(B))),
        ("role", role),
    ]
}

fn changes_of_entries() -> Vec<(&'static str, Change)> {
    vec![
        ("web updated", update("web")),
        ("web deleted", delete("web")),
        ("child updated", update("child")),
        ("child deleted", delete("child")),
        ("expired updated", update("expired")),
        ("unrelated updated", update("unrelated")),
        ("like web created", put_entry(entry("like-web", "/web", node_id(A)))),
        ("fresh created", put_entry(entry("fresh", "/elsewhere", node_id(B)))),
        (
            "like fresh created",
            put_entry(entry("like-fresh", "/fresh", node_id(A))),
        ),
    ]
}

pub(crate) fn policy_file(name: &str) -> Arc<PolicyFile> {
    Arc::new(PolicyFile {
        kind: "policy".into(),
        name: name.to_owned(),
        serial: 1,
        payload: Vec::new(),
        signed: String::new(),
        applied_at: NOW,
        in_force: true,
    })
}

fn changes_of_rules_and_inventory() -> Vec<(&'static str, Change)> {
    let certificate = EkCertificate {
        ek_sha256: A,
        certificate: String::new(),
    };
    let rules = Change::put_rules(Arc::default(), Manifest::new([("rules".to_owned(), [9; 32])]));
    vec![
        ("rules", rules),
        ("trust", Change::put_trust(Arc::default())),
        ("policy file", Change::PutPolicyFile(policy_file("p"))),
        ("authority", Change::PutAuthority(Arc::new(authority("key2")))),
        (
            "authority's end",
            Change::DeleteAuthority {
                certificate: authority("key2").certificate,
            },
        ),
        ("bundle", Change::PutBundleSequence(2)),
        ("a's line", Change::PutInventoryLine(Arc::new(line(A)))),
        ("b's line", Change::PutInventoryLine(Arc::new(line(B)))),
        ("new's line", Change::PutInventoryLine(Arc::new(line(NEW)))),
        (
            "machines",
            Change::PutMachineEks([EkId::Spki(B), EkId::Spki(NEW)].into()),
        ),
        ("name of a", put_name(0x51, A)),
        ("name of b", put_name(0x52, B)),
        ("EK certificate", Change::put_ek_certificate(Arc::new(certificate))),
    ]
}

/// Every change of node a's row, or of what it proved.
const OF_A: [&str; 6] = [
    "a banned",
    "a evicted",
    "a judged",
    "a attested",
    "a's quote without time",
    "a's facts",
];
const OF_ENTRIES: [&str; 9] = [
    "web updated",
    "web deleted",
    "child updated",
    "child deleted",
    "expired updated",
    "unrelated updated",
    "like web created",
    "fresh created",
    "like fresh created",
];

/// The decision is made again after each of `again`, and after none of the other changes.
#[track_caller]
fn is_made_again_after(decide: impl Fn(View<'_>) -> Decision, again: &[&[&str]]) {
    let state = state();
    let decision = decide(View::new(&state));
    assert_eq!(decision.expect.revision, state.revision());
    let again: BTreeSet<&str> = again.iter().flat_map(|names| names.iter().copied()).collect();
    let mut found = BTreeSet::new();
    for (name, change) in changes_of_others() {
        let mut tail = Tail::new(state.revision());
        tail.push(state.revision() + 1, &transaction(vec![change], Vec::new()));
        if tail.conflict(&decision.expect).is_some() {
            found.insert(name);
        }
    }
    assert_eq!(found, again);
}

fn ttl() -> SvidTtl {
    SvidTtl {
        default: Duration::from_secs(3600),
        max: Duration::from_secs(3600),
    }
}

/// An intent of each entry that node a may have.
fn issued(view: View<'_>, entries: &[&str]) -> Decision {
    let entries: Vec<_> = entries.iter().map(|name| eid(name)).collect();
    let authorised = authorise(&view, &node_id(A), &entries, ttl(), NOW).unwrap();
    let intent = |grant: &Result<hallmark_state::Grant, _>| {
        let grant = grant.as_ref().ok()?;
        Some(Event::svid_intent(
            grant.spiffe_id().as_str().into(),
            1,
            NOW + 60,
            "e".into(),
            None,
        ))
    };
    let events: Vec<Event> = authorised.grants.iter().filter_map(intent).collect();
    assert_eq!(events.len(), entries.len());
    view.decide(Vec::new(), events)
}

/// The sentence that users buy: nothing is signed for a node whose ban is durable.
#[test]
fn an_svid_rests_on_the_node_the_entries_that_lead_to_it_the_rules_and_the_authority() {
    let always = ["rules", "trust", "authority", "authority's end", "bundle"];
    let of_web = ["web updated", "web deleted"];
    is_made_again_after(|view| issued(view, &["web"]), &[&OF_A, &of_web, &always]);
    // Below another entry: that one counts as well.
    let of_child = ["child updated", "child deleted"];
    is_made_again_after(|view| issued(view, &["child"]), &[&OF_A, &of_web, &of_child, &always]);
}

#[test]
fn no_svid_is_authorised_for_a_node_that_is_out_or_behind_the_rules() {
    let asked = |change: Option<Change>| {
        let mut state = state();
        if let Some(change) = change {
            state.apply(&hallmark_state::Record {
                revision: 2,
                first_event: 1,
                transaction: Arc::new(transaction(vec![change], Vec::new())),
            });
        }
        let view = View::new(&state);
        authorise(&view, &node_id(A), &[eid("web")], ttl(), NOW)
            .map(|it| it.grants.into_iter().all(|grant| grant.is_ok()))
    };
    assert_eq!(asked(None), Some(true));
    for name in ["a banned", "a evicted", "rules"] {
        let change = changes_of_others().into_iter().find(|(other, _)| *other == name);
        assert_eq!(asked(change.map(|(_, change)| change)), None, "{name}");
    }
    let deleted = asked(Some(delete("web")));
    assert_eq!(deleted, Some(false));
}

fn evidence(state: &State, clock: u64) -> Evidence {
    Evidence {
        new: Arc::new(new_evidence(A, clock)),
        state: Arc::new(attestation(clock)),
        before: state.attestation(&node_id(A)).cloned(),
        certificate: None,
    }
}

fn basis(state: &State) -> Basis {
    Basis {
        rules: state.rules().revision,
        trust: state.trust_revision(),
        inventory: Arc::clone(state.inventory()),
        ek_ids: vec![EkId::Spki(A)],
        ek_sha256: A,
        other_eks: state.listed_with(&A),
    }
}

/// Gives what `with` decides of what node a proved.
fn proven<T>(state: &State, with: impl FnOnce(Proven<'_>) -> T) -> T {
    let (node, evidence, basis) = (node_id(A), evidence(state, 200), basis(state));
    with(Proven {
        id: &node,
        attestation_type: "tpm2",
        ak_name: &[],
        selectors: &BTreeSet::new(),
        facts: "{}",
        basis: &basis,
        stale_at: None,
        evidence: &evidence,
    })
}

fn verdict(outcome: Outcome) -> Event {
    Event {
        subject: node_id(A).as_str().into(),
        outcome,
        code: "".into(),
        what: What::Refused {
            remote: "127.0.0.1:1".parse().unwrap(),
            attestation_type: "tpm2".into(),
            text: String::new(),
            compared: None,
            evidence_sha256: None,
        },
    }
}

#[test]
fn an_acceptance_rests_on_the_node_its_machine_its_line_the_rules_and_the_authority() {
    let accepted = |view: View<'_>| {
        proven(view.unprotected(), |proven| {
            let accepted = Accepted {
                proven,
                svid: NodeSvid {
                    serial: 9,
                    expires_at: NOW + 60,
                },
                authority: "key",
                events: vec![verdict(Outcome::Accepted)],
            };
            let decision = accept(view, &accepted, &RULES, NOW).unwrap();
            assert_eq!(decision.changes.len(), 2);
            decision
        })
    };
    let others = [
        "a2 attested",
        "machines",
        "a's line",
        "rules",
        "trust",
        "authority",
        "authority's end",
        "bundle",
    ];
    is_made_again_after(accepted, &[&OF_A, &others]);
}

#[test]
fn a_refusal_rests_on_the_node_alone() {
    let refused = |view: View<'_>| {
        proven(view.unprotected(), |proven| {
            refuse(view, &proven, &verdict(Outcome::Refused))
        })
    };
    is_made_again_after(refused, &[&OF_A]);
}

fn written(view: View<'_>, operation: EntryOperation<'_>, over_tls: Option<&RoleHolder>) -> Decision {
    let configured: BTreeSet<SpiffeId> = [id("/unrelated")].into();
    let by = EntryWriter {
        over_tls,
        configured: &configured,
        max_ttl: Duration::from_secs(3600),
        reason: "",
    };
    let (decision, items) = write_entries(view, &[operation], &by, NOW).unwrap();
    assert!(
        matches!(items[0], hallmark_state::decide::EntryItem::Done(_)),
        "{items:?}"
    );
    decision
}

#[test]
fn an_entry_rests_on_itself_and_on_those_that_could_say_the_same() {
    let create = |view: View<'_>| {
        let operation = EntryOperation::Create {
            draft: draft("/fresh", node_id(A)),
            id: eid("fresh"),
            is_chosen: false,
        };
        written(view, operation, None)
    };
    is_made_again_after(create, &[&["fresh created", "like fresh created"]]);
    let hint = |draft: &mut hallmark_state::EntryDraft| {
        draft.hint = "x".to_owned();
        Ok(())
    };
    let updated = |view: View<'_>, over_tls: Option<&RoleHolder>| {
        let operation = EntryOperation::Update {
            id: eid("web"),
            revise: &hint,
            is_whole: false,
        };
        written(view, operation, over_tls)
    };
    let of_web = ["web updated", "web deleted"];
    is_made_again_after(|view| updated(view, None), &[&of_web, &["like web created"]]);
    let deleted = |view: View<'_>| written(view, EntryOperation::Delete(eid("web")), None);
    is_made_again_after(deleted, &[&of_web]);
    // An administrator over TLS is one as long as its agent is served by the rules in force, and entries lead to its id.
    let holder = RoleHolder {
        id: id("/unrelated"),
        agent: node_id(B),
        issued_at: NOW,
    };
    let of_b = ["b banned", "b attested", "rules", "trust"];
    is_made_again_after(|view| updated(view, Some(&holder)), &[&OF_ENTRIES, &of_b]);
}

#[test]
fn an_expired_entry_is_deleted_unless_it_was_given_more_time() {
    let deleted = |view: View<'_>| {
        let (decision, count) = delete_expired(view, 10, NOW);
        assert_eq!(count, 1);
        decision
    };
    is_made_again_after(deleted, &[&["expired updated"]]);
}

pub(crate) fn changed(view: View<'_>, ek: [u8; 32], action: Action, over_tls: Option<&RoleHolder>) -> Decision {
    let configured: BTreeSet<SpiffeId> = [id("/unrelated")].into();
    let by = Asker {
        actor: "uid:0",
        over_tls,
        configured: &configured,
    };
    let node = node_id(ek);
    let ask = NodeAsk {
        id: &node,
        action,
        approver: Some(0),
        reason: "",
        dry_run: false,
    };
    let (decision, _) = change_node(view, &ask, &by, &RULES, NOW).unwrap();
    assert!(!decision.is_empty());
    decision
}

#[test]
fn a_step_of_a_node_rests_on_it_and_on_the_nodes_of_its_machine() {
    let ban = |view: View<'_>| changed(view, A, Action::Ban, None);
    is_made_again_after(ban, &[&OF_A, &["a2 attested", "machines", "requests about a"]]);
    // By an administrator over TLS: on the role, too.
    let holder = RoleHolder {
        id: id("/unrelated"),
        agent: node_id(B),
        issued_at: NOW,
    };
    let of_b = ["b banned", "b attested", "rules", "trust"];
    let ban = |view: View<'_>| changed(view, A, Action::Ban, Some(&holder));
    let others = ["a2 attested", "machines", "requests about a"];
    is_made_again_after(ban, &[&OF_A, &others, &OF_ENTRIES, &of_b]);
}

#[test]
fn what_is_given_back_rests_on_what_was_asked_before() {
    let mut state = state();
    state.apply(&hallmark_state::Record {
        revision: 2,
        first_event: 1,
        transaction: Arc::new(transaction(vec![put_node(A, NodeState::Banned)], Vec::new())),
    });
    let holder = RoleHolder {
        id: id("/unrelated"),
        agent: node_id(B),
        issued_at: NOW,
    };
    let decision = changed(View::new(&state), A, Action::Unban, Some(&holder));
    // Two administrators who ask at once do not miss each other.
    let mut tail = Tail::new(2);
    tail.push(3, &transaction(decision.changes.clone(), Vec::new()));
    assert!(tail.conflict(&decision.expect).is_some());
    let of = |name: &str| {
        changes_of_others()
            .into_iter()
            .find(|(other, _)| *other == name)
            .unwrap()
            .1
    };
    for (name, conflicts) in [
        ("requests about a", true),
        ("b banned", true),
        ("requests about b", false),
        ("a's line", false),
    ] {
        let mut tail = Tail::new(2);
        tail.push(3, &transaction(vec![of(name)], Vec::new()));
        assert_eq!(tail.conflict(&decision.expect).is_some(), conflicts, "{name}");
    }
}

#[test]
fn an_import_rests_on_the_inventory_and_on_the_nodes_that_it_names() {
    let lines = [InventoryItem {
        owner: "ops".into(),
        ..line(B)
    }];
    let imported = |view: View<'_>| {
        let asked = Import {
            lines: &lines,
            replace: false,
            readmit: false,
            dry_run: false,
            reason: "",
        };
        import(view, &asked, NOW).0
    };
    let of_lines = ["a's line", "b's line", "new's line"];
    let of_b = ["b banned", "b attested"];
    is_made_again_after(imported, &[&of_lines, &of_b, &["machines"]]);
    let removed = |view: View<'_>| remove(view, &[EkId::Spki(A)], "", false).unwrap().0;
    is_made_again_after(removed, &[&of_lines, &OF_A]);
}

#[test]
fn a_policy_rests_on_every_policy_and_on_the_rules() {
    let put = |view: View<'_>| {
        let change = PolicyFileChange {
            kind: FileKind::Policy,
            file: policy_file("edge"),
            act: "apply",
            set: Arc::default(),
            manifest: Manifest::default(),
            reason: "",
            replaced_signer: None,
        };
        put_policy_file(policy_files(view), &change)
    };
    is_made_again_after(put, &[&["policy file", "rules", "trust"]]);
}

#[test]
fn a_reappraisal_rests_on_the_rules_and_on_the_nodes_that_it_judged() {
    let judged = |view: View<'_>| {
        let page = [Reappraisal {
            other_eks: view.unprotected().listed_with(&A),
            node: node_id(A),
            evidence: Some(1),
            seen_at: view
                .unprotected()
                .attestation(&node_id(A))
                .map_or(0, |it| it.quote_clock.seen_at),
            result: None,
            stale_at: None,
            facts: None,
        }];
        let (decision, _) = reappraise_page(view, &page, 0, "rules");
        assert_eq!(decision.changes.len(), 1);
        decision
    };
    is_made_again_after(judged, &[&OF_A, &["rules", "trust", "machines"]]);
}

#[test]
fn an_svid_in_use_or_taken_back_rests_on_the_node() {
    let used = |view: View<'_>| {
        let decision = use_svid(view, &node_id(A), SERIAL);
        assert_eq!(decision.changes.len(), 1);
        decision
    };
    is_made_again_after(used, &[&OF_A]);
    let svid = NodeSvid {
        serial: SERIAL,
        expires_at: NOW + 3600,
    };
    is_made_again_after(|view| take_back(view, &node_id(A), svid), &[&OF_A]);
}

#[test]
fn names_rest_on_the_names_of_the_ek_and_on_the_machines() {
    let proven = |view: View<'_>| {
        let decision = prove_names(view, &A, &[name(0x60)], &name(0x52)).unwrap();
        assert_eq!(decision.changes.len(), 2);
        decision
    };
    // Another EK that shows the same AK meanwhile is found.
    is_made_again_after(proven, &[&["name of a", "name of b", "machines"]]);
}

#[test]
fn a_node_that_waits_rests_on_its_line_and_its_machine() {
    let waits = |view: View<'_>| {
        let (decision, is_remembered) = wait_for_approval(view, &node_id(NEW), &NEW, &[], "{}", NOW);
        assert!(is_remembered && decision.changes.len() == 1);
        decision
    };
    is_made_again_after(waits, &[&["new waits", "new's line", "machines"]]);
}

#[test]
fn linked_machines_rest_on_the_machines_and_their_nodes() {
    let linked = |view: View<'_>| link_machines(view, NOW).0;
    is_made_again_after(linked, &[&OF_A, &["a2 attested", "machines"]]);
}
