//! Attack 10: the EK certificate and its path.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hallmark_reason::Coded;
use hallmark_verify::testing::{
    CertificateDraft, ExtensionDraft, SoftwareEk, SoftwareKey, SoftwareMachine, VendorCa, element, oid, oids,
};
use hallmark_verify::{EkRoots, MAX_INTERMEDIATES};

use crate::scene::{Scene, refused};

/// One change of the certificate before it is signed, and the code that it meets.
type Row = (&'static str, fn(&mut CertificateDraft), &'static str);

const OTHER_EXTENSION: &str = "1.2.3.4";

const PROFILE: [Row; 24] = [
    ("expired", |draft| draft.not_after = 1_700_000_000, "HM-VERIFY-0120"),
    (
        "not yet valid",
        |draft| draft.not_before = 1_900_000_000,
        "HM-VERIFY-0119",
    ),
    (
        "ends before it begins",
        |draft| draft.not_after = draft.not_before - 1,
        "HM-VERIFY-0127",
    ),
    (
        "a CA",
        |draft| draft.extensions.push(ExtensionDraft::ca(None)),
        "HM-VERIFY-0107",
    ),
    ("no key usage", |draft| draft.without(oids::KEY_USAGE), "HM-VERIFY-0108"),
    (
        "RSA's key usage",
        |draft| *draft.extension(oids::KEY_USAGE) = ExtensionDraft::key_usage(0x20),
        "HM-VERIFY-0109",
    ),
    (
        "signs",
        |draft| *draft.extension(oids::KEY_USAGE) = ExtensionDraft::key_usage(0x88),
        "HM-VERIFY-0109",
    ),
    (
        "signs certificates",
        |draft| *draft.extension(oids::KEY_USAGE) = ExtensionDraft::key_usage(0x0c),
        "HM-VERIFY-0109",
    ),
    (
        "no extended key usage",
        |draft| draft.without(oids::EXTENDED_KEY_USAGE),
        "HM-VERIFY-0110",
    ),
    (
        "another purpose",
        |draft| *draft.extension(oids::EXTENDED_KEY_USAGE) = ExtensionDraft::extended_key_usage(&["2.23.133.8.3"]),
        "HM-VERIFY-0111",
    ),
    (
        "any purpose",
        |draft| *draft.extension(oids::EXTENDED_KEY_USAGE) = ExtensionDraft::extended_key_usage(&["2.5.29.37.0"]),
        "HM-VERIFY-0111",
    ),
    (
        "client authentication",
        |draft| *draft.extension(oids::EXTENDED_KEY_USAGE) = ExtensionDraft::extended_key_usage(&["1.3.6.1.5.5.7.3.2"]),
        "HM-VERIFY-0111",
    ),
    (
        "no subject alternative name",
        |draft| draft.without(oids::SUBJECT_ALT_NAME),
        "HM-VERIFY-0112",
    ),
    (
        "no model",
        |draft| {
            *draft.extension(oids::SUBJECT_ALT_NAME) =
                ExtensionDraft::tpm_attributes(&[("2.23.133.2.1", "id:1"), ("2.23.133.2.3", "id:2")]);
        },
        "HM-VERIFY-0112",
    ),
    (
        "two manufacturers",
        |draft| {
            *draft.extension(oids::SUBJECT_ALT_NAME) = ExtensionDraft::tpm_attributes(&[
                ("2.23.133.2.1", "id:49465800"),
                ("2.23.133.2.1", "id:00001014"),
                ("2.23.133.2.2", "m"),
                ("2.23.133.2.3", "id:2"),
            ]);
        },
        "HM-VERIFY-0113",
    ),
    (
        "a line break in the model",
        |draft| {
            *draft.extension(oids::SUBJECT_ALT_NAME) = ExtensionDraft::tpm_attributes(&[
                ("2.23.133.2.1", "id:49465800"),
                ("2.23.133.2.2", "m\ntpm2:class:discrete"),
                ("2.23.133.2.3", "id:2"),
            ]);
        },
        "HM-VERIFY-0114",
    ),
    (
        "subject alternative name twice",
        |draft| {
            let twin = draft.extension(oids::SUBJECT_ALT_NAME).clone();
            draft.extensions.push(twin);
        },
        "HM-VERIFY-0115",
    ),
    (
        "an unknown extension twice",
        |draft| {
            let twin = ExtensionDraft {
                oid: OTHER_EXTENSION,
                critical: false,
                value: vec![0x05, 0x00],
            };
            draft.extensions.extend([twin.clone(), twin]);
        },
        "HM-VERIFY-0115",
    ),
    (
        "unknown critical extension",
        |draft| {
            draft.extensions.push(ExtensionDraft {
                oid: OTHER_EXTENSION,
                critical: true,
                value: vec![0x05, 0x00],
            });
        },
        "HM-VERIFY-0116",
    ),
    (
        "BER inside an extension",
        |draft| draft.extension(oids::KEY_USAGE).value = vec![0x03, 0x81, 0x02, 0x03, 0x08],
        "HM-VERIFY-0103",
    ),
    ("version 1", |draft| draft.version = None, "HM-VERIFY-0106"),
    ("version 2", |draft| draft.version = Some(1), "HM-VERIFY-0106"),
    (
        "SHA-1 signature",
        |draft| draft.signature_algorithm = element(0x30, &oid(oids::ECDSA_SHA1)),
        "HM-VERIFY-0117",
    ),
    (
        "MD5 signature",
        |draft| draft.signature_algorithm = element(0x30, &[&oid("1.2.840.113549.1.1.4")[..], &[5, 0]].concat()),
        "HM-VERIFY-0117",
    ),
];

