//! What an accepted node, a workload or nobody may ask for: nothing beyond its own.

use crate::scene::{Site, site};
use hallmark_api::agent::agent_client::AgentClient;
use hallmark_api::agent::{
    BanAgentRequest, CountAgentsRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, PostStatusRequest,
    RenewAgentRequest,
};
use hallmark_api::bundle::bundle_client::BundleClient;
use hallmark_api::bundle::{AppendBundleRequest, CountBundlesRequest, GetBundleRequest};
use hallmark_api::entry::entry_client::EntryClient;
use hallmark_api::entry::{
    BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest, CountEntriesRequest,
    GetAuthorizedEntriesRequest, GetEntryRequest, ListEntriesRequest,
};
use hallmark_api::provision::{GetAssignmentRequest, ReportStepRequest, provisioning_client::ProvisioningClient};
use hallmark_api::rpc;
use hallmark_api::svid::svid_client::SvidClient;
use hallmark_api::svid::{BatchNewX509svidRequest, MintX509svidRequest, NewX509svidParams};
use hallmark_api::types::permission_denied_details::Reason;
use hallmark_api::types::{Entry, PermissionDeniedDetails, Selector, Spiffeid, X509svid};
use hallmark_attacks::{SoftwareIdentity, Wire, attest};
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine, VendorCa};
use prost::Message as _;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// The reason that an agent acts on, from `grpc-status-details-bin`.
fn reason(status: &Status) -> Option<Reason> {
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let details = rpc::Status::decode(status.details()).unwrap();
    assert!(details.code == 0 || details.code == 7, "{details:?}");
    details.details.first().map(|detail| {
        assert_eq!(
            detail.type_url,
            "type.googleapis.com/spire.api.types.PermissionDeniedDetails"
        );
        PermissionDeniedDetails::decode(&*detail.value).unwrap().reason()
    })
}

/// A machine is let in and connects with its SVID; it goes on with a fresh key.
pub(crate) async fn enrolled(site: &Site, machine: &mut SoftwareMachine) -> (Channel, X509svid) {
    let svid = attest(&site.wire().await, machine).await.unwrap();
    let key = std::mem::replace(&mut machine.svid, SoftwareKey::svid());
    let wire = Wire::connect_as(&site.address, SoftwareIdentity::of(&svid, key))
        .await
        .unwrap();
    (wire.channel(), svid)
}

async fn post(channel: &Channel) -> Result<(), Status> {
    let request = PostStatusRequest {
        current_bundle_serial: 0,
        agent_version: "1".into(),
    };
    AgentClient::new(channel.clone()).post_status(request).await.map(drop)
}

pub(crate) fn id(path: &str) -> Option<Spiffeid> {
    Some(Spiffeid {
        trust_domain: "example.org".into(),
        path: path.into(),
    })
}

pub(crate) fn entry(name: &str, parent: Option<Spiffeid>) -> Entry {
    Entry {
        id: name.into(),
        spiffe_id: id(&format!("/{name}")),
        parent_id: parent,
        selectors: vec![Selector {
            r#type: "unix".into(),
            value: "uid:1".into(),
        }],
        ..Default::default()
    }
}

pub(crate) async fn create(site: &mut Site, entries: Vec<Entry>) {
    let request = BatchCreateEntryRequest {
        entries,
        output_mask: None,
    };
    let results = site
        .admin
        .entry
        .batch_create_entry(request)
        .await
        .unwrap()
        .into_inner()
        .results;
    assert!(
        results.iter().all(|result| result.status.as_ref().unwrap().code == 0),
        "{results:?}"
    );
}

/// Asks for an SVID of an entry.
pub(crate) async fn ask(channel: &Channel, entry_id: &str, csr: Vec<u8>) -> Result<(Code, Option<X509svid>), Status> {
    let params = vec![NewX509svidParams {
        entry_id: entry_id.into(),
        csr: csr.into(),
    }];
    let answer = SvidClient::new(channel.clone())
        .batch_new_x509svid(BatchNewX509svidRequest { params })
        .await?;
    let result = answer.into_inner().results.remove(0);
    Ok((Code::from_i32(result.status.unwrap().code), result.svid))
}

