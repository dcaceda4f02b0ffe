//! Baselines from CoRIM: what is taken, what is told, and what is refused.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use corim::builder::{ComidBuilder, CorimBuilder};
use corim::cbor::{self, value::Value};
use corim::types::common::TagIdChoice;
use corim::types::corim::CorimId;
use corim::types::environment::{ClassMap, EnvironmentMap};
use corim::types::measurement::{
    Digest, IntegrityRegisterId, IntegrityRegisters, MeasurementMap, MeasurementValuesMap,
};
use corim::types::signed::{CoseAlgorithm, CwtClaims, SignedCorimBuilder};
use corim::types::triples::ReferenceTriple;
use hallmark_policy::signed::OperatorKeys;
use hallmark_policy::{Baseline, BaselineError};
use hallmark_reason::Coded as _;

const NOW: i64 = 1_795_392_000;

fn registers(of: &[(u64, i64, Vec<u8>)]) -> MeasurementMap {
    let registers = of.iter().map(|(register, algorithm, value)| {
        let digest = Digest::new(*algorithm, value.clone());
        (IntegrityRegisterId::Uint(*register), vec![digest])
    });
    let mut mval = MeasurementValuesMap::default();
    mval.integrity_registers = Some(IntegrityRegisters(registers.collect()));
    MeasurementMap {
        mkey: None,
        mval,
        authorized_by: None,
    }
}

fn corim(until: i64, of: &[(&str, Vec<MeasurementMap>)]) -> Vec<u8> {
    let mut comid = ComidBuilder::new(TagIdChoice::Text("example.com/edge".into()));
    for (model, measurements) in of {
        let class = ClassMap {
            class_id: None,
            vendor: Some("Example".into()),
            model: Some((*model).into()),
            layer: None,
            index: None,
        };
        let environment = EnvironmentMap {
            class: Some(class),
            instance: None,
            group: None,
        };
        comid = comid.add_reference_triple(ReferenceTriple::new(environment, measurements.clone()));
    }
    CorimBuilder::new(CorimId::Text("example.com/edge/7".into()))
        .set_validity(Some(NOW - 1000), until)
        .unwrap()
        .add_comid_tag(comid.build().unwrap())
        .unwrap()
        .build_bytes()
        .unwrap()
}

fn good() -> Vec<u8> {
    let either = [
        registers(&[(4, 1, vec![4; 32]), (7, 1, vec![7; 32]), (10, 1, vec![10; 32])]),
        registers(&[(4, 1, vec![5; 32]), (7, 7, vec![8; 48]), (0, 3, vec![9; 16])]),
    ];
    corim(NOW + 1000, &[("edge", either.to_vec())])
}

