//! JWT-SVIDs: what is believed, and everything near it that is not. Each refusal stands beside a token that differs from a good
//! one in that alone.

use aws_lc_rs::{
    encoding::AsDer as _,
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hallmark_reason::Coded as _;
use hallmark_spiffe::{
    Bundle, BundleError, TrustDomain,
    jwt::{JwtAlgorithm, JwtAuthority, JwtError, JwtSvid, LEEWAY_SECONDS, MAX_TOKEN_LEN},
};
use serde_json::{Value, json};

use crate::pki::td;

const NOW: i64 = 1_800_000_000;

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

struct Signer(Sign, JwtAuthority);

fn ec(id: &str, algorithm: &'static EcdsaSigningAlgorithm) -> Signer {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let spki = pair.public_key().as_der().unwrap().as_ref().to_vec();
    let sign = move |message: &[u8]| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
    Signer(Box::new(sign), JwtAuthority::new(id.into(), spki).unwrap())
}

fn rsa(id: &str, encoding: &'static dyn RsaEncoding) -> Signer {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let spki = pair.public_key().as_der().unwrap().as_ref().to_vec();
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
            .unwrap();
        signature
    };
    Signer(Box::new(sign), JwtAuthority::new(id.into(), spki).unwrap())
}

/// The library reads any number as a modulus, and refuses it only when it verifies.
#[test]
fn attack_82_a_key_that_others_can_factor_is_no_authority() {
    let of = |modulus: &[u8]| JwtAuthority::new("key".into(), hallmark_der::rsa_spki(modulus, &[1, 0, 1]));
    for len in [1, 8, 64, 96, 128, 255, 1025, 1200] {
        let error = of(&vec![0xff; len]).unwrap_err();
        assert_eq!(error.code().as_str(), "HM-ID-0103", "{len} bytes");
    }
    let bits_2047 = [&[0x7f][..], &[0xff; 255]].concat();
    assert_eq!(of(&bits_2047).unwrap_err().code().as_str(), "HM-ID-0103");
    for len in [256, 384, 512, 1024] {
        assert!(of(&vec![0xff; len]).is_ok(), "the control: {len} bytes");
    }
}

fn p256() -> Signer {
    ec("key", &ECDSA_P256_SHA256_FIXED_SIGNING)
}

fn bundle(keys: &[&Signer]) -> Bundle {
    Bundle {
        jwt_authorities: keys.iter().map(|signer| signer.1.clone()).collect(),
        ..Bundle::empty(td())
    }
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "key", "typ": "JWT"})
}

fn claims() -> Value {
    json!({"sub": format!("spiffe://{}/w", td()), "aud": ["db", "other"], "exp": NOW + 300, "iat": NOW})
}

fn with(mut value: Value, name: &str, member: Value) -> Value {
    value[name] = member;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name).unwrap();
    value
}

fn signed(signer: &Signer, header: &str, claims: &str) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode((signer.0)(input.as_bytes()));
    format!("{input}.{signature}")
}

fn validate(token: &str, bundle: &Bundle) -> Result<JwtSvid, JwtError> {
    let of = |asked: &TrustDomain| (*asked == bundle.trust_domain).then_some(bundle);
    JwtSvid::validate(token, "db", NOW, of)
}

#[track_caller]
fn refused(token: &str, bundle: &Bundle, code: &str) {
    let error = validate(token, bundle).unwrap_err();
    assert_eq!(error.code().as_str(), code, "{error}: {token}");
}

