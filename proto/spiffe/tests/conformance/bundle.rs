//! Trust Domain and Bundle: strict in what is published, lenient in what is read.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hallmark_spiffe::{Bundle, BundleError, TrustDomain};
use rcgen::{CertifiedIssuer, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::pki::{ca_params, leaf, now, root, td};

fn bundle() -> Bundle {
    Bundle {
        trust_domain: td(),
        x509_authorities: vec![root(|_| {}).der().to_vec(), root(|_| {}).der().to_vec()],
        jwt_authorities: Vec::new(),
        sequence: 7,
        refresh_hint: Duration::from_secs(300),
    }
}

fn published(bundle: &Bundle) -> Value {
    serde_json::from_str(&bundle.to_jwks().unwrap()).unwrap()
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A document with the good key in the middle of others.
fn beside(other: Value) -> Result<Bundle, BundleError> {
    let good = published(&bundle())["keys"][0].clone();
    let document = json!({"keys": [other.clone(), good, other]});
    Bundle::from_jwks(&td(), &document.to_string())
}

#[test]
fn what_is_published_reads_back() {
    let bundle = bundle();
    assert_eq!(Bundle::from_jwks(&td(), &bundle.to_jwks().unwrap()).unwrap(), bundle);
    let marked = format!("\u{feff}{}", bundle.to_jwks().unwrap());
    assert_eq!(Bundle::from_jwks(&td(), &marked).unwrap(), bundle);
    let from_pem = Bundle::from_certificates(&td(), bundle.to_pem().as_bytes()).unwrap();
    assert_eq!(from_pem.x509_authorities, bundle.x509_authorities);
    assert_eq!((from_pem.sequence, from_pem.refresh_hint), (0, Duration::ZERO));
}

#[test]
fn x509_25_26_27_tdb_03_06_07_11_12_13_exactly_the_listed_members() {
    let bundle = bundle();
    let document = published(&bundle);
    assert_eq!(names(&document), ["keys", "spiffe_refresh_hint", "spiffe_sequence"]);
    assert_eq!(document["spiffe_sequence"], json!(7));
    assert_eq!(document["spiffe_refresh_hint"], json!(300));
    for (key, der) in document["keys"]
        .as_array()
        .unwrap()
        .iter()
        .zip(&bundle.x509_authorities)
    {
        assert_eq!(names(key), ["crv", "kty", "use", "x", "x5c", "y"]);
        assert_eq!(
            (&key["kty"], &key["use"], &key["crv"]),
            (&json!("EC"), &json!("x509-svid"), &json!("P-256"))
        );
        assert_eq!(key["x5c"], json!([STANDARD.encode(der)]));
        // 32 bytes without padding.
        assert_eq!(key["x"].as_str().unwrap().len(), 43);
        assert_eq!(key["y"].as_str().unwrap().len(), 43);
    }
}

#[test]
fn every_key_kind_has_its_jwk() {
    for (algorithm, members, crv) in [
        (
            &PKCS_ECDSA_P384_SHA384,
            vec!["crv", "kty", "use", "x", "x5c", "y"],
            json!("P-384"),
        ),
        (&PKCS_RSA_SHA256, vec!["e", "kty", "n", "use", "x5c"], Value::Null),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let ca = CertifiedIssuer::self_signed(ca_params(), key).unwrap();
        let mut bundle = Bundle::empty(td());
        bundle.x509_authorities.push(ca.der().to_vec());
        let jwk = published(&bundle)["keys"][0].clone();
        assert_eq!(names(&jwk), members);
        assert_eq!(jwk.get("crv").cloned().unwrap_or_default(), crv);
        if crv.is_null() {
            assert_eq!(jwk["e"], json!("AQAB"));
            // 2048 bits, no leading zero.
            assert_eq!(jwk["n"].as_str().unwrap().len(), 342);
        }
    }
}

#[test]
fn x509_11_tdb_14_only_own_authorities_are_published() {
    let mut bundle = bundle();
    bundle.x509_authorities.push(leaf(&root(|_| {}), |_| {}));
    assert!(matches!(bundle.to_jwks(), Err(BundleError::Authority { index: 2, .. })));
    let mut bundle = self::bundle();
    bundle.trust_domain = TrustDomain::parse("other.org").unwrap();
    assert!(matches!(bundle.to_jwks(), Err(BundleError::Authority { index: 0, .. })));
}

#[test]
fn tdb_02_a_minimal_bundle_and_unlisted_members() {
    let key = published(&bundle())["keys"][0].clone();
    let x5c = key["x5c"].clone();
    let minimal = json!({"keys": [{"kty": "EC", "use": "x509-svid", "x5c": x5c}]});
    let read = Bundle::from_jwks(&td(), &minimal.to_string()).unwrap();
    assert_eq!(
        (read.x509_authorities.len(), read.sequence, read.refresh_hint),
        (1, 0, Duration::ZERO)
    );
    let mut more = published(&bundle());
    more["other"] = json!({"a": 1});
    more["keys"][0]["alg"] = json!("ES256");
    assert_eq!(
        Bundle::from_jwks(&td(), &more.to_string())
            .unwrap()
            .x509_authorities
            .len(),
        2
    );
}

#[test]
fn tdb_05_sequences_of_64_bits() {
    for sequence in [u64::MAX, (1 << 63) - 1, (1 << 53) + 1, 0] {
        let bundle = Bundle { sequence, ..bundle() };
        assert_eq!(
            Bundle::from_jwks(&td(), &bundle.to_jwks().unwrap()).unwrap().sequence,
            sequence
        );
    }
}

#[test]
fn tdb_07_hint_and_sequence_are_integers() {
    for (member, bad) in [
        ("spiffe_refresh_hint", json!("300")),
        ("spiffe_refresh_hint", json!(1.5)),
        ("spiffe_refresh_hint", json!(-1)),
        ("spiffe_sequence", json!("1")),
    ] {
        let mut document = published(&bundle());
        document[member] = bad;
        assert!(matches!(
            Bundle::from_jwks(&td(), &document.to_string()),
            Err(BundleError::NotJwks { .. })
        ));
    }
}

#[test]
fn tdb_08_10_keys_are_there_and_may_be_none() {
    assert!(matches!(
        Bundle::from_jwks(&td(), "{}"),
        Err(BundleError::NotJwks { .. })
    ));
    let none = Bundle::from_jwks(&td(), r#"{"keys":[]}"#).unwrap();
    assert!(none.x509_authorities.is_empty());
    assert!(none.authorities().unwrap().is_empty());
    assert_eq!(published(&Bundle::empty(td()))["keys"], json!([]));
}

#[test]
fn tdb_09_13_x509_29_keys_of_other_kinds_are_passed_over() {
    let x5c = published(&bundle())["keys"][0]["x5c"].clone();
    for other in [
        json!({"kty": "EC", "use": "wit-svid", "x5c": x5c}),
        json!({"kty": "EC", "use": "X509-SVID", "x5c": x5c}),
        json!({"kty": "EC", "use": "jwt-svid"}),
        json!({"kty": "EC", "x5c": x5c}),
        json!({"kty": "EC", "use": 5, "x5c": x5c}),
        json!({"kty": "OKP", "use": "x509-svid", "x5c": x5c}),
        json!({"use": "x509-svid", "x5c": x5c}),
        json!({"kty": "EC", "use": "x509-svid"}),
        json!({"kty": "EC", "use": "x509-svid", "x5c": []}),
    ] {
        assert_eq!(beside(other.clone()).unwrap().x509_authorities.len(), 1, "{other}");
    }
}

#[test]
fn x509_30_the_first_certificate_counts() {
    let first = root(|_| {}).der().to_vec();
    let second = root(|_| {}).der().to_vec();
    let document = json!({"keys": [{"kty": "EC", "use": "x509-svid", "x5c": [STANDARD.encode(&first), STANDARD.encode(&second)]}]});
    assert_eq!(
        Bundle::from_jwks(&td(), &document.to_string())
            .unwrap()
            .x509_authorities,
        [first]
    );
}

#[test]
fn x509_31_the_authorities_are_the_union() {
    let (one, two) = (root(|_| {}), root(|_| {}));
    let mut bundle = Bundle::empty(td());
    bundle.x509_authorities = vec![one.der().to_vec(), two.der().to_vec()];
    let authorities = Bundle::from_jwks(&td(), &bundle.to_jwks().unwrap())
        .unwrap()
        .authorities()
        .unwrap();
    for ca in [&one, &two] {
        assert!(authorities.verify(&[&leaf(ca, |_| {})], now()).is_ok());
    }
    assert!(authorities.verify(&[&leaf(&root(|_| {}), |_| {})], now()).is_err());
}

#[test]
fn broken_certificates_and_foreign_authorities_are_refused() {
    let with = |x5c: String| beside(json!({"kty": "EC", "use": "x509-svid", "x5c": [x5c]}));
    assert_eq!(with("*".into()), Err(BundleError::Base64 { index: 0 }));
    assert!(matches!(
        with(STANDARD.encode(b"no certificate")),
        Err(BundleError::Authority { index: 0, .. })
    ));
    let foreign = root(|params| params.subject_alt_names = vec![crate::pki::uri("spiffe://other.org")]);
    assert!(matches!(
        with(STANDARD.encode(foreign.der())),
        Err(BundleError::Authority { index: 0, .. })
    ));
}

#[test]
fn pem_holds_certificates_and_nothing_else() {
    let pem = bundle().to_pem();
    assert!(pem.lines().all(|line| line.len() <= 64));
    assert!(matches!(
        Bundle::from_certificates(&td(), b""),
        Err(BundleError::NotPem { .. })
    ));
    let key = KeyPair::generate().unwrap().serialize_pem();
    assert!(matches!(
        Bundle::from_certificates(&td(), format!("{pem}{key}").as_bytes()),
        Err(BundleError::NotPem { .. })
    ));
    // Joined without a line's end between them, as DER, and with one damaged: none is left out.
    let joined = pem.replace("-----\n-----", "----------");
    assert_eq!(
        Bundle::from_certificates(&td(), joined.as_bytes())
            .unwrap()
            .x509_authorities
            .len(),
        2
    );
    let ders = bundle().x509_authorities.concat();
    assert_eq!(
        Bundle::from_certificates(&td(), &ders).unwrap().x509_authorities.len(),
        2
    );
    assert!(Bundle::from_certificates(&td(), joined.replacen("-----END", "", 1).as_bytes()).is_err());
    let spaced = format!("# our roots\n\n{pem}\n# the end\n");
    assert_eq!(
        Bundle::from_certificates(&td(), spaced.as_bytes())
            .unwrap()
            .x509_authorities
            .len(),
        2
    );
}

#[test]
fn documents_have_limits() {
    let long = format!(r#"{{"keys":[],"x":"{}"}}"#, "a".repeat(Bundle::MAX_DOCUMENT_LEN));
    assert!(matches!(
        Bundle::from_jwks(&td(), &long),
        Err(BundleError::TooLarge { .. })
    ));
    assert!(matches!(
        Bundle::from_certificates(&td(), long.as_bytes()),
        Err(BundleError::TooLarge { .. })
    ));
    let many = json!({"keys": vec![json!({"kty": "EC"}); Bundle::MAX_KEYS + 1]});
    assert!(matches!(
        Bundle::from_jwks(&td(), &many.to_string()),
        Err(BundleError::TooManyKeys { .. })
    ));
}
