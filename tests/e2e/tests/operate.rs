//! An update is rolled out, goes wrong on a machine, is explained and put right: all of it typed, on the real programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_kit::{RecordedBoot, binary};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use trial::{booted, wait_for};

const DONE: i32 = 0;
const USAGE: i32 = 2;
const REFUSED: i32 = 5;
const NOT_FOUND: i32 = 6;
const WOULD_CHANGE: i32 = 7;

/// An operator at a terminal, with files of their own.
struct Operator {
    folder: tempfile::TempDir,
    socket: PathBuf,
}

impl Operator {
    fn at(socket: &Path) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            socket: socket.to_owned(),
        }
    }

    /// What the command wrote, and what it told.
    fn run(&self, code: i32, words: &[&str]) -> (String, String) {
        let out = Command::new(binary("hallmark").unwrap())
            .args(words)
            .env("HALLMARK_ADMIN_SOCKET", &self.socket)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let [said, told] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(out.status.code(), Some(code), "hallmark {words:?}\n{said}\n{told}");
        (said, told)
    }

    fn says(&self, code: i32, words: &[&str]) -> String {
        self.run(code, words).0
    }

    fn json(&self, code: i32, words: &[&str]) -> Value {
        let said = self.says(code, &[words, &["--output", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"))
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// `jq 'del(.logs, .judged)' FILE | sha256sum`.
    fn evidence_sha256(&self, name: &str) -> String {
        let file = self.read(name);
        let logs = file.find(",\n  \"logs\": ").unwrap();
        let evidence = format!("{}\n}}\n", &file[..logs]);
        let mut without: Value = serde_json::from_str(&file).unwrap();
        for part in ["logs", "judged"] {
            without.as_object_mut().unwrap().remove(part).unwrap();
        }
        assert_eq!(serde_json::from_str::<Value>(&evidence).unwrap(), without);
        self.write("evidence.json", &evidence);
        let sum = Command::new("sha256sum")
            .arg("evidence.json")
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        String::from_utf8(sum.stdout).unwrap()[..64].to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

/// The verdicts on a node, from the oldest on.
fn verdicts(operator: &Operator, node: &str) -> Vec<Value> {
    let list = operator.json(DONE, &["record", "list", node, "--kind", "verdict"]);
    let mut verdicts = list.as_array().unwrap().clone();
    verdicts.sort_by_key(|it| it["sequence"].as_u64());
    verdicts
}

fn policy(serial: u32, baselines: &str) -> String {
    format!(
        "version = 1\nname = \"edge\"\nserial = {serial}\n\n[boot]\nbaselines = [{baselines}]\n\n[tpm]\nclasses = [\"simulator\"]\n"
    )
}

#[test]
fn an_update_is_rolled_out_refused_explained_and_promoted() {
    let (mut trial, id) = booted(&RecordedBoot::vector("base"));
    let node = &id[id.len() - 64..][..12];
    let operator = Operator::at(&trial.lab.server().admin_socket());
    demand_the_first_release(&operator, node);
    a_rule_that_comes_later_is_explained(&operator, node);
    trial.node().boot(&RecordedBoot::vector("cmdline")).unwrap();
    trial.node().launch().unwrap();
    let why = ask_why(&operator, node);
    let record = operator.says(DONE, &["record", "list", node, "--kind", "verdict"]);
    assert!(record.contains(why["code"].as_str().unwrap()), "{record}");
    assert!(
        operator
            .says(DONE, &["node", "show", node])
            .contains("trusted    no: HM-POLICY-")
    );
    assert_eq!(operator.json(DONE, &["status"])["nodes_untrusted"], 1);
    judge_offline(&operator, node, &why);
    promote_the_second_release(&operator, node);
    trial.node().wait_ready(trial::PATIENCE).unwrap();
    retire_the_first_release(&operator);
    operator.says(DONE, &["node", "suspend", node, "--yes"]);
    let said = operator.says(DONE, &["node", "explain", node]);
    assert!(said.contains("suspended; the rules would trust it"), "{said}");
    assert!(said.contains("next: hallmark node resume"), "{said}");
    let status = operator.json(DONE, &["status"]);
    assert_eq!(
        (&status["nodes_untrusted"], &status["nodes_suspended"]),
        (&0.into(), &1.into())
    );
}

/// A good machine's boot becomes a baseline, and a policy demands it.
fn demand_the_first_release(operator: &Operator, node: &str) {
    operator.says(
        DONE,
        &[
            "baseline",
            "capture",
            node,
            "--name",
            "release-1",
            "-o",
            "release-1.json",
        ],
    );
    let preview = operator.json(WOULD_CHANGE, &["baseline", "promote", "release-1.json", "--dry-run"]);
    assert_eq!(preview["name"], "release-1");
    assert_eq!(
        operator.json(DONE, &["baseline", "list"]),
        Value::Array(Vec::new()),
        "a preview changes nothing"
    );
    operator.says(DONE, &["baseline", "promote", "release-1.json"]);
    operator.write("edge.toml", &policy(1, "\"release-1\""));
    assert!(
        operator
            .says(DONE, &["policy", "check", "edge.toml"])
            .contains("every machine")
    );
    let preview = operator.says(WOULD_CHANGE, &["policy", "apply", "edge.toml", "--dry-run"]);
    assert!(!preview.contains("loses trust"), "{preview}");
    operator.says(DONE, &["policy", "apply", "edge.toml", "--yes"]);
    assert_eq!(
        operator.says(DONE, &["policy", "show", "edge"]),
        policy(1, "\"release-1\"")
    );
    let shown = operator.json(DONE, &["policy", "show", "edge"]);
    assert_eq!(
        (&shown["content"], &shown["state"]),
        (&policy(1, "\"release-1\"").into(), &"in force".into())
    );
    assert!(operator.says(DONE, &["node", "explain", node]).contains("trusted"));
    wait_for("the record of the attestation names its evidence", || {
        operator.says(DONE, &["evidence", "save", node, "-o", "good.evidence"]);
        let newest = verdicts(operator, node).pop().unwrap();
        assert_eq!(newest["outcome"], "accepted");
        newest["detail"]["evidence_sha256"] == operator.evidence_sha256("good.evidence")
    });
    let good = operator.json(DONE, &["evidence", "verify", "good.evidence"]);
    assert_eq!(good["judged_by"]["rules"], "file", "{good}");
    assert_eq!(good["judged_by"]["anchors"], "file");
    assert!(
        good["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["rule"] == "boot.baselines"),
        "{good}"
    );
    assert!(
        good["checks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["name"] == "ek-certificate" && it["holds"] == true)
    );
}

/// A rule that what the machine proved before does not meet: named with values and event, though nobody asked the machine.
fn a_rule_that_comes_later_is_explained(operator: &Operator, node: &str) {
    operator.write(
        "strict.toml",
        "version = 1\nname = \"strict\"\nserial = 1\n\n[boot]\nsecure_boot = true\n",
    );
    let (_, told) = operator.run(USAGE, &["policy", "apply", "strict.toml"]);
    assert!(told.contains("HM-CLI-0013"), "what takes trust is asked about: {told}");
    operator.says(DONE, &["policy", "apply", "strict.toml", "--yes"]);
    let of_policy = |it: &Value| it["detail"]["cause"].as_str().is_some_and(|it| it.contains("strict"));
    let again = verdicts(operator, node).into_iter().find(of_policy).unwrap();
    assert_eq!(
        (&again["detail"]["evidence_sha256"], &again["detail"]["reason"]["rule"]),
        (
            &operator.evidence_sha256("good.evidence").into(),
            &"boot.secure_boot".into()
        ),
        "{again}"
    );
    let why = operator.json(DONE, &["node", "explain", node]);
    let rule = &why["failed"][0];
    assert_eq!(rule["next_step"], "switch it on, reboot", "{why}");
    assert_eq!(
        [&why["trusted"], &why["code"], &rule["policy"], &rule["rule"]],
        [
            false.into(),
            rule["code"].clone(),
            "strict".into(),
            "boot.secure_boot".into()
        ]
        .each_ref(),
        "{why}"
    );
    assert_eq!(rule["first_event"]["pcr"], 7, "{rule}");
    let code = rule["code"].as_str().unwrap();
    let said = operator.says(DONE, &["node", "list"]);
    assert!(said.contains(&format!("no: {code}")), "{said}");

    operator.says(DONE, &["policy", "withdraw", "strict", "--yes"]);
    let why = operator.json(DONE, &["node", "explain", node]);
    assert_eq!(
        [&why["trusted"], &why["failed"]],
        [true.into(), Value::Array(Vec::new())].each_ref(),
        "{why}"
    );
    let said = operator.says(DONE, &["node", "list"]);
    assert!(said.contains("  yes  "), "{said}");
}

/// The next boot has another kernel command line. Gives the explanation.
fn ask_why(operator: &Operator, node: &str) -> Value {
    wait_for("the changed boot is refused", || {
        operator.json(DONE, &["node", "explain", node])["trusted"] == false
    });
    let why = operator.json(DONE, &["node", "explain", node]);
    assert_eq!(why["failed"][0]["rule"], "boot.baselines", "{why}");
    let said = operator.says(DONE, &["node", "explain", node]);
    for part in ["refused HM-POLICY-", "first event", "PCR 4", ".cmdline", "next: "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for words in [
        ["node", "diff", node, "--earlier"].as_slice(),
        &["node", "diff", node, "--baseline", "release-1"],
        &["baseline", "diff", "release-1.json", node],
    ] {
        let said = operator.says(DONE, words);
        for part in [".cmdline", "the boots part at"] {
            assert!(said.contains(part), "{words:?}: {part}: {said}");
        }
    }
    why
}

/// What was refused is refused offline too, for the same reason, and by other rules if they are given.
fn judge_offline(operator: &Operator, node: &str, why: &Value) {
    // A machine that is refused attests again and again: the newest may have come since the file was saved.
    wait_for("the record of the refusal names its evidence", || {
        operator.says(DONE, &["evidence", "save", node, "-o", "refused.evidence"]);
        let newest = verdicts(operator, node).pop().unwrap();
        assert_eq!(newest["outcome"], "refused");
        newest["detail"]["evidence_sha256"] == operator.evidence_sha256("refused.evidence")
    });
    let offline = operator.json(REFUSED, &["evidence", "verify", "refused.evidence"]);
    let failed = offline["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["holds"] == false);
    assert_eq!(
        failed,
        why["failed"].get(0),
        "the verdict is the server's, word for word"
    );
    operator.write("lenient.toml", &policy(1, "\"release-2\""));
    operator.says(
        REFUSED,
        &["evidence", "verify", "refused.evidence", "--policy", "lenient.toml"],
    );
}

/// The operator looks, and calls that boot good too.
fn promote_the_second_release(operator: &Operator, node: &str) {
    operator.says(
        DONE,
        &[
            "baseline",
            "capture",
            node,
            "--name",
            "release-2",
            "-o",
            "release-2.json",
        ],
    );
    let lenient = [
        "evidence",
        "verify",
        "refused.evidence",
        "--policy",
        "lenient.toml",
        "--baseline",
        "release-2.json",
    ];
    operator.says(DONE, &lenient);
    let between = operator.says(DONE, &["baseline", "diff", "release-1.json", "release-2.json"]);
    assert!(between.contains(".cmdline"), "{between}");
    operator.says(DONE, &["baseline", "promote", "release-2.json"]);
    operator.write("edge.toml", &policy(2, "\"release-1\", \"release-2\""));
    let preview = operator.says(WOULD_CHANGE, &["policy", "apply", "edge.toml", "--dry-run"]);
    assert!(preview.contains("is trusted again"), "{preview}");
    operator.says(DONE, &["policy", "apply", "edge.toml", "--yes"]);
    assert_eq!(operator.json(DONE, &["node", "explain", node])["trusted"], true);
}

/// Nobody boots it any more, so nobody loses trust.
fn retire_the_first_release(operator: &Operator) {
    let (_, told) = operator.run(USAGE, &["baseline", "retire", "release-1"]);
    assert!(told.contains("HM-CLI-0013"), "{told}");
    let retired = operator.says(DONE, &["baseline", "retire", "release-1", "--yes"]);
    assert!(!retired.contains("loses trust"), "{retired}");
    operator.run(NOT_FOUND, &["policy", "show", "no-such"]);
    let (_, told) = operator.run(USAGE, &["baseline", "promote", "release-1.json"]);
    assert!(
        told.contains("not newer"),
        "a retired baseline does not come back by its old file: {told}"
    );
    let lost = operator.says(WOULD_CHANGE, &["baseline", "retire", "release-2", "--dry-run"]);
    assert!(lost.contains("loses trust"), "{lost}");
    operator.says(DONE, &["policy", "withdraw", "edge", "--yes"]);
    let listed = operator.json(DONE, &["policy", "list"]);
    let states: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (&file["name"], &file["state"]))
        .collect();
    for (name, state) in [
        ("edge", "withdrawn"),
        ("release-1", "retired"),
        ("release-2", "in force"),
    ] {
        assert!(states.contains(&(&name.into(), &state.into())), "{listed}");
    }
}

/// Two pairs of keys; a private one is not written over by what it signs.
fn make_keys(operator: &Operator) {
    for (name, other) in [("operator", "operator.pub"), ("stranger", "stranger.pub")] {
        let key = format!("{name}.pem");
        openssl(
            operator,
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
                &key,
            ],
        );
        openssl(operator, &["pkey", "-in", &key, "-pubout", "-out", other]);
    }
    let sign = [
        "policy",
        "sign",
        "release-1.json",
        "--key",
        "operator.pem",
        "--trust-domain",
        "example.org",
        "-o",
        "operator.pem",
    ];
    let (_, told) = operator.run(USAGE, &sign);
    assert!(told.contains("would be written over"), "{told}");
}

#[test]
fn a_baseline_travels_as_a_signed_file() {
    let (mut trial, id) = booted(&RecordedBoot::vector("base"));
    let operator = Operator::at(&trial.lab.server().admin_socket());
    operator.says(
        DONE,
        &[
            "baseline",
            "capture",
            &id,
            "--name",
            "release-1",
            "-o",
            "release-1.json",
        ],
    );
    operator.says(DONE, &["baseline", "promote", "release-1.json"]);
    make_keys(&operator);
    let export = [
        "baseline",
        "export",
        "release-1",
        "--key",
        "operator.pem",
        "-o",
        "signed.json",
    ];
    operator.says(DONE, &export);
    let import = |key: &str, code| {
        operator.run(
            code,
            &[
                "baseline",
                "import",
                "signed.json",
                "--operator-key",
                key,
                "-o",
                "imported.json",
            ],
        )
    };
    import("operator.pub", DONE);
    assert_eq!(
        operator.read("imported.json").trim(),
        operator.read("release-1.json").trim()
    );
    let (_, told) = import("stranger.pub", USAGE);
    assert!(told.contains("HM-POLICY-0425"), "{told}");
    let meant_for = |name: &str, code| {
        let words = [
            "baseline",
            "import",
            "signed.json",
            "--operator-key",
            "operator.pub",
            "-o",
            "imported.json",
        ];
        operator.run(code, &[&words[..], &["--trust-domain", name]].concat())
    };
    meant_for(trial::DOMAIN, DONE);
    let (_, told) = meant_for("other.example", USAGE);
    assert!(told.contains("HM-POLICY-0432"), "{told}");
    operator.write(
        "signed.json",
        &operator
            .read("signed.json")
            .replacen("\"signature\": \"M", "\"signature\": \"N", 1),
    );
    import("operator.pub", USAGE);
}

/// Where only signed files count, an operator without the key takes nothing back.
#[test]
fn what_only_signatures_put_in_force_only_signatures_take_back() {
    let (mut trial, id) = booted(&RecordedBoot::vector("base"));
    let operator = Operator::at(&trial.lab.server().admin_socket());
    let capture = [
        "baseline",
        "capture",
        &id,
        "--name",
        "release-1",
        "-o",
        "release-1.json",
    ];
    operator.says(DONE, &capture);
    operator.says(DONE, &["baseline", "promote", "release-1.json"]);
    operator.write("edge.toml", &policy(1, "\"release-1\""));
    operator.says(DONE, &["policy", "apply", "edge.toml"]);
    make_keys(&operator);
    let key = operator.folder.path().join("operator.pub").display().to_string();
    let server = trial.lab.server();
    server.set("policy", "operator_keys", toml::Value::Array(vec![key.into()]));
    server.stop();
    server.start().unwrap();

    for (words, code) in [
        (&["policy", "withdraw", "edge", "--yes"][..], "HM-SRV-0322"),
        (&["baseline", "retire", "release-1", "--yes"], "HM-SRV-0321"),
        (
            &["baseline", "retire", "release-1", "--key", "stranger.pem", "--yes"],
            "HM-POLICY-0425",
        ),
    ] {
        let (_, told) = operator.run(USAGE, words);
        assert!(told.contains(code), "{words:?}: {told}");
    }
    let retire = ["baseline", "retire", "release-1", "--key", "operator.pem", "--yes"];
    assert!(operator.says(DONE, &retire).contains("loses trust"));
    let listed = operator.json(DONE, &["baseline", "list"]);
    assert_eq!(
        (&listed[0]["state"], &listed[0]["signed"]),
        (&"retired".into(), &true.into())
    );
}

fn openssl(operator: &Operator, words: &[&str]) {
    let out = Command::new("openssl")
        .args(words)
        .current_dir(operator.folder.path())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// From what `sha256sum` prints to a list in force, and back.
#[test]
fn a_list_of_digests_is_made_applied_shown_and_withdrawn() {
    let (mut trial, _) = booted(&RecordedBoot::vector("base"));
    let operator = Operator::at(&trial.lab.server().admin_socket());
    operator.write(
        "image.sha256",
        &format!("{}  ./usr/bin/a\n{}\n", "1".repeat(64), "2".repeat(64)),
    );
    let make = [
        "policy",
        "digests",
        "image.sha256",
        "--name",
        "image",
        "-o",
        "image.json",
    ];
    operator.says(DONE, &make);
    operator.says(DONE, &["policy", "apply", "image.json"]);
    let shown: Value =
        serde_json::from_str(&operator.says(DONE, &["policy", "show", "image", "--kind", "digest-list"])).unwrap();
    assert_eq!((&shown["name"], &shown["serial"]), (&"image".into(), &1.into()));
    assert!(shown["paths"].to_string().contains("/usr/bin/a"), "{shown}");
    operator.run(NOT_FOUND, &["policy", "show", "image"]);
    operator.says(DONE, &["policy", "withdraw", "image", "--kind", "digest-list", "--yes"]);
    assert!(operator.says(DONE, &["policy", "list"]).contains("withdrawn"));
    operator.write("bad", "no digest\n");
    let (_, told) = operator.run(
        USAGE,
        &["policy", "digests", "bad", "--name", "image", "-o", "image.json"],
    );
    assert!(told.contains("line 1"), "{told}");
}
