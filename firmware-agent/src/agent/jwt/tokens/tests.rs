use std::time::UNIX_EPOCH;

use hallmark_spiffe::TrustDomain;

use super::*;
use crate::workload_api::tests::lab::{Authority, JwtKey, snapshot, with_keys};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn wanted(user: u32, entry: &Arc<WorkloadEntry>, audience: &str) -> WantedToken {
    WantedToken {
        user,
        entry: Arc::clone(entry),
        audience: Arc::from([audience.to_owned()]),
    }
}

fn token(entry: &WorkloadEntry, key: &JwtKey) -> Arc<Token> {
    let text = Zeroizing::new("token".to_owned());
    Arc::new(Token::new(text, entry, &key.authority, at(100), 200))
}

#[test]
fn a_token_is_renewed_after_half_of_its_life_and_not_served_after_all_of_it() {
    let authority = Authority::new();
    let token = token(&authority.entry("a", 1), &JwtKey::new("key"));
    let steady = Instant::now();
    let settled = |seconds| token.is_settled(at(seconds), steady);
    assert!(settled(100) && settled(149) && !settled(150) && !settled(199));
    assert!(!settled(99), "the clock was set back");
    assert!(token.is_valid(at(199)) && !token.is_valid(at(200)));
    token.put_off(steady);
    assert!(settled(150), "the server gave none just now");
    assert!(!token.is_settled(at(150), steady + AGAIN));
    assert_eq!(format!("{token:?}"), "Token(spiffe://example.org/a, expires 200)");
}

#[test]
fn a_token_goes_with_its_entry_and_with_its_key() {
    let (authority, key) = (Authority::new(), JwtKey::new("key"));
    let (a, b) = (Arc::new(authority.entry("a", 1)), Arc::new(authority.entry("b", 2)));
    let of = |entries: &[&WorkloadEntry], keys: &[&JwtAuthority]| {
        let entries = entries.iter().copied().cloned().collect();
        with_keys(snapshot(&authority, entries), keys)
    };
    let key_of_a = Key::of(&wanted(1, &a, "db"));
    let survives = |snapshot: &Snapshot, entry: &WorkloadEntry| {
        let mut tokens = Tokens::default();
        tokens.keep(key_of_a.clone(), token(&a, &key), NOW);
        let found = tokens.find(&key_of_a, entry, snapshot).is_some();
        tokens.retain(snapshot, NOW);
        assert_eq!((tokens.held.len(), tokens.bytes > 0), (usize::from(found), found));
        found
    };
    let trusted = &key.authority;
    assert!(survives(&of(&[&a, &b], &[trusted]), &a), "the control");
    let issued = WorkloadEntry {
        x509: None,
        ..WorkloadEntry::clone(&a)
    };
    assert!(
        survives(&of(&[&issued], &[trusted]), &issued),
        "its X.509-SVID is another matter"
    );
    let changed = WorkloadEntry {
        revision: 2,
        ..WorkloadEntry::clone(&a)
    };
    let renamed = WorkloadEntry {
        spiffe_id: b.spiffe_id.clone(),
        ..WorkloadEntry::clone(&a)
    };
    for other in [&changed, &renamed] {
        assert!(!survives(&of(&[other], &[trusted]), other));
    }
    let mut tainted = trusted.clone();
    tainted.tainted = true;
    let same_id = JwtKey::new("key");
    for keys in [&[][..], &[&tainted], &[&same_id.authority]] {
        assert!(!survives(&of(&[&a], keys), &a), "{keys:?}");
    }
    let mut tokens = Tokens::default();
    tokens.keep(key_of_a.clone(), token(&a, &key), NOW);
    tokens.retain(&Snapshot::empty(TrustDomain::parse("example.org").unwrap()), NOW);
    assert!(tokens.held.is_empty(), "after a wipe nothing is left");
    tokens.keep(key_of_a, token(&a, &key), NOW);
    tokens.retain(&of(&[&a], &[trusted]), at(200));
    assert!(tokens.held.is_empty(), "nor what has ended");
}

#[test]
fn who_fetches_many_tokens_pushes_out_its_own_least_recently_used() {
    let (authority, key) = (Authority::new(), JwtKey::new("key"));
    let entry = Arc::new(authority.entry("a", 1));
    let snapshot = with_keys(
        snapshot(&authority, vec![WorkloadEntry::clone(&entry)]),
        &[&key.authority],
    );
    let mut tokens = Tokens::default();
    let find = |tokens: &mut Tokens, user, audience: &str| {
        let key = Key::of(&wanted(user, &entry, audience));
        tokens.find(&key, &entry, &snapshot).is_some()
    };
    let keep = |tokens: &mut Tokens, user, audience: &str| {
        let key_of = Key::of(&wanted(user, &entry, audience));
        tokens.keep(key_of, token(&entry, &key), NOW);
    };
    keep(&mut tokens, 1, "quiet");
    for number in 0..MOST * 2 {
        keep(&mut tokens, 2, &number.to_string());
        assert!(number == 0 || find(&mut tokens, 2, "0"), "it is used all the time");
    }
    assert_eq!(tokens.held.len(), MOST);
    assert!(find(&mut tokens, 1, "quiet"), "another user's stays");
    assert!(!find(&mut tokens, 2, "1") && find(&mut tokens, 2, "1999"));
    // Large ones: what all take is bounded too.
    let large = "x".repeat(1 << 20);
    for number in 0..64 {
        keep(&mut tokens, 3, &format!("{number}{large}"));
        let bytes: usize = tokens.held.iter().map(|(key, held)| held.bytes(key)).sum();
        assert!(bytes == tokens.bytes && bytes <= MOST_BYTES);
    }
    assert!(find(&mut tokens, 1, "quiet") && find(&mut tokens, 3, &format!("63{large}")));
}