/// A workload's SVID and a connection with it.
pub(crate) async fn workload(site: &Site, agent: &Channel, entry_id: &str) -> (Channel, X509svid) {
    let key = SoftwareKey::ecc(0);
    let (_, svid) = ask(agent, entry_id, key.csr_for(&key.spki())).await.unwrap();
    let svid = svid.unwrap();
    let wire = Wire::connect_as(&site.address, SoftwareIdentity::of(&svid, key))
        .await
        .unwrap();
    (wire.channel(), svid)
}

/// What only administrators may ask, with the method's full name.
async fn as_administrator(channel: &Channel) -> Vec<(&'static str, Result<(), Status>)> {
    let mut agents = AgentClient::new(channel.clone());
    let mut entries = EntryClient::new(channel.clone());
    let mut svids = SvidClient::new(channel.clone());
    let mut bundles = BundleClient::new(channel.clone());
    macro_rules! calls {
        ($($client:ident.$method:ident($request:ty) as $name:literal),* $(,)?) => {
            vec![$(($name, $client.$method(<$request>::default()).await.map(drop))),*]
        };
    }
    calls![
        agents.count_agents(CountAgentsRequest) as "/spire.api.server.agent.v1.Agent/CountAgents",
        agents.list_agents(ListAgentsRequest) as "/spire.api.server.agent.v1.Agent/ListAgents",
        agents.get_agent(GetAgentRequest) as "/spire.api.server.agent.v1.Agent/GetAgent",
        agents.delete_agent(DeleteAgentRequest) as "/spire.api.server.agent.v1.Agent/DeleteAgent",
        agents.ban_agent(BanAgentRequest) as "/spire.api.server.agent.v1.Agent/BanAgent",
        entries.count_entries(CountEntriesRequest) as "/spire.api.server.entry.v1.Entry/CountEntries",
        entries.list_entries(ListEntriesRequest) as "/spire.api.server.entry.v1.Entry/ListEntries",
        entries.get_entry(GetEntryRequest) as "/spire.api.server.entry.v1.Entry/GetEntry",
        entries.batch_create_entry(BatchCreateEntryRequest) as "/spire.api.server.entry.v1.Entry/BatchCreateEntry",
        entries.batch_update_entry(BatchUpdateEntryRequest) as "/spire.api.server.entry.v1.Entry/BatchUpdateEntry",
        entries.batch_delete_entry(BatchDeleteEntryRequest) as "/spire.api.server.entry.v1.Entry/BatchDeleteEntry",
        svids.mint_x509svid(MintX509svidRequest) as "/spire.api.server.svid.v1.SVID/MintX509SVID",
        bundles.append_bundle(AppendBundleRequest) as "/spire.api.server.bundle.v1.Bundle/AppendBundle",
        bundles.count_bundles(CountBundlesRequest) as "/spire.api.server.bundle.v1.Bundle/CountBundles",
    ]
}

/// What only agents may ask.
async fn as_agent(channel: &Channel) -> Vec<(&'static str, Result<(), Status>)> {
    let mut machines = ProvisioningClient::new(channel.clone());
    let authorised = EntryClient::new(channel.clone())
        .get_authorized_entries(GetAuthorizedEntriesRequest::default())
        .await;
    let issued = SvidClient::new(channel.clone())
        .batch_new_x509svid(BatchNewX509svidRequest::default())
        .await;
    vec![
        (
            "/hallmark.provision.v1.Provisioning/GetAssignment",
            machines.get_assignment(GetAssignmentRequest {}).await.map(drop),
        ),
        (
            "/hallmark.provision.v1.Provisioning/ReportStep",
            machines.report_step(ReportStepRequest::default()).await.map(drop),
        ),
        ("/spire.api.server.agent.v1.Agent/PostStatus", post(channel).await),
        (
            "/spire.api.server.entry.v1.Entry/GetAuthorizedEntries",
            authorised.map(drop),
        ),
        ("/spire.api.server.svid.v1.SVID/BatchNewX509SVID", issued.map(drop)),
    ]
}

