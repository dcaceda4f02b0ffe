//! What the configuration trusts.

use std::sync::Arc;

use hallmark_verify::Trust;

use crate::{Change, Decision, View};

/// Puts other trust anchors, another configured inventory or other revocation lists in force: `trust` makes them of those that
/// are. Attestations under way that were judged by those before find that they are stale.
pub fn put_trust(view: View<'_>, trust: impl FnOnce(&Trust) -> Trust) -> Decision {
    let _ = view.rules();
    let trust = trust(view.unprotected().inventory().configured());
    view.decide(vec![Change::put_trust(Arc::new(trust))], Vec::new())
}
