//! Attack 68: an administrator's or a downstream server's SVID outlives the trust in its machine.

use crate::policy::{apply, withdraw};
use crate::rights::{create, enrolled, entry, id, workload};
use crate::scene::{Site, site};
use hallmark_api::admin::{ChangeNodeRequest, ListRecordsRequest};
use hallmark_api::agent::agent_client::AgentClient;
use hallmark_api::agent::{BanAgentRequest, DeleteAgentRequest, ListAgentsRequest};
use hallmark_api::bundle::PublishJwtAuthorityRequest;
use hallmark_api::bundle::bundle_client::BundleClient;
use hallmark_api::entry::entry_client::EntryClient;
use hallmark_api::entry::{
    BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest, ListEntriesRequest,
};
use hallmark_api::svid::svid_client::SvidClient;
use hallmark_api::svid::{MintX509svidRequest, NewDownstreamX509caRequest};
use hallmark_api::types::{Entry, Selector, Spiffeid, X509svid};
use hallmark_attacks::{SoftwareIdentity, Wire};
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A machine that was let in: its connection and its agent's id.
pub(crate) struct Node {
    pub(crate) machine: SoftwareMachine,
    pub(crate) channel: Channel,
    pub(crate) id: Spiffeid,
}

impl Node {
    pub(crate) async fn new(site: &Site) -> Self {
        let mut machine = SoftwareMachine::new(&site.vendor);
        let (channel, svid) = enrolled(site, &mut machine).await;
        Self {
            machine,
            channel,
            id: svid.id.unwrap(),
        }
    }

    /// It attests anew.
    pub(crate) async fn renew(&mut self, site: &Site) {
        (self.channel, _) = enrolled(site, &mut self.machine).await;
    }

    pub(crate) fn entry(&self, name: &str) -> Entry {
        entry(name, Some(self.id.clone()))
    }

    /// An entry that makes its holder on this machine an administrator.
    pub(crate) fn admin(&self, name: &str) -> Entry {
        Entry {
            admin: true,
            ..self.entry(name)
        }
    }
}

async fn operator(site: &mut Site, action: &str, node: &Node) {
    let request = ChangeNodeRequest {
        id: format!("spiffe://example.org{}", node.id.path),
        action: action.into(),
        ..Default::default()
    };
    site.admin.lifecycle.change_node(request).await.unwrap();
}

/// Mints an SVID for a software key.
async fn mint_for(channel: &Channel, path: &str, ttl: i32, key: &SoftwareKey) -> Result<X509svid, Status> {
    let csr = key.csr_naming(&format!("spiffe://example.org{path}")).into();
    let answer = SvidClient::new(channel.clone())
        .mint_x509svid(MintX509svidRequest { csr, ttl })
        .await?;
    Ok(answer.into_inner().svid.unwrap())
}

async fn mint(channel: &Channel, path: &str, ttl: i32) -> Result<X509svid, Status> {
    mint_for(channel, path, ttl, &SoftwareKey::ecc(0)).await
}

async fn delete(channel: &Channel, agent: &Spiffeid) -> Result<(), Status> {
    let request = DeleteAgentRequest {
        id: Some(agent.clone()),
    };
    AgentClient::new(channel.clone()).delete_agent(request).await.map(drop)
}

async fn ban(channel: &Channel, agent: &Spiffeid) -> Result<(), Status> {
    let request = BanAgentRequest {
        id: Some(agent.clone()),
    };
    AgentClient::new(channel.clone()).ban_agent(request).await.map(drop)
}

pub(crate) async fn list(channel: &Channel) -> Result<(), Status> {
    AgentClient::new(channel.clone())
        .list_agents(ListAgentsRequest::default())
        .await
        .map(drop)
}

