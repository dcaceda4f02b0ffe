//! The admin socket's file is taken away under a running server.

use std::fs;

use hallmark_api::admin::{GetStatusRequest, Part, admin_client::AdminClient};
use tonic::transport::Channel;

use crate::{client::local, lab::isolated};

async fn part(client: &mut AdminClient<Channel>) -> Option<Part> {
    let status = client.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    status.parts.into_iter().find(|part| part.name == "admin-socket")
}

#[test]
fn a_socket_that_was_removed_or_replaced_is_told() {
    isolated(
        "admin_socket::a_socket_that_was_removed_or_replaced_is_told",
        async |lab| {
            let running = lab.start().await;
            let path = lab.admin_socket();
            // This connection stays open.
            let mut client = AdminClient::new(local(&path).await);
            assert_eq!(part(&mut client).await, None, "the control");

            let away = path.with_extension("away");
            fs::rename(&path, &away).unwrap();
            let told = part(&mut client).await.unwrap();
            assert!(told.ok && told.code == "HM-SRV-0037", "{told:?}");
            assert!(told.message.contains(path.to_str().unwrap()), "{told:?}");
            fs::write(&path, "").unwrap();
            assert!(part(&mut client).await.is_some(), "another file in its place");
            fs::rename(&away, &path).unwrap();
            assert_eq!(part(&mut client).await, None);
            lab.stop(running).await;
        },
    );
}
