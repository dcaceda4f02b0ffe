//! `hallmark reason`.

use hallmark_reason::{Reason, catalogue, lookup, nearest};

use super::Context;
use crate::{
    error::CliError,
    exit::Exit,
    output::show,
    view::reason::{ReasonView, ReasonsView},
};

pub(crate) fn run(context: &Context, typed: &str) -> Result<Exit, CliError> {
    let typed = typed.trim().to_ascii_uppercase();
    if let Some(reason) = lookup(&typed) {
        show(context.format, &ReasonView::from(reason))?;
        return Ok(Exit::Done);
    }
    let begun: Vec<&Reason> = catalogue()
        .iter()
        .filter(|reason| reason.code.as_str().starts_with(&typed))
        .collect();
    if begun.is_empty() {
        return Err(CliError::UnknownReason {
            near: near(&typed),
            code: typed,
        });
    }
    show(context.format, &ReasonsView::from(begun.as_slice()))?;
    Ok(Exit::Done)
}

/// The code that is spelt most alike.
fn near(typed: &str) -> Option<String> {
    let codes: Vec<String> = catalogue().iter().map(|reason| reason.code.to_string()).collect();
    nearest(typed, &codes).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_suggested() {
        assert_eq!(near("HM-POLCY-0102").as_deref(), Some("HM-POLICY-0102"));
        assert_eq!(near("HM-POLICY-102").as_deref(), Some("HM-POLICY-0102"));
        assert_eq!(near("WHAT"), None);
    }
}