/// Writes an entry over TLS: the item's code and message, or the refusal of all.
pub(crate) async fn write(channel: &Channel, entry: Entry, is_new: bool) -> Result<(Code, String), Status> {
    let mut client = EntryClient::new(channel.clone());
    let status = if is_new {
        let request = BatchCreateEntryRequest {
            entries: vec![entry],
            output_mask: None,
        };
        client
            .batch_create_entry(request)
            .await?
            .into_inner()
            .results
            .remove(0)
            .status
    } else {
        let request = BatchUpdateEntryRequest {
            entries: vec![entry],
            input_mask: None,
            output_mask: None,
        };
        client
            .batch_update_entry(request)
            .await?
            .into_inner()
            .results
            .remove(0)
            .status
    };
    let status = status.unwrap();
    Ok((Code::from_i32(status.code), status.message))
}

/// Everything that a role opens, with the method's name.
async fn calls(channel: &Channel, own: &Node, other: &Node) -> Vec<(&'static str, Result<(), Status>)> {
    let mut svids = SvidClient::new(channel.clone());
    let mut entries = EntryClient::new(channel.clone());
    vec![
        ("MintX509SVID", mint(channel, "/loot", 0).await.map(drop)),
        ("DeleteAgent of its own machine", delete(channel, &own.id).await),
        ("BanAgent of another", ban(channel, &other.id).await),
        (
            "BatchCreateEntry",
            write(channel, other.entry("loot"), true).await.map(drop),
        ),
        (
            "BatchUpdateEntry",
            write(channel, other.entry("web"), false).await.map(drop),
        ),
        (
            "BatchDeleteEntry",
            entries
                .batch_delete_entry(BatchDeleteEntryRequest {
                    ids: vec!["web".into()],
                })
                .await
                .map(drop),
        ),
        ("ListAgents", list(channel).await),
        (
            "ListEntries",
            entries.list_entries(ListEntriesRequest::default()).await.map(drop),
        ),
        (
            "NewDownstreamX509CA",
            svids
                .new_downstream_x509ca(NewDownstreamX509caRequest::default())
                .await
                .map(drop),
        ),
        (
            "PublishJWTAuthority",
            BundleClient::new(channel.clone())
                .publish_jwt_authority(PublishJwtAuthorityRequest::default())
                .await
                .map(drop),
        ),
    ]
}

