//! Every kind of authority key, from the token to a relying party: what it signs is verified by our own rules
//! and by openssl, which shares no code with the server.

use crate::site::{Site, entry, site_with_authority};
use hallmark_api::bundle::GetBundleRequest;
use hallmark_api::svid::svid_client::SvidClient;
use hallmark_api::svid::{BatchNewX509svidRequest, NewX509svidParams};
use hallmark_api::types::Entry;
use hallmark_spiffe::{TrustDomain, x509};
use hallmark_verify::testing::SoftwareKey;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;
use tonic::transport::Channel;

#[test]
fn ec_p384() {
    serves("ec-p384", "Public-Key: (384 bit)", "ecdsa-with-SHA384");
}

#[test]
fn rsa_2048() {
    serves("rsa-2048", "Public-Key: (2048 bit)", "sha256WithRSAEncryption");
}

#[test]
fn rsa_3072() {
    serves("rsa-3072", "Public-Key: (3072 bit)", "sha256WithRSAEncryption");
}

#[test]
fn rsa_4096() {
    serves("rsa-4096", "Public-Key: (4096 bit)", "sha256WithRSAEncryption");
}

/// A server with an authority of this kind lets a node in by its SVID, and signs a workload's.
fn serves(key_type: &str, key: &str, signature: &str) {
    site_with_authority(key_type, async |site| {
        let bundle = site.admin.bundle.get_bundle(GetBundleRequest { output_mask: None });
        let root = bundle.await.unwrap().into_inner().x509_authorities.remove(0).asn1;
        let text = site.openssl_reads(&root, &["-text"]);
        assert!(text.contains(key) && text.contains(signature), "{text}");

        // The node's own SVID opens the connection over which the workload's is asked for.
        let (agent, node) = site.node().await;
        let entry = Entry {
            id: "web".into(),
            ..entry("/web", &node.id.as_ref().unwrap().path, 1)
        };
        site.create(vec![entry]).await;
        let workload = issue(agent, "web").await;
        for (leaf, path) in [
            (node.cert_chain[0].to_vec(), node.id.as_ref().unwrap().path.as_str()),
            (workload, "/web"),
        ] {
            assert!(site.openssl_reads(&leaf, &["-text"]).contains(signature));
            verified_by_both(site, &leaf, &root, path);
        }
        // The server's own certificate, as a TLS client without our code sees it.
        let said = s_client(site, &root);
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.contains("ALPN protocol: h2"), "{said}");
    });
}

/// A workload's SVID, over a node's connection.
async fn issue(agent: Channel, entry_id: &str) -> Vec<u8> {
    let key = SoftwareKey::ecc(0);
    let params = NewX509svidParams {
        entry_id: entry_id.into(),
        csr: key.csr_for(&key.spki()).into(),
    };
    let request = BatchNewX509svidRequest { params: vec![params] };
    let answer = SvidClient::new(agent).batch_new_x509svid(request).await.unwrap();
    let svid = answer.into_inner().results.remove(0).svid.unwrap();
    assert_eq!(svid.cert_chain.len(), 1, "a self-signed root is not in the chain");
    svid.cert_chain[0].to_vec()
}

/// Our rules and openssl both take the leaf, and neither takes it with a byte of its signature changed.
fn verified_by_both(site: &Site, leaf: &[u8], root: &[u8], path: &str) {
    let domain = TrustDomain::parse("example.org").unwrap();
    let ours = |leaf: &[u8]| x509::verify_chain(&[leaf], &[root], &domain, SystemTime::now());
    assert_eq!(ours(leaf).unwrap().path(), path);
    let (good, said) = openssl_verify(site, leaf, root);
    assert!(good, "{said}");
    let mut forged = leaf.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    ours(&forged).unwrap_err();
    let (good, said) = openssl_verify(site, &forged, root);
    assert!(!good && said.contains("certificate signature failure"), "{said}");
}

fn openssl_verify(site: &Site, leaf: &[u8], root: &[u8]) -> (bool, String) {
    let (leaf, root) = (pem(site, "verified", leaf), pem(site, "root", root));
    let out = Command::new("openssl")
        .args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslclient"])
        .args(["-no-CApath", "-no-CAstore", "-CAfile"])
        .args([root, leaf])
        .output()
        .unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn s_client(site: &Site, root: &[u8]) -> String {
    let out = Command::new("openssl")
        .args(["s_client", "-connect", &site.address, "-alpn", "h2", "-CAfile"])
        .arg(pem(site, "root", root))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A certificate in a file, as openssl's verify wants it.
fn pem(site: &Site, name: &str, der: &[u8]) -> PathBuf {
    let (from, to) = (
        site.folder.path().join("pem.der"),
        site.folder.path().join(format!("{name}.pem")),
    );
    std::fs::write(&from, der).unwrap();
    let made = Command::new("openssl")
        .args(["x509", "-inform", "DER", "-in"])
        .arg(from)
        .arg("-out")
        .arg(&to)
        .status()
        .unwrap();
    assert!(made.success());
    to
}
