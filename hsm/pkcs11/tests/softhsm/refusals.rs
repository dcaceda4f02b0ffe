//! What an operator can get wrong, each with an error of its own.

use std::{fs, process::Command};

use hallmark_hsm::{HsmError, KeyKind, KeyStore};
use hallmark_pkcs11::{Pkcs11Config, Pkcs11KeyStore, TokenSelector};
use hallmark_reason::Coded;
use secrecy::SecretString;

use crate::lab::{LABEL, Lab, PIN, block_on, files, isolated, module, ok, open};

const COUNT_LOW: &str = "user PIN count low";

#[test]
fn a_wrong_pin_is_offered_once_only() {
    isolated("refusals::a_wrong_pin_is_offered_once_only", |lab| {
        let lab = lab.with_token();
        assert!(!lab.token_flags().contains(COUNT_LOW));
        let wrong = || Some(HsmError::PinWrong { label: LABEL.into() });
        assert_eq!(open("wrong-pin").err(), wrong());
        assert!(lab.token_flags().contains(COUNT_LOW), "the token counted it");
        lab.another_program_logs_in(PIN);
        assert!(!lab.token_flags().contains(COUNT_LOW));
        for _ in 0..3 {
            assert_eq!(open("wrong-pin").err(), wrong());
        }
        assert!(!lab.token_flags().contains(COUNT_LOW), "it was not offered again");
        // Another PIN is another matter, and the right one opens.
        assert_eq!(open("wrong-as-well").err(), wrong());
        assert!(lab.token_flags().contains(COUNT_LOW));
        assert!(open(PIN).is_ok());
    });
}

#[test]
fn a_locked_pin_is_told_apart_and_none_is_offered() {
    isolated("refusals::a_locked_pin_is_told_apart_and_none_is_offered", |lab| {
        let lab = lab.with_token();
        assert!(open(PIN).is_ok(), "the control");
        set_token_flag(&lab, 0x0004_0000);
        assert!(lab.token_flags().contains("user PIN locked"), "{}", lab.token_flags());
        let error = open(PIN).err().unwrap();
        assert_eq!(error, HsmError::PinLocked { label: LABEL.into() });
        assert_ne!(error.code(), HsmError::PinWrong { label: LABEL.into() }.code());
        assert!(error.next_step().unwrap().contains("security officer"));
    });
}

#[test]
fn no_pin_is_offered_where_a_wrong_one_would_lock_the_token() {
    isolated(
        "refusals::no_pin_is_offered_where_a_wrong_one_would_lock_the_token",
        |lab| {
            let lab = lab.with_token();
            assert!(open(PIN).is_ok(), "the control");
            let final_try = 0x0002_0000;
            set_token_flag(&lab, final_try);
            assert!(
                lab.token_flags().contains("final user PIN try"),
                "{}",
                lab.token_flags()
            );
            let last = HsmError::PinLastTry { label: LABEL.into() };
            for pin in ["wrong-pin", PIN] {
                assert_eq!(open(pin).err(), Some(last.clone()));
                assert!(lab.token_flags().contains("final user PIN try"), "nothing was offered");
            }
            // Tokens count anew once another program has logged in; SoftHSM's flag has to be taken away.
            change_token_flags(&lab, |flags| flags & !final_try);
            assert!(open(PIN).is_ok());
        },
    );
}

/// SoftHSM never locks a PIN, but shows the flags that stand in its token's file.
fn set_token_flag(lab: &Lab, flag: u64) {
    change_token_flags(lab, |flags| flags | flag);
}

fn change_token_flags(lab: &Lab, change: impl Fn(u64) -> u64) {
    let path = files(&lab.tokens())
        .into_iter()
        .find(|path| path.ends_with("token.object"))
        .unwrap();
    let mut object = fs::read(&path).unwrap();
    // Generation, then attributes: type, kind (2: unsigned long), value, all 8 bytes big-endian.
    let initialized = 0x0000_0400_u64;
    let at = (8..object.len() - 24)
        .find(|at| {
            let word = |n: usize| u64::from_be_bytes(object[at + 8 * n..at + 8 * n + 8].try_into().unwrap());
            word(0) > 0x8000_0000 && word(0) < 0x1_0000_0000 && word(1) == 2 && word(2) & initialized != 0
        })
        .expect("the token has flags");
    let value = at + 16;
    let flags = change(u64::from_be_bytes(object[value..value + 8].try_into().unwrap()));
    object[value..value + 8].copy_from_slice(&flags.to_be_bytes());
    // A higher generation tells SoftHSM to read the file again.
    let generation = u64::from_be_bytes(object[..8].try_into().unwrap()) + 1;
    object[..8].copy_from_slice(&generation.to_be_bytes());
    fs::write(&path, object).unwrap();
}

#[test]
fn a_missing_token_is_told() {
    isolated("refusals::a_missing_token_is_told", |lab| {
        lab.init_token("other");
        let missing = open(PIN).err().unwrap();
        assert_eq!(
            missing,
            HsmError::TokenMissing {
                module: module().display().to_string(),
                wanted: "labelled \"hallmark\"".into(),
                present: vec!["other".into()]
            }
        );
        assert_eq!(
            missing.compared().unwrap(),
            "asked for \"hallmark\"; there are [\"other\"]"
        );
        lab.init_token(LABEL);
        assert!(open(PIN).is_ok(), "made after the module was loaded");
    });
}

