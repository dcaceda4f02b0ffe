//! A token that fails in every way that real ones do, made by a module of our own in front of SoftHSM (tests/pkcs11-faults).

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::LazyLock,
    time::{Duration, Instant},
};

use hallmark_hsm::{HsmError, KeyInfo, KeyKind, KeyStore, SignatureAlg, State};
use hallmark_pkcs11::{Pkcs11Config, Pkcs11KeyStore, TokenSelector};
use hallmark_reason::Coded;
use secrecy::SecretString;

use crate::lab::{LABEL, Lab, PIN, block_on, isolated_with, module, ok};

pub(crate) const ALG: SignatureAlg = SignatureAlg::EcdsaP256Sha256;
/// How long anything may take in these tests; no fault may hold a caller for longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);
/// How long one call into the module may last.
pub(crate) const CALL: Duration = Duration::from_millis(600);
/// How long a caller waits for a token that is lost.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// Our module, built when the first test wants it.
static FAULTS: LazyLock<PathBuf> = LazyLock::new(|| {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/pkcs11-faults/Cargo.toml");
    let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/pkcs11-faults");
    ok(Command::new(env!("CARGO")).args([
        "build",
        "--quiet",
        "--locked",
        "--manifest-path",
        manifest,
        "--target-dir",
        target,
    ]));
    PathBuf::from(target).join("debug/libhallmark_pkcs11_faults.so")
});

/// A token that fails as it is told.
pub(crate) struct Faulty {
    lab: Lab,
}

pub(crate) fn faulty(name: &str, body: impl FnOnce(Faulty)) {
    isolated_with(
        name,
        |folder| {
            fs::write(folder.join("control"), "").unwrap();
            fs::write(folder.join("control.calls"), "").unwrap();
            vec![
                ("PKCS11_FAULTS_MODULE", module()),
                ("PKCS11_FAULTS_CONTROL", folder.join("control")),
                ("HALLMARK_PKCS11_FAULTS", FAULTS.clone()),
            ]
        },
        |lab| body(Faulty { lab: lab.with_token() }),
    );
}

impl Faulty {
    pub(crate) fn config(&self) -> Pkcs11Config {
        let module = PathBuf::from(std::env::var_os("HALLMARK_PKCS11_FAULTS").unwrap());
        let mut config = Pkcs11Config::new(module, TokenSelector::labelled(LABEL), SecretString::from(PIN), 2);
        config.time_limit = LIMIT;
        config.call_limit = CALL;
        config.patience = PATIENCE;
        config
    }

    pub(crate) fn open(&self) -> Pkcs11KeyStore {
        Pkcs11KeyStore::open(self.config()).unwrap()
    }

    /// What fails from now on, a fault a line; nothing when it is empty.
    pub(crate) fn fail(&self, faults: &str) {
        // Never half written: the module reads it at each call.
        fs::write(self.lab.path("new"), faults).unwrap();
        fs::rename(self.lab.path("new"), self.lab.path("control")).unwrap();
    }

    /// How often a function was called so far.
    pub(crate) fn calls(&self, function: &str) -> usize {
        let calls = fs::read_to_string(self.lab.path("control.calls")).unwrap();
        calls.lines().filter(|call| *call == function).count()
    }

    /// The fault is gone: the token serves again by itself, and signs.
    pub(crate) async fn heals(&self, store: &Pkcs11KeyStore, key: &KeyInfo) {
        self.fail("");
        let since = Instant::now();
        while store.status().state != State::Ready {
            assert!(since.elapsed() < Duration::from_secs(12), "{:?}", store.status());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        store.sign(&key.id, ALG, b"healed".to_vec()).await.unwrap();
    }
}

/// Does it, and fails the test if it takes longer than a fault may hold a caller.
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let done = work.await;
    let most = LIMIT + PATIENCE + Duration::from_secs(1);
    assert!(started.elapsed() < most, "{what} took {:?}", started.elapsed());
    done
}

