//! What clients send to be certified: PKCS#10 requests, public keys, and authorities' own certificates.
#![no_main]

use std::sync::LazyLock;

use hallmark_authority::{SubjectKey, X509Authority};
use hallmark_spiffe::TrustDomain;
use libfuzzer_sys::fuzz_target;

static TRUST_DOMAIN: LazyLock<TrustDomain> =
    LazyLock::new(|| TrustDomain::parse("example.org").expect("the name is good"));

fuzz_target!(|bytes: &[u8]| {
    let keys = [SubjectKey::from_csr(bytes), SubjectKey::from_spki(bytes)];
    for key in keys.into_iter().flatten() {
        // What was taken once is taken again in its canonical form.
        assert_eq!(SubjectKey::from_spki(key.spki()).as_ref(), Ok(&key));
    }
    if let Ok(authority) = X509Authority::from_certificate(bytes, &TRUST_DOMAIN) {
        assert_eq!(authority.certificate(), bytes);
        assert!(SubjectKey::from_spki(authority.spki()).is_ok());
    }
});
