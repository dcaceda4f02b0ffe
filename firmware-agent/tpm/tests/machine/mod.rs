//! One swtpm behind a proxy that counts and injects faults.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use hallmark_kit::{EkAuthority, Swtpm, SwtpmOptions, TctiProxy};
use hallmark_tpm::{EsysTpm, Tcti};

pub(crate) struct Machine {
    pub(crate) proxy: TctiProxy,
    pub(crate) swtpm: Swtpm,
    folder: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with(SwtpmOptions::default())
    }

    pub(crate) fn with(options: SwtpmOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = EkAuthority::create(&folder.path().join("ca")).unwrap();
        let mut swtpm = Swtpm::manufacture(folder.path(), &authority, options).unwrap();
        swtpm.power_on().unwrap();
        let proxy = TctiProxy::start(swtpm.port()).unwrap();
        Self { proxy, swtpm, folder }
    }

    pub(crate) fn open(&self) -> EsysTpm {
        EsysTpm::open(Tcti::parse(&self.proxy.tcti()).unwrap()).unwrap()
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Transient objects and sessions in the chip right now, asked by another connection.
    pub(crate) fn left_behind(&self) -> usize {
        [CapabilityHandles::Transient, CapabilityHandles::Loaded]
            .into_iter()
            .map(|kind| self.count(kind))
            .sum()
    }

    /// Makes the persistent endorsement keys go away.
    pub(crate) fn evict_endorsement_keys(&self) {
        for handle in ["0x81010001", "0x81010016"] {
            self.tool("tpm2_evictcontrol", &["-C", "o", "-c", handle]);
        }
    }

    /// The TPM goes through a TPM Reset, as at a reboot of its machine.
    pub(crate) fn reset_tpm(&self) {
        self.tool("tpm2_shutdown", &["-c"]);
        let control = format!("127.0.0.1:{}", self.swtpm.port() + 1);
        self.tool("swtpm_ioctl", &["--tcp", &control, "-i"]);
        self.tool("tpm2_startup", &["-c"]);
    }

    fn count(&self, kind: CapabilityHandles) -> usize {
        let name = match kind {
            CapabilityHandles::Transient => "handles-transient",
            CapabilityHandles::Loaded => "handles-loaded-session",
        };
        self.tool("tpm2_getcap", &[name])
            .lines()
            .filter(|line| line.contains("0x"))
            .count()
    }

    pub(crate) fn tool(&self, program: &str, args: &[&str]) -> String {
        let out = std::process::Command::new(program)
            .args(args)
            .env("TPM2TOOLS_TCTI", self.swtpm.tcti())
            .env("TSS2_LOG", "all+none")
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{program} {args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }
}

#[derive(Clone, Copy)]
enum CapabilityHandles {
    Transient,
    Loaded,
}
