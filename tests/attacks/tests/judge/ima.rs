//! Attacks 36, 39 and 48 on IMA lists, from the machine to the verdict.

use hallmark_evidence::ima::ImaList;
use hallmark_evidence::{Log, LogKind};
use hallmark_reason::Coded as _;
use hallmark_verify::HeldLogs;

use crate::lines;
use crate::scene::{Logs, Scene, vector, verdict};

const P256: &str = include_str!("../../../../server/verify/tests/vectors/ima/p256.pem");
const PROGRAM: &[u8] = include_bytes!("../../../../server/verify/tests/vectors/ima/program");
const SIGNATURE: &[u8] = include_bytes!("../../../../server/verify/tests/vectors/ima/program.p256.sha256.sig");

/// The lines of a recorded list.
fn recorded(boot: &str) -> Vec<Vec<u8>> {
    let bytes = vector(&format!("{boot}/ima.bin"));
    let mut reading = ImaList::new(&bytes).lines();
    let mut ends = vec![0];
    while let Some(line) = reading.next() {
        line.unwrap();
        ends.push(usize::try_from(reading.bytes_read()).unwrap());
    }
    ends.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect()
}

/// The machine of the recorded boot with these lines behind its own.
fn machine(more: &[Vec<u8>]) -> Logs {
    Logs::recorded("base").with_ima(&[recorded("base"), more.to_vec()].concat())
}

/// Every line of the recorded boot is allowed at its path.
fn rules(more: &str) -> String {
    let bytes = vector("base/ima.bin");
    let lines = ImaList::new(&bytes).lines().map(|line| {
        let line = line.unwrap();
        format!("\"{}  {}\"", hex::encode(&line.digest.value), line.shown_name())
    });
    format!("[ima]\nallow = [{}]\n{more}", lines.collect::<Vec<_>>().join(", "))
}

fn violation(path: &str) -> Vec<u8> {
    let fields = [lines::digest("sha256", &[0; 32]), lines::name(path.as_bytes())];
    let data: Vec<u8> = fields.iter().flat_map(|field| lines::sized(field)).collect();
    lines::line_with_hash("ima-ng", &data, &[0; 20])
}

#[test]
fn attack_36_the_list_grows_while_the_quote_is_made() {
    let mut scene = Scene::under(&rules(""));
    let (quoted, later) = (machine(&[]), machine(&[lines::file("/late", &[7; 32])]));
    // What is behind the quote is not judged; a list that is older than the quote is read again.
    assert_eq!(scene.verdict(&quoted, &later), "trusted");
    assert_eq!(scene.verdict(&later, &quoted), "HM-VERIFY-0902");
    assert_eq!(scene.honest(&later), "HM-POLICY-0209");
}

#[test]
fn attack_39_a_list_that_leaves_something_out() {
    let mut scene = Scene::under(&rules(""));
    let whole = machine(&[]);
    assert_eq!(scene.honest(&whole), "trusted");
    let list = recorded("base");
    for gone in [0, 1, 30, list.len() - 1] {
        let mut rest = list.clone();
        rest.remove(gone);
        let shown = Logs::recorded("base").with_ima(&rest);
        assert_eq!(scene.verdict(&whole, &shown), "HM-VERIFY-0902", "line {gone}");
    }
    let none = Logs::recorded("base").with_ima(&[]);
    assert_eq!(scene.verdict(&whole, &none), "HM-VERIFY-0902");
    let unsent = Logs {
        ima: None,
        ..whole.clone()
    };
    assert_eq!(scene.verdict(&whole, &unsent), "HM-POLICY-0201");
}

