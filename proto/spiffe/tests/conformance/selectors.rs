//! Selectors.

use hallmark_spiffe::{Selector, SelectorError};
use proptest::prelude::*;

#[test]
fn the_first_colon_divides() {
    let selector = Selector::parse("unix:uid:0").unwrap();
    assert_eq!((selector.kind(), selector.value()), ("unix", "uid:0"));
    assert_eq!(selector, Selector::new("unix", "uid:0").unwrap());
    assert_eq!(selector.to_string(), "unix:uid:0");
}

#[test]
fn what_is_no_selector() {
    assert_eq!(
        Selector::parse("unix"),
        Err(SelectorError::NoColon { found: "unix".into() })
    );
    assert_eq!(Selector::parse(":uid"), Err(SelectorError::KindMissing));
    assert_eq!(
        Selector::parse("unix:"),
        Err(SelectorError::ValueMissing { kind: "unix".into() })
    );
    assert_eq!(
        Selector::new("a:b", "c"),
        Err(SelectorError::KindColon { kind: "a:b".into() })
    );
    let long = "x".repeat(Selector::MAX_VALUE_LEN + 1);
    assert!(matches!(
        Selector::new("unix", &long),
        Err(SelectorError::TooLong { .. })
    ));
    assert!(Selector::new("unix", &long[1..]).is_ok());
}

proptest! {
    #[test]
    fn what_is_written_reads_back(kind in "[^:]{1,20}", value in ".{1,80}") {
        let selector = Selector::new(&kind, &value).unwrap();
        prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
    }
}

#[test]
fn selectors_are_in_the_order_of_types_then_of_values() {
    // By their whole text the second would come first: a hyphen is before a colon.
    let sorted = ["a:b", "a:z", "a-b:a", "b:a"].map(|text| Selector::parse(text).unwrap());
    let mut mixed: Vec<_> = sorted.iter().rev().cloned().collect();
    mixed.sort();
    assert_eq!(mixed, sorted);
    assert_eq!((sorted[2].kind(), sorted[2].value()), ("a-b", "a"));
}