fn all_denied(who: &str, calls: Vec<(&'static str, Result<(), Status>)>) {
    for (method, outcome) in calls {
        let status = outcome.expect_err(method);
        assert_eq!(status.code(), Code::PermissionDenied, "{who}: {method}: {status}");
        assert_eq!(
            status.message(),
            format!("authorization denied for method {method}"),
            "{who}"
        );
    }
}

#[test]
fn nobody_gets_more_than_his_own() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        let (agent, svid) = enrolled(site, &mut machine).await;
        let own = svid.id.clone();
        let admin = Entry {
            admin: true,
            ..entry("operator", own.clone())
        };
        create(site, vec![entry("web", own.clone()), admin]).await;
        let (web, _) = workload(site, &agent, "web").await;
        let (operator, _) = workload(site, &agent, "operator").await;
        let nobody = site.wire().await.channel();

        all_denied("agent", as_administrator(&agent).await);
        all_denied("workload", as_administrator(&web).await);
        all_denied("workload", as_agent(&web).await);
        all_denied("nobody", as_administrator(&nobody).await);
        all_denied("nobody", as_agent(&nobody).await);
        all_denied("administrator", as_agent(&operator).await);
        // The controls: each of these methods answers whom it is for.
        for (method, outcome) in as_agent(&agent).await {
            let denied = outcome.is_err_and(|status| status.code() == Code::PermissionDenied);
            assert!(!denied, "{method} was denied to an agent");
        }
        for (method, outcome) in as_administrator(&operator).await {
            let denied = outcome.is_err_and(|status| status.code() == Code::PermissionDenied);
            assert!(!denied, "{method} was denied to an administrator");
        }
        for channel in [&agent, &web, &nobody] {
            BundleClient::new(channel.clone())
                .get_bundle(GetBundleRequest::default())
                .await
                .unwrap();
            // What is for the server's own machine does not exist here.
            let request = hallmark_api::admin::ListRecordsRequest::default();
            let hidden = hallmark_api::admin::admin_client::AdminClient::new(channel.clone())
                .list_records(request)
                .await
                .unwrap_err();
            assert!(
                [Code::Unimplemented, Code::PermissionDenied].contains(&hidden.code()),
                "{hidden}"
            );
            let request = hallmark_api::admin::AssignImageRequest::default();
            let hidden = hallmark_api::admin::provision_client::ProvisionClient::new(channel.clone())
                .assign_image(request)
                .await
                .unwrap_err();
            assert!(
                [Code::Unimplemented, Code::PermissionDenied].contains(&hidden.code()),
                "{hidden}"
            );
            let request = hallmark_api::health::HealthCheckRequest::default();
            let hidden = hallmark_api::health::health_client::HealthClient::new(channel.clone())
                .check(request)
                .await
                .unwrap_err();
            assert!(
                [Code::Unimplemented, Code::PermissionDenied].contains(&hidden.code()),
                "{hidden}"
            );
        }
        let renewal = AgentClient::new(agent.clone())
            .renew_agent(RenewAgentRequest::default())
            .await
            .unwrap_err();
        assert_eq!(reason(&renewal), Some(Reason::AgentMustReattest));
    });
}

#[test]
fn an_agent_gets_svids_of_its_own_entries_for_keys_it_holds() {
    site(async |site| {
        let (mut one, mut two) = (SoftwareMachine::new(&site.vendor), SoftwareMachine::new(&site.vendor));
        let ((agent, mine), (_, other)) = (enrolled(site, &mut one).await, enrolled(site, &mut two).await);
        create(
            site,
            vec![entry("mine", mine.id.clone()), entry("theirs", other.id.clone())],
        )
        .await;
        let key = SoftwareKey::ecc(0);
        let good = key.csr_for(&key.spki());
        let stranger = SoftwareKey::ecc(0);
        let with = |change: fn(&mut Vec<u8>)| {
            let mut csr = good.clone();
            change(&mut csr);
            csr
        };
        for (what, id, csr, code) in [
            ("control", "mine", good.clone(), Code::Ok),
            ("another node's entry", "theirs", good.clone(), Code::NotFound),
            ("no entry", "absent", good.clone(), Code::NotFound),
            (
                "own agent id as entry",
                "spiffe://example.org/mine",
                good.clone(),
                Code::NotFound,
            ),
            (
                "signed by another key",
                "mine",
                stranger.csr_for(&key.spki()),
                Code::InvalidArgument,
            ),
            (
                "somebody's key",
                "mine",
                key.csr_for(&stranger.spki()),
                Code::InvalidArgument,
            ),
            (
                "damaged",
                "mine",
                with(|csr| *csr.last_mut().unwrap() ^= 1),
                Code::InvalidArgument,
            ),
            ("trailing byte", "mine", with(|csr| csr.push(0)), Code::InvalidArgument),
            ("empty", "mine", Vec::new(), Code::InvalidArgument),
            (
                "a certificate",
                "mine",
                site.vendor.root_der().to_vec(),
                Code::InvalidArgument,
            ),
            ("large", "mine", vec![0x30; 200_000], Code::InvalidArgument),
            ("control again", "mine", good.clone(), Code::Ok),
        ] {
            let (seen, svid) = ask(&agent, id, csr).await.unwrap();
            assert_eq!(seen, code, "{what}");
            assert_eq!(svid.is_some(), code == Code::Ok, "{what}");
            if let Some(svid) = svid {
                assert_eq!(
                    svid.id,
                    crate::rights::id("/mine"),
                    "the entry says who it is, not the CSR"
                );
            }
        }
        post(&agent).await.unwrap();
    });
}