#[test]
fn a_token_is_found_by_its_uri() {
    isolated("refusals::a_token_is_found_by_its_uri", |lab| {
        // Two with one label: only the serial number tells them apart.
        lab.init_token(LABEL);
        lab.init_token(LABEL);
        let listed = lab.pkcs11_tool(&["--list-token-slots"]);
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let serials: Vec<_> = listed
            .lines()
            .filter(|line| line.contains("serial num"))
            .filter_map(|line| line.split(':').nth(1))
            .map(str::trim)
            .collect();
        assert_eq!(serials.len(), 2, "{listed}");
        let open = |uri: &str| {
            let config = Pkcs11Config::new(module(), uri.parse().unwrap(), SecretString::from(PIN), 1);
            Pkcs11KeyStore::open(config)
        };
        for serial in &serials {
            let store = open(&format!("pkcs11:token={LABEL};serial={serial}")).unwrap();
            assert_eq!(store.status().token.serial, *serial);
            assert_eq!(
                open(&format!("pkcs11:serial={serial}")).unwrap().status().token.serial,
                *serial
            );
        }
        let both = open(&format!("pkcs11:token={LABEL};manufacturer=SoftHSM%20project"));
        assert!(
            matches!(both, Err(HsmError::TokenAmbiguous { count: 2, .. })),
            "{both:?}"
        );
        let none = open(&format!("pkcs11:token={LABEL};serial=0")).err().unwrap();
        assert_eq!(none.to_string(), "no token is pkcs11:token=hallmark;serial=0");
        assert!(none.compared().unwrap().contains(serials[0]), "{:?}", none.compared());
    });
}

#[test]
fn two_tokens_with_one_label_are_refused() {
    isolated("refusals::two_tokens_with_one_label_are_refused", |lab| {
        lab.init_token(LABEL);
        lab.init_token(LABEL);
        assert_eq!(
            open(PIN).err(),
            Some(HsmError::TokenAmbiguous {
                wanted: "labelled \"hallmark\"".into(),
                count: 2
            })
        );
    });
}

#[test]
fn a_module_that_cannot_be_loaded_is_told() {
    isolated("refusals::a_module_that_cannot_be_loaded_is_told", |lab| {
        let lab = lab.with_token();
        let no_module = lab.path("text.so");
        fs::write(&no_module, "not a library").unwrap();
        let config = |module: &std::path::Path| {
            Pkcs11Config::new(module, TokenSelector::labelled(LABEL), SecretString::from(PIN), 1)
        };
        let missing = lab.path("missing.so");
        let error = Pkcs11KeyStore::open(config(&missing)).err().unwrap();
        assert!(
            matches!(&error, HsmError::ModuleMissing { path, .. } if *path == missing.display().to_string()),
            "{error:?}"
        );
        for path in [
            no_module,
            // A library, but no module.
            "libm.so.6".into(),
        ] {
            let error = Pkcs11KeyStore::open(config(&path)).err().unwrap();
            let HsmError::ModuleNotLoadable { path: told, cause } = &error else {
                panic!("{error:?}");
            };
            assert_eq!(told, path.to_str().unwrap());
            assert!(!cause.is_empty());
        }
        assert!(Pkcs11KeyStore::open(config(&module())).is_ok(), "the control");
    });
}

#[test]
fn nothing_that_is_printed_holds_the_pin() {
    isolated("refusals::nothing_that_is_printed_holds_the_pin", |lab| {
        let _lab = lab.with_token();
        let error = open("wrong-pin").err().unwrap();
        let store = open(PIN).unwrap();
        let config = crate::lab::config(PIN, 1);
        let printed = format!(
            "{store:?} {:?} {config:?} {error:?} {error} {}",
            store.status(),
            hallmark_reason::Report(&error)
        );
        assert!(printed.contains(LABEL));
        assert!(!printed.contains(PIN) && !printed.contains("wrong-pin"), "{printed}");
    });
}

#[test]
fn more_jobs_than_the_queue_holds_are_refused_at_once() {
    isolated("refusals::more_jobs_than_the_queue_holds_are_refused_at_once", |lab| {
        let _lab = lab.with_token();
        let mut config = crate::lab::config(PIN, 1);
        config.queue = 4;
        let store = Pkcs11KeyStore::open(config).unwrap();
        block_on(async {
            let key = store.generate("a", KeyKind::Rsa2048).await.unwrap();
            let jobs = (0..64).map(|_| store.sign(&key.id, key.kind.signature_alg(), vec![1]));
            let answers = futures_util::future::join_all(jobs).await;
            let busy = answers
                .iter()
                .filter(|a| matches!(a, Err(HsmError::Busy { waiting: 4 })))
                .count();
            let done = answers.iter().filter(|a| a.is_ok()).count();
            assert_eq!(busy + done, 64);
            assert!(busy > 0 && done >= 4, "{busy} refused, {done} done");
        });
    });
}

#[test]
fn a_token_that_can_store_no_further_key_is_told() {
    let name = "refusals::a_token_that_can_store_no_further_key_is_told";
    if std::env::var_os(IGNORES_XFSZ).is_none() {
        // Writing beyond a limit is to fail, as on a full disk, not to end the process.
        let told = ok(Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(IGNORES_XFSZ, "1"));
        assert!(told.contains("1 passed"), "{told}");
        return;
    }
    isolated(name, |lab| {
        let _lab = lab.with_token();
        let store = open(PIN).unwrap();
        let limit_files = |limit: &str| {
            let pid = std::process::id().to_string();
            ok(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}")]));
        };
        block_on(async {
            limit_files("0:unlimited");
            let full = store.generate("a", KeyKind::EcP256).await;
            assert_eq!(full, Err(HsmError::TokenFull { label: LABEL.into() }));
            // The control: with room the same token takes the same key.
            limit_files("unlimited:unlimited");
            store.generate("a", KeyKind::EcP256).await.unwrap();
        });
    });
}

const IGNORES_XFSZ: &str = "HALLMARK_PKCS11_TEST_IGNORES_XFSZ";
