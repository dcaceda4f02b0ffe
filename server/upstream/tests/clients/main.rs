//! The clients of authorities above: against a fake that makes every failure, and against a real OpenBao.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod est;
mod fake;
mod openbao;
mod pki;
mod vault;

use std::time::Duration;

use hallmark_reason::{Coded, Report};
use hallmark_upstream::{Asked, EstConfig, EstOperation, Signed, Upstream, UpstreamError, VaultAuth, VaultConfig};

use pki::Request;

/// What a server would ask for: an hour for this key.
fn asked(request: &Request) -> Asked {
    Asked {
        csr: request.csr.clone(),
        lifetime: Duration::from_secs(3600),
    }
}

/// The code of what went wrong, and the whole report.
fn refused<T: std::fmt::Debug>(result: Result<T, UpstreamError>) -> (&'static str, String) {
    let error = result.unwrap_err();
    let coded: &dyn Coded = error.as_ref();
    assert!(coded.next_step().is_some() && coded.likely_cause().is_some(), "{error}");
    (coded.code().as_str(), Report(coded).to_string())
}

/// The chain leads from the request's key to the one root, and the trust domain's name is in the certificate.
fn require_genuine(signed: &Signed, request: &Request) {
    let leaf = pki::read(&signed.chain[0]);
    assert_eq!(leaf.public_key().raw, request.spki);
    assert!(leaf.is_ca());
    assert_eq!(pki::uris(&leaf), ["spiffe://example.org"]);
    let mut below = leaf;
    for above in signed.chain.iter().skip(1).chain(&signed.roots) {
        let above = pki::read(above);
        below.verify_signature(Some(above.public_key())).unwrap();
        below = above;
    }
    assert_eq!(below.subject(), below.issuer(), "the last one is a root");
    assert_eq!(signed.roots.len(), 1);
}

async fn sign(upstream: &dyn Upstream, request: &Request) -> Result<Signed, UpstreamError> {
    upstream.sign(asked(request)).await
}

/// The configurations on the page for operators, as it has them.
#[test]
fn the_documented_configurations_are_read() {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/how-to/run-below-vault-or-est.md"
    );
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```toml\n").skip(1);
    let blocks: Vec<toml::Table> = blocks
        .map(|rest| toml::from_str(rest.split("```").next().unwrap()).unwrap())
        .collect();
    let [vault, est] = blocks.as_slice() else {
        panic!("{blocks:?}")
    };
    let vault: VaultConfig = vault["upstream"]["vault"].clone().try_into().unwrap();
    assert!(matches!(vault.auth, VaultAuth::AppRole(_)) && vault.roots.is_some());
    let est: EstConfig = est["upstream"]["est"].clone().try_into().unwrap();
    assert_eq!(est.operation, EstOperation::SimpleEnroll);
    // Each key has its row.
    for key in [
        "namespace",
        "issuer",
        "max_path_length",
        "timeout",
        "allow_plain_http_on_loopback",
        "operation",
        "label",
    ] {
        assert!(page.contains(&format!("| `{key}` |")), "{key}");
    }
}
