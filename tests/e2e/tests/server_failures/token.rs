//! Tokens that cannot be used.

use crate::kept::{CONFIGURATION, Kept, UNEXPECTED, UNREACHABLE};
use crate::trial::DOMAIN;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const LABEL: &str = "hallmark-lab";
const WRONG_PIN: &str = "0000000000000000";
const RIGHT_PIN: &str = "put the right PIN into the file that [hsm] pin names, then restart the server; the wrong one is not \
                         tried again before";
const CHECK_LABEL: &str = "cause: the label is mistyped, or the token is not plugged in\n  next: set [hsm] token_label to one of \
                           these labels, or plug the token in";
const USED_BEFORE: &str = "next: set [hsm] token_label to the token that was used before, or restore its backup";

/// The folders or files below one.
fn below(folder: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// Makes a further token beside the server's, with the same PIN; its folder.
fn further_token(kept: &mut Kept, label: &str) -> PathBuf {
    let token = kept.trial.lab.server().token();
    let (before, pin) = (
        below(&token.tokens()),
        std::fs::read_to_string(token.pin_file()).unwrap(),
    );
    let made = Command::new("softhsm2-util")
        .args([
            "--init-token",
            "--free",
            "--label",
            label,
            "--pin",
            &pin,
            "--so-pin",
            &pin,
        ])
        .env("SOFTHSM2_CONF", token.conf())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    below(&token.tokens()).difference(&before).next().unwrap().clone()
}

/// The files of the keys of the only token.
fn key_files(kept: &mut Kept) -> Vec<PathBuf> {
    let tokens = below(&kept.trial.lab.server().token().tokens());
    below(tokens.first().unwrap())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "object") && !path.ends_with("token.object"))
        .collect()
}

/// A shared object that is no PKCS#11 module: the C library of this very process.
fn some_library() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps.split_whitespace().find(|word| word.contains("/libc.so")).unwrap();
    library.into()
}

#[test]
fn a_module_that_cannot_be_loaded_is_told() {
    let mut kept = Kept::filled();
    let missing = kept.path("missing.so");
    let config = kept.with("hsm", "module", missing.display().to_string());
    kept.must_refuse(
        &config,
        UNREACHABLE,
        &format!(
            "HM-HSM-0026: the PKCS#11 module {} does not exist\n  compared: No such file or directory (os error 2)\n  cause: \
             the token's software is not installed, or the path is wrong\n  next: install the token's PKCS#11 package, or \
             correct [hsm] module",
            missing.display()
        ),
    );
    let modules = [
        kept.file("text.so", "this is no shared object\n"),
        kept.file("empty.so", ""),
        some_library(),
    ];
    for module in modules {
        let config = kept.with("hsm", "module", module.display().to_string());
        let module = module.display();
        kept.must_refuse(
            &config,
            UNREACHABLE,
            &format!(
                "HM-HSM-0001: the PKCS#11 module {module} cannot be loaded\n  compared: *\n  cause: the file is not a PKCS#11 \
                 module for this machine, or a library that it needs is missing\n  next: ldd {module}; pkcs11-tool --module \
                 {module} -I"
            ),
        );
    }
    kept.must_go_on();
}

/// SoftHSM itself says nothing but that it failed.
#[test]
fn a_token_folder_that_is_missing_is_told() {
    let mut kept = Kept::filled();
    let config = kept.config();
    let module = config["hsm"]["module"].as_str().unwrap().to_owned();
    let (tokens, away) = (kept.trial.lab.server().token().tokens(), kept.path("away"));
    let conf = kept.trial.lab.server().token().conf();
    for (there, what) in [
        (tokens, "SoftHSM's token folder (directories.tokendir)"),
        (conf, "SoftHSM's configuration (SOFTHSM2_CONF)"),
    ] {
        std::fs::rename(&there, &away).unwrap();
        kept.must_refuse(
            &config,
            UNREACHABLE,
            &format!(
                "HM-HSM-0027: the PKCS#11 module {module} does not start\n  compared: C_Initialize returned GeneralError; {what} \
                 {}: No such file or directory (os error 2)\n  cause: it was never made, was moved, or belongs to another \
                 user\n  next: create or restore it, or correct the module's configuration; a running server goes on by itself, a \
                 stopped one is started again",
                there.display()
            ),
        );
        std::fs::rename(&away, &there).unwrap();
        kept.must_go_on();
    }
}

