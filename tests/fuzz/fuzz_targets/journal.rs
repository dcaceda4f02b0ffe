//! Rows of the journal: what reads back has these bytes alone, and can be shown.
#![no_main]

use hallmark_state::journal::encoding::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(transactions) = decode(bytes) {
        assert_eq!(encode(&transactions), bytes);
        let shown: usize = transactions.iter().map(|it| it.readable(1).count()).sum();
        assert_eq!(shown, transactions.iter().map(|it| it.events.len()).sum::<usize>());
    }
});
