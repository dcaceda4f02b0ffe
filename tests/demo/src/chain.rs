//! The chain of proof of one machine, as the server holds it.

use crate::show::{Show, rfc3339};
use anyhow::{Context as _, Result, ensure};
use hallmark_api::admin::{GetNodeRequest, GetNodeResponse, ListHsmKeysRequest};
use hallmark_kit::AdminClient;

async fn node(admin: &mut AdminClient, id: &str) -> Result<GetNodeResponse> {
    Ok(admin
        .admin
        .get_node(GetNodeRequest { id: id.to_owned() })
        .await?
        .into_inner())
}

/// Every link with its values.
pub(crate) async fn show(show: &Show, admin: &mut AdminClient, name: &str, id: &str) -> Result<()> {
    let node = node(admin, id).await?;
    show.step(&format!("The chain of proof: {name}"));
    show.link(
        "EK certificate",
        &format!("serial {}", node.ek_serial),
        "signed by the TPM's maker; the path ends at a pinned root",
    );
    show.more(&format!("issuer {}", node.ek_issuer));
    show.more(&format!(
        "TPM {} {}, class {}",
        node.manufacturer, node.model, node.class
    ));
    show.link(
        "EK public key",
        &node.ek_sha256,
        "SHA-256 of its SPKI: the machine's name",
    );
    show.link(
        "AK Name",
        &node.ak_name,
        "restricted, fixed to its TPM; recomputed by the server",
    );
    show.link(
        "activated credential",
        "secret returned",
        "only the TPM that holds both EK and AK could open it",
    );
    show.link(
        "certified SVID key",
        &node.svid_key_sha256,
        "TPM2_Certify by the AK: born in this TPM, cannot leave it",
    );
    show.link(
        "quote",
        &format!("nonce {}", node.nonce),
        "TPM2_Quote by the AK over the PCRs, bound to this TLS connection",
    );
    show.more(&format!("binding {}", node.binding));
    for pcr in &node.pcrs {
        show.more(&format!("{}:{} {}", pcr.bank, pcr.pcr, pcr.digest));
    }
    show.link("verdict", &node.verdict, "");
    for reason in &node.reasons {
        show.more(&format!("{} {}", reason.code, reason.message));
    }
    show.link("X.509-SVID", &node.id, "");
    show.more(&format!(
        "serial {}, expires {}",
        node.svid_serial,
        rfc3339(node.svid_not_after)
    ));
    signed_by(show, admin, &node).await
}

/// The key in the token that signed it, by the token's own account.
async fn signed_by(show: &Show, admin: &mut AdminClient, node: &GetNodeResponse) -> Result<()> {
    let keys = admin
        .admin
        .list_hsm_keys(ListHsmKeysRequest {})
        .await?
        .into_inner()
        .keys;
    let key = keys
        .iter()
        .find(|k| k.label == node.authority_key_label)
        .context("the token lists no such key")?;
    show.link("signed by token key", &format!("{} ({})", key.label, key.kind), "");
    show.more(&format!(
        "CKA_SENSITIVE {}, CKA_EXTRACTABLE {}, CKA_NEVER_EXTRACTABLE {}, CKA_LOCAL {}",
        key.sensitive, key.extractable, key.never_extractable, key.local
    ));
    ensure!(
        key.sensitive && !key.extractable && key.never_extractable,
        "the CA key is not protected"
    );
    Ok(())
}

/// The same in a few lines.
pub(crate) async fn summary(show: &Show, admin: &mut AdminClient, name: &str, id: &str) -> Result<()> {
    let node = node(admin, id).await?;
    show.step(&format!("And {name}"));
    show.link("verdict", &node.verdict, "");
    show.link("X.509-SVID", &node.id, "");
    show.more(&format!(
        "serial {}, expires {}",
        node.svid_serial,
        rfc3339(node.svid_not_after)
    ));
    Ok(())
}
