//! Whether a program works, for whoever watches it: over HTTP (`/live`, `/ready`, `/metrics`), for its own health check,
//! and for the service manager's watchdog.

mod ask;
mod last;
mod listener;
mod report;
mod server;
mod watchdog;

pub use ask::ask;
pub use last::{LastReport, keep_looking};
pub use listener::{Address, BindError, Listener};
pub use report::{Part, Report, State};
pub use server::{Watched, serve};
pub use watchdog::{keep_watchdog, watchdog_interval};
