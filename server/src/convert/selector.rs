//! Selectors, and filters over sets.

use std::collections::BTreeSet;

use hallmark_api::types;
use hallmark_spiffe::{Selector, TrustDomain};
use hallmark_state::{EntryDraft, Match};
use tonic::Status;

/// Reads selectors, in the order given.
///
/// # Errors
/// `InvalidArgument` when there are too many or one breaks a rule.
pub fn selectors(messages: &[types::Selector]) -> Result<Vec<Selector>, Status> {
    if messages.len() > EntryDraft::MAX_SELECTORS {
        return Err(Status::invalid_argument(format!(
            "{} selectors, at most {} allowed",
            messages.len(),
            EntryDraft::MAX_SELECTORS
        )));
    }
    let read = |message: &types::Selector| {
        Selector::new(&message.r#type, &message.value)
            .map_err(|error| Status::invalid_argument(format!("invalid selector: {error}")))
    };
    messages.iter().map(read).collect()
}

/// Selectors as messages.
pub fn selector_messages<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> Vec<types::Selector> {
    let message = |selector: &Selector| types::Selector {
        r#type: selector.kind().to_owned(),
        value: selector.value().to_owned(),
    };
    selectors.into_iter().map(message).collect()
}

/// Reads a filter over selectors; `None` when none is asked for.
///
/// # Errors
/// `InvalidArgument` for a filter without selectors or with an unknown comparison.
pub fn selector_match(message: Option<&types::SelectorMatch>) -> Result<Option<(Match, BTreeSet<Selector>)>, Status> {
    use types::selector_match::MatchBehavior;
    let Some(message) = message else {
        return Ok(None);
    };
    if message.selectors.is_empty() {
        return Err(Status::invalid_argument("malformed selector filter: no selectors"));
    }
    let how = match MatchBehavior::try_from(message.r#match) {
        Ok(MatchBehavior::MatchExact) => Match::Exact,
        Ok(MatchBehavior::MatchSubset) => Match::Subset,
        Ok(MatchBehavior::MatchSuperset) => Match::Superset,
        Ok(MatchBehavior::MatchAny) => Match::Any,
        Err(_) => return Err(Status::invalid_argument("unknown selector match behavior")),
    };
    Ok(Some((how, selectors(&message.selectors)?.into_iter().collect())))
}

/// Reads a filter over trust domains federated with; `None` when none is asked for.
///
/// # Errors
/// `InvalidArgument` for a filter without trust domains, with a wrong name or an unknown comparison.
pub fn trust_domain_match(
    message: Option<&types::FederatesWithMatch>,
) -> Result<Option<(Match, BTreeSet<TrustDomain>)>, Status> {
    use types::federates_with_match::MatchBehavior;
    let Some(message) = message else {
        return Ok(None);
    };
    if message.trust_domains.is_empty() {
        return Err(Status::invalid_argument(
            "malformed federates with filter: no trust domains",
        ));
    }
    let how = match MatchBehavior::try_from(message.r#match) {
        Ok(MatchBehavior::MatchExact) => Match::Exact,
        Ok(MatchBehavior::MatchSubset) => Match::Subset,
        Ok(MatchBehavior::MatchSuperset) => Match::Superset,
        Ok(MatchBehavior::MatchAny) => Match::Any,
        Err(_) => return Err(Status::invalid_argument("unknown federates with match behavior")),
    };
    let read = |name: &String| {
        TrustDomain::parse(name.strip_prefix("spiffe://").unwrap_or(name))
            .map_err(|error| Status::invalid_argument(format!("invalid trust domain: {error}")))
    };
    Ok(Some((
        how,
        message.trust_domains.iter().map(read).collect::<Result<_, _>>()?,
    )))
}
