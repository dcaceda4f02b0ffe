//! Agents, the bundle, health, and what is absent.

use crate::site::{by_selectors, selector, site};
use hallmark_api::agent::agent_client::AgentClient;
use hallmark_api::agent::list_agents_request::Filter as AgentFilter;
use hallmark_api::agent::{
    BanAgentRequest, CountAgentsRequest, CreateJoinTokenRequest, DeleteAgentRequest, GetAgentRequest,
    ListAgentsRequest, RenewAgentRequest,
};
use hallmark_api::bundle::bundle_client::BundleClient;
use hallmark_api::bundle::{AppendBundleRequest, GetBundleRequest, GetFederatedBundleRequest};
use hallmark_api::health::HealthCheckRequest;
use hallmark_api::svid::NewJwtsvidRequest;
use hallmark_api::svid::svid_client::SvidClient;
use hallmark_api::types::selector_match::MatchBehavior;
use hallmark_api::types::{AgentMask, BundleMask};
use hallmark_attacks::Wire;
use tonic::Code;

/// A filter with this alone.
fn only(set: impl FnOnce(&mut AgentFilter)) -> AgentFilter {
    let mut filter = AgentFilter::default();
    set(&mut filter);
    filter
}

/// Filters, and how many of two agents, one of them banned, they find.
fn filters() -> Vec<(&'static str, AgentFilter, usize)> {
    let class = [selector("tpm2", "class:discrete")];
    vec![
        ("type", only(|f| f.by_attestation_type = "tpm2".into()), 2),
        ("other type", only(|f| f.by_attestation_type = "join_token".into()), 0),
        ("banned", only(|f| f.by_banned = Some(true)), 1),
        ("not banned", only(|f| f.by_banned = Some(false)), 1),
        ("reattests", only(|f| f.by_can_reattest = Some(true)), 2),
        (
            "selectors",
            only(|f| f.by_selector_match = by_selectors(&class, MatchBehavior::MatchSuperset)),
            2,
        ),
        (
            "exact selectors",
            only(|f| f.by_selector_match = by_selectors(&class, MatchBehavior::MatchExact)),
            0,
        ),
        (
            "long expired",
            only(|f| f.by_expires_before = "2020-01-01 00:00:00 +0000 +00".into()),
            0,
        ),
        (
            "expire some day",
            only(|f| f.by_expires_before = "2090-01-01 00:00:00 +0000 +00".into()),
            2,
        ),
        ("no time at all", only(|f| f.by_expires_before = "soon".into()), 2),
    ]
}

#[test]
fn agents_are_counted_and_listed() {
    site(async |site| {
        let ((_, one), (_, two)) = (site.node().await, site.node().await);
        let count = site
            .admin
            .agent
            .count_agents(CountAgentsRequest::default())
            .await
            .unwrap();
        assert_eq!(count.into_inner().count, 2);
        let mask = AgentMask {
            x509svid_expires_at: true,
            ..Default::default()
        };
        let request = GetAgentRequest {
            id: one.id.clone(),
            output_mask: Some(mask),
        };
        let agent = site.admin.agent.get_agent(request).await.unwrap().into_inner();
        assert_eq!(
            (agent.x509svid_expires_at, agent.attestation_type.as_str()),
            (one.expires_at, "")
        );
        site.admin
            .agent
            .ban_agent(BanAgentRequest { id: two.id.clone() })
            .await
            .unwrap();
        for (what, filter, ids) in filters() {
            let request = ListAgentsRequest {
                filter: Some(filter),
                ..Default::default()
            };
            let found = site.admin.agent.list_agents(request).await.unwrap().into_inner();
            assert_eq!(found.agents.len(), ids, "{what}");
        }
    });
}

#[test]
fn a_banned_agent_shows_no_serial_number_and_a_deleted_one_is_gone() {
    site(async |site| {
        let (_, two) = site.node().await;
        site.admin
            .agent
            .ban_agent(BanAgentRequest { id: two.id.clone() })
            .await
            .unwrap();
        let request = GetAgentRequest {
            id: two.id.clone(),
            output_mask: None,
        };
        let banned = site.admin.agent.get_agent(request.clone()).await.unwrap().into_inner();
        assert!(banned.banned && banned.x509svid_serial_number.is_empty());
        let delete = DeleteAgentRequest { id: two.id };
        site.admin.agent.delete_agent(delete.clone()).await.unwrap();
        let gone = site.admin.agent.get_agent(request).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
        assert_eq!(
            site.admin.agent.delete_agent(delete).await.unwrap_err().code(),
            Code::NotFound
        );
    });
}

#[test]
fn the_bundle_health_and_what_is_absent() {
    site(async |site| {
        let nobody = Wire::connect(&site.address).await.unwrap().channel();
        let bundle = BundleClient::new(nobody)
            .get_bundle(GetBundleRequest::default())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (bundle.trust_domain.as_str(), bundle.x509_authorities.len()),
            ("example.org", 1)
        );
        let mask = BundleMask {
            sequence_number: true,
            ..Default::default()
        };
        let request = GetBundleRequest {
            output_mask: Some(mask),
        };
        let masked = site.admin.bundle.get_bundle(request).await.unwrap().into_inner();
        assert_eq!(
            (masked.trust_domain.as_str(), masked.x509_authorities.len()),
            ("example.org", 0)
        );
        assert_eq!(masked.sequence_number, bundle.sequence_number);
        let own = GetFederatedBundleRequest {
            trust_domain: "example.org".into(),
            output_mask: None,
        };
        let refused = site.admin.bundle.get_federated_bundle(own).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);

        for (service, code) in [
            ("", None),
            ("spire.api.server.entry.v1.Entry", Some(Code::InvalidArgument)),
        ] {
            let request = HealthCheckRequest {
                service: service.into(),
            };
            let answer = site.admin.health.check(request).await;
            assert_eq!(answer.as_ref().err().map(tonic::Status::code), code, "{service}");
            assert!(answer.map_or(1, |answer| answer.into_inner().status) == 1, "SERVING");
        }
        let token = site.admin.agent.create_join_token(CreateJoinTokenRequest {
            ttl: 60,
            ..Default::default()
        });
        assert_eq!(token.await.unwrap_err().code(), Code::Unimplemented);
        let append = site.admin.bundle.append_bundle(AppendBundleRequest::default()).await;
        assert_eq!(append.unwrap_err().code(), Code::Unimplemented);
        let (agent, _) = site.node().await;
        let jwt = SvidClient::new(agent.clone())
            .new_jwtsvid(NewJwtsvidRequest::default())
            .await;
        assert_eq!(jwt.unwrap_err().code(), Code::InvalidArgument, "no entry is named");
        let renewal = AgentClient::new(agent)
            .renew_agent(RenewAgentRequest::default())
            .await
            .unwrap_err();
        assert_eq!(renewal.code(), Code::PermissionDenied);
        assert!(!renewal.details().is_empty(), "AGENT_MUST_REATTEST");
    });
}
