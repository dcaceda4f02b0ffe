use std::time::UNIX_EPOCH;

use zeroize::Zeroizing;

use super::*;
use crate::cache::{self, Cache, SecretBytes};

const SECOND: Duration = Duration::from_secs(1);

fn empty() -> (Workloads, Cache) {
    let td = TrustDomain::parse("example.org").unwrap();
    let (publisher, cache) = cache::channel(Snapshot::empty(td.clone()));
    (Workloads::new(td, publisher), cache)
}

fn entry(id: &str, path: &str, revision: i64) -> types::Entry {
    types::Entry {
        id: id.into(),
        spiffe_id: Some(types::Spiffeid {
            trust_domain: "example.org".into(),
            path: path.into(),
        }),
        selectors: vec![types::Selector {
            r#type: "unix".into(),
            value: "uid:0".into(),
        }],
        revision_number: revision,
        created_at: 1,
        ..types::Entry::default()
    }
}

/// What the server lists, with everything transferred.
fn listing(entries: &[types::Entry]) -> Listing {
    Listing {
        ids: entries.iter().map(|entry| entry.id.clone()).collect(),
        told: entries.to_vec(),
        ..Listing::default()
    }
}

fn material(not_after: SystemTime) -> X509Material {
    X509Material {
        chain: Bytes::from_static(b"chain"),
        key: SecretBytes::new(Zeroizing::new(vec![1])),
        not_before: UNIX_EPOCH,
        not_after,
    }
}

fn issue_all(workloads: &mut Workloads, now: SystemTime, renew_at: SystemTime, not_after: SystemTime) {
    let issued = workloads
        .take_due(now, Instant::now(), 500)
        .into_iter()
        .map(|identity| (identity, Some((material(not_after), renew_at))))
        .collect();
    workloads.install(issued, UNIX_EPOCH, Instant::now());
}

/// What would be asked for now.
fn due(workloads: &Workloads, now: SystemTime, steady: Instant) -> Vec<Arc<WorkloadEntry>> {
    let due = workloads.entries.values().filter(|held| held.is_due(now, steady));
    due.map(|held| Arc::clone(&held.entry)).collect()
}

fn served(cache: &Cache) -> Vec<(String, bool)> {
    let snapshot = cache.snapshot();
    snapshot
        .entries
        .iter()
        .map(|identity| (identity.spiffe_id.to_string(), identity.x509.is_some()))
        .collect()
}

