//! What an entry says that probably means something else: nothing is refused for it, and whoever writes the entry is told.

use std::{collections::BTreeSet, fmt};

use hallmark_spiffe::Selector;

/// Selector types that attestation of a node gives.
const NODE_KINDS: [&str; 5] = ["tpm2", "boot", "ima", "policy", "inventory"];
/// What the `tpm2` selectors are about.
const TPM2_LABELS: [&str; 7] = [
    "ek-hash",
    "class",
    "manufacturer",
    "model",
    "firmware",
    "firmware-version",
    "pcr",
];
/// What the `unix` workload attestor tells of a process.
const UNIX_LABELS: [&str; 8] = [
    "uid",
    "gid",
    "user",
    "group",
    "supplementary_gid",
    "supplementary_group",
    "path",
    "sha256",
];
/// Those of them that are about who runs it.
const USERS: [&str; 6] = [
    "uid",
    "gid",
    "user",
    "group",
    "supplementary_gid",
    "supplementary_group",
];
/// Those of them that take a number.
const UNIX_NUMBERS: [&str; 3] = ["uid", "gid", "supplementary_gid"];

/// A selector that nothing on a machine ever matches, or more than its author probably meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryWarning {
    /// No attestor of a Hallmark agent makes selectors of this type.
    UnknownKind {
        /// The selector.
        selector: Selector,
        /// The selector that was probably meant.
        meant: Option<String>,
    },
    /// The attestor of this type does not know such a fact.
    UnknownLabel {
        /// The selector.
        selector: Selector,
        /// The facts that it knows.
        known: &'static [&'static str],
    },
    /// The fact is known, and never has such a value.
    ImpossibleValue {
        /// The selector.
        selector: Selector,
        /// What a value looks like.
        expected: &'static str,
    },
    /// Facts about a machine and a process at once, or those of the other: an alias of nodes (its parent is the server)
    /// matches machines, every other entry matches processes.
    OtherSubject {
        /// The selector.
        selector: Selector,
        /// Whether the entry matches nodes.
        of_nodes: bool,
    },
    /// A binary, whoever runs it: whoever may read and execute a file can pass for it.
    AnyUsersBinary {
        /// The selector.
        selector: Selector,
    },
    /// Two values of a fact that has one value.
    Contradiction {
        /// One.
        first: Selector,
        /// The other.
        second: Selector,
    },
}

impl fmt::Display for EntryWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind { selector, meant } => {
                write!(f, "no attestor of Hallmark makes the selector {selector}")?;
                match meant {
                    Some(meant) => write!(f, "; did you mean {meant}?"),
                    None => write!(f, "; the entry matches nothing on machines with hallmark-agent"),
                }
            }
            Self::UnknownLabel { selector, known } => write!(
                f,
                "the selector {selector} never matches: {} selectors are about {}",
                selector.kind(),
                known.join(", ")
            ),
            Self::ImpossibleValue { selector, expected } => {
                write!(f, "the selector {selector} never matches: its value is {expected}")
            }
            Self::OtherSubject {
                selector,
                of_nodes: true,
            } => write!(
                f,
                "the selector {selector} is about a process, and an entry below /spire/server matches machines"
            ),
            Self::OtherSubject {
                selector,
                of_nodes: false,
            } => write!(
                f,
                "the selector {selector} is about a machine, and this entry matches processes; an entry below \
                 /spire/server makes an alias for machines"
            ),
            Self::AnyUsersBinary { selector } => write!(
                f,
                "the selector {selector} is matched by every user who may read and execute that file: add a unix:uid, and let \
                 only that user execute it"
            ),
            Self::Contradiction { first, second } => {
                write!(
                    f,
                    "no process has both {first} and {second}: an entry's selectors must all match"
                )
            }
        }
    }
}

/// What in `selectors` never matches, or matches too much; `of_nodes` for an alias of nodes, whose parent is the server.
#[must_use]
pub fn selector_warnings(selectors: &BTreeSet<Selector>, of_nodes: bool) -> Vec<EntryWarning> {
    let mut warnings: Vec<EntryWarning> = selectors
        .iter()
        .filter_map(|selector| one(selector, of_nodes))
        .collect();
    let labelled = |label: &'static str| {
        selectors
            .iter()
            .filter(move |selector| selector.kind() == "unix" && label_of(selector) == label)
    };
    let has_user = selectors
        .iter()
        .any(|selector| selector.kind() == "unix" && USERS.contains(&label_of(selector)));
    if let (Some(selector), false) = (labelled("path").chain(labelled("sha256")).next(), has_user) {
        warnings.push(EntryWarning::AnyUsersBinary {
            selector: selector.clone(),
        });
    }
    for label in ["uid", "gid", "user", "group", "path", "sha256"] {
        let mut found = labelled(label);
        if let (Some(first), Some(second)) = (found.next(), found.next()) {
            warnings.push(EntryWarning::Contradiction {
                first: first.clone(),
                second: second.clone(),
            });
        }
    }
    warnings
}

fn label_of(selector: &Selector) -> &str {
    selector
        .value()
        .split_once(':')
        .map_or(selector.value(), |(label, _)| label)
}

fn one(selector: &Selector, of_nodes: bool) -> Option<EntryWarning> {
    let (kind, label) = (selector.kind(), label_of(selector));
    let value = selector.value().split_once(':').map_or("", |(_, value)| value);
    let selector = || selector.clone();
    let is_of_nodes = NODE_KINDS.contains(&kind);
    if !is_of_nodes && kind != "unix" {
        let written = format!("{kind}:{}", selector().value());
        let meant = UNIX_LABELS
            .contains(&kind)
            .then(|| format!("unix:{written}"))
            .or_else(|| TPM2_LABELS.contains(&kind).then(|| format!("tpm2:{written}")));
        return Some(EntryWarning::UnknownKind {
            selector: selector(),
            meant,
        });
    }
    if is_of_nodes != of_nodes {
        return Some(EntryWarning::OtherSubject {
            selector: selector(),
            of_nodes,
        });
    }
    let known: &'static [&'static str] = match kind {
        "unix" => &UNIX_LABELS,
        "tpm2" => &TPM2_LABELS,
        "boot" => &["secure-boot", "baseline"],
        "ima" => &["policy"],
        // Names that operators give.
        _ => return None,
    };
    if !known.contains(&label) {
        return Some(EntryWarning::UnknownLabel {
            selector: selector(),
            known,
        });
    }
    expected(kind, label, value).map(|expected| EntryWarning::ImpossibleValue {
        selector: selector(),
        expected,
    })
}

/// What a value must look like, where this one does not.
fn expected(kind: &str, label: &str, value: &str) -> Option<&'static str> {
    let is_hex = |length: usize| {
        value.len() == length
            && value
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let number = value.parse::<u32>().is_ok_and(|number| number.to_string() == value);
    let (fits, expected) = match (kind, label) {
        ("unix", label) if UNIX_NUMBERS.contains(&label) => (number, "a number, such as 1000"),
        ("unix", "path") => (value.starts_with('/'), "an absolute path"),
        ("unix", "sha256") | ("tpm2", "ek-hash") => (is_hex(64), "a SHA-256 in 64 lower-case hexadecimal digits"),
        ("boot", "secure-boot") => (matches!(value, "on" | "off"), "on or off"),
        ("tpm2", "class") => (
            matches!(value, "discrete" | "firmware" | "virtual" | "simulator" | "unknown"),
            "discrete, firmware, virtual, simulator or unknown",
        ),
        _ => (!value.is_empty(), "not empty"),
    };
    (!fits).then_some(expected)
}
