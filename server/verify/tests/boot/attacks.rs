//! Attacks 30, 37 to 41 on firmware logs, at the place where they are judged; each beside a log that holds.

use hallmark_evidence::tcg::{EventKind, Replay, TcgLog};
use hallmark_reason::Coded as _;
use hallmark_tpm_wire::{HashAlg, PcrValues};
use hallmark_verify::boot::{BootError, BootFacts, measured_boot};

use crate::{
    boots::{registers, vector},
    writer::Writer,
};

const GLOBAL: [u8; 16] = hallmark_evidence::tcg::efi::EFI_GLOBAL_VARIABLE;
const DATABASE: [u8; 16] = hallmark_evidence::tcg::efi::EFI_IMAGE_SECURITY_DATABASE;
const CONFIG: EventKind = EventKind::EFI_VARIABLE_DRIVER_CONFIG;
const AUTHORITY: EventKind = EventKind::EFI_VARIABLE_AUTHORITY;

/// `UEFI_VARIABLE_DATA`.
fn variable(guid: [u8; 16], name: &str, data: &[u8]) -> Vec<u8> {
    let name: Vec<u16> = name.encode_utf16().collect();
    [
        &guid[..],
        &u64::try_from(name.len()).unwrap().to_le_bytes(),
        &u64::try_from(data.len()).unwrap().to_le_bytes(),
        &name.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>(),
        data,
    ]
    .concat()
}

fn log() -> Writer {
    Writer::new(&[HashAlg::Sha256])
}

/// The registers as `log` leaves them: the machine really measured this.
fn quoted(log: &[u8]) -> PcrValues {
    let replay = Replay::of(&TcgLog::parse(log).unwrap());
    let mut values = PcrValues::new();
    for pcr in 0..16 {
        values
            .insert(
                HashAlg::Sha256,
                pcr,
                replay.value(HashAlg::Sha256, pcr).unwrap().to_vec(),
            )
            .unwrap();
    }
    values
}

/// What is believed of a log whose digests are all true.
fn believed(writer: &Writer) -> BootFacts {
    let boot = measured_boot(Some(&writer.bytes), None, &quoted(&writer.bytes))
        .unwrap()
        .unwrap();
    boot.facts().clone()
}

fn secure_boot(on: u8) -> Writer {
    log()
        .event(7, CONFIG, &variable(GLOBAL, "SecureBoot", &[on]))
        .event(7, CONFIG, &variable(GLOBAL, "PK", b""))
        .event(7, CONFIG, &variable(DATABASE, "dbx", b""))
}

const SEPARATOR: &[u8] = &[0; 4];

fn off() -> Writer {
    secure_boot(0).event(7, EventKind::SEPARATOR, SEPARATOR)
}

#[test]
fn honest_logs_are_believed() {
    assert_eq!(believed(&off()).secure_boot, Some(false));
    assert_eq!(
        believed(&log().locality(3).event(0, EventKind::SEPARATOR, SEPARATOR)).event_count,
        3
    );
    let on = secure_boot(1).event(7, EventKind::SEPARATOR, SEPARATOR);
    let facts = believed(&on);
    assert_eq!((facts.secure_boot, facts.doubts.len()), (Some(true), 0));
}

/// Attack 37: types are no part of what a digest covers.
#[test]
fn retyped_events_say_what_their_data_says() {
    for kind in [
        EventKind::ACTION,
        EventKind::IPL,
        EventKind::COMPACT_HASH,
        AUTHORITY,
        EventKind(0x7777),
    ] {
        let retyped =
            log()
                .event(7, kind, &variable(GLOBAL, "SecureBoot", &[0]))
                .event(7, EventKind::SEPARATOR, SEPARATOR);
        assert_eq!(believed(&retyped).secure_boot, Some(false), "{kind}");
    }
    // A separator under another name still ends the configuration.
    let late = secure_boot(0)
        .event(7, EventKind::IPL, SEPARATOR)
        .event(7, CONFIG, &variable(GLOBAL, "SecureBoot", &[1]))
        .event(7, EventKind::SEPARATOR, SEPARATOR);
    assert_eq!(believed(&late).secure_boot, Some(false));
    // An image under another name is still among the images.
    let digest = HashAlg::Sha256.digest(b"an image");
    let hidden = log().with_digests(4, EventKind::EFI_ACTION, &[(0x000b, digest.clone())], b"harmless");
    assert_eq!(believed(&hidden).images[0].sha256, hex::encode(digest));
}

