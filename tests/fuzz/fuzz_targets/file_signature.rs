//! Signatures of files in lines of IMA lists: what is read is within its limits, and no key made it for this file.
#![no_main]

use hallmark_evidence::ima::ImaList;
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::ima::{ImaKeys, SignatureVerdict, file_signature};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static KEYS: LazyLock<ImaKeys> = LazyLock::new(|| {
    let mut keys = ImaKeys::default();
    for pem in [
        include_str!("../../../server/verify/tests/vectors/ima/rsa.pem"),
        include_str!("../../../server/verify/tests/vectors/ima/p256.pem"),
        include_str!("../../../server/verify/tests/vectors/ima/p384.pem"),
    ] {
        keys.add_pem(pem).expect("a certificate");
    }
    keys
});

fuzz_target!(|bytes: &[u8]| {
    let digest = HashAlg::Sha256.digest(b"a file that nobody signed");
    for template in ["ima-sig", "ima-sigv2", "evm-sig"] {
        let (prefix, rest) = match template {
            "ima-sig" => ("sha256:", sized(bytes)),
            "ima-sigv2" => ("verity:sha256:", sized(bytes)),
            // All fields behind the name are the input's.
            _ => ("sha256:", bytes.to_vec()),
        };
        let digest = [prefix.as_bytes(), &[0], &digest].concat();
        let data = [sized(&digest), sized(b"/usr/bin/program\0"), rest].concat();
        let head = [&10_u32.to_le_bytes()[..], &HashAlg::Sha1.digest(&data)].concat();
        let line = [head, sized(template.as_bytes()), sized(&data)].concat();
        let Some(Ok(event)) = ImaList::binary(&line).lines().next() else {
            continue;
        };
        if let Some(Ok(signature)) = file_signature(&event) {
            assert!(signature.hash.is_strong() && signature.signed.len() == signature.hash.digest_len());
            assert!((1..=1024).contains(&signature.signature.len()));
            assert!(!matches!(KEYS.verify(&signature), SignatureVerdict::Valid(_)));
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let mut keys = ImaKeys::default();
        if keys.add_pem(text).is_ok() {
            let ids: Vec<_> = keys.iter().map(|key| key.sha256().to_owned()).collect();
            keys.add_pem(text).expect("the same text again");
            assert!(keys.iter().map(|key| key.sha256()).eq(&ids), "no key twice");
        }
    }
});

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("short").to_le_bytes()[..], bytes].concat()
}
