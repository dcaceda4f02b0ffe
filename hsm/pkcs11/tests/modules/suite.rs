//! What is asked of a token.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use cryptoki::context::Pkcs11;
use hallmark_hsm::{HsmError, KeyInfo, KeyKind, KeyStore, State};
use hallmark_pkcs11::Pkcs11KeyStore;
use hallmark_reason::Coded as _;

use crate::{
    device::{Device, LABEL, PIN},
    verifying::verifies,
};

/// The whole suite.
pub(crate) fn conformance(device: &Device) {
    let store = device.open();
    block_on(async {
        for kind in KeyKind::ALL {
            if device.kinds.contains(&kind) {
                makes_and_signs(device, &store, kind).await;
            } else {
                refuses(&store, kind).await;
            }
        }
        let key = store.generate("kept", KeyKind::EcP256).await.unwrap();
        keys_are_told_apart_and_destroyed(&store, &key).await;
        many_at_once(device, &store, &key).await;
    });
    drop(store);
    block_on(a_key_from_outside_is_refused(device));
    block_on(what_is_kept_is_found_again(device));
    if !device.locks_silently {
        a_wrong_pin_is_told(device);
    }
    if !device.counts_its_users {
        block_on(a_module_that_was_ended_is_begun_again(device));
    }
}

/// The suite, and a token that goes away and comes back.
pub(crate) fn remote(device: &Device) {
    let server = device.serve();
    conformance(device);
    block_on(async {
        let mut config = device.config(PIN);
        config.time_limit = Duration::from_secs(1);
        config.call_limit = Duration::from_millis(500);
        config.patience = Duration::from_millis(300);
        let store = Pkcs11KeyStore::open(config).unwrap();
        let key = store.find("kept").await.unwrap().unwrap();
        let algorithm = key.kind.signature_alg();
        let sign = || store.sign(&key.id, algorithm, b"m".to_vec());
        sign().await.unwrap();
        // It stands still, as behind a network that drops everything.
        server.signal("-STOP");
        let late = sign().await.unwrap_err();
        assert!(matches!(late, HsmError::TimedOut { .. }), "{late}");
        assert!(matches!(store.status().state, State::Reopening { .. }));
        server.signal("-CONT");
        until_ready(&store).await;
        sign().await.unwrap();
        // It goes away, and another one comes.
        drop(server);
        let gone = sign().await.unwrap_err();
        assert!(gone.code().as_str().starts_with("HM-HSM-"), "{gone}");
        let since = Instant::now();
        let _server = device.serve();
        until_ready(&store).await;
        println!("measured: serves again {:?} after the server is back", since.elapsed());
        sign().await.unwrap();
    });
}

