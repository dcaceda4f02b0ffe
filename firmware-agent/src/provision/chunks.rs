//! From the image server to the disk, chunk by chunk.

use bytes::Bytes;
use hallmark_node::{DiskChunk, DiskImageManifest, ImageUrl};

use super::{
    console::tell,
    disk::{Disk, END},
    error::ProvisionError,
    fetch::Fetcher,
    gpt::{self, Partition},
};

/// The octets at a disk's beginning that make it start: the protective MBR, the partition table's header and its first entries.
const HEAD: u64 = 4096;
const SECTOR: usize = 512;

/// An image on its way to a disk. What is there already is not fetched again, so that a copy that was cut off goes on.
pub(super) struct Copy {
    disk: Disk,
    octets: u64,
    chunks: Vec<DiskChunk>,
    url: ImageUrl,
    fetcher: Fetcher,
    /// What was fetched last: images have long runs of the same chunk.
    last: Option<([u8; 32], Bytes)>,
    stage: Stage,
    fetched: usize,
    /// The first chunk as this disk is to have it, once it was fetched.
    first: Option<Bytes>,
    /// The second copy of the partition table and its place, on a disk that is larger than the image.
    table_copy: Option<(u64, Bytes)>,
    /// What is on a disk that may be overwritten.
    to_clear: Option<String>,
}

/// What the next step writes; none where that is on the disk already.
pub(super) struct Fetched(Option<Bytes>);

/// How far it is.
#[derive(Clone, Copy)]
enum Stage {
    /// The chunks from this one on are still to be written.
    Writing(usize),
    /// All but the first were read back.
    First,
    /// Everything is there.
    Done,
}

impl Copy {
    pub(super) fn new(disk: Disk, manifest: &DiskImageManifest, url: ImageUrl, fetcher: Fetcher) -> Self {
        Self {
            disk,
            octets: manifest.disk_octets(),
            chunks: manifest.chunks().collect(),
            url,
            fetcher,
            last: None,
            stage: Stage::Writing(1),
            fetched: 0,
            first: None,
            table_copy: None,
            to_clear: None,
        }
    }

    /// How many chunks were fetched.
    pub(super) const fn fetched(&self) -> usize {
        self.fetched
    }

    /// Whether all but the first chunk are there, and that is next.
    pub(super) const fn is_before_first(&self) -> bool {
        matches!(self.stage, Stage::First)
    }

    /// Looks at what is on the disk; nothing is written yet.
    ///
    /// A disk is taken where both its ends are blank or as an earlier attempt left them. One that starts is taken only where it
    /// is this image, whole: then there is nothing to write.
    ///
    /// # Errors
    /// Something else is on it, and it may not be overwritten.
    pub(super) async fn prepare(&mut self, overwrite: bool) -> Result<(), ProvisionError> {
        let Some(found) = self.foreign().await? else {
            return Ok(());
        };
        if self.is_whole().await? {
            self.stage = Stage::Done;
            return Ok(());
        }
        if overwrite {
            self.to_clear = Some(found);
            return Ok(());
        }
        Err(ProvisionError::NotBlank {
            disk: self.disk.name().to_owned(),
            found,
        })
    }

