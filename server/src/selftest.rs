//! `hallmark-server hsm selftest`: what the token can do, shown by temporary keys.

use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use hallmark_host::answer::Form;
use hallmark_hsm::{HsmError, KeyInfo, KeyKind, KeyStore, SignatureAlg, TokenFacts};
use hallmark_pkcs11::{Ability, Pkcs11KeyStore};
use hallmark_reason::Coded as _;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{config::Config, errors::StartError, run::parts};

/// What is signed: neither DER nor a JWT, so it can pass as nothing else.
const MESSAGE: &[u8] = b"hallmark: a self-test, not a certificate";
/// Signatures of each algorithm; the time told is the middle one's.
const SIGNATURES: usize = 11;

/// What the operator asks for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Test every kind of key that the token says it can make, not only those of the configuration.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct SelfTest {
    module: String,
    token: TokenFacts,
    kinds: Vec<Tested>,
}

/// One kind of key.
#[derive(Debug)]
struct Tested {
    kind: KeyKind,
    /// Only these count.
    is_configured: bool,
    outcome: Result<Made, HsmError>,
}

/// A temporary key, made, used and destroyed.
#[derive(Debug)]
struct Made {
    key: KeyInfo,
    took: Duration,
    algorithms: Vec<Signed>,
    destroyed: Result<(), HsmError>,
}

/// One algorithm of a key.
#[derive(Debug)]
struct Signed {
    algorithm: SignatureAlg,
    mechanism: Option<&'static str>,
    /// How long a signature takes, the hand-over and its verification included.
    outcome: Result<Duration, HsmError>,
}

/// Makes a temporary key of each kind that the configuration names, has it sign by every algorithm that the token lists for it,
/// verifies the signatures, and destroys it.
///
/// # Errors
/// When the token cannot be opened. What fails then is part of the answer.
pub(crate) async fn run(config: &Config, options: &Options) -> Result<SelfTest, StartError> {
    let settings = parts::pkcs11(config);
    let opened = spawn_blocking(move || Pkcs11KeyStore::open(settings)).await;
    let store = opened.map_err(|error| StartError::Runtime {
        what: "opening the token",
        cause: error.to_string(),
    })??;
    let mut kinds = Vec::new();
    for ability in store.abilities() {
        let jwt = config.jwt_keys.map(|jwt| jwt.kind);
        let is_configured = ability.kind == config.key_kind || jwt == Some(ability.kind);
        if is_configured || (options.all && ability.makes.is_ok()) {
            kinds.push(Tested {
                kind: ability.kind,
                is_configured,
                outcome: tested(&store, ability).await,
            });
        }
    }
    let status = store.status();
    Ok(SelfTest {
        module: status.module,
        token: status.token,
        kinds,
    })
}

async fn tested(store: &Pkcs11KeyStore, ability: Ability) -> Result<Made, HsmError> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| HsmError::DeviceError {
        function: "choosing a label".to_owned(),
        cause: "the system gives no random bytes".to_owned(),
    })?;
    let label = format!("hallmark-selftest-{}", hex::encode(random));
    let started = Instant::now();
    let key = store.generate(&label, ability.kind).await?;
    let took = started.elapsed();
    let mut algorithms = Vec::new();
    for (algorithm, listed) in ability.signs {
        let outcome = match listed {
            Ok(_) => timed(store, &key, algorithm).await,
            Err(error) => Err(error),
        };
        algorithms.push(Signed {
            algorithm,
            mechanism: mechanism(store, ability.kind, algorithm),
            outcome,
        });
    }
    let destroyed = store.destroy(&key.id).await;
    Ok(Made {
        key,
        took,
        algorithms,
        destroyed,
    })
}

/// The mechanism by which the token was asked: the one that works, where it lists several.
fn mechanism(store: &Pkcs11KeyStore, kind: KeyKind, algorithm: SignatureAlg) -> Option<&'static str> {
    let ability = store.abilities().into_iter().find(|ability| ability.kind == kind)?;
    let mut signs = ability.signs.into_iter();
    signs.find(|(one, _)| *one == algorithm)?.1.ok()
}

async fn timed(store: &Pkcs11KeyStore, key: &KeyInfo, algorithm: SignatureAlg) -> Result<Duration, HsmError> {
    let mut times = Vec::with_capacity(SIGNATURES);
    for _ in 0..SIGNATURES {
        let started = Instant::now();
        store.sign(&key.id, algorithm, MESSAGE.to_vec()).await?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(SIGNATURES / 2).copied().unwrap_or_default())
}

impl Signed {
    /// An algorithm that the token does not list is no failure, unless keys of the kind are signed with by it.
    fn failure(&self, kind: KeyKind) -> Option<&HsmError> {
        let counts = self.mechanism.is_some() || self.algorithm == kind.signature_alg();
        self.outcome.as_ref().err().filter(|_| counts)
    }
}

