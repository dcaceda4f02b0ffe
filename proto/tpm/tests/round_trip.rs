//! What is written is read back, and whatever is read was written in that one way.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hallmark_tpm_wire::{Attest, AttestKind, HashAlg, Name, PcrSelection, PublicArea, Signature};
use proptest::{collection::vec, prelude::*};

const STRONG: [(u16, usize); 3] = [(0x000b, 32), (0x000c, 48), (0x000d, 64)];
const CURVES: [(u16, usize); 3] = [(0x0003, 32), (0x0004, 48), (0x0005, 66)];
const ATTRIBUTES: u32 = 0x000f_0ff6;

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn symmetric() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(words(&[0x0010])),
        prop_oneof![Just(128), Just(192), Just(256)].prop_map(|bits| words(&[0x0006, bits, 0x0043]))
    ]
}

fn scheme(schemes: &'static [u16]) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(words(&[0x0010])),
        (prop::sample::select(schemes), prop::sample::select(&STRONG[..]))
            .prop_map(|(scheme, (hash, _))| words(&[scheme, hash]))
    ]
}

/// Type, nameAlg, attributes and policy; and the length of a nameAlg digest.
fn head(object_type: u16) -> impl Strategy<Value = (Vec<u8>, usize)> {
    (
        prop::sample::select(&STRONG[..]),
        any::<u32>(),
        any::<bool>(),
        any::<u8>(),
    )
        .prop_map(move |((hash, length), attributes, policy, fill)| {
            let policy = vec![fill; if policy { length } else { 0 }];
            let attributes = (attributes & ATTRIBUTES).to_be_bytes();
            (
                [words(&[object_type, hash]), attributes.to_vec(), sized(&policy)].concat(),
                length,
            )
        })
}

fn rsa() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![Just(2048_u16), Just(3072), Just(4096)].prop_flat_map(|bits| {
        let exponent = prop_oneof![Just(0_u32), (65_537_u32..).prop_map(|exponent| exponent | 1)];
        (Just(bits), exponent, vec(any::<u8>(), usize::from(bits / 8)))
    });
    (head(1), symmetric(), scheme(&[0x0014, 0x0016, 0x0017]), key).prop_map(
        |((head, _), symmetric, scheme, (bits, exponent, mut modulus))| {
            *modulus.first_mut().unwrap() |= 0x80;
            *modulus.last_mut().unwrap() |= 1;
            [
                head,
                symmetric,
                scheme,
                words(&[bits]),
                exponent.to_be_bytes().to_vec(),
                sized(&modulus),
            ]
            .concat()
        },
    )
}

fn ecc() -> impl Strategy<Value = Vec<u8>> {
    let key = prop::sample::select(&CURVES[..])
        .prop_flat_map(|(curve, width)| (Just(curve), vec(any::<u8>(), width), vec(any::<u8>(), width)));
    (head(0x23), symmetric(), scheme(&[0x0018, 0x0019]), key).prop_map(
        |((head, _), symmetric, scheme, (curve, x, y))| {
            [head, symmetric, scheme, words(&[curve, 0x0010]), sized(&x), sized(&y)].concat()
        },
    )
}

fn without_public_key() -> impl Strategy<Value = Vec<u8>> {
    let keyed_hash = (head(8), scheme(&[0x0005]))
        .prop_map(|((head, length), scheme)| [head, scheme, sized(&vec![3; length])].concat());
    let cipher = (head(0x25), symmetric())
        .prop_map(|((head, length), symmetric)| [head, symmetric, sized(&vec![3; length])].concat());
    prop_oneof![keyed_hash, cipher]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(&STRONG[..]).prop_flat_map(|(hash, length)| {
        vec(any::<u8>(), length).prop_map(move |digest| [words(&[hash]), digest].concat())
    })
}

fn selection() -> impl Strategy<Value = Vec<u8>> {
    let bank = prop_oneof![vec(any::<u8>(), 3), vec(any::<u8>(), 4)];
    let banks = prop::sample::subsequence(vec![0x0004_u16, 0x000b, 0x000c, 0x000d], 0..=4).prop_shuffle();
    (banks, vec(bank, 4)).prop_map(|(hashes, bitmaps)| {
        let count = u32::try_from(hashes.len()).unwrap().to_be_bytes().to_vec();
        let banks = hashes
            .iter()
            .zip(bitmaps)
            .flat_map(|(hash, bitmap)| [words(&[*hash]), vec![u8::try_from(bitmap.len()).unwrap()], bitmap].concat());
        count.into_iter().chain(banks).collect()
    })
}

