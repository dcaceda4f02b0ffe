//! The manifest of a disk image: what a machine that is installed over the network writes to its disk.
//!
//! ```text
//! hallmark-disk-image 1
//! image=hallmark-edge
//! version=2026.11.1
//! disk_octets=8388609
//! chunk_octets=8388608
//! chunks=2
//! <SHA-256 of the first chunk, 64 lower-case hex digits>
//! <SHA-256 of the second>
//! ```
//!
//! There is one form of it: these lines in this order, each with a line feed behind, decimal numbers without leading zeros, and
//! nothing after the last digest. Every chunk has `chunk_octets`, the last one what remains. A chunk of zeros is there like any other.
//! Who signed it, and whether that counts, is not said here.

use std::fmt;

use hallmark_reason::{Coded, ReasonCode};

/// The first line.
const FIRST_LINE: &str = "hallmark-disk-image 1";

/// A manifest that was read. Nothing is said about the chunks themselves: whoever has them compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskImageManifest {
    image: String,
    version: String,
    disk_octets: u64,
    chunks: Vec<[u8; 32]>,
}

/// One chunk: where it belongs, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskChunk {
    /// Where it begins on the disk.
    pub offset: u64,
    /// Its length.
    pub octets: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

impl DiskImageManifest {
    /// The length of each chunk but the last.
    pub const CHUNK_OCTETS: u64 = 8 << 20;
    /// Most chunks of an image: 512 GiB.
    pub const MAX_CHUNKS: u64 = 65_536;
    /// Most bytes of an image's name and of its version.
    pub const MAX_NAME: usize = 64;
    /// Most bytes of a manifest: as many digests as there may be, and the lines before them.
    pub const MAX_BYTES: usize = 65_536 * 65 + 512;

    /// Reads a manifest in its one form.
    ///
    /// # Errors
    /// [`DiskImageError`] with the line that is wrong: it is no manifest, was changed, or is of a newer release.
    pub fn parse(bytes: &[u8]) -> Result<Self, DiskImageError> {
        if bytes.len() > Self::MAX_BYTES {
            let most = Self::MAX_BYTES;
            return Err(fault(0, format!("{} bytes, of {most} at most", bytes.len())));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| fault(0, "not UTF-8 text".to_owned()))?;
        let Some(text) = text.strip_suffix('\n') else {
            return Err(fault(0, "no line feed at its end: it is empty or cut short".to_owned()));
        };
        let mut lines = Lines {
            lines: text.split('\n'),
            number: 0,
        };
        if lines.take()? != FIRST_LINE {
            return Err(lines.fault(format!("expected `{FIRST_LINE}`")));
        }
        let image = lines.name("image")?;
        let version = lines.name("version")?;
        let disk_octets = lines.number("disk_octets")?;
        if lines.number("chunk_octets")? != Self::CHUNK_OCTETS {
            return Err(lines.fault(format!("chunk_octets is not {}", Self::CHUNK_OCTETS)));
        }
        let count = lines.number("chunks")?;
        if !(1..=Self::MAX_CHUNKS).contains(&count) {
            return Err(lines.fault(format!("{count} chunks, of 1 to {}", Self::MAX_CHUNKS)));
        }
        if disk_octets.div_ceil(Self::CHUNK_OCTETS) != count {
            let needed = disk_octets.div_ceil(Self::CHUNK_OCTETS);
            return Err(lines.fault(format!("{count} chunks; a disk of {disk_octets} octets has {needed}")));
        }
        let chunks = (0..count).map(|_| lines.digest()).collect::<Result<_, _>>()?;
        if lines.lines.next().is_some() {
            lines.number += 1;
            return Err(lines.fault(format!("a line after the last of {count} chunks")));
        }
        Ok(Self {
            image,
            version,
            disk_octets,
            chunks,
        })
    }

    /// Whether a text may be the name or the version of an image.
    #[must_use]
    pub fn is_name(text: &str) -> bool {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+~:-".contains(c);
        (1..=Self::MAX_NAME).contains(&text.len()) && text.chars().all(is_plain)
    }

