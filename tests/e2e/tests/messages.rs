//! Failures of the three programs, each told in four lines with its code, and each with the exit code of its class.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_kit::binary;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use trial::{DOMAIN, Trial, agents, entry, register, wait_for};

/// A user who is neither root nor anybody whom the lab knows.
const OTHER: &str = "54321";

/// A failure: the program and its words, its code, what is told in it, and the exit code.
struct Failure<'a> {
    line: &'a str,
    code: &'a str,
    told: &'a [&'a str],
    exit: i32,
}

/// Whoever runs the programs.
struct Site {
    env: Vec<(String, String)>,
    folder: String,
}

impl Site {
    /// Of a lab; `@` in a line stands for its folder.
    fn of(trial: &mut Trial) -> Self {
        Self {
            env: vec![
                (
                    "SOFTHSM2_CONF".into(),
                    trial.lab.server().token().conf().display().to_string(),
                ),
                (
                    "HALLMARK_ADMIN_SOCKET".into(),
                    trial.lab.server().admin_socket().display().to_string(),
                ),
            ],
            folder: trial.lab.folder().display().to_string(),
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace().map(|word| word.replace('@', &self.folder));
        let mut program = words.next().unwrap();
        let mut command = Command::new("setpriv");
        if let Some(known) = program.strip_prefix("other:") {
            // Of root's group, so that folders can be passed, and without root's rights.
            command.args(["--reuid", OTHER, "--regid", "0", "--clear-groups", "--inh-caps=-all"]);
            program = known.to_owned();
        }
        command.arg("--").arg(binary(&program).unwrap()).args(words);
        command.envs(self.env.clone()).stdin(Stdio::null());
        command
    }

    fn must_fail(&self, failure: &Failure<'_>) {
        let Failure { line, code, told, exit } = failure;
        let out = self.command(line).output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        // `run` has its log before.
        let lines = said.trim_end().lines().skip_while(|line| line.contains("Z  INFO "));
        let lines: Vec<&str> = lines.collect();
        assert!(
            lines.first().is_some_and(|first| {
                let what = first.strip_prefix(&format!("{code}: "));
                what.is_some_and(|what| !what.trim().is_empty())
            }),
            "{line}: {code} expected first in:\n{said}"
        );
        let labels = ["  compared: ", "  cause: ", "  next: "];
        let rest = &lines[1..];
        assert!(
            rest.iter().all(|line| labels
                .iter()
                .any(|label| line.starts_with(label) && line.len() > label.len())),
            "{line}: more than the four lines:\n{said}"
        );
        let place = |label: &str| rest.iter().position(|line| line.starts_with(label));
        let (compared, cause, next) = (place(labels[0]), place(labels[1]), place(labels[2]));
        assert!(
            cause.is_some() && cause < next && next == Some(rest.len() - 1) && (compared.is_none() || compared < cause),
            "{line}: the order:\n{said}"
        );
        // The values stand in a line of their own, or where it is said what failed.
        for word in *told {
            let word = word.replace('@', &self.folder);
            assert!(said.contains(&word), "{line}: no {word:?} in:\n{said}");
        }
        assert_eq!(out.status.code(), Some(*exit), "{line}:\n{said}");
    }

    /// Of each line of a table: code, exit code, what is told, and the command.
    fn must_fail_all(&self, table: &str) {
        let mut count = 0;
        for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let mut cells = row.splitn(4, ' ');
            let mut cell = || cells.next().unwrap();
            let (code, exit, told, line) = (cell(), cell(), cell(), cell());
            self.must_fail(&Failure {
                line,
                code,
                told: &[told],
                exit: exit.parse().unwrap(),
            });
            count += 1;
        }
        assert!(count > 3, "{table}");
    }

    fn must_do(&self, exit: i32, line: &str) -> String {
        let out = self.command(line).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(exit), "{line}: {said}");
        String::from_utf8(out.stdout).unwrap()
    }
}

/// Writes a copy of a configuration in which one text is another.
fn varied(from: &Path, name: &str, was: &str, becomes: &str) {
    let text = std::fs::read_to_string(from).unwrap();
    assert!(text.contains(was), "{was:?} is not in {text}");
    let to = from.with_file_name(name);
    std::fs::write(&to, text.replace(was, becomes)).unwrap();
}

