//! The control of issuing: the cryptography that it cannot avoid, and nothing else.
//!
//! It runs in a process of its own, since the token's module reads the environment.

use crate::cpu;
use crate::domain::{AUTHORITY_KEY, Domain};
use anyhow::{Context as _, Result, ensure};
use hallmark_authority::SubjectKey;
use hallmark_kit::Token;
use hallmark_pkcs11::{Pkcs11Config, TokenSelector, raw_sign_rate};
use hallmark_verify::testing::SoftwareKey;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// As many as the server holds sessions.
const THREADS: u32 = 4;
const EACH: Duration = Duration::from_millis(1000);

/// The first word of the command line of the control's process.
pub(crate) const WORD: &str = "control-crypto";

/// Rates per second over all threads, and processor time for one.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Crypto {
    sign_rate: f64,
    pub(crate) sign_cpu_us: f64,
    verify_rate: f64,
    verify_cpu_us: f64,
}

impl Crypto {
    /// One C_Sign and so many verifications after the other, per second.
    pub(crate) fn rate(&self, verifications: f64) -> f64 {
        1.0 / (1.0 / self.sign_rate + verifications / self.verify_rate)
    }

    /// Their processor time.
    pub(crate) fn cpu_us(&self, verifications: f64) -> f64 {
        self.sign_cpu_us + verifications * self.verify_cpu_us
    }

    /// Measures with the token and the key of the domain's server.
    pub(crate) fn measure(domain: &mut Domain) -> Result<Self> {
        let token = domain.lab.server().token();
        let out = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .arg(Token::module())
            .arg(token.label())
            .arg(token.pin_file())
            .arg(AUTHORITY_KEY)
            .env("SOFTHSM2_CONF", token.conf())
            .output()?;
        ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Ok(serde_json::from_slice(&out.stdout)?)
    }

    /// The mean of several.
    pub(crate) fn mean(all: &[Self]) -> Result<Self> {
        let count = f64::from(u32::try_from(all.len())?);
        let mean = |field: fn(&Self) -> f64| all.iter().map(field).sum::<f64>() / count;
        Ok(Self {
            sign_rate: mean(|c| c.sign_rate),
            sign_cpu_us: mean(|c| c.sign_cpu_us),
            verify_rate: mean(|c| c.verify_rate),
            verify_cpu_us: mean(|c| c.verify_cpu_us),
        })
    }
}

/// The control's process.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let [module, token, pin_file, key] = args else {
        anyhow::bail!("{WORD} MODULE TOKEN PIN_FILE KEY")
    };
    let pin = std::fs::read_to_string(Path::new(pin_file))?;
    let config = Pkcs11Config::new(
        module,
        TokenSelector::labelled(token),
        pin.trim().to_owned().into(),
        usize::try_from(THREADS)?,
    );
    let me = std::process::id();

    let before = cpu::of_process(me)?;
    let started = Instant::now();
    let sign_rate = raw_sign_rate(&config, key, EACH)?;
    let signed = sign_rate * started.elapsed().as_secs_f64();
    let sign_cpu_us = (cpu::of_process(me)? - before) / signed;

    let before = cpu::of_process(me)?;
    let verified = verify_csrs()?;
    let verify_cpu_us = (cpu::of_process(me)? - before) / verified;
    let verify_rate = verified / EACH.as_secs_f64();
    let told = serde_json::to_string(&Crypto {
        sign_rate,
        sign_cpu_us,
        verify_rate,
        verify_cpu_us,
    })?;
    Ok(writeln!(std::io::stdout(), "{told}")?)
}

fn verify_csrs() -> Result<f64> {
    let key = SoftwareKey::svid();
    let csr = key.csr_for(&key.spki());
    let end = Instant::now() + EACH;
    let start = |csr: Vec<u8>| std::thread::spawn(move || verify_until(&csr, end));
    let threads: Vec<_> = (0..THREADS).map(|_| start(csr.clone())).collect();
    let mut sum = 0;
    for thread in threads {
        sum += thread.join().ok().context("a thread ended early")??;
    }
    Ok(f64::from(sum))
}

fn verify_until(csr: &[u8], end: Instant) -> Result<u32> {
    let mut count = 0;
    while Instant::now() < end {
        SubjectKey::from_csr(csr)?;
        count += 1;
    }
    Ok(count)
}
