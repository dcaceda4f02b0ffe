//! What a machine booted, as far as quoted registers prove it.

mod facts;

pub use facts::{
    Authority, BootEvent, BootFacts, CertificateRef, EventAuthentication, Image, ImageKind, OwnerKeys,
    SignatureDatabase,
};
