//! `hallmark-agent provision`: installs this machine. It attests as the daemon does, asks the server what is assigned, writes
//! that image to the disk and puts the disk first among the firmware's boot entries. Whoever called it restarts the machine.
//!
//! ```text
//! Server::await_task ─▶ Fetcher ─▶ Signers::verify ─▶ Disk ─▶ Copy ─▶ Firmware::start_from
//!        ▲             manifest                      chosen   chunks   boot entry
//!        └────────────── every step, and why one failed: Server::report ─────┘
//! ```
//!
//! A machine that was installed before and comes back from the network is sent to its disk: nothing is written.
//!
//! An attempt that fails changes nothing that starts: the first chunk, which has the partition table, is written when all
//! others were read back, and the boot entry is set behind it. So each attempt goes on where the one before ended.

mod boot_entry;
mod chunks;
mod console;
mod disk;
mod disk_name;
mod error;
mod fetch;
mod gpt;
mod lock;
mod server;
mod signers;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use hallmark_api::provision::{Assignment, Step};
use hallmark_node::{DiskImageManifest, ImageUrl};
use hallmark_reason::{Coded, Report};
use tokio::net::UnixStream;

use crate::{AgentError, config::Config, digest::sha256, healthcheck, run::open_tpm, state::StateFile};
use boot_entry::Firmware;
use chunks::Copy;
use console::tell;
use disk::{Disk, Disks};
use error::ProvisionError;
use fetch::{Fetcher, Patience};
use lock::Lock;
use server::{AttestedNode, Progress, Server, Session, Task};
use signers::Signers;

/// How often the console says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Where the machine has what provisioning needs.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The folder with the certificates whose keys may sign images, `*.pem`.
    pub(crate) signers: PathBuf,
    /// The authorities that image servers' certificates must lead to, PEM.
    pub(crate) authorities: PathBuf,
    /// The kernel's list of disks.
    pub(crate) disks: PathBuf,
    /// The folder of their devices.
    pub(crate) devices: PathBuf,
    /// The firmware's variables.
    pub(crate) variables: PathBuf,
}

/// Installs this machine: waits for its approval and its assignment as long as that takes, and after a failed attempt for the
/// next one.
///
/// # Errors
/// The agent's state or the TPM cannot be opened, or the agent or another installation runs. Everything behind that is tried
/// again.
pub(crate) async fn run(config: Config, places: Places) -> Result<(), Box<dyn Coded + Send>> {
    let socket = healthcheck::socket(&config);
    if UnixStream::connect(&socket).await.is_ok() {
        let socket = socket.display().to_string();
        return Err(Box::new(AgentError::Runs { socket }));
    }
    let state = StateFile::open(&config.data_dir).map_err(boxed)?;
    let _lock = Lock::take(&config.data_dir).map_err(boxed)?;
    let tpm = open_tpm(&config).await.map_err(boxed)?;
    let mut server = Server::new(AttestedNode::new(config, tpm.clone(), state));
    install(&mut server, &places, Patience::OF_MACHINES).await;
    tpm.stop().await;
    Ok(())
}

fn boxed(error: impl Coded + Send + 'static) -> Box<dyn Coded + Send> {
    Box::new(error)
}

/// Takes assignments until one is carried out.
async fn install<S: Session>(server: &mut Server<S>, places: &Places, patience: Patience) {
    loop {
        let task = server.await_task().await;
        let (Task::Install(assignment) | Task::StartFromDisk(assignment)) = &task;
        let mut attempt = Attempt {
            server,
            places,
            patience,
            assignment,
        };
        let done = match task {
            Task::Install(_) => attempt.carry_out().await,
            Task::StartFromDisk(_) => attempt.start_from_disk().await,
        };
        match done {
            Ok(()) => return,
            // Nobody waits for a word about an attempt that is no longer the server's.
            Err(error @ ProvisionError::Superseded { .. }) => tell(Report(&error)),
            Err(error) => {
                tell(Report(&error));
                server.report_failed(assignment, &error).await;
            }
        }
        server.pause().await;
    }
}

/// One attempt to carry an assignment out.
struct Attempt<'a, S> {
    server: &'a mut Server<S>,
    places: &'a Places,
    patience: Patience,
    assignment: &'a Assignment,
}

