//! Finding the token and logging in.

use std::{collections::HashMap, sync::Arc};

use cryptoki::{
    context::Pkcs11,
    error::{Error, RvError},
    session::{Session, SessionState, UserType},
    slot::{Slot, TokenInfo},
};
use hallmark_hsm::{HsmError, TokenFacts};

use crate::{
    Pkcs11Config, TokenSelector,
    attributes::Policy,
    connection::Connection,
    failure::{Failure, failure},
    mechanisms::Mechanisms,
    module::Module,
    pin_memory::Attempt,
    public::Seen,
    pulse::Pulse,
};

/// What is known of a token once it is open.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenToken {
    pub(crate) facts: TokenFacts,
    pub(crate) mechanisms: Arc<Mechanisms>,
}

/// Opens `config.sessions` sessions with the token and logs in. The login counts for all sessions of the token. `generation`
/// is what this opening is told from others by. With `few`, fewer sessions do where the token opens no more: threads that were given up
/// hold some.
pub(crate) fn connect(
    module: &Module,
    config: &Pkcs11Config,
    seen: &Arc<Seen>,
    generation: u64,
    pulse: &Arc<Pulse>,
    few: bool,
) -> Result<(OpenToken, Vec<Connection>), Failure> {
    let context = module.context();
    let (slot, info) = find(module, &config.token)?;
    pulse.beat();
    check_pin_state(config.token.name(), &info)?;
    let facts = facts(&info);
    let asked = Mechanisms::ask(context, slot);
    let failed = |error| failure(config.token.name(), "asking for the token's mechanisms", &error);
    let mechanisms = Arc::new(asked.map_err(failed)?);
    let sessions = open_sessions(context, slot, config, pulse, few)?;
    if let Some(first) = sessions.first() {
        log_in(first, module, config, &facts)?;
    }
    pulse.beat();
    let label: Arc<str> = config.token.name().into();
    let connections = sessions
        .into_iter()
        .map(|session| Connection {
            session,
            label: Arc::clone(&label),
            generation,
            pulse: Arc::clone(pulse),
            mechanisms: Arc::clone(&mechanisms),
            policy: Policy {
                require_local: config.require_local,
            },
            seen: Arc::clone(seen),
            keys: HashMap::new(),
        })
        .collect();
    Ok((OpenToken { facts, mechanisms }, connections))
}

fn find(module: &Module, token: &TokenSelector) -> Result<(Slot, TokenInfo), Failure> {
    let context = module.context();
    let failed = |error: &Error| failure(token.name(), "listing the tokens", error);
    let mut present = Vec::new();
    let mut found = Vec::new();
    for slot in context.get_slots_with_token().map_err(|error| failed(&error))? {
        // One unreadable token must not hide the others.
        let Ok(info) = context.get_token_info(slot) else {
            continue;
        };
        if !info.token_initialized() {
            continue;
        }
        present.push(if token.is_by_label() {
            info.label().to_owned()
        } else {
            format!("{}, serial {}", info.label(), info.serial_number().trim_end())
        });
        if token.selects(&info) {
            found.push((slot, info));
        }
    }
    let count = found.len();
    match (found.pop(), count) {
        (Some(only), 1) => Ok(only),
        (Some(_), _) => Err(Failure::Final(HsmError::TokenAmbiguous {
            wanted: token.to_string(),
            count,
        })),
        (None, _) => Err(Failure::Gone(HsmError::TokenMissing {
            module: module.path().display().to_string(),
            wanted: token.to_string(),
            present,
        })),
    }
}

/// What the token says about its PIN before any is offered.
fn check_pin_state(label: &str, info: &TokenInfo) -> Result<(), HsmError> {
    let label = label.to_owned();
    if info.user_pin_locked() {
        return Err(HsmError::PinLocked { label });
    }
    if !info.user_pin_initialized() {
        return Err(HsmError::PinUnset {
            label,
            cause: "it was never set".to_owned(),
        });
    }
    // Earlier ones were wrong. A program that is started again and again would lock it.
    if info.user_pin_final_try() {
        return Err(HsmError::PinLastTry { label });
    }
    Ok(())
}

fn open_sessions(
    context: &Pkcs11,
    slot: Slot,
    config: &Pkcs11Config,
    pulse: &Pulse,
    few: bool,
) -> Result<Vec<Session>, Failure> {
    let asked = config.sessions.max(1);
    let mut sessions = Vec::with_capacity(asked);
    for _ in 0..asked {
        pulse.beat();
        match context.open_rw_session(slot) {
            Ok(session) => sessions.push(session),
            Err(Error::Pkcs11(RvError::SessionCount, _)) if few && !sessions.is_empty() => break,
            Err(Error::Pkcs11(RvError::SessionCount, _)) => {
                return Err(Failure::Final(HsmError::SessionLimit {
                    label: config.token.name().to_owned(),
                    asked,
                    opened: sessions.len(),
                }));
            }
            Err(error) => {
                return Err(failure(config.token.name(), "opening a session with the token", &error));
            }
        }
    }
    Ok(sessions)
}

fn log_in(session: &Session, module: &Module, config: &Pkcs11Config, facts: &TokenFacts) -> Result<(), Failure> {
    let label = config.token.name();
    let attempt = Attempt::new(module.path(), label, &facts.serial, &config.pin);
    attempt.check(label)?;
    let offered = match session.login(UserType::User, Some(&config.pin)) {
        // Another pool in this process logged in before; the login is shared. A device that slept may say so as well, and
        // yet know of no login: then it is ended and begun anew.
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) if !is_logged_in(session) => {
            if let Err(error) = session.logout() {
                tracing::debug!(%error, "a login that is none could not be ended");
            }
            session.login(UserType::User, Some(&config.pin))
        }
        other => other,
    };
    match offered {
        Ok(()) => Ok(()),
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) if is_logged_in(session) => Ok(()),
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Err(Failure::Gone(HsmError::DeviceRemoved {
            label: label.to_owned(),
            cause: "it says that there is a login, and there is none".to_owned(),
        })),
        Err(error) => {
            let failure = failure(label, "logging in to the token", &error);
            if let Failure::Final(HsmError::PinWrong { .. } | HsmError::PinUnfit { .. }) = failure {
                attempt.refused();
            }
            Err(failure)
        }
    }
}

fn is_logged_in(session: &Session) -> bool {
    let state = session.get_session_info().map(|info| info.session_state());
    matches!(state, Ok(SessionState::RwUser | SessionState::RoUser))
}

fn facts(info: &TokenInfo) -> TokenFacts {
    TokenFacts {
        label: trimmed(info.label()),
        manufacturer: trimmed(info.manufacturer_id()),
        model: trimmed(info.model()),
        serial: trimmed(info.serial_number()),
        firmware: info.firmware_version().to_string(),
    }
}

/// Fields are padded with blanks; some tokens pad them with zeros.
fn trimmed(field: &str) -> String {
    field.trim_end_matches(['\0', ' ']).to_owned()
}