impl Tested {
    fn failure(&self) -> Option<&HsmError> {
        let made = match &self.outcome {
            Ok(made) => made,
            Err(error) => return Some(error),
        };
        let signed = made.algorithms.iter().find_map(|signed| signed.failure(self.kind));
        signed.or(made.destroyed.as_ref().err())
    }
}

impl SelfTest {
    /// Fails where a kind of the configuration does.
    pub(crate) fn require_good(&self) -> Result<(), StartError> {
        let configured = self.kinds.iter().filter(|tested| tested.is_configured);
        let mut failures = configured.filter_map(Tested::failure);
        failures
            .next()
            .map_or(Ok(()), |error| Err(StartError::Hsm(error.clone())))
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let TokenFacts {
            label,
            manufacturer,
            model,
            serial,
            firmware,
        } = &self.token;
        let mut lines = vec![format!(
            "token {label:?} ({manufacturer} {model}, serial {serial}, firmware {firmware}) by {}",
            self.module
        )];
        for tested in &self.kinds {
            let kind = tested.kind;
            match &tested.outcome {
                Err(error) => lines.push(format!("{kind}: FAILED: {}", told(error))),
                Ok(made) => {
                    lines.push(format!(
                        "{kind}: made in {}, {}{}",
                        milliseconds(made.took),
                        attributes(&made.key),
                        match &made.destroyed {
                            Ok(()) => ", destroyed again".to_owned(),
                            Err(error) => format!(", NOT DESTROYED: {}: {}", made.key.label, told(error)),
                        }
                    ));
                    for signed in &made.algorithms {
                        lines.push(format!("  {}: {}", signed.algorithm, signed.text()));
                    }
                }
            }
        }
        lines.join("\n")
    }

    /// For programs.
    pub(crate) fn value(&self) -> Value {
        let kinds = self.kinds.iter().map(Tested::value);
        json!({
            "module": self.module,
            "token": {
                "label": self.token.label, "manufacturer": self.token.manufacturer, "model": self.token.model,
                "serial": self.token.serial, "firmware": self.token.firmware,
            },
            "passed": self.require_good().is_ok(),
            "kinds": kinds.collect::<Vec<_>>(),
        })
    }
}

impl Signed {
    fn text(&self) -> String {
        match (&self.outcome, self.mechanism) {
            (Ok(took), Some(mechanism)) => format!("{mechanism}, signed and verified in {}", milliseconds(*took)),
            (Err(error), Some(mechanism)) => format!("{mechanism}: FAILED: {}", told(error)),
            (_, None) => format!("not listed by the token ({})", self.code().unwrap_or_default()),
        }
    }

    fn code(&self) -> Option<&'static str> {
        self.outcome.as_ref().err().map(|error| error.code().as_str())
    }
}

impl Tested {
    fn value(&self) -> Value {
        let made = match &self.outcome {
            Ok(made) => made,
            Err(error) => {
                return json!({ "kind": self.kind.as_str(), "code": error.code().as_str(), "message": error.to_string() });
            }
        };
        let algorithms = made.algorithms.iter().map(|signed| {
            json!({
                "algorithm": signed.algorithm.to_string(),
                "mechanism": signed.mechanism,
                "microseconds": signed.outcome.as_ref().ok().map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
                "code": signed.code(),
            })
        });
        let key = &made.key;
        json!({
            "kind": self.kind.as_str(),
            "code": self.failure().map(|error| error.code().as_str()),
            "made_in_microseconds": u64::try_from(made.took.as_micros()).unwrap_or(u64::MAX),
            "sensitive": key.sensitive && key.always_sensitive,
            "extractable": key.extractable || !key.never_extractable,
            "local": key.local,
            "sign_only": key.sign_only,
            "destroyed": made.destroyed.is_ok(),
            "algorithms": algorithms.collect::<Vec<_>>(),
        })
    }
}

/// The attributes that protect a key; those that are not as they should be in capitals.
fn attributes(key: &KeyInfo) -> String {
    let word = |good: bool, yes: &'static str, no: &'static str| if good { yes } else { no };
    [
        word(
            key.sensitive && key.always_sensitive,
            "always sensitive",
            "NOT ALWAYS SENSITIVE",
        ),
        word(
            !key.extractable && key.never_extractable,
            "never extractable",
            "EXTRACTABLE",
        ),
        word(key.local, "local", "NOT SAID TO BE LOCAL"),
        word(key.sign_only, "signs only", "DOES MORE THAN SIGN"),
    ]
    .join(", ")
}

fn told(error: &HsmError) -> String {
    let compared = error
        .compared()
        .map_or_else(String::new, |compared| format!(" ({compared})"));
    format!("{}: {error}{compared}", error.code())
}

fn milliseconds(took: Duration) -> String {
    format!("{:.2} ms", took.as_secs_f64() * 1000.0)
}
