//! Modules loaded into this process.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
};
use hallmark_hsm::HsmError;

use crate::{failure::short, seat::Seat, softhsm};

/// Every module that was loaded. They stay loaded until the process ends: a module has one state per process, and
/// unloading it under somebody's feet is undefined. One that hangs while it starts keeps those who want another one waiting for
/// nothing.
static LOADED: Mutex<BTreeMap<PathBuf, Place>> = Mutex::new(BTreeMap::new());

/// Where a module is once it has started.
type Place = Arc<Mutex<Option<Arc<Module>>>>;

/// How long somebody who wants to restart the module waits for those who are in it, and they for one who does.
const OTHERS: Duration = Duration::from_secs(1);

/// A module. PKCS#11 gives it one life cycle per process, so all pools that use it share this value.
#[derive(Debug)]
pub(crate) struct Module {
    path: PathBuf,
    context: Pkcs11,
    life: Arc<Life>,
    seats: Mutex<Vec<Weak<Seat>>>,
}

/// Who opens sessions with the module, or restarts it. The lock is never held during a call into it.
#[derive(Debug, Default)]
struct Life {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    /// Those who open sessions.
    inside: usize,
    restarting: bool,
    /// Counts initialisations.
    epoch: u64,
}

/// Whoever has this opens or closes sessions, and nobody restarts the module meanwhile.
#[derive(Debug)]
pub(crate) struct Entry {
    life: Arc<Life>,
    epoch: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut inner = self.life.lock();
        inner.inside = inner.inside.saturating_sub(1);
        drop(inner);
        self.life.changed.notify_all();
    }
}

impl Life {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `fits`; `None` when it does not in time.
    fn wait(&self, fits: impl Fn(&Inner) -> bool) -> Option<MutexGuard<'_, Inner>> {
        let (inner, waited) = self
            .changed
            .wait_timeout_while(self.lock(), OTHERS, |inner| !fits(inner))
            .unwrap_or_else(PoisonError::into_inner);
        (!waited.timed_out() || fits(&inner)).then_some(inner)
    }
}

impl Module {
    /// Loads and initialises the module, once per process and path.
    pub(crate) fn load(path: &Path) -> Result<Arc<Self>, HsmError> {
        let place = {
            let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(loaded.entry(path.to_owned()).or_default())
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = place.as_ref() {
            return Ok(Arc::clone(module));
        }
        let context = Pkcs11::new(path).map_err(|error| not_loadable(path, &error))?;
        initialize(&context).map_err(|error| not_started(path, &error))?;
        let module = Arc::new(Self {
            path: path.to_owned(),
            context,
            life: Arc::default(),
            seats: Mutex::default(),
        });
        *place = Some(Arc::clone(&module));
        Ok(module)
    }

    pub(crate) const fn context(&self) -> &Pkcs11 {
        &self.context
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The sessions of these are closed when the module is restarted.
    pub(crate) fn register(&self, seats: &[Arc<Seat>]) {
        let mut known = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|seat| seat.strong_count() > 0);
        known.extend(seats.iter().map(Arc::downgrade));
    }

    /// Begins to open or close sessions.
    pub(crate) fn enter(&self) -> Result<Entry, HsmError> {
        let Some(mut inner) = self.life.wait(|inner| !inner.restarting) else {
            return Err(HsmError::TimedOut {
                what: "a restart of the PKCS#11 module",
                after: OTHERS,
            });
        };
        inner.inside = inner.inside.saturating_add(1);
        Ok(Entry {
            life: Arc::clone(&self.life),
            epoch: inner.epoch,
        })
    }

    /// Ends the module and initialises it anew: several modules look for tokens only then. Every session of every
    /// pool is closed before; the pools notice and open theirs again. `None` when a call is under way in it, for it cannot be
    /// ended then. Where another pool has restarted it since `entry`, that is enough.
    pub(crate) fn restart(&self, entry: Entry) -> Result<Option<Entry>, HsmError> {
        let epoch = entry.epoch;
        drop(entry);
        let is_free = |inner: &Inner| !inner.restarting && (inner.inside == 0 || inner.epoch != epoch);
        let Some(mut inner) = self.life.wait(is_free) else {
            return Ok(None);
        };
        let done = if inner.epoch == epoch {
            inner.restarting = true;
            drop(inner);
            let done = self.begun_anew();
            inner = self.life.lock();
            inner.restarting = false;
            if let Ok(true) = done {
                inner.epoch = inner.epoch.wrapping_add(1);
            }
            done
        } else {
            Ok(true)
        };
        let entry = matches!(done, Ok(true)).then(|| {
            inner.inside = inner.inside.saturating_add(1);
            Entry {
                life: Arc::clone(&self.life),
                epoch: inner.epoch,
            }
        });
        drop(inner);
        self.life.changed.notify_all();
        done.map(|_| entry)
    }

    /// `false` when a call is under way.
    fn begun_anew(&self) -> Result<bool, HsmError> {
        let known = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let seats: Vec<_> = known.iter().filter_map(Weak::upgrade).collect();
        drop(known);
        let deadline = Instant::now() + OTHERS;
        if !seats.iter().all(|seat| seat.is_idle_by(deadline)) {
            return Ok(false);
        }
        for seat in &seats {
            drop(seat.take());
        }
        // Without a session nobody begins a call; who began one in between keeps the module.
        if !seats.iter().all(|seat| seat.is_idle_by(deadline)) {
            return Ok(false);
        }
        for seat in &seats {
            drop(seat.take());
        }
        if let Err(error) = self.context.clone().finalize() {
            tracing::debug!(error = short(&error), "the PKCS#11 module did not end cleanly");
        }
        initialize(&self.context).map_err(|error| not_started(&self.path, &error))?;
        Ok(true)
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
