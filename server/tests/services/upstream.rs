//! Authorities that another one signs: taken whole or not at all, and followed by the next one; what is said of roots; and one that is
//! away. The authority above is a fake here: it answers what a real one would not.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use hallmark_api::{
    bundle::{GetBundleRequest, bundle_server::Bundle as _},
    localauthority::{
        GetX509AuthorityStateRequest, RevokeX509UpstreamAuthorityRequest, TaintX509AuthorityRequest,
        TaintX509UpstreamAuthorityRequest, local_authority_server::LocalAuthority as _,
    },
    svid::{MintX509svidRequest, svid_server::Svid as _},
    types,
};
use hallmark_authority::SubjectKey;
use hallmark_hsm::KeyKind;
use hallmark_reason::Coded as _;
use hallmark_server::{
    api::local_authority::LocalAuthorityService,
    authority::{Above, AuthorityError, X509Keeper, X509KeySettings},
    clock::Clock,
    config,
    journal::Act,
    run::Running,
};
use hallmark_spiffe::x509::{SigningFacts, verify_chain};
use hallmark_upstream::{Asked, Signed, SpireError, Upstream, UpstreamError};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
    SubjectPublicKeyInfo,
};
use time::OffsetDateTime;
use tonic::Code;

use crate::{
    lab::{Lab, TRUST_DOMAIN, isolated, local},
    svids::csr,
};

const DAY: i64 = 24 * 3600;

/// What the authority above does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Away,
    OtherKey,
    NoCa,
    OtherTrustDomain,
    OtherRoot,
    Ended,
    Huge,
    Long,
    Empty,
}

fn nobody() -> UpstreamError {
    Box::new(SpireError::Away {
        what: "nobody is there".into(),
    })
}

struct Root {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// An authority above.
struct Fake {
    clock: Clock,
    root: Mutex<Root>,
    fault: Mutex<Fault>,
    /// What it says beside its root.
    more_roots: Mutex<Vec<Vec<u8>>>,
    lifetime: i64,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn params(name: &str, now: i64, lifetime: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (at(now - 10), at(now + lifetime));
    params
}

fn root(clock: &Clock) -> Root {
    let params = params("root above", clock.unix(), 3650 * DAY);
    let key = KeyPair::generate().unwrap();
    Root {
        der: params.self_signed(&key).unwrap().der().to_vec(),
        issuer: Issuer::new(params, key),
    }
}

impl Fake {
    fn new(clock: &Clock) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.clone(),
            root: Mutex::new(root(clock)),
            fault: Mutex::new(Fault::None),
            more_roots: Mutex::default(),
            lifetime: DAY,
        })
    }

    fn root_der(&self) -> Vec<u8> {
        self.root.lock().unwrap().der.clone()
    }

    fn root_id(&self) -> String {
        hex::encode(SigningFacts::read(&self.root_der()).unwrap().key_id)
    }

    fn answer(&self, asked: &Asked) -> Signed {
        let (fault, now) = (*self.fault.lock().unwrap(), self.clock.unix());
        let mut spki = SubjectKey::from_csr(&asked.csr).unwrap().spki().to_vec();
        let mut params = params("ours", now, self.lifetime);
        let mut uri = format!("spiffe://{TRUST_DOMAIN}");
        match fault {
            Fault::OtherKey => spki = KeyPair::generate().unwrap().subject_public_key_info(),
            Fault::NoCa => params.is_ca = IsCa::ExplicitNoCa,
            Fault::OtherTrustDomain => uri = "spiffe://example.com".into(),
            Fault::Ended => (params.not_before, params.not_after) = (at(now - DAY), at(now - 60)),
            _ => {}
        }
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let other = root(&self.clock);
        let own = self.root.lock().unwrap();
        let issuer = if fault == Fault::OtherRoot {
            &other.issuer
        } else {
            &own.issuer
        };
        let key = SubjectPublicKeyInfo::from_der(&spki).unwrap();
        let mut certificate = params.signed_by(&key, issuer).unwrap().der().to_vec();
        if fault == Fault::Huge {
            certificate.resize(1024 * 1024, 0);
        }
        let chain = match fault {
            Fault::Long => vec![certificate; 9],
            Fault::Empty => Vec::new(),
            _ => vec![certificate],
        };
        let more = self.more_roots.lock().unwrap().clone();
        Signed {
            chain,
            roots: std::iter::once(own.der.clone()).chain(more).collect(),
        }
    }
}

