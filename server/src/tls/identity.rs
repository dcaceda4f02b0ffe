//! The server's own SVID: its key lives in memory and is replaced, with the certificate, at half of its life, when the clock was set
//! back to before it was issued, and when another authority signs than the one that signed it.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use hallmark_authority::SubjectKey;
use hallmark_spiffe::TrustDomain;
use hallmark_state::server_identity;
use rustls::{
    crypto::aws_lc_rs::sign::any_ecdsa_type,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{
    authority::ActiveAuthority,
    clock::Clock,
    errors::StartError,
    issue::{Issuer, Order, OrderKey},
};

/// How often the age is looked at, and how long to wait after a failure.
const TICK: Duration = Duration::from_secs(5);

/// What the server shows in handshakes. Replacing it leaves open connections alone.
#[derive(Debug)]
pub struct ServerIdentity {
    issuer: Issuer,
    authority: Arc<ArcSwap<ActiveAuthority>>,
    trust_domain: TrustDomain,
    clock: Clock,
    lifetime: Duration,
    current: ArcSwapOption<Current>,
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    /// The certificate of the authority that signed, or of one before it.
    authority: Vec<u8>,
    issued_at: i64,
    renew_at: i64,
}

impl Current {
    /// Half of its life has passed; or the clock was set back, so that it is not valid yet.
    const fn is_due(&self, now: i64) -> bool {
        now >= self.renew_at || now < self.issued_at
    }
}

impl ServerIdentity {
    /// Has `issuer` issue the first one, for `lifetime`, as the others later; `authority` is the one that signs.
    ///
    /// # Errors
    /// When it cannot be issued.
    pub async fn issue(
        issuer: Issuer,
        authority: Arc<ArcSwap<ActiveAuthority>>,
        trust_domain: TrustDomain,
        clock: Clock,
        lifetime: Duration,
    ) -> Result<Arc<Self>, StartError> {
        let identity = Arc::new(Self {
            issuer,
            authority,
            trust_domain,
            clock,
            lifetime,
            current: ArcSwapOption::empty(),
        });
        identity.renew().await?;
        Ok(identity)
    }

    /// Replaces key and certificate.
    async fn renew(&self) -> Result<(), StartError> {
        let fault = |cause: &dyn std::fmt::Display| StartError::Identity {
            cause: cause.to_string(),
        };
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|error| fault(&error))?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()));
        let signing_key = any_ecdsa_type(&private).map_err(|error| fault(&error))?;
        let spki = signing_key
            .public_key()
            .ok_or_else(|| fault(&"the key has no public half"))?;
        let order = Order {
            grant: server_identity(&self.trust_domain, self.lifetime)
                .map_err(|error| fault(&error))?
                .into(),
            key: OrderKey::Proven(SubjectKey::from_spki(spki.as_ref()).map_err(|error| fault(&error))?),
            entry: "".into(),
            has_role: false,
        };
        // Before it is issued: one that the next authority comes to sign is only issued once more.
        let authority = self.authority.load().x509.certificate().to_vec();
        let issued_at = self.clock.unix();
        let svid = self.issuer.issue_one("server", &order).await?;
        let chain = svid
            .chain
            .into_iter()
            .map(|der| CertificateDer::from(der.to_vec()))
            .collect();
        let current = Current {
            key: Arc::new(CertifiedKey::new(chain, signing_key)),
            authority,
            issued_at,
            renew_at: issued_at + (svid.expires_at - issued_at) / 2,
        };
        tracing::info!(
            expires_at = svid.expires_at,
            renew_at = current.renew_at,
            "server identity issued"
        );
        self.current.store(Some(Arc::new(current)));
        Ok(())
    }

    fn is_due(&self, now: i64) -> bool {
        let authority = self.authority.load();
        let is_due = |current: &Arc<Current>| current.is_due(now) || current.authority != authority.x509.certificate();
        self.current.load().as_ref().is_none_or(is_due)
    }
}

impl ResolvesServerCert for ServerIdentity {
    /// Whatever name was dialled: clients check the SPIFFE ID.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load().as_ref().map(|current| Arc::clone(&current.key))
    }
}

/// Renews the identity at half of its life, when the clock was set back to before it, and when another authority signs; for ever.
pub async fn keep_fresh(identity: Arc<ServerIdentity>) {
    let mut pace = identity.clock.pace(TICK);
    loop {
        pace.next().await;
        if !identity.is_due(identity.clock.unix()) {
            continue;
        }
        if let Err(error) = identity.renew().await {
            tracing::error!(code = %hallmark_reason::Coded::code(&error), %error, "the server's own identity was not renewed");
        }
    }
}
