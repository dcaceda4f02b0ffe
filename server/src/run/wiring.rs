//! Which part gets which others: the only place where all of them meet.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hallmark_host::LastReload;
use hallmark_hsm::KeyStore;

use crate::{
    api::{
        Services,
        admin::{About, AdminService, ServerStatus},
        agent::AgentService,
        bundle::BundleService,
        entry::{EntryChanges, EntryService},
        health::HealthService,
        lifecycle::LifecycleService,
        local_authority::LocalAuthorityService,
        provision::ProvisionService,
        provisioning::ProvisioningService,
        svid::{SvidService, SvidSettings},
    },
    appraise::Appraiser,
    attest::{Attestor, Settings},
    authority::{Above, ActiveAuthority, AuthorityAge, JwtKeeper, PublishedKeys, X509Keeper, X509KeySettings},
    caller::{AdminIds, AuthoriseLayer, Roles},
    compute::Compute,
    config::Config,
    health::Health,
    issue::{Issuer, JwtIssuer},
    journal::Journal,
    limits::Limits,
    listener::BoundFile,
    metrics::Metrics,
    nodes::{Approval, Nodes},
    oidc,
    probe::Probe,
    reload::Reloadable,
    tls::Clients,
};

/// The server's parts. [`run`](super) takes from it what each task needs; nothing else is handed the whole.
#[derive(Debug, Clone)]
pub struct Server {
    /// What it answers from, and how that changes.
    pub journal: Arc<Journal>,
    /// The token.
    pub keys: Arc<dyn KeyStore>,
    /// The authority that signs, and the bundle.
    pub authority: Arc<ArcSwap<ActiveAuthority>>,
    /// Room for computations.
    pub compute: Compute,
    /// What is counted and timed.
    pub metrics: Arc<Metrics>,
    /// Issues SVIDs.
    pub issuer: Issuer,
    /// Judges nodes again.
    pub appraiser: Arc<Appraiser>,
    /// Changes nodes.
    pub nodes: Nodes,
    /// What is served.
    pub services: Services,
    /// Who is let through to it.
    pub(super) authorise: AuthoriseLayer,
    /// Who connects over TLS.
    pub(super) clients: Clients,
    /// What a reload changes.
    pub(super) reloadable: Reloadable,
    /// Whether the authority's key signs.
    pub(super) probe: Arc<Probe>,
    /// Keeps the keys that sign JWT-SVIDs.
    pub jwt: Arc<JwtKeeper>,
    /// Keeps the X.509 authorities.
    pub x509: Arc<X509Keeper>,
    /// Keeps the keys of servers below this one.
    pub published: PublishedKeys,
    /// How old the authority is.
    pub(super) age: AuthorityAge,
    /// How the parts are doing.
    pub(super) health: Arc<Health>,
    /// Serves OpenID Connect discovery, where that is configured.
    pub(super) oidc: Option<Arc<oidc::Provider>>,
}

impl Server {
    /// The certificate of OpenID Connect discovery, where it is served over TLS.
    #[must_use]
    pub fn oidc_certificate(&self) -> Option<&oidc::Certificate> {
        self.oidc.as_ref()?.certificate().map(|it| &**it)
    }
}

/// What everything else rests on.
pub(super) struct Foundations {
    pub(super) journal: Arc<Journal>,
    pub(super) keys: Arc<dyn KeyStore>,
    pub(super) authority: Arc<ArcSwap<ActiveAuthority>>,
    pub(super) compute: Compute,
    pub(super) metrics: Arc<Metrics>,
    pub(super) above: Arc<Above>,
}

/// Who keeps what is signed with.
#[derive(Debug, Clone)]
struct Keepers {
    x509: Arc<X509Keeper>,
    jwt: Arc<JwtKeeper>,
}

