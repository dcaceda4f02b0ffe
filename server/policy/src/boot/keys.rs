//! Who may sign what boots, what is revoked, and who did sign.

use std::collections::BTreeSet;

use hallmark_reason::ReasonCode;
use hallmark_verify::boot::{BootEvent, BootFacts, ShimSwitches, SignatureDatabase};

use super::base::baseline_missing;
use super::record::{Record, listed, over};
use crate::policy::{BootRules, MokRule};
use crate::reason::{EventRef, Finding, Reason};
use crate::selectors::sha256_hex;
use crate::set::PolicySet;

pub(super) fn judge(rules: &BootRules, record: &Record<'_>, set: &PolicySet) -> Vec<Reason> {
    let rules_in_order = [
        rules.pk_certificates.as_ref().map(|it| pk(record, it)),
        rules.kek_certificates.as_ref().map(|it| kek(record, it)),
        rules.db_certificates.as_ref().map(|it| db(record, it)),
        rules.dbx_at_least.as_ref().map(|it| dbx_at_least(record, it)),
        rules
            .dbx_of_baseline
            .as_ref()
            .map(|it| dbx_of_baseline(record, it, set)),
        rules.sbat_at_least.map(|it| sbat(record, it)),
        rules.signed_by.as_ref().map(|it| signed_by(record, it)),
        rules.mok.as_ref().map(|it| mok(record, it)),
    ];
    rules_in_order.into_iter().flatten().collect()
}

fn pk(record: &Record<'_>, allowed: &BTreeSet<String>) -> Reason {
    let finding = database(record, "PK", allowed, |boot| boot.pk.as_ref());
    Reason::of(ReasonCode::new("HM-POLICY-0110"), "boot.pk_certificates", finding)
}

fn kek(record: &Record<'_>, allowed: &BTreeSet<String>) -> Reason {
    let finding = database(record, "KEK", allowed, |boot| boot.kek.as_ref());
    Reason::of(ReasonCode::new("HM-POLICY-0111"), "boot.kek_certificates", finding)
}

fn db(record: &Record<'_>, allowed: &BTreeSet<String>) -> Reason {
    let finding = database(record, "db", allowed, |boot| boot.db.as_ref());
    Reason::of(ReasonCode::new("HM-POLICY-0112"), "boot.db_certificates", finding)
}

/// A database holds no certificate but these, at least one of them, and no hashes: a hash vouches for an image as a
/// certificate does, and names no one.
fn database(
    record: &Record<'_>,
    name: &str,
    allowed: &BTreeSet<String>,
    fact: impl Fn(&BootFacts) -> Option<&SignatureDatabase>,
) -> Finding {
    over(
        record.proven(&[7], fact),
        format!("no other than {}", listed(allowed)),
        |database| {
            let foreign = database.certificates.iter().find(|it| !allowed.contains(&it.sha256));
            let at =
                record.first(|event| event.pcr == 7 && event.text.split([' ', '-', ':', ',']).any(|word| word == name));
            let finding = match (foreign, database.hashes, database.certificates.is_empty()) {
                (Some(foreign), _, _) => Finding::new(false, format!("{name} has a foreign certificate"))
                    .comparing("", format!("{} ({})", foreign.sha256, foreign.subject)),
                (None, hashes @ 1.., _) => Finding::new(false, format!("{name} allows images by their hash"))
                    .comparing("", format!("{hashes} hashes")),
                (None, 0, true) => Finding::new(false, format!("{name} is empty")).comparing("", "no certificate"),
                (None, 0, false) => Finding::new(true, format!("{name} has only known certificates"))
                    .comparing("", listed(database.certificates.iter().map(|it| &it.sha256))),
            };
            finding.at(at)
        },
    )
}

fn dbx_at_least(record: &Record<'_>, wanted: &BTreeSet<String>) -> Reason {
    let finding = revokes(record, wanted);
    Reason::of(ReasonCode::new("HM-POLICY-0113"), "boot.dbx_at_least", finding)
}

fn dbx_of_baseline(record: &Record<'_>, name: &str, set: &PolicySet) -> Reason {
    let expected = format!("the revoked hashes of the baseline {name}");
    let finding = match set.baseline(name).map(|baseline| baseline.boots.as_slice()) {
        None => return baseline_missing("boot.dbx_of_baseline", &[name.to_owned()].into()),
        Some([]) => Finding::new(false, format!("the baseline {name} knows no dbx"))
            .comparing(expected, "no boot in the baseline"),
        Some(boots) => {
            let wanted = boots
                .iter()
                .flat_map(|boot| boot.facts.dbx_hashes.iter().cloned())
                .collect();
            Finding {
                expected: Some(expected),
                ..revokes(record, &wanted)
            }
        }
    };
    Reason::of(ReasonCode::new("HM-POLICY-0114"), "boot.dbx_of_baseline", finding)
}

fn revokes(record: &Record<'_>, wanted: &BTreeSet<String>) -> Finding {
    let expected = format!("{} revoked hashes", wanted.len());
    let dbx = record.proven(&[7], |boot| boot.dbx.as_ref().map(|_| &boot.dbx_hashes));
    over(dbx, expected, |hashes| {
        let missing: Vec<_> = wanted.difference(hashes).collect();
        match missing.first() {
            None => Finding::new(true, "dbx revokes what it must").comparing("", format!("{} hashes", hashes.len())),
            Some(first) => Finding::new(false, "dbx is too old")
                .comparing("", format!("{} of them missing, the first is {first}", missing.len()))
                .at(record.about(7, "dbx")),
        }
    })
}