#[test]
fn attack_10_profile() {
    let mut scene = Scene::new();
    scene.run().unwrap();
    for (what, change, code) in PROFILE {
        scene.machine.ek_certificate = Some(scene.vendor.ek_certificate_with(&scene.machine.ek, change));
        assert_eq!(refused(scene.run(), what), code, "{what}");
    }
    // An unknown extension that is not critical does not matter.
    scene.machine.ek_certificate = Some(scene.vendor.ek_certificate_with(&scene.machine.ek, |draft| {
        draft.extensions.push(ExtensionDraft {
            oid: OTHER_EXTENSION,
            critical: false,
            value: vec![0x05, 0x00],
        });
    }));
    scene.run().unwrap();
}

#[test]
fn attack_10_encoding() {
    let mut scene = Scene::new();
    let good = scene.machine.ek_certificate.clone().unwrap();
    scene.run().unwrap();
    let with = |change: fn(&mut Vec<u8>)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    for (what, certificate, code) in [
        ("trailing byte", with(|der| der.push(1)), "HM-VERIFY-0104"),
        (
            "second certificate behind",
            [&good[..], &good[..]].concat(),
            "HM-VERIFY-0104",
        ),
        ("cut off", with(|der| der.truncate(der.len() - 1)), "HM-VERIFY-0103"),
        (
            "indefinite length",
            with(|der| {
                der.splice(1..4, [0x80]);
                der.extend([0, 0]);
            }),
            "HM-VERIFY-0103",
        ),
        (
            "long form of a length",
            with(|der| {
                der.splice(1..2, [0x83, 0x00]);
            }),
            "HM-VERIFY-0103",
        ),
        ("another SEQUENCE", vec![0x30, 0x03, 0x02, 0x01, 0x00], "HM-VERIFY-0105"),
        (
            "signature damaged",
            with(|der| *der.last_mut().unwrap() ^= 1),
            "HM-VERIFY-0122",
        ),
        (
            "wrapper cut off",
            vec![0x10, 0x01, 0x00, 0xff, 0xff, 0x30],
            "HM-VERIFY-0102",
        ),
    ] {
        scene.machine.ek_certificate = Some(certificate);
        assert_eq!(refused(scene.run(), what), code, "{what}");
    }
}

