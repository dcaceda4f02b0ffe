//! Getting SVIDs for workloads: fresh keys, one batch, every result checked.

use std::{sync::Arc, time::SystemTime};

use hallmark_api::svid::batch_new_x509svid_response;
use hallmark_spiffe::{Bundle, x509::Authorities};

use crate::{
    AgentError,
    agent_svid::validity,
    blocking::blocking,
    cache::{SecretBytes, WorkloadEntry, X509Material},
    csr::WorkloadKey,
    jitter::Jitter,
    server_client::ServerClient,
    workloads::Issued,
};

/// Asks for the SVIDs of these entries. The answer says of each what became of it.
///
/// # Errors
/// The call's; or no key could be made.
pub(super) async fn issue_batch(
    batch: Vec<Arc<WorkloadEntry>>,
    server: &ServerClient,
    bundle: Bundle,
) -> Result<Vec<Issued>, AgentError> {
    let count = batch.len();
    let keys = blocking(move || {
        (0..count)
            .map(|_| WorkloadKey::generate())
            .collect::<Result<Vec<_>, _>>()
    })
    .await?;
    let requests = batch
        .iter()
        .zip(&keys)
        .map(|(entry, key)| (entry.entry_id.to_string(), key.csr.clone()))
        .collect();
    let results = server.new_svids(requests).await?;
    blocking(move || {
        let authorities = bundle.authorities().map_err(|error| AgentError::Bundle {
            detail: error.to_string(),
        })?;
        let checked = batch.into_iter().zip(keys).zip(results).map(|((entry, key), result)| {
            let material = accept(&entry, key, result, &authorities)
                .inspect_err(|error| {
                    tracing::warn!(entry = %entry.entry_id, id = %entry.spiffe_id, error, "no SVID was issued");
                })
                .ok();
            (entry, material)
        });
        Ok(checked.collect())
    })
    .await
}

/// The SVID is for the entry's id and the key that was made for it, and leads to an authority.
fn accept(
    entry: &WorkloadEntry,
    key: WorkloadKey,
    result: batch_new_x509svid_response::Result,
    authorities: &Authorities,
) -> Result<(X509Material, SystemTime), String> {
    let status = result.status.unwrap_or_default();
    if status.code != 0 {
        return Err(format!("status {}: {}", status.code, status.message));
    }
    let chain: Vec<Vec<u8>> = result
        .svid
        .ok_or("the result has no SVID")?
        .cert_chain
        .iter()
        .map(|der| der.to_vec())
        .collect();
    let slices: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let leaf = authorities
        .verify(&slices, SystemTime::now())
        .map_err(|error| error.to_string())?;
    if leaf.id != entry.spiffe_id {
        return Err(format!("its id is {}", leaf.id));
    }
    if !leaf.spki.ends_with(&key.point) {
        return Err("it is for another key".into());
    }
    let (not_before, not_after) = validity(&chain).map_err(|error| error.to_string())?;
    let material = X509Material {
        chain: chain.concat().into(),
        key: SecretBytes::new(key.pkcs8),
        not_before,
        not_after,
    };
    Ok((material, Jitter::renewal(not_before, not_after)))
}