#[test]
fn a_wrong_signature_never_leaves_and_the_token_is_out_of_service_until_it_signs_rightly() {
    let name = "faults::a_wrong_signature_never_leaves_and_the_token_is_out_of_service_until_it_signs_rightly";
    faulty(name, |token| {
        let store = token.open();
        block_on(async {
            let key = store.generate("a", KeyKind::EcP256).await.unwrap();
            store.sign(&key.id, ALG, b"the control".to_vec()).await.unwrap();
            for (fault, code) in [
                ("Sign flip", "HM-HSM-0028"),
                ("Sign short", "HM-HSM-0022"),
                ("Sign zero", "HM-HSM-0022"),
            ] {
                token.fail(fault);
                for messages in [vec![b"one".to_vec()], vec![b"of a batch".to_vec(); 5]] {
                    let wrong = in_time(fault, store.sign_batch(&key.id, ALG, messages)).await;
                    assert_eq!(wrong.unwrap_err().code().as_str(), code, "{fault}");
                }
                // Real time: it is out of service, and time alone does not change that.
                tokio::time::sleep(Duration::from_millis(300)).await;
                let status = store.status();
                assert!(matches!(status.state, State::Reopening { .. }), "{fault}: {status:?}");
                assert_eq!(status.last_failure.unwrap().code.as_str(), code, "{fault}");
                token.heals(&store, &key).await;
            }
        });
    });
}

#[test]
fn one_wrong_signature_is_made_anew_and_its_caller_gets_a_good_one() {
    faulty(
        "faults::one_wrong_signature_is_made_anew_and_its_caller_gets_a_good_one",
        |token| {
            let store = token.open();
            block_on(async {
                let key = store.generate("a", KeyKind::EcP256).await.unwrap();
                token.fail("Sign flip nth=1");
                store.sign(&key.id, ALG, b"m".to_vec()).await.unwrap();
                let status = store.status();
                assert_eq!(
                    (status.failures, status.reopened, status.signatures),
                    (1, 1, 1),
                    "{status:?}"
                );
                // In the middle of a batch: the whole batch anew.
                token.fail("Sign flip nth=3");
                assert_eq!(
                    store
                        .sign_batch(&key.id, ALG, vec![b"m".to_vec(); 5])
                        .await
                        .unwrap()
                        .len(),
                    5
                );
                assert_eq!(store.status().reopened, 2);
            });
        },
    );
}

/// What drivers answer when a session, a login or a device is lost.
const LOSSES: [(&str, &str); 12] = [
    ("CKR_HOST_MEMORY", "0x2"),
    ("CKR_GENERAL_ERROR", "0x5"),
    ("CKR_FUNCTION_FAILED", "0x6"),
    ("CKR_DEVICE_ERROR", "0x30"),
    ("CKR_DEVICE_MEMORY", "0x31"),
    ("CKR_DEVICE_REMOVED", "0x32"),
    ("CKR_KEY_HANDLE_INVALID", "0x60"),
    ("CKR_SESSION_CLOSED", "0xb0"),
    ("CKR_SESSION_HANDLE_INVALID", "0xb3"),
    ("CKR_TOKEN_NOT_PRESENT", "0xe0"),
    ("CKR_USER_NOT_LOGGED_IN", "0x101"),
    ("CKR_VENDOR_DEFINED", "0x80000001"),
];

#[test]
fn a_signature_that_meets_a_short_loss_is_made_all_the_same_whatever_the_token_says() {
    let name = "faults::a_signature_that_meets_a_short_loss_is_made_all_the_same_whatever_the_token_says";
    faulty(name, |token| {
        let key = block_on(token.open().generate("a", KeyKind::EcP256)).unwrap();
        for (loss, code) in LOSSES {
            for function in ["SignInit", "Sign"] {
                // Each loss the first one: after several in a row the pool waits longer than these callers.
                let store = token.open();
                block_on(async {
                    token.fail(&format!("{function} code={code} nth=1"));
                    let signed = in_time(loss, store.sign(&key.id, ALG, b"m".to_vec())).await;
                    assert!(signed.is_ok(), "{loss} at {function}: {signed:?}");
                    token.heals(&store, &key).await;
                    assert_eq!(store.status().failures, 0);
                });
            }
        }
    });
}

