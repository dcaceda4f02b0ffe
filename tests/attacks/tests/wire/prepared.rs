//! Attack 68: an administrator over TLS prepares the way to a role while nobody has it, and waits for operators to give it.

use std::process::Command;

use hallmark_api::entry::entry_client::EntryClient;
use hallmark_api::entry::{BatchDeleteEntryRequest, BatchUpdateEntryRequest};
use hallmark_api::svid::NewDownstreamX509caRequest;
use hallmark_api::svid::svid_client::SvidClient;
use hallmark_api::types::{Entry, EntryMask, Selector};
use hallmark_kit::binary;
use hallmark_verify::testing::VendorCa;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::rights::{create, entry, id, workload};
use crate::scene::{Site, ek, lay_out, run, site};
use crate::standing::{Node, list, write};

/// A node alias for one machine.
fn alias(name: &str, node: &Node) -> Entry {
    Entry {
        spiffe_id: id("/racks"),
        selectors: vec![Selector {
            r#type: "tpm2".into(),
            value: format!("ek-hash:{}", ek(&node.machine)),
        }],
        ..entry(name, id("/spire/server"))
    }
}

/// An entry below the alias.
fn racked(name: &str) -> Entry {
    entry(name, id("/racks"))
}

async fn delete(channel: &Channel, entry: &str) {
    let ids = vec![entry.to_owned()];
    let answer = EntryClient::new(channel.clone())
        .batch_delete_entry(BatchDeleteEntryRequest { ids })
        .await;
    let results = answer.unwrap().into_inner().results;
    assert_eq!(results[0].status.as_ref().unwrap().code, 0, "it takes away");
}

/// An operator updates an entry at the admin socket: whole, or single fields.
async fn update(site: &mut Site, entry: Entry, mask: Option<EntryMask>) {
    let request = BatchUpdateEntryRequest {
        entries: vec![entry],
        input_mask: mask,
        output_mask: None,
    };
    let answer = site.admin.entry.batch_update_entry(request).await.unwrap();
    let status = answer.into_inner().results.remove(0).status.unwrap();
    assert_eq!(status.code, 0, "{}", status.message);
}

async fn written(channel: &Channel, entry: Entry, is_new: bool) -> (Code, String) {
    write(channel, entry, is_new).await.unwrap()
}

fn refused(what: &str, outcome: Result<(), Status>, code: &str, names: &str) {
    let told = outcome.expect_err(what);
    assert_eq!(told.code(), Code::PermissionDenied, "{what}: {told}");
    let message = told.message();
    assert!(message.contains(code) && message.contains(names), "{what}: {told}");
}

async fn below(channel: &Channel) -> Result<(), Status> {
    let request = NewDownstreamX509caRequest::default();
    let answer = SvidClient::new(channel.clone()).new_downstream_x509ca(request).await;
    match answer {
        // Who may ask is told what the request lacks.
        Err(told) if told.code() == Code::InvalidArgument && told.message().contains("CSR") => Ok(()),
        other => other.map(drop),
    }
}

