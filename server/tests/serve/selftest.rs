//! `hallmark-server hsm selftest`, as operators run it.

use std::{
    fs,
    process::{Command, Output},
};

use crate::lab::{Lab, init_token, isolated};

fn selftest(lab: &Lab, options: &[&str]) -> Output {
    let file = lab.folder.join("server.toml");
    fs::write(&file, lab.settings.to_string()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_hallmark-server"))
        .args(["hsm", "selftest", "--config"])
        .arg(file)
        .args(options)
        .output()
        .unwrap()
}

fn keys(lab: &Lab) -> String {
    let listed = Command::new("pkcs11-tool")
        .args([
            "--module",
            "/usr/lib/softhsm/libsofthsm2.so",
            "--token-label",
            "hallmark",
            "--login",
            "--pin",
            "1234",
            "-O",
        ])
        .env("SOFTHSM2_CONF", lab.folder.join("softhsm2.conf"))
        .output()
        .unwrap();
    String::from_utf8(listed.stdout).unwrap()
}

#[test]
fn a_token_is_shown_to_work_and_nothing_is_left_in_it() {
    isolated(
        "selftest::a_token_is_shown_to_work_and_nothing_is_left_in_it",
        async |mut lab: Lab| {
            let out = selftest(&lab, &["-o", "json"]);
            assert!(out.status.success(), "{out:?}");
            let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            assert_eq!(told["passed"], true);
            let [kind] = told["kinds"].as_array().unwrap().as_slice() else {
                panic!("one kind is configured: {told}");
            };
            assert_eq!(kind["kind"], "ec-p256");
            assert_eq!(kind["algorithms"][0]["mechanism"], "CKM_ECDSA");
            assert!(kind["algorithms"][0]["microseconds"].as_u64().unwrap() > 0);
            for (attribute, value) in [
                ("sensitive", true),
                ("extractable", false),
                ("local", true),
                ("sign_only", true),
            ] {
                assert_eq!(kind[attribute], value, "{attribute}");
            }
            assert_eq!(kind["destroyed"], true);
            let all = selftest(&lab, &["--all"]);
            let text = String::from_utf8(all.stdout).unwrap();
            for line in [
                "ec-p521: made in ",
                "rsa-4096: made in ",
                "ed25519: made in ",
                "  RSA-PSS with SHA-512: CKM_SHA512_RSA_PKCS_PSS, ",
            ] {
                assert!(text.contains(line), "{line:?}: {text}");
            }
            assert!(!keys(&lab).contains("selftest"), "{}", keys(&lab));
            // What fails has its code, and the program says so.
            init_token(&lab.folder, "hallmark");
            let ambiguous = selftest(&lab, &[]);
            assert_eq!(ambiguous.status.code(), Some(4));
            assert!(
                String::from_utf8_lossy(&ambiguous.stderr).contains("HM-HSM-0003"),
                "{ambiguous:?}"
            );
            fs::write(lab.folder.join("pin"), "wrong").unwrap();
            let serial = told["token"]["serial"].as_str().unwrap();
            lab.settings["hsm"].as_table_mut().unwrap().remove("token_label");
            lab.set("hsm", "token", format!("pkcs11:serial={serial}"));
            let wrong = selftest(&lab, &[]);
            assert_eq!(
                wrong.status.code(),
                Some(2),
                "nothing starts it again and again: {wrong:?}"
            );
            assert!(
                String::from_utf8_lossy(&wrong.stderr).contains("HM-HSM-0004"),
                "{wrong:?}"
            );
            fs::write(lab.folder.join("pin"), "1234").unwrap();
            assert!(
                selftest(&lab, &[]).status.success(),
                "the control: by its serial number"
            );
        },
    );
}
