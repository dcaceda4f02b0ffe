//! The authorities that sign, of either kind.

use std::collections::BTreeMap;

use hallmark_api::{localauthority::AuthorityState as Message, types};
use hallmark_spiffe::x509::SigningFacts;
use hallmark_state::{AuthorityKind, AuthorityState};
use serde::Serialize;

use crate::{
    output::Show,
    table::columns,
    timestamp::{rfc3339, told},
};

/// An authority, and where it stands.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AuthorityView {
    pub(crate) key_id: String,
    /// `prepared`, `active`, `old` or `tainted`.
    state: &'static str,
    /// When the last document that it signs ends.
    expires: Option<String>,
    #[serde(skip)]
    expires_seconds: i64,
    #[serde(skip)]
    pub(crate) standing: AuthorityState,
    /// The id of the root that it hangs on, where another authority has signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
}

/// Which authorities sign, now and next, and did last.
#[derive(Debug, Default)]
pub(crate) struct Signing {
    pub(crate) active: Option<Message>,
    pub(crate) prepared: Option<Message>,
    pub(crate) old: Option<Message>,
}

impl Signing {
    /// Those that another authority has signed: the bundle has its root, and not them.
    fn below(&self) -> impl Iterator<Item = &Message> {
        let all = [&self.old, &self.active, &self.prepared].into_iter().flatten();
        all.filter(|it| !it.upstream_authority_subject_key_id.is_empty())
    }

    fn view(&self, key_id: String, is_tainted: bool, expires_at: i64) -> AuthorityView {
        let is = |message: &Option<Message>| message.as_ref().is_some_and(|it| it.authority_id == key_id);
        let standing = match () {
            () if is(&self.active) => AuthorityState::Active,
            () if is(&self.prepared) => AuthorityState::Prepared,
            () if is_tainted => AuthorityState::Tainted,
            () => AuthorityState::Old,
        };
        AuthorityView {
            key_id,
            state: standing.as_str(),
            expires: rfc3339(expires_at).filter(|_| expires_at > 0),
            expires_seconds: expires_at,
            standing,
            upstream: None,
        }
    }
}

/// All of a kind, oldest first: what the bundle has, with where it stands.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(crate) struct AuthorityList {
    pub(crate) all: Vec<AuthorityView>,
    #[serde(skip)]
    kind: AuthorityKind,
}

impl AuthorityList {
    pub(crate) fn new(kind: AuthorityKind, signing: &Signing, bundle: &types::Bundle) -> Self {
        let all = match kind {
            AuthorityKind::Jwt => {
                let keys = bundle.jwt_authorities.iter();
                keys.map(|key| signing.view(key.key_id.clone(), key.tainted, key.expires_at))
                    .collect()
            }
            AuthorityKind::X509 => x509(signing, &bundle.x509_authorities),
        };
        Self { all, kind }
    }

    pub(crate) fn in_state(&self, standing: AuthorityState) -> Option<&AuthorityView> {
        self.all.iter().find(|it| it.standing == standing)
    }
}

/// Each authority once; of one whose certificate was renewed on its key, the last end counts. What does not read is none.
fn x509(signing: &Signing, certificates: &[types::X509Certificate]) -> Vec<AuthorityView> {
    let mut ends = BTreeMap::new();
    let mut found = Vec::new();
    for certificate in certificates {
        let Ok(facts) = SigningFacts::read(&certificate.asn1) else {
            continue;
        };
        let end = ends.entry(facts.key_id.clone()).or_insert(i64::MIN);
        if *end == i64::MIN {
            found.push((facts.key_id, certificate.tainted));
        }
        *end = (*end).max(facts.not_after);
    }
    let view = |(key_id, tainted): (Vec<u8>, bool)| {
        let end = ends.get(&key_id).copied().unwrap_or_default();
        signing.view(hex::encode(&key_id), tainted, end)
    };
    let is_root = |key_id: &[u8]| {
        let id = hex::encode(key_id);
        signing.below().any(|it| it.upstream_authority_subject_key_id == id)
    };
    let own = found.into_iter().filter(|(key_id, _)| !is_root(key_id)).map(view);
    let below = signing.below().map(|it| AuthorityView {
        upstream: Some(it.upstream_authority_subject_key_id.clone()),
        ..signing.view(it.authority_id.clone(), false, it.expires_at)
    });
    own.chain(below).collect()
}

impl Show for AuthorityList {
    fn table(&self, now: i64) -> String {
        let row = |it: &AuthorityView| [it.key_id.clone(), it.state.to_owned(), told(it.expires_seconds, now)];
        if self.all.iter().any(|it| it.upstream.is_some()) {
            let with_root = |it: &AuthorityView| {
                let [key_id, state, expires] = row(it);
                [key_id, state, expires, it.upstream.clone().unwrap_or_default()]
            };
            let rows: Vec<[String; 4]> = self.all.iter().map(with_root).collect();
            return columns(["X.509 AUTHORITY", "STATE", "EXPIRES", "UPSTREAM ROOT"], &rows);
        }
        let rows: Vec<[String; 3]> = self.all.iter().map(row).collect();
        let head = match self.kind {
            AuthorityKind::X509 => "X.509 AUTHORITY",
            AuthorityKind::Jwt => "JWT AUTHORITY",
        };
        columns([head, "STATE", "EXPIRES"], &rows)
    }
}

/// A step that was taken, or would be, and what there is then.
#[derive(Debug, Serialize)]
pub(crate) struct AuthorityChange {
    /// `prepare`, `activate`, `taint`, `revoke` or `rotate`.
    act: &'static str,
    /// The authority that it is about; empty for one that would be made.
    key_id: String,
    dry_run: bool,
    authorities: AuthorityList,
}

impl AuthorityChange {
    pub(crate) const fn new(act: &'static str, key_id: String, dry_run: bool, authorities: AuthorityList) -> Self {
        Self {
            act,
            key_id,
            dry_run,
            authorities,
        }
    }
}

impl Show for AuthorityChange {
    fn table(&self, now: i64) -> String {
        let key = if self.key_id.is_empty() {
            "a new key"
        } else {
            &self.key_id
        };
        let done = if self.dry_run { "would be done" } else { "done" };
        format!("{} {key}: {done}\n\n{}", self.act, self.authorities.table(now))
    }
}