#[test]
fn jwt_03_each_of_the_nine_algorithms_and_its_key() {
    let signers = [
        ("RS256", rsa("key", &RSA_PKCS1_SHA256)),
        ("RS384", rsa("key", &RSA_PKCS1_SHA384)),
        ("RS512", rsa("key", &RSA_PKCS1_SHA512)),
        ("ES256", p256()),
        ("ES384", ec("key", &ECDSA_P384_SHA384_FIXED_SIGNING)),
        ("ES512", ec("key", &ECDSA_P521_SHA512_FIXED_SIGNING)),
        ("PS256", rsa("key", &RSA_PSS_SHA256)),
        ("PS384", rsa("key", &RSA_PSS_SHA384)),
        ("PS512", rsa("key", &RSA_PSS_SHA512)),
    ];
    assert_eq!(
        signers.each_ref().map(|(name, _)| *name),
        JwtAlgorithm::ALL.map(JwtAlgorithm::as_str)
    );
    for (name, signer) in &signers {
        let bundle = bundle(&[signer]);
        for other in JwtAlgorithm::ALL.map(JwtAlgorithm::as_str) {
            let token = signed(
                signer,
                &with(header(), "alg", json!(other)).to_string(),
                &claims().to_string(),
            );
            let validated = validate(&token, &bundle);
            if other == *name {
                let svid = validated.unwrap();
                assert_eq!(svid.spiffe_id().as_str(), format!("spiffe://{}/w", td()));
                assert_eq!((svid.expires_at(), svid.issued_at()), (NOW + 300, Some(NOW)));
                assert_eq!(svid.audience(), ["db", "other"]);
            } else {
                // Another algorithm of the same key's kind, or of another's: the key decides.
                let code = validated.unwrap_err().code();
                assert!(
                    ["HM-ID-0098", "HM-ID-0099"].contains(&code.as_str()),
                    "{name} as {other}: {code}"
                );
            }
        }
    }
}

#[test]
fn jwt_01_02_04_07_headers() {
    let signer = p256();
    let (bundle, claims) = (bundle(&[&signer]), claims().to_string());
    let token = |header: Value| signed(&signer, &header.to_string(), &claims);
    for good in [
        header(),
        with(header(), "typ", json!("JOSE")),
        without(header(), "typ"),
        without(header(), "kid"),
    ] {
        validate(&token(good), &bundle).unwrap();
    }
    for alg in [
        "none", "None", "HS256", "HS384", "EdDSA", "ES256K", "es256", "RSA-OAEP", "",
    ] {
        refused(&token(with(header(), "alg", json!(alg))), &bundle, "HM-ID-0092");
    }
    for typ in ["wit+jwt", "at+jwt", "jwt", "", "JWT "] {
        refused(&token(with(header(), "typ", json!(typ))), &bundle, "HM-ID-0093");
    }
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("jwk", json!({"kty": "EC"})),
        ("jku", json!("https://example.org/keys")),
        ("x5c", json!(["MIIB"])),
        ("x5u", json!("https://example.org")),
        ("cty", json!("JWT")),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
    ] {
        refused(&token(with(header(), name, value)), &bundle, "HM-ID-0091");
    }
    for broken in [
        without(header(), "alg"),
        with(header(), "alg", json!(1)),
        with(header(), "kid", json!(["key"])),
        json!([]),
    ] {
        refused(&token(broken), &bundle, "HM-ID-0091");
    }
    let twice = r#"{"alg":"ES256","kid":"key","alg":"none"}"#;
    refused(&signed(&signer, twice, &claims), &bundle, "HM-ID-0091");
    // A token keyed with the public key, as if it were a secret.
    let secret = hmac::Key::new(hmac::HMAC_SHA256, signer.1.public_key());
    let forged = Signer(
        Box::new(move |input| hmac::sign(&secret, input).as_ref().to_vec()),
        signer.1.clone(),
    );
    refused(
        &signed(&forged, &with(header(), "alg", json!("HS256")).to_string(), &claims),
        &bundle,
        "HM-ID-0092",
    );
}

