//! One software TPM in a scratch folder, stopped in order when dropped.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use tempfile::TempDir;

pub(crate) struct Tpm {
    folder: TempDir,
    process: Child,
    tcti: String,
}

impl Tpm {
    /// A TPM with SHA-1 and SHA-256 banks and no persistent keys.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let setup = Command::new("swtpm_setup")
            .args(["--tpm2", "--overwrite", "--pcr-banks", "sha1,sha256", "--tpmstate"])
            .arg(&state)
            .output()
            .expect("swtpm_setup (Debian: swtpm-tools) is installed");
        assert!(setup.status.success(), "{}", String::from_utf8_lossy(&setup.stdout));
        let (port, control) = free_ports();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=tcp,port={port},bindaddr=127.0.0.1"))
            .arg("--ctrl")
            .arg(format!("type=tcp,port={control},bindaddr=127.0.0.1"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm is installed");
        let tpm = Self {
            folder,
            process,
            tcti: format!("swtpm:host=127.0.0.1,port={port}"),
        };
        tpm.wait_until_it_listens(control);
        tpm
    }

    fn wait_until_it_listens(&self, control: u16) {
        for _ in 0..200 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, control)).is_ok() {
                return;
            }
            sleep(Duration::from_millis(25));
        }
        panic!("swtpm does not listen on port {control}");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Runs a tool in the scratch folder; it must succeed.
    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) {
        let (succeeded, message) = self.call(tool, arguments);
        assert!(succeeded, "{tool} {arguments:?}: {message}");
    }

    /// Runs a tool in the scratch folder and says whether it succeeded.
    pub(crate) fn succeeds(&self, tool: &str, arguments: &[&str]) -> bool {
        self.call(tool, arguments).0
    }

    /// There is no resource manager: loaded keys stay in the TPM's few slots until flushed.
    pub(crate) fn flush(&self) {
        self.run("tpm2_flushcontext", &["-Q", "-t"]);
    }

    fn call(&self, tool: &str, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(tool)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("TPM2TOOLS_TCTI", &self.tcti)
            .env("TSS2_LOG", "all+none")
            .output()
            .unwrap_or_else(|error| panic!("{tool} (Debian: tpm2-tools): {error}"));
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // Without TPM2_Shutdown the next start would count as a dictionary attack on keys with auth.
        self.call("tpm2_shutdown", &["-c"]);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The TCTI takes the control port to be the one after the data port.
fn free_ports() -> (u16, u16) {
    loop {
        let Ok(first) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else {
            continue;
        };
        let port = first.local_addr().unwrap().port();
        let Some(control) = port.checked_add(1) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, control)).is_ok() {
            return (port, control);
        }
    }
}