fn refused(bytes: &[u8], keys: Option<&OperatorKeys>) -> String {
    let error = Baseline::from_corim(bytes, "edge", 1, NOW, keys).unwrap_err();
    assert_eq!(error.code().to_string(), "HM-POLICY-0305");
    match error {
        BaselineError::Malformed { what } => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn registers_become_values_and_the_rest_is_told() {
    let (baseline, left_out) = Baseline::from_corim(&good(), "edge", 3, NOW, None).unwrap();
    assert_eq!((baseline.name.as_str(), baseline.serial), ("edge", 3));
    let named: Vec<_> = baseline.registers.keys().map(String::as_str).collect();
    assert_eq!(named, ["sha256:4", "sha256:7", "sha384:7"]);
    assert_eq!(baseline.registers["sha256:4"].len(), 2, "alternatives");
    assert_eq!(
        left_out.len(),
        2,
        "IMA's register, and a digest of no bank: {left_out:?}"
    );
    assert_eq!(Baseline::from_json(&baseline.to_json()).unwrap(), baseline);
}

#[test]
fn what_is_no_good_corim_is_refused() {
    let good = good();
    for bytes in [&[][..], b"{}", &good[..good.len() - 1], &good[3..]] {
        refused(bytes, None);
    }
    let other = |model| (model, vec![registers(&[(4, 1, vec![4; 32])])]);
    let two = refused(&corim(NOW + 1000, &[other("edge"), other("core")]), None);
    assert!(two.contains("2 environments"), "{two}");
    refused(&corim(NOW - 1, &[other("edge")]), None);
    let nothing = corim(NOW + 1000, &[("edge", vec![registers(&[(10, 1, vec![4; 32])])])]);
    let told = refused(&nothing, None);
    assert!(
        told.contains("no register") && told.contains("register Uint(10)"),
        "{told}"
    );
    refused(&vec![0xd9; Baseline::MAX_CORIM_BYTES + 1], None);
}

#[test]
fn a_signed_corim_counts_under_its_signers_key_alone() {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let stranger = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let keys = |key: &EcdsaKeyPair| {
        let prefix = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        let mut keys = OperatorKeys::default();
        keys.add_spki(&[&prefix, key.public_key().as_ref()].concat()).unwrap();
        keys
    };
    let mut builder = SignedCorimBuilder::new(CoseAlgorithm::Es256, good()).set_cwt_claims(CwtClaims::new("maker"));
    let message = builder.to_be_signed(&[]).unwrap();
    let signature = key.sign(&SystemRandom::new(), &message).unwrap();
    let signed = builder.build_with_signature(signature.as_ref().to_vec()).unwrap();
    assert!(Baseline::is_corim(&signed) && Baseline::is_corim(&good()) && !Baseline::is_corim(b"{}"));

    let (baseline, _) = Baseline::from_corim(&signed, "edge", 1, NOW, Some(&keys(&key))).unwrap();
    assert_eq!(baseline.registers.len(), 3);
    let none = refused(&signed, Some(&keys(&stranger)));
    assert!(none.contains("none of the operators' keys"), "{none}");
    assert!(
        refused(&signed, None).contains("it is signed"),
        "a signature is not passed over"
    );
    refused(&good(), Some(&keys(&key)));
    for at in [signed.len() - 1, signed.len() / 2] {
        let mut altered = signed.clone();
        altered[at] ^= 1;
        refused(&altered, Some(&keys(&key)));
    }
}

/// The same CoRIM with names in the place of its digests' numbers.
fn named(bytes: &[u8]) -> Vec<u8> {
    fn walk(value: &mut Value) {
        match value {
            Value::Array(items) => match items.as_mut_slice() {
                [algorithm @ Value::Integer(_), Value::Bytes(_)] => {
                    let name = match algorithm {
                        Value::Integer(1) => "sha-256",
                        Value::Integer(7) => "sha-384",
                        _ => "md5",
                    };
                    *algorithm = Value::Text(name.into());
                }
                items => items.iter_mut().for_each(walk),
            },
            Value::Map(pairs) => pairs.iter_mut().for_each(|(_, value)| walk(value)),
            Value::Tag(506, inner) => {
                let Value::Bytes(encoded) = &mut **inner else { panic!() };
                let mut comid: Value = cbor::decode(encoded).unwrap();
                walk(&mut comid);
                *encoded = cbor::encode(&comid).unwrap();
            }
            Value::Tag(_, inner) => walk(inner),
            _ => {}
        }
    }
    let mut document: Value = cbor::decode(bytes).unwrap();
    walk(&mut document);
    cbor::encode(&document).unwrap()
}

#[test]
fn algorithms_may_have_names() {
    let (by_number, _) = Baseline::from_corim(&good(), "edge", 3, NOW, None).unwrap();
    let document = named(&good());
    assert_ne!(document, good());
    let (by_name, left_out) = Baseline::from_corim(&document, "edge", 3, NOW, None).unwrap();
    assert_eq!(by_name.registers, by_number.registers);
    assert!(left_out.iter().any(|what| what.contains("\"md5\"")), "{left_out:?}");
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    // Signed: what is read is what was signed.
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let prefix = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
    let mut keys = OperatorKeys::default();
    keys.add_spki(&[&prefix, key.public_key().as_ref()].concat()).unwrap();
    let sealed = |document: Vec<u8>| {
        let claims = CwtClaims::new("maker");
        let mut builder = SignedCorimBuilder::new(CoseAlgorithm::Es256, document).set_cwt_claims(claims);
        let message = builder.to_be_signed(&[]).unwrap();
        let signature = key.sign(&SystemRandom::new(), &message).unwrap();
        builder.build_with_signature(signature.as_ref().to_vec()).unwrap()
    };
    let signed = sealed(document.clone());
    let (by_name, _) = Baseline::from_corim(&signed, "edge", 3, NOW, Some(&keys)).unwrap();
    assert_eq!(by_name.registers, by_number.registers);
    let at = signed.windows(7).position(|window| window == b"sha-256").unwrap();
    let mut changed = signed;
    changed[at + 4..at + 7].copy_from_slice(b"384");
    assert!(refused(&changed, Some(&keys)).contains("signed"));
}

#[test]
fn addresses_of_makers_are_tagged_as_the_draft_has_them() {
    let at = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/reports/corim-uri-tag32");
    let mut values = Vec::new();
    for file in ["plain.corim", "profile32.corim", "regid32.corim"] {
        let bytes = std::fs::read(at.join(file)).unwrap();
        let (baseline, left_out) = Baseline::from_corim(&bytes, "fw", 1, NOW, None).unwrap();
        assert!(left_out.is_empty(), "{file}: {left_out:?}");
        values.push(baseline.registers);
        refused(&bytes[..bytes.len() - 1], None);
        refused(&[&bytes[..], &[0]].concat(), None);
    }
    assert!(!values[0].is_empty() && values.iter().all(|registers| *registers == values[0]));
}
