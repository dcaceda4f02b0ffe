//! The workloads: one that serves, and three that connect to it again and again.

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::ServerName;
use spiffe::X509Source;
use spiffe_rustls::{TlsStatus, authorizer, mtls_client, mtls_server};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const CLIENTS: usize = 3;
/// Between two connections of one client.
const PACE: Duration = Duration::from_millis(100);
/// Longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(10);
const WORD: &[u8; 5] = b"hello";

/// How often a connection is begun anew at most, each time because the library took in an update meanwhile.
const ANEW: usize = 5;

/// What came of the connections so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    /// Handshakes that both sides ended well, with a word there and back.
    pub(crate) good: usize,
    /// All others.
    pub(crate) failed: usize,
    /// Connections that were begun anew: the library took in an update meanwhile.
    pub(crate) anew: usize,
    /// Different SVIDs that the clients had.
    pub(crate) renewed: usize,
}

#[derive(Debug, Default)]
struct Told {
    good: usize,
    failed: usize,
    anew: usize,
    serials: BTreeSet<Vec<u8>>,
    first_failure: Option<String>,
}

/// Workloads that connect to each other until this is dropped with its runtime.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic(Arc<Mutex<Told>>);

impl Traffic {
    /// Starts the one that serves behind the agent at `here`, and the others behind the one at `there`.
    pub(crate) async fn start(trust_domain: &str, here: &Path, there: &Path) -> Result<Self> {
        let traffic = Self::default();
        let id = |name: &str| format!("spiffe://{trust_domain}/{name}");
        let (config, served) = mtls_server(source(here).await?)
            .authorize(authorizer::exact([id("client").as_str()])?)
            .build_with_status()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config))));
        for _ in 0..CLIENTS {
            let source = source(there).await?;
            let (config, used) = mtls_client(source.clone())
                .authorize(authorizer::exact([id("server").as_str()])?)
                .with_config_customizer(|config| config.resumption = rustls::client::Resumption::disabled())
                .build_with_status()?;
            let client = Client {
                connector: TlsConnector::from(Arc::new(config)),
                ends: [served.clone(), used],
                source,
            };
            tokio::spawn(traffic.clone().connect(address, client));
        }
        Ok(traffic)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of them so far.
    pub(crate) fn counts(&self) -> Counts {
        let told = self.told();
        Counts {
            good: told.good,
            failed: told.failed,
            anew: told.anew,
            renewed: told.serials.len(),
        }
    }

    /// How the first one failed.
    pub(crate) fn failure(&self) -> String {
        let told = self.told();
        let first = told.first_failure.as_deref().unwrap_or("nothing failed");
        format!("{} handshakes failed; the first: {first}", told.failed)
    }

    /// One client, for ever.
    async fn connect(self, address: SocketAddr, client: Client) {
        loop {
            let (once, anew) = client.connect(address).await;
            let serial = client
                .source
                .svid()
                .ok()
                .and_then(|svid| Some(svid.cert_chain().first()?.as_bytes().to_vec()));
            {
                let mut told = self.told();
                told.serials.extend(serial);
                told.anew += anew;
                match once {
                    Ok(()) => told.good += 1,
                    Err(error) => {
                        told.failed += 1;
                        told.first_failure.get_or_insert(format!("{error:#}"));
                    }
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

/// One client, with what the library says of both ends' identities.
struct Client {
    connector: TlsConnector,
    source: X509Source,
    ends: [TlsStatus; 2],
}

impl Client {
    /// Connects once, and says how often that was begun anew. From the update of an identity until it is in use the library lets nobody
    /// in or out (its `PendingRevision`); what failed while neither end had an update has failed.
    async fn connect(&self, address: SocketAddr) -> (Result<()>, usize) {
        let mut anew = 0;
        loop {
            let before = self.revisions();
            let once = tokio::time::timeout(PATIENCE, once(address, &self.connector)).await;
            let once = once.map_err(anyhow::Error::from).and_then(|done| done);
            let is_settled = self.revisions() == before && before.iter().all(|(source, applied)| source == applied);
            if once.is_ok() || is_settled || anew == ANEW {
                return (once, anew);
            }
            anew += 1;
            tokio::time::sleep(PACE).await;
        }
    }

    /// Of each end, the newest identity that the agent gave and the one in use.
    fn revisions(&self) -> [(u64, u64); 2] {
        self.ends.each_ref().map(|end| {
            let now = end.current();
            (now.source_revision, now.applied_revision)
        })
    }
}

/// The identity that the agent behind `socket` gives, once it has one.
async fn source(socket: &Path) -> Result<X509Source> {
    let (endpoint, start) = (format!("unix://{}", socket.display()), Instant::now());
    loop {
        match X509Source::builder().endpoint(&endpoint).build().await {
            Ok(source) => return Ok(source),
            Err(error) => ensure!(start.elapsed() < PATIENCE * 3, "no identity: {error}"),
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((tcp, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        // What fails here fails for the client as well, which counts it.
        tokio::spawn(async move {
            let mut stream = acceptor.accept(tcp).await?;
            let mut word = [0; WORD.len()];
            stream.read_exact(&mut word).await?;
            stream.write_all(&word).await?;
            stream.shutdown().await
        });
    }
}

async fn once(address: SocketAddr, connector: &TlsConnector) -> Result<()> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost")?;
    let mut stream = connector.connect(name, tcp).await.context("the handshake")?;
    stream.write_all(WORD).await.context("the word")?;
    let mut word = [0; WORD.len()];
    stream.read_exact(&mut word).await.context("the answer")?;
    ensure!(word == *WORD, "another answer");
    Ok(())
}
