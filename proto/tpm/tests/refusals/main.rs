//! What is refused, each case beside the accepted structure that it differs from in one thing.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod pcrs;
mod public_areas;
mod signatures;
mod statements;

use hallmark_reason::Coded;
use hallmark_tpm_wire::WireError;

/// Big-endian fields, one after another.
#[derive(Default, Clone)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn raw(mut self, value: &[u8]) -> Self {
        self.0.extend(value);
        self
    }

    fn sized(self, value: &[u8]) -> Self {
        self.u16(value.len().try_into().unwrap()).raw(value)
    }
}

/// Every shorter prefix and every longer string is refused; the structure itself is not.
fn assert_exact_length<T>(structure: &[u8], parse: impl Fn(&[u8]) -> Result<T, WireError>) {
    assert!(parse(structure).is_ok());
    for length in 0..structure.len() {
        assert!(parse(&structure[..length]).is_err(), "{length} bytes");
    }
    let longer = [structure, &[0]].concat();
    assert!(matches!(parse(&longer), Err(WireError::TrailingBytes { extra: 1, .. })));
}

#[test]
fn every_refusal_tells_its_cause_and_the_next_step() {
    let errors = [
        WireError::WrongMagic(0),
        WireError::SignatureInvalid,
        WireError::Weak {
            field: "RSA key",
            found: "RSA-1024",
        },
        WireError::Crypto("RSA-OAEP"),
    ];
    let codes = errors.each_ref().map(Coded::code);
    assert_eq!(
        codes.iter().collect::<std::collections::BTreeSet<_>>().len(),
        errors.len()
    );
    for error in errors {
        assert!(error.likely_cause().is_some() && error.next_step().is_some());
    }
    assert_eq!(
        WireError::WrongMagic(1).compared().unwrap(),
        "expected 0xff544347, found 0x00000001"
    );
}