#[test]
fn attack_68_the_way_to_a_role_is_prepared_while_nobody_has_it() {
    site(async |site| {
        let (bad, one, two) = (Node::new(site).await, Node::new(site).await, Node::new(site).await);
        let b = || Entry {
            admin: true,
            ..racked("b")
        };
        create(site, vec![one.admin("a"), alias("racks", &two), b()]).await;
        let (a, _) = workload(site, &one.channel, "a").await;
        let way_in = || alias("way-in", &bad);
        // As long as the role is given, nobody writes what leads to it over TLS; so its entry goes first.
        let (code, told) = written(&a, way_in(), true).await;
        assert!(code == Code::PermissionDenied && told.contains("HM-SRV-0344"), "{told}");
        delete(&a, "b").await;
        let plain = Entry {
            spiffe_id: id("/b"),
            ..two.entry("plain")
        };
        for entry in [way_in(), plain] {
            let (code, told) = written(&a, entry, true).await;
            assert_eq!(code, Code::Ok, "nobody has the role: {told}");
        }
        // Operators give the role back, and give another one.
        let below_racks = Entry {
            downstream: true,
            ..racked("below")
        };
        create(site, vec![b(), below_racks]).await;
        let (honest, _) = workload(site, &two.channel, "b").await;
        list(&honest).await.unwrap();
        below(&workload(site, &two.channel, "below").await.0).await.unwrap();
        let (there, _) = workload(site, &bad.channel, "b").await;
        refused("its own machine", list(&there).await, "HM-SRV-0346", "way-in");
        let (downstream, _) = workload(site, &bad.channel, "below").await;
        refused("downstream", below(&downstream).await, "HM-SRV-0346", "way-in");
        let (beside, _) = workload(site, &two.channel, "plain").await;
        refused("another process", list(&beside).await, "HM-SRV-0341", "");
        // An operator who changes a field of it has not looked at the rest; one who writes it whole has.
        let hint = EntryMask {
            hint: true,
            ..Default::default()
        };
        let hinted = Entry {
            hint: "rack".into(),
            ..way_in()
        };
        update(site, hinted.clone(), Some(hint)).await;
        refused("a field was changed", list(&there).await, "HM-SRV-0346", "way-in");
        update(site, hinted, None).await;
        list(&there).await.unwrap();
        // What an operator wrote counts no more once it is written over TLS.
        delete(&a, "b").await;
        delete(&a, "below").await;
        let (code, told) = written(&a, alias("racks", &two), false).await;
        assert_eq!(code, Code::Ok, "{told}");
        create(site, vec![b()]).await;
        refused("rewritten", list(&honest).await, "HM-SRV-0346", "racks");
        list(&there).await.unwrap();
    });
}

#[test]
fn attack_68_the_way_is_prepared_for_an_id_that_becomes_an_administrators() {
    let (folder, vendor) = (tempfile::tempdir().unwrap(), VendorCa::new());
    let mut lab = lay_out(folder.path(), &vendor);
    lab.start_server().unwrap();
    let mut nodes = Vec::new();
    run(&mut lab, vendor, async |site| {
        let (bad, one, two) = (Node::new(site).await, Node::new(site).await, Node::new(site).await);
        let by_operators = vec![
            one.admin("a"),
            alias("racks", &two),
            Entry {
                spiffe_id: id("/later"),
                ..racked("later")
            },
        ];
        create(site, by_operators).await;
        let (a, _) = workload(site, &one.channel, "a").await;
        let mine = Entry {
            spiffe_id: id("/later"),
            ..bad.entry("mine")
        };
        for entry in [mine, alias("way-in", &bad)] {
            assert_eq!(written(&a, entry, true).await.0, Code::Ok);
        }
        nodes = vec![bad, two];
    });
    lab.server().stop();
    let admins = vec!["spiffe://example.org/later".into()];
    lab.server().set("", "admin_ids", toml::Value::Array(admins));
    lab.server().start().unwrap();
    let socket = lab.server().admin_socket();
    run(&mut lab, VendorCa::new(), async |site| {
        for node in &mut nodes {
            node.renew(site).await;
        }
        let [bad, two] = nodes.as_slice() else { panic!() };
        let (honest, _) = workload(site, &two.channel, "later").await;
        list(&honest).await.unwrap();
        let (mine, _) = workload(site, &bad.channel, "mine").await;
        refused("its own entry", list(&mine).await, "HM-SRV-0341", "");
        let (there, _) = workload(site, &bad.channel, "later").await;
        refused("its own machine", list(&there).await, "HM-SRV-0346", "way-in");
        // The control: an operator takes it over.
        let mut hallmark = Command::new(binary("hallmark").unwrap());
        let words = ["entry", "update", "way-in", "--confirm", "--reason", "seen"];
        let done = hallmark.arg("--socket").arg(&socket).args(words).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        list(&there).await.unwrap();
    });
}
