//! What server and agent both ask of the machine that they run on: where log lines go, what the service manager is told,
//! which files and folders nobody else may change, that nobody else reads their memory, and whether they work. What programs
//! say of a wrong command line is here too, for the operator's as well.
//!
//! It is the one room in `proto/` that does I/O (docs/decisions/0012): programs alone may know it.

mod acl;
pub mod answer;
mod folder;
mod hangup;
pub mod health;
pub mod log;
mod manual;
mod memory;
mod notify;
mod printable;
mod reload;
mod room;
mod secret;
mod settings;
pub mod usage;

pub use folder::{Foreign, Purpose, foreign, foreign_file, make_folder};
pub use hangup::{heed_hangup, heed_hangup_of};
pub use manual::write_manual;
pub use memory::keep_memory_private;
pub use notify::{notify, reloading};
pub use printable::{printable, printable_lines};
pub use reload::{InForce, LastReload, ReloadError, read_again, reloaded};
pub use room::out_of_room;
pub use secret::{SecretError, read_secret};
pub use settings::read_settings;
