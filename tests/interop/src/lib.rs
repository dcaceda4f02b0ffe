//! Real SPIFFE clients against the agent and the server.
