//! The languages spoken on the wire: SPIRE's server APIs, the SPIFFE Workload API, gRPC health,
//! and Hallmark's own `tpm2` payloads and admin service. Generated from the files in `proto/`.
//!
//! Nothing here is believed: a message that decodes says only that it has the right shape.
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]
#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "generated code"
)]

macro_rules! package {
    ($(#[$doc:meta])* $name:ident, $package:literal) => {
        $(#[$doc])*
        pub mod $name {
            tonic::include_proto!($package);
        }
    };
}

pub mod spire {
    //! The package tree `spire.api`, as the generated code expects it.
    pub mod api {
        //! SPIRE's APIs.
        package!(/// `spire.api.types`.
            types, "spire.api.types");
        pub mod server {
            //! The server's services, one module each.
            pub mod agent {
                //! `spire.api.server.agent`.
                package!(/// Version 1.
                    v1, "spire.api.server.agent.v1");
            }
            pub mod entry {
                //! `spire.api.server.entry`.
                package!(/// Version 1.
                    v1, "spire.api.server.entry.v1");
            }
            pub mod svid {
                //! `spire.api.server.svid`.
                package!(/// Version 1.
                    v1, "spire.api.server.svid.v1");
            }
            pub mod bundle {
                //! `spire.api.server.bundle`.
                package!(/// Version 1.
                    v1, "spire.api.server.bundle.v1");
            }
            pub mod localauthority {
                //! `spire.api.server.localauthority`.
                package!(/// Version 1.
                    v1, "spire.api.server.localauthority.v1");
            }
        }
    }
}

pub use spire::api::server::agent::v1 as agent;
pub use spire::api::server::bundle::v1 as bundle;
pub use spire::api::server::entry::v1 as entry;
pub use spire::api::server::localauthority::v1 as localauthority;
pub use spire::api::server::svid::v1 as svid;
pub use spire::api::types;

package!(/// `grpc.health.v1`.
    health, "grpc.health.v1");
package!(/// `google.rpc`.
    rpc, "google.rpc");
package!(/// The SPIFFE Workload API; its .proto has no package.
    workload, "_");
package!(/// `hallmark.attest.v1`: the payloads of attestation type `tpm2`.
    attest, "hallmark.attest.v1");
package!(/// `hallmark.provision.v1`: what a machine that is installed asks and tells.
    provision, "hallmark.provision.v1");

pub mod hallmark {
    //! The package tree `hallmark`, as the generated code expects it where it names SPIRE's types.
    pub mod admin {
        //! What operators ask.
        package!(/// Version 1.
            v1, "hallmark.admin.v1");
    }
}

pub use hallmark::admin::v1 as admin;

/// The request header in which an operator says why, for the record: UTF-8, at most 1,000 characters. Binary, so that it
/// may be in any language.
pub const REASON: &str = "hallmark-reason-bin";

/// What gRPC's libraries say of a message that is larger than its reader takes: its size, and the limit. `None` where a status'
/// words are others.
#[must_use]
pub fn too_large(words: &str) -> Option<&str> {
    words.split_once("message length too large: ").map(|(_, sizes)| sizes)
}

/// The Workload API's file descriptor set, for server reflection (SPIFFE Workload Endpoint, section 7).
pub const WORKLOAD_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/workload.bin"));
