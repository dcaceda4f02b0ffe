//! Lines that no kernel writes, and names that a user chose.

use std::time::{Duration, Instant};

use hallmark_evidence::ima::{DigestKind, ImaError, ImaEvent, ImaList, ImaReplay};
use hallmark_reason::Coded as _;
use hallmark_tpm_wire::HashAlg;
use proptest::prelude::*;

use crate::writer::{digest, file, line, line_with_hash, name, original, sized};

fn only(bytes: &[u8]) -> Result<ImaEvent<'_>, ImaError> {
    let mut lines = ImaList::new(bytes).lines();
    let first = lines.next().unwrap();
    assert!(lines.next().is_none());
    first
}

fn code(bytes: &[u8]) -> String {
    only(bytes).expect_err("accepted").code().to_string()
}

#[test]
fn lines_of_every_template_are_read() {
    let fields = |more: &[&[u8]]| {
        let mut fields = vec![digest("sha256", &[7; 32]), name(b"/bin/sh")];
        fields.extend(more.iter().map(|field| field.to_vec()));
        fields
    };
    for (template, more) in [
        ("ima-ng", &[][..]),
        ("ima-sig", &[&b"\x03\x02signature"[..]]),
        ("ima-buf", &[b"buffer"]),
        ("ima-modsig", &[b"", b"", b""]),
        ("evm-sig", &[b"sig", b"", b"", b"", b"\0\0\0\0", b"\0\0\0\0", b"\0\0"]),
        ("d-ng|n-ng|sig", &[b"signature"]),
    ] {
        let bytes = line(template, &fields(more));
        let event = only(&bytes).unwrap();
        assert_eq!(
            (&*event.name, &*event.digest.value),
            (&b"/bin/sh"[..], &[7; 32][..]),
            "{template}"
        );
        assert_eq!(event.digest.algorithm, "sha256");
    }
    for (template, more) in [("ima-ngv2", &[][..]), ("ima-sigv2", &[&b"signature"[..]])] {
        for (prefix, kind) in [("ima:sha256", DigestKind::File), ("verity:sha256", DigestKind::Verity)] {
            let mut fields = fields(more);
            fields[0] = digest(prefix, &[7; 32]);
            let bytes = line(template, &fields);
            let event = only(&bytes).unwrap();
            assert_eq!((event.digest.kind, &*event.digest.algorithm), (kind, "sha256"));
        }
    }
    let bytes = original(b"/sbin/init", &[9; 20]);
    let event = only(&bytes).unwrap();
    assert_eq!((&*event.name, &*event.digest.algorithm), (&b"/sbin/init"[..], "sha1"));
}

#[test]
fn malformed_lines_are_refused() {
    let good = file("/bin/sh", &[7; 32]);
    assert!(only(&good).is_ok());
    for length in 1..good.len() {
        assert_eq!(code(&good[..length]), "HM-EVID-0301", "{length}");
    }
    let ng = |fields: &[Vec<u8>]| line("ima-ng", fields);
    assert_eq!(code(&line("ima-xyz", &[])), "HM-EVID-0303");
    assert_eq!(code(&line("", &[])), "HM-EVID-0303");
    assert_eq!(code(&line("n-ng\n", &[])), "HM-EVID-0303");
    assert_eq!(code(&ng(&[digest("sha256", &[7; 32])])), "HM-EVID-0301");
    assert_eq!(
        code(&ng(&[digest("sha256", &[7; 32]), name(b"a"), name(b"b")])),
        "HM-EVID-0304"
    );
    assert_eq!(
        code(&ng(&[vec![7; 32], name(b"a")])),
        "HM-EVID-0304",
        "a digest without its algorithm"
    );
    assert_eq!(
        code(&ng(&[digest("sha256", &[7; 32]), b"a".to_vec()])),
        "HM-EVID-0304",
        "no NUL"
    );
    assert_eq!(
        code(&ng(&[digest("sha256", &[7; 32]), name(b"a\0b")])),
        "HM-EVID-0304",
        "a NUL within"
    );
    assert_eq!(
        code(&line("ima-ngv2", &[digest("sha256", &[7; 32]), name(b"a")])),
        "HM-EVID-0304"
    );
    let data = [sized(&digest("sha256", &[7; 32])), sized(&name(b"a"))].concat();
    assert_eq!(code(&line_with_hash("ima-ng", &data, &[1; 20])), "HM-EVID-0305");
    let huge = [&10_u32.to_le_bytes()[..], &[1; 20], &u32::MAX.to_le_bytes()].concat();
    assert_eq!(code(&huge), "HM-EVID-0302");
    let huge = [
        &10_u32.to_le_bytes()[..],
        &[1; 20],
        &sized(b"ima-ng"),
        &u32::MAX.to_le_bytes(),
    ]
    .concat();
    assert_eq!(code(&huge), "HM-EVID-0302");
}

