//! The rules of the server's configuration, which hold for every machine.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_node::{Maker, Model, TpmClass};
use hallmark_reason::ReasonCode;

use crate::facts::TpmFacts;
use crate::reason::{Finding, Reason};
use crate::rules::Rules;

/// What each of them finds, in their order.
pub(crate) fn judge(tpm: &TpmFacts, rules: &Rules) -> Vec<Reason> {
    vec![
        enrolment(tpm, rules.require_inventory),
        class(tpm, &rules.allowed_classes, "tpm.classes"),
        denied_ek(tpm, &rules.denied_eks),
        denied_manufacturer(tpm, &rules.denied_manufacturers),
        denied_model(tpm, &rules.denied_models),
        denied_firmware(tpm, &rules.denied_firmware),
    ]
}

/// Only what is revoked is worth a word: whether lists were at hand is for those to say who read them.
pub(crate) fn revocation(tpm: &TpmFacts, revoked: &BTreeSet<String>) -> Option<Reason> {
    revoked.contains(&tpm.ek_sha256).then(|| {
        let finding = Finding::new(false, "the EK certificate, or its issuer's, was revoked by its vendor");
        Reason::of(ReasonCode::new("HM-POLICY-0010"), "tpm.revocation", finding)
    })
}

/// What a list would be held against is damaged.
pub(crate) fn unreadable_certificate(tpm: &TpmFacts, unreadable: &BTreeMap<String, String>) -> Option<Reason> {
    let damage = unreadable.get(&tpm.ek_sha256)?;
    let text = "the stored EK certificate does not read back, so nobody can say that its vendor did not revoke it";
    let finding = Finding::new(false, text).comparing("a certificate with its issuers", damage);
    Some(Reason::of(ReasonCode::new("HM-POLICY-0012"), "tpm.revocation", finding))
}

fn enrolment(tpm: &TpmFacts, required: bool) -> Reason {
    let listed = tpm.is_listed();
    let holds = listed || !required;
    let whose = if tpm.certificate.as_ref().is_some_and(|it| it.kept) {
        " that the server keeps of the TPM, which shows none that counts,"
    } else {
        ""
    };
    let text = match (tpm.is_enrolled_by_inventory(), listed) {
        (false, true) => format!("the EK certificate{whose} leads to a pinned root and the inventory lists the EK"),
        (false, false) if holds => format!("the EK certificate{whose} leads to a pinned root"),
        (false, false) => "the inventory, which is required, does not list the EK".to_owned(),
        (true, _) => "the inventory lists the EK".to_owned(),
    };
    let finding = Finding::new(holds, text);
    let finding = if required {
        let found = match (listed, &tpm.inventory) {
            (true, _) => "one",
            (false, Some(_)) => "one that has expired",
            (false, None) => "none",
        };
        finding.comparing(format!("an inventory line for EK {}", tpm.ek_sha256), found)
    } else {
        finding
    };
    Reason::of(ReasonCode::new("HM-POLICY-0001"), "tpm.inventory", finding)
}

/// What a TPM can be, other than a simulator.
const REAL_CLASSES: [TpmClass; 3] = [TpmClass::Discrete, TpmClass::Firmware, TpmClass::Virtual];

/// The class of its certificate and the one that the inventory states: each that there is must be allowed. A TPM that
/// has neither may be of any real kind. The inventory, which alone can have enrolled it, vouches that it is no simulator,
/// not for more: where one of the real kinds is not allowed, leaving the certificate out must not help it in.
pub(crate) fn class(tpm: &TpmFacts, allowed: &BTreeSet<TpmClass>, rule: &str) -> Reason {
    let [proven, stated] = tpm.classes();
    let allows = |class: &TpmClass| allowed.contains(class);
    let (class, holds) = match (proven, stated) {
        (None, None) => (
            TpmClass::Unknown,
            allows(&TpmClass::Unknown) || REAL_CLASSES.iter().all(allows),
        ),
        (Some(class), None) | (None, Some(class)) => (class, allows(&class)),
        (Some(proven), Some(stated)) if allows(&proven) => (stated, allows(&stated)),
        (Some(proven), Some(_)) => (proven, false),
    };
    let text = match (proven.or(stated), holds) {
        (None, true) => "the TPM has no verified certificate, so no class; the inventory vouches for it".to_owned(),
        (None, false) => {
            "the TPM has no verified certificate, and its line in the inventory states no class; some are not allowed"
                .to_owned()
        }
        (Some(_), true) => format!("TPMs of class {class} are allowed"),
        (Some(_), false) => format!("TPMs of class {class} are not allowed"),
    };
    let allowed: Vec<_> = allowed.iter().map(|class| class.as_str()).collect();
    let finding = Finding::new(holds, text).comparing(allowed.join(" or "), class);
    Reason::of(ReasonCode::new("HM-POLICY-0002"), rule, finding)
}