#[test]
fn attack_48_files_that_are_not_what_they_should_be() {
    assert_eq!(verdict(&rules(""), &machine(&[])), "trusted");
    let listed = recorded("base");
    let bytes = listed[2].clone();
    let first = ImaList::new(&bytes).lines().next().unwrap().unwrap();
    let path = first.shown_name();
    let sha1 = lines::line(
        "ima-ng",
        &[lines::digest("sha1", &[7; 20]), lines::name(path.as_bytes())],
    );
    let weak_template = lines::original(path.as_bytes(), &[7; 20]);
    for (what, line, code) in [
        ("a changed program", lines::file(&path, &[7; 32]), "HM-POLICY-0210"),
        (
            "an unknown one",
            lines::file("/usr/bin/evil", &[7; 32]),
            "HM-POLICY-0209",
        ),
        ("a violation", violation("/usr/bin/a"), "HM-POLICY-0204"),
        ("a weak digest", sha1, "HM-POLICY-0212"),
        ("the oldest template", weak_template, "HM-POLICY-0212"),
        (
            "a template that is not known for sure",
            lines::line(
                "d-ng|buf|n-ng",
                &[
                    lines::digest("sha256", &[9; 32]),
                    lines::name(b"/evil"),
                    lines::name(b"/x/y"),
                ],
            ),
            "HM-POLICY-0213",
        ),
    ] {
        assert_eq!(verdict(&rules(""), &machine(&[line])), code, "{what}");
    }
    let unknown = lines::line("ima-xyz", &[lines::digest("sha256", &[7; 32]), lines::name(b"/a")]);
    let shown = machine(&[unknown]);
    assert_eq!(Scene::under(&rules("")).verdict(&machine(&[]), &shown), "HM-EVID-0303");
    // The recorded hash is another line's, so the line is not what the register has.
    let data = [
        lines::sized(&lines::digest("sha256", &[7; 32])),
        lines::sized(&lines::name(b"/a")),
    ]
    .concat();
    let forged = machine(&[lines::line_with_hash("ima-ng", &data, &[1; 20])]);
    assert_eq!(Scene::under(&rules("")).verdict(&machine(&[]), &forged), "HM-EVID-0305");
    let mut elsewhere = lines::file("/usr/bin/evil", &[7; 32]);
    elsewhere[0] = 11;
    let hidden = [recorded("base"), vec![elsewhere]].concat();
    let hidden = Logs::recorded("base").with_ima(&hidden);
    assert_eq!(
        Scene::under(&rules("")).verdict(&machine(&[]), &hidden),
        "HM-POLICY-0202"
    );
}

#[test]
fn attack_48_a_file_that_nobody_signed() {
    let keys = format!("[ima]\nkeys = ['''{P256}''']");
    let signed = |contents: &[u8], signature: &[u8]| {
        let digest = hallmark_tpm_wire::HashAlg::Sha256.digest(contents);
        let fields = [
            lines::digest("sha256", &digest),
            lines::name(b"/opt/program"),
            signature.to_vec(),
        ];
        let first = recorded("base").swap_remove(0);
        Logs::recorded("base").with_ima(&[first, lines::line("ima-sig", &fields)])
    };
    assert_eq!(verdict(&keys, &signed(PROGRAM, SIGNATURE)), "trusted");
    assert_eq!(verdict(&keys, &signed(PROGRAM, b"")), "HM-POLICY-0211");
    assert_eq!(verdict(&keys, &signed(b"another", SIGNATURE)), "HM-POLICY-0216");
    assert_eq!(verdict(&keys, &signed(PROGRAM, &SIGNATURE[..40])), "HM-POLICY-0218");
}

#[test]
fn attack_48_names_that_pass_for_others() {
    let rules = rules("exclude = [\"/var/log/*\"]");
    assert_eq!(
        verdict(&rules, &machine(&[lines::file("/var/log/a b", &[7; 32])])),
        "trusted"
    );
    for name in [
        "/var/logs",
        "/x/var/log/a",
        "/var/log/../../usr/bin/b",
        "/var/log//b",
        "var/log/a",
        "/var/log/a\n10 00 ima-ng sha256:00 /b",
        "/var/log/a\\x2fb",
        "",
    ] {
        let machine = machine(&[lines::file(name, &[7; 32])]);
        assert_eq!(verdict(&rules, &machine), "HM-POLICY-0209", "{name:?}");
    }
}