/// One byte of a valid structure changed, put in, or the end cut off.
fn damaged(structure: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (structure, any::<prop::sample::Index>(), any::<u8>(), 0..3_u8).prop_map(|(mut bytes, at, value, how)| {
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = value,
            1 => bytes.insert(at, value),
            _ => bytes.truncate(at),
        }
        bytes
    })
}

proptest! {
    #[test]
    fn public_areas(bytes in prop_oneof![rsa(), ecc(), without_public_key()]) {
        let area = PublicArea::parse(&bytes).unwrap();
        prop_assert_eq!(area.marshal(), bytes.clone());
        prop_assert_eq!(PublicArea::parse_sized(&area.marshal_sized().unwrap()).unwrap(), area.clone());
        let name = area.name();
        prop_assert_eq!(&name.as_bytes()[2..], area.name_alg().digest(&bytes));
    }

    #[test]
    fn damaged_public_areas(bytes in damaged(prop_oneof![rsa(), ecc(), without_public_key()])) {
        if let Ok(area) = PublicArea::parse(&bytes) {
            prop_assert_eq!(area.marshal(), bytes);
        }
    }

    #[test]
    fn selections(bytes in selection()) {
        let selection = PcrSelection::parse(&bytes).unwrap();
        prop_assert_eq!(selection.marshal(), bytes);
        let canonical = selection.canonical();
        prop_assert_eq!(PcrSelection::parse(&canonical.marshal()).unwrap(), canonical.canonical());
        let mut registers: Vec<(HashAlg, u8)> = selection.pcrs().collect();
        registers.sort_unstable();
        prop_assert_eq!(registers, canonical.pcrs().collect::<Vec<_>>());
    }

    #[test]
    fn damaged_selections(bytes in damaged(selection())) {
        if let Ok(selection) = PcrSelection::parse(&bytes) {
            prop_assert_eq!(selection.marshal(), bytes);
        }
    }

    #[test]
    fn quotes(
        signer in name(), extra in vec(any::<u8>(), 0..=66), clock: u64, reset: u32, restart: u32, safe: bool,
        firmware: u64, selection in selection(), digest in prop_oneof![vec(any::<u8>(), 32), vec(any::<u8>(), 48)],
    ) {
        let bytes = [
            0xff54_4347_u32.to_be_bytes().to_vec(), words(&[0x8018]), sized(&signer), sized(&extra),
            clock.to_be_bytes().to_vec(), reset.to_be_bytes().to_vec(), restart.to_be_bytes().to_vec(),
            vec![u8::from(safe)], firmware.to_be_bytes().to_vec(), selection.clone(), sized(&digest),
        ].concat();
        let attest = Attest::parse(&bytes).unwrap();
        prop_assert_eq!(attest.qualified_signer, Name::parse(&signer).unwrap());
        prop_assert_eq!(attest.extra_data, extra);
        let info = attest.clock_info;
        prop_assert_eq!((info.clock, info.reset_count, info.restart_count, info.safe), (clock, reset, restart, safe));
        prop_assert_eq!(attest.firmware_version, firmware);
        let AttestKind::Quote(quote) = attest.kind else { panic!("not a quote") };
        prop_assert_eq!(quote.selection.marshal(), selection);
        prop_assert_eq!(quote.pcr_digest, digest);
    }

    #[test]
    fn signatures(r in vec(any::<u8>(), 0..=66), s in vec(any::<u8>(), 0..=66), (hash, _) in prop::sample::select(&STRONG[..])) {
        let bytes = [words(&[0x0018, hash]), sized(&r), sized(&s)].concat();
        let Signature::Ecdsa { hash: read, r: read_r, s: read_s } = Signature::parse(&bytes).unwrap() else {
            panic!("not ECDSA")
        };
        prop_assert_eq!((read.id(), read_r, read_s), (hash, r, s));
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        // Nothing panics; random bytes that are accepted are written back as they were.
        if let Ok(area) = PublicArea::parse(&bytes) {
            prop_assert_eq!(area.marshal(), bytes.clone());
        }
        if let Ok(name) = Name::parse(&bytes) {
            prop_assert_eq!(name.as_bytes(), bytes.clone());
        }
        let _ = Attest::parse(&bytes);
        let _ = Signature::parse(&bytes);
    }
}
