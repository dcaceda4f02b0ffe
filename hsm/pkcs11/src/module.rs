//! Modules loaded into this process.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
};
use hallmark_hsm::HsmError;

use crate::{connection::Seat, failure::short, softhsm};

/// Every module that was loaded. They stay loaded until the process ends: a module has one state per process, and
/// unloading it under somebody's feet is undefined.
static LOADED: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A module. PKCS#11 gives it one life cycle per process, so all pools that use it share this value.
#[derive(Debug)]
pub(crate) struct Module {
    path: PathBuf,
    context: Pkcs11,
    lifecycle: Mutex<Lifecycle>,
}

/// Whoever holds this opens or closes sessions; nobody else does meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    seats: Vec<Weak<Seat>>,
}

impl Lifecycle {
    pub(crate) fn register(&mut self, seats: &[Arc<Seat>]) {
        self.seats.retain(|seat| seat.strong_count() > 0);
        self.seats.extend(seats.iter().map(Arc::downgrade));
    }
}

impl Module {
    /// Loads and initialises the module, once per process and path.
    pub(crate) fn load(path: &Path) -> Result<Arc<Self>, HsmError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.get(path) {
            return Ok(Arc::clone(module));
        }
        let context = Pkcs11::new(path).map_err(|error| not_loadable(path, &error))?;
        initialize(&context).map_err(|error| not_started(path, &error))?;
        let module = Arc::new(Self {
            path: path.to_owned(),
            context,
            lifecycle: Mutex::default(),
        });
        loaded.insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    pub(crate) const fn context(&self) -> &Pkcs11 {
        &self.context
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn lifecycle(&self) -> MutexGuard<'_, Lifecycle> {
        self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the module and initialises it anew: several modules look for tokens only then. Every session of every
    /// pool is closed before; the pools notice and open theirs again.
    pub(crate) fn restart(&self, lifecycle: &mut Lifecycle) -> Result<(), HsmError> {
        let seats: Vec<_> = lifecycle.seats.iter().filter_map(Weak::upgrade).collect();
        // All are held until the module is up again, so that no call is under way in between.
        let mut held: Vec<_> = seats.iter().map(|seat| seat.lock()).collect();
        for connection in &mut held {
            connection.take();
        }
        if let Err(error) = self.context.clone().finalize() {
            tracing::debug!(error = short(&error), "the PKCS#11 module did not end cleanly");
        }
        initialize(&self.context).map_err(|error| not_started(&self.path, &error))
    }
}

fn initialize(context: &Pkcs11) -> Result<(), Error> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        other => other,
    }
}

/// A bare name is looked for by the loader; a path is looked at here, since the loader's words are for programmers.
fn not_loadable(path: &Path, error: &Error) -> HsmError {
    let told = path.display().to_string();
    let is_path = path.parent().is_some_and(|folder| !folder.as_os_str().is_empty());
    match path.metadata() {
        Err(missing) if is_path && missing.kind() == io::ErrorKind::NotFound => HsmError::ModuleMissing {
            path: told,
            cause: missing.to_string(),
        },
        _ => HsmError::ModuleNotLoadable {
            path: told,
            cause: short(error),
        },
    }
}

fn not_started(path: &Path, error: &Error) -> HsmError {
    HsmError::ModuleNotStarted {
        path: path.display().to_string(),
        cause: short(error),
        lacks: softhsm::lacks(path),
    }
}