#[test]
fn every_failure_of_the_server_is_told_alike() {
    let mut trial = Trial::laid_out(0);
    trial.lab.server().write_config().unwrap();
    let (config, site) = (trial.lab.server().config_file(), Site::of(&mut trial));
    let label = "hallmark-lab";
    varied(&config, "label.toml", &format!("\"{label}\""), "\"nobody\"");
    varied(&config, "key.toml", "trust_domain", "trust_domian");
    let module = trial.lab.server().config()["hsm"]["module"]
        .as_str()
        .unwrap()
        .to_owned();
    varied(&config, "module.toml", &module, "/nonexistent/module.so");
    std::fs::write(config.with_file_name("no.toml"), "version = \n").unwrap();
    site.must_fail_all(
        "
        HM-CONF-0001 2 missing.toml hallmark-server run --config @/server/missing.toml
        HM-CONF-0002 2 no.toml:1 hallmark-server config check --config @/server/no.toml
        HM-CONF-0003 2 trust_domian hallmark-server run --config @/server/key.toml
        HM-HSM-0026 4 /nonexistent/module.so hallmark-server run --config @/server/module.toml
        HM-HSM-0002 4 [\"hallmark-lab\"] hallmark-server run --config @/server/label.toml
        HM-SRV-0008 4 admin.sock hallmark-server healthcheck --config @/server/server.toml
        HM-CLI-0021 2 --confg hallmark-server run --confg x
        HM-CLI-0021 2 halthcheck hallmark-server halthcheck",
    );
    trial.lab.start_server().unwrap();
    let healthy = format!("hallmark-server healthcheck -o json --config {}", config.display());
    assert!(site.must_do(0, &healthy).contains("\"ready\": true"));
    let second = format!("hallmark-server run --config {}", config.display());
    let taken = site.command(&second).output().unwrap();
    let said = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(
        !taken.status.success() && said.contains("  cause: ") && said.contains("  next: "),
        "{said}"
    );
}

/// The PIN is the server's own; whoever watches it needs none.
#[test]
fn the_servers_health_check_needs_no_pin() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut trial = Trial::laid_out(0);
    let (config, site) = (trial.lab.server().config_file(), Site::of(&mut trial));
    std::fs::set_permissions(trial.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    trial.lab.start_server().unwrap();
    let pin = trial.lab.server().token().pin_file();
    let open = |as_whom: &str| format!("{as_whom}hallmark-server doctor --config {}", config.display());
    // The control: this user cannot read the PIN.
    let told = pin.display().to_string();
    site.must_fail(&Failure {
        line: &open("other:"),
        code: "HM-CONF-0008",
        told: &[&told],
        exit: 2,
    });
    let check = format!("hallmark-server healthcheck --verbose --config {}", config.display());
    let said = site.must_do(0, &format!("other:{check}"));
    assert!(said.ends_with("ready\n") && said.contains(" ok\n"), "{said}");
    // Without the socket's group it is not permitted; the server itself is as well as before.
    let socket = trial.lab.server().admin_socket();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).unwrap();
    site.must_fail(&Failure {
        line: &format!("other:{check}"),
        code: "HM-SRV-0031",
        told: &["admin.sock", "Permission denied"],
        exit: 3,
    });
    site.must_fail(&Failure {
        line: &format!("other:hallmark status --socket {}", socket.display()),
        code: "HM-CLI-0002",
        told: &["admin.sock"],
        exit: 3,
    });
    site.must_do(0, &check);
}

#[test]
fn every_failure_of_the_agent_is_told_alike() {
    let mut trial = Trial::laid_out(1);
    let site = Site::of(&mut trial);
    // Its bundle is there, and nothing answers.
    trial.lab.start_server().unwrap();
    trial.lab.server().stop();
    let (config, tcti, id) = {
        let node = trial.node();
        node.write_config().unwrap();
        (node.config_file(), node.tpm().tcti(), node.agent_id().unwrap())
    };
    let address = trial.lab.server().address();
    varied(&config, "absent.toml", &tcti, "device:/dev/no-such-tpm");
    let other = somebody_else();
    varied(&config, "other.toml", &address, &other);
    varied(&config, "version.toml", "version = 1", "version = 7");
    let table = "
        HM-CONF-0101 2 missing.toml hallmark-agent run --config @/node-1/missing.toml
        HM-CONF-0005 2 version.toml hallmark-agent config check --config @/node-1/version.toml
        HM-TPM-0001 4 /dev/no-such-tpm hallmark-agent attest --once --config @/node-1/absent.toml
        HM-AGENT-0001 4 ADDRESS hallmark-agent attest --once --config @/node-1/agent.toml
        HM-AGENT-0030 4 OTHER hallmark-agent attest --once --config @/node-1/other.toml
        HM-AGENT-0027 4 health.sock hallmark-agent healthcheck --config @/node-1/agent.toml
        HM-WL-0031 4 /nonexistent/w.sock hallmark-agent api fetch x509 --timeout 1s --socket /nonexistent/w.sock
        HM-CLI-0021 2 --once hallmark-agent attest
        HM-CLI-0021 2 x508 hallmark-agent api fetch x508";
    site.must_fail_all(&table.replace("ADDRESS", &address).replace("OTHER", &other));
    what_the_server_decides(&mut trial, &site, &id);
}

