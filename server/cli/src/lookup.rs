//! From what people type to whole ids.

use hallmark_api::types;
use hallmark_node::EkId;
use hallmark_spiffe::{SpiffeId, TrustDomain};

use crate::{client::Client, error::CliError};

/// Reads a SPIFFE ID: whole, as `td:/path`, or as `/path` of the server's own trust domain.
pub(crate) async fn spiffe_id(client: &Client, text: &str) -> Result<SpiffeId, CliError> {
    if text.starts_with('/') {
        return spiffe_id_in(&client.trust_domain().await?, text);
    }
    whole_id(text)
}

/// The same, where the server's trust domain is known.
pub(crate) fn spiffe_id_in(trust_domain: &TrustDomain, text: &str) -> Result<SpiffeId, CliError> {
    if text.starts_with('/') {
        return Ok(SpiffeId::new(trust_domain, text)?);
    }
    whole_id(text)
}

fn whole_id(text: &str) -> Result<SpiffeId, CliError> {
    if let Some((name, path)) = text.split_once(":/")
        && !text.starts_with("spiffe://")
    {
        return Ok(SpiffeId::new(&TrustDomain::parse(name)?, &format!("/{path}"))?);
    }
    Ok(SpiffeId::parse(text)?)
}

/// Finds a node: by its id in any of the three forms, or by the start of the last part of its id (the hash of
/// its EK), or of the whole.
pub(crate) async fn node(client: &Client, text: &str) -> Result<SpiffeId, CliError> {
    if text.contains('/') {
        return spiffe_id(client, text).await;
    }
    let ids = client.find_ids("node", text).await?;
    let last = |id: &String| id.rsplit('/').next().unwrap_or_default().to_owned();
    let found = unique(text, "node", ids.iter().map(|id| (last(id), id)))?;
    Ok(SpiffeId::parse(found)?)
}

/// Finds a machine by the id of its node, by its EK, or by the start of that. A whole EK may be of a machine that the server has
/// not seen.
pub(crate) async fn machine(client: &Client, text: &str) -> Result<String, CliError> {
    if text.contains('/') {
        return Ok(spiffe_id(client, text).await?.to_string());
    }
    if let Ok(ek) = EkId::parse(text) {
        return Ok(ek.to_string());
    }
    let text = text.to_ascii_lowercase();
    let found = client.find_ids("machine", &text).await?;
    unique(&text, "node", found.into_iter().map(|ek| (ek.clone(), ek)))
}

/// Finds a line of the inventory by its EK or the start of it.
pub(crate) async fn inventory(client: &Client, texts: &[String]) -> Result<Vec<String>, CliError> {
    let mut whole = Vec::new();
    for text in texts {
        let text = text.to_ascii_lowercase();
        let found = client.find_ids("inventory", &text).await?;
        whole.push(unique(
            &text,
            "inventory",
            found.into_iter().map(|ek| (ek.clone(), ek)),
        )?);
    }
    Ok(whole)
}

/// Finds an entry by its id or the start of it.
pub(crate) async fn entry(client: &Client, text: &str) -> Result<types::Entry, CliError> {
    let found = client.find_ids("entry", text).await?;
    let id = unique(text, "entry", found.into_iter().map(|id| (id.clone(), id)))?;
    let request = hallmark_api::entry::GetEntryRequest { id, output_mask: None };
    Ok(client.entries().get_entry(request).await?.into_inner())
}

/// Reads an id out of a message.
pub(crate) fn message_id(id: Option<types::Spiffeid>) -> Result<SpiffeId, CliError> {
    let id = id.ok_or_else(|| CliError::Answer {
        what: "an id is missing".into(),
    })?;
    let readable = TrustDomain::parse(&id.trust_domain).and_then(|domain| SpiffeId::new(&domain, &id.path));
    readable.map_err(|cause| CliError::Answer {
        what: cause.to_string(),
    })
}

/// Writes an id into a message.
pub(crate) fn id_message(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid {
        trust_domain: id.trust_domain().to_string(),
        path: id.path().into(),
    }
}

/// The one item whose key starts with `prefix`; a whole key beats longer ones.
fn unique<T>(prefix: &str, what: &'static str, items: impl Iterator<Item = (String, T)>) -> Result<T, CliError> {
    let mut found: Vec<(String, T)> = items.filter(|(key, _)| key.starts_with(prefix)).collect();
    if let Some(whole) = found.iter().position(|(key, _)| key == prefix) {
        return Ok(found.swap_remove(whole).1);
    }
    let keys: Vec<String> = found.iter().take(5).map(|(key, _)| key.clone()).collect();
    match (found.pop(), found.is_empty()) {
        (Some((_, item)), true) if !prefix.is_empty() => Ok(item),
        (Some(_), _) => Err(CliError::Ambiguous {
            prefix: prefix.into(),
            found: keys,
            what,
        }),
        (None, _) => Err(CliError::NoMatch {
            prefix: prefix.into(),
            what,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(prefix: &str) -> Result<u8, CliError> {
        let items = [("abc", 1), ("abd", 2), ("x", 3), ("xyz", 4)];
        unique(
            prefix,
            "entry",
            items.into_iter().map(|(key, value)| (key.to_owned(), value)),
        )
    }

    #[test]
    fn a_prefix_must_be_unique_unless_it_is_whole() {
        assert_eq!(find("abc").unwrap(), 1);
        assert_eq!(find("x").unwrap(), 3);
        assert_eq!(find("xy").unwrap(), 4);
        assert!(matches!(find("ab"), Err(CliError::Ambiguous { found, .. }) if found.len() == 2));
        assert!(matches!(find("q"), Err(CliError::NoMatch { .. })));
        assert!(matches!(find(""), Err(CliError::Ambiguous { .. })));
    }
}
