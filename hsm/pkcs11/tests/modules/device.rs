//! A module with a fresh token.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use aws_lc_rs::{
    encoding::{AsBigEndian, EcPrivateKeyBin},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    object::{Attribute, KeyType, ObjectClass},
    session::UserType,
};
use hallmark_hsm::KeyKind;
use hallmark_pkcs11::{Pkcs11Config, Pkcs11KeyStore, TokenSelector};
use secrecy::SecretString;

pub(crate) const PIN: &str = "correct-horse";
const SO_PIN: &str = "security-officer";
pub(crate) const LABEL: &str = "hallmark";
const INSIDE: &str = "HALLMARK_PKCS11_TEST_FOLDER";

/// A module to test, and what it can do.
pub(crate) struct Device {
    pub(crate) module: PathBuf,
    /// The kinds of keys that it makes; all others it refuses.
    pub(crate) kinds: Vec<KeyKind>,
    /// Whether it says of its keys where they were made.
    pub(crate) tells_local: bool,
    /// Whether it locks after a few wrong PINs without saying so before: then it is offered none here.
    pub(crate) locks_silently: bool,
    /// Whether it ends only when each of its users in a process has ended it: then it cannot be ended behind the key store's back.
    pub(crate) counts_its_users: bool,
    /// Signatures side by side that are asked of it.
    pub(crate) load: usize,
    so_pin: &'static str,
    is_initialised: bool,
    variables: fn(&Path) -> Vec<(&'static str, PathBuf)>,
    /// A program that the test is run by.
    run_by: Option<&'static str>,
    pub(crate) folder: PathBuf,
}

impl Device {
    pub(crate) fn softhsm(kinds: Vec<KeyKind>) -> Self {
        Self {
            module: softhsm(),
            kinds,
            tells_local: true,
            locks_silently: false,
            counts_its_users: false,
            load: 1000,
            so_pin: SO_PIN,
            is_initialised: false,
            variables: |folder| {
                fs::create_dir_all(folder.join("tokens")).unwrap();
                let conf = folder.join("softhsm2.conf");
                let text = format!(
                    "directories.tokendir = {}\nlog.level = ERROR\n",
                    folder.join("tokens").display()
                );
                fs::write(&conf, text).unwrap();
                vec![("SOFTHSM2_CONF", conf)]
            },
            run_by: None,
            folder: PathBuf::new(),
        }
    }

    /// NSS's softokn wants its parameters where PKCS#11 reserves a pointer; p11-kit passes them for a server, and the module of
    /// our own in tests/pkcs11-faults for this test.
    pub(crate) fn nss(kinds: Vec<KeyKind>) -> Self {
        Self {
            module: faults(),
            tells_local: false,
            load: 200,
            so_pin: "",
            is_initialised: true,
            variables: |folder| {
                fs::create_dir_all(folder.join("db")).unwrap();
                let parameters = format!(
                    "configdir='sql:{}' certPrefix='' keyPrefix='' secmod='secmod.db' flags= dbTokenDescription='{LABEL}'",
                    folder.join("db").display()
                );
                vec![
                    ("PKCS11_FAULTS_MODULE", library("libsoftokn3.so")),
                    ("PKCS11_FAULTS_RESERVED", parameters.into()),
                ]
            },
            ..Self::softhsm(kinds)
        }
    }

    /// A TPM's own keys: tpm2-pkcs11 on swtpm, through a resource manager.
    pub(crate) fn tpm(kinds: Vec<KeyKind>) -> Self {
        Self {
            module: library("pkcs11/libtpm2_pkcs11.so"),
            locks_silently: true,
            load: 24,
            variables: |_| Vec::new(),
            run_by: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/modules/with-tpm")),
            ..Self::softhsm(kinds)
        }
    }

    /// SoftHSM behind p11-kit's remoting: a network HSM that can go away.
    pub(crate) fn remote(kinds: Vec<KeyKind>) -> Self {
        Self {
            module: library("pkcs11/p11-kit-client.so"),
            counts_its_users: true,
            load: 400,
            is_initialised: true,
            variables: |folder| {
                let mut variables = (Self::softhsm(Vec::new()).variables)(folder);
                let socket = folder.join("p11-kit.sock");
                variables.push((
                    "P11_KIT_SERVER_ADDRESS",
                    format!("unix:path={}", socket.display()).into(),
                ));
                variables
            },
            ..Self::softhsm(kinds)
        }
    }

