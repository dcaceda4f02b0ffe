//! The inventory's files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may stop where something is not as it built it"
)]

use hallmark_node::{EkId, Form, InventoryError, InventoryItem, TpmClass, read_inventory};
use hallmark_reason::Coded as _;
use proptest::prelude::*;

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn other(digit: char) -> String {
    HASH.replace('1', &digit.to_string())
}

fn csv(text: &str) -> Result<Vec<InventoryItem>, InventoryError> {
    read_inventory(text.as_bytes(), Form::Csv)
}

fn json(text: &str) -> Result<Vec<InventoryItem>, InventoryError> {
    read_inventory(text.as_bytes(), Form::Json)
}

fn full() -> InventoryItem {
    InventoryItem {
        serial: "SN-1".into(),
        owner: "team a, ops".into(),
        labels: [("rack", "7"), ("site", "berlin")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        expires: Some(1_896_048_000),
        class: Some(TpmClass::Firmware),
        manufacturer: Some("id:494E5443".into()),
        model: Some("ADL".into()),
        ..InventoryItem::new(EkId::parse(HASH).unwrap())
    }
}

#[test]
fn a_machine_may_have_several_eks() {
    let (two, three) = (other('2'), other('3'));
    let lines = csv(&format!("ek_sha256,owner\n{HASH};{two},ops\n000b{three},ops\n")).unwrap();
    let eks = |line: &InventoryItem| line.eks().map(|ek| ek.to_string()).collect::<Vec<_>>();
    assert_eq!(eks(&lines[0]), [HASH.to_owned(), two.clone()]);
    assert_eq!(eks(&lines[1]), [format!("000b{three}")]);
    let same = json(&format!(
        r#"[{{"ek_sha256":["{HASH}","{two}"],"owner":"ops"}},{{"ek_sha256":"000b{three}","owner":"ops"}}]"#
    ));
    assert_eq!(same.unwrap(), lines);
    let many: Vec<String> = (0..17).map(|n| format!("{n:064x}")).collect();
    for (eks, code) in [
        (format!("{HASH};{HASH}"), "HM-REG-0073"),
        (format!("{HASH};"), "HM-REG-0072"),
        (format!("{HASH}; {two}"), "HM-REG-0072"),
        (format!("{HASH};{two}\n{two}"), "HM-REG-0073"),
        (many.join(";"), "HM-REG-0072"),
    ] {
        let error = csv(&format!("ek_sha256\n{eks}\n")).unwrap_err();
        assert_eq!(error.code().as_str(), code, "{eks}");
    }
    for eks in ["[]".to_owned(), format!("[\"{HASH}\",7]"), format!("{many:?}")] {
        assert!(json(&format!(r#"[{{"ek_sha256":{eks}}}]"#)).is_err(), "{eks}");
    }
}

#[test]
fn both_forms_say_the_same() {
    let text = format!(
        "# our machines\nek_sha256,serial,owner,labels,expires,class,manufacturer,model\n\
         {},SN-1,\"team a, ops\",site=berlin;rack=7,2030-01-31T00:00:00Z,firmware,id:494E5443,ADL\n000b{HASH},,,,,,,\n",
        HASH.to_uppercase()
    );
    let name = InventoryItem::new(EkId::parse(&format!("000b{HASH}")).unwrap());
    assert_eq!(csv(&text).unwrap(), [full(), name.clone()]);
    let text = format!(
        r#"[{{"ek_sha256":"{HASH}","serial":"SN-1","owner":"team a, ops","labels":{{"site":"berlin","rack":"7"}},
            "expires":"2030-01-31T00:00:00Z","class":"firmware","manufacturer":"id:494E5443","model":"ADL"}},
            {{"ek_sha256":"000b{HASH}"}}]"#
    );
    assert_eq!(json(&text).unwrap(), [full(), name]);
    // Columns may stand in any order and be left out: the server's own static file is one of these.
    assert_eq!(csv(&format!("owner,ek_sha256\nops,{HASH}\n")).unwrap()[0].owner, "ops");
    assert_eq!(
        csv(&format!("ek_sha256,owner,expires\n{HASH},ops,\n")).unwrap()[0].expires,
        None
    );
    assert_eq!(json(" [ ] ").unwrap(), []);
}

#[test]
fn owner_and_labels_become_selectors() {
    let labels: Vec<_> = full().selector_labels().into_iter().collect();
    let expected = [("owner", "team a, ops"), ("rack", "7"), ("site", "berlin")];
    assert_eq!(
        labels,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[test]
fn every_fault_of_a_csv_has_its_code_and_place() {
    let header = "ek_sha256,serial,owner,labels,expires,class\n";
    let good = format!("{header}{HASH},,,,,\n");
    assert_eq!(csv(&good).unwrap().len(), 1, "the control");
    let with = |rest: &str| format!("{good}{},{rest}\n", other('2'));
    assert_eq!(
        csv(&with("s,o,a=b,2030-01-31T00:00:00Z,virtual")).unwrap().len(),
        2,
        "the control"
    );
    for (text, code, line, column) in [
        (format!("ek_sha256,site\n{HASH},x\n"), "HM-REG-0071", 1, 2),
        (format!("ek_sha256,owner,owner\n{HASH},x,y\n"), "HM-REG-0071", 1, 3),
        ("owner\nx\n".into(), "HM-REG-0071", 1, 0),
        (String::new(), "HM-REG-0071", 1, 0),
        (format!("{good}{HASH},x\n"), "HM-REG-0070", 3, 0),
        (format!("{good}abc,,,,,\n"), "HM-REG-0072", 3, 1),
        (format!("{good}{} ,,,,,\n", other('2')), "HM-REG-0072", 3, 1),
        (format!("{good}{},,,,,\n", HASH.to_uppercase()), "HM-REG-0073", 3, 1),
        (with(&format!("{},,,,", "s".repeat(256))), "HM-REG-0075", 3, 2),
        (with(",a\u{1b}b,,,"), "HM-REG-0075", 3, 3),
        (with(",a\u{202e}b,,,"), "HM-REG-0075", 3, 3),
        (with(",,site,,"), "HM-REG-0074", 3, 4),
        (with(",,Site=x,,"), "HM-REG-0074", 3, 4),
        (with(",,site=,,"), "HM-REG-0074", 3, 4),
        (with(",,owner=x,,"), "HM-REG-0074", 3, 4),
        (with(",,a=1;a=2,,"), "HM-REG-0074", 3, 4),
        (with(",,,tomorrow,"), "HM-REG-0076", 3, 5),
        (with(",,,1969-01-01T00:00:00Z,"), "HM-REG-0076", 3, 5),
        (with(",,,,unknown"), "HM-REG-0077", 3, 6),
    ] {
        let error = csv(&text).expect_err(&text);
        let found = (error.code().as_str(), error.line, error.column);
        assert_eq!(found, (code, line, column), "{text}\n{error}");
        assert!(error.likely_cause().is_some() && error.next_step().is_some());
    }
}

#[test]
fn every_fault_of_a_json_has_its_code_and_place() {
    let element = |more: &str| format!("[\n{{\"ek_sha256\":\"{HASH}\"{more}}}\n]");
    assert_eq!(json(&element(",\"owner\":\"x\"")).unwrap().len(), 1, "the control");
    for (text, code) in [
        (String::new(), "HM-REG-0070"),
        ("{}".into(), "HM-REG-0070"),
        (element(",\"site\":\"x\""), "HM-REG-0070"),
        (element(",\"owner\":7"), "HM-REG-0070"),
        (element(",\"labels\":{\"a\":\"1\",\"a\":\"2\"}"), "HM-REG-0070"),
        (element(",\"owner\":\"a\",\"owner\":\"b\""), "HM-REG-0070"),
        (format!("{}x", element("")), "HM-REG-0070"),
        ("[\n{}]".into(), "HM-REG-0072"),
        (
            format!("[\n{{\"ek_sha256\":\"{HASH}\"}},{{\"ek_sha256\":\"{HASH}\"}}]"),
            "HM-REG-0073",
        ),
        (element(",\"labels\":{\"a\":\"x;y\"}"), "HM-REG-0074"),
        (element(",\"serial\":\"\\u0007\""), "HM-REG-0075"),
        (element(",\"expires\":\"x\""), "HM-REG-0076"),
        (element(",\"class\":\"x\""), "HM-REG-0077"),
    ] {
        let error = json(&text).expect_err(&text);
        assert_eq!(error.code().as_str(), code, "{text}\n{error}");
        if text.contains('\n') {
            assert!(error.line >= 2 && error.column > 0, "{text}\n{error}");
            assert!(error.to_string().contains(", column "), "{error}");
        }
    }
}

#[test]
fn files_are_bounded() {
    let large = vec![b'#'; 16 * 1024 * 1024 + 1];
    let error = read_inventory(&large, Form::Csv).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-REG-0078");
    let many: String = (0..100_001).map(|n| format!("{n:064x}\n")).collect();
    let error = csv(&format!("ek_sha256\n{many}")).unwrap_err();
    assert_eq!((error.code().as_str(), error.line), ("HM-REG-0078", 100_002));
}

proptest! {
    #[test]
    fn nothing_makes_the_readers_panic(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(read_inventory(&file, Form::Csv));
        drop(read_inventory(&file, Form::Json));
    }
}
