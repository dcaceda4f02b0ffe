//! The third part: the machine's state.

use std::time::SystemTime;

use hallmark_evidence::{Log, LogDigest, LogKind, Signed};
use hallmark_tpm_wire::{ClockInfo, PcrSelection, PcrValues, PublicArea};

use crate::boot::{MeasuredBoot, measured_boot};
use crate::challenge::is_resettable;
use crate::history::QuoteClock;
use crate::ima::{ImaListError, MeasuredFiles, measured_files};
use crate::logs::{continued, require_announced};
use crate::statement::{Boot, CheckedQuote, QuoteRules, StatementError, StatementFault, StatementKind, check_quote};
use crate::verify_logs::HeldLogs;
use crate::verify_state::StateProof;
use crate::{ProvenLogs, VerifyError};

/// Proven: the machine of this AK had exactly these values in exactly the quoted registers, when it answered. The logs that
/// its quote is bound to have yet to come.
///
/// Not proven: where the AK lives (a [`ProvenTpm`](super::ProvenTpm)), nor that the values are good (policy).
#[derive(Debug, Clone)]
pub struct QuotedState {
    quote: Signed,
    selection: PcrSelection,
    /// Of every quoted register.
    values: PcrValues,
    clock: ClockInfo,
    firmware_version: u64,
    announced: Vec<LogDigest>,
}

/// Proven: the state of [`QuotedState`], with the logs that led there.
#[derive(Debug)]
pub struct ProvenState {
    quoted: QuotedState,
    /// Without registers that programs may reset.
    pcrs: PcrValues,
    boot: Option<MeasuredBoot>,
    boot_logs: (Vec<u8>, Vec<u8>),
    ima: Option<MeasuredFiles>,
}

/// What was read from logs that hold.
#[derive(Debug, Default)]
pub(crate) struct MeasuredLogs {
    pub(crate) boot: Option<MeasuredBoot>,
    pub(crate) boot_logs: (Vec<u8>, Vec<u8>),
    pub(crate) ima: Option<MeasuredFiles>,
}

impl QuotedState {
    /// Judges the quote of an answer: by `ak`, under `binding`, over exactly the registers that were `asked` for.
    ///
    /// # Errors
    /// [`VerifyError`] for the first thing that does not hold.
    pub(crate) fn verify(
        ak: &PublicArea,
        proof: StateProof,
        binding: &[u8; 32],
        asked: &PcrSelection,
    ) -> Result<Self, VerifyError> {
        let rules = QuoteRules {
            ak: Some(ak),
            endorsement_primary: true,
            qualification: binding,
            asked: Some(asked),
        };
        let values = proof.pcr_values;
        let checked = check_quote(&proof.quote, &rules, |_, _| Ok(values), &mut |_, result| result)?;
        let unproven = StatementError {
            kind: StatementKind::Quote,
            fault: StatementFault::Signature,
        };
        let state = Self::of(checked, proof.quote).ok_or(unproven)?;
        Ok(Self {
            announced: proof.logs,
            ..state
        })
    }

    /// The state of a quote every check of which held, as it was `signed`.
    pub(crate) fn of(checked: CheckedQuote, signed: Signed) -> Option<Self> {
        let (attest, selection, values) = checked.proven()?;
        Some(Self {
            quote: signed,
            selection,
            values,
            clock: attest.clock_info,
            firmware_version: attest.firmware_version,
            announced: Vec::new(),
        })
    }

    /// Clock (ms), resetCount, restartCount and `safe`, from the quote: they tell whether what is held of the machine's
    /// logs is of the same boot.
    #[must_use]
    pub const fn clock_info(&self) -> &ClockInfo {
        &self.clock
    }

    /// Counters, clock and firmware version of the quote, seen at `now`: what must follow the quote before.
    #[must_use]
    pub fn quote_clock(&self, now: SystemTime) -> QuoteClock {
        QuoteClock::of_quote(&self.clock, self.firmware_version, now)
    }

    /// The logs that must follow, in this order.
    #[must_use]
    pub fn logs(&self) -> &[LogDigest] {
        &self.announced
    }

    pub(crate) const fn boot(&self) -> Boot {
        Boot::new(&self.clock, self.firmware_version)
    }

