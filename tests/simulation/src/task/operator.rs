//! Entries, the inventory and the authority.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hallmark_node::{EkId, InventoryItem};
use hallmark_state::{
    Authority, AuthorityState, Change, Decision, EntryDraft, EntryId, Event, Key, View, What,
    decide::{
        EntryOperation, EntryWriter, Import, RoleHolder, delete_expired, doubt_times, import, link_machines, put_trust,
        remove, write_entries,
    },
};

use super::{Context, Next, Then, Without as _, Work};
use crate::{Broken, admin};

const BY: &str = "operator";

/// What is asked for of one entry.
#[derive(Clone)]
pub(crate) enum EntryAsk {
    Create(EntryDraft, EntryId),
    /// Another lifetime, in seconds.
    Update(EntryId, i32),
    Delete(EntryId),
}

/// How an entry is changed.
type Revise = Box<dyn Fn(&mut EntryDraft) -> Result<(), String> + Send + Sync>;

/// A batch of them.
pub(crate) struct Entries(pub(crate) Vec<EntryAsk>, pub(crate) Option<RoleHolder>);

impl Work for Entries {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let revise = |ask: &EntryAsk| -> Revise {
            let lifetime = match ask {
                EntryAsk::Update(_, lifetime) => *lifetime,
                _ => 0,
            };
            Box::new(move |draft| {
                draft.x509_svid_ttl = lifetime;
                Ok(())
            })
        };
        let revisions: Vec<Revise> = self.0.iter().map(revise).collect();
        let pairs = self.0.iter().zip(&revisions);
        let operations: Vec<EntryOperation<'_>> = pairs
            .map(|(ask, revise)| match ask.clone() {
                EntryAsk::Create(draft, id) => EntryOperation::Create {
                    draft,
                    id,
                    is_chosen: true,
                },
                EntryAsk::Update(id, _) => EntryOperation::Update {
                    id,
                    revise: &**revise,
                    is_whole: false,
                },
                EntryAsk::Delete(id) => EntryOperation::Delete(id),
            })
            .collect();
        let over_tls = self.1.as_ref();
        let by = EntryWriter {
            over_tls,
            configured: &admin::configured(),
            max_ttl: Duration::from_secs(86_400),
            reason: "",
        };
        match write_entries(View::new(context.state()), &operations, &by, context.server_now()) {
            Ok((decision, _)) => {
                let actor = over_tls.map_or_else(|| BY.to_owned(), RoleHolder::to_string);
                Next::commit(actor, forgetful(decision, context, over_tls))
            }
            Err(_) => Next::End,
        }
    }
}

/// What a broken server lets the acts of administrators over TLS rest on.
pub(super) fn forgetful(decision: Decision, context: &Context<'_>, over_tls: Option<&RoleHolder>) -> Decision {
    let Some(holder) = over_tls.filter(|_| context.broken == Some(Broken::ForgetsRole)) else {
        return decision;
    };
    let agent = Key::Node(holder.agent.clone());
    Decision {
        expect: decision.expect.without(|key| *key == agent || *key == Key::Entries),
        ..decision
    }
}

/// Entries that have expired go, a page at a time.
pub(crate) struct Expire;

impl Work for Expire {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let (decision, _) = delete_expired(View::new(context.state()), 2, context.server_now());
        Next::commit("server", decision)
    }
}

/// What is asked for of the inventory.
pub(crate) enum InventoryAsk {
    /// The lines of these machines, each with its owner, and of some the other machine that it is as well; whether all others
    /// go, and retired ones may come back.
    Import(Vec<(usize, usize, Option<usize>)>, bool, bool),
    Remove(EkId),
}

/// A change of the inventory.
pub(crate) struct Inventory(pub(crate) InventoryAsk);

impl Work for Inventory {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let view = View::new(context.state());
        match &self.0 {
            InventoryAsk::Import(lines, replace, readmit) => {
                let line = |(machine, owner, other): &(usize, usize, Option<usize>)| {
                    let other = other.filter(|other| other != machine);
                    let other = other.map(|other| context.machines[other].ek_id());
                    context.machines[*machine].line(*owner, other.into_iter().collect())
                };
                let lines = lines.iter().map(line);
                let lines: Vec<_> = lines.collect();
                let ask = Import {
                    lines: &lines,
                    replace: *replace,
                    readmit: *readmit,
                    dry_run: false,
                    reason: "",
                };
                let (decision, _) = import(view, &ask, context.server_now());
                Next::commit(BY, decision)
            }
            InventoryAsk::Remove(ek) => match remove(view, &[*ek], "", false) {
                Ok((decision, _)) => Next::commit(BY, decision),
                Err(_) => Next::End,
            },
        }
    }
}

/// What the configuration says is in force, and what it lists is linked.
pub(crate) struct Trust {
    /// The machines that it lists as one, as far as it is read anew.
    pub(crate) listed: Option<Vec<BTreeSet<usize>>>,
}

impl Work for Trust {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let view = View::new(context.state());
        let Some(listed) = &self.listed else {
            if context.broken == Some(Broken::NeverLinks) {
                return Next::End;
            }
            let (decision, _) = link_machines(view, context.server_now());
            return Next::commit("server", decision);
        };
        let decision = put_trust(view, |before| {
            let mut trust = hallmark_verify::Trust::clone(before);
            trust.inventory = hallmark_verify::Inventory::default();
            for machines in listed {
                let mut eks = machines.iter().map(|machine| context.machines[*machine].ek_id());
                let Some(first) = eks.next() else { continue };
                trust.inventory.add(Arc::new(InventoryItem {
                    other_eks: eks.collect(),
                    ..InventoryItem::new(first)
                }));
            }
            trust
        });
        Next::commit("server", decision)
    }

    fn committed(&mut self) -> Then {
        // Once it is in force, what it lists is linked.
        if self.listed.take().is_some() {
            Then::GoOn
        } else {
            Then::End
        }
    }
}

/// A server looks whether quotes were seen while a clock was ahead.
pub(crate) struct Doubt;

/// What a server takes two clocks to differ by at most, in milliseconds.
const TOLERANCE: u64 = 10_000;

impl Work for Doubt {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let now = u64::try_from(context.server_now()).unwrap() * 1000 + TOLERANCE;
        let (mut decision, _) = doubt_times(View::new(context.state()), now);
        match context.broken {
            Some(Broken::NeverDoubts) => return Next::End,
            Some(Broken::KeepsDoubtfulVerdicts) => {
                decision
                    .changes
                    .retain(|change| !matches!(change, Change::PutAppraised { .. }));
            }
            _ => {}
        }
        Next::commit("server", decision)
    }
}

/// A new authority signs from now on.
pub(crate) struct Rotate(pub(crate) u64);

impl Work for Rotate {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let view = View::new(context.state());
        let state = view.authorities();
        let old = state.active_authority().map(|it| {
            Change::PutAuthority(Arc::new(Authority {
                state: AuthorityState::Old,
                ..Authority::clone(it)
            }))
        });
        let label = format!("key-{}", self.0);
        let new = Change::PutAuthority(Arc::new(Authority {
            upstream: Vec::new(),
            certificate: label.clone().into_bytes(),
            label: label.clone(),
            created_at: context.server_now(),
            state: AuthorityState::Active,
        }));
        let what = What::Authority {
            act: "x509-authority-activate".to_owned(),
            reason: None,
            facts: Vec::new(),
        };
        let sequence = Change::PutBundleSequence(state.bundle_sequence() + 1);
        let changes = old.into_iter().chain([new, sequence]).collect();
        Next::commit("server", view.decide(changes, vec![Event::done(label, what)]))
    }
}
