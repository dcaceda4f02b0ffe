//! A TPM that takes its time: on one async worker, everything else goes on meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code beside the test functions")]

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use hallmark_agent::{
    attester::Attester,
    connect::{self, Target},
    measurements::{LogPaths, Reading},
    tls::{self, ServerTrust, ServerVerifier, TpmSigner},
};
use hallmark_api::agent::{PostStatusRequest, agent_client::AgentClient};
use hallmark_kit::{EkAuthority, Fault, Swtpm, SwtpmOptions, TctiProxy};
use hallmark_spiffe::TrustDomain;
use hallmark_tpm::{EsysTpm, Tcti, TpmHandle};
use hallmark_tpm_wire::{HashAlg, PcrSelection};
use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivatePkcs8KeyDer, server::WebPkiClientVerifier};
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};
use tokio_rustls::TlsAcceptor;

const SIGN: u32 = 0x15d;
const QUOTE: u32 = 0x158;
/// How long a command is held at most: who waits for it on the only worker is seen by that.
const HELD: Duration = Duration::from_secs(20);

struct Machine {
    proxy: TctiProxy,
    tpm: TpmHandle,
    _swtpm: Swtpm,
    _folder: tempfile::TempDir,
}

impl Machine {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = EkAuthority::create(&folder.path().join("ca")).unwrap();
        let mut swtpm = Swtpm::manufacture(folder.path(), &authority, SwtpmOptions::default()).unwrap();
        swtpm.power_on().unwrap();
        let proxy = TctiProxy::start(swtpm.port()).unwrap();
        let tpm = EsysTpm::open(Tcti::parse(&proxy.tcti()).unwrap()).unwrap();
        Self {
            proxy,
            tpm: TpmHandle::spawn(tpm).unwrap(),
            _swtpm: swtpm,
            _folder: folder,
        }
    }

    /// Commands of this code are held from now on, until the result is dropped.
    fn hold(&self, code: u32) -> mpsc::Sender<()> {
        self.proxy.reset();
        let (release, released) = mpsc::channel::<()>();
        self.proxy.set_rule(move |asked, _| {
            if asked == code {
                // Dropped or late, it goes on.
                let _ = released.recv_timeout(HELD);
            }
            Fault::None
        });
        release
    }

    /// Others go on while a command of this code is with the TPM for `work`, which ends once it is released.
    async fn must_go_on<T>(&self, code: u32, release: mpsc::Sender<()>, work: JoinHandle<T>) -> T {
        let begun = Instant::now();
        while !self.proxy.counts().contains_key(&code) {
            assert!(begun.elapsed() < HELD, "{code:#x} is never asked for");
            sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..20 {
            // Real time: the only worker has to come back to this task each time.
            sleep(Duration::from_millis(5)).await;
        }
        assert!(!work.is_finished(), "the control: the TPM holds it");
        assert!(begun.elapsed() < HELD, "the only worker waited for the TPM");
        drop(release);
        work.await.unwrap()
    }
}

#[tokio::test]
async fn a_new_key_and_a_quote_hold_up_no_async_worker() {
    let machine = Machine::start();
    let attester = Attester::new(machine.tpm.clone(), false, LogPaths::default());
    // The request for the key's certificate is signed in the TPM.
    let release = machine.hold(SIGN);
    let key = tokio::spawn(async move { (attester.next_key().await.unwrap(), attester).1 });
    let mut attester = machine.must_go_on(SIGN, release, key).await;

    let release = machine.hold(QUOTE);
    let selection = PcrSelection::new([(HashAlg::Sha256, [0, 7].as_slice())]).unwrap();
    let quote = tokio::spawn(async move { attester.quote(&selection, [1; 32], &Reading::default()).await });
    machine.must_go_on(QUOTE, release, quote).await.unwrap();
}

/// A server that asks for a client certificate.
async fn tls_server() -> u16 {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org/spire/server".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // What comes of it does not count: the certificate that is shown is nobody's.
            tokio::spawn(acceptor.accept(stream));
        }
    });
    port
}

#[tokio::test]
async fn a_handshake_with_the_server_holds_up_no_async_worker() {
    let machine = Machine::start();
    let attester = Attester::new(machine.tpm.clone(), false, LogPaths::default());
    let key = attester.next_key().await.unwrap();
    let shown = CertificateParams::default()
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap();
    let signer = TpmSigner::new(machine.tpm.clone(), key.id, vec![shown.der().clone()]);
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let verifier = ServerVerifier::new(&trust_domain, ServerTrust::IdOnly).unwrap();
    let target = Target {
        host: "127.0.0.1".into(),
        port: tls_server().await,
    };
    let channel = connect::mutual(&target, tls::mutual(Arc::new(verifier), signer).unwrap());
    let release = machine.hold(SIGN);
    let call = tokio::spawn(async move {
        let request = PostStatusRequest::default();
        AgentClient::new(channel.0).post_status(request).await.map(drop)
    });
    let refused = machine.must_go_on(SIGN, release, call).await;
    assert!(refused.is_err(), "the server knows no such machine");
}
