//! Calls into a token that do not come back.

use std::time::{Duration, Instant};

use hallmark_hsm::{HsmError, KeyKind, KeyStore, State};
use hallmark_pkcs11::Pkcs11KeyStore;
use hallmark_reason::Coded as _;

use crate::{
    faults::{ALG, CALL, LIMIT, PATIENCE, faulty, in_time},
    lab::block_on,
};

#[test]
fn one_session_that_hangs_holds_neither_its_caller_nor_the_pool() {
    faulty(
        "hangs::one_session_that_hangs_holds_neither_its_caller_nor_the_pool",
        |token| {
            let store = token.open();
            block_on(async {
                let key = store.generate("a", KeyKind::EcP256).await.unwrap();
                let sign = || store.sign(&key.id, ALG, b"m".to_vec());
                for stuck in 1..=3 {
                    // The first signature from now on hangs, and stays so.
                    token.fail(&format!("Sign hang nth=1\nround {stuck}"));
                    let hung = async {
                        let asked = Instant::now();
                        sign().await.unwrap();
                        assert!(asked.elapsed() >= CALL, "it hung, and was made by another session");
                    };
                    let before = token.calls("Sign");
                    let others = async {
                        while token.calls("Sign") == before {
                            tokio::task::yield_now().await;
                        }
                        let until = Instant::now() + CALL * 2;
                        let mut made = 0;
                        while Instant::now() < until {
                            let asked = Instant::now();
                            sign().await.unwrap();
                            assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
                            made += 1;
                        }
                        made
                    };
                    let ((), made) = tokio::join!(in_time("a hang", hung), others);
                    assert!(made > 50, "{made}");
                    let status = store.status();
                    assert_eq!((status.state, status.stuck), (State::Ready, 1), "{status:?}");
                    token.fail("");
                    comes_back(&store).await;
                    sign().await.unwrap();
                }
                assert_eq!(store.list().await.unwrap().len(), 1);
            });
        },
    );
}

#[test]
fn after_too_many_hangs_the_token_is_out_of_service_until_calls_come_back() {
    faulty(
        "hangs::after_too_many_hangs_the_token_is_out_of_service_until_calls_come_back",
        |token| {
            let mut config = token.config();
            config.stuck_max = 4;
            let store = Pkcs11KeyStore::open(config).unwrap();
            block_on(async {
                let key = store.generate("a", KeyKind::EcP256).await.unwrap();
                let sign = || store.sign(&key.id, ALG, b"m".to_vec());
                token.fail("Sign hang");
                let since = Instant::now();
                // Nobody has to ask: each attempt to open the token hangs as well.
                drop(in_time("a hang", sign()).await.unwrap_err());
                while !matches!(store.status().state, State::Refused { .. }) {
                    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", store.status());
                    // Real time: calls hang, and are given up one after the other.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let calls = token.calls("Sign");
                let asked = Instant::now();
                let refused = sign().await.unwrap_err();
                assert_eq!(refused.code().as_str(), "HM-HSM-0030", "{refused}");
                assert!(asked.elapsed() < Duration::from_millis(100), "at once");
                let status = store.status();
                assert_eq!(status.stuck, 4, "{status:?}");
                assert_eq!(status.last_failure.unwrap().code.as_str(), "HM-HSM-0030");
                // Real time: it is not asked again by itself.
                tokio::time::sleep(CALL * 2).await;
                assert_eq!((token.calls("Sign"), store.status().stuck), (calls, 4));
                token.heals(&store, &key).await;
                comes_back(&store).await;
            });
        },
    );
}

#[test]
fn a_module_in_which_a_call_hangs_is_not_ended_under_it() {
    faulty("hangs::a_module_in_which_a_call_hangs_is_not_ended_under_it", |token| {
        let store = token.open();
        block_on(async {
            let key = store.generate("a", KeyKind::EcP256).await.unwrap();
            let sign = || store.sign(&key.id, ALG, b"m".to_vec());
            // One hangs, and what the others meet can be mended by a new initialisation only.
            token.fail("Sign hang nth=1\nSign code=0x30 until-initialize");
            let before = token.calls("Finalize");
            drop(in_time("a hang", sign()).await.unwrap_err());
            // Real time: some attempts to open it.
            tokio::time::sleep(CALL * 2).await;
            assert_eq!(token.calls("Finalize"), before, "a call is in it");
            assert!(matches!(store.status().state, State::Reopening { .. }));
            // The control: the call comes back, and the module is begun anew.
            token.fail("Sign code=0x30 until-initialize");
            let since = Instant::now();
            while store.status().state != State::Ready {
                assert!(since.elapsed() < Duration::from_secs(12), "{:?}", store.status());
                // Real time: it is opened again by itself.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(token.calls("Finalize") > before);
            sign().await.unwrap();
        });
    });
}

#[test]
fn a_queue_that_is_full_behind_a_hang_refuses_at_once() {
    faulty("hangs::a_queue_that_is_full_behind_a_hang_refuses_at_once", |token| {
        let mut config = token.config();
        config.queue = 8;
        let store = Pkcs11KeyStore::open(config).unwrap();
        block_on(async {
            let key = store.generate("a", KeyKind::EcP256).await.unwrap();
            let sign = || store.sign(&key.id, ALG, b"m".to_vec());
            token.fail("Sign hang");
            let asked = Instant::now();
            let jobs = (0..30).map(|_| in_time("a full queue", sign()));
            let done = futures_util::future::join_all(jobs).await;
            assert!(asked.elapsed() < LIMIT + PATIENCE, "{:?}", asked.elapsed());
            let busy = done
                .iter()
                .filter(|done| matches!(done, Err(HsmError::Busy { .. })))
                .count();
            assert!(busy >= 30 - 8 - 2, "{busy}");
            for done in done {
                let told = done.unwrap_err().code();
                assert!(["HM-HSM-0020", "HM-HSM-0021"].contains(&told.as_str()), "{told}");
            }
            token.heals(&store, &key).await;
        });
    });
}

/// Calls that hung have ended.
async fn comes_back(store: &Pkcs11KeyStore) {
    let since = Instant::now();
    while store.status().stuck > 0 {
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", store.status());
        // Real time: the module looks every few milliseconds whether it still hangs.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
