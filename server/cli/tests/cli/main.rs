//! The command as a shell meets it: the real program against the services on a socket.

mod admin;
mod contract;
mod entries;
mod fake;
mod nodes;
mod refusals;
mod run;
