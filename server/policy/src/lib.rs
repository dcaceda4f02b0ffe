//! Verified evidence against the operator's rules: an `Appraisal`.
