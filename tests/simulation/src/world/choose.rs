//! What agents and operators ask for.

use hallmark_spiffe::Selector;
use hallmark_state::{Action, EntryDraft, EntryId, NodeState};

use super::{MACHINES, World};
use crate::{
    Kind, admin,
    machine::spiffe_id,
    random::Random,
    task::{
        Attest, Authorities, AuthorityAct, By, Doubt, Entries, EntryAsk, Expire, Inventory, InventoryAsk, Issue,
        NodeAct, Reappraise, Rules, Trust, Work,
    },
};

/// How many entries there are at most: few, so that much is asked of the same ones.
const ENTRIES: usize = 6;
/// What operators do with nodes; bans often, since so much hangs on them.
const ACTIONS: [Action; 9] = [
    Action::Ban,
    Action::Unban,
    Action::Ban,
    Action::Unban,
    Action::Suspend,
    Action::Resume,
    Action::Evict,
    Action::Approve,
    Action::Approve,
];

impl World {
    pub(super) fn choose(&self, kind: Kind, server: usize, random: &mut Random) -> Option<Box<dyn Work>> {
        let machine = random.below(MACHINES);
        Some(match kind {
            Kind::Attest => Box::new(Attest::of(machine)),
            Kind::Issue => Box::new(Issue::of(machine, self.wanted(machine, server, random))),
            Kind::Use if random.one_in(2) => Box::new(NodeAct::Use { machine }),
            Kind::Use => Box::new(NodeAct::Version {
                machine,
                version: random.below(3),
            }),
            Kind::Operate if random.one_in(2) => Box::new(self.over_tls(server, random)),
            Kind::Operate => {
                let rare = random.one_in(20).then_some(Action::Retire);
                Box::new(NodeAct::Operate {
                    machine,
                    action: rare.unwrap_or_else(|| ACTIONS[random.below(ACTIONS.len())]),
                    by: By::User(u32::try_from(random.below(2)).unwrap()),
                })
            }
            Kind::Entries => {
                let count = 1 + random.below(3);
                let asks = (0..count).map(|_| self.entry_ask(random)).collect();
                let over_tls = random
                    .one_in(3)
                    .then(|| admin::holder(&self.machines, self.now, random));
                Box::new(Entries(asks, over_tls))
            }
            Kind::Expire => Box::new(Expire),
            Kind::Inventory => Box::new(Inventory(self.inventory_ask(machine, random))),
            Kind::Policy => Box::new(Rules::of(random.below(14))),
            Kind::Reappraise => Box::new(Reappraise::default()),
            Kind::Authority => Box::new(Authorities(AuthorityAct::choose(random), random.number())),
            Kind::Trust => {
                let other = random.below(MACHINES);
                let listed = if random.one_in(3) {
                    Vec::new()
                } else {
                    vec![[machine, other].into()]
                };
                Box::new(Trust { listed: Some(listed) })
            }
            Kind::Doubt => Box::new(Doubt),
            _ => return None,
        })
    }

    /// What an administrator over TLS asks for: mostly to give back what was taken from a machine, best what another one has asked
    /// for.
    fn over_tls(&self, server: usize, random: &mut Random) -> NodeAct {
        let state = self.servers[server].state.as_ref();
        let asked = |machine: usize, action| {
            state.is_some_and(|state| !state.requests(&self.machines[machine].id, action).is_empty())
        };
        let state_of = |machine: usize| Some(state?.node(&self.machines[machine].id)?.state);
        let given_back = |machine: usize| {
            let action = match state_of(machine)? {
                NodeState::Banned => Action::Unban,
                NodeState::Suspended => Action::Resume,
                NodeState::Retired => Action::Readmit,
                _ => return None,
            };
            Some((machine, action))
        };
        let mut out: Vec<(usize, Action)> = (0..MACHINES).filter_map(given_back).collect();
        out.sort_by_key(|(machine, action)| !asked(*machine, *action));
        let other = (random.below(MACHINES), ACTIONS[random.below(ACTIONS.len())]);
        let (machine, action) = out.first().filter(|_| !random.one_in(3)).copied().unwrap_or(other);
        NodeAct::Operate {
            machine,
            action,
            by: By::Tls(admin::holder(&self.machines, self.now, random)),
        }
    }

