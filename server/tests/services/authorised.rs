//! Entries, as agents see them.

use hallmark_api::{
    entry::{GetAuthorizedEntriesRequest, entry_server::Entry as _},
    types,
};
use hallmark_spiffe::SpiffeId;

use crate::lab::{Lab, entry, from_agent, isolated, local};

async fn paths(lab: &Lab, agent: &SpiffeId) -> Vec<String> {
    let request = from_agent(agent, GetAuthorizedEntriesRequest::default());
    let entries = lab
        .entries
        .get_authorized_entries(request)
        .await
        .unwrap()
        .into_inner()
        .entries;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.spiffe_id.unwrap().path).collect();
    paths.sort();
    paths
}

#[test]
fn an_agent_sees_what_hangs_below_it() {
    isolated("authorised::an_agent_sees_what_hangs_below_it", |folder| async move {
        let lab = Lab::start(&folder).await;
        let a = lab.attested("aa", &["tpm2:class:discrete", "tpm2:model:x"]).await;
        let b = lab.attested("bb", &["tpm2:class:simulator"]).await;
        let class = types::Selector {
            r#type: "tpm2".into(),
            value: "class:discrete".into(),
        };
        let alias = types::Entry {
            selectors: vec![class],
            ..entry("/hardware", "/spire/server", 0)
        };
        lab.create(vec![
            entry("/own", a.path(), 1),
            entry("/below-own", "/own", 1),
            alias,
            entry("/of-alias", "/hardware", 1),
            entry("/of-b", b.path(), 1),
        ])
        .await;
        assert_eq!(paths(&lab, &a).await, ["/below-own", "/of-alias", "/own"]);
        assert_eq!(paths(&lab, &b).await, ["/of-b"]);
        // An administrator is no agent.
        let refused = lab
            .entries
            .get_authorized_entries(local(GetAuthorizedEntriesRequest::default()))
            .await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
    });
}
