//! The firmware's event log: what is read is within its bounds, and its replay is what hashing by hand gives.
#![no_main]

use std::collections::BTreeMap;

use hallmark_evidence::tcg::{PCRS, Replay, TcgLog};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(log) = TcgLog::parse(bytes) else {
        return;
    };
    let reset = Replay::at_reset(log.banks(), log.startup_locality());
    let mut registers = BTreeMap::new();
    let (mut data, mut digests) = (0, 0);
    for (number, event) in log.events().iter().enumerate() {
        assert_eq!(event.number as usize, number);
        data += event.data.len();
        let (description, _) = event.described();
        assert!(
            description.len() <= 1024 + 16 * event.data.len(),
            "{} of {}",
            description.len(),
            event.data.len()
        );
        for (bank, digest) in &event.digests {
            assert!(log.banks().contains(bank) && digest.len() == bank.digest_len());
            digests += digest.len();
            if !event.is_measured() {
                continue;
            }
            let pcr = u8::try_from(event.pcr).expect("a measured event has a register");
            let start = || (reset.value(*bank, pcr).expect("it was made with this bank").to_vec(), 0);
            let (value, extended) = registers.entry((*bank, pcr)).or_insert_with(start);
            *value = bank.digest(&[value, *digest].concat());
            *extended += 1;
        }
    }
    assert!(data + digests <= bytes.len(), "nothing is there twice");

    let replay = Replay::of(&log);
    for bank in log.banks() {
        for pcr in 0..PCRS {
            let value = replay.value(*bank, pcr).expect("a register");
            match registers.get(&(*bank, pcr)) {
                Some((by_hand, extended)) => {
                    assert_eq!((value, replay.extended(*bank, pcr)), (by_hand.as_slice(), *extended));
                }
                None => assert_eq!(Some(value), reset.value(*bank, pcr)),
            }
        }
    }
});
