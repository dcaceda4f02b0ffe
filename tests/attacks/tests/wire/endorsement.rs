//! Attack 67: the same TPM under another of its endorsement keys. A real agent on swtpm, whose maker certified two.

use hallmark_api::admin::{ChangeNodeRequest, ListNodesRequest, ListRecordsRequest};
use hallmark_kit::{AdminClient, Lab, LabOptions};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Longer than any one thing takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const RSA: &str = "rsa-2048-l1";
const ECC: &str = "ecc-p384-h3";

/// A server, and a machine that may show either of its endorsement keys.
struct TwoKeys {
    // Fields drop in order.
    lab: Lab,
    admin: AdminClient,
    runtime: Runtime,
    seen: u64,
    agents: usize,
    _folder: tempfile::TempDir,
}

impl TwoKeys {
    /// With a server at which these templates count; `None` for what it does by itself.
    fn new(templates: Option<&[&str]>) -> Self {
        Self::with(templates, |_| {})
    }

    fn with(templates: Option<&[&str]>, configure: impl FnOnce(&mut Lab)) -> Self {
        let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
        let mut lab = Lab::lay_out(LabOptions {
            folder: folder.path().join("lab"),
            trust_domain: "example.org".into(),
            nodes: 0,
        })
        .unwrap();
        lab.build_node().unwrap();
        if let Some(names) = templates {
            let names = names.iter().map(|name| (*name).into()).collect();
            lab.server()
                .set("attestation.tpm2", "ek_templates", toml::Value::Array(names));
        }
        configure(&mut lab);
        lab.start_server().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let socket = lab.server().admin_socket();
        let admin = runtime.block_on(AdminClient::connect(&socket)).unwrap();
        Self {
            lab,
            admin,
            runtime,
            seen: 0,
            agents: 0,
            _folder: folder,
        }
    }

    /// The node id that the machine has by this key.
    fn id(&mut self, template: &str) -> String {
        let tpm = self.lab.node(0).unwrap().tpm();
        let ek = if template == RSA {
            tpm.ek_sha256()
        } else {
            tpm.ecc_ek_sha256()
        };
        format!("spiffe://example.org/spire/agent/tpm2/{}", ek.unwrap())
    }

    /// An agent that remembers nothing attests with this key; the first verdict on it.
    fn attest(&mut self, template: &str) -> String {
        self.agents += 1;
        let (id, agents) = (self.id(template), self.agents);
        let node = self.lab.node(0).unwrap();
        let data = node.folder().join(format!("data-{agents}"));
        std::fs::create_dir(&data).unwrap();
        node.set("", "data_dir", data.display().to_string().into());
        node.set("tpm", "ek_templates", toml::Value::Array(vec![template.into()]));
        node.launch().unwrap();
        let verdict = self.first_verdict(&id);
        self.lab.node(0).unwrap().stop();
        verdict
    }

    /// The server forgets what it has in memory alone.
    fn restart(&mut self) {
        self.lab.server().stop();
        self.lab.server().start().unwrap();
        let socket = self.lab.server().admin_socket();
        self.admin = self.runtime.block_on(AdminClient::connect(&socket)).unwrap();
    }

