//! Files of other people's machines that were once read wrongly (`tests/vectors/reports`), each beside what differs in one
//! thing and must not pass.

use std::path::{Path, PathBuf};

use crate::{evidence::hallmark, run::Done};

pub(crate) fn report(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/reports")
        .join(case)
}

pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Imports the machine of a report with the IMA list `ima` and judges it by the policy; `more` is `--policy` or a list.
fn judged(case: &str, ima: &Path, more: &[String]) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let evidence = text(&folder.path().join("m.evidence"));
    let file = |name: &str| text(&report(case).join(name));
    let import = hallmark(&[
        "evidence",
        "import",
        "--ak-public",
        &file("ak.pub"),
        "--quote",
        &file("quote.msg"),
        "--signature",
        &file("quote.sig"),
        "--qualification",
        "00112233445566778899aabbccddeeff",
        "--ima",
        &text(ima),
        "--pcrs",
        &file("pcrs.txt"),
        "-o",
        &evidence,
    ]);
    assert_eq!(import.code, 0, "{}", import.stderr);
    let mut arguments = vec!["evidence", "verify", &evidence];
    arguments.extend(more.iter().map(String::as_str));
    hallmark(&arguments)
}

/// A policy over the list `image`, given as text.
fn by_list(case: &str, list: &str) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.sha256");
    std::fs::write(&path, list).unwrap();
    let policy = text(&report(case).join("policy.toml"));
    let arguments = [
        "--policy".into(),
        policy,
        "--digest-list".into(),
        format!("image={}", text(&path)),
    ];
    judged(case, &report(case).join("ima.bin"), &arguments)
}

fn by_rules(case: &str, rules: &str) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    std::fs::write(&path, format!("version = 1\nname = \"p\"\nserial = 1\n[ima]\n{rules}")).unwrap();
    judged(case, &report(case).join("ima.bin"), &["--policy".into(), text(&path)])
}

fn list_of(case: &str) -> String {
    std::fs::read_to_string(report(case).join("image.sha256")).unwrap()
}

#[track_caller]
fn passes(done: &Done) {
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
}

#[track_caller]
fn refused(done: &Done, code: &str) {
    assert_eq!(done.code, 5, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains(code), "{code}: {}", done.stdout);
}

#[test]
fn attack_48_a_list_of_which_the_quote_proves_no_line_is_no_proven_list() {
    const CASE: &str = "ima-nothing-in-the-tpm";
    let own = ["--policy".into(), text(&report(CASE).join("policy.toml"))];
    let done = judged(CASE, &report(CASE).join("ima.bin"), &own);
    refused(&done, "HM-POLICY-0220");
    assert!(done.stdout.contains("IMA runs without this TPM"), "{}", done.stdout);
    assert!(
        !done.stdout.contains("does not begin with a boot_aggregate"),
        "{}",
        done.stdout
    );
    refused(&by_rules(CASE, ""), "HM-POLICY-0220");
    // Not even where a list need not come: nothing that a rule over it is about is proven.
    refused(
        &by_rules(CASE, "required = false\nboot_aggregate = false"),
        "HM-POLICY-0202",
    );
    // The same list where the TPM has it.
    let good = "ima-space-in-name";
    passes(&by_rules(good, "boot_aggregate = false"));
}

#[test]
fn the_list_of_a_bank_is_read_in_both_forms() {
    const CASE: &str = "ima-per-bank-list";
    for file in ["ima.bin", "ima.txt"] {
        passes(&judged(CASE, &report(CASE).join(file), &[]));
        // One bit of what the line says.
        let mut bytes = std::fs::read(report(CASE).join(file)).unwrap();
        let at = bytes.windows(4).position(|window| window == b"true").unwrap();
        bytes[at] ^= 1;
        let folder = tempfile::tempdir().unwrap();
        let changed = folder.path().join(file);
        std::fs::write(&changed, bytes).unwrap();
        refused(&judged(CASE, &changed, &[]), "HM-EVID-0305");
    }
}

#[test]
fn attack_48_a_space_in_a_listed_name_is_the_underscore_of_the_kernel_and_the_digest_counts() {
    const CASE: &str = "ima-space-in-name";
    let list = list_of(CASE);
    let (digest, _) = list.split_once(' ').unwrap();
    passes(&by_list(CASE, &list));
    // Another listed file's digest does not do at this path, nor this file's digest at another path.
    let other = "0".repeat(64);
    refused(
        &by_list(
            CASE,
            &format!("{other}  ./opt/site/start node (x86).sh\n{digest}  ./opt/other\n"),
        ),
        "HM-POLICY-0210",
    );
    refused(
        &by_list(CASE, &format!("{digest}  ./opt/site/start-node (x86).sh\n")),
        "HM-POLICY-0209",
    );
    // The same of `allow` and `exclude`.
    passes(&by_rules(
        CASE,
        &format!("allow = [\"{digest}  /opt/site/start node (x86).sh\"]"),
    ));
    passes(&by_rules(
        CASE,
        &format!("allow = [\"{other}\"]\nexclude = [\"/opt/site/start node (*).sh\"]"),
    ));
    refused(
        &by_rules(
            CASE,
            &format!("allow = [\"{other}\"]\nexclude = [\"/opt/site/start  node (*).sh\"]"),
        ),
        "HM-POLICY-0209",
    );
}

#[test]
fn paths_of_the_images_root_need_no_dot() {
    const CASE: &str = "digest-list-no-dot";
    let list = list_of(CASE);
    assert!(list.contains(" usr/bin/true"), "{list}");
    passes(&by_list(CASE, &list));
    let changed = format!("{}{}", if list.starts_with('0') { "1" } else { "0" }, &list[1..]);
    refused(&by_list(CASE, &changed), "HM-POLICY-0210");
    let up = by_list(CASE, &list.replace(" usr/", " ../usr/"));
    assert_eq!(up.code, 2, "{}", up.stdout);
    assert!(up.stderr.contains("`..`"), "{}", up.stderr);
}
