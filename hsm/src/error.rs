//! What a key store can fail with.

use std::time::Duration;

use hallmark_reason::{Coded, ReasonCode};

use crate::{KeyKind, MAX_LABEL_LEN, SignatureAlg};

/// A failure of a key store. It never holds a PIN. It is cheap to clone, so that one failure of the device can
/// be told to every caller that waits for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HsmError {
    /// There is no file where what drives the device should be.
    #[error("the PKCS#11 module {path} does not exist")]
    ModuleMissing {
        /// Its path.
        path: String,
        /// What the operating system said.
        cause: String,
    },
    /// What drives the device cannot be loaded.
    #[error("the PKCS#11 module {path} cannot be loaded")]
    ModuleNotLoadable {
        /// Its path.
        path: String,
        /// What the loader said.
        cause: String,
    },
    /// What drives the device was loaded, and does not start.
    #[error("the PKCS#11 module {path} does not start")]
    ModuleNotStarted {
        /// Its path.
        path: String,
        /// What the module said.
        cause: String,
        /// What its own configuration lacks, where that can be seen from here.
        lacks: Option<String>,
    },
    /// No token is the one that is asked for.
    #[error("no token is {wanted}")]
    TokenMissing {
        /// The module's path.
        module: String,
        /// What was asked for: `labelled "…"`, or a URI.
        wanted: String,
        /// The tokens that are there.
        present: Vec<String>,
    },
    /// Several tokens are the one that is asked for.
    #[error("{count} tokens are {wanted}")]
    TokenAmbiguous {
        /// What was asked for: `labelled "…"`, or a URI.
        wanted: String,
        /// How many are it.
        count: usize,
    },
    /// The token refuses the PIN. It is not tried again by itself: most tokens lock after a few wrong ones.
    #[error("the token {label:?} refuses the PIN")]
    PinWrong {
        /// The token's label.
        label: String,
    },
    /// A wrong PIN more would lock the token: none is offered, not even the right one, for nobody here knows whether it is.
    #[error("the token {label:?} locks at the next wrong PIN, and is offered none")]
    PinLastTry {
        /// The token's label.
        label: String,
    },
    /// The token is locked after too many wrong PINs.
    #[error("the PIN of the token {label:?} is locked")]
    PinLocked {
        /// The token's label.
        label: String,
    },
    /// The token has no user PIN yet, or it has expired.
    #[error("the token {label:?} has no usable user PIN: {cause}")]
    PinUnset {
        /// The token's label.
        label: String,
        /// What the token said.
        cause: String,
    },
    /// The PIN's length or characters cannot be right for this token.
    #[error("the PIN does not have a form that the token {label:?} accepts: {cause}")]
    PinUnfit {
        /// The token's label.
        label: String,
        /// What is wrong with it; never the PIN.
        cause: String,
    },
    /// No room for a further key.
    #[error("the token {label:?} has no space for another key")]
    TokenFull {
        /// The token's label.
        label: String,
    },
    /// Nothing can be written to the token.
    #[error("the token {label:?} is write-protected")]
    WriteProtected {
        /// The token's label.
        label: String,
    },
    /// The token allows fewer sessions than asked for.
    #[error("the token {label:?} opens no more sessions")]
    SessionLimit {
        /// The token's label.
        label: String,
        /// How many were asked for.
        asked: usize,
        /// How many it opened.
        opened: usize,
    },
    /// No key has this label or id.
    #[error("there is no key {key}")]
    KeyMissing {
        /// The label or id asked for.
        key: String,
    },
    /// Several keys have the label or id.
    #[error("{count} keys are named {key}")]
    KeyAmbiguous {
        /// The label or id.
        key: String,
        /// How many have it.
        count: usize,
    },
    /// A new key's label is taken.
    #[error("there is a key labelled {label:?} already")]
    KeyExists {
        /// The label.
        label: String,
    },
    /// The private key could leave the token, or could at some time.
    #[error("the key {label:?} can leave its token, or could once")]
    KeyExposed {
        /// The key's label.
        label: String,
        /// The properties that are not as they must be.
        properties: String,
    },
    /// Public and private half do not belong together, or one is not there.
    #[error("the key {label:?} is not whole: {cause}")]
    KeyIncomplete {
        /// The key's label.
        label: String,
        /// What is missing or contradicts.
        cause: String,
    },
    /// The key is of another kind than the algorithm needs.
    #[error("a {kind} key cannot sign with {algorithm}")]
    WrongAlgorithm {
        /// The key's kind.
        kind: KeyKind,
        /// The algorithm asked for.
        algorithm: SignatureAlg,
    },
    /// The token lacks a mechanism, or the key's kind or size.
    #[error("the token cannot do {what}")]
    NotSupported {
        /// What was asked.
        what: String,
        /// What the token said.
        cause: String,
    },
    /// The token went away; it is being opened again.
    #[error("the token {label:?} is gone: {cause}")]
    DeviceRemoved {
        /// The token's label.
        label: String,
        /// What was seen.
        cause: String,
    },
    /// The token reports an error of its own.
    #[error("the token fails at {function}: {cause}")]
    DeviceError {
        /// The function called.
        function: String,
        /// What the token said.
        cause: String,
    },
    /// The token did not answer in time.
    #[error("the token did not finish in time: {what}")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// Too many calls into what drives the token never came back. It is asked no more until some do.
    #[error("{calls} calls into the token {label:?} do not come back")]
    Stuck {
        /// The token's label.
        label: String,
        /// How many threads wait in it.
        calls: usize,
    },
    /// Too many jobs wait already.
    #[error("too many signing jobs are waiting for the token")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The token answered with something that is no signature of this algorithm.
    #[error("the token returned a value that is not a signature")]
    BadSignature {
        /// Its length in bytes.
        len: usize,
    },
    /// The token made a signature that its own public key does not verify. It never leaves the key store, and the token
    /// is out of service until a signature of this key verifies again.
    #[error("the token {label:?} signed wrongly with the key {key}")]
    SignatureWrong {
        /// The token's label.
        label: String,
        /// The key's id.
        key: String,
    },
    /// A label that is empty, too long or not printable ASCII.
    #[error("{found:?} cannot be a key's label")]
    BadLabel {
        /// Its beginning.
        found: String,
    },
    /// A name that is none of the kinds of keys.
    #[error("unknown kind of key {found:?}")]
    UnknownKind {
        /// Its beginning.
        found: String,
    },
    /// The key store is closed.
    #[error("the key store is closed")]
    Closed,
}

