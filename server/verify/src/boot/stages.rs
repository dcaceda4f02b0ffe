//! The stages behind the firmware's configuration: images, loaders, kernel, user space.

use std::collections::BTreeMap;

use hallmark_evidence::{
    systemd::SystemdLog,
    tcg::{
        EventKind, TcgEvent,
        efi::{image_path, utf16, version_text},
    },
};
use hallmark_tpm_wire::HashAlg;

use super::facts::{BootFacts, Image, ImageKind, Measured, OwnerKeys};
use super::firmware_end::{self, is_marker};
use super::user_space;
use crate::fingerprint::hex;

const EXIT_BOOT_SERVICES: &[u8] = b"Exit Boot Services Invocation";
const EXITED: &[u8] = b"Exit Boot Services Returned with Success";

/// Which registers were quoted.
#[derive(Clone, Copy)]
pub(super) struct Quoted<'a> {
    /// In any strong bank: that proves what an event's data says, if its digests cover it.
    pub(super) text: &'a dyn Fn(u8) -> bool,
    /// In the SHA-256 bank: that proves the SHA-256 digests.
    pub(super) digest: &'a dyn Fn(u8) -> bool,
}

/// Reads the facts of every register but 7. `of` gives a register's events, `None` for one that was not quoted.
pub(super) fn read<'e, 'a: 'e>(
    of: impl Fn(u8) -> Option<Vec<&'e TcgEvent<'a>>>,
    systemd: Option<&SystemdLog>,
    quoted: Quoted<'_>,
    facts: &mut BootFacts,
) {
    let events = |pcr| of(pcr).unwrap_or_default();
    let digests = |pcr| of(pcr).filter(|_| (quoted.digest)(pcr)).unwrap_or_default();
    facts.scrtm_version = scrtm_version(&events(0));
    let roms = events(2);
    let roms = roms
        .iter()
        .filter(|event| !is_marker(event) && !firmware_end::is_memory_encryption(event));
    facts.option_roms = u32::try_from(roms.clone().count()).unwrap_or(u32::MAX);
    let started = events(4);
    let started = started.iter().filter(|event| !is_marker(event) && !is_action(event));
    let proven = roms
        .chain(started)
        .filter(|event| u8::try_from(event.pcr).is_ok_and(quoted.digest));
    facts.images = proven.filter_map(|event| image(event)).collect();
    facts.gpt = gpt(&digests(5));
    facts.exit_boot_services = ended(&events(5));
    facts.grub = events(8).iter().filter_map(|event| proven_text(event)).collect();
    facts.loaded = measured(&digests(8), |event| proven_text(event).is_none());
    facts.loaded.extend(measured(&digests(9), |_| true));
    if let Some(events) = of(11).filter(|_| (quoted.digest)(11)) {
        read_uki(&events, facts);
    }
    let anchors = user_space::anchors(systemd, &events(12));
    facts.nvpcr_anchors = anchors.map(by_bank).unwrap_or_default();
    let is_given = |event: &TcgEvent<'_>| anchors.is_none_or(|anchors| anchors.number != event.number);
    let given: Vec<_> = events(12).into_iter().filter(|event| is_given(event)).collect();
    facts.command_line = command_line(&events(8), &given);
    facts.overrides = measured(&digests(12), is_given);
    facts.system_extensions = measured(&digests(13), |_| true);
    facts.mok = owner_keys(&digests(14));
    facts.system_identity = measured(&digests(15), |_| true);
    user_space::read(systemd, quoted, facts);
    for pcr in firmware_end::REGISTERS {
        facts
            .unexpected
            .extend(firmware_end::unexpected(pcr, &events(pcr)).map(|event| event.number));
    }
}

/// A sentence that the firmware measures as it is, such as the start of a boot attempt.
fn is_action(event: &TcgEvent<'_>) -> bool {
    let letters = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    event.authenticated().is_some_and(|bytes| letters(&bytes))
}

