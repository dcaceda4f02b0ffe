//! Attested nodes.

use hallmark_api::types;
use hallmark_state::Node;
use hallmark_state::NodeState;

use super::{id_message, selector_messages};

/// A node as a message, with the fields that `mask` asks for; without a mask, all.
#[must_use]
pub fn agent_message(agent: &Node, mask: Option<&types::AgentMask>) -> types::Agent {
    let all = types::AgentMask {
        attestation_type: true,
        x509svid_serial_number: true,
        x509svid_expires_at: true,
        selectors: true,
        banned: true,
        can_reattest: true,
        agent_version: true,
    };
    let mask = mask.unwrap_or(&all);
    let mut message = types::Agent {
        id: Some(id_message(&agent.id)),
        ..Default::default()
    };
    if mask.attestation_type {
        message.attestation_type.clone_from(&agent.attestation_type);
    }
    if mask.x509svid_serial_number && agent.state.is_served() {
        message.x509svid_serial_number = agent
            .current
            .or(agent.next)
            .map_or(String::new(), |svid| svid.serial.to_string());
    }
    if mask.x509svid_expires_at {
        message.x509svid_expires_at = agent.expires_at();
    }
    if mask.selectors {
        message.selectors = selector_messages(&agent.selectors);
    }
    message.banned = mask.banned && agent.state == NodeState::Banned;
    message.can_reattest = mask.can_reattest && agent.can_reattest;
    if mask.agent_version {
        message.agent_version.clone_from(&agent.agent_version);
    }
    message
}

/// Reads the filter `by_expires_before` (`2026-11-23 15:04:05 -0700 -07`: the last word is the zone's name and is
/// passed over) as Unix seconds; `None` for an empty or unreadable one, which clients expect to be ignored.
#[must_use]
pub fn expires_before(text: &str) -> Option<i64> {
    let mut words = text.split(' ');
    let (date, clock, zone) = (words.next()?, words.next()?, words.next()?);
    let format = time::macros::format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
    );
    // Fractions of a second are written by some clients.
    let clock = clock.split('.').next()?;
    let at = time::OffsetDateTime::parse(&format!("{date} {clock} {zone}"), &format).ok()?;
    Some(at.unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_of_go_is_read() {
        assert_eq!(expires_before("1970-01-01 01:00:10 +0100 +01"), Some(10));
        assert_eq!(expires_before("1970-01-01 00:00:10 +0000 UTC"), Some(10));
        assert_eq!(expires_before(""), None);
        assert_eq!(expires_before("tomorrow"), None);
    }
}
