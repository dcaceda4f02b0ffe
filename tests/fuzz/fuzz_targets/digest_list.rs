//! Lists of digests in every form: what is read is written and read back as the same.
#![no_main]

use hallmark_policy::DigestList;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok((list, _)) = DigestList::import("fuzz", 1, text) else {
        return;
    };
    assert!(!list.is_empty());
    let json = list.to_json();
    let again = DigestList::from_json(&json).expect("what was written can be read");
    assert_eq!(again, list);
    assert_eq!(again.to_json(), json, "equal lists, equal bytes");
});
