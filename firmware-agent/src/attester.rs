//! The machine's side of an attestation: what the TPM shows, and how its answers are put together.

use std::time::{SystemTime, UNIX_EPOCH};

use hallmark_api::attest::LogOffset;
use hallmark_evidence::Log;
use hallmark_tpm::{Credential, Endorsement, KeyId, Signed, TpmError, TpmHandle, Unique};
use hallmark_tpm_wire::{Attest, AttestKind, ClockInfo, HashAlg, PcrSelection, PcrValues, PublicArea, pcr_digest};
use zeroize::Zeroizing;

use crate::{
    AgentError,
    blocking::blocking,
    csr,
    measurements::{LogPaths, Reading},
    registers::proven_by,
};

/// How often a quote is repeated because registers moved between it and the reading of them.
const QUOTE_ATTEMPTS: u32 = 5;

/// An SVID key in the TPM that is ready to be attested.
#[derive(Debug, Clone)]
pub struct NextKey {
    /// What the key is made from.
    pub unique: Unique,
    /// Its name in the driver.
    pub id: KeyId,
    /// Its public area.
    pub public: PublicArea,
    /// Its certificate request, DER.
    pub csr: Vec<u8>,
}

/// A TPM with what is known of it, so that nothing is asked twice.
#[derive(Debug)]
pub struct Attester {
    tpm: TpmHandle,
    read_chain: bool,
    logs: LogPaths,
    known: Option<Known>,
    pcrs: Option<PcrValues>,
    session: u64,
}

/// The public half of the machine's attestation identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The endorsement key.
    pub endorsement: Endorsement,
    /// Certificates between it and its root, from NV.
    pub chain: Vec<Vec<u8>>,
    /// The attestation key.
    pub attestation_key: PublicArea,
}

/// Without randomness (then no key is made either) the process and the time tell runs apart.
fn drawn() -> u64 {
    let mut bytes = [0; 8];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanoseconds = u64::try_from(since.as_nanos()).unwrap_or_default();
        bytes = (nanoseconds ^ u64::from(std::process::id())).to_ne_bytes();
    }
    u64::from_ne_bytes(bytes).max(1)
}

impl Attester {
    /// An attester that knows nothing yet. `read_chain`: whether the EK certificate's chain is read from NV. `logs`: where
    /// the machine's measurement logs are.
    #[must_use]
    pub fn new(tpm: TpmHandle, read_chain: bool, logs: LogPaths) -> Self {
        Self {
            session: drawn(),
            tpm,
            read_chain,
            logs,
            known: None,
            pcrs: None,
        }
    }

    /// Takes over what an earlier run of the agent learned. The attestation key is checked when it is next made; a
    /// TPM that makes another one is asked for everything again.
    pub fn recall(&mut self, known: Known, pcrs: Option<PcrValues>) {
        self.known = Some(known);
        self.pcrs = pcrs;
    }

    /// The number of this run of the agent: the server tells by it a machine that was started again from two machines
    /// with one TPM's state.
    #[must_use]
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// The TPM.
    #[must_use]
    pub const fn tpm(&self) -> &TpmHandle {
        &self.tpm
    }

    /// The values of the last quote.
    #[must_use]
    pub const fn pcrs(&self) -> Option<&PcrValues> {
        self.pcrs.as_ref()
    }

    /// What is known of the machine.
    #[must_use]
    pub const fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// The machine's endorsement and attestation key.
    ///
    /// # Errors
    /// The TPM's.
    pub async fn identify(&mut self) -> Result<Known, TpmError> {
        if let Some(known) = &self.known {
            let attestation_key = self.tpm.attestation_key().await?;
            if attestation_key == known.attestation_key {
                return Ok(known.clone());
            }
            tracing::warn!("this is another TPM than before, or it was cleared");
        }
        let endorsement = self.tpm.endorsement().await?;
        let chain = if self.read_chain {
            self.tpm.endorsement_chain().await?
        } else {
            Vec::new()
        };
        let attestation_key = self.tpm.attestation_key().await?;
        let known = Known {
            endorsement,
            chain,
            attestation_key,
        };
        self.known = Some(known.clone());
        Ok(known)
    }

    /// Makes a fresh SVID key and its certificate request: two commands.
    ///
    /// # Errors
    /// The TPM's; or there is no randomness.
    pub async fn next_key(&self) -> Result<NextKey, AgentError> {
        let mut unique = [0; 32];
        aws_lc_rs::rand::fill(&mut unique).map_err(|error| AgentError::Key {
            detail: error.to_string(),
        })?;
        self.key_from(Unique(unique)).await
    }

