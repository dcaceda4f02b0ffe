//! From the image server to the disk, chunk by chunk.

use bytes::Bytes;
use hallmark_node::{DiskChunk, DiskImageManifest};

use super::{
    console::tell,
    disk::{Disk, END},
    error::ProvisionError,
    fetch::Fetcher,
    image_url::ImageUrl,
};

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
}

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
        }
    }

    /// How many chunks were fetched.
    pub(super) const fn fetched(&self) -> usize {
        self.fetched
    }

    /// Looks at what is on the disk, and clears the ends of one that may be overwritten.
    ///
    /// A disk is taken where both its ends are blank or as an earlier attempt left them. One that has something at its
    /// beginning is taken only where it is this image, whole: then there is nothing to write.
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
            tell(format_args!(
                "{} is overwritten, as assigned: {found}",
                self.disk.name()
            ));
            return self.disk.clear_ends().await;
        }
        Err(ProvisionError::NotBlank {
            disk: self.disk.name().to_owned(),
            found,
        })
    }

    /// What is at an end of the disk and was not put there by an attempt to write this image.
    async fn foreign(&self) -> Result<Option<String>, ProvisionError> {
        if let Some(at) = first_used(&self.disk.read(0, END).await?) {
            return Ok(Some(format!("the first octet that is not zero is at {at}")));
        }
        let tail = self.disk.tail();
        let end = self.disk.read(tail, END).await?;
        let Some(at) = first_used(&end) else { return Ok(None) };
        let behind = end.get(usize::try_from(self.octets.saturating_sub(tail)).unwrap_or(usize::MAX)..);
        let is_ours = match self.chunks.last() {
            Some(last) if behind.is_none_or(|behind| first_used(behind).is_none()) => self.disk.holds(*last).await?,
            _ => false,
        };
        Ok((!is_ours).then(|| format!("an octet that is not zero is at {}", tail.saturating_add(at))))
    }

    async fn is_whole(&self) -> Result<bool, ProvisionError> {
        for chunk in &self.chunks {
            if !self.disk.holds(*chunk).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does the next step; gives how many chunks are on the disk, or `None` when all are, and were read back.
    ///
    /// # Errors
    /// A chunk cannot be fetched or written, is another one, or is not read back as it was written.
    pub(super) async fn next(&mut self) -> Result<Option<usize>, ProvisionError> {
        let of = self.chunks.len();
        match self.stage {
            Stage::Writing(number) => match self.chunks.get(number).copied() {
                Some(chunk) => {
                    self.put(chunk).await?;
                    self.stage = Stage::Writing(number.saturating_add(1));
                    Ok(Some(number))
                }
                None => {
                    tell("all chunks but the first, which starts the disk, are written; they are read back");
                    self.read_back(1..).await?;
                    self.stage = Stage::First;
                    Ok(Some(of.saturating_sub(1)))
                }
            },
            Stage::First => {
                if let Some(chunk) = self.chunks.first().copied() {
                    self.put(chunk).await?;
                }
                self.read_back(..1).await?;
                self.stage = Stage::Done;
                Ok(Some(of))
            }
            Stage::Done => Ok(None),
        }
    }

    async fn put(&mut self, chunk: DiskChunk) -> Result<(), ProvisionError> {
        if self.disk.holds(chunk).await? {
            return Ok(());
        }
        let data = match self.last.take() {
            Some((sha256, data)) if sha256 == chunk.sha256 => data,
            _ => {
                self.fetched = self.fetched.saturating_add(1);
                self.fetcher.chunk(&self.url, chunk).await?
            }
        };
        self.disk.write(chunk.offset, data.clone()).await?;
        self.last = Some((chunk.sha256, data));
        Ok(())
    }

    async fn read_back(&self, which: impl std::ops::RangeBounds<usize>) -> Result<(), ProvisionError> {
        self.disk.forget_cached().await?;
        for (number, chunk) in self.chunks.iter().enumerate() {
            if which.contains(&number) && !self.disk.holds(*chunk).await? {
                return Err(ProvisionError::NotHeld {
                    disk: self.disk.name().to_owned(),
                    detail: format!("{} octets at {}", chunk.octets, chunk.offset),
                });
            }
        }
        Ok(())
    }
}

/// Where the first octet is that is not zero.
fn first_used(data: &[u8]) -> Option<u64> {
    let at = data.iter().position(|octet| *octet != 0)?;
    u64::try_from(at).ok()
}
