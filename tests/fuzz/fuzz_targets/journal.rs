//! Rows of the journal: what reads back has these bytes alone, and can be shown.
#![no_main]

use hallmark_state::journal::{
    encoding::{decode, decode_events, encode},
    sha256,
};
use libfuzzer_sys::fuzz_target;

/// What stands beside the journal.
const BODY: &[u8] = b"a policy";

fuzz_target!(|bytes: &[u8]| {
    let mut body = |digest: &[u8; 32]| (*digest == sha256(BODY)).then(|| BODY.to_vec());
    let whole = decode(bytes, &mut body);
    if let Ok(transactions) = &whole {
        assert_eq!(encode(transactions), bytes);
    }
    match decode_events(bytes) {
        Ok(transactions) => {
            let shown: usize = transactions.iter().map(|it| it.readable(1).count()).sum();
            assert_eq!(shown, transactions.iter().map(|it| it.events.len()).sum::<usize>());
        }
        Err(error) => assert!(whole.is_err(), "whole, but its events do not read: {error}"),
    }
});
