//! Rules over IMA lists, held against lists that registers prove.

use std::collections::BTreeSet;

use hallmark_evidence::ima::{ImaList, ImaReplay};
use hallmark_policy::{AppraisalResult, ImaSummary, LineKind, MachineFacts, MeasuredFile, PolicySet, Signed};
use hallmark_tpm_wire::{HashAlg, PcrValues};
use hallmark_verify::ima::{ImaKeys, MeasuredFiles, measured_files};

use crate::ima_kept::stored;
use crate::machine::{good, now, policy};
use crate::writer;

pub(crate) const RSA: &str = include_str!("../../../verify/tests/vectors/ima/rsa.pem");
pub(crate) const P256: &str = include_str!("../../../verify/tests/vectors/ima/p256.pem");
const PROGRAM: &[u8] = include_bytes!("../../../verify/tests/vectors/ima/program");
const BY_P256: &[u8] = include_bytes!("../../../verify/tests/vectors/ima/program.p256.sha256.sig");
const BY_RSA: &[u8] = include_bytes!("../../../verify/tests/vectors/ima/program.rsa.sha256.sig");
const OVER_SHA512: &[u8] = include_bytes!("../../../verify/tests/vectors/ima/program.p256.sha512.sig");

fn firmware() -> PcrValues {
    let mut values = PcrValues::new();
    for pcr in 0..10 {
        values
            .insert(HashAlg::Sha256, pcr, HashAlg::Sha256.digest(&[pcr]))
            .unwrap();
    }
    values
}

pub(crate) fn first_line() -> Vec<u8> {
    let registers: Vec<u8> = (0..10).flat_map(|pcr| HashAlg::Sha256.digest(&[pcr])).collect();
    let digest: [u8; 32] = HashAlg::Sha256.digest(&registers).try_into().unwrap();
    writer::file("boot_aggregate", &digest)
}

/// The lines, proven, behind those that `held` replayed.
pub(crate) fn proven(held: Option<ImaReplay>, lines: &[Vec<u8>]) -> MeasuredFiles {
    let mut replay = held.clone().unwrap_or_else(|| ImaReplay::at_boot(HashAlg::Sha256));
    for event in ImaList::binary(&lines.concat()).lines() {
        replay.extend(&event.unwrap());
    }
    let mut values = firmware();
    values.insert(HashAlg::Sha256, 10, replay.value().to_vec()).unwrap();
    measured_files(lines.concat(), held, &values).unwrap()
}

pub(crate) fn summary(lines: &[Vec<u8>]) -> ImaSummary {
    ImaSummary::of(None, &proven(None, lines)).unwrap()
}

/// A machine that measured these lines behind a good first one.
pub(crate) fn machine(lines: &[Vec<u8>]) -> MachineFacts {
    let lines = [vec![first_line()], lines.to_vec()].concat();
    MachineFacts {
        ima: Some(summary(&lines)),
        ..good()
    }
}

/// The policy's rules, with `$HASH1` to `$HASH9` as digests of files that are all ones to all nines.
pub(crate) fn rules(lines: &str) -> String {
    let mut text = format!("[ima]\n{lines}");
    for digit in 1..10_u8 {
        text = text.replace(&format!("$HASH{digit}"), &hex::encode([digit; 32]));
    }
    text.replace("$PROGRAM", &hex::encode(HashAlg::Sha256.digest(PROGRAM)))
        .replace("$P256", &format!("'''{P256}'''"))
        .replace("$RSA", &format!("'''{RSA}'''"))
}

fn judge(lines: &str, machine: &MachineFacts) -> AppraisalResult {
    let mut set = PolicySet::default();
    set.apply(policy(&rules(lines)));
    set.judge(machine, now())
}

/// The code of the first rule that refuses; "holds" where none does, and then the selectors say so.
fn code(lines: &str, measured: &[Vec<u8>]) -> String {
    let result = judge(lines, &machine(measured));
    let selectors: BTreeSet<String> = result.selectors().iter().map(ToString::to_string).collect();
    assert_eq!(selectors.contains("ima:policy:p"), result.is_trusted());
    let refusal = result.refusal();
    refusal.map_or("holds".to_owned(), |reason| reason.code.as_str().to_owned())
}

pub(crate) fn file(path: &str, digit: u8) -> Vec<u8> {
    writer::file(path, &[digit; 32])
}

