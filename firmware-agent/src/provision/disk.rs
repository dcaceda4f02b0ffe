//! The disk that is written: which one, and what is on it.

use std::{
    fs::{File, OpenOptions},
    io::{Seek as _, SeekFrom},
    os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hallmark_node::DiskChunk;
use rustix::fs::{Advice, OFlags, fadvise};
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    console::tell,
    disk_name,
    error::ProvisionError,
    gpt::{self, Partition},
};
use crate::{AgentError, digest::sha256};

/// How much at each end of a disk says whether it is blank: partition tables, volumes and file systems of all common kinds
/// leave something within it.
pub(super) const END: u64 = 1 << 20;
/// How often a disk that is not there is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Octets of a sector, as images' partition tables count them.
const SECTOR: &str = "512";
/// Blocks that are no disk of the machine's own, by how the kernel names them.
const NOT_DISKS: [&str; 9] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock"];

/// The machine's disks, as the kernel lists them in /sys/block, and the folder of their devices.
pub(super) struct Disks(PathBuf, PathBuf);

impl Disks {
    pub(super) const fn new(list: PathBuf, devices: PathBuf) -> Self {
        Self(list, devices)
    }

    /// Sees to it that no other disk of the machine has this partition: the firmware could not tell which one is meant.
    ///
    /// # Errors
    /// Another one has.
    pub(super) async fn require_alone(&self, disk: &Path, partition: &Partition) -> Result<(), ProvisionError> {
        let own = disk.canonicalize().unwrap_or_else(|_| disk.to_owned());
        let Ok(list) = std::fs::read_dir(&self.0) else {
            return Ok(());
        };
        let names = list.flatten().map(|entry| entry.file_name());
        for name in names.filter(|name| Some(name.as_os_str()) != own.file_name()) {
            let device = self.1.join(&name);
            let looked_at = device.clone();
            let beginning = on_own_thread(move || Ok(beginning_of(&looked_at))).await?;
            let other = beginning.and_then(|beginning| gpt::boot_partition_of(&beginning));
            if other.is_some_and(|other| other.guid == partition.guid) {
                return Err(ProvisionError::SamePartition {
                    disk: disk.display().to_string(),
                    other: device.display().to_string(),
                });
            }
        }
        Ok(())
    }

    /// The partition that the firmware starts from this disk, which was installed before.
    ///
    /// # Errors
    /// The disk has none, or cannot be read.
    pub(super) async fn boot_partition_of(&self, disk: &Path) -> Result<Partition, ProvisionError> {
        let looked_at = disk.to_owned();
        let beginning = on_own_thread(move || Ok(beginning_of(&looked_at))).await?;
        let partition = beginning.and_then(|beginning| gpt::boot_partition_of(&beginning));
        partition.ok_or_else(|| ProvisionError::NotInstalled {
            disk: disk.display().to_string(),
        })
    }

    /// [`Self::choose`], which waits so long for a disk that is not there: controllers take their time.
    ///
    /// # Errors
    /// As [`Self::choose`].
    pub(super) async fn await_chosen(&self, name: &str, limit: Duration) -> Result<PathBuf, ProvisionError> {
        let (began, mut is_told) = (Instant::now(), false);
        loop {
            match self.choose(name) {
                Err(ProvisionError::NoSuchDisk { detail, may_come: true }) if began.elapsed() < limit => {
                    if !is_told {
                        tell(format_args!(
                            "{detail}; it is waited for, {} s at most; if it does not come: look at its cable and controller",
                            limit.as_secs()
                        ));
                        is_told = true;
                    }
                    sleep(LOOK_EVERY).await;
                }
                chosen => return chosen,
            }
        }
    }

