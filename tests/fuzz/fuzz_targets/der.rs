//! The reader of DER: what it accepts has one form only, and the writer makes exactly that form again.
#![no_main]

use hallmark_der::{
    Reader, check, ec_point, ec_spki, ecdsa_numbers, ecdsa_signature, element, element_len, rsa_numbers, rsa_spki,
    unsigned,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(tag) = bytes.first() else { return };
    if let Ok(found) = Reader::new(bytes).take(*tag) {
        assert_eq!(element(*tag, &[found.contents]), found.whole);
        assert_eq!(element_len(bytes), Ok(found.whole.len()));
    } else {
        assert!(check(bytes).is_err());
    }
    if let Ok(digits) = Reader::new(bytes).positive() {
        assert!(bytes.starts_with(&unsigned(digits)));
    }
    if let Some((curve, point)) = ec_point(bytes) {
        assert_eq!(ec_spki(curve, point), bytes);
        assert_eq!(check(bytes), Ok(()));
    }
    if let Ok((modulus, exponent)) = rsa_numbers(bytes) {
        assert_eq!(rsa_spki(modulus, exponent), bytes);
        assert_eq!(check(bytes), Ok(()));
    }
    if let Ok((r, s)) = ecdsa_numbers(bytes) {
        assert_eq!(ecdsa_signature(r, s), bytes);
        assert_eq!(check(bytes), Ok(()));
    }
});
