//! What was booted: images, partition table, loader, kernel, command line, phases.

use std::collections::BTreeSet;

use hallmark_reason::ReasonCode;
use hallmark_verify::boot::EventAuthentication;

use super::record::{Record, credentials, listed, over};
use crate::glob::Glob;
use crate::policy::BootRules;
use crate::reason::{EventRef, Finding, Reason};
use crate::selectors::sha256_hex;

pub(super) fn judge(rules: &BootRules, record: &Record<'_>) -> Vec<Reason> {
    let sections = rules.uki.iter().map(|(name, allowed)| section(record, name, allowed));
    [
        rules.images.as_ref().map(|it| images(record, it)),
        rules.gpt.as_ref().map(|it| gpt(record, it)),
        rules.grub.as_ref().map(|it| grub(record, it)),
    ]
    .into_iter()
    .flatten()
    .chain(sections)
    .chain(rules.command_lines.as_ref().map(|it| command_line(record, it)))
    .chain(rules.phases.as_ref().map(|it| phase(record, it)))
    .collect()
}

fn images(record: &Record<'_>, allowed: &BTreeSet<String>) -> Reason {
    let finding = over(
        record.facts(&[2, 4]),
        format!("only {}", listed(allowed)),
        |boot| match boot.images.iter().find(|image| !allowed.contains(&image.sha256)) {
            Some(image) => Finding::new(false, "an image was booted that is not listed")
                .comparing("", format!("{} ({})", image.sha256, image.hint))
                .at(record.with_digest(image.pcr, &image.sha256)),
            None if boot.images.is_empty() => {
                Finding::new(false, "the boot log names no image").comparing("", "no image")
            }
            None => Finding::new(true, "only listed images were booted")
                .comparing("", listed(boot.images.iter().map(|image| &image.sha256))),
        },
    );
    Reason::of(ReasonCode::new("HM-POLICY-0117"), "boot.images", finding)
}

fn gpt(record: &Record<'_>, allowed: &BTreeSet<String>) -> Reason {
    let gpt = record.proven(&[5], |boot| boot.gpt.as_ref());
    let finding = over(gpt, listed(allowed), |gpt| {
        Finding::new(allowed.contains(gpt), "the partition table of the disk")
            .comparing("", gpt)
            .at(record.first(|event| event.pcr == 5 && event.kind.contains("GPT")))
    });
    Reason::of(ReasonCode::new("HM-POLICY-0119"), "boot.gpt", finding)
}

fn patterns(patterns: &[Glob]) -> String {
    let sources: Vec<_> = patterns.iter().map(|it| it.as_str().to_owned()).collect();
    listed(&sources)
}

/// A command that the log does not show counts as one that is not listed.
fn grub(record: &Record<'_>, allowed: &[Glob]) -> Reason {
    let shown = [EventAuthentication::ByDigest, EventAuthentication::ByDerivedDigest];
    let hidden = record.extended(8).find(|event| !shown.contains(&event.authentication));
    let finding = over(
        record.facts(&[8, 9]),
        format!("only {}", patterns(allowed)),
        |boot| match boot
            .grub
            .iter()
            .find(|line| !allowed.iter().any(|glob| glob.matches(line)))
        {
            None if hidden.is_some() => Finding::new(false, "PCR 8 has an event that hides what GRUB did")
                .comparing("", "an event whose data is not what was measured")
                .at(hidden.map(EventRef::of)),
            Some(line) => Finding::new(false, "GRUB did something that is not listed")
                .comparing("", line)
                .at(record.first(|event| matches!(event.pcr, 8 | 9) && event.text.contains(line.as_str()))),
            None if boot.grub.is_empty() => {
                Finding::new(false, "the boot log says nothing of GRUB").comparing("", "no command")
            }
            None => Finding::new(true, "GRUB did only what is listed")
                .comparing("", format!("{} commands, all listed", boot.grub.len())),
        },
    );
    Reason::of(ReasonCode::new("HM-POLICY-0120"), "boot.grub", finding)
}

