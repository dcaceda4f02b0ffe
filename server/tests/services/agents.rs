//! Agents, as administrators see them.

use hallmark_api::{
    agent::{BanAgentRequest, CountAgentsRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest},
    types,
};
use hallmark_server::api::agent_admin;
use hallmark_spiffe::SpiffeId;
use tonic::Code;

use crate::lab::{Lab, id_message, isolated, local};

fn message(id: &SpiffeId) -> Option<types::Spiffeid> {
    Some(id_message(id.path()))
}

#[test]
fn agents_are_counted_listed_and_looked_at() {
    isolated("agents::agents_are_counted_listed_and_looked_at", |folder| async move {
        let lab = Lab::start(&folder).await;
        for name in ["aa", "bb", "cc"] {
            lab.attested(name, &["tpm2:class:simulator"]).await;
        }
        let count = agent_admin::count(&lab.server.journal, local(CountAgentsRequest::default())).unwrap();
        assert_eq!(count.into_inner().count, 3);
        let request = ListAgentsRequest {
            page_size: 2,
            ..Default::default()
        };
        let page = agent_admin::list(&lab.server.journal, local(request.clone()))
            .unwrap()
            .into_inner();
        assert_eq!(page.agents.len(), 2);
        let request = ListAgentsRequest {
            page_token: page.next_page_token,
            ..request
        };
        let rest = agent_admin::list(&lab.server.journal, local(request))
            .unwrap()
            .into_inner();
        assert_eq!((rest.agents.len(), rest.next_page_token.as_str()), (1, ""));
        let agent = &page.agents[0];
        assert_eq!(agent.x509svid_serial_number, "2748", "decimal");
        assert_eq!(
            (agent.attestation_type.as_str(), agent.can_reattest, agent.banned),
            ("tpm2", true, false)
        );
        assert_eq!((agent.x509svid_expires_at, agent.selectors.len()), (4_000_000_000, 1));
    });
}

#[test]
fn an_agent_is_found_by_its_id_alone() {
    isolated("agents::an_agent_is_found_by_its_id_alone", |folder| async move {
        let lab = Lab::start(&folder).await;
        let id = message(&lab.attested("aa", &["tpm2:class:simulator"]).await);
        let mask = types::AgentMask {
            banned: true,
            ..Default::default()
        };
        let request = GetAgentRequest {
            id: id.clone(),
            output_mask: Some(mask),
        };
        let masked = agent_admin::get(&lab.server.journal, local(request))
            .unwrap()
            .into_inner();
        assert_eq!(
            masked,
            types::Agent {
                id: id.clone(),
                ..Default::default()
            }
        );
        let foreign = types::Spiffeid {
            trust_domain: "other.test".into(),
            path: "/spire/agent/tpm2/aa".into(),
        };
        for (id, code) in [
            (Some(id_message("/spire/agent/tpm2/dd")), Code::NotFound),
            (Some(id_message("/web")), Code::InvalidArgument),
            (Some(foreign), Code::InvalidArgument),
            (None, Code::InvalidArgument),
        ] {
            let request = GetAgentRequest {
                id: id.clone(),
                output_mask: None,
            };
            assert_eq!(
                agent_admin::get(&lab.server.journal, local(request))
                    .unwrap_err()
                    .code(),
                code,
                "{id:?}"
            );
        }
    });
}

#[test]
fn a_ban_lasts_until_the_agent_is_deleted() {
    isolated("agents::a_ban_lasts_until_the_agent_is_deleted", |folder| async move {
        let lab = Lab::start(&folder).await;
        let id = lab.attested("aa", &["tpm2:class:simulator"]).await;
        agent_admin::ban(&lab.server.nodes, local(BanAgentRequest { id: message(&id) }))
            .await
            .unwrap();
        lab.stop().await;
        let lab = Lab::start(&folder).await;
        let get = || {
            agent_admin::get(
                &lab.server.journal,
                local(GetAgentRequest {
                    id: message(&id),
                    output_mask: None,
                }),
            )
        };
        let banned = get().unwrap().into_inner();
        assert!(banned.banned);
        assert_eq!(
            banned.x509svid_serial_number, "",
            "a banned agent shows no serial number"
        );
        assert_eq!(
            banned.x509svid_expires_at, 4_000_000_000,
            "tidying up by expiry must not lift the ban"
        );
        agent_admin::delete(&lab.server.nodes, local(DeleteAgentRequest { id: message(&id) }))
            .await
            .unwrap();
        assert_eq!(get().unwrap_err().code(), Code::NotFound);
        let request = || local(DeleteAgentRequest { id: message(&id) });
        assert_eq!(
            agent_admin::delete(&lab.server.nodes, request())
                .await
                .unwrap_err()
                .code(),
            Code::NotFound
        );
        let request = local(BanAgentRequest { id: message(&id) });
        assert_eq!(
            agent_admin::ban(&lab.server.nodes, request).await.unwrap_err().code(),
            Code::NotFound
        );
    });
}
