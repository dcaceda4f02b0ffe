//! Every rule for new and changed entries, each beside an entry that keeps it.

use std::time::Duration;

use hallmark_reason::Coded as _;
use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
use hallmark_state::{Entry, EntryDraft, EntryError, EntryId};

use crate::samples::{NOW, draft, eid, id, td};

fn check(change: impl FnOnce(&mut EntryDraft)) -> Result<Entry, EntryError> {
    let mut draft = draft();
    change(&mut draft);
    draft.validate(&td(), |known| known.as_str() == "friend.org", eid("e1"), NOW)
}

fn foreign(path: &str) -> SpiffeId {
    SpiffeId::new(&TrustDomain::parse("other.org").unwrap(), path).unwrap()
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

#[test]
fn a_good_draft_becomes_an_entry() {
    let entry = check(|draft| {
        draft.selectors = vec![selector("unix:uid:1"), selector("unix:gid:1"), selector("unix:uid:1")];
        draft.x509_svid_ttl = 60;
        draft.expires_at = NOW + 1;
        draft.federates_with = vec![TrustDomain::parse("friend.org").unwrap()];
        draft.dns_names = vec!["web.example.org".into(), "*.example.org".into(), "a".into()];
        draft.hint = "h".repeat(EntryDraft::MAX_HINT_LEN);
    })
    .unwrap();
    assert_eq!((entry.id.as_str(), entry.revision, entry.created_at), ("e1", 0, NOW));
    assert_eq!(entry.selectors.len(), 2);
    assert_eq!(
        (entry.x509_svid_ttl, entry.jwt_svid_ttl),
        (Duration::from_secs(60), Duration::ZERO)
    );
    assert_eq!(entry.expires_at, Some(NOW + 1));
    assert!(!entry.is_expired(NOW) && entry.is_expired(NOW + 1));
    assert_eq!(check(|_| {}).unwrap().expires_at, None);
}

#[test]
fn ids_are_of_this_trust_domain_with_a_path_and_not_reserved() {
    assert!(matches!(
        check(|draft| draft.spiffe_id = foreign("/web")),
        Err(EntryError::ForeignId { .. })
    ));
    assert_eq!(
        check(|draft| draft.spiffe_id = td().id()),
        Err(EntryError::IdWithoutPath)
    );
    for reserved in ["/spire", "/spire/server", "/spire/agent/tpm2/bb"] {
        assert!(matches!(
            check(|draft| draft.spiffe_id = id(reserved)),
            Err(EntryError::ReservedId { .. })
        ));
    }
    assert!(check(|draft| draft.spiffe_id = id("/spires")).is_ok());
}

#[test]
fn the_parent_is_any_member_of_the_trust_domain() {
    assert!(matches!(
        check(|draft| draft.parent_id = foreign("/a")),
        Err(EntryError::ForeignParent { .. })
    ));
    for parent in ["/spire/server", "/spire/agent/x", "/nodes/edge", ""] {
        assert!(check(|draft| draft.parent_id = id(parent)).is_ok(), "{parent}");
    }
}

#[test]
fn selectors_are_there_and_not_too_many() {
    assert_eq!(check(|draft| draft.selectors.clear()), Err(EntryError::NoSelectors));
    let many = |count: usize| {
        move |draft: &mut EntryDraft| {
            draft.selectors = (0..count).map(|n| selector(&format!("unix:uid:{n}"))).collect();
        }
    };
    assert!(check(many(EntryDraft::MAX_SELECTORS)).is_ok());
    assert_eq!(check(many(257)), Err(EntryError::TooManySelectors { count: 257 }));
}

#[test]
fn numbers_are_not_negative() {
    assert_eq!(
        check(|draft| draft.x509_svid_ttl = -1),
        Err(EntryError::NegativeTtl { seconds: -1 })
    );
    assert_eq!(
        check(|draft| draft.jwt_svid_ttl = -5),
        Err(EntryError::NegativeTtl { seconds: -5 })
    );
    assert_eq!(
        check(|draft| draft.expires_at = -1),
        Err(EntryError::NegativeExpiry { at: -1 })
    );
}

#[test]
fn wla_24_hints_of_at_most_1024_bytes() {
    let result = check(|draft| draft.hint = "h".repeat(1025));
    assert_eq!(result, Err(EntryError::HintTooLong { len: 1025 }));
}

#[test]
fn a_hint_reads_as_what_it_is() {
    let result = check(|draft| draft.hint = "admin\u{202e}bed".into());
    assert_eq!(result, Err(EntryError::HintCharacter { found: '\u{202e}' }));
    assert!(
        check(|draft| draft.hint = "Gr\u{f6}\u{df}e".into()).is_ok(),
        "the control"
    );
}

#[test]
fn dns_names_are_made_of_labels() {
    let with = |name: &str| check(|draft| draft.dns_names = vec![name.into()]);
    let label = "a".repeat(63);
    let longest = [label.as_str(), &label, &label, &"a".repeat(61)].join(".");
    assert_eq!(longest.len(), 253);
    for good in ["a", "a-b.c", "1.example.org", "*.example.org", &label, &longest] {
        assert!(with(good).is_ok(), "{good}");
    }
    let too_long = format!("{longest}a");
    let long_label = format!("{label}a");
    for bad in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "-a",
        "a-",
        "a_b",
        "a b",
        "a:80",
        "*",
        "*.",
        "a.*.b",
        "*a.b",
        "ä.org",
        &too_long,
        &long_label,
    ] {
        assert!(matches!(with(bad), Err(EntryError::DnsName { .. })), "{bad}");
    }
    let twice = check(|draft| draft.dns_names = vec!["a.org".into(), "A.org".into()]);
    assert_eq!(twice, Err(EntryError::DnsNameTwice { name: "A.org".into() }));
    let many = check(|draft| draft.dns_names = (0..257).map(|n| format!("a{n}")).collect());
    assert_eq!(many, Err(EntryError::TooManyDnsNames { count: 257 }));
}

