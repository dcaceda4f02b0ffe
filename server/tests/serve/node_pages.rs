//! The list of nodes, page by page: those that were seen, and those that only the inventory knows.

use hallmark_api::admin::{
    GetNodeRequest, ImportInventoryRequest, ListInventoryRequest, ListNodesRequest, admin_client::AdminClient,
    lifecycle_client::LifecycleClient,
};
use hallmark_attacks::attest;
use hallmark_verify::testing::SoftwareMachine;
use tonic::{Code, Status, transport::Channel};

use crate::{
    attestation::wire,
    client::local,
    lab::{Lab, isolated},
    lifecycle::{id, import},
};

/// Id, EK and state of every node, from pages of this size.
async fn listed(
    client: &mut LifecycleClient<Channel>,
    state: &str,
    page_size: u32,
) -> Result<Vec<[String; 3]>, Status> {
    let mut request = ListNodesRequest {
        state: state.into(),
        page_size,
        ..Default::default()
    };
    let mut nodes = Vec::new();
    loop {
        let page = client.list_nodes(request.clone()).await?.into_inner();
        assert!(page.nodes.len() <= usize::try_from(page_size).unwrap());
        nodes.extend(page.nodes.into_iter().map(|node| [node.id, node.ek, node.state]));
        if page.next_page_token.is_empty() {
            return Ok(nodes);
        }
        request.page_token = page.next_page_token;
    }
}

async fn ek_name(lab: &Lab, machine: &SoftwareMachine) -> String {
    let mut admin = AdminClient::new(local(&lab.admin_socket()).await);
    let request = GetNodeRequest { id: id(machine) };
    admin.get_node(request).await.unwrap().into_inner().ek_name
}

#[test]
fn each_node_is_on_one_page_however_long_pages_are() {
    isolated(
        "node_pages::each_node_is_on_one_page_however_long_pages_are",
        async |lab| {
            let running = lab.start().await;
            let machines: Vec<_> = (0..4).map(|_| SoftwareMachine::new(&lab.vendor)).collect();
            for machine in &machines {
                attest(&wire(&running).await, machine).await.unwrap();
            }
            // By its hash, by its Name, not at all; and machines that nobody has seen, by hash and by Name.
            let name = ek_name(&lab, &machines[1]).await;
            let ek = id(&machines[0]).rsplit('/').next().unwrap().to_owned();
            let unseen = ["00".repeat(32), "7f".repeat(32), "ff".repeat(32)];
            let named = ["11".repeat(32), "ee".repeat(32)].map(|digest| format!("000b{digest}"));
            let mut lines = vec![ek, name.clone()];
            lines.extend(unseen.iter().chain(&named).cloned());
            let file = format!("ek_sha256\n{}\n", lines.join("\n"));
            import(&lab, &file, ImportInventoryRequest::default()).await.unwrap();

            let prefix = "spiffe://example.org/spire/agent/tpm2/";
            let mut ids: Vec<String> = machines.iter().map(id).collect();
            ids.extend(unseen.iter().map(|ek| format!("{prefix}{ek}")));
            ids.sort();
            let mut client = LifecycleClient::new(local(&lab.admin_socket()).await);
            for page_size in 1..=10 {
                let all = listed(&mut client, "", page_size).await.unwrap();
                let told: Vec<&String> = all.iter().map(|node| &node[0]).collect();
                let nobodys = String::new();
                let expected: Vec<&String> = ids.iter().chain([&nobodys, &nobodys]).collect();
                assert_eq!(told, expected, "pages of {page_size}");
                let by_name: Vec<&String> = all
                    .iter()
                    .filter(|node| node[0].is_empty())
                    .map(|node| &node[1])
                    .collect();
                assert_eq!(
                    by_name,
                    named.iter().collect::<Vec<_>>(),
                    "the machine with {name} was seen"
                );
                let of_state = |state: &str| all.iter().filter(|node| node[2] == state).cloned().collect::<Vec<_>>();
                for (state, count) in [("active", 4), ("pre-registered", 5), ("banned", 0)] {
                    let found = listed(&mut client, state, page_size).await.unwrap();
                    assert_eq!(
                        (&found, found.len()),
                        (&of_state(state), count),
                        "{state}, pages of {page_size}"
                    );
                }
            }
            for token in ["nonsense", "~nonsense"] {
                let request = ListNodesRequest {
                    page_token: token.into(),
                    ..Default::default()
                };
                let refused = client.list_nodes(request).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{token}");
            }
            // The inventory's own list knows where the machine stands that is listed by its Name.
            let items = client.list_inventory(ListInventoryRequest::default()).await.unwrap();
            let items = items.into_inner().items;
            let state = |ek: &str| items.iter().find(|item| item.ek == ek).map(|item| item.state.as_str());
            assert_eq!(state(&name), Some("active"));
            assert_eq!(state(&named[0]), Some("listed"));
            lab.stop(running).await;
        },
    );
}
