//! The key that signs is tried, not believed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hallmark_api::admin::{GetHsmStatusRequest, GetStatusRequest, admin_server::Admin as _};
use hallmark_hsm::KeyKind;
use hallmark_server::{api::admin::AdminService, authority::ActiveAuthority};

use crate::lab::{Lab, isolated, local};

/// The code of the part `hsm` by the status, and by the status of the HSM; empty where all is well.
async fn codes(admin: &AdminService) -> (String, String) {
    let status = admin.get_status(local(GetStatusRequest {})).await.unwrap().into_inner();
    let hsm = admin
        .get_hsm_status(local(GetHsmStatusRequest {}))
        .await
        .unwrap()
        .into_inner();
    let part = status.parts.into_iter().find(|part| part.name == "hsm").unwrap();
    assert_eq!(part.ok, part.code.is_empty());
    assert_eq!(hsm.ready, hsm.code.is_empty());
    (part.code, hsm.code)
}

/// Waits until both tell this code. An answer is shared by whoever asks within a second.
async fn must_tell(admin: &AdminService, code: &str) {
    let (begun, expected) = (Instant::now(), (code.to_owned(), code.to_owned()));
    let mut found = codes(admin).await;
    while found != expected {
        assert!(begun.elapsed() < Duration::from_secs(60), "{found:?}, not {code:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        found = codes(admin).await;
    }
}

#[test]
fn a_token_that_returns_another_keys_signature_is_told() {
    isolated(
        "probe::a_token_that_returns_another_keys_signature_is_told",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let admin = lab.server.services.admin.clone();
            let good = lab.server.authority.load_full();
            must_tell(&admin, "").await;
            let other = lab
                .server
                .keys
                .generate("hallmark-other", KeyKind::EcP256)
                .await
                .unwrap();
            lab.server.authority.store(Arc::new(ActiveAuthority {
                label: good.label.clone(),
                key: other,
                x509: good.x509.clone(),
                upstream_chain: Vec::new(),
                own_keys: std::collections::BTreeSet::new(),
                tainted: Vec::new(),
                bundle: good.bundle.clone(),
                authorities: good.bundle.authorities().unwrap(),
            }));
            must_tell(&admin, "HM-SRV-0017").await;
            lab.server.authority.store(good);
            must_tell(&admin, "").await;
            drop(admin);
            lab.stop().await;
        },
    );
}
