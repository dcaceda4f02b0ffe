//! SVID profiles: prepare, lint, seal.
