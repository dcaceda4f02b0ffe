//! `hallmark authority`.

use std::time::Duration;

use clap::Subcommand;
use hallmark_api::{
    bundle::GetBundleRequest,
    localauthority::{
        ActivateJwtAuthorityRequest, ActivateX509AuthorityRequest, AuthorityState as Message,
        GetJwtAuthorityStateRequest, GetX509AuthorityStateRequest, PrepareJwtAuthorityRequest,
        PrepareX509AuthorityRequest, RevokeJwtAuthorityRequest, RevokeX509AuthorityRequest,
        RevokeX509UpstreamAuthorityRequest, TaintJwtAuthorityRequest, TaintX509AuthorityRequest,
        TaintX509UpstreamAuthorityRequest,
    },
    types,
};
use hallmark_state::{AuthorityKind, AuthorityState, AuthorityStepError};
use tokio::time::sleep;

use super::Context;
use crate::{
    args::{Change, Destruction},
    client::{Client, with_reason},
    duration::parse_duration,
    error::CliError,
    exit::Exit,
    output::show,
    view::authority::{AuthorityChange, AuthorityList, Signing},
};

/// How much of an id has to be said.
const LEAST_BEGINNING: usize = 8;

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// The authorities that sign X509-SVIDs
    #[command(subcommand)]
    X509(LifeCommand),
    /// The keys that sign JWT-SVIDs
    #[command(subcommand)]
    Jwt(LifeCommand),
    /// The roots of the authority that signs this server's, where there is one
    #[command(subcommand)]
    Upstream(UpstreamCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum UpstreamCommand {
    /// Have agents replace at once what hangs on a root that no authority which signs hangs on any more
    Taint {
        /// The root's whole Subject Key Identifier, as `hallmark authority x509 show` has it
        #[arg(value_name = "KEY-ID")]
        key_id: String,
        #[command(flatten)]
        step: Step,
    },
    /// Take such a root out of the bundle, with this server's authorities below it: nothing that leads to it is believed any more
    Revoke {
        /// The root's whole Subject Key Identifier, as `hallmark authority x509 show` has it
        #[arg(value_name = "KEY-ID")]
        key_id: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        how: Destruction,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LifeCommand {
    /// List the authorities and where each stands: prepared, active, old, tainted
    Show,
    /// Make the next authority's key in the token and put it into the bundle; it signs nothing yet
    Prepare(Step),
    /// Have the prepared authority sign from now on; the one that signs until now becomes old
    #[command(
        after_help = "Agents and validators must have the bundle with the prepared authority before it signs:
wait as long as the bundle's refresh hint, five minutes, after `prepare`."
    )]
    Activate(Step),
    /// Have agents replace at once what an old authority signed
    Taint {
        /// The authority's id: `kid` of a JWT key, Subject Key Identifier of an X.509 authority; or how it begins, eight characters at least
        #[arg(value_name = "KEY-ID")]
        key_id: String,
        #[command(flatten)]
        step: Step,
    },
    /// Take an authority that does not sign out of the bundle and destroy its key: nothing it signed is believed any more
    Revoke {
        /// The authority's id: `kid` of a JWT key, Subject Key Identifier of an X.509 authority; or how it begins, eight characters at least
        #[arg(value_name = "KEY-ID")]
        key_id: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        how: Destruction,
    },
    /// Prepare the next authority where none is prepared, wait, and have it sign
    Rotate {
        /// How long the next authority is in the bundle before it signs
        #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
        wait: Duration,
        #[command(flatten)]
        step: Step,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Step {
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    change: Change,
}

pub(crate) async fn run(context: &Context, command: AuthorityCommand) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    let (kind, command) = match command {
        AuthorityCommand::X509(command) => (AuthorityKind::X509, command),
        AuthorityCommand::Jwt(command) => (AuthorityKind::Jwt, command),
        AuthorityCommand::Upstream(command) => return above(context, client, command).await,
    };
    let life = Life { client, kind };
    let (act, about, change) = match command {
        LifeCommand::Show => {
            show(context.format, &life.all().await?)?;
            return Ok(Exit::Done);
        }
        LifeCommand::Prepare(Step { reason, change }) => {
            let done = match change.dry_run {
                true => life.rehearse_prepare().await?,
                false => life.prepare(&reason).await?,
            };
            ("prepare", done, change)
        }
        LifeCommand::Activate(Step { reason, change }) => {
            let done = match change.dry_run {
                true => life.prepared().await?,
                false => {
                    life.activate(life.prepared().await?.unwrap_or_default(), &reason)
                        .await?
                }
            };
            ("activate", done, change)
        }
        LifeCommand::Taint { key_id, step } => {
            let key_id = life.known(&key_id).await?;
            let done = match step.change.dry_run {
                true => life.rehearsed(key_id, "tainted").await?,
                false => life.taint(key_id, &step.reason).await?,
            };
            ("taint", done, step.change)
        }
        LifeCommand::Revoke { key_id, reason, how } => {
            let key_id = life.known(&key_id).await?;
            let done = if how.is_confirmed(&format!("revoke {key_id} and destroy it in the token?"))? {
                life.revoke(key_id, &reason).await?
            } else {
                life.rehearsed(key_id, "revoked").await?
            };
            ("revoke", done, how.change)
        }
        LifeCommand::Rotate { wait, step } => {
            let done = match step.change.dry_run {
                true => life
                    .all()
                    .await?
                    .in_state(AuthorityState::Prepared)
                    .map(|it| it.key_id.clone()),
                false => life.rotate(wait, &step.reason).await?,
            };
            ("rotate", done, step.change)
        }
    };
    let changed = AuthorityChange::new(act, about.unwrap_or_default(), change.dry_run, life.all().await?);
    show(context.format, &changed)?;
    Ok(change.exit())
}

/// A step about a root above.
async fn above(context: &Context, client: Client, command: UpstreamCommand) -> Result<Exit, CliError> {
    let life = Life {
        client,
        kind: AuthorityKind::X509,
    };
    let mut service = life.client.local_authority();
    let (act, subject_key_id, change) = match command {
        UpstreamCommand::Taint { key_id, step } => {
            let subject_key_id = key_id.clone();
            if !step.change.dry_run {
                let request = with_reason(TaintX509UpstreamAuthorityRequest { subject_key_id }, &step.reason);
                life.done(service.taint_x509_upstream_authority(request).await)?;
            }
            ("taint", key_id, step.change)
        }
        UpstreamCommand::Revoke { key_id, reason, how } => {
            let subject_key_id = key_id.clone();
            let question = format!("revoke the root {key_id} and all that hangs on it?");
            if how.is_confirmed(&question)? {
                let request = with_reason(RevokeX509UpstreamAuthorityRequest { subject_key_id }, &reason);
                life.done(service.revoke_x509_upstream_authority(request).await)?;
            }
            ("revoke", key_id, how.change)
        }
    };
    let changed = AuthorityChange::new(act, subject_key_id, change.dry_run, life.all().await?);
    show(context.format, &changed)?;
    Ok(change.exit())
}

/// The authorities of one kind. Each step gives the id of the authority that it is about.
struct Life {
    client: Client,
    kind: AuthorityKind,
}

impl Life {
    async fn prepare(&self, reason: &str) -> Result<Option<String>, CliError> {
        let mut service = self.client.local_authority();
        let about = match self.kind {
            AuthorityKind::X509 => {
                let request = with_reason(PrepareX509AuthorityRequest {}, reason);
                self.done(service.prepare_x509_authority(request).await)?
                    .prepared_authority
            }
            AuthorityKind::Jwt => {
                let request = with_reason(PrepareJwtAuthorityRequest {}, reason);
                self.done(service.prepare_jwt_authority(request).await)?
                    .prepared_authority
            }
        };
        Ok(id(about))
    }

    /// Has this authority sign, and no other that may be prepared by now.
    async fn activate(&self, authority_id: String, reason: &str) -> Result<Option<String>, CliError> {
        let mut service = self.client.local_authority();
        let about = match self.kind {
            AuthorityKind::X509 => {
                let request = with_reason(ActivateX509AuthorityRequest { authority_id }, reason);
                self.done(service.activate_x509_authority(request).await)?
                    .activated_authority
            }
            AuthorityKind::Jwt => {
                let request = with_reason(ActivateJwtAuthorityRequest { authority_id }, reason);
                self.done(service.activate_jwt_authority(request).await)?
                    .activated_authority
            }
        };
        Ok(id(about))
    }

    async fn taint(&self, authority_id: String, reason: &str) -> Result<Option<String>, CliError> {
        let mut service = self.client.local_authority();
        let about = match self.kind {
            AuthorityKind::X509 => {
                let request = with_reason(TaintX509AuthorityRequest { authority_id }, reason);
                self.done(service.taint_x509_authority(request).await)?
                    .tainted_authority
            }
            AuthorityKind::Jwt => {
                let request = with_reason(TaintJwtAuthorityRequest { authority_id }, reason);
                self.done(service.taint_jwt_authority(request).await)?.tainted_authority
            }
        };
        Ok(id(about))
    }

    async fn revoke(&self, authority_id: String, reason: &str) -> Result<Option<String>, CliError> {
        let mut service = self.client.local_authority();
        let about = match self.kind {
            AuthorityKind::X509 => {
                let request = with_reason(RevokeX509AuthorityRequest { authority_id }, reason);
                self.done(service.revoke_x509_authority(request).await)?
                    .revoked_authority
            }
            AuthorityKind::Jwt => {
                let request = with_reason(RevokeJwtAuthorityRequest { authority_id }, reason);
                self.done(service.revoke_jwt_authority(request).await)?
                    .revoked_authority
            }
        };
        Ok(id(about))
    }

    /// What is cut off between the two steps is gone on with by the next `rotate`, or by the server when it is due.
    async fn rotate(&self, wait: Duration, reason: &str) -> Result<Option<String>, CliError> {
        let prepared = self
            .all()
            .await?
            .in_state(AuthorityState::Prepared)
            .map(|it| it.key_id.clone());
        let waited_for = match prepared {
            Some(there) => there,
            None => self.prepare(reason).await?.unwrap_or_default(),
        };
        sleep(wait).await;
        self.activate(waited_for, reason).await
    }

    async fn rehearse_prepare(&self) -> Result<Option<String>, CliError> {
        let kind = self.kind;
        match self.all().await?.in_state(AuthorityState::Prepared) {
            Some(there) => Err(AuthorityStepError::Prepared {
                kind,
                key_id: there.key_id.clone(),
            }
            .into()),
            None => Ok(None),
        }
    }

    async fn prepared(&self) -> Result<Option<String>, CliError> {
        let all = self.all().await?;
        let prepared = all.in_state(AuthorityState::Prepared).map(|it| it.key_id.clone());
        let kind = self.kind;
        Ok(Some(prepared.ok_or(AuthorityStepError::NonePrepared { kind })?))
    }

    /// The authority, where it stands so that it can be tainted or revoked. Looked at here, as the service has no word for a rehearsal:
    /// another server than ours would take the step.
    async fn rehearsed(&self, key_id: String, act: &'static str) -> Result<Option<String>, CliError> {
        let (kind, all) = (self.kind, self.all().await?);
        let Some(found) = all.all.iter().find(|it| it.key_id == key_id).map(|it| it.standing) else {
            return Err(AuthorityStepError::Unknown { kind, key_id }.into());
        };
        let (fits, expected) = match act {
            "tainted" => (found == AuthorityState::Old, "old"),
            _ => (found != AuthorityState::Active, "not active"),
        };
        if fits {
            return Ok(Some(key_id));
        }
        Err(AuthorityStepError::State {
            kind,
            key_id,
            act,
            expected,
            found,
        }
        .into())
    }

    /// The whole id of the authority that is meant by its beginning, of eight characters at least: what is destroyed does not come back.
    /// What fits none or several goes to the server as it is.
    async fn known(&self, key_id: &str) -> Result<String, CliError> {
        let all = self.all().await?.all;
        let fitting: Vec<_> = all.iter().filter(|it| it.key_id.starts_with(key_id)).collect();
        Ok(match &fitting[..] {
            [one] if key_id.len() >= LEAST_BEGINNING => one.key_id.clone(),
            _ => key_id.to_owned(),
        })
    }

    /// The authorities that the bundle has, with where each stands.
    async fn all(&self) -> Result<AuthorityList, CliError> {
        let mut service = self.client.local_authority();
        let signing = match self.kind {
            AuthorityKind::X509 => {
                let answer = service
                    .get_x509_authority_state(GetX509AuthorityStateRequest {})
                    .await?;
                let answer = answer.into_inner();
                Signing {
                    active: answer.active,
                    prepared: answer.prepared,
                    old: answer.old,
                }
            }
            AuthorityKind::Jwt => {
                let answer = service.get_jwt_authority_state(GetJwtAuthorityStateRequest {}).await?;
                let answer = answer.into_inner();
                Signing {
                    active: answer.active,
                    prepared: answer.prepared,
                    old: answer.old,
                }
            }
        };
        let request = GetBundleRequest {
            output_mask: Some(types::BundleMask {
                x509_authorities: self.kind == AuthorityKind::X509,
                jwt_authorities: self.kind == AuthorityKind::Jwt,
                ..Default::default()
            }),
        };
        let bundle = self.client.bundles().get_bundle(request).await?.into_inner();
        Ok(AuthorityList::new(self.kind, &signing, &bundle))
    }

    fn done<T>(&self, answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T, CliError> {
        // What shows whether a change was made.
        let look = match self.kind {
            AuthorityKind::X509 => "hallmark authority x509 show",
            AuthorityKind::Jwt => "hallmark authority jwt show",
        };
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| CliError::of_change(status, look))
    }
}

fn id(about: Option<Message>) -> Option<String> {
    about.map(|it| it.authority_id)
}
