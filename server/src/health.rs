//! The server's parts, and how each is doing.

use hallmark_host::health::{Part, State};
use hallmark_reason::{Coded as _, ReasonCode};

use crate::{
    authority::{Ageing, check_clock},
    server::Server,
};

/// Looks at every part: the store takes a write, the token signs with the authority's key, the authority is valid; and a
/// configuration that was refused by a reload is one more part.
pub(crate) async fn parts(server: &Server) -> Vec<Part> {
    let token = server.keys.status();
    let (store, hsm) = tokio::join!(server.store.check(), hsm_failure(server, &token));
    let hsm = hsm.map(|(code, text)| Part::with_reason("hsm", State::Failed, code, text));
    let mut parts = vec![
        Part::of("store", store.err().as_ref()),
        hsm.unwrap_or_else(|| Part::good("hsm")),
        authority(server),
    ];
    parts.extend(server.last_reload.part());
    parts
}

/// The authority can be used; and whether it is to be renewed.
fn authority(server: &Server) -> Part {
    let checked = check_clock(&server.authority.load().x509, server.clock.unix());
    match (checked, Ageing::of(server)) {
        (Ok(()), Some(ageing)) => Part::with_reason("authority", State::Warning, ageing.code(), ageing.to_string()),
        (checked, _) => Part::of("authority", checked.err().as_ref()),
    }
}

/// Why the token of this status does not sign; `None` when it does.
pub(crate) async fn hsm_failure(server: &Server, status: &hallmark_hsm::Status) -> Option<(ReasonCode, String)> {
    match token_failure(status) {
        None => server.probe.failure(server).await,
        failure => failure,
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
                .unwrap_or_else(|| (code, "the token refuses the PIN".to_owned())),
        ),
        // Without a recorded failure it is only being opened.
        _ => Some(last.unwrap_or_else(|| (ReasonCode::new("HM-SRV-0022"), "the token is being opened".to_owned()))),
    }
}
