//! Reference values: what good machines' boots measure.

mod capture;
mod compare;
mod corim;
mod diff;
mod error;

pub use compare::{Comparison, RegisterDifference};
pub use diff::FactDifference;
pub use error::BaselineError;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::facts::{BootRecord, MachineFacts};
use crate::policy::check_name;
use crate::register;
use crate::rule_file::unmarked;

/// Values of registers that are good, and the boots that they come from.
///
/// A machine matches if each register of the baseline was quoted and has one of its values. The boots are there to
/// explain a difference in words; what matches does not hang on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The form of this file: 1.
    pub version: u32,
    /// Its name, which policies and selectors use.
    pub name: String,
    /// Grows with every change.
    pub serial: u64,
    /// Whether it still counts.
    pub state: BaselineState,
    /// When it was made, Unix seconds.
    pub created_at: i64,
    /// Where it comes from.
    pub origin: Origin,
    /// Good values by register, as `sha256:7`; lower-case hex.
    pub registers: BTreeMap<String, BTreeSet<String>>,
    /// Boots that measured these values, the first one first.
    pub boots: Vec<BootRecord>,
}

/// Whether a baseline counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaselineState {
    /// Machines may match it.
    Active,
    /// It is kept for the record, and no machine matches it.
    Retired,
}

/// Where a baseline comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// From what a node proved.
    Captured {
        /// The node's id.
        node: String,
        /// When the node was quoted, milliseconds since the Unix epoch.
        seen_at: u64,
    },
    /// Computed at build time, before any machine booted it.
    Predicted(Prediction),
    /// From a CoRIM.
    Imported {
        /// Its id.
        corim: String,
        /// SHA-256 of the file.
        sha256: String,
        /// The id of the operator's key that signed it.
        signed_by: Option<String>,
    },
}

/// From what a baseline was computed. SHA-256 of each input, so that a build can be held against it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// The unified kernel image.
    pub uki_sha256: String,
    /// The file of firmware variables, if one was given.
    pub firmware_variables_sha256: Option<String>,
    /// Images that start before it (shim, boot loader), in their order.
    pub earlier_images_sha256: Vec<String>,
}

impl Baseline {
    /// Whether the baseline counts and the machine matches it. A register that was not quoted matches nothing; one behind
    /// which stands systemd's separator matches like one without.
    #[must_use]
    pub fn is_matched_by(&self, facts: &MachineFacts) -> bool {
        self.state == BaselineState::Active && self.differing(facts).next().is_none()
    }

    /// The registers that were not quoted or have another value.
    fn differing<'a>(&'a self, facts: &'a MachineFacts) -> impl Iterator<Item = (&'a String, &'a BTreeSet<String>)> {
        let boot = facts.boot.as_ref().map(|boot| &boot.facts);
        self.registers.iter().filter(move |(name, good)| {
            let value = facts.pcrs.get(*name);
            value.is_none_or(|value| !register::has_one_of(name, value, good, boot))
        })
    }

    /// The values for which `facts` were computed before any machine booted. Registers are those of `values`.
    ///
    /// # Errors
    /// [`BaselineError`] when the name is none, or there is no register or one that no baseline can hold.
    pub fn predicted(
        name: &str,
        serial: u64,
        created_at: i64,
        prediction: Prediction,
        values: BTreeMap<String, BTreeSet<String>>,
        boots: Vec<BootRecord>,
    ) -> Result<Self, BaselineError> {
        Self {
            version: 1,
            name: name.to_owned(),
            serial,
            state: BaselineState::Active,
            created_at,
            origin: Origin::Predicted(prediction),
            registers: values,
            boots,
        }
        .checked()
    }

    /// This baseline and the values of `other` beside its own: both states are good. It keeps its name and origin.
    ///
    /// # Errors
    /// [`BaselineError::OtherRegisters`] when they are not about the same registers: a register that only one of them
    /// names would no longer be checked, or not be fulfilled.
    pub fn merged(&self, other: &Self, serial: u64) -> Result<Self, BaselineError> {
        if !self.registers.keys().eq(other.registers.keys()) {
            let names = |baseline: &Self| baseline.registers.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(BaselineError::OtherRegisters {
                ours: names(self),
                theirs: names(other),
            });
        }
        let mut merged = Self { serial, ..self.clone() };
        for (register, values) in &other.registers {
            if let Some(good) = merged.registers.get_mut(register) {
                good.extend(values.iter().cloned());
            }
        }
        for boot in &other.boots {
            if !merged.boots.contains(boot) {
                merged.boots.push(boot.clone());
            }
        }
        Ok(merged)
    }

    /// This baseline, out of use.
    #[must_use]
    pub fn retired(&self, serial: u64) -> Self {
        Self {
            serial,
            state: BaselineState::Retired,
            ..self.clone()
        }
    }

    /// The file's text: the same baseline gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists always have a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`BaselineError`] when it is no baseline of this version.
    pub fn from_json(text: &str) -> Result<Self, BaselineError> {
        let read: Self = serde_json::from_str(unmarked(text)).map_err(|error| BaselineError::Malformed {
            what: error.to_string(),
        })?;
        read.checked()
    }

    fn checked(self) -> Result<Self, BaselineError> {
        let malformed = |what: String| Err(BaselineError::Malformed { what });
        if self.version != 1 {
            return malformed(format!("version {}, this program reads 1", self.version));
        }
        if let Err(what) = check_name(self.name.clone()) {
            return malformed(what);
        }
        if self.registers.is_empty() {
            return malformed("it names no register, so every machine would match".to_owned());
        }
        for (name, values) in &self.registers {
            let digits = match register::named(name) {
                Some((_, pcr)) if !capture::can_hold(pcr) => return Err(BaselineError::VaryingRegister { pcr }),
                Some((bank, _)) => bank.digest_len() * 2,
                None => return malformed(format!("invalid register {name:?}; example: sha256:7")),
            };
            let good = |value: &String| {
                value.len() == digits && value.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            };
            if values.is_empty() || !values.iter().all(good) {
                return malformed(format!(
                    "{name}: values are {digits} lower-case hexadecimal digits, at least one"
                ));
            }
        }
        Ok(self)
    }
}