#[test]
fn jwt_01_forms() {
    let signer = p256();
    let bundle = bundle(&[&signer]);
    let good = signed(&signer, &header().to_string(), &claims().to_string());
    validate(&good, &bundle).unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let json_form = json!({"payload": parts[1], "protected": parts[0], "signature": parts[2]});
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        parts[0].into(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}."),
        format!("{good}.x"),
        format!("{}.{}.{}.{}.{}", parts[0], parts[1], parts[2], parts[1], parts[2]),
        json_form.to_string(),
        json!({"payload": parts[1], "signatures": [{"protected": parts[0], "signature": parts[2]}]}).to_string(),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}="),
        format!("{}.{}=.{}", parts[0], parts[1], parts[2]),
        good.replace('.', ". "),
        "\u{00e9}.\u{00e9}.\u{00e9}".into(),
        "[".repeat(3000),
    ] {
        refused(&bad, &bundle, "HM-ID-0091");
    }
    refused(&"a".repeat(MAX_TOKEN_LEN + 1), &bundle, "HM-ID-0090");
    let deep = format!(r#"{{"sub":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    refused(
        &signed(&signer, &header().to_string(), &deep)[..MAX_TOKEN_LEN],
        &bundle,
        "HM-ID-0091",
    );
}

#[test]
fn jwt_14_signatures() {
    let (signer, other) = (p256(), p256());
    let bundle = bundle(&[&signer]);
    let good = signed(&signer, &header().to_string(), &claims().to_string());
    validate(&good, &bundle).unwrap();
    let (input, signature) = good.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let put = |signature: &[u8]| format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
    for byte in [0, 31, 32, 63] {
        let mut flipped = raw.clone();
        flipped[byte] ^= 1;
        refused(&put(&flipped), &bundle, "HM-ID-0099");
    }
    for bad in [
        &[][..],
        &raw[..63],
        &[0; 64],
        &[raw.as_slice(), &[0]].concat(),
        &raw.repeat(2),
    ] {
        refused(&put(bad), &bundle, "HM-ID-0099");
    }
    // The form that certificates have is none of a token's.
    let der = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let spki = der.public_key().as_der().unwrap().as_ref().to_vec();
    let sign = move |input: &[u8]| der.sign(&SystemRandom::new(), input).unwrap().as_ref().to_vec();
    let asn1 = Signer(Box::new(sign), JwtAuthority::new("key".into(), spki).unwrap());
    let token = signed(&asn1, &header().to_string(), &claims().to_string());
    refused(&token, &self::bundle(&[&asn1]), "HM-ID-0099");
    // Changed claims, and another key behind the same id.
    let changed = with(claims(), "sub", json!(format!("spiffe://{}/admin", td()))).to_string();
    let parts: Vec<&str> = good.split('.').collect();
    refused(
        &format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(changed), parts[2]),
        &bundle,
        "HM-ID-0099",
    );
    refused(
        &signed(&other, &header().to_string(), &claims().to_string()),
        &bundle,
        "HM-ID-0099",
    );
}

#[test]
fn jwt_06_20_21_which_key() {
    let (first, second) = (p256(), ec("second", &ECDSA_P256_SHA256_FIXED_SIGNING));
    let both = bundle(&[&first, &second]);
    let named = |signer: &Signer, kid: &str| {
        signed(
            signer,
            &with(header(), "kid", json!(kid)).to_string(),
            &claims().to_string(),
        )
    };
    validate(&named(&first, "key"), &both).unwrap();
    validate(&named(&second, "second"), &both).unwrap();
    // Without a name, any key of the domain; with one, that alone.
    validate(
        &signed(&second, &without(header(), "kid").to_string(), &claims().to_string()),
        &both,
    )
    .unwrap();
    refused(&named(&second, "key"), &both, "HM-ID-0099");
    refused(&named(&second, "third"), &both, "HM-ID-0097");
    refused(&named(&first, "key"), &bundle(&[]), "HM-ID-0097");
    refused(
        &signed(&first, &without(header(), "kid").to_string(), &claims().to_string()),
        &bundle(&[]),
        "HM-ID-0097",
    );
    // A subject of another domain is looked up there, whoever signed.
    let foreign = with(claims(), "sub", json!("spiffe://elsewhere.example/w")).to_string();
    let token = signed(&first, &header().to_string(), &foreign);
    refused(&token, &both, "HM-ID-0096");
    let elsewhere = Bundle {
        trust_domain: TrustDomain::parse("elsewhere.example").unwrap(),
        ..bundle(&[&second])
    };
    let known = |asked: &TrustDomain| [&both, &elsewhere].into_iter().find(|it| it.trust_domain == *asked);
    let error = JwtSvid::validate(&token, "db", NOW, known).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-ID-0097");
}