#[test]
fn a_token_that_is_not_there_or_there_twice_is_told() {
    let mut kept = Kept::filled();
    let config = kept.with("hsm", "token_label", "nobody");
    kept.must_refuse(
        &config,
        UNREACHABLE,
        &format!(
            "HM-HSM-0002: no token is labelled \"nobody\"\n  compared: asked for \"nobody\"; there are [\"{LABEL}\"]\n  \
             {CHECK_LABEL}"
        ),
    );
    let config = kept.config();
    let (tokens, away) = (kept.trial.lab.server().token().tokens(), kept.path("away"));
    std::fs::rename(&tokens, &away).unwrap();
    std::fs::create_dir(&tokens).unwrap();
    kept.must_refuse(
        &config,
        UNREACHABLE,
        &format!(
            "HM-HSM-0002: no token is labelled \"{LABEL}\"\n  compared: asked for \"{LABEL}\"; there is no initialised \
             token\n  cause: no token was initialised yet, none is plugged in, or the server's user may not read its store\n  \
             next: pkcs11-tool --module {} -L, as the server's user; then initialise a token with this label",
            config["hsm"]["module"].as_str().unwrap()
        ),
    );
    std::fs::remove_dir(&tokens).unwrap();
    std::fs::rename(&away, &tokens).unwrap();
    kept.must_go_on();
    let twin = further_token(&mut kept, LABEL);
    kept.must_refuse(
        &config,
        UNREACHABLE,
        &format!(
            "HM-HSM-0003: 2 tokens are labelled \"{LABEL}\"\n  compared: 2 found, exactly 1 allowed\n  cause: two tokens were \
             initialised with the same label\n  next: give one of the tokens another label, or name it by its serial number: [hsm] token"
        ),
    );
    std::fs::remove_dir_all(twin).unwrap();
    kept.must_go_on();
}

/// SoftHSM locks no PIN, and calls one that is too short a wrong one: HM-HSM-0005 to 0007 are shown where the PKCS#11
/// adapter reads a token's answers.
#[test]
fn a_pin_that_is_refused_is_told_and_never_shown() {
    let mut kept = Kept::filled();
    let wrong = kept.file("wrong-pin", WRONG_PIN);
    let config = kept.with("hsm", "pin", format!("file:{}", wrong.display()));
    // SoftHSM counts no tries; a token that does has one fewer for each start, and no more.
    for _ in 0..2 {
        kept.must_refuse(
            &config,
            CONFIGURATION,
            &format!(
                "HM-HSM-0004: the token \"{LABEL}\" refuses the PIN\n  cause: the PIN was changed on the token, or the PIN \
                 file is that of another token\n  next: {RIGHT_PIN}"
            ),
        );
    }
    let log = std::fs::read_to_string(kept.path("faulty.log")).unwrap();
    assert!(!log.contains(WRONG_PIN), "{log}");
    kept.must_go_on();
}

#[test]
fn a_token_that_is_not_the_stores_is_told_and_signs_nothing() {
    let mut kept = Kept::filled();
    drop(further_token(&mut kept, "other"));
    let config = kept.with("hsm", "token_label", "other");
    let key = format!("hallmark-x509-{DOMAIN}-1");
    let missing = format!(
        "HM-SRV-0010: the token has no key \"{key}\", which signs for the authority\n  cause: token_label names another \
         token, or the key was destroyed\n  {USED_BEFORE}"
    );
    kept.must_refuse(&config, UNEXPECTED, &missing);
    // The other token gets a key of the same name from a server with another store.
    let (data, away) = (kept.data(), kept.path("away"));
    std::fs::rename(&data, &away).unwrap();
    kept.trial.lab.server().set("hsm", "token_label", "other".into());
    kept.trial.lab.start_server().unwrap();
    kept.trial.lab.server().stop();
    kept.trial.lab.server().set("hsm", "token_label", LABEL.into());
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&away, &data).unwrap();
    kept.must_refuse(
        &config,
        UNEXPECTED,
        &format!(
            "HM-SRV-0011: the key \"{key}\" of the token is not the one of the authority's certificate\n  compared: *\n  \
             cause: token and data_dir belong to different servers, or one was restored alone\n  {USED_BEFORE}"
        ),
    );
    kept.must_go_on();
}