#[test]
fn a_certificate_is_nothing_without_its_key_and_its_issuer() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let svid = attest(&site.wire().await, &machine).await.unwrap();
        let chain: Vec<Vec<u8>> = svid.cert_chain.iter().map(|der| der.to_vec()).collect();
        let other_key = SoftwareIdentity::new(chain, SoftwareKey::svid());
        let own_issuer = {
            let (vendor, key) = (VendorCa::new(), SoftwareKey::svid());
            let mut draft = VendorCa::ca_draft(&VendorCa::root_name(), &VendorCa::root_name(), &key, None);
            draft.extensions.clear();
            SoftwareIdentity::new(vec![draft.sign(&vendor.root_key)], key)
        };
        for (what, identity) in [("another key", other_key), ("another issuer", own_issuer)] {
            // TLS 1.3 tells a client only after its first message that it was refused.
            let refused = match Wire::connect_as(&site.address, identity).await {
                Err(_) => true,
                Ok(wire) => post(&wire.channel())
                    .await
                    .is_err_and(|status| status.code() != Code::PermissionDenied),
            };
            assert!(refused, "{what}");
        }
        let own = SoftwareIdentity::of(&svid, machine.svid);
        let wire = Wire::connect_as(&site.address, own).await.unwrap();
        post(&wire.channel()).await.unwrap();
    });
}

#[test]
fn a_ban_holds_until_the_node_is_evicted() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        let (agent, svid) = enrolled(site, &mut machine).await;
        create(site, vec![entry("web", svid.id.clone())]).await;
        let key = SoftwareKey::ecc(0);
        let csr = key.csr_for(&key.spki());
        post(&agent).await.unwrap();
        site.verdicts().await;

        let ban = BanAgentRequest { id: svid.id.clone() };
        site.admin.agent.ban_agent(ban).await.unwrap();
        for outcome in [post(&agent).await, ask(&agent, "web", csr.clone()).await.map(drop)] {
            assert_eq!(reason(&outcome.unwrap_err()), Some(Reason::AgentBanned));
        }
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        assert_eq!(reason(&told), Some(Reason::AgentBanned));
        assert_eq!(told.message(), "failed to attest: agent is banned (HM-SRV-0109)");
        let verdicts = site.verdicts().await;
        assert_eq!(verdicts[0].code, "HM-SRV-0109");
        assert!(verdicts[0].subject.ends_with(&svid.id.as_ref().unwrap().path));

        let evict = DeleteAgentRequest { id: svid.id.clone() };
        site.admin.agent.delete_agent(evict).await.unwrap();
        assert_eq!(reason(&post(&agent).await.unwrap_err()), Some(Reason::AgentNotAttested));
        let (again, fresh) = enrolled(site, &mut machine).await;
        assert_eq!(fresh.id, svid.id);
        post(&again).await.unwrap();
        let old = post(&agent).await.unwrap_err();
        assert_eq!(
            reason(&old),
            Some(Reason::AgentNotActive),
            "the SVID from before the eviction"
        );
        assert_eq!(ask(&again, "web", csr).await.unwrap().0, Code::Ok);
    });
}