#[test]
fn jwt_08_09_10_12_13_14_claims() {
    let signer = p256();
    let bundle = bundle(&[&signer]);
    let token = |claims: &Value| signed(&signer, &header().to_string(), &claims.to_string());
    let check = |claims: Value, code: &str| refused(&token(&claims), &bundle, code);
    for good in [
        with(claims(), "aud", json!("db")),
        with(claims(), "aud", json!(["a", "db"])),
        without(claims(), "iat"),
        with(claims(), "iat", json!(NOW + 10_000)),
        with(claims(), "nbf", json!(NOW)),
        with(claims(), "nbf", json!(NOW + LEEWAY_SECONDS)),
        with(claims(), "exp", json!(NOW - LEEWAY_SECONDS + 1)),
        with(claims(), "exp", serde_json::from_str("1800000010.75").unwrap()),
        with(claims(), "custom", json!({"a": [1, 2]})),
    ] {
        validate(&token(&good), &bundle).unwrap();
    }
    for sub in [
        json!("w"),
        json!("https://example.org/w"),
        json!(""),
        json!(format!("spiffe://{}/a/../b", td())),
    ] {
        check(with(claims(), "sub", sub), "HM-ID-0095");
    }
    check(with(claims(), "sub", json!(format!("spiffe://{}", td()))), "HM-ID-0095");
    check(with(claims(), "sub", json!(["spiffe://example.org/w"])), "HM-ID-0094");
    check(without(claims(), "sub"), "HM-ID-0094");
    check(without(claims(), "aud"), "HM-ID-0094");
    for aud in [
        json!([]),
        json!(1),
        json!(["db", 1]),
        json!({"db": 1}),
        json!(vec!["db"; 65]),
    ] {
        check(with(claims(), "aud", aud), "HM-ID-0094");
    }
    for aud in [json!("DB"), json!("db "), json!(""), json!(["a"])] {
        check(with(claims(), "aud", aud), "HM-ID-0100");
    }
    let empty = token(&with(claims(), "aud", json!("")));
    let nobody = JwtSvid::validate(&empty, "", NOW, |_| Some(&bundle)).unwrap_err();
    assert_eq!(nobody.code().as_str(), "HM-ID-0100", "an empty audience is nobody's");
    check(without(claims(), "exp"), "HM-ID-0094");
    for exp in [
        json!("1900000000"),
        json!(null),
        json!(true),
        json!(1e300),
        serde_json::from_str("18000000000000000000").unwrap(),
    ] {
        check(with(claims(), "exp", exp), "HM-ID-0094");
    }
    check(with(claims(), "exp", json!(NOW - LEEWAY_SECONDS)), "HM-ID-0101");
    check(with(claims(), "exp", json!(NOW - 300)), "HM-ID-0101");
    check(with(claims(), "exp", json!(-1)), "HM-ID-0101");
    check(with(claims(), "nbf", json!(NOW + LEEWAY_SECONDS + 1)), "HM-ID-0102");
    check(with(claims(), "nbf", json!("now")), "HM-ID-0094");
    let twice = claims()
        .to_string()
        .replacen('{', r#"{"sub":"spiffe://example.org/admin","#, 1);
    refused(&signed(&signer, &header().to_string(), &twice), &bundle, "HM-ID-0091");
}

#[test]
fn jwt_18_19_tdb_11_what_is_published_reads_back() {
    let signers = [
        p256(),
        ec("b", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ec("c", &ECDSA_P521_SHA512_FIXED_SIGNING),
        rsa("d", &RSA_PKCS1_SHA256),
    ];
    let whole = bundle(&signers.each_ref());
    for document in [whole.to_jwks().unwrap(), whole.to_jwt_jwks().unwrap()] {
        assert_eq!(
            Bundle::from_jwks(&td(), &document).unwrap().jwt_authorities,
            whole.jwt_authorities
        );
        let keys: Value = serde_json::from_str(&document).unwrap();
        for key in keys["keys"].as_array().unwrap() {
            let names: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
            match key["kty"].as_str().unwrap() {
                "EC" => assert_eq!(names, ["crv", "kid", "kty", "use", "x", "y"]),
                _ => assert_eq!(names, ["e", "kid", "kty", "n", "use"]),
            }
            assert_eq!(key["use"], "jwt-svid");
        }
    }
    let twice = bundle(&[&signers[0], &signers[0]]);
    assert!(matches!(twice.to_jwks(), Err(BundleError::KeyIdTwice { .. })));
    let good: Value = serde_json::from_str(&whole.to_jwks().unwrap()).unwrap();
    let read = |change: &dyn Fn(&mut Value)| {
        let mut document = good.clone();
        change(&mut document["keys"][0]);
        Bundle::from_jwks(&td(), &document.to_string()).map(|it| it.jwt_authorities.len())
    };
    // Passed over: no id, another use, another kind. Refused: a key that says it is one and is not.
    for (name, value) in [
        ("kid", json!(null)),
        ("use", json!("JWT-SVID")),
        ("use", json!("wit-svid")),
        ("kty", json!("OKP")),
    ] {
        assert_eq!(read(&|key| key[name] = value.clone()).unwrap(), 3, "{name}");
    }
    for (name, value) in [
        ("crv", json!("P-384")),
        ("x", json!("AA")),
        ("y", json!(null)),
        ("x", json!("!")),
    ] {
        assert!(
            matches!(
                read(&|key| key[name] = value.clone()),
                Err(BundleError::Members { index: 0 })
            ),
            "{name}"
        );
    }
    let off_curve = URL_SAFE_NO_PAD.encode([7; 32]);
    assert!(matches!(
        read(&|key| key["x"] = json!(off_curve)),
        Err(BundleError::Jwt { index: 0, .. })
    ));
    assert!(matches!(
        read(&|key| key["kid"] = json!("b")),
        Err(BundleError::KeyIdTwice { .. })
    ));
}

/// RFC 7517, sections 4 and 5, as verifiers of OpenID Connect read a set: they know nothing of SPIFFE.
#[test]
fn verifiers_of_openid_connect_get_what_is_not_tainted() {
    let (first, second) = (
        ec("first", &ECDSA_P384_SHA384_FIXED_SIGNING),
        rsa("second", &RSA_PKCS1_SHA256),
    );
    let mut bundle = bundle(&[&p256(), &first, &second]);
    bundle.jwt_authorities[0].tainted = true;
    bundle.sequence = 7;
    let published: Value = serde_json::from_str(&bundle.to_oidc_jwks().unwrap()).unwrap();
    assert_eq!(published.as_object().unwrap().len(), 1, "{published}");
    let of = |key: &Value| ["kid", "use", "kty", "alg"].map(|name| key[name].as_str().unwrap().to_owned());
    let keys: Vec<_> = published["keys"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(
        keys,
        [["first", "sig", "EC", "ES384"], ["second", "sig", "RSA", "RS256"]]
    );
    let names = |key: &Value| key.as_object().unwrap().len();
    assert_eq!((names(&published["keys"][0]), names(&published["keys"][1])), (7, 6));
    bundle.jwt_authorities.push(first.1.clone());
    assert!(matches!(bundle.to_oidc_jwks(), Err(BundleError::KeyIdTwice { key_id }) if key_id == "first"));
}