    /// Runs `body` in a child process that has this module's variables, and a fresh token. `name` is the test's full name.
    pub(crate) fn run(mut self, name: &str, body: impl FnOnce(&Self)) {
        if let Some(folder) = std::env::var_os(INSIDE) {
            self.folder = PathBuf::from(folder);
            self.initialise();
            return body(&self);
        }
        let folder = tempfile::tempdir().unwrap();
        let this = std::env::current_exe().unwrap();
        let mut child = self.run_by.map_or_else(
            || Command::new(&this),
            |by| {
                let mut command = Command::new(by);
                command.arg(folder.path()).arg(&this);
                command
            },
        );
        let out = child
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, folder.path())
            .envs((self.variables)(folder.path()))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&out.stdout);
        let erred = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{}\n{told}\n{erred}", out.status);
        assert!(told.contains("1 passed"), "{name} did not run: {told}");
        for line in told.lines().filter(|line| line.starts_with("measured:")) {
            println!("{line}");
        }
    }

    /// Gives the token its label and its user PIN, as an operator does with the maker's tools.
    fn initialise(&self) {
        if self.module.ends_with("p11-kit-client.so") {
            let ok = Command::new("softhsm2-util")
                .args([
                    "--init-token",
                    "--free",
                    "--label",
                    LABEL,
                    "--pin",
                    PIN,
                    "--so-pin",
                    SO_PIN,
                ])
                .output()
                .unwrap();
            assert!(ok.status.success(), "{ok:?}");
            return;
        }
        let context = Pkcs11::new(&self.module).unwrap();
        context
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .unwrap();
        let so_pin = SecretString::from(self.so_pin);
        let is_ours = |slot: &cryptoki::slot::Slot| {
            let label = context.get_token_info(*slot).map(|info| info.label().to_owned());
            !self.is_initialised || label.is_ok_and(|label| label == LABEL)
        };
        let slot = context
            .get_slots_with_token()
            .unwrap()
            .into_iter()
            .find(is_ours)
            .unwrap();
        if !self.is_initialised {
            context.init_token(slot, &so_pin, LABEL).unwrap();
        }
        // Some renumber their slots.
        let labelled =
            |slot: &cryptoki::slot::Slot| context.get_token_info(*slot).is_ok_and(|info| info.label() == LABEL);
        let slot = context
            .get_slots_with_token()
            .unwrap()
            .into_iter()
            .find(labelled)
            .unwrap();
        let session = context.open_rw_session(slot).unwrap();
        session.login(UserType::So, Some(&so_pin)).unwrap();
        session.init_pin(&SecretString::from(PIN)).unwrap();
        session.logout().unwrap();
        drop(session);
        context.finalize().unwrap();
    }

    /// Brings a P-256 key in from outside that claims to be as good as one made inside; `false` where the token takes none.
    pub(crate) fn bring_in(&self, label: &str) -> bool {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let scalar = AsBigEndian::<EcPrivateKeyBin<'_>>::as_be_bytes(&pair.private_key()).unwrap();
        let point = hallmark_der::element(hallmark_der::tag::OCTET_STRING, &[pair.public_key().as_ref()]);
        let curve = Attribute::EcParams(hallmark_der::NamedCurve::P256.oid().into());
        let all = [
            Attribute::Token(true),
            Attribute::KeyType(KeyType::EC),
            Attribute::Label(label.into()),
            Attribute::Id(vec![7; 16]),
            Attribute::EcPoint(point),
            curve,
        ];
        let public = [&all[..], &[Attribute::Class(ObjectClass::PUBLIC_KEY)]].concat();
        let private = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
            Attribute::Value(scalar.as_ref().to_vec()),
        ];
        let private = [&all[..], &private].concat();
        // Not every token takes the point beside the scalar.
        let without_point: Vec<_> = private
            .iter()
            .filter(|attribute| !matches!(attribute, Attribute::EcPoint(_)))
            .cloned()
            .collect();
        let context = Pkcs11::new(&self.module).unwrap();
        // Most are, by the key store; some count each of their users.
        drop(context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)));
        let slots = context.get_slots_with_token().unwrap();
        let labelled =
            |slot: &cryptoki::slot::Slot| context.get_token_info(*slot).is_ok_and(|info| info.label() == LABEL);
        let session = context
            .open_rw_session(slots.into_iter().find(labelled).unwrap())
            .unwrap();
        session.login(UserType::User, Some(&SecretString::from(PIN))).unwrap();
        let made = session
            .create_object(&without_point)
            .or_else(|_| session.create_object(&private));
        made.is_ok() && session.create_object(&public).is_ok()
    }

    pub(crate) fn config(&self, pin: &str) -> Pkcs11Config {
        let mut config = Pkcs11Config::new(&self.module, TokenSelector::labelled(LABEL), SecretString::from(pin), 2);
        config.require_local = self.tells_local;
        config.patience = Duration::from_secs(5);
        config
    }

    pub(crate) fn open(&self) -> Pkcs11KeyStore {
        Pkcs11KeyStore::open(self.config(PIN)).unwrap()
    }

    /// The other end of p11-kit's remoting.
    pub(crate) fn serve(&self) -> Server {
        let socket = self.folder.join("p11-kit.sock");
        drop(fs::remove_file(&socket));
        let child = Command::new("/usr/libexec/p11-kit/p11-kit-server")
            .arg("-f")
            .arg("--provider")
            .arg(softhsm())
            .arg("-n")
            .arg(&socket)
            .arg(format!("pkcs11:token={LABEL}"))
            // It has a process for each connection.
            .process_group(0)
            .spawn()
            .unwrap();
        while !socket.exists() {
            // Real time: the server opens its socket.
            thread::sleep(Duration::from_millis(10));
        }
        Server(child)
    }
}

/// A server that is ended when it is dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Sends all its processes a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let group = format!("-{}", self.0.id());
        let done = Command::new("kill").args([signal, "--", &group]).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("-KILL");
        drop(self.0.wait());
    }
}

fn softhsm() -> PathBuf {
    installed(&[
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    ])
}

fn library(name: &str) -> PathBuf {
    installed(&[
        &format!("/usr/lib/x86_64-linux-gnu/{name}"),
        &format!("/usr/lib/aarch64-linux-gnu/{name}"),
    ])
}

fn installed(paths: &[&str]) -> PathBuf {
    let mut paths = paths.iter().map(PathBuf::from);
    let name = format!("{paths:?}");
    paths
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("none of {name} is there: run scripts/deps test"))
}

/// Our own module, built when a test wants it.
fn faults() -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/pkcs11-faults/Cargo.toml");
    let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/pkcs11-faults");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--manifest-path",
            manifest,
            "--target-dir",
            target,
        ])
        .status();
    assert!(built.unwrap().success());
    PathBuf::from(target).join("debug/libhallmark_pkcs11_faults.so")
}