fn section(record: &Record<'_>, name: &str, allowed: &BTreeSet<String>) -> Reason {
    let digest = record.proven(&[11], |boot| {
        let named = |key: &&String| key.trim_start_matches('.') == name;
        let key = boot.uki_sections.keys().find(named)?;
        boot.uki_sections.get(key)
    });
    let finding = over(digest, listed(allowed), |digest| {
        Finding::new(
            allowed.contains(digest),
            format!("section {name} of the unified kernel image"),
        )
        .comparing("", digest)
        .at(record.with_digest(11, digest))
    });
    Reason::of(ReasonCode::new("HM-POLICY-0122"), &format!("boot.uki.{name}"), finding)
}

fn command_line(record: &Record<'_>, allowed: &[Glob]) -> Reason {
    // Which register proves the words is the log's to say; a boot log that says them was held against the quote.
    let line = record.proven(&[], |boot| boot.command_line.as_ref());
    let section = embedded(record);
    let finding = match (line, section) {
        (Err(_), Ok(digest)) => embedded_line(record, digest, allowed),
        (Err(_), Err(why)) if record.given(12).next().is_some() => spoken_line(record, Err(why), allowed),
        (line, _) => spoken_line(record, line, allowed),
    };
    Reason::of(ReasonCode::new("HM-POLICY-0124"), "boot.command_lines", finding)
}

/// The digest of a unified kernel image's own command line, if no other one was given to it.
fn embedded<'a>(record: &Record<'a>) -> Result<&'a String, String> {
    let boot = record.facts(&[11, 12])?;
    let given = record.given(12).next();
    if given.is_some() || !boot.overrides.is_empty() {
        let why = "PCR 12 says that the image was given something else";
        let credentials = given.and_then(|event| credentials(event.pcr, &event.text));
        return Err(credentials.map_or_else(|| why.to_owned(), |credentials| format!("{why}: {credentials}")));
    }
    let section = boot.uki_sections.get(".cmdline");
    section.ok_or_else(|| "the boot log does not say it".to_owned())
}

/// The log has only the digest of an embedded line, so a pattern can match it only if it stands for one text.
fn embedded_line(record: &Record<'_>, digest: &str, allowed: &[Glob]) -> Finding {
    let expected = patterns(allowed);
    let texts = allowed.iter().filter_map(Glob::literal);
    // Image builders end the section with a NUL, a line feed or nothing.
    let ends: [&[u8]; 4] = [b"", b"\0", b"\n", b"\n\0"];
    let forms = texts.flat_map(|text| ends.map(|end| [text.as_bytes(), end].concat()));
    let holds = forms.into_iter().any(|form| sha256_hex(&form) == digest);
    Finding::new(holds, "the command line of the unified kernel image")
        .comparing(expected, format!("a text with the SHA-256 {digest}"))
        .at(record.with_digest(11, digest))
}

fn spoken_line(record: &Record<'_>, line: Result<&String, String>, allowed: &[Glob]) -> Finding {
    over(line, patterns(allowed), |line| {
        Finding::new(
            allowed.iter().any(|glob| glob.matches(line)),
            "the kernel's command line",
        )
        .comparing("", line)
        .at(record.first(|event| matches!(event.pcr, 8 | 9 | 12) && event.text.contains(line.as_str())))
    })
}

fn phase(record: &Record<'_>, allowed: &BTreeSet<String>) -> Reason {
    let phase = record.proven(&[11], |boot| boot.phases.last());
    let finding = over(phase, listed(allowed), |phase| {
        Finding::new(allowed.contains(phase), "the phase that the boot has reached")
            .comparing("", phase)
            .at(record.about(11, phase))
    });
    Reason::of(ReasonCode::new("HM-POLICY-0123"), "boot.phases", finding)
}
