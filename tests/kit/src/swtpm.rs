//! TPM 2.0 machines: swtpm with EK certificates from a manufacturer of the lab's own.

use crate::boot::RecordedBoot;
use crate::process::Process;
use crate::tpm_socket::TpmSocket;
use crate::{LabError, ports};
use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::digest;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use x509_parser::prelude::FromDer as _;

/// A TPM manufacturer: a two-level certificate authority that signs EK certificates.
#[derive(Debug, Clone)]
pub struct EkAuthority {
    folder: PathBuf,
}

impl EkAuthority {
    /// A manufacturer whose keys lie in `folder`; they are made with the first TPM.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let path = |name: &str| folder.join(name).display().to_string();
        fs::write(
            folder.join("localca.conf"),
            format!(
                "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
                folder.display(),
                path("signkey.pem"),
                path("issuercert.pem"),
                path("certserial")
            ),
        )?;
        fs::write(
            folder.join("localca.options"),
            "--platform-manufacturer Hallmark\n--platform-version 1\n--platform-model Lab\n",
        )?;
        fs::write(
            folder.join("setup.conf"),
            format!(
                "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\nactive_pcr_banks = sha1,sha256\n",
                path("localca.conf"),
                path("localca.options")
            ),
        )?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// A manufacturer of this name, with one certificate that signs itself and the EK certificates.
    ///
    /// # Errors
    /// When the folder cannot be written, or `openssl` is missing or fails.
    pub fn create_named(folder: &Path, name: &str) -> Result<Self> {
        let authority = Self::create(folder)?;
        // swtpm_localca takes what it finds, and makes a CA of its own name only where there is none.
        let out = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj",
            ])
            .arg(format!("/CN={name}"))
            .arg("-keyout")
            .arg(folder.join("signkey.pem"))
            .arg("-out")
            .arg(authority.issuer())
            .output()
            .map_err(|_| LabError::ProgramMissing("openssl".into()))?;
        ensure!(
            out.status.success(),
            "openssl req: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(authority)
    }

    /// The root certificate, PEM.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("swtpm-localca-rootca-cert.pem")
    }

    /// The issuing intermediate, PEM.
    #[must_use]
    pub fn issuer(&self) -> PathBuf {
        self.folder.join("issuercert.pem")
    }
}

/// How a TPM is made.
#[derive(Debug, Clone)]
pub struct SwtpmOptions {
    /// Whether it gets EK certificates in NV.
    pub ek_certificate: bool,
    /// Whether it "boots", that is, measures something into PCRs 0-7.
    pub booted: bool,
}

impl Default for SwtpmOptions {
    fn default() -> Self {
        Self {
            ek_certificate: true,
            booted: true,
        }
    }
}

/// One swtpm. Stopping it sends TPM2_Shutdown first.
#[derive(Debug)]
pub struct Swtpm {
    folder: PathBuf,
    port: u16,
    options: SwtpmOptions,
    process: Option<Process>,
}