    /// The SVID key that `unique` stands for, with its certificate request.
    ///
    /// # Errors
    /// The TPM's.
    pub async fn key_from(&self, unique: Unique) -> Result<NextKey, AgentError> {
        let made = self.tpm.svid_key(unique).await?;
        let (tpm, id, public) = (self.tpm.clone(), made.id, made.public.clone());
        match blocking(move || csr::for_tpm_key(&tpm, id, &public)).await {
            Ok(csr) => Ok(NextKey {
                unique,
                id,
                public: made.public,
                csr,
            }),
            Err(error) => {
                let _ = self.tpm.release(id).await;
                Err(error)
            }
        }
    }

    /// What is in the server's credential.
    ///
    /// # Errors
    /// The TPM's; the credential was made for another TPM.
    pub async fn activate(&self, known: &Known, credential: Credential) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.tpm.activate(known.endorsement.public.clone(), credential).await
    }

    /// The measurement logs that the server wants.
    ///
    /// # Errors
    /// As [`LogPaths::read`].
    pub async fn read_logs(&self, wanted: Vec<LogOffset>) -> Result<Reading, AgentError> {
        let logs = self.logs.clone();
        blocking(move || logs.read(&wanted)).await
    }

    /// The same logs once more.
    ///
    /// # Errors
    /// As [`LogPaths::again`].
    pub async fn read_logs_again(&self, reading: Reading, whole: bool) -> Result<Reading, AgentError> {
        let logs = self.logs.clone();
        blocking(move || logs.again(reading, whole)).await
    }

    /// Whether the bound logs are as they were read; with it, what was read.
    ///
    /// # Errors
    /// As [`LogPaths::stood_still`].
    pub async fn logs_stood_still(&self, reading: Reading) -> Result<(bool, Reading), AgentError> {
        let logs = self.logs.clone();
        blocking(move || Ok((logs.stood_still(&reading)?, reading))).await
    }

    /// A quote with the values that give its digest, and the logs that are read behind it.
    ///
    /// The values come from what the agent knows (the last quote's, or those that the logs give) where that gives the
    /// quoted digest, which proves them; the registers are read only where it does not. A register that moves between
    /// quote and reading makes both happen again.
    ///
    /// # Errors
    /// The TPM's; the registers never stood still; or as [`LogPaths::after_quote`].
    pub async fn quote(
        &mut self,
        selection: &PcrSelection,
        binding: [u8; 32],
        reading: &Reading,
    ) -> Result<Quoted, AgentError> {
        for _ in 0..QUOTE_ATTEMPTS {
            let quote = self.tpm.quote(selection.clone(), binding).await?;
            let (clock, digest) = quoted(&quote)?;
            let (logs, bound, last) = (self.logs.clone(), reading.clone(), self.pcrs.clone());
            let (asked, wanted) = (selection.clone(), digest.clone());
            let (growing, known) = blocking(move || {
                let growing = logs.after_quote(&bound, &clock)?;
                let all = [bound.logs, growing.clone()].concat();
                Ok((growing, proven_by(&wanted, &asked, last.as_ref(), &all)))
            })
            .await?;
            let values = match known {
                Some(values) => values,
                None => self.tpm.read_pcrs(selection.clone()).await?,
            };
            self.pcrs = Some(values.clone());
            if pcr_digest(selection, &values, HashAlg::Sha256).is_ok_and(|computed| computed == digest) {
                return Ok(Quoted {
                    quote,
                    clock,
                    values,
                    growing,
                });
            }
            tracing::info!("a PCR moved between quote and reading; quoting again");
        }
        Err(TpmError::PcrsMoving {
            attempts: QUOTE_ATTEMPTS,
        }
        .into())
    }
}

/// A quote and what goes with it.
#[derive(Debug)]
pub struct Quoted {
    /// The statement.
    pub quote: Signed,
    /// Its clock and counters.
    pub clock: ClockInfo,
    /// The registers that it covers.
    pub values: PcrValues,
    /// The logs that no statement is bound to.
    pub growing: Vec<Log>,
}

fn quoted(quote: &Signed) -> Result<(ClockInfo, Vec<u8>), TpmError> {
    let malformed = |detail: String| TpmError::Malformed {
        command: "TPM2_Quote",
        detail,
    };
    let attest = Attest::parse(&quote.attest).map_err(|error| malformed(error.to_string()))?;
    match attest.kind {
        AttestKind::Quote(info) => Ok((attest.clock_info, info.pcr_digest)),
        _ => Err(malformed("another attestation structure than a quote".into())),
    }
}
