//! What is recorded beside what is done.

use hallmark_api::{
    admin::{ListRecordsRequest, ListRecordsResponse, admin_server::Admin as _},
    types,
};
use hallmark_state::{Outcome, RecordFilter, RecordKind, RecordQuery, StoredRecord};
use prost::Message as _;
use tonic::{Code, Status};

use crate::{
    lab::{Lab, entry, isolated, large, local},
    svids::{batch, csr},
};

async fn records(lab: &Lab, filter: RecordFilter) -> Vec<StoredRecord> {
    let mut query = RecordQuery::default();
    (query.limit, query.filter) = (1000, filter);
    lab.server.journal.store().records(query).await.unwrap()
}

#[test]
fn every_svid_leaves_its_intent_and_outcome() {
    isolated(
        "records::every_svid_leaves_its_intent_and_outcome",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let agent = lab.attested("aa", &["tpm2:model:x"]).await;
            lab.create(vec![types::Entry {
                id: "web".into(),
                ..entry("/web", agent.path(), 1)
            }])
            .await;
            let before = records(&lab, RecordFilter::Svids).await.len();
            let items = [
                ("web", csr(&[], &[])),
                ("unknown", csr(&[], &[])),
                ("web", csr(&[], &[])),
            ];
            let response = batch(&lab, &agent, &items).await.unwrap();
            let mut new = Vec::new();
            // The outcome is not waited for.
            for _ in 0..200 {
                new = records(&lab, RecordFilter::Svids).await.split_off(before);
                if new.len() == 3 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            let kinds: Vec<_> = new
                .iter()
                .map(|record| (record.record.kind, record.record.outcome))
                .collect();
            let (intent, outcome) = (
                (RecordKind::SvidIntent, Outcome::Pending),
                (RecordKind::SvidOutcome, Outcome::Issued),
            );
            assert_eq!(kinds, [intent, intent, outcome]);
            let leaf = &response.results[2].svid.as_ref().unwrap().cert_chain[0];
            let (_, leaf) = x509_parser::parse_x509_certificate(leaf).unwrap();
            let detail: serde_json::Value = serde_json::from_str(&new[1].record.detail).unwrap();
            let serial = format!("{:0>32}", leaf.tbs_certificate.serial.to_str_radix(16));
            assert_eq!(detail["serial"].as_str().unwrap(), serial);
            assert_eq!(detail["holder"].as_str().unwrap(), agent.as_str());
            assert_eq!(detail["entry"].as_str().unwrap(), "web");
            assert_eq!(new[1].record.subject, "spiffe://example.org/web");
        },
    );
}

#[test]
fn what_cannot_be_recorded_is_neither_signed_nor_changed() {
    isolated(
        "records::what_cannot_be_recorded_is_neither_signed_nor_changed",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let agent = lab.attested("aa", &["tpm2:model:x"]).await;
            lab.create(vec![types::Entry {
                id: "web".into(),
                ..entry("/web", agent.path(), 1)
            }])
            .await;
            let items = [("web", csr(&[], &[]))];
            let signed = || lab.server.keys.status().signatures;
            let code = |status: Option<&types::Status>| Code::from_i32(status.unwrap().code);
            let before = signed();
            // Another program holds the database's lock.
            let other = rusqlite::Connection::open(folder.join("data/server.db")).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            let response = batch(&lab, &agent, &items).await.unwrap();
            assert_eq!(code(response.results[0].status.as_ref()), Code::Unavailable);
            assert_eq!(signed(), before, "no record, no signature");
            let created = lab
                .create(vec![types::Entry {
                    id: "late".into(),
                    ..entry("/late", "/node", 1)
                }])
                .await;
            assert_eq!(code(created[0].status.as_ref()), Code::Internal);
            assert!(
                lab.server.journal.state().entries().entry("late").is_none(),
                "what is not durable is not visible"
            );
            other.execute_batch("ROLLBACK").unwrap();
            let response = batch(&lab, &agent, &items).await.unwrap();
            assert_eq!(code(response.results[0].status.as_ref()), Code::Ok);
            assert_eq!(signed(), before + 1);
        },
    );
}