impl Keepers {
    fn new(config: &Config, on: &Foundations) -> Self {
        let (journal, keys, authority) = (&on.journal, &on.keys, &on.authority);
        let settings = X509KeySettings {
            kind: config.key_kind,
            lifetime: config.lifetimes.authority,
        };
        let x509 = X509Keeper::new(journal.clone(), keys.clone(), authority.clone(), settings);
        let jwt = JwtKeeper::new(journal.clone(), keys.clone(), authority.clone(), config.jwt_keys);
        Self {
            x509: Arc::new(x509.with_above(on.above.clone())),
            jwt: Arc::new(jwt.with_above(on.above.clone())),
        }
    }
}

/// What judges, decides and issues.
struct Rooms {
    issuer: Issuer,
    keepers: Keepers,
    jwt_issuer: Option<JwtIssuer>,
    published: PublishedKeys,
    appraiser: Arc<Appraiser>,
    attestor: Arc<Attestor>,
    roles: Roles,
    nodes: Nodes,
    changes: EntryChanges,
    limits: Arc<Limits>,
    admin_ids: AdminIds,
}

impl Rooms {
    fn new(config: Config, limits: Arc<Limits>, keepers: Keepers, on: &Foundations) -> Self {
        let Foundations {
            journal,
            keys,
            authority,
            compute,
            metrics,
            above,
        } = on;
        let admin_ids = AdminIds::new(config.admin_ids);
        let issuer = Issuer::new(
            journal.clone(),
            keys.clone(),
            authority.clone(),
            compute.clone(),
            metrics.clone(),
        );
        let jwt_issuer = config.jwt_keys.map(|_| {
            let name = config.jwt_issuer.as_deref().map(Arc::from);
            JwtIssuer::new(
                journal.clone(),
                keys.clone(),
                keepers.jwt.active(),
                metrics.clone(),
                name,
            )
        });
        let approval = Approval::new(&config.tpm2);
        let settings = Settings {
            pcrs: config.tpm2.pcrs,
            approval: approval.rules,
            lifetime: config.lifetimes.agent,
        };
        let appraiser = Appraiser::new(journal.clone(), compute.clone(), config.operator_keys, config.tpm2.crls);
        let appraiser = Arc::new(appraiser);
        Self {
            attestor: Arc::new(Attestor::new(
                journal.clone(),
                appraiser.clone(),
                issuer.clone(),
                limits.clone(),
                compute.clone(),
                metrics.clone(),
                settings,
            )),
            roles: Roles::new(journal.clone(), admin_ids.clone(), appraiser.clone()),
            nodes: Nodes::new(journal.clone(), admin_ids.clone(), approval),
            changes: EntryChanges::new(journal.clone(), admin_ids.clone(), config.lifetimes.x509_svid.max),
            issuer,
            keepers,
            jwt_issuer,
            published: PublishedKeys::new(journal.clone(), authority.clone(), config.downstream.ttl.max)
                .with_above(above.clone()),
            appraiser,
            limits,
            admin_ids,
        }
    }
}

/// What watches the others.
struct Watchers {
    probe: Arc<Probe>,
    age: AuthorityAge,
    health: Arc<Health>,
    last_reload: Arc<LastReload>,
}

impl Watchers {
    fn new(config: &Config, keepers: &Keepers, oidc: Option<&Arc<oidc::Provider>>, on: &Foundations) -> Self {
        let certificate = oidc.and_then(|it| it.certificate()).cloned();
        let last_reload = Arc::new(LastReload::default());
        let probe = Arc::new(Probe::new(on.authority.clone(), on.keys.clone()));
        let age = AuthorityAge::new(on.authority.clone(), keepers.x509.clone(), config.lifetimes.usual());
        let health = Health::new(
            on.journal.clone(),
            on.keys.clone(),
            probe.clone(),
            (age.clone(), keepers.x509.clone(), keepers.jwt.clone()),
            last_reload.clone(),
            BoundFile::at(&config.listen.admin_socket),
            config.store.clone(),
        );
        Self {
            probe,
            age,
            health: Arc::new(health.with_oidc(certificate)),
            last_reload,
        }
    }
}