impl Upstream for Fake {
    fn name(&self) -> String {
        "fake".into()
    }

    fn sign(&self, asked: Asked) -> BoxFuture<'_, Result<Signed, UpstreamError>> {
        Box::pin(async move {
            if *self.fault.lock().unwrap() == Fault::Away {
                return Err(nobody());
            }
            Ok(self.answer(&asked))
        })
    }

    fn roots(&self) -> BoxFuture<'_, Result<Option<Vec<Vec<u8>>>, UpstreamError>> {
        Box::pin(async {
            if *self.fault.lock().unwrap() == Fault::Away {
                return Err(nobody());
            }
            let more = self.more_roots.lock().unwrap().clone();
            Ok(Some(std::iter::once(self.root_der()).chain(more).collect()))
        })
    }
}

/// A keeper below this authority, which was never asked before.
fn keeper(lab: &Lab, above: &Arc<Fake>) -> Arc<X509Keeper> {
    let settings = X509KeySettings {
        kind: KeyKind::EcP256,
        lifetime: Duration::from_secs(3600 * 24 * 30),
    };
    let server = &lab.server;
    let keeper = X509Keeper::new(
        server.journal.clone(),
        server.keys.clone(),
        server.authority.clone(),
        settings,
    );
    let above: Arc<dyn Upstream> = above.clone();
    Arc::new(keeper.with_above(Arc::new(Above::new(Some(above)))))
}

fn act() -> Act {
    Act {
        by: "uid:0".into(),
        reason: "test".into(),
    }
}

async fn rotate(keeper: &X509Keeper) {
    keeper.prepare_now(&act()).await.unwrap();
    keeper.activate_now("", &act()).await.unwrap();
}

async fn bundle(lab: &Lab) -> types::Bundle {
    let asked = lab.bundle.get_bundle(local(GetBundleRequest::default()));
    asked.await.unwrap().into_inner()
}

async fn roots(lab: &Lab) -> Vec<Vec<u8>> {
    let bundle = bundle(lab).await;
    bundle.x509_authorities.iter().map(|it| it.asn1.to_vec()).collect()
}

/// The chain of a new SVID.
async fn mint(lab: &Lab) -> Vec<Vec<u8>> {
    let request = MintX509svidRequest {
        csr: csr(&[&format!("spiffe://{TRUST_DOMAIN}/ops")], &[]),
        ttl: 60,
    };
    let answer = lab.svids.mint_x509svid(local(request)).await.unwrap();
    let svid = answer.into_inner().svid.unwrap();
    svid.cert_chain.iter().map(|der| der.to_vec()).collect()
}

fn verifies(lab: &Lab, chain: &[Vec<u8>], roots: &[Vec<u8>]) -> bool {
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
    let journal = &lab.server.journal;
    verify_chain(&chain, &roots, journal.trust_domain(), journal.clock().now()).is_ok()
}

async fn labels(lab: &Lab) -> Vec<String> {
    let keys = lab.server.keys.list().await.unwrap();
    let mut labels: Vec<String> = keys.into_iter().map(|key| key.label).collect();
    labels.sort();
    labels
}