/// Each class with its cause, and commands with the node's id.
fn what_the_server_decides(trial: &mut Trial, site: &Site, id: &str) {
    let attest = "hallmark-agent attest --once --config @/node-1/agent.toml";
    trial.lab.server().set("attestation.tpm2", "approval", "one".into());
    trial.lab.start_server().unwrap();
    let socket = format!("--socket {}", trial.lab.server().admin_socket().display());
    let refused = |code: &str, told: &[&str]| {
        site.must_fail(&Failure {
            line: attest,
            code,
            told,
            exit: 5,
        })
    };
    refused(
        "HM-AGENT-0003",
        &[
            "this machine waits for an operator's approval",
            "HM-SRV-0301",
            &format!("hallmark node approve {id}"),
        ],
    );
    site.must_do(0, &format!("hallmark node approve {id} {socket}"));
    let attested = site.must_do(0, &format!("{attest} -o yaml"));
    assert!(attested.contains(id) && attested.contains("\nserial: "), "{attested}");
    let does = |step: &str| site.must_do(0, &format!("hallmark node {step} {id} --yes {socket}"));
    does("suspend");
    let resume = format!("hallmark node resume {id}");
    refused("HM-AGENT-0019", &["an operator suspended this machine", &resume]);
    site.must_do(0, &format!("{resume} {socket}"));
    site.must_do(0, attest);
    does("ban");
    let unban = format!("hallmark node unban {id}");
    refused("HM-AGENT-0004", &["an operator banned this machine", &unban]);
    does("retire");
    refused(
        "HM-AGENT-0004",
        &[
            "an operator retired this machine",
            "HM-SRV-0303",
            "hallmark inventory import --readmit",
        ],
    );
}

/// The address of a program that is no server of ours.
fn somebody_else() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    address
}

/// What the rules of the configuration and the roots refuse.
#[test]
fn every_class_of_refusal_has_its_own_cause() {
    for (table, key, value, told) in [
        (
            "attestation.tpm2",
            "require_inventory",
            toml::Value::from(true),
            [
                "the server's rules do not allow this machine",
                "a policy or a rule",
                "HM-SRV-0108",
            ],
        ),
        (
            "attestation.tpm2",
            "ek_roots",
            toml::Value::Array(Vec::new()),
            [
                "the server does not trust this machine's TPM",
                "no EK root and no inventory line",
                "HM-SRV-0102",
            ],
        ),
    ] {
        let mut trial = Trial::laid_out(1);
        trial.lab.server().set(table, key, value);
        trial.lab.server().write_config().unwrap();
        trial.lab.server().start().unwrap();
        let site = Site::of(&mut trial);
        let bundle = trial.lab.bundle_file();
        let socket = trial.lab.server().admin_socket();
        if !bundle.exists() {
            let pem = site.must_do(
                0,
                &format!("hallmark bundle show --format pem --socket {}", socket.display()),
            );
            std::fs::write(&bundle, pem).unwrap();
        }
        let node = trial.node();
        node.write_config().unwrap();
        let id = node.agent_id().unwrap();
        let line = format!("hallmark-agent attest --once --config {}", node.config_file().display());
        let record = format!("hallmark record list {id} --kind verdict");
        site.must_fail(&Failure {
            line: &line,
            code: "HM-AGENT-0003",
            told: &[&told[..], &[record.as_str()]].concat(),
            exit: 5,
        });
        // The command that is named answers with the reason's own code.
        let shown = site.must_do(0, &format!("{record} --socket {}", socket.display()));
        assert!(shown.contains("refused") && shown.contains("HM-"), "{shown}");
    }
}

