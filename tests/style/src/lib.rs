//! Tests that read the repository: dependency direction, file sizes, reason codes.
