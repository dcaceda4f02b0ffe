//! `hallmark-agent provision`: installs this machine. It attests as the daemon does, asks the server what is assigned, writes
//! that image to the disk and puts the disk first among the firmware's boot entries. Whoever called it restarts the machine.
//!
//! ```text
//! Server::await_assignment ─▶ Fetcher ─▶ Signers::verify ─▶ Disk ─▶ Copy ─▶ Firmware::start_from
//!            ▲                manifest                      chosen   chunks   boot entry
//!            └────────────── every step, and why one failed: Server::report ──────────────┘
//! ```
//!
//! An attempt that fails changes nothing that starts: the first chunk, which has the partition table, is written when all
//! others were read back, and the boot entry is set behind it. So each attempt goes on where the one before ended.

mod boot_entry;
mod chunks;
mod console;
mod disk;
mod error;
mod fetch;
mod gpt;
mod image_url;
mod server;
mod signers;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use hallmark_api::provision::{Assignment, Step};
use hallmark_node::DiskImageManifest;
use hallmark_reason::{Coded, Report};
use tokio::net::UnixStream;

use crate::{AgentError, config::Config, digest::sha256, healthcheck, run::open_tpm, state::StateFile};
use boot_entry::Firmware;
use chunks::Copy;
use console::tell;
use disk::{Disk, Disks};
use error::ProvisionError;
use fetch::{Fetcher, Patience};
use image_url::ImageUrl;
use server::{AttestedNode, Progress, Server, Session};
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
/// The agent's state or the TPM cannot be opened, or the agent runs. Everything behind that is tried again.
pub(crate) async fn run(config: Config, places: Places) -> Result<(), Box<dyn Coded + Send>> {
    let socket = healthcheck::socket(&config);
    if UnixStream::connect(&socket).await.is_ok() {
        let socket = socket.display().to_string();
        return Err(Box::new(AgentError::Runs { socket }));
    }
    let state = StateFile::open(&config.data_dir).map_err(boxed)?;
    let tpm = open_tpm(&config).await.map_err(boxed)?;
    let mut server = Server::new(AttestedNode::new(config, tpm.clone(), state));
    install(&mut server, &places, Patience::OF_MACHINES).await;
    tpm.stop().await;
    Ok(())
}

fn boxed(error: AgentError) -> Box<dyn Coded + Send> {
    Box::new(error)
}

/// Takes assignments until one is carried out.
async fn install<S: Session>(server: &mut Server<S>, places: &Places, patience: Patience) {
    loop {
        let assignment = server.await_assignment().await;
        let mut attempt = Attempt {
            server,
            places,
            patience,
            assignment: &assignment,
        };
        match attempt.carry_out().await {
            Ok(()) => return,
            // Nobody waits for a word about an attempt that is no longer the server's.
            Err(error @ ProvisionError::Superseded { .. }) => tell(Report(&error)),
            Err(error) => {
                tell(Report(&error));
                server.report_failed(&assignment, &error).await;
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
        let firmware = Firmware::new(self.places.variables.clone());
        firmware.require_writable()?;
        let url = ImageUrl::parse(&self.assignment.manifest_url)?;
        let mut fetcher = Fetcher::new(self.places.authorities.clone(), self.patience);
        let (manifest, manifest_sha256) = self.manifest(&mut fetcher, &url).await?;
        let of = manifest.chunks().len();
        let disks = Disks::new(self.places.disks.clone(), self.places.devices.clone());
        let path = disks.choose(&self.assignment.disk)?;
        let disk = Disk::open(path.clone(), manifest.disk_octets()).await?;
        tell(format_args!(
            "image {} {} for {}: {of} chunks",
            manifest.image(),
            manifest.version(),
            disk.name()
        ));
        let mut copy = Copy::new(disk.clone(), &manifest, url, fetcher);
        let progress = |step, done| Progress {
            attempt: self.assignment.attempt,
            manifest_sha256,
            step,
            done,
            of,
        };
        copy.prepare(self.assignment.overwrite).await?;
        let partition = copy.boot_partition().await?;
        disks.require_alone(&path, &partition).await?;
        // Only what is still assigned to a machine in service is written.
        self.server.report(progress(Step::Writing, 0)).await?;
        copy.begin().await?;
        let mut told = Instant::now();
        while let Some(done) = copy.next().await? {
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

    /// The manifest, signed and the one that was assigned, and its SHA-256.
    async fn manifest(
        &self,
        fetcher: &mut Fetcher,
        url: &ImageUrl,
    ) -> Result<(DiskImageManifest, [u8; 32]), ProvisionError> {
        let signers = Signers::load(&self.places.signers)?;
        let manifest = fetcher.file(url, url.manifest(), DiskImageManifest::MAX_BYTES).await?;
        let signature = fetcher.file(url, &url.signature(), Signers::MAX_SIGNATURE).await?;
        signers.verify(&manifest, &signature)?;
        let (found, assigned) = (sha256(&manifest), self.assignment.manifest_sha256.as_ref());
        if found != *assigned {
            return Err(ProvisionError::OtherManifest {
                url: url.manifest().to_owned(),
                assigned: hex::encode(assigned),
                found: hex::encode(found),
            });
        }
        Ok((DiskImageManifest::parse(&manifest)?, found))
    }
}

#[cfg(test)]
mod tests;
