//! The server's parts, and how each is doing.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use hallmark_host::{
    LastReload,
    health::{Part, Report, State},
    out_of_room,
};
use hallmark_hsm::KeyStore;
use hallmark_reason::{Coded as _, ReasonCode};
use hallmark_spiffe::SpiffeId;
use hallmark_store::StoreError;

use crate::{
    authority::{AuthorityAge, JwtKeeper, X509Keeper},
    journal::{DamagedNodes, EntriesLeftOut, Journal},
    listener::BoundFile,
    metrics::Reading,
    oidc,
    probe::Probe,
};

/// Looks at the server's parts.
#[derive(Debug)]
pub struct Health {
    journal: Arc<Journal>,
    keys: Arc<dyn KeyStore>,
    probe: Arc<Probe>,
    age: AuthorityAge,
    x509: Arc<X509Keeper>,
    jwt: Arc<JwtKeeper>,
    oidc: Option<Arc<oidc::Certificate>>,
    last_reload: Arc<LastReload>,
    admin_socket: BoundFile,
    store: PathBuf,
}

impl Health {
    /// The health of these parts.
    pub(crate) fn new(
        journal: Arc<Journal>,
        keys: Arc<dyn KeyStore>,
        probe: Arc<Probe>,
        (age, x509, jwt): (AuthorityAge, Arc<X509Keeper>, Arc<JwtKeeper>),
        last_reload: Arc<LastReload>,
        admin_socket: BoundFile,
        store: PathBuf,
    ) -> Self {
        Self {
            journal,
            keys,
            probe,
            age,
            x509,
            jwt,
            oidc: None,
            last_reload,
            admin_socket,
            store,
        }
    }

    /// The same, with the certificate of OpenID Connect discovery, where that is served.
    pub(crate) fn with_oidc(self, oidc: Option<Arc<oidc::Certificate>>) -> Self {
        Self { oidc, ..self }
    }

    /// Looks at every part: the store takes a write, the token signs with the authority's key, the authority is valid; and a
    /// configuration that was refused by a reload is one more part.
    pub(crate) async fn parts(&self) -> Vec<Part> {
        let token = self.keys.status();
        let (store, hsm) = tokio::join!(self.journal.store().check(), self.hsm_failure(&token));
        let store = store.and_then(|()| self.require_room());
        let hsm = hsm.map(|(code, text)| Part::with_reason("hsm", State::Failed, code, text));
        let mut parts = vec![
            Part::of("store", store.err().as_ref()),
            hsm.unwrap_or_else(|| Part::good("hsm")),
            self.authority(),
        ];
        parts.extend(self.x509_authority());
        parts.extend(self.jwt_authority());
        parts.extend(self.oidc());
        parts.extend(self.mark());
        parts.extend(self.entries());
        parts.extend(self.nodes());
        parts.extend(self.evidence());
        parts.extend(self.admin_socket());
        parts.extend(self.last_reload.part());
        parts
    }

