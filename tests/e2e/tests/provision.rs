//! Installing a machine over the network, as the server sees it: what operators assign, what the machine asks and tells, and
//! when it is done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use hallmark_api::provision::{
    Assignment, GetAssignmentRequest, GetAssignmentResponse, ReportStepRequest, Stage, Step,
    provisioning_client::ProvisioningClient,
};
use hallmark_attacks::{SoftwareIdentity, Wire, attest};
use hallmark_kit::{Lab, LabOptions, binary};
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::ek_sha256;
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine, VendorCa};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// PCR 4 of the SHA-256 bank: the boot loader.
const BOOT_LOADER: (u16, u8) = (0x000b, 4);

/// A server that trusts one vendor's TPMs, and the operator's program.
struct Site {
    lab: Lab,
    vendor: VendorCa,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    fn new() -> Self {
        let (folder, vendor) = (
            tempfile::Builder::new().prefix("hm").tempdir().unwrap(),
            VendorCa::new(),
        );
        let root = folder.path().join("vendor.der");
        fs::write(&root, vendor.root_der()).unwrap();
        let options = LabOptions {
            folder: folder.path().join("l"),
            trust_domain: "example.org".into(),
            nodes: 0,
        };
        let mut lab = Lab::lay_out(options).unwrap();
        lab.server().trust(&[root]);
        lab.server().take_ek_templates(SoftwareMachine::EK_TEMPLATES);
        lab.start_server().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Self {
            lab,
            vendor,
            folder,
            runtime,
        }
    }

    /// The operator's program ends with this code; gives what it wrote to stdout and stderr.
    fn operator(&mut self, code: i32, line: &str) -> (String, String) {
        let folder = self.folder.path().display().to_string();
        let line = line.replace('@', &folder);
        let words: Vec<&str> = line.split_whitespace().collect();
        let out = hallmark_kit::hallmark(&self.lab.server().admin_socket(), &words).unwrap();
        let [said, told] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(out.status.code(), Some(code), "{line}: {said}{told}");
        (said, told)
    }

    fn json(&mut self, line: &str) -> Value {
        let (said, _) = self.operator(0, &format!("{line} -o json"));
        serde_json::from_str(&said).unwrap()
    }

    /// The one machine's stage, as operators see it.
    fn stage(&mut self) -> String {
        let list = self.json("provision list");
        assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
        list[0]["stage"].as_str().unwrap().to_owned()
    }

    /// A machine attests, and connects with its SVID; it goes on with a fresh key.
    fn attested(&mut self, machine: &mut SoftwareMachine) -> Node {
        let address = self.lab.server().address();
        let channel = self.runtime.block_on(async {
            let svid = attest(&Wire::connect(&address).await.unwrap(), machine).await.unwrap();
            let key = std::mem::replace(&mut machine.svid, SoftwareKey::svid());
            let wire = Wire::connect_as(&address, SoftwareIdentity::of(&svid, key)).await;
            wire.unwrap().channel()
        });
        machine.clock += 1000;
        Node {
            channel,
            handle: self.runtime.handle().clone(),
        }
    }

    fn kill_server(&mut self) {
        self.lab.server().process().unwrap().kill();
        self.lab.server().start().unwrap();
    }
}

/// A machine's connection with its own SVID.
struct Node {
    channel: Channel,
    handle: tokio::runtime::Handle,
}

impl Node {
    fn assignment(&self) -> Result<Option<Assignment>, Status> {
        self.asks().map(|answer| answer.assignment)
    }

    fn asks(&self) -> Result<GetAssignmentResponse, Status> {
        let mut client = ProvisioningClient::new(self.channel.clone());
        let answer = self.handle.block_on(client.get_assignment(GetAssignmentRequest {}));
        answer.map(tonic::Response::into_inner)
    }

    fn reports(&self, attempt: u64, step: Step, done: u64) -> Result<(), Status> {
        self.tells(ReportStepRequest {
            attempt,
            step: step.into(),
            chunks_done: done,
            chunks: 3,
            manifest_sha256: digest().into(),
            ..ReportStepRequest::default()
        })
    }

    fn fails(&self, attempt: u64, code: &str, reason: &str) -> Result<(), Status> {
        self.tells(ReportStepRequest {
            attempt,
            step: Step::Failed.into(),
            code: code.into(),
            reason: reason.into(),
            manifest_sha256: digest().into(),
            ..ReportStepRequest::default()
        })
    }

    fn tells(&self, report: ReportStepRequest) -> Result<(), Status> {
        let mut client = ProvisioningClient::new(self.channel.clone());
        self.handle.block_on(client.report_step(report)).map(drop)
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, words: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().starts_with(words), "{status}");
}