fn services(
    settings: Arc<SvidSettings>,
    address: String,
    on: &Foundations,
    rooms: &Rooms,
    health: &Arc<Health>,
) -> Services {
    let journal = &on.journal;
    let about = About {
        address,
        started_at: journal.clock().unix(),
    };
    let status = Arc::new(ServerStatus::new(
        journal.clone(),
        on.keys.clone(),
        on.authority.clone(),
        health.clone(),
        on.metrics.clone(),
        about,
    ));
    let (nodes, appraiser, limits) = (&rooms.nodes, &rooms.appraiser, &rooms.limits);
    Services {
        agents: AgentService::new(journal.clone(), nodes.clone(), rooms.attestor.clone(), limits.clone()),
        bundles: BundleService::new(
            on.authority.clone(),
            rooms.published.clone(),
            rooms.roles.clone(),
            limits.clone(),
        ),
        entries: EntryService::new(journal.clone(), rooms.changes.clone()),
        svids: SvidService::new(
            journal.clone(),
            (rooms.issuer.clone(), rooms.jwt_issuer.clone(), on.authority.clone()),
            appraiser.clone(),
            rooms.roles.clone(),
            limits.clone(),
            settings,
        ),
        admin: AdminService::new(status, journal.clone(), appraiser.clone(), rooms.changes.clone()),
        local_authority: LocalAuthorityService::new(
            journal.clone(),
            rooms.keepers.x509.clone(),
            rooms.keepers.jwt.clone(),
        ),
        lifecycle: LifecycleService::new(journal.clone(), nodes.clone(), appraiser.clone(), on.compute.clone()),
        provision: ProvisionService::new(journal.clone()),
        provisioning: ProvisioningService::new(journal.clone(), limits.clone()),
        health: HealthService::new(health.clone()),
    }
}

/// Puts the parts together; `address` is where the server listens.
pub(super) fn wire(config: Config, address: String, on: Foundations) -> Server {
    let settings = Arc::new(SvidSettings {
        lifetimes: config.lifetimes,
        minted_names: config.minted_dns_names.clone(),
        downstream: config.downstream,
    });
    let keepers = Keepers::new(&config, &on);
    let limits = Arc::new(Limits::new(config.limits));
    let oidc = config.oidc.clone().zip(config.jwt_keys).map(|(oidc, keys)| {
        let shared = (limits.clone(), on.metrics.clone());
        let clock = on.journal.clock().clone();
        let provider = oidc::Provider::new(oidc, keys.lifetime, on.authority.clone(), clock, shared);
        Arc::new(provider)
    });
    let watchers = Watchers::new(&config, &keepers, oidc.as_ref(), &on);
    let rooms = Rooms::new(config, limits, keepers, &on);
    let services = services(settings, address, &on, &rooms, &watchers.health);
    let Foundations {
        journal,
        keys,
        authority,
        compute,
        metrics,
        above: _,
    } = on;
    Server {
        authorise: AuthoriseLayer::new(rooms.roles, rooms.limits.clone()),
        clients: Clients::new(journal.clone(), authority.clone(), rooms.limits.clone()),
        reloadable: Reloadable {
            journal: journal.clone(),
            appraiser: rooms.appraiser.clone(),
            limits: rooms.limits,
            admin_ids: rooms.admin_ids,
            last_reload: watchers.last_reload,
        },
        journal,
        keys,
        authority,
        compute,
        metrics,
        issuer: rooms.issuer,
        appraiser: rooms.appraiser,
        nodes: rooms.nodes,
        services,
        jwt: rooms.keepers.jwt,
        x509: rooms.keepers.x509,
        published: rooms.published,
        probe: watchers.probe,
        age: watchers.age,
        health: watchers.health,
        oidc,
    }
}