#[test]
fn attack_48_an_underscore_is_the_kernels_space_and_no_other_files_digest() {
    let named = |path: &str, digest: u8| machine(&[lines::file(path, &[digest; 32])]);
    let (mine, others) = (hex::encode([7; 32]), hex::encode([8; 32]));
    let listed = format!("{mine}  /opt/a b");
    let both = rules("").replace(
        "allow = [",
        &format!("allow = [\"{listed}\", \"{others}  /opt/other\", "),
    );
    assert_eq!(verdict(&both, &named("/opt/a_b", 7)), "trusted");
    assert_eq!(verdict(&both, &named("/opt/a_b", 8)), "HM-POLICY-0210");
    assert_eq!(verdict(&both, &named("/opt/other", 7)), "HM-POLICY-0210");
    assert_eq!(verdict(&both, &named("/opt/a-b", 7)), "HM-POLICY-0209");
}

#[test]
fn attack_48_a_list_that_the_tpm_knows_nothing_of() {
    // IMA started before the TPM's driver: the list is there, and its register was never extended.
    let shown = machine(&[lines::file("/usr/bin/evil", &[7; 32])]);
    let measured = Logs {
        ima: None,
        ..shown.clone()
    };
    for rules in [
        rules("boot_aggregate = false"),
        "[ima]\nboot_aggregate = false".to_owned(),
    ] {
        let mut scene = Scene::under(&rules);
        assert_eq!(scene.verdict(&measured, &shown), "HM-POLICY-0220");
        assert_eq!(scene.honest(&machine(&[])), "trusted");
    }
}

#[test]
fn attack_48_a_list_of_another_boot() {
    let mut scene = Scene::under(&rules(""));
    assert_eq!(scene.honest(&machine(&[])), "trusted");
    // Another boot's list in the place of this one's.
    let other = Logs::recorded("base").with_ima(&recorded("cmdline"));
    assert_eq!(scene.verdict(&machine(&[]), &other), "HM-VERIFY-0902");
    // The machine really measured it so: its first line is over other registers.
    assert_eq!(scene.honest(&other), "HM-VERIFY-0904");
    // Without a first line nothing contradicts, and the rule does not hold.
    let headless = Logs::recorded("base").with_ima(&recorded("base")[1..]);
    assert_eq!(scene.honest(&headless), "HM-POLICY-0203");
}

#[test]
fn attack_48_a_rewound_or_skipped_offset() {
    let mut scene = Scene::new();
    let (first, whole) = (machine(&[]), machine(&[lines::file("/new", &[7; 32])]));
    let proven = scene.show(&first, &first).unwrap();
    let files = proven.evidence().ima().unwrap();
    let (end, replay) = (files.proven_bytes(), files.replay().clone());
    let at = usize::try_from(end).unwrap();
    let tcg = first.tcg.clone().unwrap();
    let list = whole.ima.clone().unwrap();
    // The registers are those of the whole list from here on.
    scene.show(&whole, &whole).unwrap();
    let held = HeldLogs {
        ima: Some((end, replay)),
        ..HeldLogs::default()
    };
    let mut sent = |offset: u64, from: usize, held: &HeldLogs| {
        let part = Log::new(LogKind::Ima, offset, list[from..].to_vec()).unwrap();
        let logs = vec![Log::new(LogKind::Tcg, 0, tcg.clone()).unwrap(), part];
        match scene.attest(logs, held) {
            Ok(evidence) => format!("{} lines", evidence.ima().unwrap().line_count()),
            Err(error) => error.code().to_string(),
        }
    };
    assert_eq!(sent(end, at, &held), "68 lines");
    assert_eq!(sent(end - 1, at, &held), "HM-VERIFY-0903");
    assert_eq!(sent(end + 1, at, &held), "HM-VERIFY-0903");
    let line = recorded("base").pop().unwrap().len();
    assert_eq!(sent(end, at - line, &held), "HM-VERIFY-0902", "rewound by its bytes");
    assert_eq!(sent(end, list.len(), &held), "HM-VERIFY-0902", "skipped by its bytes");
    assert_eq!(sent(end, at, &HeldLogs::default()), "HM-VERIFY-0903", "nothing is held");
    assert_eq!(sent(0, 0, &HeldLogs::default()), "68 lines");
}