    /// Other templates count from now on.
    fn reload(&mut self, templates: &[&str]) {
        const DONE: &str = "the configuration was read again";
        let server = self.lab.server();
        let names = templates.iter().map(|name| (*name).into()).collect();
        server.set("attestation.tpm2", "ek_templates", toml::Value::Array(names));
        server.write_config().unwrap();
        let before = server.log().matches(DONE).count();
        server.process().unwrap().signal(rustix::process::Signal::HUP);
        let start = Instant::now();
        while server.log().matches(DONE).count() == before {
            assert!(
                start.elapsed() < PATIENCE,
                "the server did not read its configuration again"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The ids of the nodes in this state; in any if it is empty.
    fn nodes(&mut self, state: &str) -> Vec<String> {
        let request = ListNodesRequest {
            state: state.into(),
            ..Default::default()
        };
        let listed = self.runtime.block_on(self.admin.lifecycle.list_nodes(request));
        listed
            .unwrap()
            .into_inner()
            .nodes
            .into_iter()
            .map(|node| node.id)
            .collect()
    }

    fn first_verdict(&mut self, id: &str) -> String {
        let start = Instant::now();
        loop {
            let request = ListRecordsRequest {
                kind: "verdict".into(),
                subject: id.into(),
                after: self.seen,
                ..Default::default()
            };
            let records = self.runtime.block_on(self.admin.admin.list_records(request));
            if let Some(first) = records.unwrap().into_inner().records.into_iter().next() {
                self.seen = first.sequence;
                return if first.code.is_empty() {
                    first.outcome
                } else {
                    first.code
                };
            }
            assert!(start.elapsed() < PATIENCE, "no verdict on {id}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn operator(&mut self, action: &str, template: &str) {
        let request = ChangeNodeRequest {
            id: self.id(template),
            action: action.into(),
            ..Default::default()
        };
        self.runtime
            .block_on(self.admin.lifecycle.change_node(request))
            .unwrap();
    }
}

#[test]
fn attack_67_where_one_template_counts_the_other_key_is_no_way_back() {
    let mut machine = TwoKeys::new(None);
    assert_eq!(machine.attest(RSA), "accepted", "the control");
    assert_eq!(machine.attest(ECC), "HM-VERIFY-0145");
    for (action, undo, code) in [("suspend", "resume", "HM-SRV-0302"), ("ban", "unban", "HM-SRV-0109")] {
        machine.operator(action, RSA);
        assert_eq!(machine.attest(ECC), "HM-VERIFY-0145", "{action}");
        assert_eq!(machine.attest(RSA), code, "{action}");
        machine.operator(undo, RSA);
        assert_eq!(machine.attest(RSA), "accepted", "{undo}");
    }
    machine.operator("retire", RSA);
    assert_eq!(machine.attest(ECC), "HM-VERIFY-0145", "retired");
    assert_eq!(machine.attest(RSA), "HM-SRV-0303", "retired");
}

#[test]
fn attack_67_a_fleet_of_ecc_keys_takes_no_others() {
    let mut machine = TwoKeys::new(Some(&[ECC]));
    assert_eq!(machine.attest(ECC), "accepted", "the control");
    machine.operator("ban", ECC);
    assert_eq!(machine.attest(RSA), "HM-VERIFY-0145");
    assert_eq!(machine.attest(ECC), "HM-SRV-0109");
}

/// The TPM has one AK whichever of its keys it shows.
#[test]
fn attack_67_where_both_templates_count_the_other_key_is_the_same_machine() {
    let mut machine = TwoKeys::new(Some(&[RSA, ECC]));
    assert_eq!(machine.attest(RSA), "accepted", "the control");
    assert_eq!(machine.attest(ECC), "HM-REG-0080");
    for (action, undo, code) in [("suspend", "resume", "HM-SRV-0302"), ("ban", "unban", "HM-SRV-0109")] {
        machine.operator(action, RSA);
        assert_eq!(machine.attest(ECC), "HM-REG-0080", "{action}");
        assert_eq!(machine.attest(RSA), code, "{action}");
        machine.operator(undo, RSA);
        assert_eq!(machine.attest(RSA), "accepted", "{undo}");
    }
    // That the server forgets the node makes no other machine of it, also when it starts anew.
    machine.operator("ban", RSA);
    machine.operator("evict", RSA);
    assert_eq!(machine.attest(ECC), "HM-REG-0080", "evicted");
    machine.restart();
    assert_eq!(
        machine.attest(ECC),
        "HM-REG-0080",
        "evicted, and the server started anew"
    );
    assert!(machine.nodes("").is_empty());
    assert_eq!(machine.attest(RSA), "accepted", "under its own key it may come back");
    machine.operator("retire", RSA);
    assert_eq!(machine.attest(ECC), "HM-REG-0080", "retired");
    assert_eq!(machine.attest(RSA), "HM-SRV-0303", "retired");
}

#[test]
fn attack_67_a_machine_that_waits_does_not_wait_twice() {
    let approval = |lab: &mut Lab| lab.server().set("attestation.tpm2", "approval", "one".into());
    let mut machine = TwoKeys::with(Some(&[RSA, ECC]), approval);
    assert_eq!(machine.attest(ECC), "HM-SRV-0301");
    assert_eq!(machine.attest(RSA), "HM-REG-0080");
    let own = machine.id(ECC);
    assert_eq!(machine.nodes("pending"), [own]);
    machine.operator("approve", ECC);
    assert_eq!(machine.attest(RSA), "HM-REG-0080");
    assert_eq!(machine.attest(ECC), "accepted", "the control");
}

/// The server is told of other templates without a restart.
#[test]
fn attack_67_templates_that_are_narrowed_by_a_reload() {
    let mut machine = TwoKeys::new(Some(&[RSA, ECC]));
    assert_eq!(machine.attest(ECC), "accepted");
    machine.reload(&[RSA]);
    assert_eq!(machine.attest(ECC), "HM-VERIFY-0145");
    assert_eq!(machine.attest(RSA), "HM-REG-0080", "and it is no other machine by that");
    machine.reload(&[ECC]);
    assert_eq!(machine.attest(ECC), "accepted", "the control");
}