    /// The disk of this name: the path of its device, or a name that stays ([`disk_name`]). Without one, the machine's only disk
    /// that is not removable.
    ///
    /// # Errors
    /// There is none, or more than one; or its sectors are not those of images.
    pub(super) fn choose(&self, name: &str) -> Result<PathBuf, ProvisionError> {
        let disk = match name {
            "" => self.only_fixed()?,
            path if Path::new(path).exists() => path.into(),
            lasting if disk_name::is_lasting(lasting) => self.named(lasting)?,
            path => return Err(self.no_disk(path)),
        };
        // What is a link by another name is listed by its own.
        let own = disk.canonicalize().unwrap_or_else(|_| disk.clone());
        let listed = self.0.join(own.file_name().unwrap_or_default());
        let sectors = std::fs::read_to_string(listed.join("queue/logical_block_size")).ok();
        match sectors.as_deref().map(str::trim) {
            None | Some(SECTOR) => Ok(disk),
            Some(other) => Err(ProvisionError::OtherSectors {
                disk: disk.display().to_string(),
                found: other.to_owned(),
            }),
        }
    }

    fn named(&self, name: &str) -> Result<PathBuf, ProvisionError> {
        let mut found = self.fixed()?;
        found.retain(|disk| disk_name::is_of(name, &self.0.join(disk)));
        match found.as_slice() {
            [one] => Ok(self.1.join(one)),
            [] => Err(self.no_disk(name)),
            several => Err(unclear(format!("{name} is a name of {}", several.join(", ")), false)),
        }
    }

    fn no_disk(&self, name: &str) -> ProvisionError {
        let there = self.fixed().unwrap_or_default();
        let there = if there.is_empty() {
            "none".to_owned()
        } else {
            there.join(", ")
        };
        unclear(format!("there is no {name}; the machine's disks: {there}"), true)
    }

    fn only_fixed(&self) -> Result<PathBuf, ProvisionError> {
        match self.fixed()?.as_slice() {
            [one] => Ok(self.1.join(one)),
            [] => Err(unclear("the machine has no disk that is not removable".into(), true)),
            several => Err(unclear(format!("the machine has {}", several.join(", ")), false)),
        }
    }

    /// The names of the disks that are not removable.
    fn fixed(&self) -> Result<Vec<String>, ProvisionError> {
        let list = std::fs::read_dir(&self.0);
        let list = list.map_err(|error| unclear(format!("{}: {error}", self.0.display()), false))?;
        let mut fixed = Vec::new();
        for entry in list {
            let entry = entry.map_err(|error| unclear(error.to_string(), false))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !NOT_DISKS.iter().any(|not| name.starts_with(not)) && is_fixed(&entry.path()) {
                fixed.push(name);
            }
        }
        fixed.sort();
        Ok(fixed)
    }
}

const fn unclear(detail: String, may_come: bool) -> ProvisionError {
    ProvisionError::NoSuchDisk { detail, may_come }
}

/// What a disk begins with; none where it cannot be read, as an empty drive.
fn beginning_of(device: &Path) -> Option<Vec<u8>> {
    let mut beginning = vec![0; usize::try_from(gpt::LOOKED_AT).unwrap_or_default()];
    let file = File::open(device).ok()?;
    file.read_exact_at(&mut beginning, 0).ok()?;
    Some(beginning)
}

/// Whether a disk has a size and stays in the machine.
fn is_fixed(disk: &Path) -> bool {
    let says = |name: &str| std::fs::read_to_string(disk.join(name)).unwrap_or_default();
    // Boot areas of an eMMC are read-only; each path to an NVMe disk behind several is hidden.
    let is_other = ["ro", "hidden"].iter().any(|name| says(name).trim() == "1");
    !is_other && says("removable").trim() == "0" && says("size").trim().parse().is_ok_and(|sectors: u64| sectors > 0)
}

/// An open disk. Everything that waits for it does so on a thread of its own.
#[derive(Debug, Clone)]
pub(super) struct Disk(Arc<OpenDisk>);

#[derive(Debug)]
struct OpenDisk {
    name: String,
    file: File,
    octets: u64,
}

impl Disk {
    /// Opens a disk that nothing else uses, and that has room for `needed` octets.
    ///
    /// # Errors
    /// It cannot be opened, is in use, or too small.
    pub(super) async fn open(path: PathBuf, needed: u64) -> Result<Self, ProvisionError> {
        let opened = on_own_thread(move || OpenDisk::open(&path)).await?;
        if opened.octets < needed {
            return Err(ProvisionError::DiskTooSmall {
                disk: opened.name,
                needed,
                found: opened.octets,
            });
        }
        Ok(Self(Arc::new(opened)))
    }