    /// What an agent asks for: mostly entries that are its own, as the server knows them.
    fn wanted(&self, machine: usize, server: usize, random: &mut Random) -> Vec<EntryId> {
        let state = self.servers[server].state.as_ref();
        let node = state.and_then(|state| Some((state, state.node(&self.machines[machine].id)?)));
        let own = node.map_or_else(Vec::new, |(state, node)| {
            let own = state.entries().authorised(&node.id, &node.selectors, self.now);
            own.into_iter().map(|entry| entry.id.clone()).collect()
        });
        if own.is_empty() || random.one_in(8) {
            return vec![entry_id(random)];
        }
        own.into_iter().take(1 + random.below(3)).collect()
    }

    fn entry_ask(&self, random: &mut Random) -> EntryAsk {
        let id = entry_id(random);
        match random.below(5) {
            0 => EntryAsk::Delete(id),
            1 => EntryAsk::Update(id, 60 + i32::try_from(random.below(1000)).unwrap()),
            _ => EntryAsk::Create(self.draft(random), id),
        }
    }

    /// Entries that give each administrator a machine of their own.
    pub(super) fn admin_entries(&self) -> Entries {
        let create = |number: usize| {
            let (parent, selector) = (self.machines[number].id.clone(), Selector::parse("unix:uid:0").unwrap());
            let draft = EntryDraft::new(admin::admin(number), parent, vec![selector]);
            EntryAsk::Create(draft, EntryId::parse(&format!("admin{number}")).unwrap())
        };
        Entries((0..admin::ADMINS).map(create).collect(), None)
    }

    fn draft(&self, random: &mut Random) -> EntryDraft {
        let selector = |text: &str| Selector::parse(text).unwrap();
        let path = format!("/w/{}", random.below(4));
        let draft = match random.below(5) {
            // An alias of some machines, and what hangs below it.
            0 => {
                let owner = format!("inventory:owner:team-{}", random.below(2));
                let alias = format!("/alias/{}", random.below(2));
                EntryDraft::new(spiffe_id(&alias), spiffe_id("/spire/server"), vec![selector(&owner)])
            }
            1 => {
                let alias = format!("/alias/{}", random.below(2));
                EntryDraft::new(spiffe_id(&path), spiffe_id(&alias), vec![selector("unix:uid:1")])
            }
            // Sometimes an administrator's.
            2 if random.one_in(2) => {
                let parent = self.machines[random.below(MACHINES)].id.clone();
                let id = admin::admin(random.below(admin::ADMINS));
                EntryDraft::new(id, parent, vec![selector("unix:uid:0")])
            }
            _ => {
                let parent = self.machines[random.below(MACHINES)].id.clone();
                let user = format!("unix:uid:{}", random.below(3));
                EntryDraft::new(spiffe_id(&path), parent, vec![selector(&user)])
            }
        };
        EntryDraft {
            expires_at: if random.one_in(5) { self.now + 300 } else { 0 },
            ..draft
        }
    }

    fn inventory_ask(&self, machine: usize, random: &mut Random) -> InventoryAsk {
        let is_first = self.next_task == 0;
        if !is_first && random.one_in(4) {
            return InventoryAsk::Remove(self.machines[machine].ek_id());
        }
        // The first import names every machine.
        let named: Vec<usize> = (0..MACHINES).filter(|_| is_first || random.one_in(2)).collect();
        let line = |machine| {
            // Sometimes two of the TPMs turn out to be one machine's.
            let other = (!is_first && random.one_in(8)).then(|| random.below(MACHINES));
            (machine, random.below(2), other)
        };
        let lines = named.into_iter().map(line).collect();
        InventoryAsk::Import(lines, random.one_in(4), random.one_in(2))
    }
}

fn entry_id(random: &mut Random) -> EntryId {
    EntryId::parse(&format!("e{}", random.below(ENTRIES))).unwrap()
}
