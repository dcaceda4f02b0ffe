//! A server that ends in the middle of a step: whatever it had done, the next one leaves no key that nobody knows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hallmark_hsm::{BoxFuture, HsmError, KeyId, KeyInfo, KeyKind, KeyStore, SignatureAlg, Status};
use hallmark_server::{
    api::local_authority::LocalAuthorityService,
    authority::{X509Keeper, X509KeySettings},
};
use tokio::sync::Notify;

use super::{activate, labels, mint, named, prepare, revoke, standing, verified};
use crate::lab::{Lab, isolated};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeGenerate,
    AfterGenerate,
    BeforeSign,
    AfterSign,
    BeforeDestroy,
    AfterDestroy,
}

use Moment::{AfterDestroy, AfterGenerate, AfterSign, BeforeDestroy, BeforeGenerate, BeforeSign};

/// A token at which the server's time stands still at one moment.
#[derive(Debug)]
struct Cut {
    keys: Arc<dyn KeyStore>,
    at: Moment,
    is_reached: AtomicBool,
    reached: Notify,
}

impl Cut {
    async fn pass(&self, moment: Moment) {
        if moment == self.at {
            self.is_reached.store(true, Ordering::SeqCst);
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl KeyStore for Cut {
    fn generate<'a>(&'a self, label: &'a str, kind: KeyKind) -> BoxFuture<'a, Result<KeyInfo, HsmError>> {
        Box::pin(async move {
            self.pass(BeforeGenerate).await;
            let made = self.keys.generate(label, kind).await;
            self.pass(AfterGenerate).await;
            made
        })
    }

    fn find<'a>(&'a self, label: &'a str) -> BoxFuture<'a, Result<Option<KeyInfo>, HsmError>> {
        self.keys.find(label)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<KeyInfo>, HsmError>> {
        self.keys.list()
    }

    fn sign_batch<'a>(
        &'a self,
        key: &'a KeyId,
        algorithm: SignatureAlg,
        messages: Vec<Vec<u8>>,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>, HsmError>> {
        Box::pin(async move {
            self.pass(BeforeSign).await;
            let signed = self.keys.sign_batch(key, algorithm, messages).await;
            self.pass(AfterSign).await;
            signed
        })
    }

    fn destroy<'a>(&'a self, key: &'a KeyId) -> BoxFuture<'a, Result<(), HsmError>> {
        Box::pin(async move {
            self.pass(BeforeDestroy).await;
            let destroyed = self.keys.destroy(key).await;
            self.pass(AfterDestroy).await;
            destroyed
        })
    }

    fn status(&self) -> Status {
        self.keys.status()
    }
}

/// The service on a token that stands still at this moment.
fn cut(lab: &Lab, at: Moment) -> (Arc<Cut>, LocalAuthorityService) {
    let cut = Arc::new(Cut {
        keys: lab.server.keys.clone(),
        at,
        is_reached: AtomicBool::new(false),
        reached: Notify::new(),
    });
    let settings = X509KeySettings {
        kind: KeyKind::EcP256,
        lifetime: Duration::from_secs(3600 * 24),
    };
    let (journal, authority) = (lab.server.journal.clone(), lab.server.authority.clone());
    let keeper = X509Keeper::new(journal.clone(), cut.clone(), authority, settings);
    let service = LocalAuthorityService::new(journal, Arc::new(keeper), lab.server.jwt.clone());
    (cut, service)
}

#[test]
fn a_server_that_ends_in_the_middle_of_a_step_leaves_no_orphan() {
    isolated(
        "x509::cut::a_server_that_ends_in_the_middle_of_a_step_leaves_no_orphan",
        |folder| async move {
            let mut lab = Lab::start(&folder).await;
            for at in [
                BeforeGenerate,
                AfterGenerate,
                BeforeSign,
                AfterSign,
                BeforeDestroy,
                AfterDestroy,
            ] {
                let is_removal = matches!(at, BeforeDestroy | AfterDestroy);
                let prepared = match is_removal {
                    true => Some(prepare(&lab.local_authority).await.unwrap()),
                    false => None,
                };
                let before = labels(&lab).await;
                let (token, service) = cut(&lab, at);
                let step = async {
                    match &prepared {
                        Some(id) => drop(revoke(&service, id).await),
                        None => drop(prepare(&service).await),
                    }
                };
                tokio::select! {
                    () = step => panic!("{at:?}: the step finished"),
                    () = token.reached.notified() => {}
                }
                assert!(token.is_reached.load(Ordering::SeqCst));
                // The control: the token has what the moment says.
                let keys = labels(&lab).await.len();
                let expected = match at {
                    BeforeGenerate | BeforeDestroy => before.len(),
                    AfterDestroy => before.len() - 1,
                    _ => before.len() + 1,
                };
                assert_eq!(keys, expected, "{at:?}");
                drop((token, service));
                lab.stop().await;
                lab = Lab::start(&folder).await;
                assert_eq!(labels(&lab).await, named(&lab), "{at:?}");
                assert_eq!(named(&lab).len(), 1, "{at:?}");
                verified(&lab, &mint(&lab).await).await.unwrap();
            }
            // And all goes on.
            let next = prepare(&lab.local_authority).await.unwrap();
            activate(&lab, "").await.unwrap();
            assert_eq!(standing(&lab).await[0], Some(next));
            lab.stop().await;
        },
    );
}