    /// The image's name.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The image's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How large a disk must be at least.
    #[must_use]
    pub const fn disk_octets(&self) -> u64 {
        self.disk_octets
    }

    /// The chunks in the order of the disk; together they are `disk_octets` long.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = DiskChunk> + '_ {
        let mut offset = 0;
        self.chunks.iter().map(move |sha256| {
            let octets = Self::CHUNK_OCTETS.min(self.disk_octets.saturating_sub(offset));
            let chunk = DiskChunk {
                offset,
                octets,
                sha256: *sha256,
            };
            offset = offset.saturating_add(octets);
            chunk
        })
    }
}

/// The bytes that [`DiskImageManifest::parse`] takes.
impl fmt::Display for DiskImageManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}\nimage={}\nversion={}", self.image, self.version)?;
        writeln!(f, "disk_octets={}", self.disk_octets)?;
        writeln!(f, "chunk_octets={}\nchunks={}", Self::CHUNK_OCTETS, self.chunks.len())?;
        self.chunks
            .iter()
            .try_for_each(|sha256| writeln!(f, "{}", hex::encode(sha256)))
    }
}

/// The lines that are left.
struct Lines<'a> {
    lines: std::str::Split<'a, char>,
    /// Of the line that was taken last, from 1.
    number: usize,
}

impl<'a> Lines<'a> {
    fn take(&mut self) -> Result<&'a str, DiskImageError> {
        self.number += 1;
        let missing = fault(self.number, "the line is missing: the manifest is cut short".to_owned());
        self.lines.next().ok_or(missing)
    }

    fn value(&mut self, key: &str) -> Result<&'a str, DiskImageError> {
        let value = self.take()?.strip_prefix(key).and_then(|rest| rest.strip_prefix('='));
        value.ok_or_else(|| self.fault(format!("expected `{key}=…`")))
    }

    fn name(&mut self, key: &str) -> Result<String, DiskImageError> {
        let value = self.value(key)?;
        if !DiskImageManifest::is_name(value) {
            let most = DiskImageManifest::MAX_NAME;
            return Err(self.fault(format!(
                "{key} is not 1 to {most} characters of A-Z a-z 0-9 . _ + ~ : -"
            )));
        }
        Ok(value.to_owned())
    }

    fn number(&mut self, key: &str) -> Result<u64, DiskImageError> {
        let value = self.value(key)?;
        let number = value.parse().ok().filter(|number: &u64| number.to_string() == value);
        number.ok_or_else(|| self.fault(format!("{key} is not a decimal number")))
    }

    fn digest(&mut self) -> Result<[u8; 32], DiskImageError> {
        let line = self.take()?;
        let digest = hex::decode(line).ok().and_then(|bytes| bytes.try_into().ok());
        let canonical = digest.filter(|digest| hex::encode(digest) == line);
        canonical.ok_or_else(|| self.fault("not a SHA-256 of 64 lower-case hex digits".to_owned()))
    }

    const fn fault(&self, reason: String) -> DiskImageError {
        fault(self.number, reason)
    }
}

const fn fault(line: usize, reason: String) -> DiskImageError {
    DiskImageError { line, reason }
}

/// Bytes that are no manifest of a disk image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskImageError {
    /// The line, from 1; 0 for the manifest as a whole.
    pub line: usize,
    /// What is wrong. It repeats nothing of what was read but numbers.
    pub reason: String,
}

impl fmt::Display for DiskImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a manifest of a disk image")?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for DiskImageError {}

