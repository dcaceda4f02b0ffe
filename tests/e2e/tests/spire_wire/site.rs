//! A server that trusts one vendor's TPMs, and what the tests ask it.

use hallmark_api::entry::list_entries_request::Filter as EntryFilter;
use hallmark_api::entry::{BatchCreateEntryRequest, ListEntriesRequest};
use hallmark_api::types::selector_match::MatchBehavior;
use hallmark_api::types::{Entry, Selector, SelectorMatch, Spiffeid, X509svid};
use hallmark_attacks::{SoftwareIdentity, Wire, attest};
use hallmark_kit::{AdminClient, Lab, LabOptions};
use hallmark_verify::testing::{SoftwareMachine, VendorCa};
use std::process::Command;
use tonic::Code;
use tonic::transport::Channel;

pub(crate) struct Site {
    pub(crate) admin: AdminClient,
    pub(crate) address: String,
    pub(crate) vendor: VendorCa,
    pub(crate) folder: tempfile::TempDir,
}

/// Runs `body` against a server that trusts one vendor's TPMs.
pub(crate) fn site(body: impl AsyncFnOnce(&mut Site)) {
    site_with_authority("ec-p256", body);
}

/// As [`site`], with an authority key of this `authority.key_type`.
pub(crate) fn site_with_authority(key_type: &str, body: impl AsyncFnOnce(&mut Site)) {
    let (folder, vendor) = (tempfile::tempdir().unwrap(), VendorCa::new());
    let root = folder.path().join("vendor.der");
    std::fs::write(&root, vendor.root_der()).unwrap();
    let options = LabOptions {
        folder: folder.path().join("lab"),
        trust_domain: "example.org".into(),
        nodes: 0,
    };
    let mut lab = Lab::lay_out(options).unwrap();
    lab.server().trust(&[root]);
    lab.server().take_ek_templates(SoftwareMachine::EK_TEMPLATES);
    lab.server().set("authority", "key_type", key_type.into());
    lab.start_server().unwrap();
    let (address, socket) = (lab.server().address(), lab.server().admin_socket());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let admin = AdminClient::connect(&socket).await.unwrap();
        body(&mut Site {
            admin,
            address,
            vendor,
            folder,
        })
        .await;
    });
}

pub(crate) fn id(path: &str) -> Option<Spiffeid> {
    Some(Spiffeid {
        trust_domain: "example.org".into(),
        path: path.into(),
    })
}

pub(crate) fn selector(kind: &str, value: &str) -> Selector {
    Selector {
        r#type: kind.into(),
        value: value.into(),
    }
}

pub(crate) fn entry(path: &str, parent: &str, uid: usize) -> Entry {
    Entry {
        spiffe_id: id(path),
        parent_id: id(parent),
        selectors: vec![selector("unix", &format!("uid:{uid}"))],
        ..Default::default()
    }
}

impl Site {
    /// Creates entries; returns code, message and entry of each.
    pub(crate) async fn create(&mut self, entries: Vec<Entry>) -> Vec<(Code, String, Option<Entry>)> {
        let request = BatchCreateEntryRequest {
            entries,
            output_mask: None,
        };
        let results = self
            .admin
            .entry
            .batch_create_entry(request)
            .await
            .unwrap()
            .into_inner()
            .results;
        results
            .into_iter()
            .map(|result| {
                let status = result.status.unwrap();
                (Code::from_i32(status.code), status.message, result.entry)
            })
            .collect()
    }

    pub(crate) async fn list(&mut self, filter: EntryFilter) -> usize {
        let request = ListEntriesRequest {
            filter: Some(filter),
            ..Default::default()
        };
        self.admin
            .entry
            .list_entries(request)
            .await
            .unwrap()
            .into_inner()
            .entries
            .len()
    }

    /// A machine is let in; returns a connection with its SVID.
    pub(crate) async fn node(&self) -> (Channel, X509svid) {
        let machine = SoftwareMachine::new(&self.vendor);
        let wire = Wire::connect(&self.address).await.unwrap();
        let svid = attest(&wire, &machine).await.unwrap();
        let identity = SoftwareIdentity::of(&svid, machine.svid);
        let wire = Wire::connect_as(&self.address, identity).await.unwrap();
        (wire.channel(), svid)
    }

    /// What openssl reads in a certificate.
    pub(crate) fn openssl_reads(&self, der: &[u8], arguments: &[&str]) -> String {
        let file = self.folder.path().join("leaf.der");
        std::fs::write(&file, der).unwrap();
        let out = Command::new("openssl")
            .args(["x509", "-inform", "DER", "-noout", "-in"])
            .arg(&file)
            .args(arguments)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

pub(crate) fn by_selectors(selectors: &[Selector], how: MatchBehavior) -> Option<SelectorMatch> {
    Some(SelectorMatch {
        selectors: selectors.to_vec(),
        r#match: how.into(),
    })
}
