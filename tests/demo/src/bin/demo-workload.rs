//! A workload in Rust: holds its identity through the crate `spiffe`, serves one mutual-TLS connection, and
//! says in JSON who it is and who came. Usage: demo-workload ALLOWED-CLIENT-ID
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use anyhow::{Context as _, Result};
use serde_json::json;
use spiffe::X509Source;
use spiffe_rustls::{authorizer, mtls_server};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let allowed = std::env::args()
        .nth(1)
        .context("usage: demo-workload ALLOWED-CLIENT-ID")?;
    let source = X509Source::new().await?;
    let own = source.svid()?;
    let config = mtls_server(source)
        .authorize(authorizer::exact([allowed.as_str()])?)
        .build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "{}",
        json!({"port": listener.local_addr()?.port(), "spiffe_id": own.spiffe_id().to_string()})
    );

    let (tcp, _) = listener.accept().await?;
    let mut stream = BufReader::new(TlsAcceptor::from(Arc::new(config)).accept(tcp).await?);
    let mut line = String::new();
    (&mut stream).take(1024).read_line(&mut line).await?;
    let word = line.trim_end();
    let peer = peer_id(
        stream
            .get_ref()
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .context("no peer")?,
    )?;
    let answer = format!("{} heard from {peer}: {word}", own.spiffe_id());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    println!("{}", json!({"peer": peer, "heard": word}));
    Ok(())
}

fn peer_id(certificate: &[u8]) -> Result<String> {
    let (_, certificate) = X509Certificate::from_der(certificate)?;
    let names = certificate.subject_alternative_name()?.context("no SAN")?;
    let uri = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    uri.context("no URI SAN")
}
