//! Keys: made, found, used, refused.

use std::process::Command;

use hallmark_hsm::{HsmError, KeyId, KeyKind, KeyStore, SignatureAlg};

use crate::{
    lab::{LABEL, PIN, block_on, isolated, module, ok, open},
    verifying::verifies,
};

#[test]
fn every_kind_of_key_signs_what_others_verify() {
    isolated("keys::every_kind_of_key_signs_what_others_verify", |lab| {
        let lab = lab.with_token();
        let store = open(PIN).unwrap();
        block_on(async {
            let mut made = 0;
            for kind in KeyKind::ALL {
                let label = format!("x509-{kind}");
                assert_eq!(store.find(&label).await.unwrap(), None);
                let key = store.generate(&label, kind).await.unwrap();
                assert_eq!((key.kind, key.label.as_str()), (kind, label.as_str()));
                assert!(key.is_protected(), "{key:?}");
                let messages = vec![b"one".to_vec(), Vec::new(), vec![7; 5000]];
                for alg in kind.algorithms().iter().copied() {
                    let signatures = store.sign_batch(&key.id, alg, messages.clone()).await.unwrap();
                    assert_eq!(signatures.len(), messages.len());
                    made += 3;
                    for (message, signature) in messages.iter().zip(&signatures) {
                        assert!(verifies(alg, &key.spki_der, message, signature), "{kind} {alg}");
                        assert!(!verifies(alg, &key.spki_der, b"other", signature), "{kind} {alg}");
                    }
                }
                assert_eq!(store.find(&label).await.unwrap(), Some(key));
            }
            let listed = store.list().await.unwrap();
            assert_eq!(listed.len(), KeyKind::ALL.len());
            let status = store.status();
            assert_eq!((status.signatures, status.failures), (made, 0));
            assert_eq!(status.token.label, LABEL);
        });
        // OpenSSL reads our public keys as well.
        let key = block_on(store.find("x509-rsa-3072")).unwrap().unwrap();
        std::fs::write(lab.path("spki"), key.spki_der).unwrap();
        let text = ok(Command::new("openssl")
            .args(["pkey", "-pubin", "-inform", "DER", "-noout", "-text", "-in"])
            .arg(lab.path("spki")));
        assert!(text.contains("3072 bit") && text.contains("65537"), "{text}");
    });
}

#[test]
fn keys_live_on_after_the_store_is_closed_and_die_when_destroyed() {
    isolated(
        "keys::keys_live_on_after_the_store_is_closed_and_die_when_destroyed",
        |lab| {
            let _lab = lab.with_token();
            let made = block_on(open(PIN).unwrap().generate("a", KeyKind::EcP256)).unwrap();
            let store = open(PIN).unwrap();
            block_on(async {
                let key = store.find("a").await.unwrap().unwrap();
                assert_eq!(key, made);
                let alg = SignatureAlg::EcdsaP256Sha256;
                store.sign(&key.id, alg, b"m".to_vec()).await.unwrap();
                store.destroy(&key.id).await.unwrap();
                assert_eq!(store.find("a").await.unwrap(), None);
                // Several times, so that every session is asked whether it knew the key or not.
                for _ in 0..6 {
                    let gone = store.sign(&key.id, alg, b"m".to_vec()).await;
                    assert!(matches!(gone, Err(HsmError::KeyMissing { .. })), "{gone:?}");
                }
                assert!(matches!(store.destroy(&key.id).await, Err(HsmError::KeyMissing { .. })));
                // The label is free again.
                store.generate("a", KeyKind::EcP256).await.unwrap();
            });
        },
    );
}

#[test]
fn names_and_algorithms_that_do_not_fit_are_refused() {
    isolated("keys::names_and_algorithms_that_do_not_fit_are_refused", |lab| {
        let _lab = lab.with_token();
        let store = open(PIN).unwrap();
        block_on(async {
            let key = store.generate("a", KeyKind::EcP256).await.unwrap();
            let again = store.generate("a", KeyKind::EcP256).await;
            assert_eq!(again, Err(HsmError::KeyExists { label: "a".into() }));
            for label in ["", "tab\t", "ü", &"x".repeat(129)] {
                let refused = store.generate(label, KeyKind::EcP256).await;
                assert!(matches!(refused, Err(HsmError::BadLabel { .. })), "{label}");
            }
            let wrong = store.sign(&key.id, SignatureAlg::RsaPkcs1Sha256, vec![1]).await;
            assert!(matches!(wrong, Err(HsmError::WrongAlgorithm { .. })), "{wrong:?}");
            let nobody = KeyId::new(b"nobody");
            let missing = store.sign(&nobody, SignatureAlg::EcdsaP256Sha256, vec![1]).await;
            assert_eq!(
                missing,
                Err(HsmError::KeyMissing {
                    key: "6e6f626f6479".into()
                })
            );
            assert_eq!(
                store.sign_batch(&nobody, SignatureAlg::EcdsaP256Sha256, vec![]).await,
                Ok(vec![])
            );
        });
    });
}