fn all_denied(who: &str, code: &str, calls: Vec<(&'static str, Result<(), Status>)>, but: &[&str]) {
    for (method, outcome) in calls.into_iter().filter(|(method, _)| !but.contains(method)) {
        let status = outcome.expect_err(method);
        assert_eq!(status.code(), Code::PermissionDenied, "{who}: {method}: {status}");
        assert!(status.message().contains(code), "{who}: {method}: {status}");
    }
}

const OF_DOWNSTREAM: [&str; 2] = ["NewDownstreamX509CA", "PublishJWTAuthority"];

async fn agents(site: &mut Site) -> Vec<(String, bool)> {
    let answer = site
        .admin
        .agent
        .list_agents(ListAgentsRequest::default())
        .await
        .unwrap();
    let agents = answer.into_inner().agents.into_iter();
    agents.map(|agent| (agent.id.unwrap().path, agent.banned)).collect()
}

#[test]
fn attack_68_a_banned_machines_administrator_undoes_its_ban() {
    site(async |site| {
        let (bad, other, victim) = (Node::new(site).await, Node::new(site).await, Node::new(site).await);
        let downstream = Entry {
            downstream: true,
            ..bad.entry("below")
        };
        create(
            site,
            vec![
                bad.admin("operator"),
                downstream,
                other.entry("web"),
                bad.entry("plain"),
            ],
        )
        .await;
        let (operator, _) = workload(site, &bad.channel, "operator").await;
        let (below, _) = workload(site, &bad.channel, "below").await;
        // The controls, on the connections that the attack goes on with.
        list(&operator).await.unwrap();
        mint(&operator, "/batch", 60).await.unwrap();
        assert_eq!(write(&operator, bad.entry("more"), true).await.unwrap().0, Code::Ok);
        ban(&operator, &victim.id).await.unwrap();
        for (method, outcome) in calls(&below, &bad, &other).await {
            let code = outcome.map_or_else(|status| status.code(), |()| Code::Ok);
            let expected = if OF_DOWNSTREAM.contains(&method) {
                // Let through: the request lacks what it asks for.
                Code::InvalidArgument
            } else {
                Code::PermissionDenied
            };
            assert_eq!(code, expected, "{method}");
        }
        // What it prepares for the day after: a long life, a software key, another machine.
        let year = mint(&operator, "/batch", 365 * 24 * 3600).await.unwrap_err();
        assert_eq!(year.code(), Code::InvalidArgument);
        assert!(
            year.message().contains("HM-REG-0045") && year.message().contains("31536000"),
            "{year}"
        );
        let key = SoftwareKey::ecc(0);
        let minted = mint_for(&operator, "/operator", 0, &key).await.unwrap();

        let request = BanAgentRequest {
            id: Some(bad.id.clone()),
        };
        site.admin.agent.ban_agent(request).await.unwrap();
        let before = agents(site).await;
        all_denied(
            "administrator",
            "HM-SRV-0342",
            calls(&operator, &bad, &other).await,
            &OF_DOWNSTREAM,
        );
        for method in OF_DOWNSTREAM {
            let calls = calls(&below, &bad, &other).await;
            let outcome = calls.into_iter().find(|(name, _)| *name == method).unwrap();
            all_denied("downstream", "HM-SRV-0342", vec![outcome], &[]);
        }
        let again = Wire::connect_as(&site.address, SoftwareIdentity::of(&minted, key))
            .await
            .unwrap();
        all_denied(
            "minted",
            "HM-SRV-0341",
            calls(&again.channel(), &bad, &other).await,
            &OF_DOWNSTREAM,
        );
        assert_eq!(agents(site).await, before, "nothing was changed");
        assert!(before.contains(&(bad.id.path.clone(), true)));
        // The control: an administrator on a machine that is in order.
        create(site, vec![other.admin("deputy")]).await;
        let (deputy, _) = workload(site, &other.channel, "deputy").await;
        list(&deputy).await.unwrap();
    });
}

#[test]
fn attack_68_whatever_puts_a_machine_out_ends_its_roles() {
    site(async |site| {
        let mut node = Node::new(site).await;
        create(site, vec![node.admin("operator")]).await;
        let (mut operator_now, _) = workload(site, &node.channel, "operator").await;
        for (action, back) in [("suspend", "resume"), ("ban", "unban"), ("evict", ""), ("retire", "")] {
            list(&operator_now).await.unwrap();
            let issued = std::time::SystemTime::now();
            operator(site, action, &node).await;
            let told = list(&operator_now).await.unwrap_err();
            assert!(told.message().contains("HM-SRV-0342"), "{action}: {told}");
            if action == "retire" {
                break;
            }
            // Times are kept in seconds.
            while issued.elapsed().unwrap() < std::time::Duration::from_millis(1100) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            if !back.is_empty() {
                operator(site, back, &node).await;
            }
            node.renew(site).await;
            let told = list(&operator_now).await.unwrap_err();
            assert!(
                told.message().contains("HM-SRV-0342"),
                "{action}: an SVID from before: {told}"
            );
            (operator_now, _) = workload(site, &node.channel, "operator").await;
        }
    });
    site(async |site| {
        let node = Node::new(site).await;
        create(site, vec![node.admin("operator")]).await;
        let (operator, _) = workload(site, &node.channel, "operator").await;
        list(&operator).await.unwrap();
        let strict = "version = 1\nname = \"edge\"\nserial = 1\n[boot]\nsecure_boot = true\n";
        assert_eq!(apply(site, "policy", strict).await, "applied");
        let told = list(&operator).await.unwrap_err();
        assert!(
            told.message().contains("HM-SRV-0342") && told.message().contains("HM-POLICY-0101"),
            "it is no longer trusted: {told}"
        );
        assert_eq!(withdraw(site).await, "withdrawn");
        list(&operator).await.unwrap();
        // The entry goes, or goes to another machine: so does the role.
        let other = Node::new(site).await;
        let moved = Entry {
            parent_id: Some(other.id.clone()),
            ..node.admin("operator")
        };
        let request = BatchUpdateEntryRequest {
            entries: vec![moved],
            input_mask: None,
            output_mask: None,
        };
        site.admin.entry.batch_update_entry(request).await.unwrap();
        let told = list(&operator).await.unwrap_err();
        assert!(told.message().contains("HM-SRV-0343"), "{told}");
        let (there, _) = workload(site, &other.channel, "operator").await;
        list(&there).await.unwrap();
    });
}

/// Entries that would give a role: what they are, the entry, and whether it is a new one. `alias` stands above an administrator.
fn ways_to_a_role(bad: &Node, two: &Node, alias: &Entry) -> Vec<(&'static str, Entry, bool)> {
    let wide = Entry {
        selectors: vec![Selector {
            r#type: "tpm2".into(),
            value: "class:simulator".into(),
        }],
        ..alias.clone()
    };
    let downstream = Entry {
        downstream: true,
        ..bad.entry("new")
    };
    let same_id = Entry {
        spiffe_id: id("/a"),
        ..bad.entry("new")
    };
    let second_alias = Entry {
        id: "new".into(),
        ..wide.clone()
    };
    vec![
        ("an administrator", bad.admin("new"), true),
        ("a downstream server", downstream, true),
        ("an administrator's id", same_id, true),
        ("a way in above an administrator", second_alias, true),
        ("a wider way in", wide, false),
        ("a plain entry becomes one", two.admin("web"), false),
        ("an administrator moves", bad.admin("a"), false),
    ]
}

#[test]
fn attack_68_one_administrator_makes_no_other() {
    site(async |site| {
        let (bad, one, two) = (Node::new(site).await, Node::new(site).await, Node::new(site).await);
        let alias = Entry {
            selectors: vec![Selector {
                r#type: "tpm2".into(),
                value: "class:none".into(),
            }],
            ..entry("racks", id("/spire/server"))
        };
        let below_alias = Entry {
            parent_id: id("/racks"),
            ..bad.admin("remote")
        };
        let entries = vec![
            one.admin("a"),
            two.admin("b"),
            two.entry("web"),
            alias.clone(),
            below_alias,
        ];
        create(site, entries).await;
        let (a, _) = workload(site, &one.channel, "a").await;
        for (what, entry, is_new) in ways_to_a_role(&bad, &two, &alias) {
            let (code, told) = write(&a, entry, is_new).await.unwrap();
            assert_eq!(code, Code::PermissionDenied, "{what}: {told}");
            assert!(told.contains("HM-SRV-0344"), "{what}: {told}");
        }
        let long = Entry {
            x509_svid_ttl: 365 * 24 * 3600,
            ..bad.entry("new")
        };
        let (code, told) = write(&a, long, true).await.unwrap();
        assert!(code == Code::InvalidArgument && told.contains("HM-REG-0019"), "{told}");
        let (code, told) = write(&a, bad.entry("new"), true).await.unwrap();
        assert_eq!(code, Code::Ok, "the control: {told}");
        // What takes a role away is done alone.
        let ids = vec!["b".to_owned()];
        let request = BatchDeleteEntryRequest { ids };
        let deleted = EntryClient::new(a)
            .batch_delete_entry(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(deleted.results[0].status.as_ref().unwrap().code, 0);
    });
}

#[test]
fn attack_68_one_administrator_lets_nobody_back_in() {
    site(async |site| {
        let mut bad = Node::new(site).await;
        let (one, two, three) = (Node::new(site).await, Node::new(site).await, Node::new(site).await);
        let entries = vec![one.admin("a"), one.admin("a2"), two.admin("b"), three.admin("c")];
        create(site, entries).await;
        let channel = async |node: &Node, name: &str| workload(site, &node.channel, name).await.0;
        let (a, a2) = (channel(&one, "a").await, channel(&one, "a2").await);
        let (b, c) = (channel(&two, "b").await, channel(&three, "c").await);
        operator(site, "ban", &bad).await;
        for (who, channel) in [("a", &a), ("a again", &a), ("a second id on the same machine", &a2)] {
            not_yet(site, who, channel, &bad).await;
        }
        operator(site, "suspend", &one).await;
        not_yet(site, "the first one is out", &b, &bad).await;
        not_yet(site, "the second one again", &b, &bad).await;
        delete(&c, &bad.id).await.unwrap();
        assert!(!is_there(site, &bad).await, "two asked for it");
        bad.renew(site).await;
        operator(site, "suspend", &bad).await;
        not_yet(site, "suspended", &c, &bad).await;
        delete(&b, &bad.id).await.unwrap();
        assert!(!is_there(site, &bad).await);
        // One that is in service is evicted by one: it comes back by proving itself.
        bad.renew(site).await;
        delete(&b, &bad.id).await.unwrap();
        told_of_both(site, &bad).await;
    });
}

/// Two nodes that operators list as one machine are one: its two administrators are none beside each other, and what brings
/// one of the two nodes back brings the machine back.
#[test]
fn attack_68_two_administrators_on_one_machine_let_nobody_back_in() {
    site(async |site| {
        let bad = Node::new(site).await;
        let (one, two, three) = (Node::new(site).await, Node::new(site).await, Node::new(site).await);
        create(site, vec![one.admin("a"), two.admin("b"), three.admin("c")]).await;
        let channel = async |node: &Node, name: &str| workload(site, &node.channel, name).await.0;
        let (a, b, c) = (
            channel(&one, "a").await,
            channel(&two, "b").await,
            channel(&three, "c").await,
        );
        site.list(&[&one.machine, &two.machine], false).await;
        operator(site, "suspend", &bad).await;
        not_yet(site, "the first one", &a, &bad).await;
        not_yet(site, "the same machine by its other key", &b, &bad).await;
        delete(&c, &bad.id).await.unwrap();
        assert!(!is_there(site, &bad).await, "another machine's administrator");

        // One node waits, its sibling is suspended: forgetting the first would forget the second.
        let (waits, out) = (Node::new(site).await, Node::new(site).await);
        operator(site, "ban", &waits).await;
        operator(site, "unban", &waits).await;
        site.list(&[&waits.machine, &out.machine], false).await;
        operator(site, "suspend", &out).await;
        not_yet(site, "by the node that waits", &a, &waits).await;
        assert!(is_there(site, &out).await);
        // The second one names the other node of the machine.
        delete(&c, &out.id).await.unwrap();
        assert!(!is_there(site, &out).await && !is_there(site, &waits).await);
    });
}

/// The record names who asked first, and both where it was done.
async fn told_of_both(site: &mut Site, node: &Node) {
    let request = ListRecordsRequest {
        kind: "admin".into(),
        subject: format!("spiffe://example.org{}", node.id.path),
        limit: 1000,
        ..Default::default()
    };
    let answer = site.admin.admin.list_records(request).await.unwrap();
    let records = answer.into_inner().records;
    let told: Vec<_> = records.iter().map(|record| record.detail.as_str()).collect();
    let asked = told.iter().filter(|detail| detail.contains("agent-deleted-asked"));
    assert_eq!(asked.count(), 6, "{told:#?}");
    for (first, second) in [("/b", "/c"), ("/c", "/b")] {
        let first = format!("example.org{first} through ");
        let second = format!(" and spiffe://example.org{second} through ");
        let both = |detail: &&str| detail.contains(&first) && detail.contains(&second);
        assert!(told.iter().any(both), "{told:#?}");
    }
}

/// One administrator asks that a machine that is out may come back, and hears that a second one has to.
async fn not_yet(site: &mut Site, who: &str, channel: &Channel, node: &Node) {
    let told = delete(channel, &node.id).await.unwrap_err();
    assert_eq!(told.code(), Code::FailedPrecondition, "{who}: {told}");
    assert!(told.message().contains("HM-SRV-0345"), "{who}: {told}");
    assert!(is_there(site, node).await, "{who}");
}

async fn is_there(site: &mut Site, node: &Node) -> bool {
    agents(site).await.iter().any(|(path, _)| *path == node.id.path)
}
