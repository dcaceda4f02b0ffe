//! What is asked of the server before entries are changed: it says what the change itself would say, and changes nothing.

use hallmark_api::{
    admin::{CheckEntriesRequest, admin_client::AdminClient},
    entry::{BatchCreateEntryRequest, BatchUpdateEntryRequest, entry_client::EntryClient},
    types::{Entry, EntryMask, Selector, Spiffeid, Status},
};
use tonic::{Code, transport::Channel};

use crate::{client::local, lab::isolated};

fn entry(id: &str, path: &str, ttl: i32) -> Entry {
    let spiffe_id = |path: &str| {
        Some(Spiffeid {
            trust_domain: "example.org".into(),
            path: path.into(),
        })
    };
    Entry {
        id: id.into(),
        spiffe_id: spiffe_id(path),
        parent_id: spiffe_id("/nodes/edge"),
        selectors: vec![Selector {
            r#type: "unix".into(),
            value: "uid:1".into(),
        }],
        x509_svid_ttl: ttl,
        ..Default::default()
    }
}

async fn created(channel: &Channel, entries: Vec<Entry>) -> Vec<Status> {
    let request = BatchCreateEntryRequest {
        entries,
        output_mask: None,
    };
    let answer = EntryClient::new(channel.clone()).batch_create_entry(request).await;
    let results = answer.unwrap().into_inner().results.into_iter();
    results.map(|result| result.status.unwrap()).collect()
}

async fn updated(channel: &Channel, entries: Vec<Entry>, mask: Option<EntryMask>) -> Vec<Status> {
    let request = BatchUpdateEntryRequest {
        entries,
        input_mask: mask,
        output_mask: None,
    };
    let answer = EntryClient::new(channel.clone()).batch_update_entry(request).await;
    let results = answer.unwrap().into_inner().results.into_iter();
    results.map(|result| result.status.unwrap()).collect()
}

/// Place, status, and the entry that says the same, of what would be refused.
async fn refused(channel: &Channel, parts: Vec<CheckEntriesRequest>) -> Vec<(u64, Status, String)> {
    let answer = AdminClient::new(channel.clone())
        .check_entries(tokio_stream::iter(parts))
        .await;
    let refused = answer.unwrap().into_inner().refused.into_iter();
    refused
        .map(|one| (one.place, one.status.unwrap(), one.similar_id))
        .collect()
}

#[test]
fn a_rehearsal_says_what_the_change_says() {
    isolated("rehearsal::a_rehearsal_says_what_the_change_says", async |lab| {
        let running = lab.start().await;
        let channel = local(&lab.admin_socket()).await;
        let first = created(&channel, vec![entry("web", "/web", 0), entry("db", "/db", 0)]).await;
        assert!(first.iter().all(|status| status.code == 0), "{first:?}");

        let day = 24 * 3600;
        let creates = vec![
            entry("", "/longest", day),
            entry("", "/too-long", day + 1),
            entry("web", "/taken", 0),
            entry("", "/web", 0),
            entry("", "/twice", 0),
            entry("", "/twice", 0),
            Entry {
                federates_with: vec!["friend.org".into()],
                ..entry("", "/friend", 0)
            },
            Entry {
                selectors: Vec::new(),
                ..entry("", "/nobody", 0)
            },
        ];
        let ttl = EntryMask {
            x509_svid_ttl: true,
            ..Default::default()
        };
        let updates = vec![
            entry("web", "/web", 100 * 3600),
            entry("db", "/db", 60),
            entry("gone", "/gone", 60),
        ];
        let part = |updates: &[Entry], creates: &[Entry]| CheckEntriesRequest {
            updates: updates.to_vec(),
            update_mask: Some(ttl),
            creates: creates.to_vec(),
            ..Default::default()
        };
        // In parts, as a long file comes.
        let parts = vec![part(&updates, &[]), part(&[], &creates[..5]), part(&[], &creates[5..])];
        let revision = || running.server.journal.state().entries().entry("db").unwrap().revision;
        let before = revision();
        let rehearsed = refused(&channel, parts).await;
        assert_eq!(running.server.journal.state().entries().len(), 2, "nothing is created");
        assert_eq!(revision(), before);

        let mut done = updated(&channel, updates, Some(ttl)).await;
        done.extend(created(&channel, creates).await);
        let done: Vec<(u64, Status)> = (0..).zip(done).filter(|(_, status)| status.code != 0).collect();
        let same: Vec<(u64, Status)> = rehearsed
            .iter()
            .map(|(place, status, _)| (*place, status.clone()))
            .collect();
        assert_eq!(same, done);
        let places: Vec<u64> = done.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 2, 4, 5, 6, 8, 9, 10]);
        for (place, code) in [(0, "HM-REG-0019"), (4, "HM-REG-0019"), (9, "HM-REG-0016")] {
            let (_, status) = done.iter().find(|(it, _)| *it == place).unwrap();
            assert!(status.message.contains(code), "{place}: {status:?}");
        }
        assert_eq!(rehearsed[4].2, "web", "the entry that says the same is named");
        lab.stop(running).await;
    });
}

#[test]
fn later_changes_of_a_rehearsal_see_the_earlier_ones() {
    isolated(
        "rehearsal::later_changes_of_a_rehearsal_see_the_earlier_ones",
        async |lab| {
            let running = lab.start().await;
            let channel = local(&lab.admin_socket()).await;
            created(&channel, vec![entry("web", "/web", 0)]).await;
            let again = CheckEntriesRequest {
                creates: vec![entry("new", "/web", 0)],
                ..Default::default()
            };
            let taken = refused(&channel, vec![again.clone()]).await;
            assert_eq!(taken.len(), 1, "the control: {taken:?}");
            let deleted = CheckEntriesRequest {
                deletes: vec!["web".into(), "gone".into()],
                ..Default::default()
            };
            let after = refused(&channel, vec![deleted, again]).await;
            let [(1, missing, _)] = &*after else {
                panic!("{after:?}")
            };
            assert_eq!(missing.code, i32::from(Code::NotFound));
            assert!(
                running.server.journal.state().entries().entry("web").is_some(),
                "nothing is deleted"
            );

            let crowd = CheckEntriesRequest {
                deletes: vec!["web".into(); 2001],
                ..Default::default()
            };
            let mut admin = AdminClient::new(channel);
            let refused = admin.check_entries(tokio_stream::iter([crowd])).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "a part is bounded");
            lab.stop(running).await;
        },
    );
}
