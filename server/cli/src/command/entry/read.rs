//! Entries as the server sends them, as the registry's own types.

use hallmark_api::types;
use hallmark_spiffe::{Selector, TrustDomain};
use hallmark_state::{Entry, EntryDraft, EntryId};

use crate::{error::CliError, lookup::message_id};

/// The draft that would make this entry again.
pub(super) fn draft(message: &types::Entry) -> Result<EntryDraft, CliError> {
    let selectors = message.selectors.iter().map(selector).collect::<Result<_, _>>()?;
    let federates_with = message.federates_with.iter().map(|name| TrustDomain::parse(name));
    let more = message.additional_attributes.unwrap_or_default();
    Ok(EntryDraft {
        x509_svid_ttl: message.x509_svid_ttl,
        jwt_svid_ttl: message.jwt_svid_ttl,
        federates_with: federates_with.collect::<Result<_, _>>()?,
        admin: message.admin,
        downstream: message.downstream,
        expires_at: message.expires_at,
        dns_names: message.dns_names.clone(),
        store_svid: message.store_svid,
        hint: message.hint.clone(),
        disable_x509_svid_prefetch: more.disable_x509_svid_prefetch,
        jwt_svid_include_jti: more.jwt_svid_include_jti,
        ..EntryDraft::new(
            message_id(message.spiffe_id.clone())?,
            message_id(message.parent_id.clone())?,
            selectors,
        )
    })
}

/// The entry itself.
pub(super) fn entry(message: &types::Entry) -> Result<Entry, CliError> {
    let draft = draft(message)?;
    let trust_domain = draft.spiffe_id.trust_domain().clone();
    // What the server holds has kept its rules; foreign bundles are its business.
    Ok(draft.validate(
        &trust_domain,
        |_| true,
        EntryId::parse(&message.id)?,
        message.created_at,
    )?)
}

/// A selector.
pub(super) fn selector(message: &types::Selector) -> Result<Selector, CliError> {
    Ok(Selector::new(&message.r#type, &message.value)?)
}
