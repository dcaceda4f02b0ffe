//! Administrators over TLS, and the machines that they work at.

use std::collections::BTreeSet;

use hallmark_spiffe::SpiffeId;
use hallmark_state::decide::RoleHolder;

use crate::{
    machine::{Machine, spiffe_id},
    random::Random,
};

/// How many administrators there are.
pub(crate) const ADMINS: usize = 2;

/// The SPIFFE ID of an administrator.
pub(crate) fn admin(number: usize) -> SpiffeId {
    spiffe_id(&format!("/admin/{number}"))
}

/// The SPIFFE IDs that the configuration makes administrators.
pub(crate) fn configured() -> BTreeSet<SpiffeId> {
    (0..ADMINS).map(admin).collect()
}

/// One of them, at some machine, with an SVID that was issued a while ago.
pub(crate) fn holder(machines: &[Machine], now: i64, random: &mut Random) -> RoleHolder {
    let number = random.below(ADMINS);
    // Mostly each at a machine of their own.
    let machine = if random.one_in(4) {
        random.below(machines.len())
    } else {
        number
    };
    RoleHolder {
        id: admin(number),
        agent: machines[machine].id.clone(),
        issued_at: now - [0, 0, 60, 1000][random.below(4)],
    }
}

/// Who acted, as a record names them: each administrator with the agent of the machine; nobody for others.
pub(crate) fn acting(actor: &str) -> Vec<(SpiffeId, SpiffeId)> {
    let holders = actor.split(" and ").filter_map(|holder| holder.split_once(" through "));
    let holders = holders.filter_map(|(id, agent)| Some((SpiffeId::parse(id).ok()?, SpiffeId::parse(agent).ok()?)));
    holders.collect()
}