/// Attack 38: data beside a digest that is not its own.
#[test]
fn forged_data_is_no_fact() {
    let true_digest = HashAlg::Sha256.digest(&variable(GLOBAL, "SecureBoot", &[0]));
    let forged = log()
        .with_digests(
            7,
            CONFIG,
            &[(0x000b, true_digest)],
            &variable(GLOBAL, "SecureBoot", &[1]),
        )
        .event(7, EventKind::SEPARATOR, SEPARATOR);
    let facts = believed(&forged);
    assert_eq!((facts.secure_boot, facts.db.is_some()), (None, false));
    assert_eq!(facts.doubts.len(), 1, "{facts:?}");
    let version = log().with_digests(
        0,
        EventKind::S_CRTM_VERSION,
        &[(0x000b, vec![9; 32])],
        b"1\0.\x000\x00\0\0",
    );
    assert_eq!(believed(&version).scrtm_version, None);
    let command = log().with_digests(8, EventKind::IPL, &[(0x000b, vec![9; 32])], b"kernel_cmdline: quiet\0");
    let facts = believed(&command);
    assert_eq!((facts.command_line, facts.grub.len(), facts.loaded.len()), (None, 0, 1));
    let section = log()
        .with_digests(11, EventKind::IPL, &[(0x000b, vec![9; 32])], b".cmdline\0")
        .event(11, EventKind::IPL, b"contents");
    let facts = believed(&section);
    assert!(facts.uki_sections.is_empty());
    assert!(facts.doubts.iter().any(|doubt| doubt.contains("PCR 11")), "{facts:?}");
}

/// Attack 39: a log that leaves something out.
#[test]
fn a_log_that_leaves_something_out_is_refused() {
    let whole = vector("sb-on/eventlog.bin");
    let values = registers("sb-on");
    assert!(measured_boot(Some(&whole), None, &values).is_ok());
    let code = |log: Option<&[u8]>| {
        measured_boot(log, None, &values)
            .expect_err("accepted")
            .code()
            .to_string()
    };
    // An empty log is none, which proves nothing of the boot.
    assert_eq!(measured_boot(Some(&[]), None, &values), Ok(None));
    let events = TcgLog::parse(&whole).unwrap().events().len();
    // Where the cut falls between events the registers differ; the event that was dropped last is not known.
    let mut cuts = 0;
    for length in 100..whole.len() {
        if TcgLog::parse(&whole[..length]).is_ok() {
            assert_eq!(code(Some(&whole[..length])), "HM-VERIFY-0703", "{length}");
            cuts += 1;
        }
    }
    assert!(cuts >= events - 3, "{cuts}");
    // Without any log nothing is proven of the boot, and nothing is claimed.
    assert_eq!(measured_boot(None, None, &values).unwrap(), None);
}

/// Attack 40: user space extends a register and writes the event that belongs to it.
#[test]
fn what_user_space_adds_does_not_become_the_firmwares_word() {
    let added = off().event(7, CONFIG, &variable(GLOBAL, "SecureBoot", &[1]));
    assert_eq!(believed(&added).secure_boot, Some(false));
    // Two values before the separator: none is believed.
    let twice = secure_boot(0)
        .event(7, CONFIG, &variable(GLOBAL, "SecureBoot", &[1]))
        .event(7, EventKind::SEPARATOR, SEPARATOR);
    let facts = believed(&twice);
    assert_eq!((facts.secure_boot, facts.doubts.len()), (None, 1));
    // A configuration without an end could have been written by anybody.
    let endless = secure_boot(1);
    assert_eq!(believed(&endless).secure_boot, None);
    let late = log()
        .event(0, EventKind::SEPARATOR, SEPARATOR)
        .event(0, EventKind::POST_CODE, b"more");
    assert_eq!(believed(&late).unexpected.into_iter().collect::<Vec<_>>(), [2]);
    let honest = log()
        .event(0, EventKind::POST_CODE, b"code")
        .event(0, EventKind::SEPARATOR, SEPARATOR);
    assert!(believed(&honest).unexpected.is_empty());
}

