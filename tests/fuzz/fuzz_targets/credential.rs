//! MakeCredential for whatever passes for an endorsement key.
#![no_main]

use std::sync::LazyLock;

use hallmark_tpm_wire::{Name, PublicArea, credential};
use libfuzzer_sys::fuzz_target;

static AK: LazyLock<Name> = LazyLock::new(|| {
    Name::parse(include_bytes!("../../../proto/tpm/tests/vectors/ak.name")).expect("the vector is good")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(ek) = PublicArea::parse(bytes) else {
        return;
    };
    if let Ok(made) = credential::make(&ek, &AK, &[1; 32]) {
        let digest = ek.name_alg().digest_len();
        assert_eq!(made.id_object.len(), 2 + digest + 2 + 32);
        assert!(!made.encrypted_secret.is_empty());
    }
});