impl HsmError {
    /// Whether the PIN is what is wrong: then nothing but an operator helps, and trying again does harm.
    #[must_use]
    pub const fn is_about_pin(&self) -> bool {
        matches!(
            self,
            Self::PinWrong { .. }
                | Self::PinLastTry { .. }
                | Self::PinLocked { .. }
                | Self::PinUnset { .. }
                | Self::PinUnfit { .. }
        )
    }
}

impl Coded for HsmError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::ModuleMissing { .. } => ReasonCode::new("HM-HSM-0026"),
            Self::ModuleNotLoadable { .. } => ReasonCode::new("HM-HSM-0001"),
            Self::ModuleNotStarted { .. } => ReasonCode::new("HM-HSM-0027"),
            Self::TokenMissing { .. } => ReasonCode::new("HM-HSM-0002"),
            Self::TokenAmbiguous { .. } => ReasonCode::new("HM-HSM-0003"),
            Self::PinWrong { .. } => ReasonCode::new("HM-HSM-0004"),
            Self::PinLocked { .. } => ReasonCode::new("HM-HSM-0005"),
            Self::PinUnset { .. } => ReasonCode::new("HM-HSM-0006"),
            Self::PinUnfit { .. } => ReasonCode::new("HM-HSM-0007"),
            Self::TokenFull { .. } => ReasonCode::new("HM-HSM-0008"),
            Self::WriteProtected { .. } => ReasonCode::new("HM-HSM-0009"),
            Self::SessionLimit { .. } => ReasonCode::new("HM-HSM-0010"),
            Self::KeyMissing { .. } => ReasonCode::new("HM-HSM-0011"),
            Self::KeyAmbiguous { .. } => ReasonCode::new("HM-HSM-0012"),
            Self::KeyExists { .. } => ReasonCode::new("HM-HSM-0013"),
            Self::KeyExposed { .. } => ReasonCode::new("HM-HSM-0014"),
            Self::KeyIncomplete { .. } => ReasonCode::new("HM-HSM-0015"),
            Self::WrongAlgorithm { .. } => ReasonCode::new("HM-HSM-0016"),
            Self::NotSupported { .. } => ReasonCode::new("HM-HSM-0017"),
            Self::DeviceRemoved { .. } => ReasonCode::new("HM-HSM-0018"),
            Self::DeviceError { .. } => ReasonCode::new("HM-HSM-0019"),
            Self::TimedOut { .. } => ReasonCode::new("HM-HSM-0020"),
            Self::Busy { .. } => ReasonCode::new("HM-HSM-0021"),
            Self::BadSignature { .. } => ReasonCode::new("HM-HSM-0022"),
            Self::BadLabel { .. } => ReasonCode::new("HM-HSM-0023"),
            Self::UnknownKind { .. } => ReasonCode::new("HM-HSM-0024"),
            Self::Closed => ReasonCode::new("HM-HSM-0025"),
            Self::SignatureWrong { .. } => ReasonCode::new("HM-HSM-0028"),
            Self::PinLastTry { .. } => ReasonCode::new("HM-HSM-0029"),
            Self::Stuck { .. } => ReasonCode::new("HM-HSM-0030"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::ModuleMissing { cause, .. } | Self::ModuleNotLoadable { cause, .. } => Some(cause.clone()),
            Self::ModuleNotStarted { cause, lacks: None, .. } => Some(cause.clone()),
            Self::ModuleNotStarted {
                cause,
                lacks: Some(lacks),
                ..
            } => Some(format!("{cause}; {lacks}")),
            Self::TokenMissing { wanted, present, .. } if present.is_empty() => {
                Some(format!("asked for {}; there is no initialised token", bare(wanted)))
            }
            Self::TokenMissing { wanted, present, .. } => {
                Some(format!("asked for {}; there are {present:?}", bare(wanted)))
            }
            Self::TokenAmbiguous { count, .. } | Self::KeyAmbiguous { count, .. } => {
                Some(format!("{count} found, exactly 1 allowed"))
            }
            Self::SessionLimit { asked, opened, .. } => Some(format!("{asked} sessions asked for, {opened} opened")),
            Self::KeyExposed { properties, .. } => Some(properties.clone()),
            Self::WrongAlgorithm { kind, .. } => Some(format!("{kind} signs with {}", joined(kind.algorithms()))),
            Self::NotSupported { cause, .. } => Some(cause.clone()),
            Self::TimedOut { after, .. } => Some(format!("waited {} ms", after.as_millis())),
            Self::Busy { waiting } => Some(format!("{waiting} jobs wait")),
            Self::BadSignature { len } => Some(format!("{len} bytes")),
            Self::BadLabel { .. } => Some(format!("1 to {MAX_LABEL_LEN} printable ASCII characters are allowed")),
            Self::UnknownKind { .. } => Some(format!("known are {}", KeyKind::ALL.map(KeyKind::as_str).join(", "))),
            _ => None,
        }
    }

    fn precise_cause(&self) -> Option<String> {
        Some(
            match self {
                Self::ModuleNotStarted { lacks: Some(_), .. } => {
                    "it was never made, was moved, or belongs to another user"
                }
                Self::ModuleNotStarted { lacks: None, .. } => {
                    "the module does not find its own configuration, or its device"
                }
                Self::TokenMissing { present, .. } if present.is_empty() => {
                    "no token was initialised yet, none is plugged in, or the server's user may not read its store"
                }
                Self::TokenMissing { wanted, .. } if is_uri(wanted) => {
                    "the URI is mistyped, or the token is not plugged in"
                }
                Self::TokenMissing { .. } => "the label is mistyped, or the token is not plugged in",
                _ => return None,
            }
            .to_owned(),
        )
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::ModuleNotLoadable { path, .. } => format!("ldd {path}; pkcs11-tool --module {path} -I"),
            Self::ModuleNotStarted { lacks: Some(_), .. } => "create or restore it, or correct the module's configuration; a \
                                                              running server goes on by itself, a stopped one is started again"
                .into(),
            Self::ModuleNotStarted { lacks: None, .. } => {
                "see the module's manual for its configuration and variables, and set them in the server's unit".into()
            }
            Self::TokenMissing { module, present, .. } if present.is_empty() => {
                format!(
                    "pkcs11-tool --module {module} -L, as the server's user; then initialise a token with this label"
                )
            }
            Self::TokenMissing { wanted, .. } if is_uri(wanted) => "correct [hsm] token, or plug the token in".into(),
            Self::TokenMissing { .. } => "set [hsm] token_label to one of these labels, or plug the token in".into(),
            _ => return None,
        })
    }
}

/// What is wanted, without the word that makes it read well.
fn bare(wanted: &str) -> &str {
    wanted.strip_prefix("labelled ").unwrap_or(wanted)
}

fn is_uri(wanted: &str) -> bool {
    wanted.starts_with("pkcs11:")
}

fn joined(algorithms: &[SignatureAlg]) -> String {
    let names: Vec<String> = algorithms.iter().map(ToString::to_string).collect();
    names.join(", ")
}