fn sbat(record: &Record<'_>, least: u64) -> Reason {
    let level = record.proven(&[7], |boot| boot.sbat_level.as_deref());
    let finding = over(level, format!("{least} or later"), |level| {
        // "sbat,1,2023012900", then one line per component.
        let date = level.split(['\n', ';']).next().and_then(|line| line.split(',').nth(2));
        let date = date.and_then(|date| date.trim().parse::<u64>().ok());
        let text = "the SBAT revocation level";
        match date {
            Some(date) => Finding::new(date >= least, text).comparing("", date),
            None => Finding::new(false, text).comparing("", format!("{level:?}, which has no date")),
        }
        .at(record.about(7, "SbatLevel"))
    });
    Reason::of(ReasonCode::new("HM-POLICY-0115"), "boot.sbat_at_least", finding)
}

fn signed_by(record: &Record<'_>, allowed: &BTreeSet<String>) -> Reason {
    let expected = format!("only {}", listed(allowed));
    let finding = over(record.facts(&[7]), expected, |boot| {
        let foreign = boot.authorities.iter().find(|it| !allowed.contains(&it.sha256));
        let at = foreign.and_then(|it| record.event(it.event)).map(EventRef::of);
        let hidden = boot.hidden_authorities.first().and_then(|it| record.event(*it));
        let hidden = hidden.map(EventRef::of).or_else(|| record.unexpected(7));
        if let Some((switch, says)) = open_shim(&boot.shim) {
            let about = record.first(|event| event.pcr == 7 && names(event, switch));
            return Finding::new(false, format!("shim was told to {says}"))
                .comparing(
                    "",
                    format!("{switch} is on: whatever a key authorised, others may have booted"),
                )
                .at(about);
        }
        match foreign {
            Some(foreign) => Finding::new(false, "an image was authorised by another key")
                .comparing(
                    "",
                    format!("{} ({}, in {})", foreign.sha256, foreign.subject, foreign.variable),
                )
                .at(at),
            None if hidden.is_some() => Finding::new(false, "an event hides what authorised an image")
                .comparing("", "an event that is not an authority")
                .at(hidden),
            None if boot.secure_boot != Some(true) => {
                Finding::new(false, "Secure Boot is not on, so nothing had to be signed")
                    .comparing("", "no signature was checked")
                    .at(record.about(7, "SecureBoot"))
            }
            None if boot.authorities.is_empty() => {
                Finding::new(false, "no image was authorised by a key").comparing("", "no authority in the log")
            }
            None => Finding::new(true, "every image was authorised by a known key")
                .comparing("", listed(boot.authorities.iter().map(|it| &it.sha256))),
        }
    });
    Reason::of(ReasonCode::new("HM-POLICY-0116"), "boot.signed_by", finding)
}

/// The switch that keeps shim from verifying as the firmware does.
fn open_shim(shim: &ShimSwitches) -> Option<(&'static str, &'static str)> {
    match (shim.validation_disabled, shim.db_ignored) {
        (Some(true), _) => Some(("MokSBState", "verify nothing (mokutil --disable-validation)")),
        (_, Some(true)) => Some(("MokDBState", "pass over the firmware's db (mokutil --ignore-db)")),
        _ => None,
    }
}

/// Whether the event's description names this variable.
fn names(event: &BootEvent, variable: &str) -> bool {
    event.text.split(' ').any(|word| word == variable)
}

/// What shim measures of its lists where nobody enrolled anything: its stand-in for an empty list, and the byte of
/// `MokListTrusted`. They hold no key.
fn is_without_keys(digest: &str) -> bool {
    // EFI_SIGNATURE_LIST of EFI_CERT_SHA256_GUID with one hash of zeros, whose owner is SHIM_LOCK_GUID.
    const EMPTY: &str = "8d8a3aae50d5d25838c95c034aadce7b548c9a952eb7925e366eda537c59c3b0";
    digest == EMPTY || [[0], [1]].iter().any(|byte| digest == sha256_hex(byte))
}

/// The log's names for what shim measured are only its word, so every digest in the register counts.
fn mok(record: &Record<'_>, rule: &MokRule) -> Reason {
    let expected = match rule {
        MokRule::None => "no owner's certificates".to_owned(),
        MokRule::OneOf(digests) => format!("only {}", listed(digests)),
    };
    let finding = over(record.facts(&[14]), expected, |_| {
        let allowed = |digest: &String| matches!(rule, MokRule::OneOf(digests) if digests.contains(digest));
        let mut given = record.given(14);
        let foreign = given.find(|event| !allowed(&event.digest) && !is_without_keys(&event.digest));
        let any = record.given(14).any(|event| allowed(&event.digest));
        let text = "keys in the lists of shim: those that its vendor built in, or that somebody enrolled";
        match (foreign, rule) {
            (Some(event), _) => Finding::new(false, text)
                .comparing("", &event.digest)
                .at(Some(EventRef::of(event))),
            (None, MokRule::OneOf(_)) if !any => Finding::new(false, text).comparing("", "none"),
            (None, MokRule::OneOf(_)) => Finding::new(true, text).comparing("", "only listed ones"),
            (None, MokRule::None) => Finding::new(true, text).comparing("", "none"),
        }
    });
    Reason::of(ReasonCode::new("HM-POLICY-0121"), "boot.mok", finding)
}
