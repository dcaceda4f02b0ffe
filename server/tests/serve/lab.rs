//! A server in a folder of its own, with a SoftHSM token beside it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use hallmark_server::{clock::Clock, config, errors::StartError, run::Running};
use hallmark_state::Change;
use hallmark_store::StoreError;
use hallmark_verify::testing::VendorCa;

const INSIDE: &str = "HALLMARK_SERVER_TEST_FOLDER";
pub(crate) const TRUST_DOMAIN: &str = "example.org";

/// Runs `body` in a process of its own, as SoftHSM takes its configuration from the environment. `name` is the
/// test's full name.
pub(crate) fn isolated<F: Future<Output = ()>>(name: &str, body: impl FnOnce(Lab) -> F) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(body(Lab::new(folder.into())));
        // Everything has let go of the token before the process ends: SoftHSM tears itself down as it exits.
        runtime.shutdown_timeout(Duration::from_secs(20));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("tokens")).unwrap();
    let conf = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        path.join("tokens").display()
    );
    fs::write(path.join("softhsm2.conf"), conf).unwrap();
    fs::write(path.join("pin"), "1234").unwrap();
    fs::set_permissions(path.join("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    init_token(path, "hallmark");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", name, "--nocapture"])
        .env("SOFTHSM2_CONF", path.join("softhsm2.conf"))
        .env(INSIDE, path);
    let out = command.output().unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(out.status.success(), "{}\n{told}", out.status);
    assert!(told.contains("1 passed"), "{name} did not run: {told}");
}

/// Makes a token in the folder's SoftHSM.
pub(crate) fn init_token(folder: &Path, label: &str) {
    let made = Command::new("softhsm2-util")
        .args([
            "--init-token",
            "--free",
            "--label",
            label,
            "--pin",
            "1234",
            "--so-pin",
            "4321",
        ])
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
        .output()
        .expect("softhsm2-util is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A configuration, and the vendor whose TPMs it trusts.
pub(crate) struct Lab {
    pub(crate) folder: PathBuf,
    pub(crate) vendor: VendorCa,
    pub(crate) settings: toml::Table,
}

impl Lab {
    fn new(folder: PathBuf) -> Self {
        let vendor = VendorCa::new();
        fs::write(folder.join("root.der"), vendor.root_der()).unwrap();
        let text = format!(
            r#"version = 1
            trust_domain = "{TRUST_DOMAIN}"
            data_dir = "{dir}/data"
            [listen]
            address = "127.0.0.1:0"
            admin_socket = "{dir}/admin/admin.sock"
            [hsm]
            module = "/usr/lib/softhsm/libsofthsm2.so"
            token_label = "hallmark"
            pin = "file:{dir}/pin"
            [authority]
            [attestation.tpm2]
            ek_roots = ["{dir}/root.der"]
            ek_templates = ["rsa-2048-l1", "ecc-p256-l2"]
            allowed_classes = ["discrete", "firmware", "virtual", "simulator"]
            [limits]
            attestations_per_second_per_ip = 0
            "#,
            dir = folder.display()
        );
        Self {
            folder,
            vendor,
            settings: text.parse().unwrap(),
        }
    }

    /// Sets a key of a table.
    pub(crate) fn set(&mut self, table: &str, key: &str, value: impl Into<toml::Value>) {
        self.settings[table]
            .as_table_mut()
            .unwrap()
            .insert(key.into(), value.into());
    }

    /// Sets a key of `[attestation.tpm2]`.
    pub(crate) fn set_tpm2(&mut self, key: &str, value: impl Into<toml::Value>) {
        let attestation = self.settings["attestation"].as_table_mut().unwrap();
        attestation["tpm2"]
            .as_table_mut()
            .unwrap()
            .insert(key.into(), value.into());
    }

    pub(crate) async fn try_start(&self, clock: Clock) -> Result<Running, StartError> {
        let file = self.folder.join("server.toml");
        fs::write(&file, self.settings.to_string()).unwrap();
        for _ in 0..100 {
            let outcome = Running::start(config::load(&file, None)?, clock.clone()).await;
            // A server of this process that was stopped may still be letting go of its store.
            if !matches!(outcome, Err(StartError::Store(StoreError::InUse { .. }))) {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Running::start(config::load(&file, None)?, clock).await
    }

    pub(crate) async fn start(&self) -> Running {
        self.try_start(Clock::system()).await.unwrap()
    }

    /// The code with which a start fails.
    pub(crate) async fn refused(&self, clock: Clock) -> String {
        let error = self.try_start(clock).await.expect_err("it started");
        hallmark_reason::Coded::code(&error).to_string()
    }

    /// Stops a server and waits until its files are free.
    pub(crate) async fn stop(&self, running: Running) {
        let server = Arc::downgrade(&running.server.journal);
        running.stop().await.unwrap();
        for _ in 0..1000 {
            if server.strong_count() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("something still holds the server");
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.folder.join("admin").join("admin.sock")
    }
}

/// Makes changes durable that no decision asked for: a state that tests need.
pub(crate) async fn commit(running: &Running, changes: Vec<Change>) {
    let put = running.server.journal.decide("test", |view| {
        Ok::<_, std::convert::Infallible>((view.decide(changes.clone(), Vec::new()), ()))
    });
    put.await.unwrap();
}

/// Nothing becomes durable while this is held: what is decided meanwhile waits in the order in which it was decided.
pub(crate) struct Gate(rusqlite::Connection);

impl Gate {
    pub(crate) fn close(lab: &Lab) -> Self {
        let path = lab.folder.join("data/server.db");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    /// Waits until so many decisions are on their way.
    pub(crate) async fn waits(running: &Running, decisions: u64) {
        for _ in 0..2000 {
            if running.server.journal.store().statistics().queued >= decisions {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("only {:?} wait", running.server.journal.store().statistics());
    }

    pub(crate) fn open(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}
