//! Which keys are one machine's.

use std::collections::BTreeSet;

use hallmark_node::EkId;
use hallmark_reason::Coded as _;
use hallmark_state::{LinkError, Links};
use hallmark_tpm_wire::Name;

const RSA: [u8; 32] = [1; 32];
const ECC: [u8; 32] = [2; 32];
const OTHER: [u8; 32] = [3; 32];

/// The SHA-256 Name with this digest.
fn name(byte: u8) -> Name {
    Name::parse(&[&[0x00, 0x0b][..], &[byte; 32]].concat()).unwrap()
}

fn machine(eks: &[[u8; 32]]) -> BTreeSet<EkId> {
    eks.iter().map(|ek| EkId::Spki(*ek)).collect()
}

/// The TPM of `ek` proves `ak`; what is new is kept.
fn prove(
    links: &mut Links,
    ek: &[u8; 32],
    names: &[Name],
    ak: &Name,
    is_gone: impl Fn(&[u8; 32]) -> bool,
) -> Result<BTreeSet<Name>, LinkError> {
    let new = links.prove(ek, names, ak, is_gone)?;
    new.iter().for_each(|name| links.put_name(name.clone(), *ek));
    Ok(new)
}

fn code(result: Result<BTreeSet<Name>, LinkError>) -> String {
    result.map_or_else(|error| error.code().to_string(), |new| format!("{} new", new.len()))
}

#[test]
fn a_tpm_is_known_by_the_first_ek_that_it_showed() {
    let (mut links, there) = (Links::default(), |_: &[u8; 32]| false);
    assert_eq!(
        code(prove(&mut links, &RSA, &[name(0xe1)], &name(0xa1), there)),
        "2 new"
    );
    assert_eq!(
        code(prove(&mut links, &RSA, &[name(0xe1)], &name(0xa1), there)),
        "0 new",
        "again"
    );
    assert_eq!(
        code(prove(&mut links, &OTHER, &[name(0xe3)], &name(0xa3), there)),
        "2 new",
        "another TPM"
    );
    let refused = prove(&mut links, &ECC, &[name(0xe2)], &name(0xa1), there).unwrap_err();
    assert_eq!(refused, LinkError::OtherEk { other: RSA, shown: ECC });
    assert!(refused.compared().unwrap().contains(&"01".repeat(32)));
    // Gone, and nobody says that it is the same machine: no.
    assert_eq!(
        code(prove(&mut links, &ECC, &[name(0xe2)], &name(0xa1), |_| true)),
        "HM-REG-0080"
    );
    // Nothing of what was refused is kept.
    assert_eq!(links.ek_of(&name(0xe2)), None);
    assert_eq!(links.ek_of(&name(0xa1)), Some(RSA));
}

#[test]
fn an_operators_word_lets_a_machine_that_is_gone_go_over() {
    let mut links = Links::default();
    prove(&mut links, &RSA, &[name(0xe1)], &name(0xa1), |_| false).unwrap();
    links.list(machine(&[RSA, ECC]));
    assert_eq!(
        code(prove(&mut links, &ECC, &[], &name(0xa1), |_| false)),
        "HM-REG-0080",
        "still there"
    );
    assert_eq!(
        code(prove(&mut links, &ECC, &[], &name(0xa1), |ek| *ek == RSA)),
        "1 new"
    );
    assert_eq!(
        code(prove(&mut links, &RSA, &[name(0xe1)], &name(0xa1), |_| false)),
        "HM-REG-0080",
        "and not back"
    );
    assert_eq!(links.ek_of(&name(0xa1)), Some(ECC));
}

#[test]
fn an_ek_that_shows_more_attestation_keys_than_a_tpm_has_is_refused() {
    let mut links = Links::default();
    for byte in 0..64 {
        assert_eq!(code(prove(&mut links, &RSA, &[], &name(byte), |_| false)), "1 new");
    }
    assert_eq!(code(prove(&mut links, &RSA, &[], &name(64), |_| false)), "HM-REG-0081");
    assert_eq!(
        code(prove(&mut links, &RSA, &[], &name(7), |_| false)),
        "0 new",
        "a known one"
    );
    assert_eq!(
        code(prove(&mut links, &ECC, &[], &name(64), |_| false)),
        "1 new",
        "of another EK"
    );
}

#[test]
fn listed_eks_are_one_machines_until_another_list_says_otherwise() {
    let mut links = Links::new([], [machine(&[RSA, ECC])]);
    let with = |links: &Links, ek: &[u8; 32]| links.listed_with(ek, &[]).into_iter().collect::<Vec<_>>();
    assert_eq!((with(&links, &RSA), with(&links, &ECC)), (vec![ECC], vec![RSA]));
    links.merge(machine(&[ECC, OTHER]));
    assert_eq!(with(&links, &RSA), [ECC, OTHER]);
    links.list(machine(&[ECC, OTHER]));
    assert_eq!((with(&links, &RSA), with(&links, &OTHER)), (vec![], vec![ECC]));
    links.list(machine(&[ECC]));
    assert_eq!(with(&links, &OTHER), [[0; 32]; 0]);
}

#[test]
fn a_name_that_is_listed_stands_for_the_ek_that_proved_it() {
    let listed: BTreeSet<EkId> = [EkId::Spki(ECC), EkId::of_name(&name(0xe1)).unwrap()].into();
    let mut links = Links::new([], [listed]);
    assert!(links.listed_with(&ECC, &[]).is_empty(), "nobody has shown it");
    // Before its first proof the caller knows the Names.
    let names = [EkId::of_name(&name(0xe1)).unwrap()];
    assert_eq!(links.listed_with(&RSA, &names), [ECC].into());
    prove(&mut links, &RSA, &[name(0xe1)], &name(0xa1), |_| false).unwrap();
    assert_eq!(links.listed_with(&ECC, &[]), [RSA].into());
    assert_eq!(links.listed_with(&RSA, &[]), [ECC].into());
}

#[test]
fn lines_that_share_an_ek_by_its_hash_and_its_name_are_one_machine() {
    let own_name = EkId::of_name(&name(0xe2)).unwrap();
    let by_name: BTreeSet<EkId> = [own_name, EkId::Spki(OTHER)].into();
    let mut links = Links::new([], [machine(&[RSA, ECC]), by_name]);
    assert_eq!(links.listed_with(&RSA, &[]), [ECC].into(), "nobody knows yet");
    prove(&mut links, &ECC, &[name(0xe2)], &name(0xa1), |_| false).unwrap();
    assert_eq!(links.listed_with(&RSA, &[]), [ECC, OTHER].into());
    assert_eq!(links.listed_with(&OTHER, &[]), [RSA, ECC].into());
}
