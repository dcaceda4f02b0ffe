//! `hallmark provision`.

use std::path::PathBuf;

use clap::Subcommand;
use hallmark_api::admin::{AssignImageRequest, ImageAssignment, RemoveImageRequest, RetryImageRequest};
use hallmark_node::DiskImageManifest;
use hallmark_state::{ProvisionError, journal::sha256};

use super::{Context, evidence::read::limited};
use crate::{
    args::{Change, Destruction},
    client::Client,
    error::CliError,
    exit::Exit,
    lookup,
    output::{show, warn},
    view::provision::{AssignmentChange, AssignmentList, AssignmentView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum ProvisionCommand {
    /// Assign an image to a machine: it writes it to its disk when it is started from the network
    #[command(after_help = "Examples:
  hallmark provision assign 3f9a --manifest edge/manifest --url http://images.example/edge/manifest --baseline edge-2026-11
  hallmark provision assign 3f9a --manifest edge/manifest --url http://images.example/edge/manifest --baseline edge-2026-11 \\
      --disk serial:S4EVNX0M712345 --overwrite --yes

NODE is a node's id, or the hash of its EK; of a machine that the inventory lists or that attested, the start of it is enough.
The machine takes the manifest from --url, and its signature with .sig behind; it takes no other manifest than FILE.")]
    Assign(Assign),
    /// List what is assigned to machines, and how far each is
    List,
    /// Show what is assigned to a machine, and how far it is
    Show {
        /// The machine
        #[arg(value_name = "NODE")]
        node: String,
    },
    /// Have a machine try again from the beginning, after a failure or where it hangs
    Retry {
        /// The machine
        #[arg(value_name = "NODE")]
        node: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        how: Change,
    },
    /// Take back what is assigned to a machine; what is on its disk stays there
    Remove {
        /// The machine
        #[arg(value_name = "NODE")]
        node: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        how: Destruction,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Assign {
    /// The machine
    #[arg(value_name = "NODE")]
    node: String,
    /// The image's manifest, as `images/build manifest` wrote it beside the chunks
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// Where the machine gets that manifest: http:// or https://
    #[arg(long, value_name = "URL")]
    url: String,
    /// The baseline that the installed machine matches; it must be in force
    #[arg(long, value_name = "NAME")]
    baseline: String,
    /// The disk: serial:NUMBER, wwn:NUMBER, /dev/disk/by-id/…, /dev/disk/by-path/… or the kernel's name; the machine's only disk
    /// that is not removable when left out
    #[arg(long, value_name = "DISK", default_value = "", hide_default_value = true)]
    disk: String,
    /// Let the machine write a disk that is not blank: what is on it is lost
    #[arg(long)]
    overwrite: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    how: Destruction,
}

/// What shows whether a change was made.
const LOOK: &str = "hallmark provision list";

pub(crate) async fn run(context: &Context, command: ProvisionCommand) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    match command {
        ProvisionCommand::Assign(assign) => assign.run(context, &client).await,
        ProvisionCommand::List => {
            let all = client.list_image_assignments("").await?;
            show(context.format, &AssignmentList::new(all))?;
            Ok(Exit::Done)
        }
        ProvisionCommand::Show { node } => {
            let machine = lookup::machine(&client, &node).await?;
            let assigned = client.list_image_assignments(&machine).await?.pop();
            let assigned = assigned.ok_or(CliError::Provision(ProvisionError::NotAssigned { machine }))?;
            show(context.format, &AssignmentView::from(assigned))?;
            Ok(Exit::Done)
        }
        ProvisionCommand::Retry { node, reason, how } => {
            let request = RetryImageRequest {
                machine: lookup::machine(&client, &node).await?,
                reason,
                dry_run: how.dry_run,
            };
            let retried = client.provision().retry_image(request).await;
            changed(context, retried, "retry", how)
        }
        ProvisionCommand::Remove { node, reason, how } => {
            let machine = lookup::machine(&client, &node).await?;
            let request = |dry_run| RemoveImageRequest {
                machine: machine.clone(),
                reason: reason.clone(),
                dry_run,
            };
            // Rehearsed first, so that the question speaks of what is there.
            let mut removed = client.provision().remove_image(request(true)).await;
            if removed.is_ok() && how.is_confirmed(&format!("take back what is assigned to {machine}?"))? {
                removed = client.provision().remove_image(request(false)).await;
            }
            changed(context, removed, "remove", how.change)
        }
    }
}

impl Assign {
    async fn run(self, context: &Context, client: &Client) -> Result<Exit, CliError> {
        let file = limited(&self.manifest, DiskImageManifest::MAX_BYTES)?;
        let manifest = DiskImageManifest::parse(&file).map_err(|cause| CliError::DiskImage {
            file: self.manifest.clone(),
            cause,
        })?;
        let machine = lookup::machine(client, &self.node).await?;
        let request = |dry_run| AssignImageRequest {
            machine: machine.clone(),
            image: manifest.image().to_owned(),
            version: manifest.version().to_owned(),
            chunks: u32::try_from(manifest.chunks().len()).unwrap_or(u32::MAX),
            manifest_url: self.url.clone(),
            manifest_sha256: sha256(&file).to_vec().into(),
            disk: self.disk.clone(),
            overwrite: self.overwrite,
            baseline: self.baseline.clone(),
            reason: self.reason.clone(),
            dry_run,
        };
        let mut assigned = client.provision().assign_image(request(true)).await;
        // Only what destroys something is asked about.
        let question = format!("let {machine} write over what is on its disk?");
        let go_on = match (&assigned, self.overwrite) {
            (Err(_), _) => false,
            (Ok(_), true) => self.how.is_confirmed(&question)?,
            (Ok(_), false) => !self.how.change.dry_run,
        };
        if go_on {
            assigned = client.provision().assign_image(request(false)).await;
        }
        changed(context, assigned, "assign", self.how.change)
    }
}

fn changed(
    context: &Context,
    answer: Result<tonic::Response<ImageAssignment>, tonic::Status>,
    action: &'static str,
    how: Change,
) -> Result<Exit, CliError> {
    let about = answer.map_err(|status| CliError::of_change(status, LOOK))?.into_inner();
    warn(&about.warnings);
    show(context.format, &AssignmentChange::new(about, action, how.dry_run))?;
    Ok(how.exit())
}