#[test]
fn what_is_signed_above_hangs_on_the_root_above() {
    isolated(
        "upstream::what_is_signed_above_hangs_on_the_root_above",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let own = roots(&lab).await;
            let above = Fake::new(lab.server.journal.clock());
            let below = keeper(&lab, &above);
            below.prepare_now(&act()).await.unwrap();
            let both = vec![own[0].clone(), above.root_der()];
            assert_eq!(roots(&lab).await, both, "both roots before the next one signs");
            let before = mint(&lab).await;
            assert_eq!(before.len(), 1);
            below.activate_now("", &act()).await.unwrap();
            let chain = mint(&lab).await;
            assert_eq!(chain.len(), 2, "the leaf, and what the authority above has signed");
            assert!(verifies(&lab, &chain, &[above.root_der()]));
            assert!(!verifies(&lab, &chain[..1], &both), "the root alone did not sign it");
            assert!(!verifies(&lab, &chain, &own));
            assert!(verifies(&lab, &before, &both));

            let service = LocalAuthorityService::new(lab.server.journal.clone(), below.clone(), lab.server.jwt.clone());
            let state = service
                .get_x509_authority_state(local(GetX509AuthorityStateRequest {}))
                .await
                .unwrap()
                .into_inner();
            let (active, old) = (state.active.unwrap(), state.old.unwrap());
            assert_eq!(active.upstream_authority_subject_key_id, above.root_id());
            assert_eq!(old.upstream_authority_subject_key_id, "");
            // The next one: nothing is tainted by itself.
            rotate(&below).await;
            let request = TaintX509AuthorityRequest {
                authority_id: active.authority_id.clone(),
            };
            let refused = service.taint_x509_authority(local(request)).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition);
            assert!(refused.message().contains("HM-SRV-0047"), "{refused}");
            assert!(
                lab.server
                    .authority
                    .load()
                    .is_own_key(lab.server.authority.load().x509.spki())
            );
            let root_key = SigningFacts::read(&above.root_der()).unwrap().spki;
            assert!(
                !lab.server.authority.load().is_own_key(&root_key),
                "what the root signs is nobody here"
            );
            drop((below, service));
            lab.stop().await;
        },
    );
}

#[test]
fn attack_90_of_a_hostile_answer_nothing_stays() {
    isolated(
        "upstream::attack_90_of_a_hostile_answer_nothing_stays",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let above = Fake::new(lab.server.journal.clock());
            let (before, keys) = (bundle(&lab).await, labels(&lab).await);
            let rows = lab.server.journal.state().authorities().len();
            for (fault, code) in [
                (Fault::Away, "HM-SRV-0048"),
                (Fault::OtherKey, "HM-CA-0028"),
                (Fault::NoCa, "HM-CA-0027"),
                (Fault::OtherTrustDomain, "HM-CA-0027"),
                (Fault::OtherRoot, "HM-CA-0029"),
                (Fault::Ended, "HM-CA-0031"),
                (Fault::Huge, "HM-CA-0026"),
                (Fault::Long, "HM-CA-0026"),
                (Fault::Empty, "HM-CA-0026"),
            ] {
                *above.fault.lock().unwrap() = fault;
                let refused = keeper(&lab, &above).prepare_now(&act()).await.unwrap_err();
                assert_eq!(refused.code().as_str(), code, "{fault:?}: {refused}");
                assert_eq!(bundle(&lab).await, before, "{fault:?}");
                assert_eq!(labels(&lab).await, keys, "{fault:?}: its key is destroyed");
                assert_eq!(lab.server.journal.state().authorities().len(), rows, "{fault:?}");
            }
            *above.fault.lock().unwrap() = Fault::None;
            *above.more_roots.lock().unwrap() = vec![b"no certificate".to_vec()];
            let refused = keeper(&lab, &above).prepare_now(&act()).await.unwrap_err();
            assert_eq!(
                refused.code().as_str(),
                "HM-CA-0027",
                "a hostile root beside a good one"
            );
            *above.more_roots.lock().unwrap() = Vec::new();
            keeper(&lab, &above).prepare_now(&act()).await.expect("the control");
            lab.stop().await;
        },
    );
}

