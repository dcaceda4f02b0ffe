//! Whether the boot log has nothing that should not be there.

use hallmark_reason::ReasonCode;
use hallmark_verify::boot::BootEvent;

use super::record::{Record, over};
use crate::policy::BootRules;
use crate::reason::{EventRef, Finding, Reason};

pub(super) fn judge(rules: &BootRules, record: &Record<'_>) -> Reason {
    let finding = over(record.facts(&[]), "nothing unexpected and nothing hidden", |boot| {
        let excepted = |pcr: u8| rules.consistent_except.as_ref().is_some_and(|it| it.contains(&pcr));
        let events: Vec<_> = boot.unexpected.iter().map(|number| record.event(*number)).collect();
        let events = events
            .into_iter()
            .filter(|event| !event.is_some_and(|event| excepted(event.pcr)));
        let events: Vec<Option<&BootEvent>> = events.collect();
        // What firmware is known to do is named last, so that it does not stand in front of an intruder.
        let known = |event: &&Option<&BootEvent>| event.and_then(|event| habit(record, event)).is_some();
        let first = events.iter().find(|event| !known(event)).or_else(|| events.first());
        match (first, boot.doubts.iter().next()) {
            (None, None) => Finding::new(true, "the boot log is consistent").comparing("", "neither"),
            (None, Some(doubt)) => {
                Finding::new(false, "the boot log hides or contradicts something").comparing("", doubt)
            }
            (Some(event), _) => {
                let habit = event.and_then(|event| habit(record, event));
                let text = match habit {
                    Some(habit) => format!("something extended a register of the firmware behind its end; {habit}"),
                    None => "something extended a register of the firmware behind its end".to_owned(),
                };
                Finding::new(false, text)
                    .comparing(
                        "",
                        format!(
                            "{} such event{}",
                            events.len(),
                            if events.len() == 1 { "" } else { "s" }
                        ),
                    )
                    .at(event.map(EventRef::of))
            }
        }
    });
    Reason::of(ReasonCode::new("HM-POLICY-0127"), "boot.consistent", finding)
}

/// What firmware and loaders in the field do there, where nothing shows that it was they. For people: the log's types and
/// texts decide nothing.
fn habit(record: &Record<'_>, event: &BootEvent) -> Option<&'static str> {
    match (event.pcr, event.kind.as_str()) {
        (0, _) if record.separators(0).nth(1).is_some() => Some(
            "a separator's digest is there more than once: firmware of Intel measures an empty FIT entry (type 0x2D) so, \
             long before the end, and a program could write the same",
        ),
        (1, "EV_EFI_HANDOFF_TABLES" | "EV_EFI_HANDOFF_TABLES2") => Some(
            "firmware of Dell, Lenovo and Supermicro measures hand-off tables there, which the log does not hold, so that \
             nothing shows who did it",
        ),
        (1, "EV_EVENT_TAG") if event.text.starts_with("smbios:") => Some(
            "systemd-boot and systemd-stub from 261 on measure SMBIOS structures there, which the log does not hold, so \
             that nothing shows who did it",
        ),
        (1, "EV_EFI_VARIABLE_BOOT" | "EV_EFI_VARIABLE_BOOT2" | "EV_PLATFORM_CONFIG_FLAGS") => {
            Some("firmware of AMI and Lenovo measures boot variables and flags there, and this event does not show one")
        }
        _ => None,
    }
}
