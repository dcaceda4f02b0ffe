//! Firmware variables, as a store or as JSON, that a signed image is held against.
#![no_main]

use std::sync::LazyLock;

use hallmark_policy::predict::{Inputs, predict};
use libfuzzer_sys::fuzz_target;

static IMAGE: LazyLock<Vec<u8>> =
    LazyLock::new(|| std::fs::read("../vectors/predict/signed.efi").expect("run it from tests/fuzz"));

fuzz_target!(|bytes: &[u8]| {
    let forecast = predict(&Inputs {
        uki: &IMAGE,
        firmware_variables: Some(bytes),
        ..Inputs::default()
    });
    if let Ok(forecast) = forecast {
        assert!(
            forecast.secure_boot.is_some(),
            "variables say whether Secure Boot is on"
        );
        forecast.baseline("fuzz", 1, 0).expect("a forecast is a baseline");
    }
});