#[test]
fn a_loss_that_lasts_is_told_in_time_with_a_code_and_heals_by_itself() {
    faulty(
        "faults::a_loss_that_lasts_is_told_in_time_with_a_code_and_heals_by_itself",
        |token| {
            let key = block_on(token.open().generate("a", KeyKind::EcP256)).unwrap();
            for (loss, code) in LOSSES {
                let store = token.open();
                block_on(async {
                    token.fail(&format!("Sign code={code}"));
                    let signed = in_time(loss, store.sign(&key.id, ALG, b"m".to_vec())).await;
                    let error = signed.unwrap_err();
                    let told = error.code();
                    assert!(
                        ["HM-HSM-0018", "HM-HSM-0019"].contains(&told.as_str()),
                        "{loss}: {told} {error}"
                    );
                    assert!(matches!(store.status().state, State::Reopening { .. }), "{loss}");
                    token.heals(&store, &key).await;
                });
            }
        },
    );
}

#[test]
fn an_error_at_any_call_is_told_with_a_code_and_the_token_serves_again() {
    faulty(
        "faults::an_error_at_any_call_is_told_with_a_code_and_the_token_serves_again",
        |token| {
            let functions = [
                "GetSlotList",
                "GetTokenInfo",
                "GetMechanismList",
                "OpenSession",
                "CloseSession",
                "GetSessionInfo",
                "Login",
                "FindObjectsInit",
                "FindObjects",
                "GetAttributeValue",
                "GenerateKeyPair",
                "DestroyObject",
                "SignInit",
                "Sign",
            ];
            let key = block_on(token.open().generate("a", KeyKind::EcP256)).unwrap();
            let (mut told, mut done) = (0, 0);
            for function in functions {
                for nth in 1..=2 {
                    for code in ["0x5", "0xe0"] {
                        let store = token.open();
                        block_on(async {
                            // The loss makes the pool open the token anew, so that each function is called.
                            token.fail(&format!("{function} code={code} nth={nth}\nSignInit code=0xb3 nth=2"));
                            let label = format!("b-{function}-{nth}-{code}");
                            let what = label.as_str();
                            let made = in_time(what, store.generate(&label, KeyKind::EcP256)).await;
                            let found = in_time(what, store.find("a")).await.map(drop);
                            let signed = in_time(what, store.sign(&key.id, ALG, b"m".to_vec())).await.map(drop);
                            let destroyed = match &made {
                                Ok(made) => in_time(what, store.destroy(&made.id)).await,
                                Err(_) => Ok(()),
                            };
                            for outcome in [made.map(drop), found, signed, destroyed] {
                                match outcome {
                                    Ok(()) => done += 1,
                                    Err(error) => {
                                        told += 1;
                                        assert!(error.code().as_str().starts_with("HM-HSM-"), "{what}: {error}");
                                    }
                                }
                            }
                            token.heals(&store, &key).await;
                        });
                    }
                }
            }
            assert!(told > 0 && done > told, "{told} told, {done} done");
            println!("measured: {told} calls told an error, {done} were done all the same");
            // Opening, too.
            for function in [
                "Initialize",
                "GetSlotList",
                "GetTokenInfo",
                "GetMechanismList",
                "OpenSession",
                "Login",
            ] {
                token.fail(&format!("{function} code=0x30"));
                let error = Pkcs11KeyStore::open(token.config()).err();
                // This module is initialised already in this process; it is not again unless it must be.
                assert!(error.is_some() || function == "Initialize", "{function}");
                token.fail("");
                assert!(Pkcs11KeyStore::open(token.config()).is_ok(), "{function}");
            }
        },
    );
}

