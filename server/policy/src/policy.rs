//! Policies: what an operator demands of machines, in files.

mod error;
mod file;
pub(crate) mod value;

pub use error::PolicyError;

use std::collections::{BTreeMap, BTreeSet};

use hallmark_node::{Maker, Model, TpmClass};
use hallmark_spiffe::Selector;

use hallmark_verify::ima::ImaKeys;

pub(crate) use value::check_name;

use crate::glob::Glob;
use crate::ima::DigestList;
use crate::selectors::sha256_hex;

/// A policy, read and checked. The file's keys are documented in `docs/reference/policy.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name, which reasons and selectors show.
    pub name: String,
    /// Grows with every change.
    pub serial: u64,
    /// For whom: machines with all of these selectors; with none, every machine.
    pub applies_to: BTreeSet<Selector>,
    /// Whether it only reports.
    pub dry_run: bool,
    /// Rules over the boot.
    pub boot: Option<BootRules>,
    /// Rules over what was measured while the machine ran.
    pub ima: Option<ImaRules>,
    /// Rules over the TPM and its quote.
    pub tpm: TpmRules,
}

/// Rules over the boot. `None`, and a list that is left out, demand nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootRules {
    /// The boot log must be proven.
    pub required: bool,
    /// The boot log has nothing that no firmware or loader does, and nothing that hides what was measured.
    pub consistent: bool,
    /// Registers behind whose end `consistent` lets anything pass: those that the machine's own firmware extends there.
    pub consistent_except: Option<BTreeSet<u8>>,
    /// Secure Boot is on (or off).
    pub secure_boot: Option<bool>,
    /// The firmware is in setup mode, in which anybody may enrol keys.
    pub setup_mode: Option<bool>,
    /// The firmware is in audit mode, in which every image runs.
    pub audit_mode: Option<bool>,
    /// The firmware is in deployed mode.
    pub deployed_mode: Option<bool>,
    /// The firmware's debugger is enabled.
    pub debug: Option<bool>,
    /// Protection from DMA before boot is on.
    pub dma_protection: Option<bool>,
    /// Whether the firmware handed over to the operating system.
    pub exit_boot_services: Option<bool>,
    /// Versions of the first firmware code.
    pub scrtm_versions: Option<BTreeSet<String>>,
    /// Certificates of the platform key, SHA-256.
    pub pk_certificates: Option<BTreeSet<String>>,
    /// Certificates that may change db and dbx.
    pub kek_certificates: Option<BTreeSet<String>>,
    /// Certificates whose images may boot.
    pub db_certificates: Option<BTreeSet<String>>,
    /// Hashes that dbx must hold.
    pub dbx_at_least: Option<BTreeSet<String>>,
    /// A baseline all of whose dbx hashes dbx must hold.
    pub dbx_of_baseline: Option<String>,
    /// The earliest date of the SBAT revocation level, such as 2023012900.
    pub sbat_at_least: Option<u64>,
    /// Certificates that may have authorised what was booted.
    pub signed_by: Option<BTreeSet<String>>,
    /// Authenticode hashes of what may be booted.
    pub images: Option<BTreeSet<String>>,
    /// How many option ROMs and drivers of cards may have been loaded.
    pub option_roms_at_most: Option<u64>,
    /// Digests of partition tables.
    pub gpt: Option<BTreeSet<String>>,
    /// What GRUB may have done, command by command.
    pub grub: Option<Vec<Glob>>,
    /// Whether certificates of the machine's owner may be enrolled, and which.
    pub mok: Option<MokRule>,
    /// Sections of a unified kernel image, by name.
    pub uki: BTreeMap<String, BTreeSet<String>>,
    /// The last phase that the machine reached.
    pub phases: Option<BTreeSet<String>>,
    /// Kernel command lines.
    pub command_lines: Option<Vec<Glob>>,
    /// Values of registers.
    pub pcrs: BTreeMap<u8, PcrRule>,
    /// Baselines any one of which must match.
    pub baselines: Option<BTreeSet<String>>,
}

/// What shim's list of the owner's certificates may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MokRule {
    /// None is enrolled.
    None,
    /// The list has one of these digests.
    OneOf(BTreeSet<String>),
}