impl Coded for DiskImageError {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-REG-0095")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest(disk_octets: u64, chunks: usize) -> String {
        let digests: String = (0..chunks).map(|n| format!("{n:064x}\n")).collect();
        format!(
            "hallmark-disk-image 1\nimage=hallmark-edge\nversion=2026.11.1\ndisk_octets={disk_octets}\nchunk_octets=8388608\n\
             chunks={chunks}\n{digests}"
        )
    }

    #[test]
    fn chunks_lie_side_by_side_and_the_last_one_has_what_remains() {
        let text = manifest((2 << 23) + 1, 3);
        let read = DiskImageManifest::parse(text.as_bytes()).unwrap();
        assert_eq!((read.image(), read.version()), ("hallmark-edge", "2026.11.1"));
        assert_eq!(read.disk_octets(), (2 << 23) + 1);
        let places: Vec<_> = read.chunks().map(|it| (it.offset, it.octets, it.sha256[31])).collect();
        assert_eq!(places, [(0, 1 << 23, 0), (1 << 23, 1 << 23, 1), (2 << 23, 1, 2)]);
        assert_eq!(read.to_string(), text);
    }

    #[test]
    fn the_largest_image_is_taken_and_one_chunk_more_is_not() {
        let largest = manifest(65_536 << 23, 65_536);
        assert!(largest.len() <= DiskImageManifest::MAX_BYTES);
        assert_eq!(
            DiskImageManifest::parse(largest.as_bytes()).unwrap().chunks().len(),
            65_536
        );
        let larger = manifest(65_537 << 23, 65_537);
        assert!(DiskImageManifest::parse(larger.as_bytes()).is_err());
        let padded = format!("{largest}{}", "\n".repeat(DiskImageManifest::MAX_BYTES));
        let error = DiskImageManifest::parse(padded.as_bytes()).unwrap_err();
        assert_eq!((error.line, error.code().as_str()), (0, "HM-REG-0095"));
    }

    #[test]
    fn what_differs_in_one_thing_from_a_manifest_is_refused_at_its_line() {
        let good = manifest((1 << 23) + 1, 2);
        assert!(DiskImageManifest::parse(good.as_bytes()).is_ok());
        let changed = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            good.replacen(from, to, 1)
        };
        for (line, bad) in [
            (0, String::new()),
            (0, good.trim_end().to_owned()),
            (1, changed("image 1", "image 2")),
            (1, changed("hallmark", "\u{feff}hallmark")),
            (1, good.replace('\n', "\r\n")),
            (2, changed("image=hallmark-edge", "image=")),
            (2, changed("image=hallmark-edge", "image=hallmark edge")),
            (2, changed("image=hallmark-edge", "image=../edge")),
            (2, changed("image=hallmark-edge", "name=hallmark-edge")),
            (2, changed("hallmark-edge", &"e".repeat(65))),
            (3, changed("2026.11.1", "2026\u{1b}[2J")),
            (4, changed("octets=8388609", "octets=08388609")),
            (4, changed("octets=8388609", "octets=+8388609")),
            (4, changed("octets=8388609", "octets=-1")),
            (4, changed("octets=8388609", "octets=18446744073709551616")),
            (5, changed("chunk_octets=8388608", "chunk_octets=4096")),
            (6, changed("octets=8388609", "octets=8388608")),
            (6, changed("octets=8388609", "octets=18446744073709551615")),
            (6, changed("chunks=2", "chunks=3")),
            (6, manifest(0, 0)),
            (7, changed(&"0".repeat(64), &"0".repeat(63))),
            (7, changed(&"0".repeat(64), &"A".repeat(64))),
            (8, changed(&format!("{:064x}\n", 1), "")),
            (9, format!("{good}\n")),
            (9, format!("{good}{:064x}\n", 2)),
        ] {
            let error = DiskImageManifest::parse(bad.as_bytes()).expect_err(&bad);
            assert_eq!(error.line, line, "{error}\n{bad}");
        }
        assert!(DiskImageManifest::parse(&[0xff, b'\n']).is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_back(octets in 1_u64..(9 << 23), digests: [[u8; 32]; 9], name in "[A-Za-z0-9._+~:-]{1,64}") {
            let count = usize::try_from(octets.div_ceil(DiskImageManifest::CHUNK_OCTETS)).unwrap();
            let manifest = DiskImageManifest {
                image: name.clone(),
                version: name,
                disk_octets: octets,
                chunks: digests[..count].to_vec(),
            };
            prop_assert_eq!(manifest.chunks().map(|it| it.octets).sum::<u64>(), octets);
            prop_assert_eq!(DiskImageManifest::parse(manifest.to_string().as_bytes()), Ok(manifest));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Ok(read) = DiskImageManifest::parse(&bytes) {
                prop_assert_eq!(read.to_string().into_bytes(), bytes);
            }
        }
    }
}