#[test]
fn administrators_acts_are_recorded_with_their_name() {
    isolated(
        "records::administrators_acts_are_recorded_with_their_name",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let before = records(&lab, RecordFilter::Admin).await.len();
            lab.create(vec![types::Entry {
                id: "web".into(),
                ..entry("/web", "/node", 1)
            }])
            .await;
            let new = records(&lab, RecordFilter::Admin).await.split_off(before);
            assert_eq!(new.len(), 1);
            assert_eq!(
                (new[0].record.subject.as_str(), new[0].record.outcome),
                ("web", Outcome::Done)
            );
            let detail: serde_json::Value = serde_json::from_str(&new[0].record.detail).unwrap();
            assert_eq!(
                (&detail["act"], &detail["by"]),
                (&"entry-created".into(), &"uid:0".into())
            );
            assert_eq!(detail["selectors"], serde_json::json!(["unix:uid:1"]));
        },
    );
}

async fn listed(lab: &Lab, request: ListRecordsRequest) -> Result<ListRecordsResponse, Status> {
    let answer = lab.server.services.admin.list_records(local(request)).await;
    answer.map(tonic::Response::into_inner)
}

/// A collector that goes on behind a record that a restored store does not have must not hear nothing.
#[test]
fn a_place_beyond_the_last_record_is_refused() {
    isolated(
        "records::a_place_beyond_the_last_record_is_refused",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            lab.create(vec![entry("/web", "/node", 1)]).await;
            let last = records(&lab, RecordFilter::All).await.last().unwrap().sequence;
            let asked = |after, newest_first, kind: &str| ListRecordsRequest {
                after,
                newest_first,
                kind: kind.into(),
                ..Default::default()
            };
            for kind in ["", "verdict"] {
                let end = listed(&lab, asked(last, false, kind)).await.unwrap();
                assert!(end.records.is_empty(), "the control: nothing is new");
                assert!(listed(&lab, asked(last + 1, true, kind)).await.is_ok());
                for beyond in [
                    asked(last + 1, false, kind),
                    asked(last + 2, true, kind),
                    asked(u64::MAX, false, kind),
                ] {
                    let named = beyond.after;
                    let refused = listed(&lab, beyond).await.unwrap_err();
                    assert_eq!(refused.code(), Code::InvalidArgument);
                    let words = refused.message();
                    assert!(
                        words.starts_with("HM-REG-0092: ")
                            && words.contains(&format!("the last record is {last}, named was {named}")),
                        "{words}"
                    );
                }
            }
        },
    );
}

#[test]
fn large_records_come_in_answers_that_a_client_reads() {
    isolated(
        "records::large_records_come_in_answers_that_a_client_reads",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            for some in large(100, "/node").chunks(50) {
                lab.create(some.to_vec()).await;
            }
            let all = records(&lab, RecordFilter::All).await;
            for newest_first in [false, true] {
                let mut request = ListRecordsRequest {
                    limit: 1000,
                    newest_first,
                    ..Default::default()
                };
                let (mut found, mut answers) = (Vec::new(), 0);
                loop {
                    let answer = listed(&lab, request.clone()).await.unwrap();
                    assert!(answer.encoded_len() < 4 << 20);
                    answers += 1;
                    found.extend(answer.records.iter().map(|record| record.sequence));
                    request.after = *found.last().unwrap();
                    if !answer.more {
                        break;
                    }
                }
                let mut expected: Vec<u64> = all.iter().map(|record| record.sequence).collect();
                if newest_first {
                    expected.reverse();
                }
                assert!(answers > 4, "the control: {answers}");
                assert_eq!(found, expected);
            }
        },
    );
}
