//! Authorities that sign, and tokens that are minted.

use crate::{
    fake::{ACTIVE, OLD, PREPARED, RETIRED, X509},
    run::Server,
};

fn asked(server: &Server) -> Vec<(String, String)> {
    std::mem::take(&mut server.fake().state().asked)
}

#[test]
fn keys_are_shown_with_what_the_bundle_says_of_them() {
    let server = Server::start();
    let shown = server.run("authority jwt show").stdout;
    let line = |id: &str| shown.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(line(OLD).contains("tainted"), "{shown}");
    assert!(
        line(ACTIVE).contains("active") && line(ACTIVE).contains("2100-01-01"),
        "{shown}"
    );
    assert!(line(PREPARED).contains("prepared"), "{shown}");
    assert!(line(RETIRED).contains("old"), "{shown}");
    let bundle = server.run("bundle show").stdout;
    assert!(bundle.contains("JWT AUTHORITY") && bundle.contains(ACTIVE), "{bundle}");
}

#[test]
fn steps_are_taken_with_their_reasons_and_rehearsed_without() {
    let server = Server::start();
    for (line, act) in [
        ("authority jwt activate --reason drill", "activate"),
        ("authority jwt taint kid-of-the-ret --reason drill", "taint"),
        ("authority jwt revoke kid-of-the-old --yes --reason drill", "revoke"),
    ] {
        let rehearsed = server.run(&format!("{line} --dry-run"));
        assert_eq!(
            (rehearsed.code, asked(&server).len()),
            (7, 0),
            "{line}: {}",
            rehearsed.stderr
        );
        let done = server.run(line);
        assert_eq!(done.code, 0, "{line}: {}", done.stderr);
        assert_eq!(asked(&server), [(act.to_owned(), "drill".to_owned())], "{line}");
    }
    // Without a yes nothing is destroyed.
    let unasked = server.run("authority jwt revoke kid-of-the-old");
    assert_eq!((unasked.code, asked(&server).len()), (2, 0), "{}", unasked.stderr);
    let refused = server.run("authority jwt prepare");
    assert_eq!(refused.code, 6, "{}", refused.stderr);
    assert!(refused.stderr.contains("HM-REG-0122"), "{}", refused.stderr);
}

#[test]
fn x509_authorities_are_shown_and_steps_taken_in_the_same_way() {
    let server = Server::start();
    let shown: serde_json::Value = serde_json::from_str(&server.run("authority x509 show -o json").stdout).unwrap();
    let told: Vec<_> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["key_id"], &it["state"]))
        .collect();
    let expected = [(X509[0], "tainted"), (X509[1], "old"), (X509[2], "active")];
    assert!(
        told.iter()
            .zip(expected)
            .all(|(told, it)| *told.0 == it.0 && *told.1 == it.1),
        "{shown}"
    );
    for (line, acts) in [
        ("authority x509 prepare --reason drill", &["prepare x509"][..]),
        ("authority x509 taint 0b0b02 --reason drill", &["taint x509"]),
        ("authority x509 revoke 0b0b02 --yes --reason drill", &["revoke x509"]),
        (
            "authority x509 rotate --wait 1s --reason drill",
            &["prepare x509", "activate x509"],
        ),
    ] {
        let rehearsed = server.run(&format!("{line} --dry-run"));
        assert_eq!(
            (rehearsed.code, asked(&server).len()),
            (7, 0),
            "{line}: {}",
            rehearsed.stderr
        );
        let done = server.run(line);
        assert_eq!(done.code, 0, "{line}: {}", done.stderr);
        let expected: Vec<_> = acts.iter().map(|act| ((*act).to_owned(), "drill".to_owned())).collect();
        assert_eq!(asked(&server), expected, "{line}");
    }
    // What does not stand where the step begins is not asked for by a rehearsal.
    for (line, code) in [
        ("authority x509 activate --dry-run", "HM-REG-0124"),
        ("authority x509 taint 0a0a01 --dry-run", "HM-REG-0123"),
        ("authority x509 taint 0c0c03 --dry-run", "HM-REG-0123"),
        ("authority x509 revoke 0c0c03 --dry-run --yes", "HM-REG-0123"),
        ("authority x509 revoke ff --dry-run --yes", "HM-REG-0120"),
        // A beginning that is short may be another one's tomorrow.
        ("authority x509 revoke 0b0b --dry-run --yes", "HM-REG-0120"),
        ("authority jwt revoke kid-of- --dry-run --yes", "HM-REG-0120"),
    ] {
        let refused = server.run(line);
        assert!(
            refused.code == 6 && refused.stderr.contains(code),
            "{line}: {}",
            refused.stderr
        );
    }
}

#[test]
fn a_minted_token_stands_alone_on_stdout() {
    let server = Server::start();
    let minted = server.run("svid mint jwt /ci/deploy --audience vault --audience db");
    assert_eq!(
        (minted.code, minted.stdout.as_str()),
        (0, "header.vault+db.signature\n"),
        "{}",
        minted.stderr
    );
    let json = server.run("svid mint jwt /ci/deploy --audience vault -o json").stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["spiffe_id"], "spiffe://example.org/ci/deploy");
    assert_eq!(json["token"], "header.vault.signature");
    assert_eq!(server.run("svid mint jwt /ci/deploy").code, 2, "for nobody");
    let refused = server.run("svid mint jwt /ci --audience vault --ttl 2h");
    assert!(
        refused.code == 2 && refused.stderr.contains("HM-REG-0045"),
        "{}",
        refused.stderr
    );
}
