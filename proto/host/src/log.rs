//! The log: to standard error, as text for people or as one flat JSON object a line, alike in every program.
//!
//! Nobody who logs ever waits for the log, and no failure to write it ends the program: lines wait in memory, within bounds,
//! for a thread of their own; what finds no room or cannot be written is counted, and the count is told when lines can be
//! written again.

mod filter;
mod lines;
mod queue;
mod throttle;

pub use filter::{Filter, FilterError};
pub use throttle::LogThrottle;

use std::{
    io::{self, IsTerminal as _},
    sync::{Arc, OnceLock},
    time::Duration,
};

use hallmark_reason::Coded;
use tracing_subscriber::{
    Layer as _, Registry, filter::Targets, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::printable_lines;
use lines::Lines;
use queue::Queue;

/// How long the end of a program waits for its last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one flat object a line.
    Json,
}

/// The log of this process. Dropped, it writes what still waits, as far as that goes within a second.
#[derive(Debug)]
pub struct Log {
    queue: Arc<Queue>,
    filter: Option<reload::Handle<Targets, Registry>>,
}

impl Log {
    /// Starts the log. A second one in the same process changes nothing: the first one stays.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(filter: &Filter, format: Format) -> io::Result<Self> {
        let queue = Arc::clone(QUEUE.get_or_init(Arc::default));
        let (targets, handle) = reload::Layer::new(filter.targets());
        let to = Arc::clone(&queue);
        let lines = fmt::layer()
            .with_writer(move || Arc::clone(&to).line())
            // It would write to standard error by itself, and panic where that is closed.
            .log_internal_errors(false);
        let lines = match format {
            Format::Text => lines.with_ansi(io::stderr().is_terminal()).fmt_fields(Lines).boxed(),
            Format::Json => lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .boxed(),
        };
        let started = tracing_subscriber::registry().with(targets).with(lines).try_init();
        if started.is_err() {
            tracing::debug!("the log was started before");
            return Ok(Self { queue, filter: None });
        }
        queue.write_to(io::stderr())?;
        let filter = Some(handle);
        Ok(Self { queue, filter })
    }

    /// Logs by another filter from now on.
    pub fn set_filter(&self, filter: &Filter) {
        if let Some(handle) = &self.filter {
            // It fails only where the subscriber is gone, and then there is no log.
            drop(handle.reload(filter.targets()));
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.wait_written(LAST_LINES);
    }
}

/// How many lines were lost since the start.
#[must_use]
pub fn lost_lines() -> u64 {
    QUEUE.get().map_or(0, |queue| queue.lost())
}

/// Logs a fault as an error, with its code, both values, likely cause and next step as fields.
pub fn error(error: &dyn Coded) {
    tracing::error!(
        target: "hallmark",
        code = error.code().as_str(),
        compared = error.compared(),
        cause = error.likely_cause(),
        next = error.next_step(),
        "{error}"
    );
}

/// The same as a warning.
pub fn warn(error: &dyn Coded) {
    tracing::warn!(
        target: "hallmark",
        code = error.code().as_str(),
        compared = error.compared(),
        cause = error.likely_cause(),
        next = error.next_step(),
        "{error}"
    );
}

/// Writes a program's last words to standard error, which may be closed or stuck: nothing is waited for beyond a second.
pub fn say(text: String) {
    let (told, done) = std::sync::mpsc::channel();
    let write = move || {
        // Nobody is left to tell that nobody can be told.
        drop(io::Write::write_all(
            &mut io::stderr(),
            format!("{}\n", printable_lines(&text)).as_bytes(),
        ));
        let _ = told.send(());
    };
    if std::thread::Builder::new().spawn(write).is_ok() {
        let _ = done.recv_timeout(LAST_LINES);
    }
}
