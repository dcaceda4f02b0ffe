//! A recorded boot, replayed into a TPM: what the firmware, the loader and the kernel of another machine measured.

use crate::tpm_socket::TpmSocket;
use anyhow::{Context as _, Result};
use hallmark_evidence::ima::{ImaList, ImaReplay};
use hallmark_evidence::tcg::TcgLog;
use hallmark_tpm_wire::HashAlg;
use std::fs;
use std::path::{Path, PathBuf};

/// The logs of a boot: `eventlog.bin` and, if there is one, `ima.bin` of a folder.
#[derive(Debug, Clone)]
pub struct RecordedBoot {
    /// The firmware's log.
    pub eventlog: PathBuf,
    /// The IMA list, in binary form.
    pub ima: Option<PathBuf>,
}

impl RecordedBoot {
    /// The boot of this folder.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let ima = folder.join("ima.bin");
        Self {
            eventlog: folder.join("eventlog.bin"),
            ima: ima.exists().then_some(ima),
        }
    }

    /// One of the project's vectors, by its name: `base`, `cmdline`, `sb-on` …
    #[must_use]
    pub fn vector(name: &str) -> Self {
        Self::of(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../vectors/measured-boot")
                .join(name),
        )
    }

    /// Extends the SHA-256 registers of a TPM, which has just been reset, as the logs say.
    ///
    /// # Errors
    /// When a log does not read or the TPM refuses.
    pub(crate) fn replay(&self, tpm: &mut TpmSocket) -> Result<()> {
        let log = fs::read(&self.eventlog).with_context(|| self.eventlog.display().to_string())?;
        for event in TcgLog::parse(&log)?.events().iter().filter(|event| event.is_measured()) {
            let digest = event
                .digest(HashAlg::Sha256)
                .context("an event without a SHA-256 digest")?;
            tpm.extend(u8::try_from(event.pcr)?, digest.try_into()?)?;
        }
        let Some(ima) = &self.ima else { return Ok(()) };
        for line in ImaList::new(&fs::read(ima)?).lines() {
            tpm.extend(ImaReplay::PCR, line?.extension(HashAlg::Sha256).as_slice().try_into()?)?;
        }
        Ok(())
    }
}
