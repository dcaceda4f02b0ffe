//! The bare token, as a control for measurements.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cryptoki::object::{Attribute, ObjectClass};
use hallmark_hsm::HsmError;

use crate::{Pkcs11Config, attributes, connection::Connection, failure::Failure, mechanisms, module::Module, token};

/// Signatures per second of the bare token: `config.sessions` threads, each with a session of its own, do nothing
/// but C_SignInit and C_Sign over a fixed digest with the key labelled `label` for `duration`.
///
/// # Errors
/// As [`Pkcs11KeyStore::open`](crate::Pkcs11KeyStore::open), and when the key is missing.
pub fn raw_sign_rate(config: &Pkcs11Config, label: &str, duration: Duration) -> Result<f64, HsmError> {
    let module = Module::load(&config.module)?;
    let connections = {
        let _entry = module.enter()?;
        token::connect(&module, config, &Arc::default(), 0, &Arc::default(), false)
            .map_err(told)?
            .1
    };
    let started = Instant::now();
    let threads: Vec<_> = connections
        .into_iter()
        .map(|connection| {
            let label = label.to_owned();
            thread::spawn(move || sign_until(&connection, &label, started + duration))
        })
        .collect();
    let mut count = 0_u32;
    for thread in threads {
        let counted = thread.join().map_err(|_| HsmError::Closed)?;
        count = count.saturating_add(counted.map_err(told)?);
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

fn sign_until(connection: &Connection, label: &str, end: Instant) -> Result<u32, Failure> {
    let template = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Label(label.into()),
    ];
    let found = connection
        .session
        .find_objects(&template)
        .map_err(connection.failed("searching for keys"))?;
    let missing = || {
        Failure::Final(HsmError::KeyMissing {
            key: format!("{label:?}"),
        })
    };
    let key = *found.first().ok_or_else(missing)?;
    let algorithm = attributes::kind(connection, key)?.ok_or_else(missing)?.signature_alg();
    let (mechanism, input) = mechanisms::request(algorithm, connection.mechanisms.ways(algorithm)?.0, &[7; 32]);
    let mut count = 0_u32;
    while Instant::now() < end {
        connection
            .session
            .sign(&mechanism, key, &input)
            .map_err(connection.failed("signing"))?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

fn told(failure: Failure) -> HsmError {
    match failure {
        Failure::Final(error) | Failure::Gone(error) => error,
        Failure::StaleHandle => HsmError::KeyMissing {
            key: "the key signed with".to_owned(),
        },
    }
}
