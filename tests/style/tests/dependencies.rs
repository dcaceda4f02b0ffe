//! Which room may know which (docs/explanation/architecture.md).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use hallmark_style::{root, rust_sources};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

const LANGUAGES: &[&str] = &[
    "hallmark-reason",
    "hallmark-der",
    "hallmark-settings",
    "hallmark-api",
    "hallmark-spiffe",
    "hallmark-tpm-wire",
    "hallmark-evidence",
    "hallmark-node",
    "hallmark-unix",
];
/// What both programs ask of their host; it does I/O, so programs alone know it, and what asks authorities above for one of them.
const HOST: &str = "hallmark-host";
const PURE: &[&str] = &[
    "hallmark-verify",
    "hallmark-policy",
    "hallmark-state",
    "hallmark-authority",
];
const SERVER: &[&str] = &[
    "hallmark-server",
    "hallmark-store",
    "hallmark-hsm",
    "hallmark-pkcs11",
    "hallmark-verify",
    "hallmark-policy",
    "hallmark-state",
    "hallmark-authority",
    "hallmark-upstream",
    "hallmark",
];
const AGENT: &[&str] = &["hallmark-agent", "hallmark-tpm", "hallmark-workload"];
const ADAPTERS: &[&str] = &["hallmark-pkcs11", "hallmark-tpm"];

fn metadata() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--offline".into(), "--filter-platform".into(), platform])
        .exec()
        .unwrap()
}

fn package<'a>(metadata: &'a Metadata, name: &str) -> &'a Package {
    metadata
        .workspace_packages()
        .into_iter()
        .find(|p| p.name.as_str() == name)
        .unwrap_or_else(|| panic!("no package {name}"))
}

fn direct(package: &Package) -> BTreeSet<&str> {
    package
        .dependencies
        .iter()
        .filter(|d| d.kind == DependencyKind::Normal)
        .map(|d| d.name.as_str())
        .collect()
}

/// Everything that ends up in the package's program (normal dependencies alone, features resolved).
fn linked(name: &str) -> BTreeSet<String> {
    let out = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--package",
            name,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn languages_know_only_languages() {
    let metadata = metadata();
    for name in LANGUAGES {
        for dep in direct(package(&metadata, name))
            .iter()
            .filter(|d| d.starts_with("hallmark"))
        {
            assert!(LANGUAGES.contains(dep), "{name} depends on {dep}");
        }
    }
}

#[test]
fn pure_rooms_know_languages_and_each_other_and_do_nothing_themselves() {
    let metadata = metadata();
    for name in PURE {
        for dep in direct(package(&metadata, name)) {
            if dep.starts_with("hallmark") {
                assert!(
                    LANGUAGES.contains(&dep) || PURE.contains(&dep),
                    "{name} depends on {dep}"
                );
            }
            // What clippy cannot forbid by its path, since it would have to be linked for that.
            for forbidden in ["tokio", "rusqlite", "tonic", "cryptoki", "tss-esapi", "rand", "hyper"] {
                assert_ne!(dep, forbidden, "{name} depends on {dep}");
            }
        }
    }
}

#[test]
fn the_host_is_known_to_programs_alone() {
    let metadata = metadata();
    let mut known_to = BTreeSet::new();
    for package in metadata.workspace_packages() {
        if direct(package).contains(HOST) {
            known_to.insert(package.name.as_str());
        }
    }
    assert!(known_to.contains("hallmark-server") && known_to.contains("hallmark-agent"));
    for name in known_to {
        assert!(
            ["hallmark-server", "hallmark-upstream", "hallmark-agent", "hallmark"].contains(&name),
            "{name} depends on {HOST}"
        );
    }
    for dep in direct(package(&metadata, HOST))
        .iter()
        .filter(|d| d.starts_with("hallmark"))
    {
        assert!(LANGUAGES.contains(dep), "{HOST} depends on {dep}");
    }
}

#[test]
fn adapters_are_known_to_programs_alone() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        for adapter in ADAPTERS {
            let allowed = match *adapter {
                "hallmark-pkcs11" => ["hallmark-server", "hallmark-bench"],
                _ => ["hallmark-agent", "hallmark-bench"],
            };
            if direct(package).contains(adapter) {
                assert!(allowed.contains(&name), "{name} depends on the adapter {adapter}");
            }
        }
    }
}

