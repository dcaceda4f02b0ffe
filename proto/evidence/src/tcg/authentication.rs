//! Which bytes an event's digests cover.

use std::borrow::Cow;

use super::{efi::UefiVariable, event::TcgEvent, kind::EventKind};

/// What an event's digests say of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// The digests are those of the data.
    ByDigest,
    /// The digests are those of a known part or form of the data.
    ByDerivedDigest,
    /// The digests are those of something that is not in the log, such as an image: the data is a hint and proves
    /// nothing.
    External,
    /// The digests should be those of the data, and are not.
    None,
}

impl Authentication {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByDigest => "by-digest",
            Self::ByDerivedDigest => "by-derived-digest",
            Self::External => "external",
            Self::None => "none",
        }
    }

    /// Whether the data, or the form of it that [`TcgEvent::authenticated`] gives, is proven once the log's digests are.
    #[must_use]
    pub const fn is_proven(self) -> bool {
        matches!(self, Self::ByDigest | Self::ByDerivedDigest)
    }
}

/// Prefixes that GRUB puts before what it measured (GRUB manual, "Measured boot").
const GRUB_PREFIXES: [&[u8]; 4] = [
    b"grub_cmd: ",
    b"kernel_cmdline: ",
    b"module_cmdline: ",
    b"grub_kernel_cmdline ",
];

impl<'a> TcgEvent<'a> {
    /// The bytes that the digests of every bank cover, with what they are of the data; `None` if the data is not proven.
    #[must_use]
    pub fn authenticated(&self) -> Option<Cow<'a, [u8]>> {
        self.covered().map(|(bytes, _)| bytes)
    }

    /// The variable that the digests of every bank cover: its header, name and contents, whatever type the log claims. What
    /// the log has behind it is no part of it: shim up to version 15 measured the padding of its structure too, and logged
    /// one byte more than it measured.
    #[must_use]
    pub fn authenticated_variable(&self) -> Option<UefiVariable<'a>> {
        let (variable, behind) = UefiVariable::parse_front(self.data)?;
        let covered = !self.digests.is_empty() && variable_forms(self.data, behind).any(|form| self.is_digest_of(form));
        covered.then_some(variable)
    }

    /// What the digests say of the data.
    #[must_use]
    pub fn authentication(&self) -> Authentication {
        match self.covered() {
            Some((_, authentication)) => authentication,
            None if covers_its_data(self.kind) => Authentication::None,
            None => Authentication::External,
        }
    }

    fn covered(&self) -> Option<(Cow<'a, [u8]>, Authentication)> {
        if self.digests.is_empty() {
            return None;
        }
        if self.is_digest_of(self.data) {
            return Some((Cow::Borrowed(self.data), Authentication::ByDigest));
        }
        let derived = derived(self.kind, self.data);
        let covered = derived.into_iter().find(|bytes| self.is_digest_of(bytes))?;
        Some((covered, Authentication::ByDerivedDigest))
    }

    fn is_digest_of(&self, bytes: &[u8]) -> bool {
        self.digests.iter().all(|(alg, digest)| alg.digest(bytes) == *digest)
    }
}

/// Kinds whose digest is over the event data itself (PFP, section 10.4.1).
const fn covers_its_data(kind: EventKind) -> bool {
    kind.is_variable()
        || matches!(
            kind,
            EventKind::SEPARATOR
                | EventKind::ACTION
                | EventKind::EFI_ACTION
                | EventKind::EFI_GPT_EVENT
                | EventKind::EFI_GPT_EVENT2
                | EventKind::S_CRTM_VERSION
                | EventKind::PLATFORM_CONFIG_FLAGS
                | EventKind::OMIT_BOOT_DEVICE_EVENTS
        )
}

/// What firmware and loaders in the field measure instead of the data.
fn derived(kind: EventKind, data: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let mut forms: Vec<Cow<'_, [u8]>> = Vec::new();
    if kind.is_variable()
        && let Some((variable, behind)) = UefiVariable::parse_front(data)
    {
        forms.extend(variable_forms(data, behind).map(Cow::Borrowed));
        // Older firmware measures the contents of boot variables only.
        forms.extend(behind.is_empty().then_some(Cow::Borrowed(variable.data)));
    }
    if matches!(kind, EventKind::IPL | EventKind::EFI_ACTION | EventKind::ACTION) {
        let text = data.strip_suffix(&[0]);
        forms.extend(text.map(Cow::Borrowed));
        for text in [Some(data), text].into_iter().flatten() {
            let measured = GRUB_PREFIXES.iter().find_map(|prefix| text.strip_prefix(*prefix));
            forms.extend(measured.map(Cow::Borrowed));
        }
        forms.extend(narrowed(data).map(Cow::Owned));
    }
    forms
}

/// What of an event that begins with a variable may have been measured: all of it, all but its last byte, and the variable
/// alone. Behind the variable stands nothing that was measured but the padding of a structure: zeros.
fn variable_forms<'a>(data: &'a [u8], behind: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    const MOST_PADDING: usize = 7;
    let padding = [behind.len(), behind.len().saturating_sub(1), 0];
    padding.into_iter().filter_map(move |length| {
        let (padding, unmeasured) = behind.split_at_checked(length)?;
        let is_padding = length <= MOST_PADDING && padding.iter().all(|byte| *byte == 0);
        let measured = data.len().checked_sub(unmeasured.len())?;
        is_padding.then(|| data.get(..measured)).flatten()
    })
}

/// A UTF-16 description of ASCII letters as those letters with a NUL: systemd-stub measures section names so.
fn narrowed(data: &[u8]) -> Option<Vec<u8>> {
    if data.len() > 1024 || data.is_empty() {
        return None;
    }
    let (pairs, []) = data.as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[low, high]| (*high == 0 && low.is_ascii()).then_some(*low))
        .collect()
}
