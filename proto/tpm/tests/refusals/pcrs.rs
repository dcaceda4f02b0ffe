//! PCR selections and values (attacks 28, 29 and 32).

use hallmark_tpm_wire::{HashAlg, PcrSelection, PcrValues, WireError, pcr_digest};

use super::{Bytes, assert_exact_length};

fn list(banks: &[(u16, &[u8])]) -> Vec<u8> {
    banks
        .iter()
        .fold(
            Bytes::default().u32(banks.len().try_into().unwrap()),
            |out, (hash, bitmap)| out.u16(*hash).u8(bitmap.len().try_into().unwrap()).raw(bitmap),
        )
        .0
}

fn values(of: &[(u8, u8)]) -> PcrValues {
    let mut values = PcrValues::new();
    for (pcr, fill) in of {
        values.insert(HashAlg::Sha256, *pcr, vec![*fill; 32]).unwrap();
    }
    values
}

#[test]
fn a_selection_names_each_bank_once() {
    let good = list(&[(0x000b, &[0xff, 0, 0]), (0x000c, &[1, 0, 0])]);
    assert_exact_length(&good, PcrSelection::parse);
    assert_eq!(PcrSelection::parse(&good).unwrap().marshal(), good);
    let twice = list(&[(0x000b, &[0xff, 0, 0]), (0x000c, &[1, 0, 0]), (0x000b, &[0, 1, 0])]);
    assert_eq!(PcrSelection::parse(&twice), Err(WireError::DuplicateBank("sha256")));
    let same = list(&[(0x000b, &[0xff, 0, 0]), (0x000b, &[0xff, 0, 0])]);
    assert_eq!(PcrSelection::parse(&same), Err(WireError::DuplicateBank("sha256")));
}

#[test]
fn a_selection_is_bounded() {
    assert!(PcrSelection::parse(&list(&[(0x000b, &[1, 0, 0])])).is_ok());
    assert!(PcrSelection::parse(&list(&[(0x000b, &[1, 0, 0, 0])])).is_ok());
    for bitmap in [&[][..], &[1], &[1, 0], &[1, 0, 0, 0, 0]] {
        assert!(
            PcrSelection::parse(&list(&[(0x000b, bitmap)])).is_err(),
            "{} bytes",
            bitmap.len()
        );
    }
    assert!(matches!(
        PcrSelection::parse(&list(&[(0x0012, &[1, 0, 0])])),
        Err(WireError::UnknownAlgorithm { value: 0x0012, .. })
    ));
    for count in [17, u32::MAX] {
        let bytes = Bytes::default().u32(count).0;
        assert!(matches!(
            PcrSelection::parse(&bytes),
            Err(WireError::TooLarge { limit: 16, .. })
        ));
    }
}

#[test]
fn an_empty_selection_can_not_be_asked_for() {
    assert!(PcrSelection::new([(HashAlg::Sha256, [0, 7].as_slice())]).is_ok());
    assert!(PcrSelection::new([]).is_err());
    assert!(PcrSelection::new([(HashAlg::Sha256, [].as_slice())]).is_err());
    assert!(PcrSelection::new([(HashAlg::Sha256, [32].as_slice())]).is_err());
    assert!(PcrSelection::new([(HashAlg::Sha256, [1].as_slice()), (HashAlg::Sha256, [2].as_slice())]).is_err());
}

#[test]
fn selections_mean_the_same_only_with_the_same_registers() {
    let asked = PcrSelection::new([(HashAlg::Sha256, [0, 10].as_slice())]).unwrap();
    let same = PcrSelection::parse(&list(&[(0x000b, &[1, 4, 0, 0])])).unwrap();
    assert_ne!(same, asked);
    assert_eq!(same.canonical(), asked);
    for other in [
        list(&[(0x000b, &[1, 0, 0])]),
        list(&[(0x000b, &[1, 4, 1])]),
        list(&[(0x000c, &[1, 4, 0])]),
        list(&[(0x0004, &[1, 4, 0])]),
        list(&[(0x000b, &[1, 4, 0]), (0x0004, &[0, 0, 0])]),
        list(&[]),
    ] {
        assert_ne!(PcrSelection::parse(&other).unwrap().canonical(), asked);
    }
}

#[test]
fn a_value_is_as_long_as_its_bank_and_given_once() {
    let mut values = PcrValues::new();
    values.insert(HashAlg::Sha256, 0, vec![1; 32]).unwrap();
    let wrong = |bank: &'static str, expected, actual| WireError::PcrValueLength {
        bank,
        pcr: 1,
        expected,
        actual,
    };
    assert_eq!(
        values.insert(HashAlg::Sha256, 1, vec![1; 20]),
        Err(wrong("sha256", 32, 20))
    );
    assert_eq!(
        values.insert(HashAlg::Sha384, 1, vec![1; 32]),
        Err(wrong("sha384", 48, 32))
    );
    assert_eq!(
        values.insert(HashAlg::Sha256, 1, Vec::new()),
        Err(wrong("sha256", 32, 0))
    );
    let again = WireError::DuplicatePcr { bank: "sha256", pcr: 0 };
    assert_eq!(values.insert(HashAlg::Sha256, 0, vec![1; 32]), Err(again));
    assert!(values.insert(HashAlg::Sha256, 32, vec![1; 32]).is_err());
    assert_eq!(values.len(), 1);
}

#[test]
fn the_digest_covers_exactly_the_selected_registers_in_order() {
    let selection = PcrSelection::new([(HashAlg::Sha256, [0, 10].as_slice())]).unwrap();
    let good = pcr_digest(&selection, &values(&[(0, 1), (10, 2)]), HashAlg::Sha256).unwrap();
    assert_eq!(good, HashAlg::Sha256.digest(&[[1; 32], [2; 32]].concat()));
    let reordered = pcr_digest(&selection, &values(&[(0, 2), (10, 1)]), HashAlg::Sha256).unwrap();
    assert_ne!(good, reordered);
    assert_eq!(
        pcr_digest(&selection, &values(&[(0, 1)]), HashAlg::Sha256),
        Err(WireError::MissingPcr {
            bank: "sha256",
            pcr: 10
        })
    );
    assert_eq!(
        pcr_digest(&selection, &values(&[(0, 1), (7, 3), (10, 2)]), HashAlg::Sha256),
        Err(WireError::UnselectedPcr { bank: "sha256", pcr: 7 })
    );
    let other_bank = {
        let mut values = values(&[(0, 1), (10, 2)]);
        values.insert(HashAlg::Sha1, 10, vec![2; 20]).unwrap();
        values
    };
    assert_eq!(
        pcr_digest(&selection, &other_bank, HashAlg::Sha256),
        Err(WireError::UnselectedPcr { bank: "sha1", pcr: 10 })
    );
}
