//! A running server that trusts one vendor's TPMs, and attacks written as their difference from the truth.

use hallmark_api::admin::{ListRecordsRequest, Record};
use hallmark_attacks::{Wire, attest, open, proof_message};
use hallmark_kit::{AdminClient, Lab, LabOptions};
use hallmark_verify::ek_sha256;
use hallmark_verify::testing::{ClaimParts, ProofDraft, ProofParts, SoftwareMachine, VendorCa};
use std::fs;
use std::path::Path;
use tonic::Status;

/// A server that runs, with what an operator sees of it.
pub(crate) struct Site {
    pub(crate) vendor: VendorCa,
    pub(crate) address: String,
    pub(crate) admin: AdminClient,
    /// The server's process id.
    pub(crate) pid: u32,
    log: std::path::PathBuf,
    /// An honest machine, the positive control of every attack.
    good: SoftwareMachine,
    seen: u64,
}

/// Runs `body` against a server that trusts a new vendor.
pub(crate) fn site(body: impl AsyncFnOnce(&mut Site)) {
    site_with(VendorCa::new(), |_, _, _| {}, body);
}

/// The same with a server that is configured before it starts; a folder is there for its files.
pub(crate) fn site_with(
    vendor: VendorCa,
    configure: impl FnOnce(&mut Lab, &VendorCa, &Path),
    body: impl AsyncFnOnce(&mut Site),
) {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = lay_out(folder.path(), &vendor);
    configure(&mut lab, &vendor, folder.path());
    lab.start_server().unwrap();
    run(&mut lab, vendor, body);
}

/// A lab whose server trusts this vendor beside the maker of its own TPMs; nothing runs yet.
pub(crate) fn lay_out(folder: &Path, vendor: &VendorCa) -> Lab {
    let root = folder.join("vendor.der");
    fs::write(&root, vendor.root_der()).unwrap();
    let mut lab = Lab::lay_out(LabOptions {
        folder: folder.join("lab"),
        trust_domain: "example.org".into(),
        nodes: 0,
    })
    .unwrap();
    lab.server().trust(&[root]);
    lab.server().take_ek_templates(SoftwareMachine::EK_TEMPLATES);
    lab
}

/// Runs `body` against the lab's running server.
pub(crate) fn run(lab: &mut Lab, vendor: VendorCa, body: impl AsyncFnOnce(&mut Site)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (address, socket) = (lab.server().address(), lab.server().admin_socket());
    let (pid, log) = (
        lab.server().pid().unwrap(),
        lab.folder().join("server").join("server.log"),
    );
    runtime.block_on(async {
        let mut site = Site {
            good: SoftwareMachine::new(&vendor),
            vendor,
            address,
            pid,
            log,
            admin: AdminClient::connect(&socket).await.unwrap(),
            seen: 0,
        };
        body(&mut site).await;
    });
}

impl Site {
    pub(crate) async fn wire(&self) -> Wire {
        Wire::connect(&self.address).await.unwrap()
    }

    /// How often the server has said these words.
    pub(crate) fn said(&self, words: &str) -> usize {
        std::fs::read_to_string(&self.log)
            .unwrap_or_default()
            .matches(words)
            .count()
    }

