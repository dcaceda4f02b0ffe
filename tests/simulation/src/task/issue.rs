//! An agent asks for SVIDs of its workloads' entries, as in the server's SVID service.

use std::time::Duration;

use hallmark_state::{
    Decision, EntryId, Event, Expect, Key, SvidTtl, View,
    decide::{authorise, reappraise_page},
};

use super::{Context, Next, Then, Without as _, Work, authority::most, reappraise::judge};
use crate::{Broken, invariants::Draft};

/// How often what is granted is looked at again at most, as in the server.
const LOOKS: u32 = 16;
const TTL: SvidTtl = SvidTtl {
    default: Duration::from_secs(300),
    max: Duration::from_secs(3600),
};

/// A request for SVIDs.
pub(crate) struct Issue {
    machine: usize,
    entries: Vec<EntryId>,
    looks: u32,
}

impl Issue {
    pub(crate) const fn of(machine: usize, entries: Vec<EntryId>) -> Self {
        Self {
            machine,
            entries,
            looks: 0,
        }
    }
}

impl Work for Issue {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        self.looks += 1;
        if self.looks > LOOKS {
            return Next::End;
        }
        let agent = context.machines[self.machine].id.clone();
        let (state, now) = (context.state(), context.server_now());
        let Some(node) = state.node(&agent).filter(|node| node.is_active()) else {
            return Next::End;
        };
        let rules = state.rules().revision;
        // A broken server takes every verdict to be of just before its end.
        let end = node.appraised.stale_at.map_or(now, |stale| now.min(stale - 1));
        let looked_at = if context.broken == Some(Broken::IgnoresStaleness) {
            end
        } else {
            now
        };
        if !node.is_appraised_by(rules, looked_at) {
            let judged = judge(context, vec![agent]);
            let (decision, _) = reappraise_page(View::new(context.state()), &judged, rules, "asked");
            return if decision.is_empty() {
                Next::Later
            } else {
                Next::commit("server", decision)
            };
        }
        let view = View::new(state);
        let Some(authorised) = authorise(&view, &agent, &self.entries, TTL, looked_at) else {
            return Next::Later;
        };
        let authority = state.active_authority().map(|it| it.label.clone());
        let Some((authority, most)) = authority.zip(most(context)) else {
            return Next::End;
        };
        let granted = self.entries.iter().zip(&authorised.grants).filter_map(|(id, grant)| {
            let grant = grant.as_ref().ok()?;
            Some((
                state.entries().entry(id.as_str()).cloned(),
                grant.spiffe_id().clone(),
                grant.ttl(),
            ))
        });
        let granted: Vec<_> = granted.collect();
        let expect = forgetful(view.into_expect(), context.broken);
        let draft = |(entry, subject, ttl): (_, _, Duration)| Draft {
            serial: context.server.serial(context.random),
            expires_at: most.min(now + i64::try_from(ttl.as_secs()).unwrap()),
            subject,
            entry,
            authority: authority.clone(),
            trust: None,
        };
        let drafts: Vec<Draft> = granted.into_iter().map(draft).collect();
        if drafts.is_empty() {
            return Next::End;
        }
        let intent = |draft: &Draft| {
            let entry = draft.entry.as_ref().map_or("", |entry| entry.id.as_str());
            Event::svid_intent(
                draft.subject.as_str().into(),
                draft.serial,
                draft.expires_at,
                entry.into(),
                None,
            )
        };
        Next::Commit {
            actor: agent.to_string(),
            decision: Decision {
                expect,
                changes: Vec::new(),
                events: drafts.iter().map(intent).collect(),
            },
            drafts,
        }
    }

    fn committed(&mut self) -> Then {
        // The node was judged; now for what it asked.
        Then::GoOn
    }
}

/// What a broken server lets its intents rest on.
fn forgetful(expect: Expect, broken: Option<Broken>) -> Expect {
    expect.without(|key| match broken {
        Some(Broken::ForgetsNode) => matches!(key, Key::Node(_)),
        Some(Broken::ForgetsEntries) => matches!(key, Key::Entry(_)),
        Some(Broken::ForgetsRules) => matches!(key, Key::Rules),
        Some(Broken::ForgetsAuthority) => matches!(key, Key::Authorities),
        _ => false,
    })
}
