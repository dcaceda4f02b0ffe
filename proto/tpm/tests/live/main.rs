//! Against a software TPM, driven by tpm2-tools, which share no code with this crate.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod fixture;

use fixture::Tpm;
use hallmark_tpm_wire::{
    AsymScheme, Attest, AttestKind, HashAlg, Hierarchy, PcrSelection, PcrValues, PublicArea, Signature, WireError,
    credential::{self, Credential},
    pcr_digest, templates,
};

const AK_ATTRIBUTES: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign";
const NONCE: &str = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";

fn area(tpm: &Tpm, context: &str) -> PublicArea {
    tpm.run("tpm2_readpublic", &["-Q", "-c", context, "-f", "tss", "-o", "area.pub"]);
    PublicArea::parse_sized(&tpm.read("area.pub")).unwrap()
}

fn make_ak(tpm: &Tpm, algorithm: &str, context: &str) -> PublicArea {
    tpm.run(
        "tpm2_createprimary",
        &[
            "-Q",
            "-C",
            "e",
            "-g",
            "sha256",
            "-G",
            algorithm,
            "-a",
            AK_ATTRIBUTES,
            "-c",
            context,
        ],
    );
    tpm.flush();
    area(tpm, context)
}

/// The file format of tpm2-tools: a magic number, a version, then both structures with their sizes.
fn credential_file(credential: &Credential) -> Vec<u8> {
    let mut file = vec![0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
    for part in [&credential.id_object, &credential.encrypted_secret] {
        file.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        file.extend(part);
    }
    file
}

/// TPM2_ActivateCredential; `None` when the TPM refuses.
fn activate(tpm: &Tpm, ek: &PublicArea, ak_context: &str, credential: &Credential) -> Option<Vec<u8>> {
    tpm.write("credential", &credential_file(credential));
    tpm.flush();
    let mut arguments = vec![
        "-Q",
        "-c",
        ak_context,
        "-C",
        "ek.ctx",
        "-i",
        "credential",
        "-o",
        "secret",
    ];
    let low = ek.attributes() == templates::EK_LOW_ATTRIBUTES;
    if low {
        tpm.run(
            "tpm2_startauthsession",
            &["-Q", "--policy-session", "-S", "session.ctx"],
        );
        tpm.run("tpm2_policysecret", &["-Q", "-S", "session.ctx", "-c", "e"]);
        arguments.extend(["-P", "session:session.ctx"]);
    }
    let activated = tpm.succeeds("tpm2_activatecredential", &arguments);
    if low {
        tpm.run("tpm2_flushcontext", &["session.ctx"]);
    }
    activated.then(|| tpm.read("secret"))
}

#[test]
fn a_tpm_opens_credentials_made_here_for_every_kind_of_endorsement_key() {
    let tpm = Tpm::start();
    let ak = make_ak(&tpm, "ecc256:ecdsa-sha256:null", "ak.ctx");
    let other = make_ak(&tpm, "ecc384:ecdsa-sha384:null", "other.ctx");
    assert!(templates::AK.matches(&ak));
    assert!(!templates::AK.matches(&other));
    for (algorithm, template) in [
        ("rsa", "rsa-2048-l1"),
        ("ecc", "ecc-p256-l2"),
        ("ecc384", "ecc-p384-h3"),
        ("ecc521", "ecc-p521-h4"),
        ("rsa3072", "rsa-3072-h6"),
    ] {
        tpm.run("tpm2_createek", &["-Q", "-G", algorithm, "-c", "ek.ctx"]);
        tpm.flush();
        let ek = area(&tpm, "ek.ctx");
        assert_eq!(templates::ek_template_of(&ek).unwrap().name, template);
        assert_eq!(PublicArea::parse(&ek.marshal()).unwrap(), ek);

        let secret = [0x5a_u8; 32];
        let made = credential::make(&ek, &ak.name(), &secret).unwrap();
        assert_eq!(
            activate(&tpm, &ek, "ak.ctx", &made).as_deref(),
            Some(&secret[..]),
            "{template}"
        );

        // Attack 8: the same credential for a key of another Name, and one whose blob was altered.
        assert_eq!(activate(&tpm, &ek, "other.ctx", &made), None, "{template}");
        let mut altered = made.clone();
        *altered.id_object.last_mut().unwrap() ^= 1;
        assert_eq!(activate(&tpm, &ek, "ak.ctx", &altered), None, "{template}");
    }
}

#[test]
fn what_a_tpm_signs_verifies_here_under_the_scheme_of_its_key_only() {
    let tpm = Tpm::start();
    let schemes = [
        "ecc256:ecdsa-sha256:null",
        "ecc384:ecdsa-sha384:null",
        "ecc521:ecdsa-sha512:null",
        "rsa2048:rsassa-sha256:null",
        "rsa2048:rsapss-sha256:null",
        "rsa3072:rsapss-sha384:null",
    ];
    let keys = schemes.map(|scheme| {
        let ak = make_ak(&tpm, scheme, "ak.ctx");
        let (attest, signature) = quote(&tpm, ak.scheme().unwrap());
        signature
            .verify(&ak, &attest)
            .unwrap_or_else(|error| panic!("{scheme}: {error}"));
        assert_eq!(signature.scheme(), ak.scheme().unwrap());
        (ak, attest, signature)
    });
    for (index, (ak, _, _)) in keys.iter().enumerate() {
        for (other, (_, attest, signature)) in keys.iter().enumerate().filter(|(other, _)| *other != index) {
            let refused = signature.verify(ak, attest).unwrap_err();
            assert!(
                matches!(refused, WireError::SchemeMismatch { .. }),
                "{index} {other} {refused}"
            );
        }
        let mut changed = keys[index].1.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(keys[index].2.verify(ak, &changed), Err(WireError::SignatureInvalid));
    }
}

fn quote(tpm: &Tpm, scheme: AsymScheme) -> (Vec<u8>, Signature) {
    let (name, hash) = match scheme {
        AsymScheme::RsaSsa(hash) => ("rsassa", hash),
        AsymScheme::RsaPss(hash) => ("rsapss", hash),
        AsymScheme::Ecdsa(hash) => ("ecdsa", hash),
        _ => panic!("not a signing key"),
    };
    tpm.flush();
    let key = ["-Q", "-c", "ak.ctx", "--scheme", name, "-g", hash.as_str()];
    let what = [
        "-l",
        "sha256:0,7,16+sha1:3",
        "-q",
        NONCE,
        "-m",
        "quote",
        "-s",
        "signature",
    ];
    tpm.run("tpm2_quote", &[key.as_slice(), what.as_slice()].concat());
    (tpm.read("quote"), Signature::parse(&tpm.read("signature")).unwrap())
}

#[test]
fn a_quote_and_a_certification_say_what_the_tpm_holds() {
    let tpm = Tpm::start();
    let ak = make_ak(&tpm, "ecc256:ecdsa-sha256:null", "ak.ctx");
    let digest = "11".repeat(32);
    tpm.run("tpm2_pcrextend", &[format!("16:sha256={digest}").as_str()]);
    let (bytes, _) = quote(&tpm, ak.scheme().unwrap());
    let attest = Attest::parse(&bytes).unwrap();
    assert_eq!(attest.extra_data, hex::decode(NONCE).unwrap());
    assert_eq!(
        attest.qualified_signer,
        ak.name().qualified_primary(Hierarchy::Endorsement)
    );
    let AttestKind::Quote(quoted) = attest.kind else {
        panic!("not a quote")
    };
    let asked = PcrSelection::new([
        (HashAlg::Sha1, [3].as_slice()),
        (HashAlg::Sha256, [0, 7, 16].as_slice()),
    ])
    .unwrap();
    assert_eq!(quoted.selection.canonical(), asked);

    let extended = HashAlg::Sha256.digest(&[[0; 32], [0x11; 32]].concat());
    let mut values = PcrValues::new();
    values.insert(HashAlg::Sha256, 0, vec![0; 32]).unwrap();
    values.insert(HashAlg::Sha256, 7, vec![0; 32]).unwrap();
    values.insert(HashAlg::Sha256, 16, extended).unwrap();
    values.insert(HashAlg::Sha1, 3, vec![0; 20]).unwrap();
    assert_eq!(
        pcr_digest(&quoted.selection, &values, HashAlg::Sha256).unwrap(),
        quoted.pcr_digest
    );

    let svid = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign";
    let create = [
        "-Q",
        "-C",
        "o",
        "-g",
        "sha256",
        "-G",
        "ecc256:ecdsa-sha256:null",
        "-a",
        svid,
        "-c",
        "svid.ctx",
    ];
    tpm.run("tpm2_createprimary", &create);
    tpm.flush();
    let svid = area(&tpm, "svid.ctx");
    assert!(templates::SVID_KEY.matches(&svid));
    let certify = [
        "-Q",
        "-C",
        "ak.ctx",
        "-c",
        "svid.ctx",
        "-g",
        "sha256",
        "-o",
        "certify",
        "-s",
        "signature",
    ];
    tpm.run("tpm2_certify", &certify);
    let bytes = tpm.read("certify");
    Signature::parse(&tpm.read("signature"))
        .unwrap()
        .verify(&ak, &bytes)
        .unwrap();
    let AttestKind::Certify(certified) = Attest::parse(&bytes).unwrap().kind else {
        panic!("not a certification")
    };
    assert_eq!(certified.name, svid.name());
    assert_eq!(
        certified.qualified_name,
        svid.name().qualified_primary(Hierarchy::Owner)
    );
}
