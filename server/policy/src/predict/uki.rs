//! Unified kernel images, and what their stub measures of them.

use super::error::PredictError;
use super::pe::{Digest, PeImage, Section};

/// The stubs whose measurements are known, by systemd's version. Before 252 there were none of sections.
const KNOWN_STUBS: std::ops::RangeInclusive<u32> = 252..=260;

/// What a stub does with a section, by systemd's version.
enum Rule {
    /// From this version on it is measured; an older stub does not know it.
    From(u32),
    /// From the second version on it is measured; of those between the two it is not known.
    Unclear(u32, u32),
    /// From this version on it is chosen by the machine's hardware, or one of several.
    Chosen(u32),
    /// It is never measured: it holds signatures of the measurement.
    Never,
}

/// The sections that systemd-stub knows, in the order in which it measures them, whatever their order in the file.
const SECTIONS: [(&str, Rule); 15] = [
    (".linux", Rule::From(252)),
    (".osrel", Rule::From(252)),
    (".cmdline", Rule::From(252)),
    (".initrd", Rule::From(252)),
    (".ucode", Rule::Unclear(255, 257)),
    (".splash", Rule::From(252)),
    (".dtb", Rule::From(252)),
    (".uname", Rule::Unclear(253, 255)),
    (".sbat", Rule::Unclear(253, 255)),
    (".pcrsig", Rule::Never),
    (".pcrpkey", Rule::From(252)),
    (".profile", Rule::Chosen(257)),
    (".dtbauto", Rule::Chosen(257)),
    (".hwids", Rule::Unclear(257, 258)),
    (".efifw", Rule::Chosen(258)),
];

/// A unified kernel image.
#[derive(Debug)]
pub(super) struct Uki {
    /// The image's Authenticode hash.
    pub(super) authenticode: Digest,
    /// The Authenticode hash of the kernel in it.
    pub(super) kernel: Digest,
    /// The version of its stub: systemd's.
    pub(super) stub: u32,
    /// The sections that the stub measures, in their order; or why that is not known.
    pub(super) measured: Result<Vec<(&'static str, Digest)>, String>,
    /// What the kernel is started with, as text; or why that is not known.
    pub(super) command_line: Result<String, String>,
    /// SHA-256 of the initrd that the kernel is given; or why that is not known.
    pub(super) initrd: Result<Digest, String>,
}

impl Uki {
    /// Reads a unified kernel image.
    ///
    /// # Errors
    /// [`PredictError`] when it is none, or one whose loaded form differs from the file.
    pub(super) fn of(image: &PeImage<'_>) -> Result<Self, PredictError> {
        image.check_addresses()?;
        let section = |name| image.section(name);
        let missing = |fault: &str| PredictError::NoUki {
            fault: fault.to_owned(),
        };
        let linux = section(".linux")?.ok_or_else(|| missing("it has no section .linux"))?;
        let stub = version_of(image, "systemd-stub ")?;
        let stub = stub.ok_or_else(|| missing("it has no section .sdmagic that names systemd-stub"))?;
        if !KNOWN_STUBS.contains(&stub) {
            let (oldest, newest) = (KNOWN_STUBS.start(), KNOWN_STUBS.end());
            return Err(PredictError::NoUki {
                fault: format!("its stub is of systemd {stub}; known are {oldest} to {newest}"),
            });
        }
        let kernel = PeImage::parse("the kernel in .linux", linux.data)?;
        let (measured, command_line, initrd) = match chosen(image, stub) {
            // Each profile may have sections of its own with the same names.
            Some(name) => {
                let why = format!("the machine chooses among sections {name}");
                (Err(why.clone()), Err(why.clone()), Err(why))
            }
            None => {
                let release = section(".uname")?
                    .map(|uname| uname.data)
                    .or_else(|| release(linux.data));
                let measured = measured(image, stub)?;
                if release.is_some_and(kernel_measures) {
                    (measured, command_line(section(".cmdline")?), initrd(image, stub)?)
                } else {
                    let old = || "the kernel is not known to measure it (Linux 6.1 and later do)".to_owned();
                    (measured, Err(old()), Err(old()))
                }
            }
        };
        Ok(Self {
            authenticode: image.authenticode,
            kernel: kernel.authenticode,
            stub,
            measured,
            command_line,
            initrd,
        })
    }
}

/// The first of the image's sections among which the machine chooses: by its hardware, or by the profile that is started.
fn chosen(image: &PeImage<'_>, stub: u32) -> Option<&'static str> {
    let mut names = SECTIONS.iter().filter_map(|(name, rule)| match rule {
        Rule::Chosen(from) if stub >= *from => Some(*name),
        _ => None,
    });
    names.find(|name| image.has(name))
}

/// The version of systemd's `program` that an image is, from `#### LoaderInfo: systemd-stub 252.39-1 ####`.
///
/// # Errors
/// [`PredictError::NoImage`] when it says so several times.
pub(super) fn version_of(image: &PeImage<'_>, program: &str) -> Result<Option<u32>, PredictError> {
    let magic = image.section(".sdmagic")?;
    let text = magic.and_then(|magic| std::str::from_utf8(magic.data).ok());
    let version = text.and_then(|text| text.split_once(program));
    let digits = version.and_then(|(_, version)| version.split(|c: char| !c.is_ascii_digit()).next());
    Ok(digits.and_then(|digits| digits.parse().ok()))
}

/// The release in the header of an x86 kernel (Documentation/arch/x86/boot.rst, `kernel_version`).
fn release(kernel: &[u8]) -> Option<&[u8]> {
    (kernel.get(0x202..0x206)? == b"HdrS").then_some(())?;
    let offset = u16::from_le_bytes(kernel.get(0x20e..0x210)?.try_into().ok()?);
    let text = kernel.get(usize::from(offset).checked_add(0x200)?..)?;
    text.split(|byte| *byte == 0 || *byte == b' ').next()
}

/// Whether a kernel of this release measures its command line and initrd.
fn kernel_measures(release: &[u8]) -> bool {
    let text = String::from_utf8_lossy(release.get(..64.min(release.len())).unwrap_or_default()).into_owned();
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(Some(major)), Some(Some(minor))) if (major, minor) >= (6, 1))
}

