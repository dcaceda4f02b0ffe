//! A good machine, and ways to spoil it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallmark_policy::{AppraisalResult, BootRecord, EkCertificate, MachineFacts, Policy, PolicySet, TpmFacts};
use hallmark_verify::boot::{
    Authority, BootEvent, BootFacts, CertificateRef, EventAuthentication, Image, ImageKind, SignatureDatabase,
};
use hallmark_verify::history::QuoteClock;

pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_392_000)
}

/// 64 hexadecimal digits.
pub(crate) fn digest(digits: &str) -> String {
    digits.repeat(64 / digits.len())
}

fn certificate(digits: &str, subject: &str) -> SignatureDatabase {
    SignatureDatabase {
        sha256: digest("d0"),
        certificates: vec![CertificateRef {
            sha256: digest(digits),
            subject: subject.into(),
        }],
        hashes: 0,
    }
}

pub(crate) fn event(number: u32, pcr: u8, kind: &str, digits: &str, text: &str) -> BootEvent {
    BootEvent {
        number,
        pcr,
        kind: kind.into(),
        digest: digest(digits),
        text: text.into(),
        authentication: EventAuthentication::ByDigest,
    }
}

/// What a unified kernel image measures that was booted with Secure Boot.
fn boot() -> BootRecord {
    let facts = BootFacts {
        secure_boot: Some(true),
        setup_mode: Some(false),
        deployed_mode: Some(true),
        audit_mode: Some(false),
        pk: Some(certificate("a1", "CN=PK")),
        kek: Some(certificate("a2", "CN=KEK")),
        db: Some(certificate("a3", "CN=db")),
        dbx: Some(SignatureDatabase {
            sha256: digest("d1"),
            certificates: vec![],
            hashes: 2,
        }),
        dbx_hashes: [digest("e1"), digest("e2")].into(),
        sbat_level: Some("sbat,1,2023012900\nshim,2\ngrub,3\n".into()),
        authorities: vec![Authority {
            event: 7,
            variable: "db".into(),
            sha256: digest("a3"),
            subject: "CN=db".into(),
        }],
        images: vec![
            Image {
                pcr: 4,
                kind: ImageKind::BootApplication,
                sha256: digest("b1"),
                hint: "\\EFI\\BOOT\\BOOTX64.EFI".into(),
            },
            Image {
                pcr: 4,
                kind: ImageKind::BootApplication,
                sha256: digest("b2"),
                hint: String::new(),
            },
        ],
        option_roms: 1,
        scrtm_version: Some("2022.11-6".into()),
        debug: Some(false),
        gpt: Some(digest("c1")),
        grub: vec!["set root=hd0,gpt2".into(), "linux /vmlinuz ro".into()],
        uki_sections: [(".linux".into(), digest("f1")), (".initrd".into(), digest("f2"))].into(),
        phases: vec!["enter-initrd".into(), "leave-initrd".into(), "ready".into()],
        command_line: Some("root=/dev/vda2 ro quiet".into()),
        exit_boot_services: true,
        event_count: 10,
        ..BootFacts::default()
    };
    let events = vec![
        event(0, 0, "EV_NO_ACTION", "00", "Spec ID Event03"),
        event(1, 0, "EV_S_CRTM_VERSION", "01", "2022.11-6"),
        event(2, 7, "EV_EFI_VARIABLE_DRIVER_CONFIG", "02", "SecureBoot"),
        event(3, 7, "EV_EFI_VARIABLE_DRIVER_CONFIG", "03", "PK"),
        event(4, 7, "EV_EFI_VARIABLE_DRIVER_CONFIG", "04", "db"),
        event(5, 7, "EV_EFI_VARIABLE_DRIVER_CONFIG", "05", "dbx"),
        event(6, 2, "EV_EFI_BOOT_SERVICES_DRIVER", "06", "card"),
        event(7, 7, "EV_EFI_VARIABLE_AUTHORITY", "07", "db CN=db"),
        event(8, 4, "EV_EFI_BOOT_SERVICES_APPLICATION", "b1", "BOOTX64.EFI"),
        event(9, 9, "EV_EVENT_TAG", "09", "LOADED_IMAGE: root=/dev/vda2 ro quiet"),
    ];
    BootRecord { facts, events }
}

/// A machine of which nothing bad can be said.
pub(crate) fn good() -> MachineFacts {
    let mut pcrs: std::collections::BTreeMap<String, String> = (0..16)
        .map(|pcr: u8| (format!("sha256:{pcr}"), digest(&format!("{pcr:x}1"))))
        .collect();
    for unused in [12, 13, 14, 15] {
        pcrs.insert(format!("sha256:{unused}"), digest("00"));
    }
    MachineFacts {
        tpm: TpmFacts {
            other_eks: std::collections::BTreeSet::new(),
            ek_sha256: digest("5e"),
            class: "discrete".into(),
            enrolled_by: "certificate".into(),
            inventory: None,
            certificate: Some(EkCertificate {
                manufacturer: "id:49465800".into(),
                model: "SLB9670".into(),
                version: "id:00070055".into(),
                issuer: "CN=Infineon".into(),
                serial: "01".into(),
                not_after: 2_000_000_000,
                sha256: digest("ce"),
                kept: false,
            }),
            firmware_version: 0x0007_0055,
        },
        quote_clock: QuoteClock {
            reset_count: 1,
            restart_count: 0,
            clock: 1000,
            safe: true,
            firmware_version: 0x0007_0055,
            seen_at: 1_795_391_940_000,
        },
        pcrs,
        boot: Some(boot()),
        ima: None,
        labels: [("site".into(), "lab".into())].into(),
    }
}

pub(crate) fn spoiled(spoil: impl FnOnce(&mut MachineFacts)) -> MachineFacts {
    let mut machine = good();
    spoil(&mut machine);
    machine
}

pub(crate) fn boot_of(machine: &mut MachineFacts) -> &mut BootFacts {
    &mut machine.boot.as_mut().unwrap().facts
}

/// A policy with these lines after its head.
pub(crate) fn policy(lines: &str) -> Policy {
    let text = format!("version = 1\nname = \"p\"\nserial = 1\n{lines}\n");
    Policy::from_toml("p.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(crate) fn set(lines: &str) -> PolicySet {
    let mut set = PolicySet::default();
    set.apply(policy(lines));
    set
}

pub(crate) fn judge(lines: &str, machine: &MachineFacts) -> AppraisalResult {
    set(lines).judge(machine, now())
}

/// The code of the first rule that refuses.
pub(crate) fn code(result: &AppraisalResult) -> Option<&'static str> {
    result.refusal().map(|reason| reason.code.as_str())
}