#[test]
fn bundles_of_federated_trust_domains_are_known() {
    let with = |name: &str| check(|draft| draft.federates_with = vec![TrustDomain::parse(name).unwrap()]);
    assert!(with("friend.org").is_ok());
    assert!(matches!(with("stranger.org"), Err(EntryError::BundleUnknown { .. })));
    assert_eq!(with("example.org"), Err(EntryError::FederatesWithItself));
}

#[test]
fn stored_svids_have_selectors_of_one_type_and_are_prefetched() {
    let stored = |second: &str, lazy| {
        check(|draft| {
            draft.store_svid = true;
            draft.selectors = vec![selector("disk:path:/a"), selector(second)];
            draft.disable_x509_svid_prefetch = lazy;
        })
    };
    assert!(stored("disk:mode:600", false).is_ok());
    assert!(matches!(
        stored("unix:uid:1", false),
        Err(EntryError::StoredWithTwoKinds { .. })
    ));
    assert_eq!(stored("disk:mode:600", true), Err(EntryError::StoredWithoutPrefetch));
    assert!(check(|draft| draft.disable_x509_svid_prefetch = true).is_ok());
}

#[test]
fn entry_ids_are_short_and_plain() {
    for good in ["a", "A.b_c-1", &"x".repeat(255)] {
        assert_eq!(EntryId::parse(good).unwrap().as_str(), good);
    }
    assert_eq!(EntryId::parse(""), Err(EntryError::IdLength { len: 0 }));
    assert_eq!(EntryId::parse(&"x".repeat(256)), Err(EntryError::IdLength { len: 256 }));
    for bad in ["a b", "a/b", "ä", "a\n", "a:b"] {
        let error = EntryId::parse(bad).unwrap_err();
        assert!(matches!(error, EntryError::IdCharacter { .. }), "{bad}");
        assert_eq!(error.code().as_str(), "HM-REG-0002");
    }
}

#[test]
fn a_revision_keeps_id_and_birth() {
    let first = check(|_| {}).unwrap();
    let mut change = EntryDraft::from(&first);
    change.hint = "new".into();
    let second = change.clone().revise(&first, &td(), |_| true).unwrap();
    assert_eq!(
        (second.revision, &second.id, second.created_at),
        (1, &first.id, first.created_at)
    );
    assert_eq!(second.hint, "new");
    change.selectors.clear();
    assert_eq!(change.revise(&first, &td(), |_| true), Err(EntryError::NoSelectors));
}

#[test]
fn an_entry_makes_the_draft_that_made_it() {
    let full = check(|draft| {
        draft.x509_svid_ttl = 61;
        draft.jwt_svid_ttl = 62;
        draft.expires_at = NOW;
        draft.admin = true;
        draft.downstream = true;
        draft.hint = "x".into();
        draft.dns_names = vec!["b".into(), "a".into()];
        draft.jwt_svid_include_jti = true;
        draft.disable_x509_svid_prefetch = true;
        draft.federates_with = vec![TrustDomain::parse("friend.org").unwrap()];
    })
    .unwrap();
    assert_eq!(
        EntryDraft::from(&full)
            .validate(&td(), |_| true, full.id.clone(), NOW)
            .unwrap(),
        full
    );
}
