//! The firmware: its code, modes and settings.

use std::collections::BTreeSet;

use hallmark_reason::ReasonCode;
use hallmark_verify::boot::BootFacts;

use super::record::{Record, listed, on_or_off, over};
use crate::policy::BootRules;
use crate::reason::{Finding, Reason};

pub(super) fn judge(rules: &BootRules, record: &Record<'_>) -> Vec<Reason> {
    let rules_in_order = [
        rules.scrtm_versions.as_ref().map(|it| scrtm(record, it)),
        rules.secure_boot.map(|it| secure_boot(record, it)),
        rules.setup_mode.map(|it| setup_mode(record, it)),
        rules.audit_mode.map(|it| audit_mode(record, it)),
        rules.deployed_mode.map(|it| deployed_mode(record, it)),
        rules.debug.map(|it| debug(record, it)),
        rules.dma_protection.map(|it| dma_protection(record, it)),
        rules.option_roms_at_most.map(|it| option_roms(record, it)),
        rules.exit_boot_services.map(|it| exit_boot_services(record, it)),
    ];
    rules_in_order.into_iter().flatten().collect()
}

fn scrtm(record: &Record<'_>, allowed: &BTreeSet<String>) -> Reason {
    let version = record.proven(&[0], |boot| boot.scrtm_version.as_ref());
    let version = version.map_err(|why| match record.separators(0).next() {
        Some(early) if record.separators(0).nth(1).is_some() => format!(
            "a separator's digest stands in front of it (event {}): firmware of Intel measures an empty FIT entry (type \
             0x2D) so, and a program could write the same",
            early.number
        ),
        _ => why,
    });
    let finding = over(version, listed(allowed), |version| {
        Finding::new(allowed.contains(version), "the firmware's version")
            .comparing("", version)
            .at(record.first(|event| event.kind == "EV_S_CRTM_VERSION"))
    });
    Reason::of(ReasonCode::new("HM-POLICY-0109"), "boot.scrtm_versions", finding)
}

fn secure_boot(record: &Record<'_>, wanted: bool) -> Reason {
    let finding = switch(record, "Secure Boot", "SecureBoot", wanted, |boot| boot.secure_boot);
    Reason::of(ReasonCode::new("HM-POLICY-0102"), "boot.secure_boot", finding)
}

fn setup_mode(record: &Record<'_>, wanted: bool) -> Reason {
    let finding = switch(record, "the firmware's setup mode", "PK", wanted, |boot| {
        boot.setup_mode
    });
    Reason::of(ReasonCode::new("HM-POLICY-0103"), "boot.setup_mode", finding)
}

fn audit_mode(record: &Record<'_>, wanted: bool) -> Reason {
    let finding = switch(record, "the firmware's audit mode", "AuditMode", wanted, |boot| {
        boot.audit_mode
    });
    Reason::of(ReasonCode::new("HM-POLICY-0104"), "boot.audit_mode", finding)
}

fn deployed_mode(record: &Record<'_>, wanted: bool) -> Reason {
    let finding = switch(record, "the firmware's deployed mode", "DeployedMode", wanted, |boot| {
        boot.deployed_mode
    });
    Reason::of(ReasonCode::new("HM-POLICY-0105"), "boot.deployed_mode", finding)
}

fn debug(record: &Record<'_>, wanted: bool) -> Reason {
    let finding = switch(record, "the firmware's debugger", "Debug", wanted, |boot| boot.debug);
    Reason::of(ReasonCode::new("HM-POLICY-0106"), "boot.debug", finding)
}

fn dma_protection(record: &Record<'_>, wanted: bool) -> Reason {
    let finding = switch(record, "protection from DMA before boot", "DMA", wanted, |boot| {
        // That it is not disabled is said by a whole log of PCR 7 alone; then the debugger's state is known too.
        boot.debug.map(|_| !boot.dma_protection_disabled)
    });
    Reason::of(ReasonCode::new("HM-POLICY-0107"), "boot.dma_protection", finding)
}

/// A state that PCR 7 proves.
fn switch(
    record: &Record<'_>,
    what: &str,
    event: &str,
    wanted: bool,
    fact: impl Fn(&BootFacts) -> Option<bool>,
) -> Finding {
    over(record.proven(&[7], fact), on_or_off(wanted), |state| {
        let state_text = on_or_off(state);
        Finding::new(state == wanted, format!("{what} is {state_text}"))
            .comparing("", state_text)
            .at(record.about(7, event))
    })
}

fn option_roms(record: &Record<'_>, most: u64) -> Reason {
    let count = record.proven(&[2], |boot| Some(u64::from(boot.option_roms)));
    let finding = over(count, format!("at most {most}"), |count| {
        Finding::new(count <= most, "drivers that cards brought along")
            .comparing("", count)
            .at(record.first(|event| event.pcr == 2 && event.kind.contains("DRIVER")))
    });
    Reason::of(ReasonCode::new("HM-POLICY-0118"), "boot.option_roms_at_most", finding)
}

fn exit_boot_services(record: &Record<'_>, wanted: bool) -> Reason {
    let done = record.proven(&[5], |boot| Some(boot.exit_boot_services));
    let finding = over(done, if wanted { "done" } else { "not done" }, |done| {
        Finding::new(done == wanted, "the firmware's handing over to the operating system")
            .comparing("", if done { "done" } else { "not done" })
    });
    Reason::of(ReasonCode::new("HM-POLICY-0108"), "boot.exit_boot_services", finding)
}
