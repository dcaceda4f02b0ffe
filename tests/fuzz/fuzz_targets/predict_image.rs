//! Images to predict: what is read of one is the same twice, and a signed one is held against variables.
#![no_main]

use std::sync::LazyLock;

use hallmark_policy::predict::{Inputs, predict};
use libfuzzer_sys::fuzz_target;

static VARIABLES: LazyLock<Vec<u8>> =
    LazyLock::new(|| std::fs::read("../vectors/predict/variables.json").expect("run it from tests/fuzz"));

fuzz_target!(|bytes: &[u8]| {
    let inputs = Inputs {
        uki: bytes,
        ..Inputs::default()
    };
    if let Ok(forecast) = predict(&inputs) {
        assert_eq!(predict(&inputs).as_ref(), Ok(&forecast));
        assert!(forecast.registers.contains_key("sha256:4"));
        forecast.baseline("fuzz", 1, 0).expect("a forecast is a baseline");
    }
    let _ = predict(&Inputs {
        firmware_variables: Some(&VARIABLES),
        ..inputs
    });
});
