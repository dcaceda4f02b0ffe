//! Registration entries.

use std::time::Duration;

use hallmark_api::{entry, types};
use hallmark_spiffe::TrustDomain;
use hallmark_state::{Entry, EntryDraft, Filter};
use tonic::Status;

use super::{id_message, selector_match, selector_messages, selectors, spiffe_id, trust_domain_match};

const ALL: types::EntryMask = types::EntryMask {
    spiffe_id: true,
    parent_id: true,
    selectors: true,
    x509_svid_ttl: true,
    federates_with: true,
    admin: true,
    downstream: true,
    expires_at: true,
    dns_names: true,
    revision_number: true,
    store_svid: true,
    jwt_svid_ttl: true,
    hint: true,
    created_at: true,
    additional_attributes: true,
};

/// The most trust domains that an entry may federate with.
const MAX_FEDERATES_WITH: usize = 256;

/// An entry as a message, with the fields that `mask` asks for; without a mask, all. The id is always there.
#[must_use]
pub fn entry_message(entry: &Entry, mask: Option<&types::EntryMask>) -> types::Entry {
    let mask = mask.unwrap_or(&ALL);
    let seconds = |wanted: bool, ttl: Duration| {
        if wanted {
            i32::try_from(ttl.as_secs()).unwrap_or(i32::MAX)
        } else {
            0
        }
    };
    let attributes = types::entry::AdditionalAttributes {
        disable_x509_svid_prefetch: entry.disable_x509_svid_prefetch,
        jwt_svid_include_jti: entry.jwt_svid_include_jti,
    };
    let none = attributes == types::entry::AdditionalAttributes::default();
    types::Entry {
        id: entry.id.as_str().to_owned(),
        spiffe_id: mask.spiffe_id.then(|| id_message(&entry.spiffe_id)),
        parent_id: mask.parent_id.then(|| id_message(&entry.parent_id)),
        selectors: if mask.selectors {
            selector_messages(&entry.selectors)
        } else {
            Vec::new()
        },
        x509_svid_ttl: seconds(mask.x509_svid_ttl, entry.x509_svid_ttl),
        federates_with: if mask.federates_with {
            entry
                .federates_with
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect()
        } else {
            Vec::new()
        },
        admin: mask.admin && entry.admin,
        downstream: mask.downstream && entry.downstream,
        expires_at: entry.expires_at.filter(|_| mask.expires_at).unwrap_or(0),
        dns_names: if mask.dns_names {
            entry.dns_names.clone()
        } else {
            Vec::new()
        },
        revision_number: if mask.revision_number { entry.revision } else { 0 },
        store_svid: mask.store_svid && entry.store_svid,
        jwt_svid_ttl: seconds(mask.jwt_svid_ttl, entry.jwt_svid_ttl),
        hint: if mask.hint { entry.hint.clone() } else { String::new() },
        created_at: if mask.created_at { entry.created_at } else { 0 },
        additional_attributes: (mask.additional_attributes && !none).then_some(attributes),
    }
}

/// Reads an entry to be created. Its rules are checked by [`EntryDraft::validate`].
///
/// # Errors
/// `InvalidArgument` when an id, a selector or a trust domain cannot be read.
pub fn entry_draft(message: &types::Entry) -> Result<EntryDraft, Status> {
    let mut draft = EntryDraft::new(
        spiffe_id(message.spiffe_id.as_ref(), "SPIFFE ID")?,
        spiffe_id(message.parent_id.as_ref(), "parent ID")?,
        selectors(&message.selectors)?,
    );
    let others = types::EntryMask {
        spiffe_id: false,
        parent_id: false,
        selectors: false,
        ..ALL
    };
    apply_mask(&mut draft, message, Some(&others))?;
    Ok(draft)
}

/// Overwrites the fields of `draft` that `mask` names with those of `message`; without a mask, all.
///
/// # Errors
/// As [`entry_draft`], for the fields named.
pub fn apply_mask(
    draft: &mut EntryDraft,
    message: &types::Entry,
    mask: Option<&types::EntryMask>,
) -> Result<(), Status> {
    let mask = mask.unwrap_or(&ALL);
    if mask.spiffe_id {
        draft.spiffe_id = spiffe_id(message.spiffe_id.as_ref(), "SPIFFE ID")?;
    }
    if mask.parent_id {
        draft.parent_id = spiffe_id(message.parent_id.as_ref(), "parent ID")?;
    }
    if mask.selectors {
        draft.selectors = selectors(&message.selectors)?;
    }
    if mask.federates_with {
        draft.federates_with = trust_domains(&message.federates_with)?;
    }
    if mask.dns_names {
        draft.dns_names.clone_from(&message.dns_names);
    }
    if mask.hint {
        draft.hint.clone_from(&message.hint);
    }
    overwrite(mask.x509_svid_ttl, &mut draft.x509_svid_ttl, message.x509_svid_ttl);
    overwrite(mask.jwt_svid_ttl, &mut draft.jwt_svid_ttl, message.jwt_svid_ttl);
    overwrite(mask.expires_at, &mut draft.expires_at, message.expires_at);
    overwrite(mask.admin, &mut draft.admin, message.admin);
    overwrite(mask.downstream, &mut draft.downstream, message.downstream);
    overwrite(mask.store_svid, &mut draft.store_svid, message.store_svid);
    let attributes = message.additional_attributes.unwrap_or_default();
    let wanted = mask.additional_attributes;
    overwrite(
        wanted,
        &mut draft.disable_x509_svid_prefetch,
        attributes.disable_x509_svid_prefetch,
    );
    overwrite(wanted, &mut draft.jwt_svid_include_jti, attributes.jwt_svid_include_jti);
    Ok(())
}

