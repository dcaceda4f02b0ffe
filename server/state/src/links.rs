//! Which keys are one machine's. A TPM has several endorsement keys, and the machine is to be one node whichever it shows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hallmark_node::EkId;
use hallmark_reason::{Coded, ReasonCode};
use hallmark_tpm_wire::Name;

/// SHA-256 of an EK's SPKI.
type EkHash = [u8; 32];

/// What is known of the keys of machines, from two sources:
///
/// - TPMs proved it: a Name (of an AK, or of the EK itself) and the EK beside which it was proven. An AK is a primary key of
///   the endorsement hierarchy, so a TPM has it whichever EK it shows.
/// - Operators said it: EKs that the inventory lists as one machine's.
#[derive(Debug, Clone, Default)]
pub struct Links {
    proven: HashMap<Name, EkHash>,
    of_ek: HashMap<EkHash, Vec<Name>>,
    listed: BTreeMap<EkId, Arc<BTreeSet<EkId>>>,
}

impl Links {
    /// The most Names that are kept of an EK. A TPM makes one AK of a template; whoever shows many makes up others.
    pub const MAX_NAMES: usize = 64;

    /// As they were kept.
    #[must_use]
    pub fn new(
        proven: impl IntoIterator<Item = (Name, EkHash)>,
        machines: impl IntoIterator<Item = BTreeSet<EkId>>,
    ) -> Self {
        let mut links = Self::default();
        for (name, ek) in proven {
            links.put_name(name, ek);
        }
        for machine in machines {
            links.merge(machine);
        }
        links
    }

    /// The EK that this Name was proven beside.
    #[must_use]
    pub fn ek_of(&self, name: &Name) -> Option<EkHash> {
        self.proven.get(name).copied()
    }

    /// The other EKs that operators list with this one, in one line or by way of others' lines. `names` are the Names of the
    /// EK that the caller knows; those that were proven are known already.
    #[must_use]
    pub fn listed_with(&self, ek: &EkHash, names: &[EkId]) -> BTreeSet<EkHash> {
        let mut found = BTreeSet::from([*ek]);
        let mut to_look_up: Vec<EkId> = names.to_vec();
        to_look_up.extend(self.keys_of(ek));
        while let Some(key) = to_look_up.pop() {
            for key in self.listed.get(&key).into_iter().flat_map(|machine| machine.iter()) {
                if let Some(other) = self.ek_of_key(key)
                    && found.insert(other)
                {
                    to_look_up.extend(self.keys_of(&other));
                }
            }
        }
        found.remove(ek);
        found
    }

    /// What an inventory may know an EK by: its hash, and the Names that it proved.
    fn keys_of(&self, ek: &EkHash) -> impl Iterator<Item = EkId> {
        let names = self.of_ek.get(ek).into_iter().flatten().filter_map(EkId::of_name);
        names.chain([EkId::Spki(*ek)])
    }

    /// Every key that is known of a key's machine, itself included.
    #[must_use]
    pub fn keys_of_machine(&self, key: &EkId) -> BTreeSet<EkId> {
        let (mut found, mut to_look_up) = (BTreeSet::new(), vec![*key]);
        while let Some(key) = to_look_up.pop() {
            if found.insert(key) {
                to_look_up.extend(self.ek_of_key(&key).iter().flat_map(|ek| self.keys_of(ek)));
                to_look_up.extend(self.machine(&key).into_iter().flatten());
            }
        }
        found
    }

    /// The EK of a key, as far as it is known.
    #[must_use]
    pub fn ek_of_key(&self, key: &EkId) -> Option<EkHash> {
        match key {
            EkId::Spki(ek) => Some(*ek),
            EkId::Name(_) => self.ek_of(&key.name()?),
        }
    }

    /// Every machine of which operators list several EKs.
    #[must_use]
    pub fn machines(&self) -> BTreeSet<BTreeSet<EkId>> {
        self.listed.values().map(|machine| BTreeSet::clone(machine)).collect()
    }

    /// The machine that operators list this key with, as far as it is listed with others.
    #[must_use]
    pub fn machine(&self, key: &EkId) -> Option<&BTreeSet<EkId>> {
        self.listed.get(key).map(|machine| &**machine)
    }