    /// Judges the logs that followed.
    ///
    /// # Errors
    /// [`VerifyError`] if they are not the announced ones, do not go on where `held` ends, or do not give the quoted
    /// registers.
    pub fn with_logs(self, logs: Vec<Log>, held: &HeldLogs) -> Result<ProvenState, VerifyError> {
        require_announced(&self.announced, &logs)?;
        let mut measured = MeasuredLogs::default();
        let (mut tcg, mut systemd) = (None, None);
        for log in logs {
            match log.kind {
                LogKind::Tcg => tcg = Some(continued(&log, &held.tcg)?),
                LogKind::Systemd => systemd = Some(continued(&log, &held.systemd)?),
                LogKind::Ima => {
                    let replay = match (log.offset, &held.ima) {
                        (0, _) => None,
                        (offset, Some((length, replay))) if offset == *length => Some(replay.clone()),
                        (actual, held) => {
                            let expected = held.as_ref().map_or(0, |(length, _)| *length);
                            return Err(ImaListError::Offset { expected, actual }.into());
                        }
                    };
                    let files = measured_files(log.data, replay, &self.values)?;
                    files.require_own_boot()?;
                    measured.ima = Some(files);
                }
                _ => {}
            }
        }
        measured.boot = measured_boot(tcg.as_deref(), systemd.as_deref(), &self.values)?;
        measured.boot_logs = (tcg.unwrap_or_default(), systemd.unwrap_or_default());
        Ok(self.measured(measured))
    }

    /// With logs that were held against [`values`](Self::values).
    pub(crate) fn measured(self, logs: MeasuredLogs) -> ProvenState {
        let mut pcrs = PcrValues::new();
        for (bank, pcr, value) in self.values.iter().filter(|(_, pcr, _)| !is_resettable(*pcr)) {
            // As many went in before.
            let _full = pcrs.insert(bank, pcr, value.to_vec());
        }
        ProvenState {
            quoted: self,
            pcrs,
            boot: logs.boot,
            boot_logs: logs.boot_logs,
            ima: logs.ima,
        }
    }
}

impl ProvenState {
    /// What was quoted.
    #[must_use]
    pub const fn selection(&self) -> &PcrSelection {
        &self.quoted.selection
    }

    /// The values of the quoted registers, but for those that any program may reset: they say nothing of the boot.
    #[must_use]
    pub const fn pcrs(&self) -> &PcrValues {
        &self.pcrs
    }

    /// Clock (ms), resetCount, restartCount and `safe`, from the quote.
    #[must_use]
    pub const fn clock_info(&self) -> &ClockInfo {
        &self.quoted.clock
    }

    /// The TPM's firmware version, from the quote; its form is the vendor's.
    #[must_use]
    pub const fn firmware_version(&self) -> u64 {
        self.quoted.firmware_version
    }

    /// Counters, clock and firmware version of the quote, seen at `now`: what must follow the quote before.
    #[must_use]
    pub fn quote_clock(&self, now: SystemTime) -> QuoteClock {
        self.quoted.quote_clock(now)
    }

    /// What was booted; `None` if no boot log came.
    #[must_use]
    pub const fn boot(&self) -> Option<&MeasuredBoot> {
        self.boot.as_ref()
    }

    /// The firmware's and systemd's log, whole; empty where none came.
    #[must_use]
    pub fn boot_logs(&self) -> (&[u8], &[u8]) {
        (&self.boot_logs.0, &self.boot_logs.1)
    }

    /// What the kernel measured; `None` if no IMA list came.
    #[must_use]
    pub const fn ima(&self) -> Option<&MeasuredFiles> {
        self.ima.as_ref()
    }

    /// Gives the logs' bytes away, to be kept; what was read from them stays. Long lists need not be in memory twice.
    pub fn take_logs(&mut self) -> ProvenLogs {
        let (tcg, systemd) = std::mem::take(&mut self.boot_logs);
        ProvenLogs {
            tcg,
            systemd,
            ima: self.ima.as_mut().map(MeasuredFiles::take_data).unwrap_or_default(),
        }
    }

    pub(crate) const fn quote(&self) -> &Signed {
        &self.quoted.quote
    }
}