pub(crate) fn denied_ek(tpm: &TpmFacts, denied: &BTreeSet<String>) -> Reason {
    let others = tpm.other_eks.iter();
    let finding = match others
        .filter(|_| !denied.contains(&tpm.ek_sha256))
        .find(|ek| denied.contains(*ek))
    {
        None => denied_or_not("EK", &tpm.ek_sha256, denied.contains(&tpm.ek_sha256)),
        Some(other) => Finding::new(
            false,
            format!("the EK {other} is denied, which the inventory lists as this machine's"),
        )
        .comparing(
            format!("any machine but that of EK {other}"),
            format!("its EK {}", tpm.ek_sha256),
        ),
    };
    Reason::of(ReasonCode::new("HM-POLICY-0003"), "tpm.denied_eks", finding)
}

pub(crate) fn denied_manufacturer(tpm: &TpmFacts, denied: &BTreeSet<Maker>) -> Reason {
    let proven = tpm.certificate.as_ref().map(|it| &it.manufacturer);
    let stated = tpm.inventory.as_ref().and_then(|line| line.manufacturer.as_ref());
    let finding = named("TPM manufacturer", denied, [proven, stated]);
    Reason::of(ReasonCode::new("HM-POLICY-0004"), "tpm.denied_manufacturers", finding)
}

pub(crate) fn denied_model(tpm: &TpmFacts, denied: &BTreeSet<Model>) -> Reason {
    let proven = tpm.certificate.as_ref().map(|it| &it.model);
    let stated = tpm.inventory.as_ref().and_then(|line| line.model.as_ref());
    let finding = named("TPM model", denied, [proven, stated]);
    Reason::of(ReasonCode::new("HM-POLICY-0005"), "tpm.denied_models", finding)
}

/// Denied by the certificate's name or by the inventory's; and where some are denied and neither says a name, too: a
/// denied TPM must not get in by leaving its certificate out.
fn named<T: Ord + AsRef<str>>(what: &str, denied: &BTreeSet<T>, known: [Option<&T>; 2]) -> Finding {
    let mut known = known.into_iter().flatten();
    let Some(first) = known.next() else {
        if denied.is_empty() {
            return denied_or_not(what, "", false);
        }
        let list: Vec<_> = denied.iter().map(AsRef::as_ref).collect();
        return Finding::new(false, format!("the {what} is not known, and some are denied")).comparing(
            format!("any {what} but {}", list.join(", ")),
            "no verified certificate that names one",
        );
    };
    let name = std::iter::once(first).chain(known).find(|name| denied.contains(*name));
    denied_or_not(what, name.unwrap_or(first).as_ref(), name.is_some())
}

pub(crate) fn denied_firmware(tpm: &TpmFacts, denied: &BTreeSet<u64>) -> Reason {
    let version = tpm.firmware_version;
    let finding = denied_or_not("TPM firmware", &format!("{version:016x}"), denied.contains(&version));
    Reason::of(ReasonCode::new("HM-POLICY-0006"), "tpm.denied_firmware", finding)
}

fn denied_or_not(what: &str, value: &str, denied: bool) -> Finding {
    let value = if value.is_empty() { "(unknown)" } else { value };
    if denied {
        Finding::new(false, format!("the {what} {value} is denied")).comparing(format!("any {what} but {value}"), value)
    } else {
        Finding::new(true, format!("the {what} {value} is not denied"))
    }
}