/// Attack 40 on the side of the quote: the log knows events that were never measured, or the machine more than the log.
#[test]
fn the_first_event_that_parts_log_and_quote_is_named() {
    let short = off();
    let long = off().event(7, EventKind::ACTION, b"never measured");
    let error = measured_boot(Some(&long.bytes), None, &quoted(&short.bytes)).expect_err("accepted");
    let BootError::Pcr {
        pcr: 7,
        parts_after: Some(4),
        extra: Some(extra),
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert!(extra.contains("never measured"), "{extra}");
    assert!(measured_boot(Some(&short.bytes), None, &quoted(&long.bytes)).is_err());
    assert!(measured_boot(Some(&long.bytes), None, &quoted(&long.bytes)).is_ok());
}

/// Attack 30: banks.
#[test]
fn only_the_quoted_bank_of_the_log_counts() {
    let sha1_only = Writer::new(&[HashAlg::Sha1]).event(7, EventKind::SEPARATOR, SEPARATOR);
    let error = measured_boot(Some(&sha1_only.bytes), None, &quoted(&off().bytes)).expect_err("accepted");
    assert_eq!(error.code().to_string(), "HM-VERIFY-0702");
}

/// Attack 30: of a quote over another bank, digests of the SHA-256 bank are nobody's word but the log's.
#[test]
fn digests_are_facts_only_where_their_bank_was_quoted() {
    let image = b"\x01\x00an image";
    let log = Writer::new(&[HashAlg::Sha256, HashAlg::Sha384])
        .event(4, EventKind::EFI_BOOT_SERVICES_APPLICATION, image)
        .event(9, EventKind::IPL, b"an initrd")
        .event(11, EventKind::IPL, b".linux\0")
        .event(11, EventKind::IPL, b"a kernel")
        .event(12, EventKind::IPL, b"an override");
    let of = |bank: HashAlg| {
        let replay = Replay::of(&TcgLog::parse(&log.bytes).unwrap());
        let mut values = PcrValues::new();
        for pcr in 0..16 {
            values
                .insert(bank, pcr, replay.value(bank, pcr).unwrap().to_vec())
                .unwrap();
        }
        let boot = measured_boot(Some(&log.bytes), None, &values).unwrap().unwrap();
        boot.facts().clone()
    };
    let (weaker, facts) = (of(HashAlg::Sha384), of(HashAlg::Sha256));
    let count = |facts: &BootFacts| {
        [
            facts.images.len(),
            facts.loaded.len(),
            facts.uki_sections.len(),
            facts.overrides.len(),
        ]
    };
    assert_eq!((count(&weaker), count(&facts)), ([0; 4], [1; 4]));
    // What the data says is proven by either bank: its digests cover it.
    assert_eq!(weaker.command_line.as_deref(), Some("an override"));
}

#[test]
fn the_kernels_register_is_not_the_firmwares() {
    let grabbed = log().event(10, EventKind::IPL, b"x");
    let error = measured_boot(Some(&grabbed.bytes), None, &PcrValues::new()).expect_err("accepted");
    assert_eq!(error.code().to_string(), "HM-VERIFY-0704");
}

#[test]
fn user_spaces_log_goes_on_behind_the_firmwares() {
    let firmware = log()
        .event(11, EventKind::IPL, b".linux\0")
        .event(11, EventKind::IPL, b"kernel");
    let record = |text: &str| {
        let digest = hex::encode(HashAlg::Sha256.digest(text.as_bytes()));
        format!(
            "\u{1e}{{\"pcr\":11,\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{digest}\"}}],\"content_type\":\"systemd\",\
             \"content\":{{\"string\":\"{text}\",\"eventType\":\"phase\"}}}}\n"
        )
    };
    let phases = record("enter-initrd") + &record("leave-initrd");
    let mut both = quoted(&firmware.bytes);
    let mut value = both.get(HashAlg::Sha256, 11).unwrap().to_vec();
    for phase in ["enter-initrd", "leave-initrd"] {
        value.extend(HashAlg::Sha256.digest(phase.as_bytes()));
        value = HashAlg::Sha256.digest(&value);
    }
    let mut values = PcrValues::new();
    for (bank, pcr, old) in both.iter() {
        let value = if pcr == 11 { value.clone() } else { old.to_vec() };
        values.insert(bank, pcr, value).unwrap();
    }
    std::mem::swap(&mut both, &mut values);
    let boot = measured_boot(Some(&firmware.bytes), Some(phases.as_bytes()), &both)
        .unwrap()
        .unwrap();
    assert_eq!(boot.facts().phases, ["enter-initrd", "leave-initrd"]);
    assert_eq!(boot.facts().uki_sections.len(), 1);
    assert_eq!(boot.events().len(), 5);
    // Attack 46: the quote of a later phase does not pass for an earlier log, nor the reverse.
    let early = record("enter-initrd");
    assert!(measured_boot(Some(&firmware.bytes), Some(early.as_bytes()), &both).is_err());
    // Without any log of them the register tells the phases (systemd before 255), and the fact says so.
    assert!(!boot.facts().phases_unlogged);
    let unlogged = measured_boot(Some(&firmware.bytes), None, &both).unwrap().unwrap();
    assert!(unlogged.facts().phases_unlogged);
    assert_eq!(unlogged.facts().phases, boot.facts().phases);
    assert_eq!(unlogged.events(), boot.events());
    let alone = measured_boot(None, Some(phases.as_bytes()), &both).expect_err("accepted");
    assert_eq!(alone.code().to_string(), "HM-VERIFY-0701");
}
