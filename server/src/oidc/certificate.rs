//! The certificate that is shown, read again when its files change.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use hallmark_reason::{Coded, ReasonCode, Report};
use rustls::{
    ServerConfig,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::task::spawn_blocking;

use crate::{
    clock::Clock,
    config::{CertificateFiles, ConfigError, ServedCertificate},
    tls::provider,
};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How long before its end a certificate is told: whoever renews it (ACME) does so a month before.
const SOON: i64 = 7 * 24 * 3600;

/// Why the certificate of the OIDC listener is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFailure {
    /// New files cannot be used; the certificate from before is shown.
    #[error("the certificate of OIDC discovery was not taken, the one before stays: {cause}")]
    NotTaken {
        /// What is wrong with them.
        cause: String,
    },
    /// It has ended, or ends soon.
    #[error("the certificate of OIDC discovery ends: {left} s left")]
    Ends {
        /// How many seconds it has left; below zero since when it has ended.
        left: i64,
    },
}

impl Coded for CertificateFailure {
    fn code(&self) -> ReasonCode {
        match self {
            Self::NotTaken { .. } => ReasonCode::new("HM-SRV-0352"),
            Self::Ends { .. } => ReasonCode::new("HM-SRV-0353"),
        }
    }
}

/// The certificate of the OIDC listener.
#[derive(Debug)]
pub struct Certificate {
    files: CertificateFiles,
    hosts: BTreeSet<String>,
    clock: Clock,
    served: ArcSwapOption<ServedCertificate>,
    /// What the files of the certificate that is shown looked like.
    seen: ArcSwapOption<[Stamp; 2]>,
    not_taken: ArcSwapOption<String>,
}

impl Certificate {
    /// What is in these files, for one of `hosts`; not read yet.
    pub(super) fn new(files: CertificateFiles, hosts: BTreeSet<String>, clock: Clock) -> Self {
        Self {
            files,
            hosts,
            clock,
            served: ArcSwapOption::empty(),
            seen: ArcSwapOption::empty(),
            not_taken: ArcSwapOption::empty(),
        }
    }

    /// Reads the files, off the async workers.
    ///
    /// # Errors
    /// They cannot be used; what was read before stays.
    pub(super) async fn read(&self) -> Result<(), ConfigError> {
        let (files, hosts) = (self.files.clone(), self.hosts.clone());
        let lost = |path: &Path| ConfigError::Certificate {
            path: path.to_owned(),
            cause: "the server is stopping".to_owned(),
        };
        // First what they look like: what is written meanwhile is read again.
        let stamps = self.stamps().await;
        let read = spawn_blocking(move || files.load(&hosts)).await;
        let read = read.map_err(|_| lost(&self.files.certificate))??;
        self.served.store(Some(Arc::new(read)));
        self.seen.store(stamps.map(Arc::new));
        Ok(())
    }

    /// Reads the files again whenever they change, for ever. Each fault is told once.
    pub(super) async fn keep_reading(&self) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let is_same = self.seen.load().as_deref() == self.stamps().await.as_ref();
            // What could not be used may have been read between two writes, or gets other permissions.
            if is_same && self.not_taken.load().is_none() {
                continue;
            }
            match self.read().await {
                Ok(()) => {
                    self.not_taken.store(None);
                    tracing::info!("the certificate of OIDC discovery was read again");
                }
                Err(error) => {
                    let cause = Report(&error).to_string();
                    let failure = CertificateFailure::NotTaken { cause: cause.clone() };
                    if self.not_taken.swap(Some(Arc::new(cause.clone()))).as_deref() != Some(&cause) {
                        tracing::error!(code = %failure.code(), "{failure}");
                    }
                }
            }
        }
    }

    /// What is not as it should be.
    #[must_use]
    pub fn failure(&self) -> Option<CertificateFailure> {
        if let Some(cause) = self.not_taken.load_full() {
            let cause = String::clone(&cause);
            return Some(CertificateFailure::NotTaken { cause });
        }
        let left = self.served.load().as_ref()?.not_after - self.clock.unix();
        (left < SOON).then_some(CertificateFailure::Ends { left })
    }

    async fn stamps(&self) -> Option<[Stamp; 2]> {
        let paths = [self.files.certificate.clone(), self.files.key.clone()];
        spawn_blocking(move || paths.map(|path| stamp(&path))).await.ok()
    }
}

/// What tells that a file was replaced or written: device, inode, length, and its two times.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    let (written, changed) = ((data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec()));
    Some((data.dev(), data.ino(), data.len(), written, changed))
}

/// A certificate, as TLS asks for it.
#[derive(Debug)]
struct Shown(Arc<Certificate>);

impl ResolvesServerCert for Shown {
    /// Whatever name was dialled: which hosts are served is said by HTTP.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.0.served.load();
        served.as_ref().map(|it| Arc::clone(&it.key))
    }
}

/// TLS 1.2 and 1.3 with this certificate, for anybody; no resumption.
///
/// # Errors
/// When the provider lacks what TLS 1.2 and 1.3 need.
pub(super) fn tls(certificate: Arc<Certificate>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(certificate)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}