/// RSA keys under rsaEncryption and under id-RSAES-OAEP are one key; other forms are not.
#[test]
fn attack_10_key_forms() {
    let mut scene = Scene::new();
    scene.machine = SoftwareMachine::with_ek(&scene.vendor, SoftwareEk::rsa());
    scene.run().unwrap();
    let rsa_encryption = [&[0x30, 0x0d][..], &oid("1.2.840.113549.1.1.1"), &[0x05, 0x00]].concat();
    let under = |spki: &[u8], algorithm: &[u8]| {
        let bits = &spki[4 + rsa_encryption.len()..];
        element(0x30, &[algorithm, bits].concat())
    };
    for (what, algorithm, code) in [
        (
            "OAEP with NULL",
            [&[0x30, 0x0d][..], &oid("1.2.840.113549.1.1.7"), &[0x05, 0x00]].concat(),
            None,
        ),
        (
            "OAEP with defaults",
            [&[0x30, 0x0d][..], &oid("1.2.840.113549.1.1.7"), &[0x30, 0x00]].concat(),
            None,
        ),
        (
            "PSS key",
            [&[0x30, 0x0d][..], &oid("1.2.840.113549.1.1.10"), &[0x30, 0x00]].concat(),
            Some("HM-VERIFY-0118"),
        ),
    ] {
        scene.machine.ek_certificate = Some(
            scene
                .vendor
                .ek_certificate_with(&scene.machine.ek, |draft| draft.spki = under(&draft.spki, &algorithm)),
        );
        assert_eq!(scene.run().err().as_deref(), code, "{what}");
    }
    let small = element(
        0x30,
        &[&[0x02, 0x81, 0x81, 0x00][..], &[0xc1; 128], &[0x02, 0x03, 1, 0, 1]].concat(),
    );
    let weak = element(
        0x30,
        &[&rsa_encryption[..], &element(0x03, &[&[0][..], &small].concat())].concat(),
    );
    scene.machine.ek_certificate = Some(
        scene
            .vendor
            .ek_certificate_with(&scene.machine.ek, |draft| draft.spki = weak.clone()),
    );
    assert_eq!(refused(scene.run(), "RSA-1024"), "HM-VERIFY-0118");
}

#[test]
fn attack_10_untrusted_paths() {
    let mut scene = Scene::new();
    scene.run().unwrap();
    let good = scene.machine.ek_certificate.clone();

    // Another vendor of the same names.
    let stranger = VendorCa::new();
    scene.machine.ek_certificate = Some(stranger.ek_certificate(&scene.machine.ek));
    assert_eq!(
        refused(scene.run(), "stranger below our intermediate"),
        "HM-VERIFY-0122"
    );
    scene.machine.ek_chain = vec![stranger.intermediate_der().to_vec(), stranger.root_der().to_vec()];
    assert_eq!(refused(scene.run(), "stranger's own root sent along"), "HM-VERIFY-0122");

    // Self-signed, and without the intermediate.
    let own = SoftwareKey::ecc(0);
    let mut self_signed = None;
    let _ = scene.vendor.ek_certificate_with(&scene.machine.ek, |draft| {
        draft.subject.clone_from(&draft.issuer);
        self_signed = Some(draft.sign(&own));
    });
    scene.machine.ek_certificate = self_signed;
    scene.machine.ek_chain = Vec::new();
    assert_eq!(refused(scene.run(), "self-signed"), "HM-VERIFY-0121");
    scene.machine.ek_certificate = good;
    assert_eq!(refused(scene.run(), "no intermediate"), "HM-VERIFY-0121");
}