#[test]
fn a_key_that_is_gone_or_half_gone_is_told_and_not_made_anew() {
    let mut kept = Kept::new();
    // The key that is looked at is the only one.
    kept.trial.lab.server().set("authority", "jwt_svids", false.into());
    kept.fill();
    let config = kept.config();
    let halves = key_files(&mut kept);
    assert_eq!(halves.len(), 2);
    let key = format!("hallmark-x509-{DOMAIN}-1");
    let aside = |path: &PathBuf| path.with_extension("aside");
    for half in &halves {
        std::fs::rename(half, aside(half)).unwrap();
        kept.must_refuse(
            &config,
            UNREACHABLE,
            &format!(
                "HM-HSM-0015: the key \"{key}\" is not whole: *\n  cause: one half was deleted or replaced by another \
                 program, or the token's store is damaged\n  next: pkcs11-tool --module FILE --login -O; restore the \
                 token from its backup"
            ),
        );
        std::fs::rename(aside(half), half).unwrap();
        kept.must_go_on();
    }
    for half in &halves {
        std::fs::rename(half, aside(half)).unwrap();
    }
    kept.must_refuse(
        &config,
        UNEXPECTED,
        &format!(
            "HM-SRV-0010: the token has no key \"{key}\", which signs for the authority\n  cause: token_label names another \
             token, or the key was destroyed\n  {USED_BEFORE}"
        ),
    );
    for half in &halves {
        std::fs::rename(aside(half), half).unwrap();
    }
    kept.must_go_on();
}

#[test]
fn a_first_key_of_another_kind_is_told_and_kept() {
    let mut kept = Kept::filled();
    let (data, away) = (kept.data(), kept.path("away"));
    std::fs::rename(&data, &away).unwrap();
    std::fs::create_dir(&data).unwrap();
    // A first start that was cut short has the key on record and no certificate.
    for name in ["server.db", "server.db.mark"] {
        std::fs::copy(away.join(name), data.join(name)).unwrap();
    }
    let store = rusqlite::Connection::open(data.join("server.db")).unwrap();
    store
        .execute_batch("DELETE FROM authority_certificates; DELETE FROM meta WHERE key = 'bundle_sequence'")
        .unwrap();
    drop(store);
    let config = kept.with("authority", "key_type", "ec-p384");
    kept.must_refuse(
        &config,
        UNEXPECTED,
        &format!(
            "HM-SRV-0014: the key \"hallmark-x509-{DOMAIN}-1\" of the token is of another kind than configured\n  compared: \
             configured ec-p384, found ec-p256\n  cause: key_type was changed after a first start that was cut short, or the \
             key is an earlier server's\n  next: set key_type back, or destroy that key if nothing of it is needed"
        ),
    );
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&away, &data).unwrap();
    kept.must_go_on();
    let config = kept.with("authority", "key_type", "ec-p521");
    kept.must_refuse(
        &config,
        CONFIGURATION,
        &format!(
            "HM-CONF-0002: {}:*: *\n  cause: typo or wrong value type on this line\n  next: correct it; then hallmark-server config \
             check --config *",
            kept.path("faulty.toml").display()
        ),
    );
}

/// The way back to the older program is the store as it was.
#[test]
fn a_start_that_its_authority_refuses_leaves_a_store_of_an_older_version_as_it_is() {
    let mut kept = Kept::new();
    let data = kept.data();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let store = data.join("server.db");
    let older = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../server/store/tests/fixtures/version-10.db"
    );
    std::fs::copy(older, &store).unwrap();
    std::fs::set_permissions(&store, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = kept.with("", "trust_domain", "example.org");
    let missing = format!(
        "HM-SRV-0010: the token has no key \"hallmark-x509-example.org-1\", which signs for the authority\n  cause: token_label \
         names another token, or the key was destroyed\n  {USED_BEFORE}"
    );
    kept.must_refuse(&config, UNEXPECTED, &missing);
    assert!(
        std::fs::read(&store).unwrap() == std::fs::read(older).unwrap(),
        "not one byte"
    );
    // Without its authority it is a store that the token's key does not belong to, or that waits for its first one.
    let raw = rusqlite::Connection::open(&store).unwrap();
    raw.execute_batch("DELETE FROM authority_certificates; DELETE FROM meta WHERE key = 'bundle_sequence'")
        .unwrap();
    let version =
        |raw: &rusqlite::Connection| -> i64 { raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap() };
    drop(raw);
    let config_file = kept.file("older.toml", config.to_string());
    let log = kept.path("older.log");
    let token = kept.trial.lab.server().token().conf().display().to_string();
    // The control: with nothing in the way it goes on, and brings the store to the present version.
    let words = [
        "run".to_owned(),
        "--config".to_owned(),
        config_file.display().to_string(),
    ];
    let mut server = hallmark_kit::Process::start(
        "hallmark-server",
        &hallmark_kit::binary("hallmark-server").unwrap(),
        &words,
        &[("SOFTHSM2_CONF".to_owned(), token)],
        &log,
    )
    .unwrap();
    crate::trial::wait_for("the server serves", || server.log().contains("serving"));
    server.stop();
    assert!(version(&rusqlite::Connection::open(&store).unwrap()) > 10);
}

