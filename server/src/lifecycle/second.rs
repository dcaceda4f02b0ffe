//! What takes two administrators over TLS: the first request is noted, the second one acts.
//!
//! It is kept in memory: a server that is started anew asks for both again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hallmark_spiffe::SpiffeId;
use hallmark_state::Action;

use crate::caller::RoleHolder;

/// First requests kept of one node and action: more than there are administrators who disagree.
const MAX: usize = 16;

/// Requests that wait for a second administrator. There are no more than nodes that operators put out.
#[derive(Debug, Default)]
pub(super) struct FirstRequests(Mutex<BTreeMap<(SpiffeId, Action), Vec<Request>>>);

#[derive(Debug)]
struct Request {
    by: RoleHolder,
    at: i64,
}

impl FirstRequests {
    /// Who asked for the same within `lifetime` and is another administrator on another machine; `stands` tells who still
    /// is one, `is_same` whether two nodes are one machine.
    pub(super) fn find(
        &self,
        what: &(SpiffeId, Action),
        by: &RoleHolder,
        (now, lifetime): (i64, Duration),
        stands: impl Fn(&RoleHolder) -> bool,
        is_same: impl Fn(&SpiffeId, &SpiffeId) -> bool,
    ) -> Option<RoleHolder> {
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = waiting.get_mut(what)?;
        requests.retain(|it| it.at <= now && now.saturating_sub(it.at) < lifetime && stands(&it.by));
        let other = requests
            .iter()
            .find(|it| it.by.id != by.id && !is_same(&it.by.agent, &by.agent))
            .map(|it| it.by.clone());
        if requests.is_empty() {
            waiting.remove(what);
        }
        other
    }

    /// Notes a first request; one of the same administrator on the same machine gives way.
    pub(super) fn note(&self, what: (SpiffeId, Action), by: &RoleHolder, now: i64) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = waiting.entry(what).or_default();
        requests.retain(|it| (&it.by.id, &it.by.agent) != (&by.id, &by.agent));
        if requests.len() >= MAX {
            requests.remove(0);
        }
        requests.push(Request {
            by: by.clone(),
            at: now,
        });
    }

    /// Forgets what was asked of a node that has changed.
    pub(super) fn forget(&self, node: &SpiffeId) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(of, _), _| of != node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(100);

    fn id(path: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap()
    }

    fn holder(name: &str, machine: &str) -> RoleHolder {
        RoleHolder {
            id: id(name),
            agent: id(&format!("/spire/agent/tpm2{machine}")),
            issued_at: 0,
        }
    }

    fn is_same(one: &SpiffeId, other: &SpiffeId) -> bool {
        let machine = |id: &SpiffeId| id.path().trim_end_matches("-by-its-other-key").to_owned();
        machine(one) == machine(other)
    }

    fn what() -> (SpiffeId, Action) {
        (id("/spire/agent/tpm2/bad"), Action::Evict)
    }

    #[test]
    fn the_second_one_has_another_id_on_another_machine() {
        let requests = FirstRequests::default();
        let find = |by: &RoleHolder| requests.find(&what(), by, (10, LIFETIME), |_| true, is_same);
        assert_eq!(find(&holder("/b", "/2")), None, "nobody asked");
        requests.note(what(), &holder("/a", "/1"), 10);
        for same in [
            holder("/a", "/1"),
            holder("/a", "/2"),
            holder("/b", "/1"),
            holder("/b", "/1-by-its-other-key"),
        ] {
            assert_eq!(find(&same), None, "{same}");
        }
        assert_eq!(find(&holder("/b", "/2")), Some(holder("/a", "/1")));
        // Of another action or node nothing was asked.
        let (node, _) = what();
        let unban = (node, Action::Unban);
        let other = requests.find(&unban, &holder("/b", "/2"), (10, LIFETIME), |_| true, is_same);
        assert_eq!(other, None);
        requests.forget(&what().0);
        assert_eq!(find(&holder("/b", "/2")), None, "the node has changed");
    }

    #[test]
    fn a_first_request_counts_for_a_time_and_while_its_administrator_is_one() {
        let requests = FirstRequests::default();
        let find =
            |now, stands: bool| requests.find(&what(), &holder("/b", "/2"), (now, LIFETIME), |_| stands, is_same);
        let note = || requests.note(what(), &holder("/a", "/1"), 10);
        note();
        assert!(find(109, true).is_some());
        assert_eq!(find(110, true), None, "its time is over");
        assert_eq!(find(109, true), None, "and it does not come back with the clock");
        note();
        assert_eq!(find(9, true), None, "it is of the future");
        note();
        assert_eq!(find(10, false), None, "its administrator is out");
        assert_eq!(find(10, true), None, "and does not come back with the next");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let requests = FirstRequests::default();
        for turn in 0..1000 {
            requests.note(what(), &holder(&format!("/a{turn}"), "/1"), 10);
        }
        assert_eq!(requests.0.lock().unwrap()[&what()].len(), MAX);
    }
}