#[test]
fn every_failure_of_the_operators_program_is_told_alike() {
    let mut trial = Trial::laid_out(1);
    let site = Site::of(&mut trial);
    let socket = trial.lab.server().admin_socket();
    let silent = "HM-CLI-0001 4 admin.sock hallmark";
    site.must_fail_all(
        &["status", "node list", "hsm status", "entry list"]
            .map(|verb| format!("{silent} {verb}"))
            .join("\n"),
    );
    trial.lab.start_server().unwrap();
    trial.node().start().unwrap();
    wait_for("the agent attests", || agents(&socket).len() == 1);
    let id = trial.node().agent_id().unwrap();
    let uid = rustix::process::getuid().as_raw().to_string();
    register(&socket, entry(&id, "/web")).unwrap();
    std::fs::write(trial.lab.folder().join("policy.toml"), "version = 1\nname = 7\n").unwrap();
    let table = "
        HM-AGENT-0031 6 health.sock hallmark-agent attest --once --config @/node-1/agent.toml
        HM-CLI-0021 2 --stat hallmark node list --stat active
        HM-CLI-0021 2 soon hallmark status --timeout soon
        HM-CLI-0011 6 0123456789abcdef hallmark node show 0123456789abcdef
        HM-CLI-0013 2 --yes hallmark node ban NODE
        HM-REG-0060 6 NODE hallmark node unban NODE
        HM-CLI-0014 6 selectors hallmark entry create --spiffe-id DOMAIN/web --parent-id NODE --selector unix:uid:UID
        HM-ID-0020 2 \"uid\" hallmark entry create --spiffe-id DOMAIN/web --parent-id NODE --selector uid
        HM-REG-0003 2 other.example hallmark entry create --spiffe-id spiffe://other.example/x --node NODE --selector unix:uid:1
        HM-CLI-0011 6 00000000 hallmark entry delete 00000000 --yes
        HM-CLI-0015 2 @/missing.toml hallmark policy check @/missing.toml
        HM-CONF-0002 2 name hallmark policy check @/policy.toml
        HM-CLI-0006 6 nobody hallmark policy show nobody
        HM-EVID-0009 2 @/policy.toml hallmark evidence verify @/policy.toml";
    let domain = format!("spiffe://{DOMAIN}");
    site.must_fail_all(
        &table
            .replace("DOMAIN", &domain)
            .replace("UID", &uid)
            .replace("NODE", &id),
    );
    // Done, and what would be done.
    site.must_do(0, "hallmark status");
    site.must_do(7, &format!("hallmark node ban {id} --dry-run"));
}

/// The documented commands are run as they stand in the how-to.
#[test]
fn the_doctor_tells_the_hash_that_the_documented_commands_give() {
    let mut trial = Trial::laid_out(1);
    let site = Site::of(&mut trial);
    trial.lab.start_server().unwrap();
    let page = include_str!("../../../docs/how-to/enrol-machines.md");
    let documented = |begin: &str| page.lines().find(|line| line.starts_with(begin)).unwrap().to_owned();
    let commands = [documented("tpm2_createek -G rsa "), documented("openssl pkey ")].join("\n");
    let mut hashes = Vec::new();
    for (key, template) in [("rsa", "rsa-2048-l1"), ("ecc", "ecc-p256-l2")] {
        let node = trial.node();
        node.set("tpm", "ek_templates", toml::Value::Array(vec![template.into()]));
        node.write_config().unwrap();
        // What it finds missing is the agent, which does not run yet.
        let doctor = site.must_do(
            4,
            &format!("hallmark-agent doctor --config {}", node.config_file().display()),
        );
        let out = Command::new("bash")
            .args([
                "-euo",
                "pipefail",
                "-c",
                &commands.replace("-G rsa", &format!("-G {key}")),
            ])
            .current_dir(node.folder())
            .env("TPM2TOOLS_TCTI", node.tpm().tcti())
            .output()
            .unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let hash = said.split_whitespace().next().unwrap().to_owned();
        assert!(
            hash.len() == 64 && doctor.contains(&format!("EK {hash} ({template}, ")),
            "{said}\n{doctor}"
        );
        let logs = "ok    measurement logs: TCG not configured, systemd not configured, IMA not configured";
        assert!(
            doctor.contains(logs) && doctor.contains("FAIL  agent: HM-AGENT-0027"),
            "{doctor}"
        );
        hashes.push(hash);
    }
    assert_ne!(hashes[0], hashes[1]);
    // As an inventory has it, and as the server tells it.
    let socket = trial.lab.server().admin_socket().display().to_string();
    let list = trial.lab.folder().join("inventory.csv");
    std::fs::write(
        &list,
        format!("ek_sha256,serial,owner,labels,expires\n{},,,,\n", hashes[0]),
    )
    .unwrap();
    site.must_do(
        0,
        &format!("hallmark inventory import {} --socket {socket}", list.display()),
    );
    let rsa = toml::Value::Array(vec!["rsa-2048-l1".into()]);
    trial.node().set("tpm", "ek_templates", rsa);
    trial.node().start().unwrap();
    let shown = site.must_do(
        0,
        &format!("hallmark node show {} -o json --socket {socket}", hashes[0]),
    );
    assert!(shown.contains(&format!("\"sha256\": \"{}\"", hashes[0])), "{shown}");
    let listed = site.must_do(0, &format!("hallmark inventory list -o json --socket {socket}"));
    assert!(listed.contains("\"state\": \"active\""), "{listed}");
}