/// How `hallmark-server authority begin` ends, and what it says.
fn begin(kept: &mut Kept) -> (Option<i32>, String) {
    kept.program(&["authority", "begin", "--reason", "the disk is lost"])
}

#[test]
fn an_empty_store_beside_a_used_token_is_refused_until_a_new_beginning_is_said() {
    let mut kept = Kept::filled();
    let key = format!("hallmark-x509-{DOMAIN}-1");
    let (config, data, away) = (kept.config(), kept.data(), kept.path("away"));
    // With the server's own store there is nothing to begin.
    let (exit, said) = begin(&mut kept);
    assert!(exit == Some(UNEXPECTED) && said.starts_with("HM-SRV-0033: "), "{said}");
    let (_, doctor) = kept.program(&["doctor"]);
    assert!(doctor.contains("ok    token: "), "{doctor}");
    kept.must_go_on();
    std::fs::rename(&data, &away).unwrap();
    let refused = format!(
        "HM-SRV-0032: the store {} is new, and the token holds a key of this trust domain's authority\n  compared: token: \
         key \"{key}\"; store: no authority, and no record of this key\n  cause: data_dir or store.path names another folder \
         than the server's, or its volume is not mounted\n  next: hallmark-server config explain; mount the store or restore it \
         (docs/how-to/runbook.md#back-up-and-restore); only if it is lost: hallmark-server authority begin",
        data.join("server.db").display()
    );
    let (_, doctor) = kept.program(&["doctor"]);
    assert!(doctor.contains("FAIL  token: HM-SRV-0032"), "{doctor}");
    // The second time the store is there, and as empty.
    kept.must_refuse(&config, UNEXPECTED, &refused);
    kept.must_refuse(&config, UNEXPECTED, &refused);
    // What was meant: the store comes back, and nothing is lost.
    let empty = kept.path("empty");
    std::fs::rename(&data, &empty).unwrap();
    std::fs::rename(&away, &data).unwrap();
    kept.must_go_on();
    // And what an operator says: the store is lost.
    std::fs::rename(&data, &away).unwrap();
    std::fs::rename(&empty, &data).unwrap();
    let (exit, said) = begin(&mut kept);
    assert!(exit == Some(0) && said.contains(&key), "{said}");
    kept.trial.lab.start_server().unwrap();
    let held = kept.held();
    // The lost store's key of JWT-SVIDs is not this one's to destroy.
    let jwt = held
        .keys
        .iter()
        .filter(|(label, _)| label.starts_with("hallmark-jwt-"))
        .count();
    assert_eq!((held.keys.len() - jwt, jwt, held.entries.len()), (1, 2, 0));
    let records = kept.records();
    assert!(
        records.contains("x509-authority-begin") && records.contains("the disk is lost"),
        "{records}"
    );
    kept.trial.lab.server().stop();
}

#[test]
fn a_pin_that_is_refused_leaves_the_store_of_the_version_before_as_it_is() {
    let mut kept = Kept::filled();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../server/store/tests/fixtures/version-10.db");
    let data = kept.path("older");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    let store = data.join("server.db");
    std::fs::copy(&fixture, &store).unwrap();
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o600)).unwrap();
    let wrong = kept.file("wrong-pin", WRONG_PIN);
    let mut config = kept.with("hsm", "pin", format!("file:{}", wrong.display()));
    config.insert("data_dir".into(), data.display().to_string().into());
    kept.must_refuse(
        &config,
        CONFIGURATION,
        &format!(
            "HM-HSM-0004: the token \"{LABEL}\" refuses the PIN\n  cause: the PIN was changed on the token, or the PIN file \
             is that of another token\n  next: {RIGHT_PIN}"
        ),
    );
    assert_eq!(std::fs::read(&store).unwrap(), std::fs::read(&fixture).unwrap());
    kept.must_go_on();
}
