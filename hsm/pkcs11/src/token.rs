//! Finding the token and logging in.

use std::sync::Arc;

use cryptoki::{
    context::Pkcs11,
    error::{Error, RvError},
    session::{Session, UserType},
    slot::{Slot, TokenInfo},
};
use hallmark_hsm::{HsmError, TokenFacts};

use crate::{
    Pkcs11Config,
    connection::Connection,
    failure::{Failure, failure},
    module::Module,
    pin_memory::Attempt,
};

/// Opens `config.sessions` sessions with the token and logs in. The login counts for all sessions of the token.
pub(crate) fn connect(module: &Module, config: &Pkcs11Config) -> Result<(TokenFacts, Vec<Connection>), Failure> {
    let context = module.context();
    let (slot, info) = find(module, &config.token_label)?;
    check_pin_state(&config.token_label, &info)?;
    let facts = facts(&info);
    let sessions = open_sessions(context, slot, config)?;
    if let Some(first) = sessions.first() {
        log_in(first, module, config, &facts)?;
    }
    let label: Arc<str> = config.token_label.as_str().into();
    let connections = sessions
        .into_iter()
        .map(|session| Connection::new(session, Arc::clone(&label)))
        .collect();
    Ok((facts, connections))
}

fn find(module: &Module, label: &str) -> Result<(Slot, TokenInfo), Failure> {
    let context = module.context();
    let failed = |error: &Error| failure(label, "listing the tokens", error);
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
        present.push(info.label().to_owned());
        if info.label() == label {
            found.push((slot, info));
        }
    }
    let count = found.len();
    match (found.pop(), count) {
        (Some(only), 1) => Ok(only),
        (Some(_), _) => Err(Failure::Final(HsmError::TokenAmbiguous {
            label: label.to_owned(),
            count,
        })),
        (None, _) => Err(Failure::Gone(HsmError::TokenMissing {
            module: module.path().display().to_string(),
            label: label.to_owned(),
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
    if info.user_pin_final_try() {
        tracing::warn!(
            token = label,
            "a wrong PIN would lock the token now; earlier ones were wrong"
        );
    }
    Ok(())
}

fn open_sessions(context: &Pkcs11, slot: Slot, config: &Pkcs11Config) -> Result<Vec<Session>, Failure> {
    let asked = config.sessions.max(1);
    let mut sessions = Vec::with_capacity(asked);
    for _ in 0..asked {
        match context.open_rw_session(slot) {
            Ok(session) => sessions.push(session),
            Err(Error::Pkcs11(RvError::SessionCount, _)) => {
                return Err(Failure::Final(HsmError::SessionLimit {
                    label: config.token_label.clone(),
                    asked,
                    opened: sessions.len(),
                }));
            }
            Err(error) => {
                return Err(failure(&config.token_label, "opening a session with the token", &error));
            }
        }
    }
    Ok(sessions)
}

fn log_in(session: &Session, module: &Module, config: &Pkcs11Config, facts: &TokenFacts) -> Result<(), Failure> {
    let label = &config.token_label;
    let attempt = Attempt::new(module.path(), label, &facts.serial, &config.pin);
    attempt.check(label)?;
    match session.login(UserType::User, Some(&config.pin)) {
        // Another pool in this process logged in before; the login is shared.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) => {
            let failure = failure(label, "logging in to the token", &error);
            if let Failure::Final(HsmError::PinWrong { .. } | HsmError::PinUnfit { .. }) = failure {
                attempt.refused();
            }
            Err(failure)
        }
    }
}

fn facts(info: &TokenInfo) -> TokenFacts {
    TokenFacts {
        label: info.label().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        serial: info.serial_number().to_owned(),
        firmware: info.firmware_version().to_string(),
    }
}