/// What a register may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PcrRule {
    /// It was never extended.
    Zero,
    /// One of these values.
    OneOf(BTreeSet<String>),
}

/// Rules over what the kernel measured while the machine ran. Every line must have a listed digest, or a signature of one of
/// the keys, or an excluded path; that is demanded as soon as there is a list or a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaRules {
    /// The list must be proven.
    pub required: bool,
    /// The first line must be over the quoted registers.
    pub boot_aggregate: bool,
    /// What lines mean that measure nothing.
    pub violations: Violations,
    /// How many lines the list may have.
    pub lines_at_most: Option<u64>,
    /// Digests that files may have.
    pub allow: Option<DigestList>,
    /// Names of lists of digests that files may have.
    pub lists: Option<BTreeSet<String>>,
    /// Whether a digest that is listed for some path is allowed at every path.
    pub any_path: bool,
    /// Keys that may have signed files.
    pub keys: Option<ImaKeys>,
    /// Paths of files that may be anything.
    pub exclude: Option<Vec<Glob>>,
    /// Names of things, other than files, that the kernel may have measured.
    pub buffers: Option<Vec<Glob>>,
}

/// What violations mean: a file was written while it was measured, so its line measures nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violations {
    /// The machine is refused.
    Refuse,
    /// They are passed over.
    Allow,
}

/// Counts up whenever a line may be judged otherwise than before by the same rules: what was found then counts no more.
const JUDGED_AS: u32 = 1;

impl ImaRules {
    /// Whether it says what lines must be.
    pub(crate) const fn judges_lines(&self) -> bool {
        self.allow.is_some() || self.lists.is_some() || self.keys.is_some()
    }

    /// SHA-256 of all that it says of lines, and of which form of judging them this is; `lists` are those of the lists that
    /// there are.
    pub(crate) fn mark(&self, lists: &BTreeMap<String, String>) -> String {
        let named = self.lists.iter().flatten().map(|name| (name, lists.get(name)));
        let keys = self
            .keys
            .iter()
            .flat_map(ImaKeys::iter)
            .map(|key| (key.id(), key.sha256()));
        let globs = |globs: &Option<Vec<Glob>>| -> Vec<String> {
            let globs = globs.iter().flatten();
            globs.map(|glob| glob.as_str().to_owned()).collect()
        };
        let said = serde_json::json!({
            "judged_as": JUDGED_AS,
            "allow": self.allow.as_ref().map(DigestList::to_json),
            "lists": self.lists.is_some().then(|| named.collect::<BTreeMap<_, _>>()),
            "any_path": self.any_path,
            "keys": self.keys.is_some().then(|| keys.collect::<Vec<_>>()),
            "exclude": globs(&self.exclude),
            "buffers": globs(&self.buffers),
        });
        sha256_hex(said.to_string().as_bytes())
    }
}

/// Rules over the TPM and its quote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TpmRules {
    /// Classes of TPMs, beyond what the configuration allows.
    pub classes: Option<BTreeSet<TpmClass>>,
    /// EKs, by the SHA-256 of their SPKI.
    pub denied_eks: Option<BTreeSet<String>>,
    /// Manufacturers, as EK certificates name them.
    pub denied_manufacturers: Option<BTreeSet<Maker>>,
    /// Models, as EK certificates name them.
    pub denied_models: Option<BTreeSet<Model>>,
    /// Firmware versions, as quotes report them.
    pub denied_firmware: Option<BTreeSet<u64>>,
    /// The lowest firmware version, as quotes report them.
    pub firmware_at_least: Option<u64>,
    /// The TPM's clock must be safe (or not).
    pub clock_safe: Option<bool>,
    /// The oldest quote that still counts, in seconds.
    pub max_quote_age: Option<u64>,
}

impl TpmRules {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Policy {
    /// No policy file is larger, in bytes.
    pub const MAX_BYTES: usize = 4 * 1024 * 1024;

    /// Reads a policy. `file` is what errors call it.
    ///
    /// # Errors
    /// [`PolicyError`], with line, key and fix.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, PolicyError> {
        file::read(file, text)
    }
}
