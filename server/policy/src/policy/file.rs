//! The file as it is written.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_node::{Maker, Model, TpmClass};
use hallmark_settings::{Form, Overrides};
use hallmark_spiffe::Selector;
use hallmark_verify::ima::ImaKeys;
use serde::Deserialize;

use super::{BootRules, ImaRules, MokRule, PcrRule, Policy, PolicyError, TpmRules, Violations, value};
use crate::glob::Glob;
use crate::ima::DigestList;

const FORM: Form = Form {
    check: "hallmark policy check",
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(deserialize_with = "value::name")]
    name: String,
    serial: u64,
    #[serde(default, deserialize_with = "value::applies_to")]
    applies_to: BTreeSet<Selector>,
    #[serde(default)]
    mode: ModeTable,
    boot: Option<BootTable>,
    ima: Option<ImaTable>,
    #[serde(default)]
    tpm: TpmTable,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ModeTable {
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BootTable {
    required: bool,
    consistent: bool,
    #[serde(deserialize_with = "value::closed_registers")]
    consistent_except: Option<BTreeSet<u8>>,
    secure_boot: Option<bool>,
    setup_mode: Option<bool>,
    audit_mode: Option<bool>,
    deployed_mode: Option<bool>,
    debug: Option<bool>,
    dma_protection: Option<bool>,
    exit_boot_services: Option<bool>,
    #[serde(deserialize_with = "value::texts")]
    scrtm_versions: Option<BTreeSet<String>>,
    #[serde(deserialize_with = "value::digests")]
    pk_certificates: Option<BTreeSet<String>>,
    #[serde(deserialize_with = "value::digests")]
    kek_certificates: Option<BTreeSet<String>>,
    #[serde(deserialize_with = "value::digests")]
    db_certificates: Option<BTreeSet<String>>,
    #[serde(deserialize_with = "value::digests")]
    dbx_at_least: Option<BTreeSet<String>>,
    #[serde(deserialize_with = "value::optional_name")]
    dbx_of_baseline: Option<String>,
    sbat_at_least: Option<u64>,
    #[serde(deserialize_with = "value::digests")]
    signed_by: Option<BTreeSet<String>>,
    #[serde(deserialize_with = "value::digests")]
    images: Option<BTreeSet<String>>,
    option_roms_at_most: Option<u64>,
    #[serde(deserialize_with = "value::digests")]
    gpt: Option<BTreeSet<String>>,
    #[serde(deserialize_with = "value::globs")]
    grub: Option<Vec<Glob>>,
    #[serde(deserialize_with = "value::mok")]
    mok: Option<MokRule>,
    #[serde(deserialize_with = "value::sections")]
    uki: BTreeMap<String, BTreeSet<String>>,
    #[serde(deserialize_with = "value::texts")]
    phases: Option<BTreeSet<String>>,
    #[serde(deserialize_with = "value::globs")]
    command_lines: Option<Vec<Glob>>,
    #[serde(deserialize_with = "value::pcrs")]
    pcrs: BTreeMap<u8, PcrRule>,
    #[serde(deserialize_with = "value::names")]
    baselines: Option<BTreeSet<String>>,
}

impl Default for BootTable {
    fn default() -> Self {
        BootRules {
            required: true,
            ..BootRules::default()
        }
        .into()
    }
}

/// The file's table and the rules have the same fields; the table alone knows how they are written.
macro_rules! same_fields {
    ($from:ident -> $to:ident { $($field:ident),+ $(,)? }) => {
        impl From<$from> for $to {
            fn from(from: $from) -> Self {
                let $from { $($field),+ } = from;
                Self { $($field),+ }
            }
        }
    };
}

macro_rules! boot_fields {
    ($from:ident -> $to:ident) => {
        same_fields!($from -> $to {
            required, consistent, consistent_except, secure_boot, setup_mode, audit_mode, deployed_mode, debug, dma_protection, exit_boot_services,
            scrtm_versions, pk_certificates, kek_certificates, db_certificates, dbx_at_least, dbx_of_baseline,
            sbat_at_least, signed_by, images, option_roms_at_most, gpt, grub, mok, uki, phases, command_lines, pcrs,
            baselines,
        });
    };
}

boot_fields!(BootTable -> BootRules);
boot_fields!(BootRules -> BootTable);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ImaTable {
    required: bool,
    boot_aggregate: bool,
    #[serde(deserialize_with = "value::violations")]
    violations: Violations,
    lines_at_most: Option<u64>,
    #[serde(deserialize_with = "value::allow")]
    allow: Option<DigestList>,
    #[serde(deserialize_with = "value::names")]
    lists: Option<BTreeSet<String>>,
    any_path: bool,
    #[serde(deserialize_with = "value::keys")]
    keys: Option<ImaKeys>,
    #[serde(deserialize_with = "value::measured_globs")]
    exclude: Option<Vec<Glob>>,
    #[serde(deserialize_with = "value::measured_globs")]
    buffers: Option<Vec<Glob>>,
}

impl Default for ImaTable {
    fn default() -> Self {
        Self {
            required: true,
            boot_aggregate: true,
            violations: Violations::Refuse,
            lines_at_most: None,
            allow: None,
            lists: None,
            any_path: false,
            keys: None,
            exclude: None,
            buffers: None,
        }
    }
}

same_fields!(ImaTable -> ImaRules {
    required, boot_aggregate, violations, lines_at_most, allow, lists, any_path, keys, exclude, buffers,
});

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TpmTable {
    #[serde(deserialize_with = "value::classes")]
    classes: Option<BTreeSet<TpmClass>>,
    #[serde(deserialize_with = "value::digests")]
    denied_eks: Option<BTreeSet<String>>,
    #[serde(deserialize_with = "value::texts")]
    denied_manufacturers: Option<BTreeSet<Maker>>,
    #[serde(deserialize_with = "value::texts")]
    denied_models: Option<BTreeSet<Model>>,
    #[serde(deserialize_with = "value::firmware")]
    denied_firmware: Option<BTreeSet<u64>>,
    #[serde(deserialize_with = "value::firmware_version")]
    firmware_at_least: Option<u64>,
    clock_safe: Option<bool>,
    #[serde(deserialize_with = "value::duration")]
    max_quote_age: Option<u64>,
}

same_fields!(TpmTable -> TpmRules {
    classes, denied_eks, denied_manufacturers, denied_models, denied_firmware, firmware_at_least, clock_safe,
    max_quote_age,
});

pub(super) fn read(file: &str, text: &str) -> Result<Policy, PolicyError> {
    if text.len() > Policy::MAX_BYTES {
        return Err(PolicyError::too_large(file, text.len()));
    }
    let read: File = FORM.read(file, text, &Overrides::default())?;
    let policy = Policy {
        name: read.name,
        serial: read.serial,
        applies_to: read.applies_to,
        dry_run: read.mode.dry_run,
        boot: read.boot.map(BootRules::from),
        ima: read.ima.map(ImaRules::from),
        tpm: read.tpm.into(),
    };
    let passes_nothing = |boot: &BootRules| boot.consistent_except.is_some() && !boot.consistent;
    if policy.boot.as_ref().is_some_and(passes_nothing) {
        let message = "it says what `consistent` lets pass, and that is not demanded: add `consistent = true`";
        return Err(FORM.invalid(file, text, "boot.consistent_except", message).into());
    }
    if let Some(ima) = &policy.ima {
        let passes = ima.exclude.is_some() || ima.buffers.is_some() || ima.any_path;
        if passes && !ima.judges_lines() {
            let message = "it says what may pass, and nothing that must hold: add `allow`, `lists` or `keys`";
            return Err(FORM.invalid(file, text, "ima", message).into());
        }
    }
    let boot = policy.boot.as_ref().is_some_and(|boot| *boot != BootRules::default());
    if !boot && policy.ima.is_none() && policy.tpm.is_empty() {
        return Err(PolicyError::NoRule {
            file: file.to_owned(),
            name: policy.name,
        });
    }
    Ok(policy)
}
