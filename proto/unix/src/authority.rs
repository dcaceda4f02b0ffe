//! The `:authority` filter: it lets clients in that put a percent-encoded socket path there.
//!
//! gRPC's C core, and with it every Python, Ruby and PHP client, sends
//! `:authority: tmp%2Fagent.sock` over a unix socket. RFC 3986 has no percent-encoded host of that kind
//! for HTTP, and the HTTP/2 library under our servers resets such streams. Between a socket and its
//! server stands this filter. It looks at the first header block of a connection:
//!
//! - its `:authority` is well-formed, or there is none: the bytes pass as they came, then and for the
//!   rest of the connection. A client that changes its mind later is refused by the server itself;
//! - else every header block of the connection is decoded and written anew as never-indexed literals,
//!   with `:authority: localhost`. Since all blocks are treated alike, no dynamic table is ever out of
//!   step: the client's lives in the filter, the server's stays empty.
//!
//! Nobody takes a decision by `:authority`: a unix socket has one authority.

mod filter;
mod hpack;
mod huffman;
mod rewriter;
mod static_table;

pub use filter::AuthorityFilter;
pub use hpack::HpackError;
pub use rewriter::{Mode, RewriteError, Rewriter};
