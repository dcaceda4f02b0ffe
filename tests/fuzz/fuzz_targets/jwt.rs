//! Tokens that anybody sends to be validated, and bundle documents (JWKS) of other trust domains.
#![no_main]

use std::sync::LazyLock;

use hallmark_spiffe::{Bundle, TrustDomain, jwt::JwtSvid};
use libfuzzer_sys::fuzz_target;

/// When the token among the seeds is valid, in Unix seconds.
const NOW: i64 = 1_800_000_000;

static TRUST_DOMAIN: LazyLock<TrustDomain> =
    LazyLock::new(|| TrustDomain::parse("example.org").expect("the name is good"));
static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| {
    let document = include_str!("../corpus/jwt/jwks");
    Bundle::from_jwks(&TRUST_DOMAIN, document).expect("the seed is a bundle")
});
static TOKENS: [&str; 2] = [
    include_str!("../corpus/jwt/token"),
    include_str!("../corpus/jwt/without_kid"),
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(svid) = JwtSvid::validate(text, "db", NOW, |_| Some(&BUNDLE)) {
        // Nobody else has the key: what is signed is one of the seeds, to the octet.
        assert!(
            TOKENS.iter().any(|token| signed_part(token) == signed_part(text)),
            "{text}"
        );
        assert_eq!(svid.spiffe_id().path(), "/w");
    }
    if let Ok(bundle) = Bundle::from_jwks(&TRUST_DOMAIN, text) {
        let document = bundle.to_jwt_jwks().expect("JWT keys that were read can be published");
        let read = Bundle::from_jwks(&TRUST_DOMAIN, &document).expect("what was published reads");
        assert_eq!(read.jwt_authorities, bundle.jwt_authorities);
        let Ok(document) = bundle.to_jwks() else { return };
        assert_eq!(Bundle::from_jwks(&TRUST_DOMAIN, &document).as_ref(), Ok(&bundle));
    }
});

fn signed_part(token: &str) -> Option<&str> {
    token.rsplit_once('.').map(|(signed, _)| signed)
}
