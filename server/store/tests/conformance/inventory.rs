//! The inventory.

use hallmark_registry::InventoryLine;
use hallmark_store::{Change, Store, StoreError};
use hallmark_verify::{EkKey, TpmClass};

fn line(text: &str) -> InventoryLine {
    InventoryLine::new(EkKey::parse(text).unwrap())
}

fn put(line: &InventoryLine) -> Change {
    Change::PutInventory(Box::new(line.clone()))
}

pub(crate) async fn lines_read_back_are_replaced_and_removed(store: &impl Store) {
    let bare = line(&"ab".repeat(32));
    let full = InventoryLine {
        serial: "SN'1".into(),
        owner: "ops".into(),
        labels: [("site".to_owned(), "berlin \"mitte\"".to_owned())].into(),
        expires: Some(1_900_000_000),
        class: Some(TpmClass::Virtual),
        manufacturer: Some("id:49424D00".into()),
        model: Some("m".into()),
        ..line(&format!("000b{}", "cd".repeat(32)))
    };
    store.commit(vec![put(&full), put(&bare)]).await.unwrap();
    let mut loaded = store.load().await.unwrap().inventory;
    loaded.sort_by_key(|line| line.ek);
    assert_eq!(loaded, [bare.clone(), full.clone()]);

    let renamed = InventoryLine {
        owner: "others".into(),
        ..bare.clone()
    };
    store
        .commit(vec![put(&renamed), Change::DeleteInventory(full.ek)])
        .await
        .unwrap();
    assert_eq!(store.load().await.unwrap().inventory, std::slice::from_ref(&renamed));

    let missing = store
        .commit(vec![Change::DeleteInventory(bare.ek), Change::DeleteInventory(full.ek)])
        .await
        .unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    assert_eq!(store.load().await.unwrap().inventory, [renamed], "all or none");
}