    /// The TPM of `ek` has proven `ak`; its EK's Names are `names`. Gives the Names that are new, to be kept.
    ///
    /// # Errors
    /// The AK, and so the TPM, is known by another EK: also one whose node is gone, unless an operator lists the two as one
    /// machine's and `is_gone` says so of it. Or the EK has shown more AKs than a TPM has.
    pub fn prove(
        &self,
        ek: &EkHash,
        names: &[Name],
        ak: &Name,
        is_gone: impl Fn(&EkHash) -> bool,
    ) -> Result<BTreeSet<Name>, LinkError> {
        if let Some(other) = self.ek_of(ak).filter(|other| other != ek) {
            let keys: Vec<EkId> = names.iter().filter_map(EkId::of_name).collect();
            if !self.listed_with(ek, &keys).contains(&other) || !is_gone(&other) {
                return Err(LinkError::OtherEk { other, shown: *ek });
            }
        }
        let is_new = |name: &&Name| self.ek_of(name).as_ref() != Some(ek);
        let new: BTreeSet<Name> = names.iter().chain([ak]).filter(is_new).cloned().collect();
        let kept = self.of_ek.get(ek).map_or(0, Vec::len);
        if kept + new.len() > Self::MAX_NAMES {
            return Err(LinkError::TooManyNames { ek: *ek });
        }
        Ok(new)
    }

    /// Every Name, with the EK that it was proven beside.
    #[must_use]
    pub fn names(&self) -> BTreeMap<Name, [u8; 32]> {
        self.proven.iter().map(|(name, ek)| (name.clone(), *ek)).collect()
    }

    /// Operators list these EKs as one machine's. Whatever was listed with one of them before and is not named stands alone.
    pub fn list(&mut self, machine: BTreeSet<EkId>) {
        for key in &machine {
            let before = self.listed.get(key).map(Arc::clone);
            for other in before.iter().flat_map(|before| before.iter()) {
                self.listed.remove(other);
            }
        }
        if machine.len() > 1 {
            let machine = Arc::new(machine);
            for key in &*machine {
                self.listed.insert(*key, Arc::clone(&machine));
            }
        }
    }

    /// The same, where what was listed with one of them before stays. Gives the machine if that is news.
    pub fn merge(&mut self, mut machine: BTreeSet<EkId>) -> Option<BTreeSet<EkId>> {
        let before: Vec<_> = machine.iter().filter_map(|key| self.listed.get(key)).cloned().collect();
        machine.extend(before.iter().flat_map(|before| before.iter().copied()));
        let is_news = machine.len() > 1 && before.iter().all(|before| **before != machine);
        is_news.then(|| {
            self.list(machine.clone());
            machine
        })
    }

    /// The Name was proven beside this EK.
    pub fn put_name(&mut self, name: Name, ek: EkHash) {
        let before = self.proven.insert(name.clone(), ek);
        if let Some(names) = before.and_then(|before| self.of_ek.get_mut(&before)) {
            names.retain(|other| *other != name);
        }
        self.of_ek.entry(ek).or_default().push(name);
    }
}

/// Why a TPM does not attest under an EK.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The same TPM is known by another EK.
    #[error("this TPM is known by another endorsement key")]
    OtherEk {
        /// SHA-256 of the EK that it is known by.
        other: EkHash,
        /// SHA-256 of the EK that it showed.
        shown: EkHash,
    },
    /// The EK has shown too many AKs.
    #[error("this endorsement key has shown more attestation keys than a TPM has")]
    TooManyNames {
        /// SHA-256 of the EK.
        ek: EkHash,
    },
}

impl Coded for LinkError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::OtherEk { .. } => ReasonCode::new("HM-REG-0080"),
            Self::TooManyNames { .. } => ReasonCode::new("HM-REG-0081"),
        }
    }

    fn compared(&self) -> Option<String> {
        Some(match self {
            Self::OtherEk { other, shown } => {
                format!("expected EK {}, got {}", EkId::Spki(*other), EkId::Spki(*shown))
            }
            Self::TooManyNames { ek } => format!("EK {}, at most {} Names", EkId::Spki(*ek), Links::MAX_NAMES),
        })
    }
}
