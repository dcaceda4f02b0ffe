//! Bytes that nobody honest sends.

use hallmark_spiffe::{
    Bundle,
    x509::{MAX_CERTIFICATE_LEN, ProfileError, check_signing, leaf_id, lint_leaf, verify_chain},
};
use proptest::prelude::*;

use crate::pki::{self, DIGITAL_SIGNATURE, KEY_USAGE, extension, leaf, now, root, td};

#[test]
fn nothing_may_follow_or_be_missing() {
    let good = leaf(&root(|_| {}), |_| {});
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(leaf_id(&longer), Err(ProfileError::Malformed { .. })));
    for len in 0..good.len() {
        assert!(leaf_id(&good[..len]).is_err(), "{len}");
    }
    assert_eq!(
        leaf_id(&vec![0x30; MAX_CERTIFICATE_LEN + 1]),
        Err(ProfileError::TooLarge {
            len: MAX_CERTIFICATE_LEN + 1
        })
    );
}

#[test]
fn one_extension_twice() {
    let der = leaf(&root(|_| {}), |params| {
        params.custom_extensions = vec![extension(KEY_USAGE, true, DIGITAL_SIGNATURE)];
    });
    assert_eq!(
        leaf_id(&der),
        Err(ProfileError::DuplicateExtension {
            oid: "2.5.29.15".into()
        })
    );
}

#[test]
fn a_serial_number_is_a_small_positive_number() {
    let ca = root(|_| {});
    let with = |serial: &[u8]| leaf(&ca, |params| params.serial_number = Some(serial.to_vec().into()));
    assert!(lint_leaf(&with(&[1])).is_ok());
    assert!(lint_leaf(&with(&[0x7f; 20])).is_ok());
    assert_eq!(lint_leaf(&with(&[0])), Err(ProfileError::Serial));
    assert_eq!(lint_leaf(&with(&[0x7f; 21])), Err(ProfileError::Serial));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(leaf_id(&bytes).is_err());
        prop_assert!(check_signing(&bytes).is_err());
        prop_assert!(verify_chain(&[&bytes], &[&bytes], &td(), now()).is_err());
        let _ = Bundle::from_jwks(&td(), &String::from_utf8_lossy(&bytes));
        let _ = Bundle::from_certificates(&td(), &bytes);
    }

    #[test]
    fn no_changed_certificate_is_believed(flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4)) {
        thread_local! {
            static CHAIN: (Vec<u8>, Vec<u8>) = {
                let ca = root(|_| {});
                (leaf(&ca, |_| {}), ca.der().to_vec())
            };
        }
        CHAIN.with(|(web, ca)| {
            assert!(verify_chain(&[web], &[ca], &pki::td(), now()).is_ok());
            let mut changed = web.clone();
            for (at, with) in &flips {
                let at = at.index(changed.len());
                changed[at] ^= with;
            }
            if changed != *web {
                assert!(verify_chain(&[&changed], &[ca], &pki::td(), now()).is_err());
            }
        });
    }
}
