//! Following the Workload API, for as long as it takes.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallmark_host::{answer::Output, log};
use hallmark_reason::Report;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{ApiError, X509Context, files::SvidFolder, hook::Hook, socket::Socket, view};

/// How long is waited before the next try, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Waits that grow from one failure to the next.
struct Backoff(Duration);

impl Backoff {
    const fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        now
    }
}

/// Follows until a signal asks to stop: each change is written, printed, and handed to the hook.
///
/// # Errors
/// When signals cannot be waited for, or stdout takes nothing. Everything else is told and tried again.
pub(super) async fn run(
    socket: Socket,
    folder: Option<SvidFolder>,
    hook: Option<Hook>,
    shown: Option<Output>,
) -> Result<(), ApiError> {
    let mut stop = [SignalKind::terminate(), SignalKind::interrupt()]
        .map(signal)
        .into_iter();
    let (Some(Ok(mut terminate)), Some(Ok(mut interrupt))) = (stop.next(), stop.next()) else {
        return Err(ApiError::Unusable {
            what: "signals cannot be waited for".into(),
        });
    };
    let (found, contexts) = watch::channel(None);
    let changes = Changes {
        contexts,
        folder,
        hook,
        shown,
    };
    tokio::select! {
        () = follow(&socket, &found) => Ok(()),
        ended = changes.take_up() => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

fn tell(error: &ApiError) {
    log::say(Report(error).to_string());
}

type Latest = Option<Arc<X509Context>>;

/// Keeps a stream open, and tells what goes wrong, each thing once.
async fn follow(socket: &Socket, found: &watch::Sender<Latest>) {
    let mut told = String::new();
    let mut pauses = Backoff::new();
    loop {
        let error = match socket.open().await {
            Err(error) => error,
            Ok(mut contexts) => loop {
                match contexts.next().await {
                    Ok(context) => {
                        (told, pauses) = (String::new(), Backoff::new());
                        found.send_replace(Some(Arc::new(context)));
                    }
                    Err(error) => break error,
                }
            },
        };
        if told != error.to_string() {
            tell(&error);
            told = error.to_string();
        }
        sleep(pauses.next()).await;
    }
}

/// What is done with each change.
struct Changes {
    contexts: watch::Receiver<Latest>,
    folder: Option<SvidFolder>,
    hook: Option<Hook>,
    shown: Option<Output>,
}

impl Changes {
    async fn take_up(mut self) -> Result<(), ApiError> {
        // Whether the workload knows of what was written: after a restart it may not.
        let mut known = false;
        let mut first = true;
        while self.contexts.changed().await.is_ok() {
            let Some(context) = self.contexts.borrow_and_update().clone() else {
                continue;
            };
            if context.federated > 0 {
                log::say(format!(
                    "bundles of {} other trust domains are not written",
                    context.federated
                ));
            }
            let changed = self.kept(&context).await;
            if let Some(output) = self.shown.filter(|_| changed || first) {
                let folder = self.folder.as_ref().map(SvidFolder::path);
                view::print(&view::change(output, &context, folder, SystemTime::now()))?;
            }
            first = false;
            known = (known && !changed) || self.call_hook(&context).await;
            self.until_next(&context).await;
        }
        Ok(())
    }

    /// Writes a change until it is written; says whether anything changed. What is newer by then is taken up instead.
    async fn kept(&self, context: &X509Context) -> bool {
        let Some(folder) = &self.folder else {
            return true;
        };
        let mut pauses = Backoff::new();
        loop {
            match folder.write(context) {
                Ok(changed) => return changed,
                Err(error) => tell(&error),
            }
            if self.superseded(pauses.next()).await {
                return false;
            }
        }
    }

    /// Runs the hook until it succeeds, or a newer change is there; says whether it did.
    async fn call_hook(&self, context: &X509Context) -> bool {
        let (Some(hook), Some(folder), Some(svid)) = (&self.hook, &self.folder, context.default_svid()) else {
            return true;
        };
        let mut pauses = Backoff::new();
        while let Err(detail) = hook.run(folder.path(), svid.id.as_str()).await {
            let pause = pauses.next();
            tell(&ApiError::Hook {
                command: hook.command.clone(),
                detail,
                again: pause.as_secs(),
            });
            if self.superseded(pause).await {
                return false;
            }
        }
        true
    }

    /// Waits; true as soon as a newer change is there.
    async fn superseded(&self, pause: Duration) -> bool {
        let mut contexts = self.contexts.clone();
        tokio::select! {
            changed = contexts.changed() => changed.is_ok(),
            () = sleep(pause) => false,
        }
    }

    /// Waits for the next change, and tells when what is held expires before it.
    async fn until_next(&self, context: &X509Context) {
        let Some(svid) = context.default_svid() else {
            return;
        };
        let left = svid.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        let mut contexts = self.contexts.clone();
        tokio::select! {
            _ = contexts.changed() => {}
            () = sleep_until(Instant::now() + left) => tell(&ApiError::Expired {
                id: svid.id.to_string(),
                at: view::time(svid.not_after),
            }),
        }
    }
}
