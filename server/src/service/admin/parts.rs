//! The server's parts, and how each is doing.

use hallmark_api::admin;
use hallmark_hsm::State;
use hallmark_reason::{Coded as _, ReasonCode};

use crate::{authority_keeper::check_clock, state::Server};

/// One part.
#[derive(Debug)]
pub(crate) struct Part {
    name: &'static str,
    failure: Option<(ReasonCode, String)>,
}

impl Part {
    pub(crate) fn is_ok(&self) -> bool {
        self.failure.is_none()
    }

    pub(super) fn into_message(self) -> admin::Part {
        let ok = self.is_ok();
        let (code, message) = self
            .failure
            .map_or_else(Default::default, |(code, text)| (code.to_string(), text));
        admin::Part {
            name: self.name.to_owned(),
            ok,
            code,
            message,
        }
    }
}

/// Looks at every part: the store takes a write, the token signs with the authority's key, the authority is valid.
pub(crate) async fn parts(server: &Server) -> [Part; 3] {
    let token = server.keys.status();
    let (store, hsm) = tokio::join!(server.store.check(), hsm_failure(server, &token));
    let store = store.err().map(|error| (error.code(), error.to_string()));
    [
        Part {
            name: "store",
            failure: store,
        },
        Part {
            name: "hsm",
            failure: hsm,
        },
        Part {
            name: "authority",
            failure: authority_failure(server),
        },
    ]
}

/// Why the token of this status does not sign; `None` when it does.
pub(super) async fn hsm_failure(server: &Server, status: &hallmark_hsm::Status) -> Option<(ReasonCode, String)> {
    match token_failure(status) {
        None => server.probe.failure(server).await,
        failure => failure,
    }
}

/// Why the token does not serve, as far as it is known without asking it.
fn token_failure(status: &hallmark_hsm::Status) -> Option<(ReasonCode, String)> {
    if status.state == State::Ready {
        return None;
    }
    let last = status
        .last_failure
        .as_ref()
        .map(|failure| (failure.code, failure.text.clone()));
    match status.state {
        State::Refused { code } => Some(
            last.filter(|last| last.0 == code)
                .unwrap_or_else(|| (code, "the token refuses the PIN".to_owned())),
        ),
        // Without a recorded failure it is only being opened.
        _ => Some(last.unwrap_or_else(|| (ReasonCode::new("HM-SRV-0022"), "the token is being opened".to_owned()))),
    }
}

fn authority_failure(server: &Server) -> Option<(ReasonCode, String)> {
    let checked = check_clock(&server.authority.load().x509, server.clock.unix());
    checked.err().map(|error| (error.code(), error.to_string()))
}