#[test]
fn a_new_entry_is_due_at_once_and_an_issued_one_at_its_renewal() {
    let (mut workloads, cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    workloads.apply(listing(&[entry("a", "/a", 0)]));
    assert_eq!(due(&workloads, now, Instant::now()).len(), 1);
    assert_eq!(served(&cache), [("spiffe://example.org/a".to_owned(), false)]);
    issue_all(&mut workloads, now, now + 50 * SECOND, now + 100 * SECOND);
    assert_eq!(served(&cache), [("spiffe://example.org/a".to_owned(), true)]);
    assert!(due(&workloads, now + 49 * SECOND, Instant::now()).is_empty());
    assert_eq!(due(&workloads, now + 50 * SECOND, Instant::now()).len(), 1);
}

#[test]
fn an_entry_that_is_gone_takes_its_svid_along_at_once() {
    let (mut workloads, cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    workloads.apply(listing(&[entry("a", "/a", 0), entry("b", "/b", 0)]));
    issue_all(&mut workloads, now, now + 50 * SECOND, now + 100 * SECOND);
    workloads.apply(Listing {
        ids: ["b".to_owned()].into(),
        told: Vec::new(),
        ..Listing::default()
    });
    assert_eq!(served(&cache), [("spiffe://example.org/b".to_owned(), true)]);
}

#[test]
fn nothing_is_published_when_nothing_changed() {
    let (mut workloads, cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    workloads.apply(listing(&[entry("a", "/a", 0)]));
    let before = cache.snapshot().version;
    let unchanged = Listing {
        ids: ["a".to_owned()].into(),
        told: Vec::new(),
        ..Listing::default()
    };
    workloads.apply(unchanged);
    workloads.expire(now);
    workloads.install(Vec::new(), UNIX_EPOCH, Instant::now());
    assert_eq!(cache.snapshot().version, before);
    workloads.apply(listing(&[entry("a", "/a", 1)]));
    assert!(cache.snapshot().version > before);
}

#[test]
fn a_changed_entry_keeps_its_svid_only_with_its_id() {
    let (mut workloads, cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    workloads.apply(listing(&[entry("a", "/a", 0)]));
    issue_all(&mut workloads, now, now + 50 * SECOND, now + 100 * SECOND);
    workloads.apply(listing(&[entry("a", "/a", 1)]));
    assert_eq!(served(&cache), [("spiffe://example.org/a".to_owned(), true)]);
    assert_eq!(
        due(&workloads, now, Instant::now()).len(),
        1,
        "a changed entry may have another lifetime or other names"
    );
    workloads.apply(listing(&[entry("a", "/other", 2)]));
    assert_eq!(served(&cache), [("spiffe://example.org/other".to_owned(), false)]);
    assert_eq!(
        workloads.versions().of.get("a").map(|known| known.version),
        Some((2, 1))
    );
}

/// A server whose store was restored gives a version again, to other content.
#[test]
fn an_entry_is_known_by_its_content_and_not_by_its_version() {
    let (mut workloads, cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    let other = |change: fn(&mut types::Entry)| {
        let mut entry = entry("a", "/a", 1);
        change(&mut entry);
        entry
    };
    workloads.apply(listing(&[entry("a", "/a", 1)]));
    issue_all(&mut workloads, now, now + 50 * SECOND, now + 100 * SECOND);
    let before = cache.snapshot().version;
    workloads.apply(listing(&[entry("a", "/a", 1)]));
    assert_eq!(cache.snapshot().version, before, "the control: the same content");
    assert!(due(&workloads, now, Instant::now()).is_empty());
    workloads.apply(listing(&[other(|entry| {
        entry
            .selectors
            .iter_mut()
            .for_each(|selector| selector.value = "uid:1".into());
    })]));
    let snapshot = cache.snapshot();
    let selectors = &snapshot.entries.first().unwrap().selectors;
    assert_eq!(selectors, &[Selector::parse("unix:uid:1").unwrap()].into());
    issue_all(&mut workloads, now, now + 50 * SECOND, now + 100 * SECOND);
    // What the workload never sees of an entry is in its SVID.
    workloads.apply(listing(&[other(|entry| entry.dns_names = vec!["a.example".into()])]));
    assert_eq!(due(&workloads, now, Instant::now()).len(), 1);
    // One that is not served is no exception.
    let stored: fn(&mut types::Entry) = |entry| entry.store_svid = true;
    workloads.apply(listing(&[other(stored)]));
    assert!(served(&cache).is_empty());
    workloads.apply(listing(&[entry("a", "/a", 1)]));
    assert_eq!(served(&cache).len(), 1);
}

#[test]
fn an_svid_for_an_entry_that_changed_meanwhile_is_not_served() {
    let (mut workloads, cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    workloads.apply(listing(&[entry("a", "/a", 0)]));
    let asked = workloads.take_due(now, Instant::now(), 500);
    workloads.apply(listing(&[entry("a", "/other", 1)]));
    let late = asked
        .into_iter()
        .map(|identity| (identity, Some((material(now + 100 * SECOND), now + 50 * SECOND))))
        .collect();
    workloads.install(late, UNIX_EPOCH, Instant::now());
    assert_eq!(served(&cache), [("spiffe://example.org/other".to_owned(), false)]);
}

#[test]
fn what_expires_is_withdrawn_and_due_again() {
    let (mut workloads, cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    workloads.apply(listing(&[entry("a", "/a", 0)]));
    issue_all(&mut workloads, now, now + 50 * SECOND, now + 60 * SECOND);
    workloads.expire(now + 59 * SECOND);
    assert_eq!(served(&cache), [("spiffe://example.org/a".to_owned(), true)]);
    workloads.expire(now + 60 * SECOND);
    assert_eq!(served(&cache), [("spiffe://example.org/a".to_owned(), false)]);
    assert_eq!(due(&workloads, now + 60 * SECOND, Instant::now()).len(), 1);
}

#[test]
fn what_could_not_be_issued_is_tried_again_a_little_later() {
    let (mut workloads, _cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    workloads.apply(listing(&[entry("a", "/a", 0)]));
    let failed = workloads
        .take_due(now, Instant::now(), 500)
        .into_iter()
        .map(|identity| (identity, None))
        .collect();
    let steady = Instant::now();
    workloads.install(failed, UNIX_EPOCH, steady);
    assert!(due(&workloads, now, steady).is_empty());
    // However the time of day is set.
    assert!(due(&workloads, now + 7200 * SECOND, steady).is_empty());
    assert_eq!(due(&workloads, now, steady + RETRY).len(), 1);
    assert_eq!(due(&workloads, now - 50 * SECOND, steady + RETRY).len(), 1);
}

#[test]
fn entries_for_others_are_not_served_and_not_asked_for_again() {
    let (mut workloads, cache) = empty();
    let stored = types::Entry {
        store_svid: true,
        ..entry("a", "/a", 3)
    };
    let bare = types::Entry {
        selectors: Vec::new(),
        ..entry("b", "/b", 4)
    };
    workloads.apply(listing(&[stored, bare, entry("c", "/c", 5)]));
    assert_eq!(served(&cache), [("spiffe://example.org/c".to_owned(), false)]);
    let versions = workloads.versions().of;
    assert_eq!(versions.get("a").map(|known| known.version), Some((3, 1)));
    assert_eq!(versions.get("b").map(|known| known.version), Some((4, 1)));
}

#[test]
fn a_ban_leaves_nothing_and_readiness_stays() {
    let (mut workloads, cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    workloads.apply(listing(&[entry("a", "/a", 0)]));
    issue_all(&mut workloads, now, now + 50 * SECOND, now + 60 * SECOND);
    workloads.set_ready();
    workloads.wipe();
    assert!(served(&cache).is_empty());
    assert!(cache.snapshot().ready);
    assert!(workloads.versions().of.is_empty());
}

#[test]
fn a_clock_that_was_ahead_and_came_back_leaves_nobody_without_an_svid() {
    let (mut workloads, cache) = empty();
    let now = UNIX_EPOCH + 10_000 * SECOND;
    workloads.apply(listing(&[entry("a", "/a", 0), entry("b", "/b", 0)]));
    issue_all(&mut workloads, now, now + 50 * SECOND, now + 100 * SECOND);
    assert!(due(&workloads, now, Instant::now()).is_empty(), "the control");
    let ahead = now + 7200 * SECOND;
    workloads.expire(ahead);
    assert!(served(&cache).iter().all(|(_, has_svid)| !has_svid));
    // What was withdrawn then is due now, and what came from the future as well.
    assert_eq!(due(&workloads, now, Instant::now()).len(), 2);
    let early = workloads
        .take_due(ahead, Instant::now(), 500)
        .into_iter()
        .map(|identity| {
            let mut material = material(ahead + 100 * SECOND);
            material.not_before = ahead;
            (identity, Some((material, ahead + 50 * SECOND)))
        });
    let early = early.collect();
    workloads.install(early, UNIX_EPOCH, Instant::now());
    assert!(due(&workloads, ahead, Instant::now()).is_empty(), "the control");
    assert_eq!(due(&workloads, now, Instant::now()).len(), 2);
}

fn on_demand(id: &str, path: &str, revision: i64) -> types::Entry {
    types::Entry {
        additional_attributes: Some(types::entry::AdditionalAttributes {
            disable_x509_svid_prefetch: true,
            ..Default::default()
        }),
        ..entry(id, path, revision)
    }
}

#[test]
fn an_entry_that_disables_prefetching_is_asked_for_once_a_workload_does() {
    let (mut workloads, cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    let ids = [Arc::from("a"), Arc::from("of nobody")];
    workloads.apply(listing(&[on_demand("a", "/a", 0), entry("b", "/b", 0)]));
    assert_eq!(due(&workloads, now, Instant::now()).len(), 1, "the other one");
    issue_all(&mut workloads, now, now + 50 * SECOND, now + 100 * SECOND);
    assert!(due(&workloads, now, Instant::now()).is_empty());
    assert!(
        workloads.is_complete() && workloads.missing() == 0,
        "nothing is missing"
    );
    assert!(workloads.want(&ids));
    assert!(!workloads.is_complete() && cache.snapshot().entries.iter().all(|entry| entry.wanted));
    assert_eq!(due(&workloads, now, Instant::now()).len(), 1);
    let asked = workloads.take_due(now, Instant::now(), 500);
    assert!(!workloads.want(&ids), "it is asked for already");
    assert!(due(&workloads, now, Instant::now()).is_empty());
    let issued = asked.into_iter();
    let issued = issued.map(|entry| (entry, Some((material(now + 100 * SECOND), now + 50 * SECOND))));
    workloads.install(issued.collect(), UNIX_EPOCH, Instant::now());
    assert!(served(&cache).iter().all(|(_, has_svid)| *has_svid));
    assert_eq!(
        due(&workloads, now + 50 * SECOND, Instant::now()).len(),
        2,
        "from now on it is renewed"
    );
    // A changed entry is the same one.
    workloads.apply(listing(&[on_demand("a", "/other", 1), entry("b", "/b", 0)]));
    assert!(workloads.entries.get("a").unwrap().entry.wanted);
}

#[test]
fn a_renewal_that_fails_is_tried_again_before_the_svid_ends() {
    let (mut workloads, _cache) = empty();
    let (now, steady) = (UNIX_EPOCH + 100 * SECOND, Instant::now());
    workloads.apply(listing(&[entry("a", "/a", 0)]));
    // It ends in 12 seconds, and is to be renewed now.
    issue_all(&mut workloads, now, now, now + 12 * SECOND);
    let asked = workloads.take_due(now, steady, 500);
    assert_eq!(asked.len(), 1);
    workloads.put_off(&asked, 20 * SECOND, now, steady);
    assert!(due(&workloads, now, steady + 2 * SECOND).is_empty());
    assert_eq!(due(&workloads, now, steady + 3 * SECOND).len(), 1);
    // The server's refusal of this one as well.
    let refused = workloads.take_due(now, steady + 3 * SECOND, 500).into_iter();
    workloads.install(
        refused.map(|it| (it, None)).collect(),
        now + 4 * SECOND,
        steady + 4 * SECOND,
    );
    assert!(due(&workloads, now, steady + 5 * SECOND).is_empty());
    assert_eq!(due(&workloads, now, steady + 6 * SECOND).len(), 1);
}

#[test]
fn what_is_asked_for_is_not_asked_again_until_the_call_has_ended() {
    let (mut workloads, cache) = empty();
    let (now, steady) = (UNIX_EPOCH + 100 * SECOND, Instant::now());
    workloads.apply(listing(&[
        entry("a", "/a", 0),
        entry("b", "/b", 0),
        entry("c", "/c", 0),
    ]));
    let (first, second) = (workloads.take_due(now, steady, 2), workloads.take_due(now, steady, 2));
    assert_eq!((first.len(), second.len()), (2, 1));
    assert!(workloads.take_due(now, steady, 2).is_empty() && workloads.missing() == 0);
    workloads.put_off(&first, SECOND, now, steady);
    assert!(due(&workloads, now, steady).is_empty() && workloads.missing() == 2);
    assert_eq!(due(&workloads, now, steady + SECOND).len(), 2);
    // One that expires while its renewal is under way still gets what comes of that.
    let issued = |asked: Vec<Arc<WorkloadEntry>>, until| {
        let asked = asked.into_iter();
        asked.map(|entry| (entry, Some((material(until), until)))).collect()
    };
    workloads.install(issued(second, now + SECOND), UNIX_EPOCH, steady);
    let renewal = workloads.take_due(now + SECOND, steady, 1);
    workloads.expire(now + SECOND);
    workloads.install(issued(renewal, now + 9 * SECOND), UNIX_EPOCH, steady);
    assert_eq!(served(&cache).iter().filter(|(_, has_svid)| *has_svid).count(), 1);
}

/// As a workload that is served: what it may hold is used, and what is not wanted yet is asked for.
fn ask(workloads: &mut Workloads, cache: &Cache) {
    let snapshot = cache.snapshot();
    snapshot
        .entries
        .iter()
        .for_each(|entry| entry.is_used.store(true, Relaxed));
    let unwanted = snapshot.entries.iter().filter(|entry| !entry.wanted);
    let unwanted: Vec<_> = unwanted.map(|entry| Arc::clone(&entry.entry_id)).collect();
    workloads.want(&unwanted);
}

#[test]
fn an_svid_that_is_not_prefetched_ends_once_nobody_asks_for_a_lifetime() {
    let (mut workloads, cache) = empty();
    let begin = UNIX_EPOCH + 100 * SECOND;
    let on_demand = types::Entry {
        additional_attributes: Some(types::entry::AdditionalAttributes {
            disable_x509_svid_prefetch: true,
            ..Default::default()
        }),
        ..entry("a", "/a", 0)
    };
    // The control is prefetched, and nobody asks for it either.
    workloads.apply(listing(&[on_demand.clone(), entry("b", "/b", 0)]));
    let mut now = begin;
    let renew = |workloads: &mut Workloads, now: SystemTime| {
        workloads.expire(now);
        let asked = workloads.take_due(now, Instant::now(), 500);
        let ids: Vec<String> = asked.iter().map(|entry| entry.entry_id.to_string()).collect();
        let issued = asked.into_iter().map(|entry| {
            let material = material(now + 100 * SECOND);
            (entry, Some((material, now + 50 * SECOND)))
        });
        workloads.install(issued.collect(), UNIX_EPOCH, Instant::now());
        ids
    };
    assert_eq!(renew(&mut workloads, now), ["b"], "nobody has asked");
    ask(&mut workloads, &cache);
    assert_eq!(renew(&mut workloads, now), ["a"]);
    // It is renewed as long as somebody asks between two renewals.
    for _ in 0..3 {
        ask(&mut workloads, &cache);
        now += 50 * SECOND;
        assert_eq!(renew(&mut workloads, now), ["a", "b"]);
    }
    // Nobody asks: it is served to its end, and is not missing after it.
    now += 50 * SECOND;
    assert_eq!(renew(&mut workloads, now), ["b"]);
    assert!(served(&cache).iter().all(|(_, is_there)| *is_there));
    now += 50 * SECOND;
    assert_eq!(renew(&mut workloads, now), ["b"]);
    assert_eq!(
        served(&cache),
        [
            ("spiffe://example.org/a".to_owned(), false),
            ("spiffe://example.org/b".to_owned(), true)
        ]
    );
    assert_eq!((workloads.missing(), workloads.is_complete()), (0, true));
    // Somebody asks again; and who asks in the second half of its life has it renewed at once.
    ask(&mut workloads, &cache);
    assert_eq!(renew(&mut workloads, now), ["a"]);
    now += 50 * SECOND;
    assert_eq!(renew(&mut workloads, now), ["b"]);
    ask(&mut workloads, &cache);
    assert_eq!(renew(&mut workloads, now), ["a"]);
    // Nor does a change of the entry keep it for ever.
    let changed = types::Entry {
        revision_number: 1,
        ..on_demand
    };
    workloads.apply(Listing {
        ids: ["a".to_owned(), "b".to_owned()].into(),
        told: vec![changed],
        ..Listing::default()
    });
    assert_eq!(renew(&mut workloads, now), ["a"]);
    now += 50 * SECOND;
    assert_eq!(renew(&mut workloads, now), ["b"]);
}

#[test]
fn one_call_asks_for_no_more_than_fits_its_answer() {
    let (mut workloads, _cache) = empty();
    let now = UNIX_EPOCH + 100 * SECOND;
    let large = |n: usize| types::Entry {
        dns_names: (0..250)
            .map(|name| format!("{name}.{}.example", "n".repeat(230)))
            .collect(),
        ..entry(&format!("e{n:03}"), "/a", 0)
    };
    workloads.apply(listing(&(0..100).map(large).collect::<Vec<_>>()));
    let mut calls = Vec::new();
    loop {
        match workloads.take_due(now, Instant::now(), 500).len() {
            0 => break,
            asked => calls.push(asked),
        }
    }
    assert!(
        calls.len() > 1 && calls.iter().all(|asked| asked * 61_000 < 4 << 20),
        "{calls:?}"
    );
    assert_eq!(calls.iter().sum::<usize>(), 100);
    let (mut workloads, _cache) = empty();
    let small = |n: usize| entry(&format!("e{n:03}"), "/a", 0);
    workloads.apply(listing(&(0..501).map(small).collect::<Vec<_>>()));
    assert_eq!(workloads.take_due(now, Instant::now(), 500).len(), 500, "the control");
}