    /// Room for what changes take; a check takes next to none. Told before the first change fails.
    fn require_room(&self) -> Result<(), StoreError> {
        match out_of_room(self.store.parent().unwrap_or(&self.store)) {
            Ok(Some(_)) => Err(StoreError::Full {
                path: self.store.clone(),
            }),
            // Nobody knows of a disk that does not say.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// That the mark beside the store was removed or replaced since the start: told until the next one.
    fn mark(&self) -> Option<Part> {
        let path = self.store.clone();
        let gone = (self.journal.store().statistics().marks_gone > 0).then_some(StoreError::MarkGone { path })?;
        Some(Part::with_reason("mark", State::Warning, gone.code(), gone.to_string()))
    }

    /// That the admin socket is gone: agents and administrators over TLS are served all the same.
    fn admin_socket(&self) -> Option<Part> {
        let gone = self.admin_socket.failure()?;
        Some(Part::with_reason(
            "admin-socket",
            State::Warning,
            gone.code(),
            gone.to_string(),
        ))
    }

    /// That the X.509 authorities are not kept as they should be: the one that signs goes on until it ends.
    fn x509_authority(&self) -> Option<Part> {
        let (code, text) = self.x509.failure()?;
        Some(Part::with_reason("x509-authority", State::Warning, code, text))
    }

    /// That the keys of JWT-SVIDs are not kept as they should be: X.509-SVIDs are issued all the same.
    fn jwt_authority(&self) -> Option<Part> {
        let (code, text) = self.jwt.failure()?;
        Some(Part::with_reason("jwt-authority", State::Warning, code, text))
    }

    /// That the certificate of OIDC discovery ends or was not taken: all else is served.
    fn oidc(&self) -> Option<Part> {
        let failure = self.oidc.as_ref()?.failure()?;
        Some(Part::with_reason(
            "oidc",
            State::Warning,
            failure.code(),
            failure.to_string(),
        ))
    }

    /// That entries are not served, where there are any; the first is named.
    fn entries(&self) -> Option<Part> {
        let state = self.journal.state();
        let left_out = state.left_out();
        let error = EntriesLeftOut::of(left_out)?;
        Some(Part::with_reason(
            "entries",
            State::Warning,
            error.code(),
            error.to_string(),
        ))
    }

    /// That nodes count as banned since their rows do not read back, where there are any; the first is named.
    fn nodes(&self) -> Option<Part> {
        let error = DamagedNodes::of(self.journal.state().damaged_nodes())?;
        Some(Part::with_reason(
            "nodes",
            State::Warning,
            error.code(),
            error.to_string(),
        ))
    }

    /// That nodes cannot be judged, where there are any; the first is named.
    fn evidence(&self) -> Option<Part> {
        let nodes = self.unjudged();
        let (first, count) = (nodes.first()?, nodes.len());
        let text = format!(
            "what is stored of {count} {} does not read back; no SVID until they attest again; the first: {first}",
            if count == 1 { "node" } else { "nodes" },
        );
        let code = ReasonCode::new("HM-SRV-0035");
        Some(Part::with_reason("evidence", State::Warning, code, text))
    }

    fn unjudged(&self) -> BTreeSet<SpiffeId> {
        let state = self.journal.state();
        let nodes = self.journal.unreadable().unjudged(&state, self.journal.clock().unix());
        let uncertified = self.journal.unreadable_certificates().untrusted(&state);
        nodes.into_iter().chain(uncertified).collect()
    }

    /// The authority can be used; and whether it is to be renewed.
    fn authority(&self) -> Part {
        match (self.age.check(), self.age.ageing()) {
            (Ok(()), Some(ageing)) => Part::with_reason("authority", State::Warning, ageing.code(), ageing.to_string()),
            (checked, _) => Part::of("authority", checked.err().as_ref()),
        }
    }

    /// What the metrics tell of the parts, with the `report` of whoever looked last.
    pub(crate) fn reading<'a>(&self, report: &'a Report) -> Reading<'a> {
        let (age, authority_left) = self.age.age();
        let (nodes, entries) = {
            let state = self.journal.state();
            (state.count_nodes(self.journal.clock().unix()), state.entries().len())
        };
        Reading {
            report,
            reload_refused: self.last_reload.part().is_some(),
            age,
            authority_left,
            nodes,
            unjudged: self.unjudged().len(),
            entries,
            hsm: self.keys.status(),
            store: self.journal.store().statistics(),
        }
    }

    /// Why the token of this status does not sign; `None` when it does.
    pub(crate) async fn hsm_failure(&self, status: &hallmark_hsm::Status) -> Option<(ReasonCode, String)> {
        match token_failure(status) {
            None => self.probe.failure().await,
            failure => failure,
        }
    }
}

/// Why the token does not serve, as far as it is known without asking it.
fn token_failure(status: &hallmark_hsm::Status) -> Option<(ReasonCode, String)> {
    if status.state == hallmark_hsm::State::Ready {
        return None;
    }
    let last = status
        .last_failure
        .as_ref()
        .map(|failure| (failure.code, failure.text.clone()));
    match status.state {
        hallmark_hsm::State::Refused { code } => Some(
            last.filter(|last| last.0 == code)
                .unwrap_or_else(|| (code, "the token is out of service".to_owned())),
        ),
        // Without a recorded failure it is only being opened.
        _ => Some(last.unwrap_or_else(|| (ReasonCode::new("HM-SRV-0022"), "the token is being opened".to_owned()))),
    }
}
