//! What digests say of event data.

use std::fs;

use hallmark_evidence::tcg::{Authentication, EventKind, TcgEvent, TcgLog};
use hallmark_tpm_wire::HashAlg;

use crate::{boots::vector, writer::Writer};

fn first(writer: &Writer, check: impl FnOnce(&TcgEvent<'_>)) {
    let log = TcgLog::parse(&writer.bytes).unwrap();
    check(&log.events()[1]);
}

#[test]
fn data_is_proven_only_where_a_digest_covers_it() {
    let log = || Writer::new(&[HashAlg::Sha1, HashAlg::Sha256]);
    first(&log().event(7, EventKind::SEPARATOR, &[0; 4]), |event| {
        assert_eq!(event.authentication(), Authentication::ByDigest);
        assert_eq!(event.authenticated().unwrap(), &[0; 4][..]);
    });
    let of = |data: &[u8]| {
        vec![
            (0x0004, HashAlg::Sha1.digest(data)),
            (0x000b, HashAlg::Sha256.digest(data)),
        ]
    };
    let other = log().with_digests(7, EventKind::SEPARATOR, &of(b"other"), &[0; 4]);
    first(&other, |event| {
        assert_eq!(event.authentication(), Authentication::None);
        assert_eq!(event.authenticated(), None);
    });
    // One bank is not enough: each must cover it.
    let mut half = of(&[0; 4]);
    half[0].1 = vec![9; 20];
    first(&log().with_digests(7, EventKind::SEPARATOR, &half, &[0; 4]), |event| {
        assert_eq!(event.authentication(), Authentication::None);
    });
    let image = log().with_digests(
        4,
        EventKind::EFI_BOOT_SERVICES_APPLICATION,
        &of(b"hash of an image"),
        b"path",
    );
    first(&image, |event| {
        assert_eq!(event.authentication(), Authentication::External)
    });
    let grub = log().with_digests(
        8,
        EventKind::IPL,
        &of(b"linux /vmlinuz ro"),
        b"grub_cmd: linux /vmlinuz ro\0",
    );
    first(&grub, |event| {
        assert_eq!(event.authentication(), Authentication::ByDerivedDigest);
        assert_eq!(event.authenticated().unwrap(), &b"linux /vmlinuz ro"[..]);
    });
    let section: Vec<u8> = ".linux\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    first(
        &log().with_digests(11, EventKind::IPL, &of(b".linux\0"), &section),
        |event| {
            assert_eq!(event.authenticated().unwrap(), &b".linux\0"[..]);
        },
    );
}

#[test]
fn a_real_boot_is_described() {
    let bytes = fs::read(vector("sb-on/eventlog.bin")).unwrap();
    let log = TcgLog::parse(&bytes).unwrap();
    let described: Vec<_> = log
        .events()
        .iter()
        .map(|event| (event.pcr, event.kind, event.described()))
        .collect();
    let has = |pcr: u32, kind: EventKind, text: &str, authentication: Authentication| {
        let found = described
            .iter()
            .any(|(p, k, (t, a))| (*p, *k, *a) == (pcr, kind, authentication) && t.contains(text));
        assert!(found, "{pcr} {kind} {text}: {described:#?}");
    };
    use Authentication::{ByDerivedDigest, ByDigest, External};
    has(
        7,
        EventKind::EFI_VARIABLE_DRIVER_CONFIG,
        "variable SecureBoot = 1",
        ByDigest,
    );
    has(7, EventKind::EFI_VARIABLE_AUTHORITY, "variable db", ByDigest);
    has(1, EventKind::EFI_VARIABLE_BOOT, "variable Boot0001", ByDerivedDigest);
    has(4, EventKind::EFI_BOOT_SERVICES_APPLICATION, "image ", External);
    has(11, EventKind::IPL, ".cmdline", ByDerivedDigest);
    has(9, EventKind::EVENT_TAG, "LOADED_IMAGE::LoadOptions", External);
    has(5, EventKind::EFI_ACTION, "Exit Boot Services Invocation", ByDigest);
}