#[test]
fn attack_10_intermediates() {
    let limit_of_root = VendorCa::with(
        |root| *root.extension(oids::BASIC_CONSTRAINTS) = ExtensionDraft::ca(Some(0)),
        |_| {},
    );
    let not_a_ca = VendorCa::with(|_| {}, |ca| ca.without(oids::BASIC_CONSTRAINTS));
    let cannot_sign = VendorCa::with(
        |_| {},
        |ca| *ca.extension(oids::KEY_USAGE) = ExtensionDraft::key_usage(0x02),
    );
    let expired = VendorCa::with(|_| {}, |ca| ca.not_after = 1_700_000_000);
    let weak = VendorCa::with(
        |_| {},
        |ca| ca.signature_algorithm = element(0x30, &oid(oids::ECDSA_SHA1)),
    );
    let other_purpose = VendorCa::with(
        |_| {},
        |ca| {
            ca.extensions
                .push(ExtensionDraft::extended_key_usage(&["1.3.6.1.5.5.7.3.1"]));
        },
    );
    for (what, vendor, code) in [
        ("root allows none below", limit_of_root, "HM-VERIFY-0124"),
        ("no CA", not_a_ca, "HM-VERIFY-0121"),
        ("may not sign certificates", cannot_sign, "HM-VERIFY-0121"),
        ("expired", expired, "HM-VERIFY-0120"),
        ("signed with SHA-1", weak, "HM-VERIFY-0123"),
        ("for web servers", other_purpose, "HM-VERIFY-0127"),
    ] {
        let mut scene = Scene::new();
        scene.machine = SoftwareMachine::new(&vendor);
        scene.trust = SoftwareMachine::trust(&vendor);
        assert_eq!(refused(scene.run(), what), code, "{what}");
    }
}

/// An EK certificate's holder cannot be a CA for others, and an intermediate that allows none below has none below.
#[test]
fn attack_10_path_length_and_a_leaf_as_ca() {
    let mut scene = Scene::new();
    let sub_key = SoftwareKey::ecc(0);
    let name = element(0x30, &[]);
    let sub =
        VendorCa::ca_draft(&VendorCa::intermediate_name(), &name, &sub_key, None).sign(&scene.vendor.intermediate_key);
    let mut certificate = None;
    let _ = scene.vendor.ek_certificate_with(&scene.machine.ek, |draft| {
        draft.issuer.clone_from(&name);
        certificate = Some(draft.sign(&sub_key));
    });
    scene.machine.ek_certificate = certificate;
    scene.machine.ek_chain.push(sub);
    assert_eq!(refused(scene.run(), "CA below path length 0"), "HM-VERIFY-0124");
}

