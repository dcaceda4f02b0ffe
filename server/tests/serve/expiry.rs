//! Entries for a limited time, as a node over TLS sees them.

use hallmark_api::{
    entry::{BatchCreateEntryRequest, GetAuthorizedEntriesRequest, entry_client::EntryClient},
    svid::{BatchNewX509svidRequest, NewX509svidParams, batch_new_x509svid_response, svid_client::SvidClient},
    types::{Entry, Selector, Spiffeid},
};
use hallmark_attacks::attest;
use hallmark_server::clock::Clock;
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine};
use tonic::{Code, transport::Channel};

use crate::{
    attestation::{connected, wire},
    client::local,
    lab::isolated,
};

fn limited(id: &str, parent: &Spiffeid, expires_at: i64) -> Entry {
    Entry {
        id: id.into(),
        spiffe_id: Some(Spiffeid {
            trust_domain: parent.trust_domain.clone(),
            path: format!("/{id}"),
        }),
        parent_id: Some(parent.clone()),
        selectors: vec![Selector {
            r#type: "unix".into(),
            value: "uid:1".into(),
        }],
        expires_at,
        ..Default::default()
    }
}

/// The ids of the entries that the node may have.
async fn authorised(node: &Channel) -> Vec<String> {
    let answer = EntryClient::new(node.clone())
        .get_authorized_entries(GetAuthorizedEntriesRequest::default())
        .await
        .unwrap();
    let mut ids: Vec<_> = answer.into_inner().entries.into_iter().map(|entry| entry.id).collect();
    ids.sort();
    ids
}

async fn issue(node: &Channel, entry_id: &str) -> batch_new_x509svid_response::Result {
    let key = SoftwareKey::svid();
    let params = vec![NewX509svidParams {
        entry_id: entry_id.into(),
        csr: key.csr_for(&key.spki()).into(),
    }];
    let answer = SvidClient::new(node.clone())
        .batch_new_x509svid(BatchNewX509svidRequest { params })
        .await
        .unwrap();
    answer.into_inner().results.remove(0)
}

#[test]
fn an_entry_ends_with_its_time_and_so_does_what_came_of_it() {
    isolated(
        "expiry::an_entry_ends_with_its_time_and_so_does_what_came_of_it",
        async |lab| {
            let (clock, hand) = Clock::movable();
            let running = lab.try_start(clock).await.unwrap();
            let mut machine = SoftwareMachine::new(&lab.vendor);
            let svid = attest(&wire(&running).await, &machine).await.unwrap();
            let parent = svid.id.clone().unwrap();
            let node = connected(&running, &mut machine, svid).await;
            let end = running.server.journal.clock().unix() + 600;
            let entries = vec![limited("brief", &parent, end), limited("lasting", &parent, end + 3600)];
            let request = BatchCreateEntryRequest {
                entries,
                output_mask: None,
            };
            EntryClient::new(local(&lab.admin_socket()).await)
                .batch_create_entry(request)
                .await
                .unwrap();

            assert_eq!(authorised(&node).await, ["brief", "lasting"]);
            let issued = issue(&node, "brief").await.svid.unwrap();
            assert_eq!(issued.expires_at, end, "no SVID outlives its entry");
            hand.set(601).await;
            assert_eq!(authorised(&node).await, ["lasting"]);
            let refused = issue(&node, "brief").await;
            assert!(refused.svid.is_none());
            assert_eq!(Code::from_i32(refused.status.unwrap().code), Code::NotFound);
            assert!(issue(&node, "lasting").await.svid.is_some(), "the other one goes on");
            lab.stop(running).await;
        },
    );
}
