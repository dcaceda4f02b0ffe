//! Inventories in both forms: no machine is named twice.
#![no_main]

use std::collections::BTreeSet;

use hallmark_node::{Form, read_inventory};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for form in [Form::Csv, Form::Json] {
        if let Ok(lines) = read_inventory(bytes, form) {
            let named: BTreeSet<_> = lines.iter().map(|line| line.ek.to_string()).collect();
            assert_eq!(named.len(), lines.len());
        }
    }
});
