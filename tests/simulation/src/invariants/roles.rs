//! What administrators over TLS may do.

use hallmark_state::{Action, Record, RoleWay, State, What, gives_back};

use super::{Law, Violation, broken};
use crate::{Coverage, admin};

/// Holds a record against the state before it.
pub(super) fn check(truth: &State, record: &Record, counts: &mut Coverage) -> Result<(), Violation> {
    let acting = admin::acting(&record.transaction.actor);
    let [(first, at_first), others @ ..] = &acting[..] else {
        return Ok(());
    };
    counts.over_tls += 1;
    for (id, agent) in &acting {
        let Some(node) = truth.node(agent).filter(|node| node.is_active()) else {
            return broken(Law::RolesStand, format!("{id} acted through {agent}, which is out"));
        };
        let way = truth
            .entries()
            .role_way(id, None, agent, &node.selectors, record.transaction.at);
        if way != RoleWay::Open {
            return broken(
                Law::RolesStand,
                format!("{id} acted through {agent}, which may not serve it"),
            );
        }
    }
    let is_second = others
        .iter()
        .any(|(id, agent)| id != first && agent != at_first && !truth.are_one_machine(agent, at_first));
    counts.by_two += usize::from(is_second);
    for event in &record.transaction.events {
        let What::NodeStep { act, from, .. } = &event.what else {
            continue;
        };
        let action = Action::ALL.into_iter().find(|action| action.act() == act);
        if action.is_some_and(|action| gives_back(*from, action)) && !is_second {
            let found = format!("{} alone did {act} of {}", record.transaction.actor, event.subject);
            return broken(Law::TwoGiveBack, found);
        }
    }
    Ok(())
}