impl Swtpm {
    /// Manufactures a TPM: endorsement keys made, EK certificates written to its NV memory and locked.
    ///
    /// # Errors
    /// When `swtpm_setup` is missing or fails.
    pub fn manufacture(folder: &Path, authority: &EkAuthority, options: SwtpmOptions) -> Result<Self> {
        let state = folder.join("state");
        let certificates = folder.join("ek-certificates");
        fs::create_dir_all(&state)?;
        fs::create_dir_all(&certificates)?;
        let mut command = Command::new("swtpm_setup");
        command
            .args([
                "--tpm2",
                "--createek",
                "--pcr-banks",
                "sha1,sha256",
                "--overwrite",
                "--tpmstate",
            ])
            .arg(&state);
        if options.ek_certificate {
            command.args(["--create-ek-cert", "--create-platform-cert", "--lock-nvram"]);
            command.arg("--write-ek-cert-files").arg(&certificates);
        }
        let out = command
            .arg("--config")
            .arg(authority.folder.join("setup.conf"))
            .output()
            .map_err(|_| LabError::ProgramMissing("swtpm_setup".into()))?;
        ensure!(
            out.status.success(),
            "swtpm_setup: {}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(Self {
            folder: folder.to_owned(),
            port: 0,
            options,
            process: None,
        })
    }

    /// Powers it on: starts the process and, if it is to boot, measures a firmware into PCRs 0-7.
    ///
    /// # Errors
    /// When swtpm does not come up on three pairs of ports.
    pub fn power_on(&mut self) -> Result<()> {
        self.reset()?;
        if self.options.booted {
            self.measure_firmware()?;
        }
        Ok(())
    }

    /// Powers it on, and measures what was measured in `boot`.
    ///
    /// # Errors
    /// As [`power_on`](Self::power_on); or a log does not read.
    pub fn power_on_as(&mut self, boot: &RecordedBoot) -> Result<()> {
        self.reset()?;
        boot.replay(&mut TpmSocket::connect(self.port)?)
    }

    /// Starts the process; nothing is measured yet.
    fn reset(&mut self) -> Result<()> {
        for _ in 0..3 {
            self.port = ports::free_pair()?;
            if self.launch().is_ok() {
                return Ok(());
            }
            self.process = None;
        }
        bail!("swtpm did not come up on any of three pairs of ports")
    }

    fn launch(&mut self) -> Result<()> {
        let (data, control) = (self.port, self.port + 1);
        let args = [
            "socket".to_owned(),
            "--tpm2".into(),
            "--tpmstate".into(),
            format!("dir={}", self.folder.join("state").display()),
            "--server".into(),
            format!("type=tcp,port={data},bindaddr=127.0.0.1"),
            "--ctrl".into(),
            format!("type=tcp,port={control},bindaddr=127.0.0.1"),
            "--flags".into(),
            "not-need-init,startup-clear".into(),
        ];
        let log = self.folder.join("swtpm.log");
        let mut process = Process::start("swtpm", Path::new("swtpm"), &args, &[], &log)?;
        process.wait_until(Duration::from_secs(10), || TpmSocket::connect(data).is_ok())?;
        self.process = Some(process);
        Ok(())
    }

    fn measure_firmware(&self) -> Result<()> {
        let mut tpm = TpmSocket::connect(self.port)?;
        for pcr in 0_u8..8 {
            let event = digest::digest(&digest::SHA256, format!("lab firmware, PCR {pcr}").as_bytes());
            tpm.extend(pcr, event.as_ref().try_into()?)?;
        }
        Ok(())
    }

    /// Powers it off, orderly.
    pub fn power_off(&mut self) {
        if let Some(mut process) = self.process.take() {
            if let Ok(mut tpm) = TpmSocket::connect(self.port) {
                let _ = tpm.shutdown();
            }
            process.stop();
        }
    }

    /// The folder of its state.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Extends a PCR, as something that runs on the machine would.
    ///
    /// # Errors
    /// When the TPM is off or in use by another connection.
    pub fn extend(&self, pcr: u8, digest: &[u8; 32]) -> Result<()> {
        TpmSocket::connect(self.port)?.extend(pcr, digest)
    }

    /// The TCTI string that reaches it.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// The data port; the control port is the next one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id while it is on.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The RSA EK's certificate (template L-1), DER, as the manufacturer wrote it.
    ///
    /// # Errors
    /// When the TPM was made without certificates.
    pub fn ek_certificate(&self) -> Result<Vec<u8>> {
        self.written("ek-rsa2048.crt")
    }

    /// The certificate of its other EK, P-384 (template H-3), DER.
    ///
    /// # Errors
    /// When the TPM was made without certificates.
    pub fn ecc_ek_certificate(&self) -> Result<Vec<u8>> {
        self.written("ek-secp384r1.crt")
    }

    fn written(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.folder.join("ek-certificates").join(name);
        fs::read(&path).with_context(|| path.display().to_string())
    }

    /// SHA-256 of the RSA EK's SPKI, hex: the last part of the agent's id.
    ///
    /// # Errors
    /// When the TPM was made without certificates.
    pub fn ek_sha256(&self) -> Result<String> {
        spki_sha256(&self.ek_certificate()?)
    }

    /// The same of its other EK, which is to give the machine no second id.
    ///
    /// # Errors
    /// When the TPM was made without certificates.
    pub fn ecc_ek_sha256(&self) -> Result<String> {
        spki_sha256(&self.ecc_ek_certificate()?)
    }
}

fn spki_sha256(der: &[u8]) -> Result<String> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der)?;
    Ok(hex::encode(digest::digest(
        &digest::SHA256,
        certificate.public_key().raw,
    )))
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.power_off();
    }
}
