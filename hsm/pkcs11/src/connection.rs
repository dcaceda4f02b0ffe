//! One session with the token, and the keys it knows.

use std::{collections::HashMap, sync::Arc};

use cryptoki::{
    object::ObjectHandle,
    session::{Session, SessionState},
};
use hallmark_hsm::{HsmError, KeyId, KeyKind};

use crate::{
    attributes::Policy,
    failure::{Failure, failure},
    mechanisms::Mechanisms,
    public::{PublicHalf, Seen},
    pulse::Pulse,
};

/// A session that is logged in.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) session: Session,
    /// The token's label, for errors.
    pub(crate) label: Arc<str>,
    /// Which opening of the token it is of.
    pub(crate) generation: u64,
    /// Beats between two calls into the module.
    pub(crate) pulse: Arc<Pulse>,
    /// What the token can do.
    pub(crate) mechanisms: Arc<Mechanisms>,
    /// What is demanded of keys.
    pub(crate) policy: Policy,
    /// The public halves seen so far, shared by all sessions of a pool.
    pub(crate) seen: Arc<Seen>,
    /// Keys already found and checked in this session. Handles are good for the session's life at most.
    pub(crate) keys: HashMap<KeyId, LoadedKey>,
}

/// A private key that was found and found safe, and the public key that its signatures are verified with.
#[derive(Debug, Clone)]
pub(crate) struct LoadedKey {
    pub(crate) handle: ObjectHandle,
    pub(crate) kind: KeyKind,
    pub(crate) public: Arc<PublicHalf>,
}

impl Connection {
    /// Fails when the login has ended, for then private keys are hidden rather than missing.
    pub(crate) fn check_login(&self) -> Result<(), Failure> {
        let info = self
            .session
            .get_session_info()
            .map_err(self.failed("asking for the session's state"))?;
        match info.session_state() {
            SessionState::RwUser | SessionState::RoUser => Ok(()),
            _ => Err(Failure::Gone(HsmError::DeviceRemoved {
                label: self.label.to_string(),
                cause: "the login has ended".to_owned(),
            })),
        }
    }

    /// Turns an error of the module into a failure of `what`.
    pub(crate) fn failed(&self, what: &str) -> impl Fn(cryptoki::error::Error) -> Failure {
        let label = Arc::clone(&self.label);
        let what = what.to_owned();
        move |error| failure(&label, &what, &error)
    }
}