#[test]
fn a_root_that_changes_is_in_the_bundle_before_it_signs_and_goes_with_what_hangs_on_it() {
    isolated(
        "upstream::a_root_that_changes_is_in_the_bundle_before_it_signs_and_goes_with_what_hangs_on_it",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let above = Fake::new(lab.server.journal.clock());
            rotate(&keeper(&lab, &above)).await;
            let (first, first_id) = (above.root_der(), above.root_id());
            let chain = mint(&lab).await;
            *above.root.lock().unwrap() = root(&above.clock);
            let below = keeper(&lab, &above);
            below.keep().await.unwrap();
            let now = roots(&lab).await;
            assert!(now.contains(&first) && now.contains(&above.root_der()), "both");
            assert!(verifies(&lab, &chain, &now));

            let service = LocalAuthorityService::new(lab.server.journal.clone(), below.clone(), lab.server.jwt.clone());
            let taint = |id: &str| TaintX509UpstreamAuthorityRequest {
                subject_key_id: id.to_owned(),
            };
            let revoke = |id: &str| RevokeX509UpstreamAuthorityRequest {
                subject_key_id: id.to_owned(),
            };
            let early = service.taint_x509_upstream_authority(local(taint(&first_id))).await;
            assert_eq!(
                early.unwrap_err().code(),
                Code::FailedPrecondition,
                "what signs hangs on it"
            );
            let early = service.revoke_x509_upstream_authority(local(revoke(&first_id))).await;
            assert_eq!(early.unwrap_err().code(), Code::FailedPrecondition);
            let unknown = service.taint_x509_upstream_authority(local(taint("00"))).await;
            assert_eq!(unknown.unwrap_err().code(), Code::NotFound);

            rotate(&below).await;
            service
                .taint_x509_upstream_authority(local(taint(&first_id)))
                .await
                .unwrap();
            let tainted = bundle(&lab).await.x509_authorities;
            let tainted: Vec<_> = tainted
                .into_iter()
                .filter(|it| it.tainted)
                .map(|it| it.asn1.to_vec())
                .collect();
            assert_eq!(tainted, std::slice::from_ref(&first));
            let keys = labels(&lab).await.len();
            service
                .revoke_x509_upstream_authority(local(revoke(&first_id)))
                .await
                .unwrap();
            assert!(!roots(&lab).await.contains(&first));
            assert_eq!(labels(&lab).await.len(), keys - 1, "the key below it is destroyed");
            assert!(!verifies(&lab, &chain, &roots(&lab).await));
            // As long as it is said, it stays out.
            *above.more_roots.lock().unwrap() = vec![first.clone()];
            keeper(&lab, &above).keep().await.unwrap();
            assert!(!roots(&lab).await.contains(&first));
            assert!(verifies(&lab, &mint(&lab).await, &roots(&lab).await));
            drop((below, service));
            lab.stop().await;
        },
    );
}

#[test]
fn an_authority_above_that_is_away_is_waited_for_and_none_is_made_instead() {
    isolated(
        "upstream::an_authority_above_that_is_away_is_waited_for_and_none_is_made_instead",
        |folder| async move {
            let config = config::load(&folder.join("server.toml"), None).unwrap();
            let (clock, hand) = Clock::movable();
            let lab = Lab::of(Running::start(config, clock.clone()).await.unwrap());
            let above = Fake::new(&clock);
            rotate(&keeper(&lab, &above)).await;
            let (signs, rows) = (
                lab.server.authority.load().label.clone(),
                lab.server.journal.state().authorities().len(),
            );
            *above.fault.lock().unwrap() = Fault::Away;
            hand.set(20 * 3600).await;
            let below = keeper(&lab, &above);
            for _ in 0..2 {
                let away = below.keep().await.unwrap_err();
                assert_eq!(away.code().as_str(), "HM-SRV-0048", "{away}");
            }
            let waits = below.keep().await.unwrap_err();
            assert!(
                matches!(waits, AuthorityError::UpstreamWaits { .. }),
                "it is not asked each time: {waits}"
            );
            assert_eq!(mint(&lab).await.len(), 2, "what signs goes on");
            // Behind its end nothing is issued, and nothing self-signed is made.
            hand.set(25 * 3600).await;
            assert!(keeper(&lab, &above).keep().await.is_err());
            assert_eq!(lab.server.authority.load().label, signs);
            assert!(lab.server.journal.state().authorities().len() <= rows);
            // It is back: the next one signs at once, below the same root.
            *above.fault.lock().unwrap() = Fault::None;
            keeper(&lab, &above).keep().await.unwrap();
            assert_ne!(lab.server.authority.load().label, signs);
            assert!(verifies(&lab, &mint(&lab).await, &[above.root_der()]));
            drop(below);
            lab.stop().await;
        },
    );
}