fn ek(machine: &SoftwareMachine) -> String {
    let hash = ek_sha256(&machine.claim().decode().unwrap()).unwrap();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The machine is turned off and on, and starts from another medium.
fn boots(machine: &mut SoftwareMachine, boot_loader: &str) {
    let measured = HashAlg::Sha256.digest(boot_loader.as_bytes());
    machine.pcrs.insert(BOOT_LOADER, measured);
    machine.reset_count += 1;
    machine.session += 1;
    machine.clock += 1000;
}

const DISK: &str = "the boot loader on the disk";
const NETBOOT: &str = "the netboot image";

/// The image's manifest, as a build writes it.
fn manifest() -> String {
    let digests: String = (0..3).map(|n| format!("{n:064x}\n")).collect();
    format!(
        "hallmark-disk-image 1\nimage=hallmark-edge\nversion=2026.11.1\ndisk_octets=20000000\nchunk_octets=8388608\n\
         chunks=3\n{digests}"
    )
}

fn digest() -> Vec<u8> {
    HashAlg::Sha256.digest(manifest().as_bytes())
}

/// The image's manifest and its baseline, as a build leaves them; gives the manifest.
fn image(folder: &Path) -> PathBuf {
    let manifest = manifest();
    fs::write(folder.join("manifest"), &manifest).unwrap();
    fs::write(folder.join("cut"), &manifest[..manifest.len() - 1]).unwrap();
    let baseline = json!({
        "version": 1, "name": "edge", "serial": 1, "state": "active", "created_at": 1,
        "origin": {"predicted": {"uki_sha256": "00", "firmware_variables_sha256": null, "earlier_images_sha256": []}},
        "registers": {"sha256:4": [hex(&HashAlg::Sha256.digest(DISK.as_bytes()))]}, "boots": [],
    });
    fs::write(folder.join("edge.json"), baseline.to_string()).unwrap();
    folder.join("manifest")
}

fn assign(machine: &str) -> String {
    format!(
        "provision assign {machine} --manifest @/manifest --url http://images.example/edge/manifest --baseline edge"
    )
}

#[test]
fn a_machine_is_installed_and_every_wrong_step_is_refused() {
    let mut site = Site::new();
    let manifest = image(site.folder.path());
    let mut machine = SoftwareMachine::new(&site.vendor);
    let (hash, short) = (ek(&machine), ek(&machine)[..12].to_owned());

    assigned_as_far_as_it_can_be(&mut site, &hash);

    // The machine starts from the network, attests, and is told its own assignment; nobody else is told anything.
    boots(&mut machine, NETBOOT);
    let node = site.attested(&mut machine);
    let assigned = node.assignment().unwrap().unwrap();
    let digest = HashAlg::Sha256.digest(&fs::read(manifest).unwrap());
    assert_eq!(assigned.manifest_sha256, digest);
    assert_eq!(assigned.manifest_url, "http://images.example/edge/manifest");
    assert_eq!((assigned.disk.as_str(), assigned.overwrite), ("", false));
    let attempt = assigned.attempt;
    nobody_else_is_told(&mut site, attempt);
    wrong_steps_are_refused(&node, attempt);
    assert_eq!(site.stage(), "assigned");
    node.reports(attempt, Step::Writing, 1).unwrap();
    assert_eq!(site.stage(), "writing");
    let (shown, _) = site.operator(0, "provision list");
    assert!(shown.contains("writing 33 %"), "{shown}");

    // The server is killed: nothing of it is lost, and the machine goes on.
    site.kill_server();
    assert_eq!(site.stage(), "writing");
    let node = site.attested(&mut machine);
    assert_eq!(node.assignment().unwrap().unwrap().attempt, attempt);

    let again = tried_again_after_a_failure(&mut site, &node, attempt, &short);

    // It writes, and restarts from its disk: what attests from there is what the server takes for done.
    for (step, chunks) in [
        (Step::Writing, 0),
        (Step::Writing, 3),
        (Step::Written, 3),
        (Step::Restarting, 3),
    ] {
        node.reports(again, step, chunks).unwrap();
        node.reports(again, step, chunks).unwrap();
    }
    let still_there = site.attested(&mut machine);
    assert_eq!(site.stage(), "restarting");
    drop(still_there);
    told_what_keeps_it_from_being_done(&mut site, &mut machine, &short);
    boots(&mut machine, DISK);
    let node = site.attested(&mut machine);
    assert_eq!(site.stage(), "done");
    assert_eq!(node.asks().unwrap().stage(), Stage::Installed);
    refused(
        node.reports(again, Step::Restarting, 3),
        Code::FailedPrecondition,
        "HM-REG-0101",
    );
    netbooted_again(&mut site, &mut machine, again);

    recorded_and_whole(&mut site, &short);
}

/// It came back from something else than the image that its baseline is of.
fn told_what_keeps_it_from_being_done(site: &mut Site, machine: &mut SoftwareMachine, short: &str) {
    assert_eq!(site.json(&format!("provision show {short}"))["code"], "");
    boots(machine, "another image");
    site.attested(machine);
    let shown = site.json(&format!("provision show {short}"));
    assert_eq!(
        (&shown["stage"], &shown["code"]),
        (&json!("restarting"), &json!("HM-REG-0105"))
    );
    let (said, _) = site.operator(0, "provision list");
    assert!(
        said.contains("HM-REG-0105") && said.contains("hallmark node explain"),
        "{said}"
    );
    let (said, _) = site.operator(0, &format!("provision show {short}"));
    assert!(said.contains("next"), "{said}");
}

/// A machine that is done is started from the network once more: it is sent to its disk, and is done again when it attests there.
fn netbooted_again(site: &mut Site, machine: &mut SoftwareMachine, attempt: u64) {
    boots(machine, NETBOOT);
    let node = site.attested(machine);
    let told = node.asks().unwrap();
    assert_eq!(
        (told.stage(), told.assignment.unwrap().attempt),
        (Stage::Installed, attempt)
    );
    refused(
        node.reports(attempt, Step::Writing, 0),
        Code::FailedPrecondition,
        "HM-REG-0101",
    );
    for _ in 0..2 {
        node.reports(attempt, Step::Returned, 0).unwrap();
    }
    let shown = site.json("provision list");
    assert_eq!(
        (&shown[0]["stage"], &shown[0]["returns"]),
        (&json!("restarting"), &json!(1))
    );
    boots(machine, DISK);
    site.attested(machine);
    assert_eq!(site.stage(), "done");
}

/// Another machine and whoever has no SVID are told nothing, and report nothing.
fn nobody_else_is_told(site: &mut Site, attempt: u64) {
    let mut other = SoftwareMachine::new(&site.vendor);
    let stranger = site.attested(&mut other);
    assert_eq!(stranger.assignment().unwrap(), None);
    refused(
        stranger.reports(attempt, Step::Writing, 0),
        Code::NotFound,
        "HM-REG-0096",
    );
    let address = site.lab.server().address();
    let nobody = Node {
        channel: site
            .runtime
            .block_on(async { Wire::connect(&address).await.unwrap().channel() }),
        handle: site.runtime.handle().clone(),
    };
    refused(nobody.assignment(), Code::PermissionDenied, "authorization denied");
    refused(
        nobody.reports(attempt, Step::Writing, 0),
        Code::PermissionDenied,
        "authorization denied",
    );
}

/// Steps that do not follow, and reports that cannot be.
fn wrong_steps_are_refused(node: &Node, attempt: u64) {
    for (attempt, step, done, code, words) in [
        (attempt + 1, Step::Writing, 0, Code::FailedPrecondition, "HM-REG-0100"),
        (attempt, Step::Written, 3, Code::FailedPrecondition, "HM-REG-0101"),
        (attempt, Step::Restarting, 3, Code::FailedPrecondition, "HM-REG-0101"),
        (attempt, Step::Writing, 4, Code::InvalidArgument, "HM-REG-0102"),
        (attempt, Step::Unspecified, 0, Code::InvalidArgument, "step"),
    ] {
        refused(node.reports(attempt, step, done), code, words);
    }
    let no_code = node.fails(attempt, "broken", "no disk");
    refused(no_code, Code::InvalidArgument, "HM-REG-0102");
}

/// What cannot be assigned, each beside what can.
fn assigned_as_far_as_it_can_be(site: &mut Site, hash: &str) {
    let short = &hash[..12];
    let (_, told) = site.operator(6, &assign(hash));
    assert!(told.starts_with("HM-REG-0098") && told.contains("next: "), "{told}");
    site.operator(0, "baseline promote @/edge.json --yes");
    let (_, told) = site.operator(2, &assign(hash).replace("http:", "ftp:"));
    assert!(told.starts_with("HM-REG-0097") && told.contains("url"), "{told}");
    let (_, told) = site.operator(2, &assign(hash).replace("@/manifest", "@/cut"));
    assert!(
        told.starts_with("HM-REG-0095") || told.contains("HM-REG-0095"),
        "{told}"
    );
    let (_, told) = site.operator(6, &assign(short));
    assert!(told.starts_with("HM-CLI-0011"), "not seen, and no whole hash: {told}");
    let (_, told) = site.operator(2, &format!("{} --overwrite", assign(hash)));
    assert!(told.starts_with("HM-CLI-0013"), "{told}");
    site.operator(7, &format!("{} --dry-run", assign(hash)));
    assert_eq!(site.json("provision list"), json!([]));
    let (_, told) = site.operator(2, &assign(hash).replace("images.example", "images.example:99999"));
    assert!(told.starts_with("HM-REG-0097") && told.contains("65535"), "{told}");
    let (said, told) = site.operator(0, &format!("{} --reason rack7", assign(hash)));
    assert!(
        told.starts_with("warning: no machine with the endorsement key"),
        "{told}"
    );
    assert_eq!(said, format!("assign hallmark-edge 2026.11.1 of {short}: assigned\n"));
}

/// It fails, and says why; only an operator has it tried again, and the old attempt counts no more. Gives the new one.
fn tried_again_after_a_failure(site: &mut Site, node: &Node, attempt: u64, short: &str) -> u64 {
    node.fails(attempt, "HM-IMAGE-0022", "the disk /dev/vda is smaller than the image")
        .unwrap();
    let failed = site.json(&format!("provision show {short}"));
    assert_eq!(
        (&failed["stage"], &failed["code"]),
        (&json!("failed"), &json!("HM-IMAGE-0022"))
    );
    let told = node.asks().unwrap();
    assert_eq!((told.stage(), told.assignment), (Stage::Failed, None));
    refused(
        node.reports(attempt, Step::Writing, 2),
        Code::FailedPrecondition,
        "HM-REG-0101",
    );
    site.operator(7, &format!("provision retry {short} --dry-run"));
    site.operator(0, &format!("provision retry {short} --reason disk-replaced"));
    site.operator(6, &format!("provision retry {short}"));
    let again = node.assignment().unwrap().unwrap().attempt;
    assert!(again > attempt);
    refused(
        node.reports(attempt, Step::Writing, 2),
        Code::FailedPrecondition,
        "HM-REG-0100",
    );
    again
}

/// Each step is on record, with who took it and why; what the store keeps is what its journal says.
fn recorded_and_whole(site: &mut Site, machine: &str) {
    let id = site.json(&format!("node show {machine}"))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let records = site.json(&format!("record list {machine} --kind provision --limit 50"));
    let found: Vec<(&str, &str, &str)> = records
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            let text = |name: &str| record["detail"][name].as_str().unwrap();
            (text("act"), text("by"), text("reason"))
        })
        .collect();
    let operator = format!("uid:{}", rustix::process::geteuid().as_raw());
    let expected = [
        ("image-assigned", operator.as_str(), "rack7"),
        ("image-writing", &id, ""),
        ("image-failed", &id, "the disk /dev/vda is smaller than the image"),
        ("image-retried", &operator, "disk-replaced"),
        ("image-writing", &id, ""),
        ("image-written", &id, ""),
        ("image-restarting", &id, ""),
        ("image-done", "attestation", ""),
        ("image-restarting", &id, "the machine came back from the network"),
        ("image-done", "attestation", ""),
    ];
    assert_eq!(found, expected);
    assert_eq!(
        (&records[2]["outcome"], &records[2]["code"]),
        (&json!("failed"), &json!("HM-IMAGE-0022"))
    );
    site.lab.server().stop();
    let doctor = Command::new(binary("hallmark-server").unwrap())
        .args(["doctor", "--config"])
        .arg(site.lab.server().config_file())
        .env("SOFTHSM2_CONF", site.lab.server().token().conf())
        .output()
        .unwrap();
    let said = String::from_utf8([doctor.stdout, doctor.stderr].concat()).unwrap();
    assert!(
        said.contains("rows are what the journal says") && !said.contains("HM-STORE"),
        "{said}"
    );
    site.lab.start_server().unwrap();
    assert_eq!(site.stage(), "done");
    let (_, told) = site.operator(2, &format!("provision remove {machine}"));
    assert!(told.starts_with("HM-CLI-0013"), "{told}");
    site.operator(0, &format!("provision remove {machine} --yes"));
    assert_eq!(site.json("provision list"), json!([]));
    let (_, told) = site.operator(6, &format!("provision show {machine}"));
    assert!(told.starts_with("HM-REG-0096"), "{told}");
}

#[test]
fn a_machine_that_is_out_is_told_nothing_and_reports_nothing() {
    let mut site = Site::new();
    image(site.folder.path());
    site.operator(0, "baseline promote @/edge.json --yes");
    let mut machine = SoftwareMachine::new(&site.vendor);
    let node = site.attested(&mut machine);
    let short = ek(&machine)[..12].to_owned();
    // Of a machine that attested, the start of the hash is enough.
    let (_, told) = site.operator(0, &assign(&short));
    assert_eq!(told, "", "of one that attested there is nothing to warn");
    let attempt = node.assignment().unwrap().unwrap().attempt;
    site.operator(0, &format!("node ban {short} --yes"));
    let (_, told) = site.operator(6, &assign(&short));
    assert!(
        told.starts_with("HM-REG-0104") && told.contains("found banned"),
        "{told}"
    );
    refused(node.assignment(), Code::PermissionDenied, "");
    refused(node.reports(attempt, Step::Writing, 0), Code::PermissionDenied, "");
    assert_eq!(site.stage(), "assigned");
}
