//! Many at once.

use std::{sync::Arc, time::Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use hallmark_hsm::{KeyKind, KeyStore};
use hallmark_pkcs11::Pkcs11KeyStore;

use crate::lab::{PIN, block_on, config, isolated};

#[test]
fn a_thousand_callers_at_once_all_get_their_own_signature() {
    isolated("load::a_thousand_callers_at_once_all_get_their_own_signature", |lab| {
        let _lab = lab.with_token();
        let store = Arc::new(Pkcs11KeyStore::open(config(PIN, 4)).unwrap());
        block_on(async {
            let key = store.generate("a", KeyKind::EcP256).await.unwrap();
            let started = Instant::now();
            let callers: Vec<_> = (0..1000_u32)
                .map(|n| {
                    let (store, id) = (Arc::clone(&store), key.id.clone());
                    tokio::spawn(async move {
                        store
                            .sign(&id, KeyKind::EcP256.signature_alg(), n.to_be_bytes().to_vec())
                            .await
                    })
                })
                .collect();
            let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.spki_der).unwrap();
            for (n, caller) in (0..1000_u32).zip(callers) {
                let signature = caller.await.unwrap().unwrap();
                public.verify_sig(&n.to_be_bytes(), &signature).unwrap();
            }
            println!(
                "measured: 1,000 callers in {:?}, verifications included, ours and the key store's",
                started.elapsed()
            );
            assert_eq!(store.status().signatures, 1000);
            // What verifying costs: it is done away from the threads that hold the sessions.
            let messages = vec![vec![7; 500]; 1000];
            let started = Instant::now();
            let alg = KeyKind::EcP256.signature_alg();
            let signatures = store.sign_batch(&key.id, alg, messages.clone()).await.unwrap();
            let (batch, verifying) = (started.elapsed(), Instant::now());
            for (message, signature) in messages.iter().zip(&signatures) {
                public.verify_sig(message, signature).unwrap();
            }
            let verifying = verifying.elapsed();
            println!("measured: a batch of 1,000 in {batch:?}, of which {verifying:?} are verification");
            assert!(verifying < batch);
        });
    });
}

/// What the bare token can do bounds what the pool can; the figures are printed, only a wide margin is asserted.
#[cfg(feature = "bench")]
#[test]
fn the_pool_keeps_up_with_the_bare_token() {
    use std::time::Duration;

    isolated("load::the_pool_keeps_up_with_the_bare_token", |lab| {
        let _lab = lab.with_token();
        for sessions in [1, 2] {
            let store = Arc::new(Pkcs11KeyStore::open(config(PIN, sessions)).unwrap());
            block_on(async {
                let key = match store.find("a").await.unwrap() {
                    Some(key) => key,
                    None => store.generate("a", KeyKind::EcP256).await.unwrap(),
                };
                let raw = hallmark_pkcs11::raw_sign_rate(&config(PIN, sessions), "a", Duration::from_secs(1)).unwrap();
                for (callers, batch) in [(16_usize, 1_usize), (16, 10)] {
                    let (started, before) = (Instant::now(), store.status().signatures);
                    let loops: Vec<_> = (0..callers)
                        .map(|_| {
                            let (store, id) = (Arc::clone(&store), key.id.clone());
                            tokio::spawn(async move {
                                while started.elapsed() < Duration::from_secs(1) {
                                    let messages = vec![vec![7; 500]; batch];
                                    let alg = KeyKind::EcP256.signature_alg();
                                    store.sign_batch(&id, alg, messages).await.unwrap();
                                }
                            })
                        })
                        .collect();
                    for caller in loops {
                        caller.await.unwrap();
                    }
                    let made = u32::try_from(store.status().signatures - before).unwrap();
                    let rate = f64::from(made) / started.elapsed().as_secs_f64();
                    println!(
                        "measured: {sessions} sessions, {callers} callers, batches of {batch}: {rate:.0}/s; bare token {raw:.0}/s; ratio {:.2}",
                        rate / raw
                    );
                    assert!(rate > raw * 0.3, "{rate} against {raw}");
                }
            });
        }
    });
}
