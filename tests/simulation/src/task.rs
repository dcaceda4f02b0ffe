//! Something that is on its way in a server: decide, commit, where it conflicts decide again; sign what is on record.

mod attest;
mod authority;
mod issue;
mod node;
mod operator;
mod reappraise;
mod rules;

pub(crate) use attest::Attest;
pub(crate) use authority::{Authorities, AuthorityAct};
pub(crate) use issue::Issue;
pub(crate) use node::{By, NodeAct};
pub(crate) use operator::{Doubt, Entries, EntryAsk, Expire, Inventory, InventoryAsk, Trust};
pub(crate) use reappraise::Reappraise;
pub(crate) use rules::Rules;

use hallmark_state::{Decision, Expect, Intents, Key, Recorded, State, decide::ApprovalRules};

use crate::{
    Broken,
    invariants::Draft,
    machine::Machine,
    random::Random,
    server::Server,
    store::{Id, Store},
};

/// How often a decision is made at most, as in the server.
pub(crate) const TRIES: u32 = 64;

/// What a task sees of the world.
pub(crate) struct Context<'a> {
    pub(crate) server: &'a mut Server,
    pub(crate) store: &'a Store,
    pub(crate) machines: &'a mut [Machine],
    pub(crate) approval: &'a ApprovalRules,
    /// The time, in Unix seconds.
    pub(crate) now: i64,
    pub(crate) random: &'a mut Random,
    pub(crate) broken: Option<Broken>,
}

impl Context<'_> {
    /// The state of the server, which is up.
    pub(crate) fn state(&self) -> &State {
        self.server.state.as_ref().unwrap()
    }

    /// What the server takes the time to be.
    pub(crate) const fn server_now(&self) -> i64 {
        self.now + self.server.ahead
    }
}

/// Takes keys out of what something rests on, as a broken server would.
pub(crate) trait Without {
    /// Without those keys.
    fn without(self, is_forgotten: impl Fn(&Key) -> bool) -> Self;
}

impl Without for Expect {
    fn without(mut self, is_forgotten: impl Fn(&Key) -> bool) -> Self {
        self.keys.retain(|key| !is_forgotten(key));
        self
    }
}

/// What comes next.
pub(crate) enum Next {
    /// It is done, or refused.
    End,
    /// Nothing is to be committed now; it goes on later.
    Later,
    /// This is to be durable; then these are to be signed.
    Commit {
        actor: String,
        decision: Decision,
        drafts: Vec<Draft>,
    },
}

impl Next {
    pub(crate) fn commit(actor: impl Into<String>, decision: Decision) -> Self {
        Self::Commit {
            actor: actor.into(),
            decision,
            drafts: Vec::new(),
        }
    }
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    End,
    GoOn,
}

/// What a server does for an agent, an operator or itself.
pub(crate) trait Work {
    /// The next decision, from the state as the server knows it.
    fn next(&mut self, context: &mut Context<'_>) -> Next;

    /// Whether it is over after a minute, however far it came.
    fn has_a_minute(&self) -> bool {
        false
    }

    /// What was decided is durable, and there was nothing to sign.
    fn committed(&mut self) -> Then {
        Then::End
    }

    /// What was on record is signed, or the token failed.
    fn signed(&mut self, _is_signed: bool) -> Then {
        Then::End
    }
}

/// Where a task stands.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It is to decide.
    Ready,
    /// It waits for the store.
    Waiting(Id, Intents<Draft>),
    /// Its answer did not come: it waits to hear what became of its transaction.
    Asking(Id, Intents<Draft>),
    /// The token is to sign.
    Signing(Recorded<Draft>),
}

impl Phase {
    /// The transaction that it waits for.
    pub(crate) const fn waits_for(&self) -> Option<Id> {
        match self {
            Self::Waiting(id, _) | Self::Asking(id, _) => Some(*id),
            Self::Ready | Self::Signing(_) => None,
        }
    }
}

/// A task.
pub(crate) struct Task {
    pub(crate) number: u64,
    pub(crate) server: usize,
    /// The run of the server that it began in.
    pub(crate) run: u32,
    pub(crate) work: Box<dyn Work>,
    pub(crate) phase: Phase,
    /// How much of it is durable.
    pub(crate) stage: u32,
    /// How often it was tried since.
    pub(crate) tries: u32,
}