fn signed(path: &str, contents: &[u8], signature: &[u8]) -> Vec<u8> {
    let digest = writer::digest("sha256", &HashAlg::Sha256.digest(contents));
    writer::line("ima-sig", &[digest, writer::name(path.as_bytes()), signature.to_vec()])
}

fn violation(path: &str) -> Vec<u8> {
    let fields = [writer::digest("sha256", &[0; 32]), writer::name(path.as_bytes())];
    let data: Vec<u8> = fields.iter().flat_map(|field| writer::sized(field)).collect();
    writer::line_with_hash("ima-ng", &data, &[0; 20])
}

#[test]
fn the_least_rules_demand_a_list_of_this_boot_without_violations() {
    assert_eq!(code("", &[file("/a", 1)]), "holds");
    let without = judge("", &good());
    let reason = without.refusal().unwrap();
    assert_eq!(
        (reason.code.as_str(), reason.rule.as_str()),
        ("HM-POLICY-0201", "ima.required")
    );
    // Each of its rules fails where nothing is proven, not the first one alone.
    let rules: Vec<_> = without.failures().map(|reason| reason.rule.as_str()).collect();
    assert_eq!(rules, ["ima.required", "ima", "ima.boot_aggregate", "ima.violations"]);
    assert_eq!(
        judge("required = false", &good()).refusal().unwrap().code.as_str(),
        "HM-POLICY-0202"
    );
}

