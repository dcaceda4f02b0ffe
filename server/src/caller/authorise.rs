//! The layer in front of every service.

use std::{
    convert::Infallible as Never,
    future::{Future, pending, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hallmark_host::log::LogThrottle;
use hallmark_reason::{Coded as _, Report};
use hallmark_spiffe::{
    SpiffeId,
    x509::{SerialHex, VerifiedLeaf},
};
use hallmark_state::{Node, NodeSvid, decide::use_svid};
use http::{Request, Response};
use tonic::{Status, body::Body, transport::server::UdsConnectInfo};

use super::{Caller, RoleError, Roles, access, denial, role::RoleFailure, strangers_limit};
use crate::{
    connection::TlsInfo,
    convert::{Denial, DenialReason},
    journal::{Failed, Journal, read_failed, store_failed},
    limits::{Limits, Occupant, TooManyCalls},
};

/// One for all callers: who is out may ask again and again.
static ROLE_REFUSED: LogThrottle = LogThrottle::new();
/// How long a stranger's request may take, from its headers to the answer.
const STRANGERS_TIME: Duration = Duration::from_secs(10);

/// Puts [`Authorise`] in front of a service.
#[derive(Debug, Clone)]
pub struct AuthoriseLayer {
    roles: Roles,
    limits: Arc<Limits>,
}

impl AuthoriseLayer {
    /// Lets callers through by their `roles`, and those without an SVID within the `limits`.
    #[must_use]
    pub const fn new(roles: Roles, limits: Arc<Limits>) -> Self {
        Self { roles, limits }
    }
}

impl<S> tower::Layer<S> for AuthoriseLayer {
    type Service = Authorise<S>;

    fn layer(&self, inner: S) -> Authorise<S> {
        Authorise {
            gate: self.clone(),
            inner,
        }
    }
}

/// Lets through only what the table of the API allows, with the [`Caller`] among the request's extensions.
///
/// Each request runs in a task of its own, so that a caller who hangs up does not stop it half-way.
#[derive(Debug, Clone)]
pub struct Authorise<S> {
    gate: AuthoriseLayer,
    inner: S,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> tower::Service<Request<Body>> for Authorise<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone is the one that may not be ready; the ready one goes into the task.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        // Before there is a task: what is refused costs next to nothing.
        let place = match strangers_place(&self.gate.limits, &request) {
            Ok(place) => place,
            Err(error) => return Box::pin(ready(Ok(Status::from(error).into_http()))),
        };
        let roles = self.gate.roles.clone();
        let work = async move {
            let (mut head, body) = request.into_parts();
            match roles.authorise(head.uri.path(), &head.extensions).await {
                Ok(caller) => {
                    let strangers = strangers_limit(head.uri.path()).filter(|_| caller == Caller::Anyone);
                    head.extensions.insert(caller.clone());
                    let answer = match strangers {
                        Some(limit) => bounded(&mut inner, Request::from_parts(head, body), limit, place).await,
                        None => inner.call(Request::from_parts(head, body)).await,
                    };
                    // A message may come long after its headers, and its answer long after that: nobody who was put
                    // out meanwhile hears it.
                    match roles.require_standing_judged(&caller).await {
                        Ok(()) => answer,
                        Err(status) => Ok(status.into_http()),
                    }
                }
                Err(status) => Ok(status.into_http()),
            }
        };
        Box::pin(async move {
            // Begun here, by the task that waits for it: the same worker goes on with it, and no other is woken.
            tokio::spawn(work).await.unwrap_or_else(|error| {
                tracing::error!(%error, "a request was lost");
                Ok(Status::internal("internal error").into_http())
            })
        })
    }
}

/// The place of a call by whoever shows no SVID, where such calls are counted here.
fn strangers_place(limits: &Limits, request: &Request<Body>) -> Result<Option<Occupant>, TooManyCalls> {
    let is_counted = strangers_limit(request.uri().path()).is_some();
    let info = request
        .extensions()
        .get::<TlsInfo>()
        .filter(|info| is_counted && info.peer.is_none());
    info.map(|info| limits.calls.admit(limits.origin(info.remote.ip())).ok_or(TooManyCalls))
        .transpose()
}

/// A call by a stranger, who neither makes the server hold much nor for long.
async fn bounded<S>(
    inner: &mut S,
    request: Request<Body>,
    limit: usize,
    place: Option<Occupant>,
) -> Result<Response<Body>, S::Error>
where
    S: tower::Service<Request<Body>, Response = Response<Body>>,
{
    let request = request.map(|body| Body::new(http_body_util::Limited::new(body, limit)));
    let taken_away = async {
        match &place {
            Some(place) => place.taken_away().await,
            None => pending().await,
        }
    };
    tokio::select! {
        answer = tokio::time::timeout(STRANGERS_TIME, inner.call(request)) => match answer {
            Ok(answer) => answer,
            Err(_) => Ok(Status::deadline_exceeded("the request timed out").into_http()),
        },
        () = taken_away => Ok(Status::from(TooManyCalls).into_http()),
    }
}

impl Roles {
    async fn authorise(&self, path: &str, extensions: &http::Extensions) -> Result<Caller, Status> {
        let local = extensions.get::<UdsConnectInfo>();
        let Some(access) = access(path).filter(|access| local.is_some() || !access.is_local_only()) else {
            return Err(Status::unimplemented(format!("unknown method {path}")));
        };
        let denied = |reason| {
            Status::from(Denial {
                method: path.to_owned(),
                reason,
            })
        };
        if access.anyone {
            return Ok(Caller::Anyone);
        }
        if let Some(info) = local {
            let uid = info.peer_cred.map(|peer| peer.uid());
            return if access.local {
                Ok(Caller::Local(uid))
            } else {
                Err(denied(None))
            };
        }
        let info = extensions.get::<TlsInfo>();
        let Some((info, peer)) = info.and_then(|info| Some((info, info.peer.as_deref()?))) else {
            let below = info.and_then(|info| info.below.as_deref());
            return Err(below.map_or_else(|| denied(None), |leaf| issued_below(leaf, denied(None).message())));
        };
        let now = self.journal.clock().unix();
        if now > peer.not_after {
            return Err(denied(is_agent(&peer.id).then_some(DenialReason::Expired)));
        }
        // An agent that is out is out for everything, also where the configuration makes it an administrator.
        let active = if is_agent(&peer.id) {
            let standing = agent(&self.journal, peer).await?;
            Some(standing.map_err(|reason| denied(Some(reason)))?)
        } else {
            None
        };
        match self.holder(access, info, peer, active.is_some()).await {
            Ok(Some(caller)) => return Ok(caller),
            Ok(None) => {}
            Err(RoleFailure::Store(error)) => return Err(read_failed(&error)),
            Err(RoleFailure::Refused(error)) => {
                if let Some(left_out) = ROLE_REFUSED.due(Instant::now()) {
                    let (code, id, compared) = (error.code(), &peer.id, error.compared());
                    tracing::info!(%code, %id, %error, compared, left_out, "a role was refused");
                }
                let method = denied(None);
                return Err(Status::permission_denied(format!(
                    "{}: {}",
                    method.message(),
                    Report(&error)
                )));
            }
        }
        active.filter(|_| access.agent).ok_or_else(|| denied(None))
    }
}

/// Who shows an SVID that an authority below this server's issued is nobody here, whatever its id and serial number.
fn issued_below(leaf: &VerifiedLeaf, method: &str) -> Status {
    let error = RoleError::IssuedBelow {
        id: leaf.id.clone(),
        serial: SerialHex(&leaf.serial).to_string(),
    };
    if let Some(left_out) = ROLE_REFUSED.due(Instant::now()) {
        let (code, id) = (error.code(), &leaf.id);
        tracing::warn!(%code, %id, %error, compared = error.compared(), left_out, "an SVID of a server below was refused");
    }
    Status::permission_denied(format!("{method}: {}", Report(&error)))
}

/// Ids below this are given by attestation alone; no entry can have one.
fn is_agent(id: &SpiffeId) -> bool {
    id.path().starts_with("/spire/agent/")
}

/// Whether the agent is active and shows the SVID that it is to use. One that shows its newest for the first
/// time thereby gives up the one before.
async fn agent(journal: &Journal, peer: &VerifiedLeaf) -> Result<Result<Caller, DenialReason>, Status> {
    let shown = serial(&peer.serial);
    match (standing(journal.node(&peer.id).as_deref(), shown), shown) {
        (Standing::Current, _) => return Ok(Ok(Caller::Agent(peer.id.clone()))),
        (Standing::Denied(reason), _) => return Ok(Err(reason)),
        (Standing::Next, None) => return Ok(Err(DenialReason::NotActive)),
        (Standing::Next, Some(serial)) => {
            let used = journal.decide("server", |view| Ok::<_, Never>((use_svid(view, &peer.id, serial), ())));
            match used.await {
                Ok(_) => {}
                Err(Failed::Store(error)) => return Err(store_failed(&error)),
                Err(Failed::Refused(never)) => match never {},
            }
        }
    }
    // Whatever was decided meanwhile comes first.
    Ok(match standing(journal.node(&peer.id).as_deref(), shown) {
        Standing::Denied(reason) => Err(reason),
        Standing::Current | Standing::Next => Ok(Caller::Agent(peer.id.clone())),
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Current,
    Next,
    Denied(DenialReason),
}

fn standing(row: Option<&Node>, shown: Option<u128>) -> Standing {
    let Some(row) = row else {
        return Standing::Denied(DenialReason::NotAttested);
    };
    if let Some(reason) = denial(row) {
        return Standing::Denied(reason);
    }
    let is = |svid: Option<NodeSvid>| svid.is_some_and(|svid| Some(svid.serial) == shown);
    if is(row.current) {
        Standing::Current
    } else if is(row.next) {
        Standing::Next
    } else {
        Standing::Denied(DenialReason::NotActive)
    }
}

/// A serial number as it is kept; `None` for one longer than any that this server gives.
pub(super) fn serial(bytes: &[u8]) -> Option<u128> {
    if bytes.len() > 16 {
        return None;
    }
    Some(bytes.iter().fold(0, |number, byte| (number << 8) | u128::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_state::{Appraised, Approvals, NodeState};

    fn row(current: Option<u128>, next: Option<u128>, state: NodeState) -> Node {
        let svid = |serial| NodeSvid { serial, expires_at: 9 };
        Node {
            id: SpiffeId::parse("spiffe://example.org/spire/agent/tpm2/00").unwrap(),
            attestation_type: "tpm2".into(),
            ek_sha256: None,
            ak_name: Vec::new(),
            current: current.map(svid),
            next: next.map(svid),
            selectors: std::collections::BTreeSet::new(),
            state,
            since: 0,
            approvals: Approvals::default(),
            untrusted_reason: String::new(),
            appraised: Appraised::default(),
            can_reattest: true,
            agent_version: String::new(),
            facts: String::new(),
            attested_at: 0,
        }
    }

    #[test]
    fn both_serials_stand_until_the_new_one_is_seen() {
        let row = row(Some(1), Some(2), NodeState::Active);
        assert_eq!(standing(Some(&row), Some(1)), Standing::Current);
        assert_eq!(standing(Some(&row), Some(2)), Standing::Next);
        assert_eq!(standing(Some(&row), Some(3)), Standing::Denied(DenialReason::NotActive));
        assert_eq!(standing(Some(&row), None), Standing::Denied(DenialReason::NotActive));
    }

    #[test]
    fn only_active_nodes_are_served() {
        assert_eq!(standing(None, Some(1)), Standing::Denied(DenialReason::NotAttested));
        for (state, reason) in [
            (NodeState::Banned, DenialReason::Banned),
            (NodeState::Retired, DenialReason::Banned),
            (NodeState::Suspended, DenialReason::NotActive),
            (NodeState::Pending, DenialReason::NotAttested),
            (NodeState::PreRegistered, DenialReason::NotAttested),
        ] {
            assert_eq!(
                standing(Some(&row(Some(1), None, state)), Some(1)),
                Standing::Denied(reason)
            );
        }
    }

    #[test]
    fn a_row_without_any_svid_matches_no_serial_at_all() {
        let row = row(None, None, NodeState::Active);
        assert_eq!(standing(Some(&row), None), Standing::Denied(DenialReason::NotActive));
    }

    #[test]
    fn serials_keep_all_their_sixteen_bytes() {
        assert_eq!(serial(&[1, 0]), Some(256));
        assert_eq!(serial(&[0xff; 16]), Some(u128::MAX));
        assert_eq!(serial(&[1; 17]), None);
    }
}
