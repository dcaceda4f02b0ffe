//! Evidence as a file: what is read is within its limits, and is written and read back as the same.
#![no_main]

use hallmark_evidence::{AkPublic, EvidenceFile, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = EvidenceFile::parse(bytes) else {
        return;
    };
    let (AkPublic::Area(ak) | AkPublic::Spki(ak)) = &file.ak;
    let one = [ak, &file.quote.attest, &file.quote.signature];
    let certificates = file.ek_chain.iter().chain(&file.ek_certificate);
    assert!(
        one.into_iter()
            .chain(certificates)
            .all(|bytes| bytes.len() <= Limits::CERTIFICATE)
    );
    assert!(file.ek_chain.len() <= Limits::CHAIN && file.logs.len() <= Limits::LOGS);
    assert!(file.qualification.len() <= Limits::SECRET);
    assert!(
        file.logs
            .iter()
            .all(|log| log.offset == 0 && file.log(log.kind) == Some(&log.data))
    );

    let json = file.to_json().expect("what was read can be written");
    let again = EvidenceFile::parse(&json).expect("what was written can be read");
    assert_eq!(again, file);
    assert_eq!(again.to_json().expect("again"), json, "equal evidence, equal bytes");
});