#[test]
fn attack_48_a_list_without_its_first_line_or_of_unquoted_registers_is_not_this_boots() {
    let bare = MachineFacts {
        ima: Some(summary(&[file("/a", 1)])),
        ..good()
    };
    assert_eq!(judge("", &bare).refusal().unwrap().code.as_str(), "HM-POLICY-0203");
    assert!(judge("boot_aggregate = false", &bare).is_trusted());
    // A later line of that name is a line like any other.
    let later = [file("/a", 1), first_line()];
    assert_eq!(code(r#"allow = ["$HASH1"]"#, &later[..1]), "holds");
    assert_eq!(code(r#"allow = ["$HASH1"]"#, &later), "HM-POLICY-0209");
}

#[test]
fn attack_48_a_list_of_which_nothing_is_proven_holds_no_rule() {
    let facts = |files| MachineFacts {
        ima: ImaSummary::of(None, &files),
        ..good()
    };
    let listed = [first_line(), file("/usr/bin/evil", 9)];
    let mut values = firmware();
    values.insert(HashAlg::Sha256, 10, vec![0; 32]).unwrap();
    let nothing = facts(measured_files(listed.concat(), None, &values).unwrap());
    let rules = "boot_aggregate = false\nlines_at_most = 5\nallow = [\"$HASH1  /usr/bin/a\"]";
    let result = judge(rules, &nothing);
    let reason = result.refusal().unwrap();
    assert_eq!(
        (reason.code.as_str(), reason.rule.as_str()),
        ("HM-POLICY-0220", "ima.required")
    );
    assert!(reason.text.contains("PCR 10 was never extended"), "{}", reason.text);
    let failed: Vec<_> = result.failures().map(|reason| reason.rule.as_str()).collect();
    assert_eq!(
        failed,
        [
            "ima.required",
            "ima",
            "ima.violations",
            "ima.lines_at_most",
            "ima",
            "ima.allow"
        ]
    );
    assert_eq!(
        judge(&format!("required = false\n{rules}"), &nothing)
            .refusal()
            .unwrap()
            .code
            .as_str(),
        "HM-POLICY-0202"
    );
    // Lines of another register are not proven either.
    let mut elsewhere = file("/usr/bin/a", 1);
    elsewhere[0] = 11;
    let elsewhere = facts(measured_files(elsewhere, None, &values).unwrap());
    assert_eq!(
        judge(rules, &elsewhere).refusal().unwrap().code.as_str(),
        "HM-POLICY-0220"
    );
    // One proven line is enough, whatever stands behind it.
    let proven = machine(&[file("/usr/bin/a", 1)]);
    assert!(judge(rules, &proven).is_trusted());
}

#[test]
fn attack_48_a_violation_refuses_unless_it_is_allowed() {
    let lines = [file("/a", 1), violation("/b"), violation("/c")];
    let result = judge("", &machine(&lines));
    let reason = result.refusal().unwrap();
    assert_eq!(reason.code.as_str(), "HM-POLICY-0204");
    assert_eq!(reason.actual.as_deref(), Some("2, the first at line 2: /b"));
    let first = reason.first_event.as_ref().unwrap();
    assert_eq!((first.number, first.pcr, first.text.as_str()), (2, 10, "/b"));
    assert_eq!(code("violations = \"allow\"\nallow = [\"$HASH1\"]", &lines), "holds");
    assert_eq!(code("violations = \"refuse\"", &lines[..1]), "holds");
}

#[test]
fn attack_48_a_line_that_no_register_proves_is_refused() {
    let mut elsewhere = file("/b", 2);
    elsewhere[0] = 11;
    assert_eq!(code(r#"allow = ["$HASH1"]"#, &[file("/a", 1)]), "holds");
    let result = judge(r#"allow = ["$HASH1"]"#, &machine(&[file("/a", 1), elsewhere]));
    let reason = result.refusal().unwrap();
    assert_eq!(reason.code.as_str(), "HM-POLICY-0202");
    assert_eq!(reason.actual.as_deref(), Some("line 2 in PCR 11"));
}

#[test]
fn attack_48_a_changed_or_unknown_file_is_named() {
    let allow = r#"allow = ["$HASH1  /usr/bin/a", "$HASH2", "$HASH3 */usr/bin/a"]"#;
    assert_eq!(
        code(
            allow,
            &[file("/usr/bin/a", 1), file("/anywhere", 2), file("/usr/bin/a", 3)]
        ),
        "holds"
    );
    let result = judge(
        allow,
        &machine(&[file("/usr/bin/a", 1), file("/usr/bin/a", 4), file("/x", 9)]),
    );
    let reason = result.refusal().unwrap();
    assert_eq!(
        (reason.code.as_str(), reason.rule.as_str()),
        ("HM-POLICY-0210", "ima.allow")
    );
    let (good, bad) = (hex::encode([1; 32]), hex::encode([4; 32]));
    let actual = reason.actual.as_deref().unwrap();
    assert!(
        actual.starts_with(&format!("line 2: /usr/bin/a sha256:{bad}, listed with sha256:{good}")),
        "{actual}"
    );
    assert_eq!(reason.expected.as_deref(), Some("a listed digest"));
    assert_eq!(reason.first_event.as_ref().unwrap().number, 2);
    assert_eq!(code(allow, &[file("/usr/bin/b", 9)]), "HM-POLICY-0209");
    // A digest that is listed for another path.
    assert_eq!(code(allow, &[file("/usr/bin/b", 1)]), "HM-POLICY-0209");
    assert_eq!(
        code(&format!("{allow}\nany_path = true"), &[file("/usr/bin/b", 1)]),
        "holds"
    );
}

#[test]
fn attack_48_names_do_not_pass_for_others() {
    let allow = "allow = [\"$HASH1  /usr/bin/a\"]\nexclude = [\"/var/log/*\", \"/opt/?.py\", \"/opt/My App.d/*\"]";
    for (name, expected) in [
        ("/var/log/syslog", "holds"),
        ("/var/log/a b", "holds"),
        ("/opt/a.py", "holds"),
        ("/opt/My_App.d/a.so", "holds"),
        ("/opt/My__App.d/a.so", "HM-POLICY-0209"),
        ("/opt/MyApp.d/a.so", "HM-POLICY-0209"),
        // A pattern is no prefix, and begins at the root.
        ("/var/logs", "HM-POLICY-0209"),
        ("/var/log", "HM-POLICY-0209"),
        ("/x/var/log/a", "HM-POLICY-0209"),
        ("/opt/a.pyc", "HM-POLICY-0209"),
        ("/opt/ab.py", "HM-POLICY-0209"),
        ("/opt/a.py (deleted)", "HM-POLICY-0209"),
        ("/OPT/a.py", "HM-POLICY-0209"),
        // Names that a kernel does not write for a path, and relative ones.
        ("var/log/syslog", "HM-POLICY-0209"),
        ("/var/log/../../usr/bin/b", "HM-POLICY-0209"),
        ("/var/log/./b", "HM-POLICY-0209"),
        ("/var/log//b", "HM-POLICY-0209"),
        ("//var/log/b", "HM-POLICY-0209"),
        ("/var/log/", "HM-POLICY-0209"),
        // Bytes that read like something else.
        ("/var/log/a\n10 00 ima-ng sha256:00 /b", "HM-POLICY-0209"),
        ("/var/log/a\u{1b}[2K", "HM-POLICY-0209"),
        ("/var/log/a\\x2fb", "HM-POLICY-0209"),
        ("/usr/bin/a\n", "HM-POLICY-0209"),
        ("/usr/bin/a (deleted)", "HM-POLICY-0209"),
        ("", "HM-POLICY-0209"),
    ] {
        assert_eq!(code(allow, &[file(name, 7)]), expected, "{name:?}");
        // The same name in a list is that name, if it is one that a kernel writes.
        let odd = |part: &str| matches!(part, "" | "." | "..");
        if !name.starts_with('/') || name[1..].split('/').any(odd) || name.contains(' ') {
            continue;
        }
        let digest = hex::encode([7; 32]);
        let escaped = name.replace('\\', "\\\\").replace('\n', "\\n");
        let line = format!("\\{digest}  {escaped}")
            .replace('\\', "\\\\")
            .replace('\u{1b}', "\\u001b");
        let allow = format!("allow = [\"{line}\"]");
        assert_eq!(code(&allow, &[file(name, 7)]), "holds", "{name:?}");
    }
    let not_text = writer::line(
        "ima-ng",
        &[writer::digest("sha256", &[7; 32]), writer::name(b"/var/log/\xff")],
    );
    assert_eq!(code(allow, &[not_text]), "HM-POLICY-0209");
    let long = format!("/var/log/{}", "a".repeat(5000));
    assert_eq!(code(allow, &[file(&long, 7)]), "HM-POLICY-0213");
}

#[test]
fn one_spelling_is_one_name() {
    let names = [
        &b"/a\n"[..],
        b"/a\\n",
        b"/a\\x0a",
        b"/a\\\\n",
        b"/a\xff",
        "/a\u{fffd}".as_bytes(),
        b"/a\\xff",
        b"/a\x7f",
    ];
    let lines: Vec<_> = names
        .iter()
        .map(|name| writer::line("ima-ng", &[writer::digest("sha256", &[7; 32]), writer::name(name)]))
        .collect();
    let spelt: BTreeSet<String> = summary(&lines).files.into_iter().map(|file| file.name).collect();
    assert_eq!(spelt.len(), names.len(), "{spelt:?}");
    assert!(spelt.iter().all(|name| !name.chars().any(char::is_control)));
}

#[test]
fn attack_48_an_unsigned_line_among_signed_ones_is_refused() {
    let good = signed("/usr/bin/program", PROGRAM, BY_P256);
    assert_eq!(code("keys = [$P256]", std::slice::from_ref(&good)), "holds");
    assert_eq!(
        code("keys = [$P256, $RSA]", &[good.clone(), signed("/b", PROGRAM, BY_RSA)]),
        "holds"
    );
    assert_eq!(
        code("keys = [$P256]", &[good.clone(), signed("/b", b"other", b"")]),
        "HM-POLICY-0211"
    );
    assert_eq!(code("keys = [$P256]", &[good.clone(), file("/b", 1)]), "HM-POLICY-0211");
    assert_eq!(
        code("keys = [$P256]\nallow = [\"$HASH1\"]", &[good.clone(), file("/b", 1)]),
        "holds"
    );
    assert_eq!(
        code("keys = [$P256]\nallow = [\"$HASH1\"]", &[good.clone(), file("/b", 2)]),
        "HM-POLICY-0209"
    );
    // Another key; a signature of another file; another algorithm; none at all in its place.
    assert_eq!(code("keys = [$RSA]", std::slice::from_ref(&good)), "HM-POLICY-0215");
    assert_eq!(
        code("keys = [$P256]", &[signed("/b", b"other", BY_P256)]),
        "HM-POLICY-0216"
    );
    assert_eq!(
        code("keys = [$P256]", &[signed("/b", PROGRAM, OVER_SHA512)]),
        "HM-POLICY-0217"
    );
    let sha1 = [&[3, 2, 2][..], &BY_P256[3..]].concat();
    assert_eq!(
        code("keys = [$P256]", &[signed("/b", PROGRAM, &sha1)]),
        "HM-POLICY-0217"
    );
    assert_eq!(
        code("keys = [$P256]", &[signed("/b", PROGRAM, &BY_P256[..40])]),
        "HM-POLICY-0218"
    );
    // What is listed or excluded needs no signature; without keys none is looked at.
    assert_eq!(
        code("keys = [$RSA]\nallow = [\"$PROGRAM\"]", std::slice::from_ref(&good)),
        "holds"
    );
    assert_eq!(
        code("keys = [$RSA]\nexclude = [\"/usr/bin/*\"]", std::slice::from_ref(&good)),
        "holds"
    );
    assert_eq!(
        code("allow = [\"$HASH1\"]", std::slice::from_ref(&good)),
        "HM-POLICY-0209"
    );
}

#[test]
fn attack_48_a_weak_digest_is_none() {
    let sha1 = HashAlg::Sha1.digest(PROGRAM);
    let path = writer::name(b"/usr/bin/program");
    let weak = writer::line("ima-ng", &[writer::digest("sha1", &sha1), path.clone()]);
    let all = "allow = [\"$PROGRAM\"]\nany_path = true\nkeys = [$P256]";
    let good = writer::line(
        "ima-ng",
        &[writer::digest("sha256", &HashAlg::Sha256.digest(PROGRAM)), path.clone()],
    );
    assert_eq!(code(all, &[good]), "holds");
    assert_eq!(code(all, &[weak]), "HM-POLICY-0212");
    let original = writer::original(b"/usr/bin/program", &sha1.try_into().unwrap());
    assert_eq!(code(all, &[original]), "HM-POLICY-0212");
    // Digests of the right length under another name.
    for name in ["md5", "sm3-256", "wp256", "streebog256", "sha3-256", "sha512"] {
        let line = writer::line(
            "ima-ng",
            &[writer::digest(name, &HashAlg::Sha256.digest(PROGRAM)), path.clone()],
        );
        assert_eq!(code(all, &[line]), "HM-POLICY-0212", "{name}");
    }
    // A tree's digest is no file's, and the reverse.
    let verity = [b"verity:sha256:\0".to_vec(), vec![1; 32]].concat();
    let tree = writer::line("ima-ngv2", &[verity, path]);
    assert_eq!(
        code("allow = [\"verity:sha256:$HASH1\"]", std::slice::from_ref(&tree)),
        "holds"
    );
    assert_eq!(code("allow = [\"$HASH1\"]", &[tree]), "HM-POLICY-0209");
    assert_eq!(
        code("allow = [\"verity:sha256:$HASH1\"]", &[file("/a", 1)]),
        "HM-POLICY-0209"
    );
}

#[test]
fn attack_48_a_line_is_not_passed_off_under_another_template() {
    let allow = "allow = [\"$HASH1\"]\nbuffers = [\"kexec-*\", \".ima\", \"evil\"]\nexclude = [\"/x/*\"]";
    let buffer = |name: &[u8], digest: &[u8], buffer: &[u8]| {
        writer::line(
            "ima-buf",
            &[writer::digest("sha256", digest), writer::name(name), buffer.to_vec()],
        )
    };
    let hash = |bytes: &[u8]| HashAlg::Sha256.digest(bytes);
    assert_eq!(code(allow, &[buffer(b"kexec-cmdline", &hash(b"ro"), b"ro")]), "holds");
    assert_eq!(code(allow, &[buffer(b"other", &hash(b"ro"), b"ro")]), "HM-POLICY-0214");
    // A file's line is called a buffer's: its digest is not the buffer's.
    assert_eq!(code(allow, &[buffer(b"evil", &[9; 32], b"")]), "HM-POLICY-0209");
    assert_eq!(
        code(allow, &[buffer(b"/usr/bin/evil", &hash(b"x"), b"x")]),
        "HM-POLICY-0209"
    );
    // What stands in another field is called the digest or the name.
    let fields = [
        writer::digest("sha256", &[9; 32]),
        writer::name(b"/evil"),
        b"".to_vec(),
        writer::digest("sha256", &[1; 32]),
    ];
    assert_eq!(
        code(allow, &[writer::line("buf|n-ng|sig|d-ng", &fields)]),
        "HM-POLICY-0213"
    );
    let fields = [
        writer::digest("sha256", &[9; 32]),
        writer::name(b"/evil"),
        writer::name(b"/x/y"),
    ];
    assert_eq!(code(allow, &[writer::line("d-ng|buf|n-ng", &fields)]), "HM-POLICY-0213");
    assert_eq!(
        code(allow, &[writer::line("d-ng|n-ng|n-ng", &fields)]),
        "HM-POLICY-0213"
    );
    assert_eq!(code(allow, &[file("/x/y", 9)]), "holds");
}

#[test]
fn the_whole_list_has_limits() {
    let lines = [file("/a", 1), file("/b", 1)];
    assert_eq!(code("lines_at_most = 3", &lines), "holds");
    assert_eq!(code("lines_at_most = 2", &lines), "HM-POLICY-0205");
    let mut cut = machine(&lines);
    cut.ima.as_mut().unwrap().cut_at = Some(3);
    let rules = r#"allow = ["$HASH1"]"#;
    assert!(judge(rules, &machine(&lines)).is_trusted());
    assert_eq!(judge(rules, &cut).refusal().unwrap().code.as_str(), "HM-POLICY-0207");
    assert!(
        judge("lines_at_most = 3", &cut).is_trusted(),
        "this rule does not hang on what was kept"
    );
}

/// A name may be spelt with five bytes for each of its own: what is kept is bounded as it is stored.
#[test]
fn what_is_kept_of_lines_is_bounded_however_they_are_named() {
    const MOST: u64 = 256 * 1024 * 1024;
    let odd = String::from_utf8(vec![1; 1000]).unwrap();
    for name in ["/usr/bin/a", "/a\"b\\c", odd.as_str()] {
        let lines = [first_line(), file(name, 1), file(name, 2), file(name, 3)];
        let mut held = summary(&lines[..2]);
        let stored = MeasuredFile::to_lines(held.files.clone()).len();
        assert!(
            (stored - 40..=stored + 40).contains(&usize::try_from(held.bytes).unwrap()),
            "{name}: {stored}"
        );
        // Room for one line more.
        held.bytes = MOST - held.bytes;
        let replay = proven(None, &lines[..2]).replay().clone();
        assert!(held.extend(&proven(Some(replay), &lines[2..])));
        assert_eq!(
            (held.lines, held.kept, held.cut_at, held.bytes),
            (4, 2, Some(3), MOST),
            "{name}"
        );
    }
}

#[test]
fn a_dry_run_reports_and_gives_no_selector() {
    let bad = machine(&[file("/a", 9)]);
    let lines = format!("[mode]\ndry_run = true\n{}", rules(r#"allow = ["$HASH1"]"#));
    let mut set = PolicySet::default();
    set.apply(policy(&lines));
    for machine in [bad, machine(&[file("/a", 1)])] {
        let result = set.judge(&machine, now());
        assert!(result.is_trusted());
        assert!(result.selectors().iter().all(|selector| selector.kind() != "ima"));
    }
}

#[test]
fn a_policy_that_comes_later_is_held_against_what_was_kept() {
    let mut facts = machine(&[
        signed("/a", PROGRAM, BY_P256),
        signed("/b", PROGRAM, BY_RSA),
        file("/c", 3),
    ]);
    let kept = stored(&facts, true);
    assert_eq!(kept, facts);
    let policies = [
        "keys = [$P256]",
        "keys = [$RSA]\nexclude = [\"/c\"]",
        "keys = [$P256, $RSA]\nallow = [\"$HASH3\"]",
    ];
    let before: Vec<_> = policies.iter().map(|policy| judge(policy, &kept)).collect();
    assert_eq!(
        before.iter().map(AppraisalResult::is_trusted).collect::<Vec<_>>(),
        [false, false, true]
    );
    // Once a key is known to have made a signature, the signature is gone, and what is found stays as it is.
    let mut keys = ImaKeys::default();
    keys.add_pem(P256).unwrap();
    facts.ima.as_mut().unwrap().settle(&keys);
    let states: Vec<_> = facts
        .ima
        .as_ref()
        .unwrap()
        .files
        .iter()
        .map(|file| file.signed.clone())
        .collect();
    assert!(
        matches!(&states[..], [Some(Signed::By { .. }), Some(Signed::Open(_)), None]),
        "{states:?}"
    );
    let size = |facts: &MachineFacts| serde_json::to_string(&facts.ima.as_ref().unwrap().files).unwrap().len();
    assert!(size(&facts) < size(&kept));
    for (policy, before) in policies.iter().zip(&before) {
        let after = judge(policy, &facts);
        assert_eq!(after.is_trusted(), before.is_trusted(), "{policy}");
        let codes = |it: &AppraisalResult| it.reasons().iter().map(|reason| reason.code).collect::<Vec<_>>();
        assert_eq!(codes(&after), codes(before), "{policy}");
    }
    assert_eq!(facts.ima.unwrap().files[0].kind, LineKind::File);
}
