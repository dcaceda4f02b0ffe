//! `hallmark authority`.

use clap::Subcommand;
use hallmark_api::{
    bundle::GetBundleRequest,
    localauthority::{
        ActivateJwtAuthorityRequest, AuthorityState, GetJwtAuthorityStateRequest, PrepareJwtAuthorityRequest,
        RevokeJwtAuthorityRequest, TaintJwtAuthorityRequest, authority_state::Status as Standing,
    },
    types,
};
use hallmark_state::{AuthorityState as AuthorityStanding, JwtKeyError};

use super::Context;
use crate::{
    args::{Change, Destruction},
    client::{Client, with_reason},
    error::CliError,
    exit::Exit,
    output::show,
    view::authority::{JwtAuthorityChange, JwtAuthorityList, JwtAuthorityView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// The keys that sign JWT-SVIDs
    #[command(subcommand)]
    Jwt(JwtCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum JwtCommand {
    /// List the keys and where each stands: prepared, active, old, tainted
    Show,
    /// Make the next key in the token and put it into the bundle; it signs nothing yet
    Prepare(Step),
    /// Have the prepared key sign from now on; the one that signs until now becomes old
    #[command(
        after_help = "Agents and validators must have the bundle with the prepared key before it signs:
wait as long as the bundle's refresh hint, five minutes, after `prepare`."
    )]
    Activate(Step),
    /// Have agents replace at once what an old key signed
    Taint {
        /// The key's id (`kid`)
        #[arg(value_name = "KEY-ID")]
        key_id: String,
        #[command(flatten)]
        step: Step,
    },
    /// Take a key that does not sign out of the bundle and destroy it in the token: nothing it signed is believed any more
    Revoke {
        /// The key's id (`kid`)
        #[arg(value_name = "KEY-ID")]
        key_id: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        how: Destruction,
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

/// What shows whether a change was made.
const LOOK: &str = "hallmark authority jwt show";

pub(crate) async fn run(context: &Context, AuthorityCommand::Jwt(command): AuthorityCommand) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    match command {
        JwtCommand::Show => {
            show(context.format, &JwtAuthorityList(keys(&client).await?))?;
            Ok(Exit::Done)
        }
        JwtCommand::Prepare(step) => {
            let request = with_reason(PrepareJwtAuthorityRequest {}, &step.reason);
            let done = match step.change.dry_run {
                true => match in_state(&client, Standing::Prepared).await? {
                    Some(AuthorityState { authority_id, .. }) => {
                        return Err(JwtKeyError::Prepared { key_id: authority_id }.into());
                    }
                    None => None,
                },
                false => done(client.local_authority().prepare_jwt_authority(request).await)?.prepared_authority,
            };
            told(context, &client, "prepare", done, step.change).await
        }
        JwtCommand::Activate(step) => {
            let request = with_reason(ActivateJwtAuthorityRequest {}, &step.reason);
            let done = match step.change.dry_run {
                true => {
                    let prepared = in_state(&client, Standing::Prepared).await?;
                    Some(prepared.ok_or(JwtKeyError::NonePrepared)?)
                }
                false => done(client.local_authority().activate_jwt_authority(request).await)?.activated_authority,
            };
            told(context, &client, "activate", done, step.change).await
        }
        JwtCommand::Taint { key_id, step } => {
            let request = TaintJwtAuthorityRequest {
                authority_id: known(&client, &key_id).await?,
            };
            let done = match step.change.dry_run {
                true => Some(rehearsed(&client, &request.authority_id, "tainted").await?),
                false => {
                    let request = with_reason(request, &step.reason);
                    done(client.local_authority().taint_jwt_authority(request).await)?.tainted_authority
                }
            };
            told(context, &client, "taint", done, step.change).await
        }
        JwtCommand::Revoke { key_id, reason, how } => {
            let request = RevokeJwtAuthorityRequest {
                authority_id: known(&client, &key_id).await?,
            };
            let question = format!("revoke {} and destroy it in the token?", request.authority_id);
            let done = if how.is_confirmed(&question)? {
                let request = with_reason(request, &reason);
                done(client.local_authority().revoke_jwt_authority(request).await)?.revoked_authority
            } else {
                Some(rehearsed(&client, &request.authority_id, "revoked").await?)
            };
            told(context, &client, "revoke", done, how.change).await
        }
    }
}

fn done<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T, CliError> {
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| CliError::of_change(status, LOOK))
}

async fn told(
    context: &Context,
    client: &Client,
    act: &'static str,
    about: Option<AuthorityState>,
    change: Change,
) -> Result<Exit, CliError> {
    let key_id = about.map(|it| it.authority_id).unwrap_or_default();
    let keys = keys(client).await?;
    show(
        context.format,
        &JwtAuthorityChange::new(act, key_id, change.dry_run, keys),
    )?;
    Ok(change.exit())
}

/// The key, where it stands so that it can be tainted or revoked. Looked at here, as the service has no word for a rehearsal: another
/// server than ours would take the step.
async fn rehearsed(client: &Client, key_id: &str, act: &'static str) -> Result<AuthorityState, CliError> {
    let found = states(client).await?.into_iter().find(|it| it.authority_id == key_id);
    let key_id = key_id.to_owned();
    let Some(state) = found else {
        return Err(JwtKeyError::Unknown { key_id }.into());
    };
    let (expected, found) = match (act, state.status()) {
        (_, Standing::Active) => ("old", AuthorityStanding::Active),
        ("tainted", Standing::Prepared) => ("old", AuthorityStanding::Prepared),
        _ => return Ok(state),
    };
    Err(JwtKeyError::State {
        key_id,
        act,
        expected,
        found,
    }
    .into())
}

async fn states(client: &Client) -> Result<Vec<AuthorityState>, CliError> {
    let request = GetJwtAuthorityStateRequest {};
    let answer = client.local_authority().get_jwt_authority_state(request).await?;
    Ok(answer.into_inner().states)
}

async fn in_state(client: &Client, standing: Standing) -> Result<Option<AuthorityState>, CliError> {
    Ok(states(client).await?.into_iter().find(|it| it.status() == standing))
}

/// The whole id of the key that is meant by its beginning; what fits none or several goes to the server as it is.
async fn known(client: &Client, key_id: &str) -> Result<String, CliError> {
    let mut fitting = states(client).await?;
    fitting.retain(|it| it.authority_id.starts_with(key_id));
    Ok(match &fitting[..] {
        [one] if !key_id.is_empty() => one.authority_id.clone(),
        _ => key_id.to_owned(),
    })
}

/// The keys, with what the bundle says of each.
async fn keys(client: &Client) -> Result<Vec<JwtAuthorityView>, CliError> {
    let request = GetBundleRequest {
        output_mask: Some(types::BundleMask {
            jwt_authorities: true,
            ..Default::default()
        }),
    };
    let states = states(client).await?;
    let bundle = client.bundles().get_bundle(request).await?.into_inner();
    let of = |state: AuthorityState| {
        let published = bundle
            .jwt_authorities
            .iter()
            .find(|key| key.key_id == state.authority_id);
        JwtAuthorityView::new(&state, published)
    };
    Ok(states.into_iter().map(of).collect())
}
