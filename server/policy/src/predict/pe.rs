//! UEFI images: PE32+ files, as firmware reads and hashes them.

use aws_lc_rs::digest::{Context, SHA256};
use object::LittleEndian as LE;
use object::pe::{
    IMAGE_DIRECTORY_ENTRY_SECURITY, IMAGE_NT_OPTIONAL_HDR64_MAGIC, ImageDosHeader, ImageNtHeaders64, ImageSectionHeader,
};
use object::read::StringTable;
use object::read::pe::{ImageNtHeaders as _, optional_header_magic};

use super::error::PredictError;

/// A SHA-256 digest.
pub(super) type Digest = [u8; 32];

/// The largest image that is read, in bytes.
pub const MAX_IMAGE: usize = 512 * 1024 * 1024;

/// The most sections of an image; the format allows 96 for images.
const MAX_SECTIONS: usize = 96;

/// Where the optional header has its checksum (PE format, "Optional Header Windows-Specific Fields").
const CHECKSUM: usize = 64;
/// Where the optional header of PE32+ has its data directories.
const DIRECTORIES: usize = 112;
/// Signature and COFF header, which come before the optional header.
const BEFORE_OPTIONAL: usize = 24;

/// An image.
#[derive(Debug)]
pub(super) struct PeImage<'a> {
    /// What of it.
    what: String,
    sections: Vec<Section<'a>>,
    /// Whether it is shim, which measures and verifies by rules of its own; or may be.
    pub(super) is_shim: bool,
    /// The Authenticode hash, as the firmware computes it.
    pub(super) authenticode: Digest,
    /// The attribute certificate table; empty if it is not signed.
    pub(super) certificates: &'a [u8],
}

/// A section of an image.
#[derive(Debug, Clone)]
pub(super) struct Section<'a> {
    name: &'a [u8],
    /// Its bytes in the file, as far as they are loaded.
    pub(super) data: &'a [u8],
    /// Its size in memory: zeros follow the data.
    size: usize,
    address: usize,
    /// Its bytes in the file: start and length.
    raw: (usize, usize),
}

impl Section<'_> {
    /// SHA-256 of the section as it is in memory.
    pub(super) fn digest(&self) -> Digest {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut context = Context::new(&SHA256);
        context.update(self.data);
        let mut left = self.size.saturating_sub(self.data.len());
        while left > 0 {
            let some = left.min(ZEROS.len());
            context.update(ZEROS.get(..some).unwrap_or_default());
            left -= some;
        }
        finish(context)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.size == 0
    }
}

impl<'a> PeImage<'a> {
    /// Reads an image; `what` names it in errors.
    ///
    /// # Errors
    /// [`PredictError::NoImage`] when the firmware would not read it, or not as one would think.
    pub(super) fn parse(what: &str, bytes: &'a [u8]) -> Result<Self, PredictError> {
        read(what, bytes).map_err(|fault| PredictError::NoImage {
            image: what.to_owned(),
            fault,
        })
    }

    /// The only section with this name.
    ///
    /// # Errors
    /// [`PredictError::NoImage`] when there are several.
    pub(super) fn section(&self, name: &str) -> Result<Option<&Section<'a>>, PredictError> {
        let mut found = self.sections.iter().filter(|section| section.name == name.as_bytes());
        match (found.next(), found.next()) {
            (section, None) => Ok(section),
            _ => Err(PredictError::NoImage {
                image: self.what.clone(),
                fault: format!("it has several sections {name}"),
            }),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.sections.iter().any(|section| section.name == name.as_bytes())
    }

    /// Refuses sections that hide one another in memory: what is measured there is not what the file has.
    ///
    /// # Errors
    /// [`PredictError::NoImage`].
    pub(super) fn check_addresses(&self) -> Result<(), PredictError> {
        let mut ranges: Vec<_> = self.sections.iter().map(|it| (it.address, it.size)).collect();
        if overlap(&mut ranges) {
            return Err(PredictError::NoImage {
                image: self.what.clone(),
                fault: "sections overlap in memory".to_owned(),
            });
        }
        Ok(())
    }
}

