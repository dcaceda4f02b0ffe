//! `hallmark-server doctor`: one line for each thing that has to be right. Nothing is changed.

use std::path::Path;

use hallmark_host::{answer::Finding, out_of_room};
use hallmark_reason::Coded;
use hallmark_store::{SqliteOptions, SqliteStore, StoreError};
use rustix::fs::{Access, access};
use tokio::task::spawn_blocking;

use crate::{
    authority::{AuthorityError, is_key_label, key_label},
    config::Config,
    errors::StartError,
    healthcheck,
    run::parts,
};

/// A look at one thing: what was found, or what is wrong with it.
type Look = Result<String, Box<dyn Coded + Send>>;

/// Looks at the data folder, the whole journal, the token and the running server; tells each line to `tell` as it is found.
///
/// # Errors
/// The first thing that is not right; all of them have been told.
pub(crate) async fn examine(config: &Config, mut tell: impl FnMut(Finding)) -> Result<(), Box<dyn Coded + Send>> {
    tell(Finding::new("configuration", Ok(trusted(config))));
    let mut first = Ok(());
    for (what, found) in [
        ("data folder", data_folder(&config.data_dir)),
        ("journal", journal(config).await),
        ("token", token(config).await),
        ("server", server(config).await),
    ] {
        match found {
            Ok(detail) => tell(Finding::new(what, Ok(detail))),
            Err(error) => {
                tell(Finding::new(what, Err(&*error)));
                first = first.and(Err(error));
            }
        }
    }
    first
}

fn trusted(config: &Config) -> String {
    let trust = &config.tpm2.trust;
    format!(
        "trust domain {}, {} EK roots, {} TPMs in the inventory",
        config.trust_domain,
        trust.roots.len(),
        trust.inventory.len()
    )
}

fn data_folder(path: &Path) -> Look {
    if !path.exists() {
        return Ok(format!("{} is made by the first start", path.display()));
    }
    let usable = access(path, Access::WRITE_OK | Access::EXEC_OK);
    usable.map_err(|error| {
        boxed(StartError::DataFolder {
            path: path.to_owned(),
            cause: error.to_string(),
        })
    })?;
    parts::data_is_ours(path).map_err(boxed)?;
    match out_of_room(path) {
        // Nobody knows of a disk that does not say.
        Ok(None) | Err(_) => Ok(path.display().to_string()),
        Ok(Some(_)) => Err(boxed(StoreError::Full { path: path.to_owned() })),
    }
}

async fn journal(config: &Config) -> Look {
    if !config.store.exists() {
        return Ok("begins with the first start".into());
    }
    let options = SqliteOptions::new(&config.store, config.trust_domain.clone());
    let looked = spawn_blocking(move || SqliteStore::verify(&options)).await;
    let verified = looked.map_err(|_| boxed(StoreError::Closed))?;
    Ok(match verified.map_err(boxed)? {
        None => "the store has an older schema, which the next start brings up to date".into(),
        Some(journal) => format!(
            "{} rows follow each other, up to revision {} with the chain hash {}",
            journal.rows,
            journal.revision,
            hex::encode(journal.chain)
        ),
    })
}

async fn token(config: &Config) -> Look {
    let keys = parts::keys(config).await.map_err(boxed)?;
    let list = keys.list().await.map_err(boxed)?;
    // A token that was used before, and no store yet: a start would be refused.
    let used = list.iter().find(|key| is_key_label(&config.trust_domain, &key.label));
    if let Some(key) = used.filter(|_| !config.store.exists()) {
        return Err(boxed(AuthorityError::OtherStore {
            label: key.label.clone(),
            store: config.store.clone(),
        }));
    }
    // The other way round; which of several keys signs is in the store, which a look leaves alone.
    if used.is_none() && config.store.exists() {
        return Err(boxed(AuthorityError::KeyMissing {
            label: key_label(&config.trust_domain, 1),
        }));
    }
    let protected = list.iter().filter(|key| key.is_protected()).count();
    Ok(format!(
        "{} opens with its PIN and holds {} keys, {protected} of them never to leave it",
        config.hsm.token_label,
        list.len()
    ))
}

async fn server(config: &Config) -> Look {
    let status = healthcheck::ask(&config.listen.admin_socket).await.map_err(boxed)?;
    let parts: Vec<String> = status.parts.iter().map(healthcheck::line).collect();
    Ok(format!("serves at {}: {}", status.address, parts.join(", ")))
}

fn boxed(error: impl Coded + Send + 'static) -> Box<dyn Coded + Send> {
    Box::new(error)
}