async fn until_ready(store: &Pkcs11KeyStore) {
    let since = Instant::now();
    while store.status().state != State::Ready {
        assert!(since.elapsed() < Duration::from_secs(20), "{:?}", store.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn makes_and_signs(device: &Device, store: &Pkcs11KeyStore, kind: KeyKind) {
    let label = format!("made-{kind}");
    let started = Instant::now();
    let key = store.generate(&label, kind).await.unwrap_or_else(|error| {
        panic!("{kind}: {error}; {:?}", error.compared());
    });
    let making = started.elapsed();
    assert_eq!((key.kind, key.label.as_str()), (kind, label.as_str()));
    assert!(
        key.sensitive && key.always_sensitive && !key.extractable && key.never_extractable,
        "{key:?}"
    );
    assert!(key.sign_only, "{key:?}");
    assert_eq!(key.local, device.tells_local, "{key:?}");
    assert_eq!(store.find(&label).await.unwrap().as_ref(), Some(&key));
    let ability = store
        .abilities()
        .into_iter()
        .find(|ability| ability.kind == kind)
        .unwrap();
    let mut told = Vec::new();
    for (algorithm, mechanism) in ability.signs {
        let messages = vec![b"one".to_vec(), Vec::new(), vec![7; 3000]];
        let signed = store.sign_batch(&key.id, algorithm, messages.clone()).await;
        let Ok(mechanism) = mechanism else {
            assert_eq!(signed.unwrap_err().code().as_str(), "HM-HSM-0017", "{algorithm}");
            continue;
        };
        let signatures = signed.unwrap_or_else(|error| panic!("{kind} {algorithm}: {error} {:?}", error.compared()));
        for (message, signature) in messages.iter().zip(&signatures) {
            assert!(
                verifies(algorithm, &key.spki_der, message, signature),
                "{kind} {algorithm}"
            );
            assert!(
                !verifies(algorithm, &key.spki_der, b"other", signature),
                "{kind} {algorithm}"
            );
        }
        told.push(mechanism);
    }
    println!("measured: {kind}: made in {making:?}, signs by {}", told.join(" "));
    store.destroy(&key.id).await.unwrap();
    assert_eq!(store.find(&label).await.unwrap(), None);
}

async fn refuses(store: &Pkcs11KeyStore, kind: KeyKind) {
    let label = format!("refused-{kind}");
    let refused = store.generate(&label, kind).await.unwrap_err();
    assert_eq!(
        refused.code().as_str(),
        "HM-HSM-0017",
        "{kind}: {refused} {:?}",
        refused.compared()
    );
    assert_eq!(store.find(&label).await.unwrap(), None, "{kind} leaves nothing behind");
    println!("measured: {kind}: refused, {}", refused.compared().unwrap());
}

async fn keys_are_told_apart_and_destroyed(store: &Pkcs11KeyStore, kept: &KeyInfo) {
    let other = store.generate("other", KeyKind::EcP256).await.unwrap();
    let algorithm = KeyKind::EcP256.signature_alg();
    for (key, wrong) in [(kept, &other), (&other, kept)] {
        let signature = store.sign(&key.id, algorithm, b"m".to_vec()).await.unwrap();
        assert!(verifies(algorithm, &key.spki_der, b"m", &signature));
        assert!(!verifies(algorithm, &wrong.spki_der, b"m", &signature));
    }
    let taken = store.generate("other", KeyKind::EcP256).await;
    assert_eq!(taken, Err(HsmError::KeyExists { label: "other".into() }));
    store.destroy(&other.id).await.unwrap();
    // Several times, so that each session is asked, whether it knew the key or not.
    for _ in 0..4 {
        let gone = store.sign(&other.id, algorithm, b"m".to_vec()).await;
        assert!(matches!(gone, Err(HsmError::KeyMissing { .. })), "{gone:?}");
    }
    let listed: Vec<_> = store.list().await.unwrap().into_iter().map(|key| key.label).collect();
    assert_eq!(listed, ["kept"]);
}

async fn many_at_once(device: &Device, store: &Pkcs11KeyStore, key: &KeyInfo) {
    let algorithm = key.kind.signature_alg();
    let started = Instant::now();
    let jobs = (0..device.load).map(|n| store.sign(&key.id, algorithm, n.to_be_bytes().to_vec()));
    for (n, signed) in futures_util::future::join_all(jobs).await.into_iter().enumerate() {
        assert!(verifies(algorithm, &key.spki_der, &n.to_be_bytes(), &signed.unwrap()));
    }
    println!("measured: {} callers at once in {:?}", device.load, started.elapsed());
}

async fn a_key_from_outside_is_refused(device: &Device) {
    let taken = device.bring_in("imported");
    println!(
        "measured: a key from outside is {}",
        if taken {
            "taken by the token"
        } else {
            "refused by the token"
        }
    );
    let store = device.open();
    let found = store.find("imported").await;
    match found {
        Err(HsmError::KeyExposed { properties, .. }) if taken => println!("measured: {properties}"),
        Ok(None) | Err(HsmError::KeyIncomplete { .. }) if !taken => {}
        other => panic!("{taken} {other:?}"),
    }
    assert!(store.find("kept").await.unwrap().is_some(), "the control");
}

async fn what_is_kept_is_found_again(device: &Device) {
    let store = device.open();
    let key = store.find("kept").await.unwrap().unwrap();
    store
        .sign(&key.id, key.kind.signature_alg(), b"m".to_vec())
        .await
        .unwrap();
    let status = store.status();
    assert_eq!((status.failures, status.reopened), (0, 0), "{status:?}");
}

fn a_wrong_pin_is_told(device: &Device) {
    let wrong = Pkcs11KeyStore::open(device.config("wrong-pin")).err();
    assert_eq!(wrong, Some(HsmError::PinWrong { label: LABEL.into() }));
    assert!(Pkcs11KeyStore::open(device.config(PIN)).is_ok(), "the control");
}

/// As when a device was pulled out and put in again: handles, sessions and login are gone.
async fn a_module_that_was_ended_is_begun_again(device: &Device) {
    let store = Arc::new(device.open());
    let key = store.find("kept").await.unwrap().unwrap();
    let algorithm = key.kind.signature_alg();
    store.sign(&key.id, algorithm, b"m".to_vec()).await.unwrap();
    let behind = Pkcs11::new(&device.module).unwrap();
    behind.finalize().unwrap();
    let jobs = (0..10).map(|_| store.sign(&key.id, algorithm, b"m".to_vec()));
    for signed in futures_util::future::join_all(jobs).await {
        signed.unwrap();
    }
    assert_eq!(store.find("kept").await.unwrap(), Some(key));
    assert!(store.status().reopened >= 1);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
        .block_on(async {
            tokio::time::timeout(Duration::from_secs(180), future)
                .await
                .expect("the test ends in time")
        })
}
