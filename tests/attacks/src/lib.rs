//! The attacks of the threat model, each with its positive control.
