//! From what people type to whole ids.

use hallmark_api::types;
use hallmark_spiffe::{SpiffeId, TrustDomain};

use crate::{client::Client, error::CliError};

/// Reads a SPIFFE ID: whole, as `td:/path`, or as `/path` of the server's own trust domain.
pub(crate) async fn spiffe_id(client: &Client, text: &str) -> Result<SpiffeId, CliError> {
    if text.starts_with('/') {
        return Ok(SpiffeId::new(&client.trust_domain().await?, text)?);
    }
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
    let mut ids = Vec::new();
    // A line of the inventory that names an EK by its Name has no id yet.
    for node in client
        .list_nodes("")
        .await?
        .into_iter()
        .filter(|node| !node.id.is_empty())
    {
        ids.push(SpiffeId::parse(&node.id)?);
    }
    let last = |id: &SpiffeId| id.path().rsplit('/').next().unwrap_or_default().to_owned();
    let found = unique(text, "node", ids.iter().map(|id| (last(id), id)))?;
    Ok(found.clone())
}

/// Finds a line of the inventory by its EK or the start of it.
pub(crate) async fn inventory(client: &Client, texts: &[String]) -> Result<Vec<String>, CliError> {
    let items = client.list_inventory().await?;
    let one = |text: &String| {
        let text = text.to_ascii_lowercase();
        unique(&text, "inventory", items.iter().map(|item| (item.ek.clone(), item))).map(|item| item.ek.clone())
    };
    texts.iter().map(one).collect()
}

/// Finds an entry by its id or the start of it.
pub(crate) async fn entry(client: &Client, text: &str) -> Result<types::Entry, CliError> {
    let request = hallmark_api::entry::GetEntryRequest {
        id: text.to_owned(),
        output_mask: None,
    };
    match client.entries().get_entry(request).await {
        Ok(entry) => return Ok(entry.into_inner()),
        // Not a whole id; an id that the server cannot read is no whole id either.
        Err(status) if matches!(status.code(), tonic::Code::NotFound | tonic::Code::InvalidArgument) => {}
        Err(status) => return Err(status.into()),
    }
    let all = client.list_entries(None).await?;
    let found = unique(text, "entry", all.iter().map(|entry| (entry.id.clone(), entry)))?;
    Ok(found.clone())
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
