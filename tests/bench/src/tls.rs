//! The server's half of a TLS handshake, alone.

use crate::cpu;
use anyhow::{Result, ensure};
use hallmark_attacks::{SoftwareIdentity, anonymous_client};
use hallmark_verify::testing::{SoftwareEk, SoftwareKey, VendorCa};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use std::sync::Arc;
use std::time::Duration;

/// Processor time that the server's side of so many handshakes takes: TLS 1.3, a P-256 key in memory.
pub(crate) fn handshakes(vendor: &VendorCa, count: u32) -> Result<Duration> {
    let key = SoftwareKey::svid();
    let leaf = vendor.ek_certificate_with(&SoftwareEk::ecc(), |draft| draft.spki = key.spki());
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(SoftwareIdentity::new(vec![leaf], key));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (server, client) = (Arc::new(config), Arc::new(anonymous_client()?));
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        let client = ClientConnection::new(Arc::clone(&client), ServerName::try_from("server")?)?;
        spent += handshake(client, &server)?;
    }
    Ok(spent)
}

fn handshake(mut client: ClientConnection, config: &Arc<ServerConfig>) -> Result<Duration> {
    let begin = cpu::of_this_thread();
    let mut server = ServerConnection::new(Arc::clone(config))?;
    let mut spent = cpu::of_this_thread() - begin;
    for _ in 0..4 {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut there)?;
        }
        let begin = cpu::of_this_thread();
        let mut there = there.as_slice();
        while !there.is_empty() {
            server.read_tls(&mut there)?;
            server.process_new_packets()?;
        }
        while server.wants_write() {
            server.write_tls(&mut back)?;
        }
        spent += cpu::of_this_thread() - begin;
        let mut back = back.as_slice();
        while !back.is_empty() {
            client.read_tls(&mut back)?;
            client.process_new_packets()?;
        }
    }
    ensure!(
        !client.is_handshaking() && !server.is_handshaking(),
        "the handshake did not end"
    );
    Ok(spent)
}
