//! `baseline predict`: an image becomes a baseline.

use std::{fs, path::PathBuf};

use clap::ValueEnum;
use hallmark_policy::predict::{Inputs, MAX_IMAGE, MAX_VARIABLES, Phase, predict};

use super::super::{Context, evidence::read::limited};
use crate::{
    args::out_path,
    error::CliError,
    exit::Exit,
    output::{say, show},
    timestamp,
    view::forecast::ForecastView,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Predict {
    /// The unified kernel image, as it will be installed: signed, if Secure Boot is on
    #[arg(long, value_name = "FILE")]
    uki: PathBuf,
    /// The machines' firmware variables: OVMF_VARS.fd, or what virt-fw-vars --output-json writes; without, PCR 7 is left out
    #[arg(long, value_name = "FILE")]
    firmware_variables: Option<PathBuf>,
    /// An image that the firmware starts before it, such as a boot loader; in their order
    #[arg(long = "earlier-image", value_name = "FILE")]
    earlier_images: Vec<PathBuf>,
    /// Whether Secure Boot is on; what the firmware variables say when left out
    #[arg(long, value_name = "STATE", value_enum)]
    secure_boot: Option<State>,
    /// How many boot entries the firmware tries in vain before, at most: an empty drive, a network without an answer
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=16))]
    failed_entries: u8,
    /// How far machines have booted when they are quoted; may be given several times
    #[arg(long = "phase", value_name = "PHASE", value_enum, default_values_t = [PhaseName::Ready])]
    phases: Vec<PhaseName>,
    /// The baseline's name
    #[arg(long)]
    name: String,
    /// The baseline's serial number, which grows with every change of it
    #[arg(long, default_value_t = 1)]
    serial: u64,
    /// When the baseline was made, RFC 3339; now when left out. With it, the same inputs give the same file
    #[arg(long, value_name = "TIME", value_parser = timestamp::parse_rfc3339)]
    at: Option<i64>,
    /// The baseline file to write; `-o OUT` says the same here, and --output names the form of the report
    #[arg(long, value_name = "OUT", value_parser = out_path)]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PhaseName {
    /// No systemd measures phases
    Stub,
    EnterInitrd,
    LeaveInitrd,
    Sysinit,
    Ready,
    /// Like sysinit, with an initrd that runs no systemd: initramfs-tools
    PlainSysinit,
    /// Like ready, with such an initrd
    PlainReady,
}

impl From<PhaseName> for Phase {
    fn from(name: PhaseName) -> Self {
        match name {
            PhaseName::Stub => Self::Stub,
            PhaseName::EnterInitrd => Self::EnterInitrd,
            PhaseName::LeaveInitrd => Self::LeaveInitrd,
            PhaseName::Sysinit => Self::Sysinit,
            PhaseName::Ready => Self::Ready,
            PhaseName::PlainSysinit => Self::PlainSysinit,
            PhaseName::PlainReady => Self::PlainReady,
        }
    }
}

impl Predict {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let uki = limited(&self.uki, MAX_IMAGE)?;
        let variables = self.firmware_variables.as_deref();
        let variables = variables.map(|path| limited(path, MAX_VARIABLES)).transpose()?;
        let mut earlier = Vec::new();
        for path in &self.earlier_images {
            earlier.push((path.display().to_string(), limited(path, MAX_IMAGE)?));
        }
        let forecast = predict(&Inputs {
            uki: &uki,
            earlier_images: earlier
                .iter()
                .map(|(name, bytes)| (name.clone(), bytes.as_slice()))
                .collect(),
            firmware_variables: variables.as_deref(),
            secure_boot: self.secure_boot.map(|state| state == State::On),
            failed_entries: self.failed_entries,
            phases: self.phases.into_iter().map(Phase::from).collect(),
        })?;
        let view = ForecastView::new(&self.name, &self.out, forecast.clone());
        let created_at = self.at.unwrap_or_else(timestamp::now);
        let baseline = forecast.baseline(&self.name, self.serial, created_at)?;
        fs::write(&self.out, baseline.to_json() + "\n").map_err(|cause| CliError::Write {
            file: self.out.clone(),
            cause,
        })?;
        show(context.format, &view)?;
        say(&format!("written: {}", self.out.display()));
        Ok(Exit::Done)
    }
}