    /// Waits until it has said them more often than that.
    pub(crate) async fn says(&self, words: &str, before: usize) {
        let start = std::time::Instant::now();
        while self.said(words) <= before {
            assert!(
                start.elapsed() < std::time::Duration::from_secs(60),
                "never said: {words}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// The verdicts recorded since the last look.
    pub(crate) async fn verdicts(&mut self) -> Vec<Record> {
        self.verdicts_up_to(1000).await
    }

    /// The first verdict that was recorded since the last look.
    pub(crate) async fn next_verdict(&mut self) -> Option<Record> {
        self.verdicts_up_to(1).await.pop()
    }

    async fn verdicts_up_to(&mut self, limit: u32) -> Vec<Record> {
        let request = ListRecordsRequest {
            after: self.seen,
            limit,
            kind: "verdict".into(),
            ..ListRecordsRequest::default()
        };
        let records = self
            .admin
            .admin
            .list_records(request)
            .await
            .unwrap()
            .into_inner()
            .records;
        if let Some(last) = records.last() {
            self.seen = last.sequence;
        }
        records
    }

    /// What the server recorded of a refusal is `code`, once; what it told the node is the class alone.
    pub(crate) async fn refused(&mut self, what: &str, told: &Status, code: &str) {
        self.refused_as(what, told, code, class_of(code)).await;
    }

    /// The same where the class is not the verifier's.
    pub(crate) async fn refused_as(&mut self, what: &str, told: &Status, code: &str, class: &str) {
        let verdicts = self.verdicts().await;
        let seen: Vec<_> = verdicts.iter().map(|v| (v.outcome.as_str(), v.code.as_str())).collect();
        assert_eq!(seen, [("refused", code)], "{what}: {told}");
        let message = told.message();
        assert!(message.starts_with("failed to attest: "), "{what}: {message}");
        assert!(
            message.ends_with(&format!("({class})")) && message.matches("HM-").count() == 1,
            "{what} ({code}): {message}"
        );
        assert!(told.details().is_empty(), "{what}");
    }

    /// The honest machine is let in on this connection.
    pub(crate) async fn control(&mut self, wire: &Wire, what: &str) {
        if let Err(status) = attest(wire, &self.good).await {
            panic!("{what}: the honest machine was refused: {status}");
        }
        let verdicts = self.verdicts().await;
        assert!(
            verdicts.len() == 1 && verdicts[0].outcome == "accepted",
            "{what}: {verdicts:?}"
        );
    }

    /// Every attack is refused with its code, and the honest machine is let in on the same connection.
    pub(crate) async fn refuses(&mut self, attacks: Vec<Attack>) {
        for attack in attacks {
            let wire = self.wire().await;
            match attack.run(&wire, &self.vendor).await {
                Ok(_) => panic!("{}: accepted", attack.what),
                Err(told) => self.refused(&attack.what, &told, attack.code).await,
            }
            self.control(&wire, &attack.what).await;
        }
    }
}

/// The class under which the node hears of a refusal.
fn class_of(code: &str) -> &'static str {
    let Some(number) = code.strip_prefix("HM-VERIFY-").and_then(|n| n.parse::<u16>().ok()) else {
        return if code.starts_with("HM-POLICY-") {
            "HM-SRV-0108"
        } else {
            "HM-SRV-0101"
        };
    };
    match number {
        // What cannot be read.
        101..=106 | 231..=233 | 401 | 404 | 501 | 504 => "HM-SRV-0101",
        100..=199 => "HM-SRV-0102",
        200..=299 => "HM-SRV-0103",
        // An answer that is no answer to this challenge.
        306..=308 => "HM-SRV-0104",
        // A statement made for another connection, challenge or key.
        409 | 509 => "HM-SRV-0105",
        _ => "HM-SRV-0106",
    }
}

type OnMachine = Box<dyn Fn(&mut SoftwareMachine, &VendorCa)>;
type OnClaim = Box<dyn Fn(&mut ClaimParts, &SoftwareMachine)>;
type OnDraft = Box<dyn Fn(&mut ProofDraft, &SoftwareMachine)>;
type OnProof = Box<dyn Fn(&mut ProofParts, &SoftwareMachine)>;

/// An attack: an honest machine's attestation with something changed at one or more of its steps.
pub(crate) struct Attack {
    what: String,
    code: &'static str,
    machine: OnMachine,
    claim: OnClaim,
    draft: OnDraft,
    proof: OnProof,
}

impl Attack {
    pub(crate) fn new(what: impl Into<String>, code: &'static str) -> Self {
        Self {
            what: what.into(),
            code,
            machine: Box::new(|_, _| {}),
            claim: Box::new(|_, _| {}),
            draft: Box::new(|_, _| {}),
            proof: Box::new(|_, _| {}),
        }
    }

    /// Changes the machine before it claims anything.
    pub(crate) fn machine(self, change: impl Fn(&mut SoftwareMachine, &VendorCa) + 'static) -> Self {
        Self {
            machine: Box::new(change),
            ..self
        }
    }

    /// Changes what it claims.
    pub(crate) fn claim(self, change: impl Fn(&mut ClaimParts, &SoftwareMachine) + 'static) -> Self {
        Self {
            claim: Box::new(change),
            ..self
        }
    }

    /// Changes what is signed.
    pub(crate) fn draft(self, change: impl Fn(&mut ProofDraft, &SoftwareMachine) + 'static) -> Self {
        Self {
            draft: Box::new(change),
            ..self
        }
    }

    /// Changes what was signed.
    pub(crate) fn proof(self, change: impl Fn(&mut ProofParts, &SoftwareMachine) + 'static) -> Self {
        Self {
            proof: Box::new(change),
            ..self
        }
    }

    async fn run(&self, wire: &Wire, vendor: &VendorCa) -> Result<(), Status> {
        let mut machine = SoftwareMachine::new(vendor);
        (self.machine)(&mut machine, vendor);
        let mut claim = machine.claim();
        (self.claim)(&mut claim, &machine);
        let (mut attempt, challenge) = open(wire, &claim).await?;
        let mut proof = machine.prove_with(&challenge, wire.exporter(), |draft| (self.draft)(draft, &machine));
        (self.proof)(&mut proof, &machine);
        attempt.prove(&proof_message(&proof)).await.map(drop)
    }
}

/// The end of the machine's agent id: the hash of its EK.
pub(crate) fn ek(machine: &SoftwareMachine) -> String {
    hex::encode(ek_sha256(&machine.claim().decode().unwrap()).unwrap())
}