/// A device that only C_Finalize and C_Initialize bring back (Yubico/yubihsm-shell issue 541).
#[test]
fn a_device_that_only_a_new_initialisation_brings_back_is_brought_back() {
    faulty(
        "faults::a_device_that_only_a_new_initialisation_brings_back_is_brought_back",
        |token| {
            let key = block_on(token.open().generate("a", KeyKind::EcP256)).unwrap();
            for (loss, code) in LOSSES {
                let store = token.open();
                block_on(async {
                    // Sessions open, the login is there, and nothing signs.
                    let before = token.calls("Initialize");
                    token.fail(&format!("Sign code={code} until-initialize"));
                    in_time(loss, store.sign(&key.id, ALG, b"m".to_vec())).await.unwrap();
                    assert_eq!(token.calls("Initialize"), before + 1, "{loss}");
                    assert_eq!(store.status().state, State::Ready);
                });
            }
        },
    );
}

/// A module that keeps "there is no token" until it is initialised again (NLnetLabs/krill issue 761).
#[test]
fn a_module_that_remembers_that_there_is_no_token_is_initialised_anew() {
    faulty(
        "faults::a_module_that_remembers_that_there_is_no_token_is_initialised_anew",
        |token| {
            let store = token.open();
            block_on(async {
                let key = store.generate("a", KeyKind::EcP256).await.unwrap();
                token.fail("Sign code=0xe0 nth=1\nGetSlotList empty until-initialize");
                in_time("a token away", store.sign(&key.id, ALG, b"m".to_vec()))
                    .await
                    .unwrap();
                assert!(store.status().reopened >= 1);
                drop(store);
                token.fail("GetSlotList empty until-initialize");
                assert!(
                    Pkcs11KeyStore::open(token.config()).is_ok(),
                    "at the first opening as well"
                );
                token.fail("GetSlotList empty");
                let missing = Pkcs11KeyStore::open(token.config()).err().unwrap();
                assert!(
                    matches!(missing, HsmError::TokenMissing { .. }),
                    "the control: {missing}"
                );
            });
        },
    );
}

/// A device that slept says that there is a login, and knows of none (python-pkcs11 issue 61).
#[test]
fn a_login_that_is_said_to_be_there_and_is_not_is_begun_anew() {
    faulty(
        "faults::a_login_that_is_said_to_be_there_and_is_not_is_begun_anew",
        |token| {
            token.fail("Login code=0x100 until-logout");
            let store = token.open();
            block_on(async {
                let key = store.generate("a", KeyKind::EcP256).await.unwrap();
                token.fail("Sign code=0x101 nth=1\nLogin code=0x100 until-logout");
                in_time("a lost login", store.sign(&key.id, ALG, b"m".to_vec()))
                    .await
                    .unwrap();
                assert_eq!(store.status().failures, 0);
            });
        },
    );
}