/// Only in front of the separator: behind it any program extends the register and calls it a version. Of several events
/// with a separator's digest the first is the end, whatever the log calls them.
fn scrtm_version(events: &[&TcgEvent<'_>]) -> Option<String> {
    let firmware = events.iter().take_while(|event| !is_marker(event));
    let mut versions = firmware.filter(|event| event.kind == EventKind::S_CRTM_VERSION);
    let (version, None) = (versions.next()?, versions.next()) else {
        return None;
    };
    let bytes = version.authenticated()?;
    version_text(&bytes).or_else(|| Some(hex(&bytes)))
}

fn image(event: &TcgEvent<'_>) -> Option<Image> {
    Some(Image {
        pcr: u8::try_from(event.pcr).ok()?,
        kind: match event.kind {
            EventKind::EFI_BOOT_SERVICES_DRIVER => ImageKind::BootDriver,
            EventKind::EFI_RUNTIME_SERVICES_DRIVER => ImageKind::RuntimeDriver,
            _ => ImageKind::BootApplication,
        },
        sha256: hex(event.digest(HashAlg::Sha256)?),
        hint: image_path(event.data).unwrap_or_else(|| event.description()),
    })
}

/// The kernel's command line in words: GRUB's, or the override that systemd-stub was given. That of a unified kernel
/// image is known by its digest (section `.cmdline`). Two of them are none.
///
/// The log's types and labels are its word, and any program may extend these registers later. So no event may hide what
/// it measured; whatever PCR 12 has counts; and what GRUB measures next to its first `linux` command is a line however
/// it is labelled: a line that was made up stands behind it.
fn command_line(grub: &[&TcgEvent<'_>], overrides: &[&TcgEvent<'_>]) -> Option<String> {
    let shown = |events: &[&TcgEvent<'_>]| -> Option<Vec<String>> { events.iter().map(|it| proven_text(it)).collect() };
    let (commands, overrides) = (shown(grub)?, shown(overrides)?);
    let is_linux = |text: &String| {
        let command = text.split(' ').next().unwrap_or_default();
        ["linux", "linux16", "linuxefi"].contains(&command)
    };
    let loaded = commands
        .iter()
        .position(is_linux)
        .and_then(|at| commands.get(at.saturating_add(1)));
    let labelled = |event: &TcgEvent<'_>| {
        let labels: [&[u8]; 2] = [b"kernel_cmdline: ", b"grub_kernel_cmdline "];
        labels.iter().any(|label| event.data.starts_with(label))
    };
    let of_grub = grub.iter().zip(&commands).filter(|(event, _)| labelled(event));
    let mut lines = of_grub.map(|(_, text)| text).chain(loaded).chain(&overrides);
    let line = lines.next()?;
    lines.all(|other| other == line).then(|| line.clone())
}

/// The digests of the shim's lists; the log's names for them are its word, so a list that is named twice is not known.
fn owner_keys(events: &[&TcgEvent<'_>]) -> OwnerKeys {
    let list = |name: &str| {
        let mut named = events
            .iter()
            .filter(|event| event.data.strip_suffix(&[0]).unwrap_or(event.data) == name.as_bytes());
        match (named.next(), named.next()) {
            (Some(event), None) => event.digest(HashAlg::Sha256).map(hex),
            _ => None,
        }
    };
    OwnerKeys {
        list: list("MokList"),
        revoked: list("MokListX"),
        trusted: list("MokListTrusted"),
    }
}

/// The first table. An event in front of it that hides what it measured could be the true one.
fn gpt(events: &[&TcgEvent<'_>]) -> Option<String> {
    for event in events {
        if event.authenticated()?.starts_with(b"EFI PART") {
            return event.digest(HashAlg::Sha256).map(hex);
        }
    }
    None
}

fn ended(events: &[&TcgEvent<'_>]) -> bool {
    let says = |text: &[u8]| {
        events.iter().any(|event| {
            event
                .authenticated()
                .is_some_and(|bytes| bytes.strip_suffix(&[0]).unwrap_or(&bytes) == text)
        })
    };
    says(EXIT_BOOT_SERVICES) && says(EXITED)
}

/// Text that the digests cover, in either encoding.
fn proven_text(event: &TcgEvent<'_>) -> Option<String> {
    let bytes = event.authenticated()?;
    let readable = |text: &String| !text.is_empty() && text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t');
    let narrow = std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(&bytes))
        .ok()
        .map(str::to_owned);
    narrow.filter(readable).or_else(|| utf16(&bytes).filter(readable))
}

fn measured(events: &[&TcgEvent<'_>], wanted: impl Fn(&TcgEvent<'_>) -> bool) -> Vec<Measured> {
    let wanted = events.iter().filter(|event| wanted(event));
    wanted
        .filter_map(|event| {
            Some(Measured {
                event: event.number,
                sha256: hex(event.digest(HashAlg::Sha256)?),
                text: proven_text(event),
                hint: event.description(),
            })
        })
        .collect()
}

/// An event's digests, by the bank's name.
fn by_bank(event: &TcgEvent<'_>) -> BTreeMap<String, String> {
    let digests = event.digests.iter();
    digests.map(|(bank, digest)| (bank.to_string(), hex(digest))).collect()
}

/// systemd-stub measures every section twice: its name with a NUL, then its contents (systemd-stub(7), "TPM PCR Notes").
fn read_uki(events: &[&TcgEvent<'_>], facts: &mut BootFacts) {
    let mut sections = BTreeMap::new();
    let mut rest = events.iter();
    while let Some(name) = rest.next() {
        let text = proven_text(name).filter(|text| text.starts_with('.'));
        let Some((text, contents)) = text.zip(rest.next().and_then(|event| event.digest(HashAlg::Sha256))) else {
            facts.doubts.insert(format!(
                "event {} in PCR 11 is not a section of a unified kernel image",
                name.number
            ));
            return;
        };
        if sections.insert(text.clone(), hex(contents)).is_some() {
            facts.doubts.insert(format!("PCR 11 has section {text} twice"));
            return;
        }
    }
    facts.uki_sections = sections;
}
