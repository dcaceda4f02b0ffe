//! X509-SVIDs, as openssl reads them.

use crate::site::{Site, entry, id, site};
use hallmark_api::svid::svid_client::SvidClient;
use hallmark_api::svid::{BatchNewX509svidRequest, MintX509svidRequest, NewX509svidParams};
use hallmark_api::types::Entry;
use hallmark_verify::testing::SoftwareKey;
use std::process::Command;
use tonic::Code;

#[test]
fn svids_are_as_the_profile_says() {
    site(async |site| {
        let (agent, svid) = site.node().await;
        let named = Entry {
            id: "db".into(),
            x509_svid_ttl: 600,
            dns_names: vec!["db.example.org".into()],
            ..entry("/db", &svid.id.as_ref().unwrap().path, 1)
        };
        site.create(vec![named]).await;
        let key = SoftwareKey::ecc(0);
        let csr = key.csr_for(&key.spki());
        let good = NewX509svidParams {
            entry_id: "db".into(),
            csr: csr.clone().into(),
        };
        let unknown = NewX509svidParams {
            entry_id: "unknown".into(),
            ..good.clone()
        };
        let request = BatchNewX509svidRequest {
            params: vec![unknown, good],
        };
        let results = SvidClient::new(agent)
            .batch_new_x509svid(request)
            .await
            .unwrap()
            .into_inner()
            .results;
        assert_eq!(Code::from_i32(results[0].status.as_ref().unwrap().code), Code::NotFound);
        let workload = results[1].svid.as_ref().unwrap();
        assert_eq!(workload.cert_chain.len(), 1, "a self-signed root is not in the chain");
        let text = site.openssl_reads(&workload.cert_chain[0], &["-text"]);
        for wanted in [
            "URI:spiffe://example.org/db",
            "DNS:db.example.org",
            "CN=db.example.org",
            "CA:FALSE",
            "Digital Signature\n",
            "TLS Web Server Authentication, TLS Web Client Authentication",
            "X509v3 Subject Key Identifier",
            "X509v3 Authority Key Identifier",
        ] {
            let found = text.contains(wanted) || text.replace(" = ", "=").contains(wanted);
            assert!(found, "{wanted}\n{text}");
        }
        assert_eq!(text.matches("URI:").count(), 1, "{text}");
        let node = site.openssl_reads(&svid.cert_chain[0], &["-text"]);
        assert!(node.contains("URI:spiffe://example.org/spire/agent/tpm2/"), "{node}");

        // A CSR without a SPIFFE ID cannot be minted: out of band nobody else says who it is.
        let request = MintX509svidRequest {
            csr: csr.into(),
            ttl: 60,
        };
        let refused = site.admin.svid.mint_x509svid(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let request = MintX509svidRequest {
            csr: openssl_csr(site, "URI:spiffe://example.org/hook,DNS:hook.example.org").into(),
            ttl: 120,
        };
        let minted = site
            .admin
            .svid
            .mint_x509svid(request)
            .await
            .unwrap()
            .into_inner()
            .svid
            .unwrap();
        assert_eq!(minted.id, id("/hook"));
        let text = site.openssl_reads(&minted.cert_chain[0], &["-text"]);
        assert!(
            text.contains("DNS:hook.example.org") && text.contains("CA:FALSE"),
            "{text}"
        );
    });
}

#[test]
fn a_batch_has_at_most_500_items() {
    site(async |site| {
        let (agent, svid) = site.node().await;
        let web = Entry {
            id: "web".into(),
            ..entry("/web", &svid.id.unwrap().path, 1)
        };
        site.create(vec![web]).await;
        let key = SoftwareKey::ecc(0);
        let item = NewX509svidParams {
            entry_id: "web".into(),
            csr: key.csr_for(&key.spki()).into(),
        };
        let ask = async |count: usize| {
            let params = vec![item.clone(); count];
            let request = BatchNewX509svidRequest { params };
            let answer = SvidClient::new(agent.clone()).batch_new_x509svid(request).await;
            answer.map(|answer| answer.into_inner().results)
        };
        assert_eq!(ask(501).await.unwrap_err().code(), Code::ResourceExhausted);
        let most = ask(500).await.unwrap();
        assert!(most.len() == 500 && most.iter().all(|result| result.svid.is_some()));
        assert_eq!(ask(0).await.unwrap_err().code(), Code::InvalidArgument);
    });
}

/// A CSR with these names, made by openssl.
fn openssl_csr(site: &Site, names: &str) -> Vec<u8> {
    let (key, csr) = (site.folder.path().join("key.pem"), site.folder.path().join("csr.der"));
    let out = Command::new("openssl")
        .args([
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/O=x",
        ])
        .args([
            "-addext",
            &format!("subjectAltName={names}"),
            "-outform",
            "DER",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&csr)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    std::fs::read(csr).unwrap()
}
