//! `hallmark-server doctor`: one line for each thing that has to be right. Nothing is changed.

use std::path::Path;

use hallmark_host::{answer::Finding, out_of_room};
use hallmark_reason::Coded;
use hallmark_store::{SqliteOptions, SqliteStore, StoreError, VerifiedJournal};
use rustix::fs::{Access, access};
use tokio::task::spawn_blocking;

use crate::{
    authority::{AuthorityError, is_key_label, key_label},
    config::Config,
    errors::StartError,
    healthcheck,
    journal::EntriesLeftOut,
    run::parts,
};

/// A look at one thing: what was found, or what is wrong with it.
pub(crate) type Look = Result<String, Box<dyn Coded + Send>>;

/// Looks at the data folder, the whole journal and the tables that are to say the same, the token and the running server; tells each line to `tell` as it is found.
///
/// # Errors
/// The first thing that is not right; all of them have been told.
pub(crate) async fn examine(config: &Config, mut tell: impl FnMut(Finding)) -> Result<(), Box<dyn Coded + Send>> {
    let mut first = Ok(());
    let mut hear = |what, found: Look| match found {
        Ok(detail) => tell(Finding::new(what, Ok(detail))),
        Err(error) => {
            tell(Finding::new(what, Err(&*error)));
            let so_far = std::mem::replace(&mut first, Ok(()));
            first = so_far.and(Err(error));
        }
    };
    hear("configuration", Ok(trusted(config)));
    hear("data folder", data_folder(&config.data_dir, &config.store));
    for (what, found) in store(config).await {
        hear(what, found);
    }
    hear("token", token(config).await);
    hear("server", server(config).await);
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

fn data_folder(path: &Path, store: &Path) -> Look {
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
    parts::store_is_local(store).map_err(boxed)?;
    match out_of_room(path) {
        // Nobody knows of a disk that does not say.
        Ok(None) | Err(_) => Ok(path.display().to_string()),
        Ok(Some(_)) => Err(boxed(StoreError::Full { path: path.to_owned() })),
    }
}

/// The journal, the tables beside it, and the entries in them.
async fn store(config: &Config) -> Vec<(&'static str, Look)> {
    if !config.store.exists() {
        return vec![("journal", Ok("begins with the first start".into()))];
    }
    let options = SqliteOptions::new(&config.store, config.trust_domain.clone());
    let looked = spawn_blocking(move || SqliteStore::verify(&options)).await;
    match looked.map_err(|_| StoreError::Closed).flatten() {
        Ok(None) => vec![(
            "journal",
            Ok("the store has an older schema, which the next start brings up to date".into()),
        )],
        Ok(Some(journal)) => {
            let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
            let mut log = config.store.clone().into_os_string();
            log.push("-wal");
            let (file, log) = (bytes(&config.store), bytes(Path::new(&log)));
            let size = format!("{}: {file} bytes, {log} bytes of log", config.store.display());
            let size: (&'static str, Look) = ("store", Ok(size));
            std::iter::once(size).chain(verified(journal)).collect()
        }
        Err(error) => vec![("journal", Err(boxed(error)))],
    }
}

/// What a look at a store found.
pub(crate) fn verified(journal: VerifiedJournal) -> Vec<(&'static str, Look)> {
    let rows = format!(
        "{} rows follow each other, up to revision {} with the chain hash {}",
        journal.rows,
        journal.revision,
        hex::encode(journal.chain)
    );
    let mut found: Vec<(&'static str, Look)> = vec![("journal", Ok(rows))];
    if journal.differences.is_empty() {
        let unchecked = match journal.unchecked {
            0 => String::new(),
            rows => format!(
                "; {rows} rows are unchecked: they are from before record {}, since which the journal has changes",
                journal.whole_after.saturating_add(1)
            ),
        };
        let checked = format!("{} rows are what the journal says{unchecked}", journal.checked);
        found.push(("tables", Ok(checked)));
    }
    let differences = journal.differences.into_iter();
    found.extend(differences.map(|error| ("tables", Err(boxed(error)))));
    if journal.more_differences > 0 {
        let what = format!("each of {} more rows", journal.more_differences);
        let how = "not named one by one".to_owned();
        found.push(("tables", Err(boxed(StoreError::Apart { what, revision: 0, how }))));
    }
    found.extend(EntriesLeftOut::of(&journal.left_out).map(|error| ("entries", Err(boxed(error)))));
    found
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
        config.hsm.token.name(),
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
