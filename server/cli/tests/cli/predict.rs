//! `hallmark baseline predict`, as it is typed, over an image that is built here.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::run::Done;

const MEASURE: &str = "/usr/lib/systemd/systemd-measure";
const PHASES: [&str; 4] = ["enter-initrd", "leave-initrd", "sysinit", "ready"];

fn hallmark(arguments: &[&str]) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_hallmark"))
        .args(arguments)
        .output()
        .unwrap();
    output.into()
}

/// A PE32+ file with these sections.
fn image(sections: &[(&str, &[u8])]) -> Vec<u8> {
    const HEADERS: usize = 0x400;
    let mut file = vec![0; HEADERS];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &u16::try_from(sections.len()).unwrap().to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    put(0x58 + 60, &u32::try_from(HEADERS).unwrap().to_le_bytes());
    put(0x58 + 108, &16_u32.to_le_bytes());
    let (mut raw, mut address) = (HEADERS, 0x1000_usize);
    let mut bodies = Vec::new();
    for (number, (name, data)) in sections.iter().enumerate() {
        let header = 0x58 + 240 + 40 * number;
        let padded = data.len().next_multiple_of(0x200);
        put(header, name.as_bytes());
        for (at, value) in [(8, data.len()), (12, address), (16, padded), (20, raw)] {
            put(header + at, &u32::try_from(value).unwrap().to_le_bytes());
        }
        bodies.extend_from_slice(data);
        bodies.resize(bodies.len().next_multiple_of(0x200), 0);
        raw += padded;
        address = (address + data.len()).next_multiple_of(0x1000);
    }
    file.extend(bodies);
    file
}

struct Parts {
    folder: tempfile::TempDir,
}

impl Parts {
    /// The parts of an image as files, and the image.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let parts = Self { folder };
        let kernel = image(&[(".text", b"a kernel"), (".data", b"its data")]);
        let sections: [(&str, &[u8]); 6] = [
            // Not in the order in which they are measured.
            (".initrd", b"an initrd"),
            (".cmdline", b"console=ttyS0 ro"),
            (".uname", b"6.1.0-56-amd64"),
            (".osrel", b"ID=edge\n"),
            (".linux", &kernel),
            (".sdmagic", b"#### LoaderInfo: systemd-stub 252.39-1 ####\0"),
        ];
        for (name, data) in sections {
            std::fs::write(parts.path(name), data).unwrap();
        }
        std::fs::write(parts.path("uki.efi"), image(&sections)).unwrap();
        parts
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn predict(&self, more: &[&str]) -> Done {
        let (uki, out) = (self.text("uki.efi"), self.text("out.json"));
        let fixed = ["baseline", "predict", "--uki", &uki, "--name", "edge-1", "-o", &out];
        hallmark(&[&fixed, more].concat())
    }

    fn written(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("out.json")).unwrap()).unwrap()
    }
}

#[test]
fn a_baseline_file_is_written_and_the_report_says_what_is_left_out() {
    let parts = Parts::new();
    let done = parts.predict(&["--secure-boot", "off", "--at", "2026-11-23T12:00:00Z"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stdout.contains("sha256:7  no firmware variables were given"),
        "{}",
        done.stdout
    );
    let first = parts.written();
    assert_eq!(
        (&first["name"], &first["serial"], &first["state"]),
        (&"edge-1".into(), &1.into(), &"active".into())
    );
    let registers: Vec<_> = first["registers"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(registers, ["sha256:11", "sha256:4", "sha256:9"]);
    assert_eq!(first["boots"][0]["facts"]["command_line"], "console=ttyS0 ro");
    parts.predict(&["--secure-boot", "off", "--at", "2026-11-23T12:00:00Z"]);
    assert_eq!(first, parts.written(), "the same inputs give the same file");
    let done = parts.predict(&["--secure-boot", "off", "--output", "json"]);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(report["registers"], first["registers"]);
    assert_eq!(report["left_out"][0]["pcr"], 7);
}

#[test]
fn an_earlier_image_and_a_failed_entry_change_pcr_4_alone() {
    let parts = Parts::new();
    let registers = |more: &[&str]| {
        let done = parts.predict(&[&["--secure-boot", "off"], more].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        parts.written()["registers"].clone()
    };
    let alone = registers(&[]);
    let loader = parts.text("loader.efi");
    std::fs::write(&loader, image(&[(".text", b"a loader")])).unwrap();
    for more in [["--earlier-image", &loader], ["--failed-entries", "1"]] {
        let other = registers(&more);
        assert_ne!(alone["sha256:4"], other["sha256:4"]);
        assert_eq!(
            (&alone["sha256:9"], &alone["sha256:11"]),
            (&other["sha256:9"], &other["sha256:11"])
        );
    }
}

/// PCR 11 as systemd's own tool computes it.
#[test]
fn systemd_measure_computes_the_same_for_every_phase() {
    if !Path::new(MEASURE).exists() {
        eprintln!("SKIPPED: {MEASURE} is not installed (scripts/deps test)");
        return;
    }
    let parts = Parts::new();
    let options = [
        ("--linux", ".linux"),
        ("--osrel", ".osrel"),
        ("--cmdline", ".cmdline"),
        ("--initrd", ".initrd"),
    ];
    let arguments = options.map(|(option, file)| format!("{option}={}", parts.text(file)));
    let output = Command::new(MEASURE)
        .args(["calculate", "--bank=sha256"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut values: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("11:sha256="))
        .collect();
    assert_eq!(
        values.len(),
        PHASES.len(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (phase, value) in PHASES.into_iter().zip(&values) {
        parts.predict(&["--phase", phase]);
        assert_eq!(
            parts.written()["registers"]["sha256:11"],
            serde_json::json!([value]),
            "{phase}"
        );
    }
    let all = PHASES.map(|phase| ["--phase", phase]).concat();
    parts.predict(&all);
    values.sort_unstable();
    assert_eq!(parts.written()["registers"]["sha256:11"], serde_json::json!(values));
}

#[test]
fn what_cannot_be_used_is_told_with_its_code() {
    let parts = Parts::new();
    assert_eq!(parts.predict(&[]).code, 0);
    let whole = std::fs::read(parts.path("uki.efi")).unwrap();
    let refused = |code: &str, more: &[&str]| {
        let done = parts.predict(more);
        assert_eq!(
            (done.code, done.stderr.starts_with(code)),
            (2, true),
            "{code}: {}",
            done.stderr
        );
    };
    std::fs::write(parts.path("vars"), b"no variables").unwrap();
    let empty = parts.text("empty.json");
    std::fs::write(&empty, r#"{"version": 2, "variables": []}"#).unwrap();
    refused("HM-POLICY-0313", &["--firmware-variables", &parts.text("vars")]);
    refused(
        "HM-POLICY-0314",
        &["--firmware-variables", &empty, "--secure-boot", "on"],
    );
    refused("HM-CLI-0015", &["--earlier-image", &parts.text("nothing")]);
    std::fs::write(parts.path("uki.efi"), &whole[..whole.len() - 1]).unwrap();
    refused("HM-POLICY-0311", &[]);
    std::fs::write(parts.path("uki.efi"), image(&[(".text", b"no stub")])).unwrap();
    refused("HM-POLICY-0312", &[]);
    std::fs::write(parts.path("uki.efi"), whole).unwrap();
    let done = hallmark(&[
        "baseline",
        "predict",
        "--uki",
        &parts.text("uki.efi"),
        "--name",
        "No Name",
        "-o",
        &empty,
    ]);
    assert!(
        done.code == 2 && done.stderr.contains("HM-POLICY-0305"),
        "{}",
        done.stderr
    );
}