impl<S: Session> Attempt<'_, S> {
    async fn carry_out(&mut self) -> Result<(), ProvisionError> {
        let (places, assignment) = (self.places, self.assignment);
        let firmware = Firmware::new(places.variables.clone());
        firmware.require_writable()?;
        let url = ImageUrl::parse(&assignment.manifest_url).map_err(|fault| ProvisionError::Address {
            url: assignment.manifest_url.clone(),
            detail: fault.to_string(),
        })?;
        let mut fetcher = Fetcher::new(places.authorities.clone(), self.patience);
        let manifest = manifest(places, assignment, &mut fetcher, &url);
        let (manifest, manifest_sha256) = self.server.while_assigned(assignment, manifest).await?;
        let of = manifest.chunks().len();
        let disks = Disks::new(places.disks.clone(), places.devices.clone());
        let chosen = disks.await_chosen(&assignment.disk, self.patience.disk);
        let path = self.server.while_assigned(assignment, chosen).await?;
        let disk = Disk::open(path.clone(), manifest.disk_octets()).await?;
        tell(format_args!(
            "image {} {} for {}: {of} chunks",
            manifest.image(),
            manifest.version(),
            disk.name()
        ));
        let mut copy = Copy::new(disk.clone(), &manifest, url, fetcher);
        let progress = |step, done| Progress {
            attempt: assignment.attempt,
            manifest_sha256,
            step,
            done,
            of,
        };
        let looked = async {
            copy.prepare(assignment.overwrite).await?;
            copy.boot_partition().await
        };
        let partition = self.server.while_assigned(assignment, looked).await?;
        disks.require_alone(&path, &partition).await?;
        // Only what is still assigned to a machine in service is written.
        self.server.report(progress(Step::Writing, 0)).await?;
        copy.begin().await?;
        let mut told = Instant::now();
        loop {
            let fetched = self.server.while_assigned(assignment, copy.fetch()).await?;
            let Some(done) = copy.next(fetched).await? else { break };
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                tell(format_args!("{done} of {of} chunks are on the disk"));
            }
            let progress = progress(Step::Writing, done);
            if copy.is_before_first() {
                // What makes the disk start waits for the server's word.
                self.server.report(progress).await?;
            } else {
                self.server.report_soon(progress).await?;
            }
        }
        self.server.report(progress(Step::Written, of)).await?;
        tell(format_args!(
            "{of} chunks were written and read back, {} of them fetched now",
            copy.fetched()
        ));
        let entry = firmware.start_from(partition).await?;
        tell(format_args!("the firmware starts {entry} first"));
        self.server.report(progress(Step::Restarting, of)).await?;
        tell("installed; the machine starts from its disk now");
        Ok(())
    }

    /// Sends a machine that was installed before to its disk, whatever the system there has written since. Whether that is what
    /// was installed says its next attestation.
    async fn start_from_disk(&mut self) -> Result<(), ProvisionError> {
        let (places, assignment) = (self.places, self.assignment);
        let firmware = Firmware::new(places.variables.clone());
        firmware.require_writable()?;
        let disks = Disks::new(places.disks.clone(), places.devices.clone());
        let chosen = disks.await_chosen(&assignment.disk, self.patience.disk);
        let path = self.server.while_assigned(assignment, chosen).await?;
        let partition = disks.boot_partition_of(&path).await?;
        disks.require_alone(&path, &partition).await?;
        let entry = firmware.start_from(partition).await?;
        self.server.report_return(assignment).await?;
        tell(format_args!(
            "this machine was installed before: nothing is written, and it starts from {} now, by {entry}; to install it anew, on \
             the server: hallmark provision assign … --overwrite",
            path.display()
        ));
        Ok(())
    }
}

/// The manifest, signed and the one that was assigned, and its SHA-256.
async fn manifest(
    places: &Places,
    assignment: &Assignment,
    fetcher: &mut Fetcher,
    url: &ImageUrl,
) -> Result<(DiskImageManifest, [u8; 32]), ProvisionError> {
    let signers = Signers::load(&places.signers)?;
    let manifest = fetcher.file(url, url.manifest(), DiskImageManifest::MAX_BYTES).await?;
    let signature = fetcher.file(url, &url.signature(), Signers::MAX_SIGNATURE).await?;
    signers.verify(&manifest, &signature)?;
    let (found, assigned) = (sha256(&manifest), assignment.manifest_sha256.as_ref());
    if found != *assigned {
        return Err(ProvisionError::OtherManifest {
            url: url.manifest().to_owned(),
            assigned: hex::encode(assigned),
            found: hex::encode(found),
        });
    }
    Ok((DiskImageManifest::parse(&manifest)?, found))
}

#[cfg(test)]
mod tests;
