//! The port `Store` and its SQLite adapter.
