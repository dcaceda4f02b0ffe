//! Entries, selector matching, and who may hold which SPIFFE ID.
