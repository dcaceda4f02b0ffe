//! Keys that sign JWT-SVIDs, and tokens that are minted.

use crate::{
    fake::{ACTIVE, OLD, PREPARED},
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
    let bundle = server.run("bundle show").stdout;
    assert!(bundle.contains("JWT AUTHORITY") && bundle.contains(ACTIVE), "{bundle}");
}

#[test]
fn steps_are_taken_with_their_reasons_and_rehearsed_without() {
    let server = Server::start();
    for (line, act) in [
        ("authority jwt activate --reason drill", "activate"),
        ("authority jwt taint kid-of-the-old --reason drill", "taint"),
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
