//! Files of other people's machines that were once read wrongly (`tests/vectors/reports`), each beside what differs in one
//! thing and must not pass.

use std::path::{Path, PathBuf};

use crate::{
    evidence::hallmark,
    run::{Done, Server},
};

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

#[test]
fn ek_certificates_are_taken_as_tools_write_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("m.evidence"));
    let file = |name: &str| text(&report("ek-cert-forms").join(name));
    let import = |certificate: &str| {
        hallmark(&[
            "evidence",
            "import",
            "--ak-public",
            &file("q/ak.pub"),
            "--quote",
            &file("q/quote.msg"),
            "--signature",
            &file("q/quote.sig"),
            "--qualification",
            "00112233445566778899aabbccddeeff",
            "--ek-cert",
            certificate,
            "-o",
            &out,
        ])
    };
    let kept = || {
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        json["ek_certificate"].clone()
    };
    let mut all = Vec::new();
    for form in ["nv.bin", "text.pem"] {
        passes(&import(&file(form)));
        all.push(kept());
    }
    assert!(all[0].is_string() && all[0] == all[1], "{all:?}");
    // Cut off, and something else.
    let bytes = std::fs::read(file("nv.bin")).unwrap();
    let cut = folder.path().join("cut");
    for (bytes, told) in [(&bytes[..200], "wrapper is cut off"), (b"hello", "neither PEM nor DER")] {
        std::fs::write(&cut, bytes).unwrap();
        let done = import(&text(&cut));
        assert_eq!(done.code, 2, "{}", done.stdout);
        assert!(done.stderr.contains(told), "{}", done.stderr);
    }
}

#[test]
fn a_mark_that_nobody_sees_changes_no_file() {
    let server = Server::start();
    let import = |file: &Path| server.run(&format!("inventory import {} --dry-run", text(file)));
    for form in ["bom.csv", "bom.json"] {
        let done = import(&report("inventory-json-bom").join(form));
        assert_eq!(done.code, 7, "{form}: {}", done.stderr);
        assert!(done.stdout.contains("added      1: "), "{form}: {}", done.stdout);
    }
    // Within the text it is what it was, and UTF-16 is named.
    let folder = tempfile::tempdir().unwrap();
    let json = std::fs::read_to_string(report("inventory-json-bom").join("bom.json")).unwrap();
    let json = json.trim_start_matches('\u{feff}');
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain(json.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    for (name, bytes, told) in [
        (
            "twice.json",
            format!("\u{feff}\u{feff}{json}").into_bytes(),
            "HM-REG-0070",
        ),
        ("utf16.json", utf16.clone(), "it is UTF-16"),
        ("utf16.csv", utf16, "it is UTF-16"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let done = import(&path);
        assert!(
            done.code == 2 && done.stderr.contains(told),
            "{name}: {} {}",
            done.code,
            done.stderr
        );
    }
    // Everything else that this program reads as text: policies, lists, registers, evidence.
    let marked = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
        path.display().to_string()
    };
    let policy = marked(
        "p.toml",
        "version = 1\nname = \"p\"\nserial = 1\n[tpm]\nclock_safe = true\n",
    );
    passes(&hallmark(&["policy", "check", &policy]));
    let list = marked("image.sha256", &list_of("digest-list-no-dot"));
    let out = text(&folder.path().join("image.json"));
    passes(&hallmark(&["policy", "digests", &list, "--name", "image", "-o", &out]));
    let case = report("ima-space-in-name");
    let file = |name: &str| text(&case.join(name));
    let pcrs = marked("pcrs.txt", &std::fs::read_to_string(case.join("pcrs.txt")).unwrap());
    let evidence = text(&folder.path().join("m.evidence"));
    passes(&hallmark(&[
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
        "--pcrs",
        &pcrs,
        "-o",
        &evidence,
    ]));
    let evidence = marked("marked.evidence", &std::fs::read_to_string(&evidence).unwrap());
    passes(&hallmark(&["evidence", "verify", &evidence]));
}
