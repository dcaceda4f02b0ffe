//! The SPIFFE Workload API on a unix socket.