type Measured = Result<Vec<(&'static str, Digest)>, String>;

fn measured(image: &PeImage<'_>, stub: u32) -> Result<Measured, PredictError> {
    let mut measured = Vec::new();
    for (name, rule) in SECTIONS {
        let is_there = image.has(name);
        match rule {
            Rule::Unclear(from, sure) if is_there && (from..sure).contains(&stub) => {
                return Ok(Err(format!(
                    "whether systemd {stub} measures the section {name} is not known"
                )));
            }
            Rule::From(from) | Rule::Unclear(_, from) if stub >= from => {}
            _ => continue,
        }
        if let Some(section) = image.section(name)?.filter(|section| !section.is_empty()) {
            measured.push((name, section.digest()));
        }
    }
    Ok(Ok(measured))
}

/// The command line, where every stub passes on the same: what is no printable ASCII, or stands around it, is treated
/// differently.
fn command_line(section: Option<&Section<'_>>) -> Result<String, String> {
    let section = section.filter(|section| !section.is_empty());
    let section = section.ok_or("the image has no .cmdline, so the machine's boot entry gives it")?;
    let end = section.data.iter().position(|byte| *byte == 0);
    let line = section
        .data
        .get(..end.unwrap_or(section.data.len()))
        .unwrap_or_default();
    let plain = line.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if !plain || line.is_empty() || line.first() == Some(&b' ') || line.last() == Some(&b' ') {
        return Err(
            "the command line in .cmdline has characters or white space that stubs pass on differently".to_owned(),
        );
    }
    Ok(String::from_utf8_lossy(line).into_owned())
}

/// The initrd, where the stub passes on the section alone.
fn initrd(image: &PeImage<'_>, stub: u32) -> Result<Result<Digest, String>, PredictError> {
    if stub > 256 {
        return Ok(Err(format!(
            "the stub of systemd {stub} adds files of its own to the initrd"
        )));
    }
    for name in [".ucode", ".pcrsig", ".pcrpkey"] {
        if image.has(name) {
            return Ok(Err(format!("the stub adds the section {name} to the initrd")));
        }
    }
    let section = image.section(".initrd")?.filter(|section| !section.is_empty());
    Ok(section
        .map(Section::digest)
        .ok_or("the image has no .initrd".to_owned()))
}
