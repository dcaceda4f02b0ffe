//! `hallmark doctor`.

use hallmark_api::{
    admin::{GetHsmStatusRequest, GetStatusRequest, ListHsmKeysRequest},
    bundle::GetBundleRequest,
};
use hallmark_reason::{Coded as _, lookup};

use super::Context;
use crate::{
    client::Client,
    error::CliError,
    exit::Exit,
    output::show,
    timestamp::{distance, now},
    view::{
        check::{Check, Checks},
        hsm::{HsmView, KeyView},
        status::StatusView,
    },
};

/// What a part says in good time: nothing is wrong yet.
const IN_GOOD_TIME: &str = "HM-SRV-0026";

pub(crate) async fn run(context: &Context) -> Result<Exit, CliError> {
    let client = match context.connect().await {
        Ok(client) => client,
        Err(error) => {
            show(context.format, &Checks(vec![failed("socket", &error)]))?;
            return Ok(error.exit());
        }
    };
    let mut checks = vec![Check::good("socket", context.socket.display().to_string())];
    server(&client, &mut checks).await;
    hsm(&client, &mut checks).await;
    bundle(&client, &mut checks).await;
    let checks = Checks(checks);
    show(context.format, &checks)?;
    Ok(if checks.all_good() {
        Exit::Done
    } else {
        Exit::Unexpected
    })
}

fn failed(name: &str, error: &CliError) -> Check {
    let next = error
        .next_step()
        .unwrap_or_else(|| "journalctl -u hallmark-server".into());
    Check::bad(name, error.report().lines().next().unwrap_or_default(), next)
}

async fn server(client: &Client, checks: &mut Vec<Check>) {
    let status = match client.admin().get_status(GetStatusRequest {}).await {
        Ok(status) => StatusView::from(status.into_inner()),
        Err(status) => return checks.push(failed("server", &status.into())),
    };
    let own = env!("CARGO_PKG_VERSION");
    checks.push(if status.version() == own {
        Check::good("version", own)
    } else {
        let found = format!("server {}, command line {own}", status.version());
        Check::bad("version", found, "install the same version of both")
    });
    for part in status.parts() {
        let name = format!("part {}", part.name);
        let found = format!("{} {}", part.code, part.message);
        let next = lookup(&part.code).and_then(|reason| reason.next_step);
        let next = next.unwrap_or("journalctl -u hallmark-server");
        checks.push(match (part.ok, part.is_warning()) {
            (true, false) => Check::good(&name, "ok"),
            (true, true) if part.code == IN_GOOD_TIME => Check::warning(&name, found, next),
            _ => Check::bad(&name, found, next),
        });
    }
    let found = format!("expires {}", distance(status.authority_ends(), now()));
    checks.push(Check::good("authority", found));
}

async fn hsm(client: &Client, checks: &mut Vec<Check>) {
    match client.admin().get_hsm_status(GetHsmStatusRequest {}).await {
        Ok(status) => {
            let status = HsmView::from(status.into_inner());
            checks.push(if status.is_ready() {
                Check::good("hsm", "the token is ready")
            } else {
                Check::bad("hsm", "the token is not ready", "hallmark hsm status")
            });
        }
        Err(status) => return checks.push(failed("hsm", &status.into())),
    }
    let keys = match client.admin().list_hsm_keys(ListHsmKeysRequest {}).await {
        Ok(keys) => keys.into_inner().keys,
        Err(status) => return checks.push(failed("hsm keys", &status.into())),
    };
    for key in keys.into_iter().map(KeyView::from) {
        let name = format!("key {}", key.label());
        checks.push(if key.is_captive() {
            Check::good(&name, "made in the token, never extractable")
        } else {
            Check::bad(
                &name,
                "imported, or able to leave the token",
                "hallmark hsm keys; replace this key",
            )
        });
    }
}

async fn bundle(client: &Client, checks: &mut Vec<Check>) {
    checks.push(
        match client
            .bundles()
            .get_bundle(GetBundleRequest { output_mask: None })
            .await
        {
            Ok(bundle) => {
                let bundle = bundle.into_inner();
                match bundle.x509_authorities.len() {
                    0 => Check::bad("bundle", "no X.509 authority", "hallmark status"),
                    count => Check::good(
                        "bundle",
                        format!("{count} X.509 authorities of {}", bundle.trust_domain),
                    ),
                }
            }
            Err(status) => failed("bundle", &status.into()),
        },
    );
}
