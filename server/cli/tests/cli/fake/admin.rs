//! `hallmark.admin.v1`.

use std::time::{Duration, Instant};

use hallmark_api::admin::{
    ApplyPolicyFileRequest, CheckEntriesRequest, CheckEntriesResponse, FindIdsRequest, FindIdsResponse,
    GetEvidenceRequest, GetEvidenceResponse, GetHsmStatusRequest, GetHsmStatusResponse, GetNodeRequest,
    GetNodeResponse, GetPolicyFileRequest, GetStatusRequest, GetStatusResponse, HsmKey, ListHsmKeysRequest,
    ListHsmKeysResponse, ListPolicyFilesRequest, ListPolicyFilesResponse, ListRecordsRequest, ListRecordsResponse,
    ListServedEntriesRequest, ListServedEntriesResponse, MissingFile, Part, PcrValue, PolicyFile, PolicyFileChange,
    Reason, Record, WithdrawPolicyFileRequest, admin_server::Admin,
};
use hallmark_api::types;
use hallmark_spiffe::{Selector, SpiffeId};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

use super::{FAR, Fake, NODE_A, NOW, entries::entry_message, lifecycle::id_of, unused};

#[tonic::async_trait]
impl Admin for Fake {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let mut state = self.state();
        state.looks += 1;
        let part = |name: &str, ok| Part {
            name: name.into(),
            ok,
            code: if ok { "" } else { "HM-HSM-0007" }.into(),
            message: if ok { "" } else { "the token is away" }.into(),
        };
        Ok(Response::new(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            trust_domain: "example.org".into(),
            started_at: NOW,
            address: "127.0.0.1:8081".into(),
            agents: 3,
            agents_banned: 1,
            agents_pending: 2,
            agents_suspended: 0,
            agents_untrusted: 1,
            agents_active: 4,
            agents_expired: 1,
            agents_retired: 2,
            agents_pre_registered: 7,
            // While a policy is applied, each look finds fewer.
            agents_behind: state.answers_after.min(1) * 41_u64.saturating_sub(state.looks),
            agents_unjudged: 0,
            journal_revision: 41,
            journal_events: 57,
            store_bytes: 151_552,
            store_log_bytes: 4_152,
            entries: 0,
            verdicts_accepted: 5,
            verdicts_refused: 2,
            svids_issued: 9,
            authority_subject_key_id: "aabbcc".into(),
            authority_expires_at: FAR,
            parts: vec![part("store", true), part("hsm", state.hsm_ready)],
            bundle_sequence: 4,
        }))
    }

    async fn check_entries(
        &self,
        request: Request<Streaming<CheckEntriesRequest>>,
    ) -> Result<Response<CheckEntriesResponse>, Status> {
        let parts: Result<Vec<_>, _> = request.into_inner().collect().await;
        Ok(Response::new(self.rehearse(parts?)))
    }

    async fn get_hsm_status(&self, _: Request<GetHsmStatusRequest>) -> Result<Response<GetHsmStatusResponse>, Status> {
        let ready = self.state().hsm_ready;
        Ok(Response::new(GetHsmStatusResponse {
            module: "/usr/lib/softhsm/libsofthsm2.so".into(),
            token_label: "hallmark".into(),
            manufacturer: "SoftHSM project                 ".into(),
            model: "SoftHSM v2      ".into(),
            serial: "0011223344556677".into(),
            firmware: "2.6".into(),
            ready,
            code: if ready { "" } else { "HM-HSM-0007" }.into(),
            message: if ready { "" } else { "the token is away" }.into(),
            sessions_open: 3,
            sessions_max: 4,
            signatures: 120,
            failures: 1,
            reopened: 2,
            stuck_calls: 0,
        }))
    }

    async fn list_hsm_keys(&self, _: Request<ListHsmKeysRequest>) -> Result<Response<ListHsmKeysResponse>, Status> {
        let extractable = self.state().key_extractable;
        let key = HsmKey {
            label: "hallmark-x509-a".into(),
            kind: "ec-p256".into(),
            id: "0102".into(),
            sensitive: true,
            always_sensitive: true,
            extractable,
            never_extractable: !extractable,
            local: true,
            sign_only: true,
            r#use: "x509-authority, active".into(),
            spki_sha256: "ab".repeat(32),
        };
        Ok(Response::new(ListHsmKeysResponse { keys: vec![key] }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<Response<GetNodeResponse>, Status> {
        let id = request.into_inner().id;
        if id != format!("spiffe://example.org/spire/agent/tpm2/{NODE_A}") {
            return Err(Status::not_found("no such node"));
        }
        Ok(Response::new(GetNodeResponse {
            id,
            state: "active".into(),
            ek_sha256: NODE_A.into(),
            ek_name: "000bee".into(),
            ek_issuer: "CN=swtpm-localca".into(),
            ek_serial: "17".into(),
            ek_not_after: FAR,
            enrolled_by: "certificate".into(),
            manufacturer: "id:00001014".into(),
            model: "swtpm".into(),
            firmware_version: "id:20191023".into(),
            class: "simulator".into(),
            ak_name: "000baa".into(),
            svid_key_sha256: "cd".repeat(32),
            nonce: "01".repeat(32),
            binding: "02".repeat(32),
            pcrs: vec![PcrValue {
                bank: "sha256".into(),
                pcr: 7,
                digest: "03".repeat(32),
            }],
            clock: 12345,
            reset_count: 2,
            restart_count: 1,
            verdict: "trusted".into(),
            reasons: vec![Reason {
                code: "HM-POLICY-0001".into(),
                message: "every rule is kept".into(),
            }],
            attested_at: NOW,
            svid_serial: "04d2".into(),
            svid_not_after: FAR,
            authority_key_label: "hallmark-x509-a".into(),
            selectors: vec!["tpm2:class:simulator".into(), format!("tpm2:ek-hash:{NODE_A}")],
            agent_version: "0.1.0".into(),
            ak_activated: true,
        }))
    }

    async fn list_records(&self, asked: Request<ListRecordsRequest>) -> Result<Response<ListRecordsResponse>, Status> {
        let asked = asked.into_inner();
        let node = id_of(NODE_A);
        let record = |sequence, kind: &str, outcome: &str, code: &str, detail: &str| Record {
            sequence,
            at: NOW,
            kind: kind.into(),
            subject: node.clone(),
            outcome: outcome.into(),
            code: code.into(),
            detail: detail.into(),
        };
        let refused = r#"{"remote":"10.0.0.7:4711","type":"tpm2","text":"the EK is denied","compared":null}"#;
        let suspended = r#"{"act":"suspend","by":"uid:0","from":"active","to":"suspended","reason":"rack 7"}"#;
        let mut records = vec![
            record(8, "admin", "done", "", suspended),
            record(7, "verdict", "refused", "HM-POLICY-0003", refused),
        ];
        // Of an entry that is there, and of one that is not there any more.
        if ["web", "deleted"].contains(&&*asked.subject) {
            records.insert(
                0,
                Record {
                    subject: asked.subject.clone(),
                    ..record(9, "admin", "done", "", r#"{"act":"entry-created","by":"uid:0"}"#)
                },
            );
        }
        let in_page = |record: &Record| match (asked.newest_first, asked.after) {
            (true, 0) => true,
            (true, before) => record.sequence < before,
            (false, after) => record.sequence > after,
        };
        records.retain(in_page);
        records.retain(|record| record.at >= asked.since && (asked.until == 0 || record.at < asked.until));
        if !asked.newest_first {
            records.reverse();
        }
        records.retain(|record| asked.kind.is_empty() || record.kind == asked.kind);
        records.retain(|record| asked.subject.is_empty() || record.subject == asked.subject);
        records.truncate(usize::try_from(asked.limit).unwrap());
        Ok(Response::new(ListRecordsResponse { records, more: false }))
    }

    async fn find_ids(&self, request: Request<FindIdsRequest>) -> Result<Response<FindIdsResponse>, Status> {
        let request = request.into_inner();
        let state = self.state();
        let ids: Vec<String> = match request.kind.as_str() {
            "entry" => state
                .registry
                .ids_from(&request.prefix, 6)
                .iter()
                .map(ToString::to_string)
                .collect(),
            "inventory" => state.inventory.keys().map(ToString::to_string).collect(),
            "machine" => state.nodes().into_iter().map(|node| node.ek).collect(),
            _ => state.nodes().into_iter().map(|node| node.id).collect(),
        };
        let is_it = |id: &String| id.rsplit('/').next().unwrap().starts_with(&request.prefix);
        let ids = ids.into_iter().filter(is_it).take(6).collect();
        Ok(Response::new(FindIdsResponse { ids }))
    }

    type ListServedEntriesStream = tokio_stream::Iter<std::vec::IntoIter<Result<ListServedEntriesResponse, Status>>>;

    /// One a message.
    async fn list_served_entries(
        &self,
        request: Request<ListServedEntriesRequest>,
    ) -> Result<Response<Self::ListServedEntriesStream>, Status> {
        let node = SpiffeId::parse(&request.into_inner().node).unwrap();
        let state = self.state();
        let path = |agent: &types::Agent| agent.id.as_ref().unwrap().path.clone();
        let agent = state.agents.iter().find(|agent| path(agent) == node.path());
        let agent = agent.ok_or_else(|| Status::not_found("agent not found"))?;
        let facts = agent
            .selectors
            .iter()
            .map(|one| Selector::new(&one.r#type, &one.value).unwrap());
        let entries = state.registry.authorised(&node, &facts.collect(), NOW).into_iter();
        let parts = entries.map(|entry| {
            let entries = vec![entry_message(entry)];
            Ok(ListServedEntriesResponse { entries })
        });
        Ok(Response::new(tokio_stream::iter(parts.collect::<Vec<_>>())))
    }

    type GetEvidenceStream = tokio_stream::Empty<Result<GetEvidenceResponse, Status>>;

    async fn get_evidence(&self, _: Request<GetEvidenceRequest>) -> Result<Response<Self::GetEvidenceStream>, Status> {
        unused()
    }

    async fn apply_policy_file(
        &self,
        request: Request<ApplyPolicyFileRequest>,
    ) -> Result<Response<PolicyFileChange>, Status> {
        let asked = request.into_inner();
        if !asked.dry_run {
            self.state()
                .applied
                .push((asked.kind, asked.content.to_vec(), asked.replace_signer));
        }
        let start = Instant::now();
        let is_done = || {
            let state = self.state();
            state.looks >= state.answers_after || start.elapsed() >= state.patience
        };
        while !is_done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Response::new(PolicyFileChange {
            name: "p".into(),
            serial: 1,
            changes: Vec::new(),
            unreadable: 0,
            missing: vec![MissingFile {
                policy: "p".into(),
                kind: "baseline".into(),
                name: "never".into(),
            }],
        }))
    }

    async fn withdraw_policy_file(
        &self,
        _: Request<WithdrawPolicyFileRequest>,
    ) -> Result<Response<PolicyFileChange>, Status> {
        unused()
    }

    async fn get_policy_file(&self, _: Request<GetPolicyFileRequest>) -> Result<Response<PolicyFile>, Status> {
        unused()
    }

    async fn list_policy_files(
        &self,
        _: Request<ListPolicyFilesRequest>,
    ) -> Result<Response<ListPolicyFilesResponse>, Status> {
        unused()
    }
}
