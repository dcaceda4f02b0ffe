//! One machine's claim: the envelope and what binds it together.
