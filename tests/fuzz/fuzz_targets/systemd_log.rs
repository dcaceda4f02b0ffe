//! systemd's user-space measurement log, and its replay behind a firmware's.
#![no_main]

use hallmark_evidence::{
    systemd::SystemdLog,
    tcg::{PCRS, Replay},
};
use hallmark_tpm_wire::HashAlg;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(log) = SystemdLog::parse(bytes) else {
        return;
    };
    let mut replay = Replay::at_reset(&[HashAlg::Sha256], 0);
    log.extend(&mut replay);
    let (mut texts, mut extended) = (0, 0);
    for record in log.records() {
        assert!(record.pcr < PCRS);
        texts += record.text.len() + record.kind.len();
        for (bank, digest) in &record.digests {
            assert_eq!(digest.len(), bank.digest_len());
            assert_eq!(record.digest(*bank), Some(digest.as_slice()), "a bank is there once");
        }
        extended += u32::from(record.digest(HashAlg::Sha256).is_some());
        if record.is_proven() {
            let (bank, digest) = &record.digests[0];
            assert_eq!(&bank.digest(record.text.as_bytes()), digest);
        }
    }
    assert!(texts <= bytes.len(), "no escape is shorter than what it stands for");
    let counted: u32 = (0..PCRS).map(|pcr| replay.extended(HashAlg::Sha256, pcr)).sum();
    assert_eq!(counted, extended);
    assert_eq!(replay.banks().collect::<Vec<_>>(), [HashAlg::Sha256]);
});