#[test]
fn attack_10_many_intermediates_cost_little() {
    let mut scene = Scene::new();
    let intermediate = scene.machine.ek_chain[0].clone();
    scene.machine.ek_chain = vec![intermediate.clone(); MAX_INTERMEDIATES];
    scene.run().unwrap();
    scene.machine.ek_chain.push(intermediate);
    assert!(refused(scene.run(), "one too many").starts_with("HM-EVID"));

    // Eight CAs that all sign each other, none of which leads anywhere.
    let keys: Vec<SoftwareKey> = (0..MAX_INTERMEDIATES).map(|_| SoftwareKey::ecc(0)).collect();
    let name = VendorCa::intermediate_name();
    scene.machine.ek_chain = keys
        .iter()
        .map(|key| VendorCa::ca_draft(&name, &name, key, None).sign(key))
        .collect();
    let started = std::time::Instant::now();
    assert_eq!(refused(scene.run(), "knot"), "HM-VERIFY-0121");
    assert!(
        started.elapsed() < std::time::Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn roots_are_refused_by_file_and_index() {
    let vendor = VendorCa::new();
    let leaf = vendor.ek_certificate(&SoftwareEk::ecc());
    let small_key = VendorCa::with(
        |root| {
            let small = element(
                0x30,
                &[&[0x02, 0x81, 0x81, 0x00][..], &[0xc1; 128], &[0x02, 0x03, 1, 0, 1]].concat(),
            );
            let algorithm = element(0x30, &[&oid("1.2.840.113549.1.1.1")[..], &[5, 0]].concat());
            root.spki = element(
                0x30,
                &[&algorithm[..], &element(0x03, &[&[0][..], &small].concat())].concat(),
            );
        },
        |_| {},
    );
    let mut roots = EkRoots::default();
    for (what, file, code) in [
        ("not a certificate", b"hello".to_vec(), "HM-VERIFY-0151"),
        ("empty", Vec::new(), "HM-VERIFY-0151"),
        ("an EK certificate", leaf, "HM-VERIFY-0152"),
        ("trailing byte", [vendor.root_der(), &[1]].concat(), "HM-VERIFY-0151"),
        (
            "one root cut off behind another",
            [vendor.root_der(), &vendor.root_der()[..99]].concat(),
            "HM-VERIFY-0151",
        ),
        ("RSA-1024", small_key.root_der().to_vec(), "HM-VERIFY-0152"),
    ] {
        let error = roots.add("vendor.pem", &file).expect_err(what);
        assert_eq!(error.code().as_str(), code, "{what}");
        assert!(error.to_string().contains("vendor.pem"), "{error}");
    }
    assert!(roots.is_empty());
    assert_eq!(roots.add("vendor.der", vendor.root_der()).unwrap(), 1);
    assert_eq!(roots.add("again.der", vendor.root_der()).unwrap(), 1);
    assert_eq!(roots.len(), 1, "it is pinned once");
    assert_eq!(roots.subjects().collect::<Vec<_>>(), ["CN=Software Machine Test Root"]);
}

/// What `cat` makes of files without a line's end behind them, and of files in several forms.
#[test]
fn every_root_of_a_file_is_taken_or_the_file_is_refused() {
    let vendors: Vec<VendorCa> = (0..5).map(|_| VendorCa::new()).collect();
    let pem = |vendor: &VendorCa| {
        let text = STANDARD.encode(vendor.root_der());
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----")
    };
    let joined: String = vendors.iter().map(pem).collect();
    let with_text = vendors
        .iter()
        .map(|vendor| format!("0 s:CN = x\n   Data:\n{}\n\n", pem(vendor)));
    let ders: Vec<u8> = vendors.iter().flat_map(|vendor| vendor.root_der().to_vec()).collect();
    for (what, file) in [
        ("joined", joined.clone().into_bytes()),
        ("with text", with_text.collect::<String>().into_bytes()),
        ("DER behind DER", ders),
    ] {
        let mut roots = EkRoots::default();
        assert_eq!(roots.add("vendor.pem", &file).unwrap(), 5, "{what}");
        assert_eq!(roots.len(), 5, "{what}");
    }
    for (what, file) in [
        ("a damaged one", joined.replacen("-----END CERTIFICATE-----", "", 1)),
        ("another label", joined.replacen(" CERTIFICATE", " PKCS7", 2)),
        ("a list among them", joined.replacen(" CERTIFICATE", " X509 CRL", 2)),
    ] {
        let mut roots = EkRoots::default();
        let error = roots.add("vendor.pem", file.as_bytes()).expect_err(what);
        assert_eq!(error.code().as_str(), "HM-VERIFY-0151", "{what}");
        assert!(error.to_string().contains("section 1"), "{error}");
        assert!(roots.is_empty());
    }
}

/// An issuer's name comes from strangers, and goes to logs and terminals.
#[test]
fn attack_10_an_issuers_name_moves_no_terminal() {
    let scene = Scene::new();
    let name = element(0x0c, b"a\x1b[2J\nHM-VERIFY-0000: all is well");
    let hostile = element(
        0x30,
        &element(0x31, &element(0x30, &[&oid("2.5.4.3")[..], &name].concat())),
    );
    let mut claim = scene.machine.claim();
    claim.ek_certificate = Some(
        scene
            .vendor
            .ek_certificate_with(&scene.machine.ek, |draft| draft.issuer = hostile),
    );
    let claim = claim.decode().unwrap();
    let error = hallmark_verify::verify_claim(claim, &scene.trust, None, crate::scene::now()).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-VERIFY-0121");
    let compared = error.compared().unwrap();
    assert!(
        compared.contains("all is well") && !compared.chars().any(char::is_control),
        "{compared:?}"
    );
}