    /// Its path.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// How large it is.
    pub(super) fn octets(&self) -> u64 {
        self.0.octets
    }

    /// What is at a place, as far as the disk reaches.
    pub(super) async fn read(&self, offset: u64, octets: u64) -> Result<Vec<u8>, ProvisionError> {
        let disk = Arc::clone(&self.0);
        on_own_thread(move || disk.read(offset, octets)).await
    }

    /// Whether a chunk is where it belongs.
    pub(super) async fn holds(&self, chunk: DiskChunk) -> Result<bool, ProvisionError> {
        let disk = Arc::clone(&self.0);
        on_own_thread(move || Ok(sha256(&disk.read(chunk.offset, chunk.octets)?) == chunk.sha256)).await
    }

    /// Writes to a place; it is on the disk when this returns.
    pub(super) async fn write(&self, offset: u64, data: Bytes) -> Result<(), ProvisionError> {
        let disk = Arc::clone(&self.0);
        on_own_thread(move || disk.write(offset, &data)).await
    }

    /// Makes sure that what is read next comes from the disk.
    pub(super) async fn forget_cached(&self) -> Result<(), ProvisionError> {
        let disk = Arc::clone(&self.0);
        let forget = move || {
            fadvise(&disk.file, 0, None, Advice::DontNeed).map_err(|error| disk.fault("read", error.to_string()))
        };
        on_own_thread(forget).await
    }

    /// Where the last [`END`] begins.
    pub(super) fn tail(&self) -> u64 {
        self.0.octets.saturating_sub(END)
    }

    /// Writes zeros over both ends: what was on the disk does not start, and is not found, any more.
    pub(super) async fn clear_ends(&self) -> Result<(), ProvisionError> {
        for offset in [0, self.tail()] {
            let length = END.min(self.0.octets - offset);
            self.write(offset, vec![0; usize::try_from(length).unwrap_or_default()].into())
                .await?;
        }
        Ok(())
    }
}

impl OpenDisk {
    fn open(path: &Path) -> Result<Self, ProvisionError> {
        let name = path.display().to_string();
        let fault = |detail: String| ProvisionError::Disk {
            disk: name.clone(),
            what: "opened",
            detail,
        };
        let is_device = std::fs::metadata(path)
            .map_err(|error| fault(error.to_string()))?
            .file_type()
            .is_block_device();
        // Of a device: only where nothing of it is mounted or used otherwise.
        let flags = if is_device { OFlags::EXCL } else { OFlags::empty() };
        let flags = i32::try_from(flags.bits()).map_err(|error| fault(error.to_string()))?;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let mut file = opened.map_err(|error| fault(error.to_string()))?;
        let octets = file.seek(SeekFrom::End(0)).map_err(|error| fault(error.to_string()))?;
        Ok(Self { name, file, octets })
    }

    fn fault(&self, what: &'static str, detail: String) -> ProvisionError {
        ProvisionError::Disk {
            disk: self.name.clone(),
            what,
            detail,
        }
    }

    fn read(&self, offset: u64, octets: u64) -> Result<Vec<u8>, ProvisionError> {
        let length = octets.min(self.octets.saturating_sub(offset));
        let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
        let read = self.file.read_exact_at(&mut data, offset);
        read.map_err(|error| self.fault("read", format!("{length} octets at {offset}: {error}")))?;
        Ok(data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), ProvisionError> {
        let written = self
            .file
            .write_all_at(data, offset)
            .and_then(|()| self.file.sync_data());
        written.map_err(|error| self.fault("written", format!("{} octets at {offset}: {error}", data.len())))
    }
}

async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProvisionError> + Send + 'static,
) -> Result<T, ProvisionError> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        let detail = error.to_string();
        Err(AgentError::System { detail }.into())
    })
}