#[test]
fn server_and_agent_do_not_know_each_other_and_the_server_links_no_tpm_library() {
    for name in SERVER {
        let all = linked(name);
        for foreign in AGENT {
            assert!(!all.contains(*foreign), "{name} reaches {foreign}");
        }
        assert!(
            !all.iter().any(|d| d.starts_with("tss-esapi")),
            "{name} links the TPM library"
        );
    }
    for name in AGENT {
        let all = linked(name);
        for foreign in SERVER {
            assert!(!all.contains(*foreign), "{name} reaches {foreign}");
        }
        assert!(!all.contains("cryptoki"), "{name} links PKCS#11");
    }
    // The positive control: the graph walk does see what is there.
    assert!(linked("hallmark-agent").contains("tss-esapi"));
    assert!(linked("hallmark-server").contains("cryptoki"));
}

#[test]
fn programs_link_one_cryptography_and_the_lock_file_stays_small() {
    let metadata = metadata();
    for name in ["hallmark-server", "hallmark-agent", "hallmark"] {
        let all = linked(name);
        for foreign in ["ring", "openssl", "native-tls"] {
            assert!(!all.contains(foreign), "{name} links {foreign}");
        }
    }
    assert!(metadata.packages.len() <= 350, "{} packages", metadata.packages.len());
}

/// Clippy reads the nearest file above a package.
fn clippy_file(package: &Package) -> PathBuf {
    let folders = package.manifest_path.as_std_path().ancestors().skip(1);
    let mut files = folders.map(|folder| folder.join("clippy.toml"));
    let nearest = files.find(|file| file.exists()).unwrap();
    nearest.canonicalize().unwrap()
}

#[test]
fn pure_rooms_have_no_clock_no_file_and_no_randomness() {
    let metadata = metadata();
    let purity = root().join("proto").join("clippy.toml").canonicalize().unwrap();
    for name in LANGUAGES.iter().chain(PURE) {
        assert_eq!(clippy_file(package(&metadata, name)), purity, "{name}");
    }
    let text = std::fs::read_to_string(&purity).unwrap();
    for path in [
        "SystemTime::now",
        "Instant::now",
        "fs::read",
        "fs::File",
        "TcpStream",
        "rand::fill",
        "env::var",
    ] {
        assert!(text.contains(&format!("{path}\"")), "{path} is allowed");
    }
    let general = std::fs::read_to_string(root().join("clippy.toml")).unwrap();
    assert!(text.contains(&general), "the general settings stand in both files");
    // The control: others may look at the clock.
    for name in [HOST, "hallmark-server", "hallmark-store", "hallmark-agent"] {
        let file = clippy_file(package(&metadata, name));
        assert_eq!(std::fs::read_to_string(file).unwrap(), general, "{name}");
    }
    // Each exception stands where it is needed, with its reason.
    let sources = rust_sources().unwrap();
    let excepted = sources.iter().filter(|(path, text)| {
        let is_of_pure_room = [
            "proto",
            "server/verify",
            "server/policy",
            "server/state",
            "server/authority",
        ]
        .iter()
        .any(|room| path.starts_with(room));
        let is_of_tests = path
            .iter()
            .any(|part| part == "tests" || part == "testing.rs" || part == "examples");
        is_of_pure_room && !is_of_tests && text.contains("clippy::disallowed_")
    });
    let excepted: BTreeSet<_> = excepted.map(|(path, _)| path.display().to_string()).collect();
    let known = [
        "proto/api/build.rs",
        "proto/reason/build.rs",
        "proto/tpm/src/credential.rs",
        "server/policy/src/glob.rs",
        "server/policy/src/predict/golden.rs",
        "server/policy/src/signed/keys.rs",
    ];
    assert_eq!(excepted, known.map(str::to_owned).into());
}

#[test]
fn every_package_takes_the_workspace_lints() {
    for package in metadata().workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} has lints of its own",
            package.name
        );
    }
    let root = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(root.contains("unsafe_code = \"forbid\""));
}
