//! The inventory.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::{EkId, InventoryItem, TpmClass};
use hallmark_state::{Change, TpmName};
use hallmark_store::{Store, StoreError};
use hallmark_tpm_wire::Name;

use super::changed;

fn line(text: &str) -> InventoryItem {
    InventoryItem::new(EkId::parse(text).unwrap())
}

fn remove(line: &InventoryItem) -> Change {
    Change::DeleteInventoryLine(Arc::new(line.clone()))
}

fn put(line: &InventoryItem) -> Change {
    Change::PutInventoryLine(Arc::new(line.clone()))
}

pub(crate) async fn lines_read_back_are_replaced_and_removed(store: &impl Store) {
    let bare = line(&"ab".repeat(32));
    let full = InventoryItem {
        serial: "SN'1".into(),
        owner: "ops".into(),
        labels: [("site".to_owned(), "berlin \"mitte\"".to_owned())].into(),
        expires: Some(1_900_000_000),
        class: Some(TpmClass::Virtual),
        manufacturer: Some("id:49424D00".into()),
        model: Some("m".into()),
        other_eks: [EkId::parse(&"ef".repeat(32)).unwrap()].into(),
        ..line(&format!("000b{}", "cd".repeat(32)))
    };
    store.commit(changed(vec![put(&full), put(&bare)])).await.unwrap();
    let mut loaded = store.load().await.unwrap().inventory;
    loaded.sort_by_key(|line| line.ek);
    assert_eq!(loaded, [bare.clone(), full.clone()]);

    let renamed = InventoryItem {
        owner: "others".into(),
        ..bare.clone()
    };
    store.commit(changed(vec![put(&renamed), remove(&full)])).await.unwrap();
    assert_eq!(store.load().await.unwrap().inventory, std::slice::from_ref(&renamed));

    let missing = store
        .commit(changed(vec![remove(&bare), remove(&full)]))
        .await
        .unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    assert_eq!(store.load().await.unwrap().inventory, [renamed], "all or none");
}

pub(crate) async fn keys_of_machines_read_back_and_stand_where_they_were_put_last(store: &impl Store) {
    let name = |byte: u8| Name::parse(&[&[0x00, 0x0b][..], &[byte; 32]].concat()).unwrap();
    let of = |byte, ek| TpmName {
        name: name(byte),
        ek_sha256: [ek; 32],
    };
    let put = |new: TpmName| Change::PutTpmName(new);
    let eks = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| EkId::Spki([*byte; 32]))
            .collect::<BTreeSet<_>>()
    };
    let machine = |bytes: &[u8]| Change::PutMachineEks(eks(bytes));
    let changes = vec![put(of(1, 1)), put(of(2, 1)), machine(&[1, 2]), machine(&[5, 6])];
    store.commit(changed(changes)).await.unwrap();
    store
        .commit(changed(vec![put(of(2, 9)), machine(&[2, 3, 4])]))
        .await
        .unwrap();
    let loaded = store.load().await.unwrap();
    let mut names = loaded.tpm_names;
    names.sort_by_key(|it| it.name.clone());
    assert_eq!(names, [of(1, 1), of(2, 9)]);
    let mut machines = loaded.machine_eks;
    machines.sort();
    assert_eq!(machines, [eks(&[2, 3, 4]), eks(&[5, 6])], "1 stands alone");
    // One alone is of no machine.
    store
        .commit(changed(vec![machine(&[6]), machine(&[3, 4])]))
        .await
        .unwrap();
    assert_eq!(store.load().await.unwrap().machine_eks, [eks(&[3, 4])]);
}
