//! Throw-away trust domains on real parts: a SoftHSM token, swtpm TPMs with manufacturer EK certificates,
//! `hallmark-server` and `hallmark-agent`s. The demo, the end-to-end tests, the benches and the program
//! `hallmark-lab` all use it.
//!
//! It starts processes and removes only what it made itself, inside the folder that it was given.

mod api;
mod binaries;
mod boot;
mod budget;
mod clock;
mod error;
mod lab;
mod node;
mod ports;
mod process;
mod relay;
mod server;
mod softhsm;
mod swtpm;
mod tcti_proxy;
mod tpm_socket;

pub use api::{AdminClient, WorkloadClient, WorkloadRequest};
pub use binaries::{binary, hallmark};
pub use boot::RecordedBoot;
pub use budget::{Flow, count_tpm_commands};
pub use clock::MovedClock;
pub use error::LabError;
pub use lab::{Lab, LabOptions, LabReport, NodeReport, ServerReport};
pub use node::{Node, NodeOptions};
pub use process::{Process, interrupt};
pub use relay::Relay;
pub use server::Server;
pub use softhsm::Token;
pub use swtpm::{EkAuthority, Swtpm, SwtpmOptions};
pub use tcti_proxy::{Fault, TctiProxy};
pub use tpm_socket::TpmSocket;