    /// Clears the ends of a disk that may be overwritten: the server has taken the report that it is written.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub(super) async fn begin(&mut self) -> Result<(), ProvisionError> {
        let Some(found) = self.to_clear.take() else {
            return Ok(());
        };
        tell(format_args!(
            "{} is overwritten, as assigned: {found}",
            self.disk.name()
        ));
        self.disk.clear_ends().await
    }

    /// The partition that the firmware starts: on a disk that is whole as it is there, else as the image has it.
    ///
    /// # Errors
    /// The first chunk cannot be fetched, or has no such partition.
    pub(super) async fn boot_partition(&mut self) -> Result<Partition, ProvisionError> {
        if let Stage::Done = self.stage {
            return gpt::boot_partition(self.disk.clone()).await;
        }
        let first = self.first_chunk().await?;
        gpt::boot_partition_of(&first).ok_or_else(|| ProvisionError::NoBootPartition {
            detail: "the partition table of the image".into(),
        })
    }

    /// The first chunk with the partition table as this disk is to have it.
    async fn first_chunk(&mut self) -> Result<Bytes, ProvisionError> {
        if let Some(first) = &self.first {
            return Ok(first.clone());
        }
        let Some(chunk) = self.chunks.first().copied() else {
            return Ok(Bytes::new());
        };
        self.fetched = self.fetched.saturating_add(1);
        let mut data = self.fetcher.chunk(&self.url, chunk).await?;
        if let Some(moved) = gpt::moved(&data, self.octets, self.disk.octets()) {
            let rest = data.get(moved.beginning.len()..).unwrap_or_default();
            data = [moved.beginning.as_slice(), rest].concat().into();
            self.table_copy = Some((moved.copy_at, moved.copy));
        }
        Ok(self.first.insert(data).clone())
    }

    /// Whether the disk starts: it has the first chunk, as the image has it or as this disk is to have it.
    async fn has_first(&mut self) -> Result<bool, ProvisionError> {
        let Some(chunk) = self.chunks.first().copied() else {
            return Ok(true);
        };
        if self.disk.holds(chunk).await? {
            return Ok(true);
        }
        let first = self.first_chunk().await?;
        Ok(self.disk.read(chunk.offset, chunk.octets).await? == first && self.has_table_copy().await?)
    }

    async fn has_table_copy(&self) -> Result<bool, ProvisionError> {
        let Some((at, copy)) = &self.table_copy else {
            return Ok(true);
        };
        let length = u64::try_from(copy.len()).unwrap_or(u64::MAX);
        Ok(self.disk.read(*at, length).await? == *copy)
    }

    /// What is at an end of the disk and was not put there by an attempt to write this image.
    async fn foreign(&mut self) -> Result<Option<String>, ProvisionError> {
        let beginning = self.disk.read(0, END).await?;
        if let Some(at) = first_used(&beginning) {
            let told = format!("the first octet that is not zero is at {at}");
            // What makes a disk start is written in the end, at once: whatever has it is no attempt that was cut off.
            if at < HEAD || !is_cut_off(&beginning, &self.first_chunk().await?) {
                return Ok(Some(told));
            }
        }
        let tail = self.disk.tail();
        let end = self.disk.read(tail, END).await?;
        let Some(at) = first_used(&end) else { return Ok(None) };
        let told = format!("an octet that is not zero is at {}", tail.saturating_add(at));
        let within = usize::try_from(self.octets.saturating_sub(tail)).unwrap_or(usize::MAX);
        let Some((ours, behind)) = end.split_at_checked(within) else {
            return Ok((!self.is_cut_off_at(tail, &end).await?).then_some(told));
        };
        let is_ours = self.is_cut_off_table(behind).await? && self.is_cut_off_at(tail, ours).await?;
        Ok((!is_ours).then_some(told))
    }

    /// Whether what is behind the image is blank, or what an attempt left that was cut off while it wrote the table's second copy.
    async fn is_cut_off_table(&mut self, behind: &[u8]) -> Result<bool, ProvisionError> {
        if first_used(behind).is_none() {
            return Ok(true);
        }
        self.first_chunk().await?;
        let Some((at, copy)) = &self.table_copy else {
            return Ok(false);
        };
        let begins = self
            .disk
            .octets()
            .saturating_sub(u64::try_from(behind.len()).unwrap_or(u64::MAX));
        let blank = at.checked_sub(begins).and_then(|blank| usize::try_from(blank).ok());
        let Some((blank, found)) = blank.and_then(|blank| behind.split_at_checked(blank)) else {
            return Ok(false);
        };
        Ok(first_used(blank).is_none() && is_cut_off(found, copy))
    }

    /// Whether an attempt that was cut off while it wrote its last chunks left `found` at this place.
    async fn is_cut_off_at(&mut self, offset: u64, found: &[u8]) -> Result<bool, ProvisionError> {
        let end = offset.saturating_add(u64::try_from(found.len()).unwrap_or(u64::MAX));
        let reach = |chunk: &DiskChunk| chunk.offset < end && chunk.offset.saturating_add(chunk.octets) > offset;
        for chunk in self.chunks.clone().into_iter().filter(reach) {
            let from = usize::try_from(chunk.offset.saturating_sub(offset)).unwrap_or(usize::MAX);
            let skipped = usize::try_from(offset.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
            let found = found.get(from..).unwrap_or_default();
            if first_used(found).is_none() {
                continue;
            }
            let data = self.fetcher.chunk(&self.url, chunk).await?;
            let data = data.get(skipped..).unwrap_or_default();
            let found = found.get(..data.len().min(found.len())).unwrap_or_default();
            if !is_cut_off(found, data) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_whole(&mut self) -> Result<bool, ProvisionError> {
        for chunk in self.chunks.iter().skip(1) {
            if !self.disk.holds(*chunk).await? {
                return Ok(false);
            }
        }
        self.has_first().await
    }

    /// Fetches what the next step writes. It writes nothing, and may be given up at any time.
    ///
    /// # Errors
    /// The chunk cannot be fetched, or is another one.
    pub(super) async fn fetch(&mut self) -> Result<Fetched, ProvisionError> {
        let chunk = match self.stage {
            Stage::Writing(number) => self.chunks.get(number).copied(),
            Stage::First => self.chunks.first().copied(),
            Stage::Done => None,
        };
        let Some(chunk) = chunk else { return Ok(Fetched(None)) };
        if matches!(self.stage, Stage::First) {
            let is_there = self.has_first().await?;
            return Ok(Fetched(if is_there {
                None
            } else {
                Some(self.first_chunk().await?)
            }));
        }
        if self.disk.holds(chunk).await? {
            return Ok(Fetched(None));
        }
        if let Some((sha256, data)) = &self.last
            && *sha256 == chunk.sha256
        {
            return Ok(Fetched(Some(data.clone())));
        }
        self.fetched = self.fetched.saturating_add(1);
        let data = self.fetcher.chunk(&self.url, chunk).await?;
        self.last = Some((chunk.sha256, data.clone()));
        Ok(Fetched(Some(data)))
    }

    /// Does the next step with what was fetched for it; gives how many chunks are on the disk, or `None` when all are, and were
    /// read back.
    ///
    /// # Errors
    /// The disk does not take it, or does not give it back as it was written.
    pub(super) async fn next(&mut self, fetched: Fetched) -> Result<Option<usize>, ProvisionError> {
        let of = self.chunks.len();
        match self.stage {
            Stage::Writing(number) => match self.chunks.get(number).copied() {
                Some(chunk) => {
                    if let Fetched(Some(data)) = fetched {
                        self.disk.write(chunk.offset, data).await?;
                    }
                    self.stage = Stage::Writing(number.saturating_add(1));
                    Ok(Some(number))
                }
                None => {
                    tell("all chunks but the first, which starts the disk, are written; they are read back");
                    self.read_back().await?;
                    self.stage = Stage::First;
                    Ok(Some(of.saturating_sub(1)))
                }
            },
            Stage::First => {
                if let Fetched(Some(data)) = fetched {
                    if let Some((at, copy)) = &self.table_copy {
                        self.disk.write(*at, copy.clone()).await?;
                    }
                    // In the end, and at once, the sectors that make the disk start.
                    let head = data.len().min(usize::try_from(HEAD).unwrap_or(usize::MAX));
                    self.disk.write(HEAD, data.slice(head..)).await?;
                    self.disk.write(0, data.slice(..head)).await?;
                }
                self.disk.forget_cached().await?;
                if !self.has_first().await? {
                    return Err(self.not_held("the first chunk, or the partition table's copy at the end".into()));
                }
                self.stage = Stage::Done;
                Ok(Some(of))
            }
            Stage::Done => Ok(None),
        }
    }

    /// Reads back all chunks but the first.
    async fn read_back(&self) -> Result<(), ProvisionError> {
        self.disk.forget_cached().await?;
        for chunk in self.chunks.iter().skip(1) {
            if !self.disk.holds(*chunk).await? {
                return Err(self.not_held(format!("{} octets at {}", chunk.octets, chunk.offset)));
            }
        }
        Ok(())
    }

    fn not_held(&self, detail: String) -> ProvisionError {
        ProvisionError::NotHeld {
            disk: self.disk.name().to_owned(),
            detail,
        }
    }
}

/// Whether each sector is blank, or as the image has it: an attempt that was cut off leaves nothing else.
fn is_cut_off(found: &[u8], image: &[u8]) -> bool {
    let sectors = found
        .chunks(SECTOR)
        .zip(image.chunks(SECTOR).map(Some).chain(std::iter::repeat(None)));
    let mut sectors =
        sectors.map(|(found, image)| first_used(found).is_none() || image.is_some_and(|it| it.starts_with(found)));
    sectors.all(|sound| sound)
}

/// Where the first octet is that is not zero.
fn first_used(data: &[u8]) -> Option<u64> {
    let at = data.iter().position(|octet| *octet != 0)?;
    u64::try_from(at).ok()
}