fn read<'a>(what: &str, bytes: &'a [u8]) -> Result<PeImage<'a>, String> {
    if bytes.len() > MAX_IMAGE {
        return Err(format!("it has more than {MAX_IMAGE} bytes"));
    }
    let told = |error: object::read::Error| error.to_string();
    if optional_header_magic(bytes).map_err(told)? != IMAGE_NT_OPTIONAL_HDR64_MAGIC {
        return Err("it is no 64-bit image (PE32+)".to_owned());
    }
    let dos = ImageDosHeader::parse(bytes).map_err(told)?;
    let start = usize::try_from(dos.nt_headers_offset()).map_err(|_| "no header")?;
    let mut end = u64::from(dos.nt_headers_offset());
    let (header, directories) = ImageNtHeaders64::parse(bytes, &mut end).map_err(told)?;
    let table = header.sections(bytes, end).map_err(told)?;
    let headers = size(header.optional_header.size_of_headers.get(LE))?;
    if table.len() > MAX_SECTIONS {
        return Err(format!("{} sections, the most are {MAX_SECTIONS}", table.len()));
    }
    let entry = 40_u64.saturating_mul(u64::try_from(table.len()).unwrap_or(u64::MAX));
    if headers > bytes.len() || end.saturating_add(entry) > u64::try_from(headers).unwrap_or(0) {
        return Err("its headers do not fit into their declared size".to_owned());
    }
    // Who has no such table has no long names.
    let symbols = header.symbols(bytes).unwrap_or_default();
    let sections = table
        .iter()
        .map(|it| section(it, bytes))
        .collect::<Result<Vec<_>, _>>()?;
    let mut ranges: Vec<_> = sections.iter().map(|section| section.raw).collect();
    ranges.push((0, headers));
    if overlap(&mut ranges) {
        return Err("sections overlap in the file".to_owned());
    }
    let directory = directories.iter().nth(IMAGE_DIRECTORY_ENTRY_SECURITY);
    let directory = directory.ok_or("it has no entry for a signature")?;
    let certificates = (size(directory.virtual_address.get(LE))?, size(directory.size.get(LE))?);
    let optional = start.saturating_add(BEFORE_OPTIONAL);
    let hashed = hash(bytes, optional, headers, &sections, certificates.1)?;
    Ok(PeImage {
        what: what.to_owned(),
        sections,
        is_shim: table.iter().any(|section| is_of_shim(section, symbols.strings())),
        authenticode: hashed,
        certificates: part(bytes, certificates.0, certificates.1).ok_or("its signature lies outside the file")?,
    })
}

/// Whether a section is one that shim alone has, or has a long name that cannot be read.
fn is_of_shim<'a>(header: &'a ImageSectionHeader, strings: StringTable<'a>) -> bool {
    let name = header.name(strings);
    name.is_err() || matches!(name, Ok(b".vendor_cert" | b".sbatlevel"))
}

fn section<'a>(header: &'a ImageSectionHeader, bytes: &'a [u8]) -> Result<Section<'a>, String> {
    let end = header
        .name
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(header.name.len());
    let name = header.name.get(..end).unwrap_or_default();
    let raw = (
        size(header.pointer_to_raw_data.get(LE))?,
        size(header.size_of_raw_data.get(LE))?,
    );
    let shown = || String::from_utf8_lossy(name).into_owned();
    let in_file = match raw.1 {
        0 => &[],
        length => part(bytes, raw.0, length).ok_or_else(|| format!("section {} lies outside the file", shown()))?,
    };
    let in_memory = size(header.virtual_size.get(LE))?;
    if in_memory > MAX_IMAGE {
        return Err(format!(
            "section {} takes more than {MAX_IMAGE} bytes of memory",
            shown()
        ));
    }
    Ok(Section {
        name,
        data: in_file.get(..in_memory.min(in_file.len())).unwrap_or_default(),
        size: in_memory,
        address: size(header.virtual_address.get(LE))?,
        raw,
    })
}

/// The Authenticode hash (Windows Authenticode Portable Executable Signature Format, "Calculating the PE Image Hash"),
/// with what firmware makes of data behind the last section: it begins where as many bytes as were hashed end.
fn hash(
    bytes: &[u8],
    optional: usize,
    headers: usize,
    sections: &[Section<'_>],
    certificates: usize,
) -> Result<Digest, String> {
    let directory = optional.saturating_add(DIRECTORIES + 8 * IMAGE_DIRECTORY_ENTRY_SECURITY);
    let checksum = optional.saturating_add(CHECKSUM);
    let mut context = Context::new(&SHA256);
    let mut update = |start: usize, end: usize| {
        let bytes = bytes.get(start..end).ok_or("its headers are too short")?;
        context.update(bytes);
        Ok::<_, &str>(())
    };
    update(0, checksum)?;
    update(checksum.saturating_add(4), directory)?;
    update(directory.saturating_add(8), headers)?;
    let mut hashed = headers;
    let mut ordered: Vec<_> = sections
        .iter()
        .map(|section| section.raw)
        .filter(|raw| raw.1 > 0)
        .collect();
    ordered.sort_unstable();
    for (start, length) in ordered {
        update(start, start.saturating_add(length))?;
        hashed = hashed.saturating_add(length);
    }
    let end = bytes.len().checked_sub(certificates).filter(|end| *end >= hashed);
    update(hashed, end.ok_or("its signature covers other parts of the file")?)?;
    Ok(finish(context))
}

/// Whether ranges of start and length share a byte. Empty ones share none.
fn overlap(ranges: &mut Vec<(usize, usize)>) -> bool {
    ranges.retain(|range| range.1 > 0);
    ranges.sort_unstable();
    let mut pairs = ranges.iter().zip(ranges.iter().skip(1));
    pairs.any(|(first, second)| first.0.saturating_add(first.1) > second.0)
}

fn part(bytes: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    if length == 0 {
        return Some(&[]);
    }
    bytes.get(start..start.checked_add(length)?)
}

fn size(value: u32) -> Result<usize, String> {
    usize::try_from(value).map_err(|_| format!("{value} is too large for this machine"))
}

pub(super) fn sha256(data: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(data);
    finish(context)
}

fn finish(context: Context) -> Digest {
    let mut digest = Digest::default();
    for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    digest
}