#[test]
fn a_key_that_was_ever_outside_is_refused() {
    isolated("keys::a_key_that_was_ever_outside_is_refused", |lab| {
        let lab = lab.with_token();
        let pem = lab.path("key.pem");
        ok(Command::new("openssl")
            .args([
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
            ])
            .arg(&pem));
        ok(Command::new("softhsm2-util")
            .args([
                "--token", LABEL, "--pin", PIN, "--label", "imported", "--id", "0a0b", "--import",
            ])
            .arg(&pem));
        let made = lab.pkcs11_tool(&[
            "--token-label",
            LABEL,
            "--login",
            "--pin",
            PIN,
            "--keypairgen",
            "--key-type",
            "EC:prime256v1",
            "--label",
            "extractable",
            "--id",
            "0c",
            "--extractable",
            "--usage-sign",
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let store = open(PIN).unwrap();
        block_on(async {
            for (label, id, property) in [
                ("imported", &[0x0a, 0x0b][..], "CKA_LOCAL is false, must be true"),
                ("extractable", &[0x0c], "CKA_EXTRACTABLE is true, must be false"),
            ] {
                let Err(HsmError::KeyExposed { properties, .. }) = store.find(label).await else {
                    panic!("{label} must be refused");
                };
                assert!(properties.contains(property), "{properties}");
                let signed = store
                    .sign(&KeyId::new(id), SignatureAlg::EcdsaP256Sha256, vec![1])
                    .await;
                assert!(matches!(signed, Err(HsmError::KeyExposed { .. })), "{signed:?}");
            }
            let listed = store.list().await.unwrap();
            assert_eq!(listed.len(), 2);
            assert!(listed.iter().all(|key| !key.is_protected()), "{listed:?}");
            // The control: a key of our own beside them is taken.
            let own = store.generate("own", KeyKind::EcP256).await.unwrap();
            assert_eq!(store.find("own").await.unwrap(), Some(own));
        });
    });
}

#[test]
fn keys_that_share_a_name_or_lack_a_half_are_refused() {
    isolated("keys::keys_that_share_a_name_or_lack_a_half_are_refused", |lab| {
        let lab = lab.with_token();
        let tool = |args: &[&str]| {
            let login = ["--token-label", LABEL, "--login", "--pin", PIN];
            let out = lab.pkcs11_tool(&[&login, args].concat());
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        };
        let pair = |label, id| {
            tool(&[
                "--keypairgen",
                "--key-type",
                "EC:prime256v1",
                "--label",
                label,
                "--id",
                id,
                "--usage-sign",
            ]);
        };
        pair("twice", "01");
        pair("twice", "02");
        pair("half", "03");
        pair("swapped", "04");
        pair("swapped-with", "05");
        pair("plain", "06");
        tool(&["--delete-object", "--type", "pubkey", "--id", "03"]);
        // The public half of another key takes the place of the right one.
        tool(&["--delete-object", "--type", "pubkey", "--id", "04"]);
        let der = lab.path("other.der");
        tool(&[
            "--read-object",
            "--type",
            "pubkey",
            "--id",
            "05",
            "-o",
            der.to_str().unwrap(),
        ]);
        tool(&[
            "--write-object",
            der.to_str().unwrap(),
            "--type",
            "pubkey",
            "--id",
            "04",
            "--label",
            "swapped",
        ]);
        let store = open(PIN).unwrap();
        block_on(async {
            assert!(store.find("plain").await.unwrap().is_some(), "the control");
            let twice = store.find("twice").await;
            assert_eq!(
                twice,
                Err(HsmError::KeyAmbiguous {
                    key: "\"twice\"".into(),
                    count: 2
                })
            );
            for (label, cause) in [
                ("half", "its public half is missing"),
                ("swapped", "its public half is another key's"),
            ] {
                let Err(HsmError::KeyIncomplete { cause: found, .. }) = store.find(label).await else {
                    panic!("{label} must be refused");
                };
                assert_eq!(found, cause);
            }
        });
        assert!(module().exists());
    });
}
