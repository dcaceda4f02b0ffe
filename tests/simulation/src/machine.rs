//! The machines that attest, and what they prove: evidence states made by hand, held against real rules.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_node::{EkId, InventoryItem, NodeId};
use hallmark_policy::{InventoryStatement, MachineFacts, PolicySet, Rules, TpmFacts, signed::FileKind};
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{AttestationState, NodeSvid, State};
use hallmark_tpm_wire::Name;
use hallmark_verify::history::{AgentRunId, AgentRuns, QuoteClock};

/// How many machines there are.
pub(crate) const MACHINES: usize = 4;
/// Firmware versions that a machine may have.
const FIRMWARE: [u64; 2] = [7, 8];

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(crate) fn spiffe_id(path: &str) -> SpiffeId {
    SpiffeId::new(&trust_domain(), path).unwrap()
}

/// A machine with its TPM and its agent.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) id: SpiffeId,
    pub(crate) ek: [u8; 32],
    firmware: u64,
    resets: u32,
    run: u64,
    /// The SVID that was delivered last.
    pub(crate) svid: Option<NodeSvid>,
}

impl Machine {
    pub(crate) fn new(number: usize) -> Self {
        let ek = [u8::try_from(number).unwrap() + 1; 32];
        let id = NodeId::new(&trust_domain(), &ek).unwrap().into_spiffe_id();
        Self {
            id,
            ek,
            firmware: FIRMWARE[0],
            resets: 1,
            run: 1,
            svid: None,
        }
    }

    /// Starts anew, with the firmware of this number.
    pub(crate) fn reboot(&mut self, firmware: usize) {
        self.firmware = FIRMWARE[firmware % FIRMWARE.len()];
        self.resets += 1;
        self.run += 1;
    }

    pub(crate) fn ek_id(&self) -> EkId {
        EkId::Spki(self.ek)
    }

    pub(crate) fn ak_name(&self) -> Name {
        Name::parse(&[&[0x00, 0x0b][..], &self.ek].concat()).unwrap()
    }

    /// Its line in the inventory, of these owner and further keys.
    pub(crate) fn line(&self, owner: usize, other_eks: BTreeSet<EkId>) -> InventoryItem {
        InventoryItem {
            owner: format!("team-{owner}"),
            other_eks,
            ..InventoryItem::new(self.ek_id())
        }
    }

    /// What a quote of now proves, to a server whose state this is, and whose clock shows `seen`.
    pub(crate) fn facts(&self, state: &State, now: i64, seen: i64) -> MachineFacts {
        let line = state.inventory().line(&self.ek_id());
        MachineFacts {
            tpm: TpmFacts {
                ek_sha256: hex(&self.ek),
                class: "discrete".to_owned(),
                enrolled_by: "inventory".to_owned(),
                inventory: line.map(|_| InventoryStatement::default()),
                certificate: None,
                firmware_version: self.firmware,
                other_eks: state.listed_with(&self.ek),
            },
            quote_clock: self.quote(now, seen),
            pcrs: BTreeMap::new(),
            boot: None,
            ima: None,
            labels: line.map_or_else(BTreeMap::new, |line| line.selector_labels()),
        }
    }

    fn quote(&self, now: i64, seen: i64) -> QuoteClock {
        let milliseconds = |seconds: i64| u64::try_from(seconds).unwrap() * 1000;
        QuoteClock {
            reset_count: self.resets,
            restart_count: 0,
            clock: milliseconds(now - FIRST_BOOT),
            safe: true,
            firmware_version: self.firmware,
            seen_at: milliseconds(seen),
        }
    }

    /// How far its evidence goes after that quote; `None` where it cannot follow what is held.
    pub(crate) fn after(&self, held: Option<&AttestationState>, now: i64, seen: i64) -> Option<AttestationState> {
        let mut runs = held.map_or_else(AgentRuns::default, |held| held.runs.clone());
        let quote = self.quote(now, seen);
        runs.observe(AgentRunId(self.run), quote).ok()?;
        Some(AttestationState::new(quote, runs, None, 0, BTreeMap::new()))
    }
}

/// When the clocks of the TPMs began, in Unix seconds.
const FIRST_BOOT: i64 = 1_700_000_000;

/// How old a quote may be, in seconds, by the rules that say so.
pub(crate) const MAX_AGE: i64 = 900;

/// Rules of this number: some refuse a firmware version, some a machine, some whoever is not in the inventory, some old quotes.
pub(crate) fn rules(number: usize) -> PolicySet {
    let mut rules = Rules::default();
    match number % 7 {
        0 | 1 => {}
        5 | 6 => {
            let mut set = PolicySet::from(rules);
            let policy = format!("version = 1\nname = \"p\"\nserial = 1\n[tpm]\nmax_quote_age = \"{MAX_AGE}s\"\n");
            set.add_file(FileKind::Policy, "p", policy.as_bytes()).unwrap();
            return set;
        }
        2 => rules.denied_firmware = [FIRMWARE[number % FIRMWARE.len()]].into(),
        3 => rules.denied_eks = [hex(&[1; 32])].into(),
        _ => rules.require_inventory = true,
    }
    rules.into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
