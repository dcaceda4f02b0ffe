//! Facts of a boot.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What the replayed logs say of the boot, only as far as the quoted registers authenticate it. Digests are lower-case hex.
///
/// `None` and an empty list mean: not measured, or measured into a register that was not quoted. A list's emptiness proves
/// something only if its register was quoted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BootFacts {
    /// Secure Boot is on (PCR 7, variable `SecureBoot`).
    pub secure_boot: Option<bool>,
    /// The firmware is in setup mode: anybody may enrol keys (PCR 7; no platform key, or variable `SetupMode`).
    pub setup_mode: Option<bool>,
    /// The firmware is in deployed mode (PCR 7, variable `DeployedMode`).
    pub deployed_mode: Option<bool>,
    /// The firmware is in audit mode (PCR 7, variable `AuditMode`).
    pub audit_mode: Option<bool>,
    /// The platform key (PCR 7).
    pub pk: Option<SignatureDatabase>,
    /// Who may change db and dbx (PCR 7).
    pub kek: Option<SignatureDatabase>,
    /// Who may sign what boots (PCR 7).
    pub db: Option<SignatureDatabase>,
    /// What may not boot (PCR 7).
    pub dbx: Option<SignatureDatabase>,
    /// The hashes in dbx.
    pub dbx_hashes: BTreeSet<String>,
    /// shim's revocation level, CSV (PCR 7, `SbatLevel`).
    pub sbat_level: Option<String>,
    /// The switches of shim (PCR 7). They authorise nothing.
    pub shim: ShimSwitches,
    /// What authorised the images that were booted, in order (PCR 7; another register is no place for it, and counts).
    pub authorities: Vec<Authority>,
    /// Events that may be what authorised an image, and name nobody, outside of the place of authorities. By number.
    pub hidden_authorities: BTreeSet<u32>,
    /// Images that were booted, in order (PCR 2 and 4).
    pub images: Vec<Image>,
    /// Option ROMs and drivers of cards (PCR 2).
    pub option_roms: u32,
    /// The version of the first firmware code (PCR 0).
    pub scrtm_version: Option<String>,
    /// The firmware's debugger was enabled (PCR 7, "UEFI Debug Mode"; another register of the firmware that says so counts).
    pub debug: Option<bool>,
    /// Protection from DMA was off before boot (PCR 7, "DMA Protection Disabled"; another register of the firmware that says
    /// so counts).
    pub dma_protection_disabled: bool,
    /// Digest of the partition table of the disk that was booted (PCR 5).
    pub gpt: Option<String>,
    /// What GRUB did and read (PCR 8 and 9), as far as a digest authenticates the words.
    pub grub: Vec<String>,
    /// The owner's certificates, as shim measured them (PCR 14).
    pub mok: OwnerKeys,
    /// Digest of each section of the unified kernel image (PCR 11).
    pub uki_sections: BTreeMap<String, String>,
    /// Phases that the boot went through (PCR 11).
    pub phases: Vec<String>,
    /// No log has the phases: they are systemd's words that give the quoted PCR 11 behind the firmware's log.
    pub phases_unlogged: bool,
    /// The kernel's command line (PCR 8, 9 or 12).
    pub command_line: Option<String>,
    /// What loaders measured that no word of the log authenticates: command line, initrd, files (PCR 8 and 9).
    pub loaded: Vec<Measured>,
    /// Digests by bank of the archive that systemd-stub made of NvPCR anchors and nothing else (PCR 12).
    pub nvpcr_anchors: BTreeMap<String, String>,
    /// Overrides of the command line, credentials and add-ons (PCR 12).
    pub overrides: Vec<Measured>,
    /// The NvPCRs that systemd set up, as it measured them before their separator (PCR 9).
    pub nvpcrs: Vec<String>,
    /// System extensions (PCR 13).
    pub system_extensions: Vec<Measured>,
    /// What systemd measured of the system: machine id, file systems (PCR 15).
    pub system_identity: Vec<Measured>,
    /// Events in the firmware's registers that no firmware makes there at that time, by number.
    pub unexpected: BTreeSet<u32>,
    /// Why facts are not proven although their register was quoted: the log contradicts itself or hides something.
    pub doubts: BTreeSet<String>,
    /// The replayed registers, as `sha256:7`.
    pub pcrs: BTreeMap<String, String>,
    /// The firmware handed over to the operating system (PCR 5).
    pub exit_boot_services: bool,
    /// How many events the logs have.
    pub event_count: u32,
}

/// A UEFI signature database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureDatabase {
    /// SHA-256 of the variable's data.
    pub sha256: String,
    /// Its certificates.
    pub certificates: Vec<CertificateRef>,
    /// How many hashes it has.
    pub hashes: u32,
}

/// A certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRef {
    /// SHA-256 of the certificate, DER.
    pub sha256: String,
    /// Its subject.
    pub subject: String,
}

/// The switches that the machine's owner can set in shim with mokutil, as far as shim measured them into PCR 7; `None` for
/// one that it did not. Anything but a single byte 0 is on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShimSwitches {
    /// `MokSBState`: shim verifies no image.
    pub validation_disabled: Option<bool>,
    /// `MokDBState`: shim does not look into the firmware's db.
    pub db_ignored: Option<bool>,
    /// `MokListTrusted`: the kernel may trust the owner's keys, for modules. Nothing that boots hangs on it.
    pub mok_list_trusted: Option<bool>,
}

/// A certificate or hash that authorised an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The event's position.
    #[serde(default)]
    pub event: u32,
    /// The variable that it stands in: `db`, `MokList`.
    pub variable: String,
    /// SHA-256 of the certificate, DER; or the hash itself.
    pub sha256: String,
    /// The certificate's subject; empty for a hash.
    pub subject: String,
}

/// An image that was booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The register that it was measured into.
    pub pcr: u8,
    /// What it is.
    pub kind: ImageKind,
    /// Its Authenticode hash, SHA-256.
    pub sha256: String,
    /// Where it came from; not authenticated.
    #[serde(alias = "path")]
    pub hint: String,
}

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageKind {
    /// A boot loader or kernel.
    BootApplication,
    /// A driver that ends with the firmware.
    BootDriver,
    /// A driver that stays.
    RuntimeDriver,
}

/// shim's owner's certificates: digests of what it measured (PCR 14).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnerKeys {
    /// Of `MokList`.
    pub list: Option<String>,
    /// Of `MokListX`.
    pub revoked: Option<String>,
    /// Of `MokListTrusted`.
    pub trusted: Option<String>,
}

/// Something that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The event's position.
    pub event: u32,
    /// Its SHA-256 digest.
    pub sha256: String,
    /// The measured text; `None` where no digest authenticates it.
    pub text: Option<String>,
    /// What the log says that it is; not authenticated.
    pub hint: String,
}

/// An event of a boot log, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootEvent {
    /// Its position, from 0.
    pub number: u32,
    /// The register.
    pub pcr: u8,
    /// Its type, such as `EV_SEPARATOR`.
    pub kind: String,
    /// Its SHA-256 digest.
    pub digest: String,
    /// What it is about.
    pub text: String,
    /// What of it the digest authenticates.
    pub authentication: EventAuthentication,
}

/// What of an event its digest authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventAuthentication {
    /// All of its data.
    ByDigest,
    /// A known part or form of its data.
    ByDerivedDigest,
    /// Something that is not in the log.
    External,
    /// Nothing.
    None,
}