#[test]
fn a_pin_that_is_refused_or_locked_under_way_is_offered_once() {
    faulty(
        "faults::a_pin_that_is_refused_or_locked_under_way_is_offered_once",
        |token| {
            // A PIN that was refused is not offered again by this process, so that one comes last.
            for (code, reason) in [("0xa4", "HM-HSM-0005"), ("0xa0", "HM-HSM-0004")] {
                token.fail("");
                let store = token.open();
                block_on(async {
                    let label = format!("key-{reason}");
                    let key = store.generate(&label, KeyKind::EcP256).await.unwrap();
                    token.fail(&format!("Sign code=0xb3 nth=1\nLogin code={code}"));
                    let before = token.calls("Login");
                    for _ in 0..4 {
                        let error = in_time(reason, store.sign(&key.id, ALG, b"m".to_vec()))
                            .await
                            .unwrap_err();
                        assert_eq!(error.code().as_str(), reason);
                        // Real time: the pool would have tried again by itself.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    assert_eq!(token.calls("Login"), before + 1, "offered once");
                    assert!(
                        matches!(store.status().state, State::Refused { .. }),
                        "{:?}",
                        store.status()
                    );
                });
            }
        },
    );
}

#[test]
fn a_token_that_hangs_is_told_in_time_is_not_ready_and_heals() {
    faulty(
        "faults::a_token_that_hangs_is_told_in_time_is_not_ready_and_heals",
        |token| {
            let store = token.open();
            block_on(async {
                let key = store.generate("a", KeyKind::EcP256).await.unwrap();
                token.fail("Sign hang");
                let late = |what| HsmError::TimedOut { what, after: CALL };
                let signed = in_time("a hang", store.sign(&key.id, ALG, b"m".to_vec())).await;
                assert_eq!(signed, Err(late("signing")));
                assert!(
                    matches!(store.status().state, State::Reopening { .. }),
                    "{:?}",
                    store.status()
                );
                // Whoever comes next is told after the patience, not after the whole time limit.
                let asked = Instant::now();
                assert_eq!(store.sign(&key.id, ALG, b"m".to_vec()).await, Err(late("signing")));
                assert!(asked.elapsed() < LIMIT, "{:?}", asked.elapsed());
                token.heals(&store, &key).await;
            });
            drop(store);
            // A token that hangs while it is opened keeps nobody either.
            for function in ["GetSlotList", "OpenSession", "Login"] {
                token.fail(&format!("{function} hang"));
                let asked = Instant::now();
                let error = Pkcs11KeyStore::open(token.config()).err();
                let what = "opening the token";
                assert_eq!(error, Some(HsmError::TimedOut { what, after: LIMIT }), "{function}");
                assert!(asked.elapsed() < LIMIT * 2);
                token.fail("");
                // Real time: the call that hung ends, and lets go of the module.
                std::thread::sleep(Duration::from_millis(200));
                assert!(Pkcs11KeyStore::open(token.config()).is_ok(), "{function}");
            }
        },
    );
}

#[test]
fn a_token_that_loses_its_memory_is_lost_and_one_without_room_is_full() {
    faulty(
        "faults::a_token_that_loses_its_memory_is_lost_and_one_without_room_is_full",
        |token| {
            let store = token.open();
            block_on(async {
                let key = store.generate("a", KeyKind::EcP256).await.unwrap();
                // Only what is stored finds no room.
                token.fail("GenerateKeyPair code=0x31 nth=1");
                let full = store.generate("b", KeyKind::EcP256).await;
                assert_eq!(full, Err(HsmError::TokenFull { label: LABEL.into() }));
                assert_eq!(store.status().state, State::Ready);
                // Nothing finds room: that is no full token.
                token.fail("GenerateKeyPair code=0x31");
                let lost = store.generate("b", KeyKind::EcP256).await;
                assert!(matches!(lost, Err(HsmError::DeviceError { .. })), "{lost:?}");
                token.heals(&store, &key).await;
                store.generate("b", KeyKind::EcP256).await.unwrap();
            });
        },
    );
}

#[test]
fn what_a_token_does_not_list_is_refused_before_it_is_asked() {
    faulty(
        "faults::what_a_token_does_not_list_is_refused_before_it_is_asked",
        |token| {
            // CKM_ECDSA and CKM_SHA256_RSA_PKCS are hidden: SoftHSM then has nothing for ECDSA, and CKM_RSA_PKCS for RSA.
            token.fail("GetMechanismList hide=0x1041,0x40");
            let store = token.open();
            block_on(async {
                let refused = store.generate("ec", KeyKind::EcP256).await.unwrap_err();
                assert_eq!(
                    (refused.code().as_str(), refused.compared().unwrap().as_str()),
                    (
                        "HM-HSM-0017",
                        "it lists neither CKM_ECDSA nor CKM_ECDSA_SHA256 to sign with"
                    )
                );
                assert_eq!(token.calls("GenerateKeyPair"), 0);
                let key = store.generate("rsa", KeyKind::Rsa2048).await.unwrap();
                let signed = store.sign(&key.id, SignatureAlg::RsaPkcs1Sha256, b"m".to_vec()).await;
                assert_eq!(signed.unwrap().len(), 256);
                let rsa = store
                    .abilities()
                    .into_iter()
                    .find(|ability| ability.kind == KeyKind::Rsa2048)
                    .unwrap();
                assert_eq!(rsa.makes, Ok(()));
                let names: Vec<_> = rsa.signs.into_iter().map(|(_, name)| name.unwrap()).collect();
                assert_eq!(names[0], "CKM_RSA_PKCS");
                assert_eq!(names[3], "CKM_SHA256_RSA_PKCS_PSS");
            });
        },
    );
}