#[test]
fn ascii_lines_are_only_what_their_hash_says() {
    let data = [sized(&digest("sha256", &[7; 32])), sized(&name(b"/tmp/a b"))].concat();
    let hash = hex::encode(HashAlg::Sha1.digest(&data));
    let digest = hex::encode([7; 32]);
    let good = format!("10 {hash} ima-ng sha256:{digest} /tmp/a b\n");
    assert_eq!(&*only(good.as_bytes()).unwrap().name, b"/tmp/a b");
    for bad in [
        format!("10 {hash} ima-ng sha256:{digest} /tmp/a\n"),
        format!("10 {hash} ima-sig sha256:{digest} /tmp/a b\n"),
        format!("10 {hash} ima-ng sha512:{digest} /tmp/a b\n"),
        format!("10 {hash} ima-ng sha256:{digest} /tmp/a b \n"),
    ] {
        assert!(
            matches!(code(bad.as_bytes()).as_str(), "HM-EVID-0304" | "HM-EVID-0305"),
            "{bad}"
        );
    }
    assert_eq!(code(good.trim_end().as_bytes()), "HM-EVID-0301");
    // A line end in a name makes a line that stands for nothing.
    let data = [
        sized(&crate::writer::digest("sha256", &[7; 32])),
        sized(&name(b"/tmp/a\n10 b")),
    ]
    .concat();
    let hash = hex::encode(HashAlg::Sha1.digest(&data));
    let split = format!("10 {hash} ima-ng sha256:{digest} /tmp/a\n10 b\n");
    let first = ImaList::new(split.as_bytes()).lines().next().unwrap();
    assert_eq!(first.unwrap_err().code().to_string(), "HM-EVID-0305");
    let bytes = line_with_hash("ima-ng", &data, &HashAlg::Sha1.digest(&data));
    assert_eq!(only(&bytes).unwrap().shown_name(), "/tmp/a\\n10 b");
}

#[test]
fn a_violation_extends_ones() {
    let data = [sized(&digest("sha1", &[0; 20])), sized(&name(b"/var/log/x"))].concat();
    let bytes = line_with_hash("ima-ng", &data, &[0; 20]);
    let event = only(&bytes).unwrap();
    assert!(event.is_violation());
    for bank in [HashAlg::Sha1, HashAlg::Sha256, HashAlg::Sha384] {
        let mut replay = ImaReplay::at_boot(bank);
        replay.extend(&event);
        let ones = [vec![0; bank.digest_len()], vec![0xff; bank.digest_len()]].concat();
        assert_eq!(replay.value(), bank.digest(&ones));
        assert_eq!((replay.lines(), replay.violations()), (1, 1));
    }
}

#[test]
fn a_million_lines_cost_what_their_bytes_cost() {
    let one = file("/usr/lib/x86_64-linux-gnu/libc.so.6", &[7; 32]);
    let time = |lines: usize| {
        let list = one.repeat(lines);
        let started = Instant::now();
        let mut replay = ImaReplay::at_boot(HashAlg::Sha256);
        ImaList::new(&list)
            .lines()
            .for_each(|event| replay.extend(&event.unwrap()));
        assert_eq!(replay.lines(), u64::try_from(lines).unwrap());
        started.elapsed()
    };
    time(1000);
    // A parser whose cost grows with the square of the lines would take hours.
    assert!(time(1_000_000) < Duration::from_secs(120));
}

proptest! {
    #[test]
    fn what_is_written_is_read(path in "[^\0]{1,60}", value: [u8; 32], signature in prop::collection::vec(any::<u8>(), 0..80)) {
        let bytes = line("ima-sig", &[digest("sha256", &value), name(path.as_bytes()), signature.clone()]);
        let event = only(&bytes).unwrap();
        prop_assert_eq!(&*event.name, path.as_bytes());
        prop_assert_eq!(&*event.signature, signature.as_slice());
        if !path.contains('\n') {
            let ascii = format!(
                "10 {} ima-sig sha256:{} {path} {}\n", hex::encode(&event.recorded), hex::encode(value), hex::encode(&signature)
            );
            let from_ascii = only(ascii.as_bytes()).unwrap();
            prop_assert_eq!(&from_ascii.data, &event.data);
            prop_assert_eq!(from_ascii.name, event.name);
        }
    }

    #[test]
    fn a_replay_goes_on_where_it_stopped(values in prop::collection::vec(any::<[u8; 32]>(), 1..20), cut in 0..20_usize) {
        let lines: Vec<_> = values.iter().map(|value| file("/bin/x", value)).collect();
        let cut = cut.min(lines.len());
        let take = |replay: &mut ImaReplay, lines: &[Vec<u8>]| {
            let bytes = lines.concat();
            ImaList::new(&bytes).lines().for_each(|event| replay.extend(&event.unwrap()));
        };
        let mut whole = ImaReplay::at_boot(HashAlg::Sha256);
        take(&mut whole, &lines);
        let mut parts = ImaReplay::at_boot(HashAlg::Sha256);
        take(&mut parts, &lines[..cut]);
        take(&mut parts, &lines[cut..]);
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn noise_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for list in [bytes.clone(), [&b"10 "[..], &bytes].concat(), [&10_u32.to_le_bytes()[..], &bytes].concat()] {
            let _ = ImaList::new(&list).lines().count();
        }
    }
}