fn overwrite<T>(wanted: bool, field: &mut T, value: T) {
    if wanted {
        *field = value;
    }
}

fn trust_domains(names: &[String]) -> Result<Vec<TrustDomain>, Status> {
    if names.len() > MAX_FEDERATES_WITH {
        return Err(Status::invalid_argument(format!(
            "{} trust domains to federate with, at most {MAX_FEDERATES_WITH} allowed",
            names.len()
        )));
    }
    let read = |name: &String| {
        TrustDomain::parse(name.strip_prefix("spiffe://").unwrap_or(name))
            .map_err(|error| Status::invalid_argument(format!("invalid federated trust domain: {error}")))
    };
    names.iter().map(read).collect()
}

/// Reads what `ListEntries` and, with the same fields, `CountEntries` filter by.
///
/// # Errors
/// `InvalidArgument` when a part cannot be read.
pub fn entry_filter(message: Option<entry::list_entries_request::Filter>) -> Result<Filter, Status> {
    let Some(message) = message else {
        return Ok(Filter::default());
    };
    let id = |id: Option<types::Spiffeid>, what| id.map(|id| spiffe_id(Some(&id), what)).transpose();
    Ok(Filter {
        spiffe_id: id(message.by_spiffe_id, "SPIFFE ID filter")?,
        parent_id: id(message.by_parent_id, "parent ID filter")?,
        selectors: selector_match(message.by_selectors.as_ref())?,
        federates_with: trust_domain_match(message.by_federates_with.as_ref())?,
        hint: message.by_hint,
        downstream: message.by_downstream,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_state::EntryId;

    fn message() -> types::Entry {
        types::Entry {
            spiffe_id: Some(types::Spiffeid {
                trust_domain: "example.org".into(),
                path: "/web".into(),
            }),
            parent_id: Some(types::Spiffeid {
                trust_domain: "example.org".into(),
                path: "/node".into(),
            }),
            selectors: vec![types::Selector {
                r#type: "unix".into(),
                value: "uid:0".into(),
            }],
            x509_svid_ttl: 60,
            jwt_svid_ttl: 61,
            admin: true,
            downstream: true,
            expires_at: 4_000_000_000,
            dns_names: vec!["web.example.org".into()],
            hint: "web".into(),
            additional_attributes: Some(types::entry::AdditionalAttributes {
                disable_x509_svid_prefetch: true,
                jwt_svid_include_jti: true,
            }),
            ..Default::default()
        }
    }

    fn entry(message: &types::Entry) -> Entry {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let draft = entry_draft(message).unwrap();
        draft
            .validate(&trust_domain, |_| false, EntryId::parse("e1").unwrap(), 7)
            .unwrap()
    }

    #[test]
    fn every_field_goes_there_and_back() {
        let back = entry_message(&entry(&message()), None);
        assert_eq!(
            back,
            types::Entry {
                id: "e1".into(),
                created_at: 7,
                ..message()
            }
        );
    }

    #[test]
    fn a_mask_lets_through_only_what_it_names() {
        let mask = types::EntryMask {
            hint: true,
            ..Default::default()
        };
        let masked = entry_message(&entry(&message()), Some(&mask));
        assert_eq!(
            masked,
            types::Entry {
                id: "e1".into(),
                hint: "web".into(),
                ..Default::default()
            }
        );
    }

    #[test]
    fn an_update_touches_only_what_its_mask_names() {
        let mut draft = EntryDraft::from(&entry(&message()));
        let mask = types::EntryMask {
            hint: true,
            ..Default::default()
        };
        let change = types::Entry {
            hint: "new".into(),
            ..Default::default()
        };
        apply_mask(&mut draft, &change, Some(&mask)).unwrap();
        assert_eq!(
            (draft.hint.as_str(), draft.x509_svid_ttl, draft.admin),
            ("new", 60, true)
        );
        assert!(
            apply_mask(&mut draft, &change, None).is_err(),
            "without a mask the missing id is an error"
        );
    }
}
