//! A token that goes away and comes back.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use hallmark_hsm::{HsmError, KeyKind, KeyStore, SignatureAlg, State};
use hallmark_pkcs11::{Pkcs11KeyStore, TokenSelector};

use crate::lab::{LABEL, PIN, SO_PIN, block_on, isolated, open};

const ALG: SignatureAlg = SignatureAlg::EcdsaP256Sha256;

#[test]
fn a_token_taken_away_and_brought_back_serves_again_without_a_restart() {
    isolated(
        "recovery::a_token_taken_away_and_brought_back_serves_again_without_a_restart",
        |lab| {
            let lab = lab.with_token();
            let mut config = crate::lab::config(PIN, 2);
            config.patience = Duration::from_millis(500);
            let store = Pkcs11KeyStore::open(config).unwrap();
            block_on(async {
                let key = store.generate("a", KeyKind::EcP256).await.unwrap();
                store.sign(&key.id, ALG, vec![1]).await.unwrap();
                let (token, away) = (only_folder(&lab.tokens()), lab.path("away"));
                fs::rename(&token, &away).unwrap();
                // As when a disk is unmounted: the folder is there and empty.
                fs::create_dir(&token).unwrap();
                // SoftHSM answers from memory until it looks at the folder.
                let _ = store.find("b").await;
                // Whoever's patience ends before the first look for the token has ended is told of the loss itself.
                loop {
                    let asked = Instant::now();
                    let lost = store.sign(&key.id, ALG, vec![1]).await;
                    assert!(asked.elapsed() < Duration::from_secs(20), "bounded");
                    match lost {
                        Err(HsmError::TokenMissing { .. }) => break,
                        Err(HsmError::DeviceRemoved { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                }
                assert!(
                    matches!(store.status().state, State::Reopening { .. }),
                    "{:?}",
                    store.status()
                );
                fs::remove_dir_all(&token).unwrap();
                fs::rename(&away, &token).unwrap();
                let back = Instant::now();
                while store.status().state != State::Ready {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                println!("measured: serves again {:?} after the token is back", back.elapsed());
                store.sign(&key.id, ALG, vec![1]).await.unwrap();
                assert_eq!(store.find("a").await.unwrap(), Some(key));
                let status = store.status();
                assert!(status.reopened >= 1 && status.failures >= 1, "{status:?}");
                assert!(status.last_failure.is_some());
            });
        },
    );
}

fn only_folder(folder: &Path) -> PathBuf {
    let mut found = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let only = found.next().unwrap();
    assert!(found.next().is_none());
    only
}

/// What drivers answer after a device was pulled out, made by ending things behind the pool's back.
#[test]
fn logins_sessions_and_modules_that_end_are_opened_again_under_load() {
    isolated(
        "recovery::logins_sessions_and_modules_that_end_are_opened_again_under_load",
        |lab| {
            let _lab = lab.with_token();
            let store = open(PIN).unwrap();
            let behind = Pkcs11::new(crate::lab::module()).unwrap();
            let initialize = || {
                behind
                    .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
                    .unwrap();
            };
            let log_out = || {
                let slot = behind.get_slots_with_initialized_token().unwrap()[0];
                behind.open_ro_session(slot).unwrap().logout().unwrap();
            };
            block_on(async {
                let key = store.generate("a", KeyKind::EcP256).await.unwrap();
                let faults: [&dyn Fn(); 3] = [
                    &log_out,
                    &|| {
                        behind.clone().finalize().unwrap();
                        initialize();
                    },
                    &|| behind.clone().finalize().unwrap(),
                ];
                for (reopened, fault) in (1..).zip(faults) {
                    fault();
                    let jobs = (0..50).map(|_| store.sign(&key.id, ALG, vec![1]));
                    for done in futures_util::future::join_all(jobs).await {
                        done.unwrap();
                    }
                    assert_eq!(store.status().reopened, reopened);
                }
                log_out();
                assert_eq!(
                    store.find("a").await.unwrap(),
                    Some(key),
                    "not hidden by the lost login"
                );
                log_out();
                assert_eq!(store.list().await.unwrap().len(), 1);
                assert_eq!(store.status().failures, 0);
            });
        },
    );
}

#[test]
fn a_job_that_meets_a_short_loss_is_done_all_the_same() {
    isolated("recovery::a_job_that_meets_a_short_loss_is_done_all_the_same", |lab| {
        let _lab = lab.with_token();
        let store = open(PIN).unwrap();
        block_on(async {
            let key = store.generate("a", KeyKind::EcP256).await.unwrap();
            // Another pool asks for a token that is not there; to look for it the module is restarted, and every
            // session of this process ends.
            let mut config = crate::lab::config(PIN, 1);
            config.token = TokenSelector::labelled("nobody");
            for _ in 0..5 {
                let missing = Pkcs11KeyStore::open(config.clone()).err();
                assert!(matches!(missing, Some(HsmError::TokenMissing { .. })), "{missing:?}");
                store.sign(&key.id, ALG, vec![1]).await.unwrap();
            }
            assert!(store.status().reopened >= 1, "{:?}", store.status());
            assert_eq!(store.status().failures, 0);
        });
    });
}

#[test]
fn a_pin_changed_under_way_stops_the_pool_after_one_attempt() {
    isolated(
        "recovery::a_pin_changed_under_way_stops_the_pool_after_one_attempt",
        |lab| {
            let lab = lab.with_token();
            let store = open(PIN).unwrap();
            block_on(async {
                let key = store.generate("a", KeyKind::EcP256).await.unwrap();
                let changed = lab.pkcs11_tool(&[
                    "--token-label",
                    LABEL,
                    "--login",
                    "--login-type",
                    "so",
                    "--so-pin",
                    SO_PIN,
                    "--init-pin",
                    "--new-pin",
                    "changed-pin",
                ]);
                assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
                let mut config = crate::lab::config(PIN, 1);
                config.token = TokenSelector::labelled("nobody");
                drop(Pkcs11KeyStore::open(config));
                let wrong = HsmError::PinWrong { label: LABEL.into() };
                assert_eq!(store.sign(&key.id, ALG, vec![1]).await, Err(wrong.clone()));
                assert!(matches!(store.status().state, State::Refused { .. }));
                assert!(lab.token_flags().contains("user PIN count low"), "it was offered once");
                lab.another_program_logs_in("changed-pin");
                for _ in 0..5 {
                    assert_eq!(store.sign(&key.id, ALG, vec![1]).await, Err(wrong.clone()));
                    // Real time: the pool would have tried again by itself.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                assert!(!lab.token_flags().contains("user PIN count low"), "and not again");
                // Configured anew it opens, and the key is there.
                let anew = open("changed-pin").unwrap();
                assert_eq!(anew.find("a").await.unwrap(), Some(key));
            });
        },
    );
}

#[test]
fn a_token_that_hangs_does_not_hold_its_callers() {
    let name = "recovery::a_token_that_hangs_does_not_hold_its_callers";
    isolated(name, |lab| {
        let lab = lab.with_token();
        let mut config = crate::lab::config(PIN, 1);
        let limit = Duration::from_secs(1);
        config.time_limit = limit;
        let store = Pkcs11KeyStore::open(config).unwrap();
        block_on(async {
            let key = store.generate("a", KeyKind::EcP256).await.unwrap();
            // SoftHSM waits for whoever holds a lock on one of its files.
            let mut holder = Command::new("python3")
                .args(["-c", HOLD_LOCK])
                .arg(only_folder(&lab.tokens()).join("generation"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut locked = String::new();
            BufReader::new(holder.stdout.take().unwrap())
                .read_line(&mut locked)
                .unwrap();
            assert_eq!(locked, "locked\n");
            let asked = Instant::now();
            let (found, signed) = tokio::join!(store.find("a"), store.sign(&key.id, ALG, vec![1]));
            let late = |what| HsmError::TimedOut { what, after: limit };
            assert_eq!(found, Err(late("finding a key")));
            assert_eq!(signed, Err(late("signing")), "the only session hangs");
            assert!(asked.elapsed() < 2 * limit, "side by side");
            assert_eq!(store.status().failures, 2);
            drop(holder.stdin.take());
            holder.wait().unwrap();
            store.sign(&key.id, ALG, vec![1]).await.unwrap();
            assert_eq!(store.find("a").await.unwrap(), Some(key), "the control");
        });
    });
}

const HOLD_LOCK: &str = "import fcntl, sys
file = open(sys.argv[1], 'r+')
fcntl.lockf(file, fcntl.LOCK_EX)
print('locked', flush=True)
sys.stdin.read()";
