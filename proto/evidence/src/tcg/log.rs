//! The log.

use hallmark_tpm_wire::HashAlg;

use super::{error::TcgLogError, event::TcgEvent, kind::EventKind, reader::Reader};
use crate::limits::Limits;

/// The form of a log's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcgFormat {
    /// `TCG_PCR_EVENT`: one SHA-1 digest an event.
    Sha1,
    /// `TCG_PCR_EVENT2`: a digest for each bank.
    CryptoAgile,
}

/// A firmware log, decoded and not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcgLog<'a> {
    format: TcgFormat,
    banks: Vec<HashAlg>,
    unknown_banks: Vec<u16>,
    startup_locality: u8,
    events: Vec<TcgEvent<'a>>,
}

/// The most events in one log. The longest of real machines have some hundreds.
const MAX_EVENTS: usize = 16 * 1024;
/// The most banks that a log may declare.
const MAX_BANKS: usize = 16;
/// The largest digest of any algorithm.
const MAX_DIGEST: usize = 128;
/// No TPM of the PC Client profile has more registers.
const REGISTERS: u32 = 24;
/// What a log says of events that belong to no register (PFP, section 10.4.5.2).
const NO_REGISTER: u32 = u32::MAX;

const SPEC_ID: &[u8] = b"Spec ID Event03\0";
/// The ACPI table that says where a CC log lies (ACPI 6.5, "CC Event Log").
const CC_TABLE: &[u8] = b"CCEL";
/// The measurement register of a CC log that stands for PCR 0, and 1 and 7: TDX's MR 1, which is RTMR 0 (UEFI 2.10, section 38.4).
const CC_REGISTER: u32 = 1;
const LOCALITY: &[u8] = b"StartupLocality\0";

/// A bank as the Spec ID event declares it.
struct Declared {
    id: u16,
    size: usize,
    known: Option<HashAlg>,
}

impl<'a> TcgLog<'a> {
    /// Reads a whole log.
    ///
    /// # Errors
    /// [`TcgLogError`] for the first thing that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TcgLogError> {
        too_many("bytes", Limits::BOOT_LOG, bytes.len())?;
        if bytes.is_empty() {
            return Err(TcgLogError::Empty);
        }
        if bytes.starts_with(CC_TABLE) {
            return Err(TcgLogError::Confidential {
                found: "the ACPI table CCEL, which only says where such a log lies",
            });
        }
        let mut reader = Reader::new(bytes);
        let first = sha1_event(&mut reader, 0)?;
        if first.kind == EventKind::NO_ACTION && first.data.starts_with(SPEC_ID) {
            Self::crypto_agile(reader, first)
        } else {
            Self::sha1(reader, first)
        }
    }

    fn sha1(mut reader: Reader<'a>, first: TcgEvent<'a>) -> Result<Self, TcgLogError> {
        let mut log = Self {
            format: TcgFormat::Sha1,
            banks: vec![HashAlg::Sha1],
            unknown_banks: Vec::new(),
            startup_locality: 0,
            events: Vec::new(),
        };
        log.push(first)?;
        while !reader.is_empty() {
            let number = log.next_number()?;
            log.push(sha1_event(&mut reader, number)?)?;
        }
        Ok(log)
    }

    fn crypto_agile(mut reader: Reader<'a>, first: TcgEvent<'a>) -> Result<Self, TcgLogError> {
        if first.pcr == CC_REGISTER {
            return Err(TcgLogError::Confidential {
                found: "one in measurement register 1",
            });
        }
        if first.pcr != 0
            || first
                .digests
                .iter()
                .any(|(_, digest)| digest.iter().any(|byte| *byte != 0))
        {
            return Err(TcgLogError::SpecId("it is not in register 0 with a digest of zeros"));
        }
        let declared = spec_id(first.data)?;
        let mut log = Self {
            format: TcgFormat::CryptoAgile,
            banks: declared.iter().filter_map(|bank| bank.known).collect(),
            unknown_banks: declared
                .iter()
                .filter(|bank| bank.known.is_none())
                .map(|bank| bank.id)
                .collect(),
            startup_locality: 0,
            events: Vec::new(),
        };
        // Its one digest is zeros in the older form, and extended nowhere.
        log.push(TcgEvent {
            digests: Vec::new(),
            ..first
        })?;
        while !reader.is_empty() {
            let number = log.next_number()?;
            log.push(agile_event(&mut reader, number, &declared)?)?;
        }
        Ok(log)
    }

    fn next_number(&self) -> Result<u32, TcgLogError> {
        too_many("events", MAX_EVENTS, self.events.len().saturating_add(1))?;
        Ok(u32::try_from(self.events.len()).unwrap_or(u32::MAX))
    }

    fn push(&mut self, event: TcgEvent<'a>) -> Result<(), TcgLogError> {
        let informs = !event.is_measured();
        if event.pcr >= REGISTERS && !(informs && event.pcr == NO_REGISTER) {
            return Err(TcgLogError::Register {
                event: event.number,
                pcr: event.pcr,
            });
        }
        self.read_locality(&event)?;
        self.events.push(event);
        Ok(())
    }

    /// From which locality the TPM was started decides what PCR 0 begins with, so it is said before PCR 0 is extended
    /// (PFP, section 10.4.5.3), and once. A dynamic root that began before the firmware (`EV_EFI_HCRTM_EVENT`, PFP
    /// section 3.3.4.2) means locality 4.
    fn read_locality(&mut self, event: &TcgEvent<'a>) -> Result<(), TcgLogError> {
        let told = match event.data.split_at_checked(LOCALITY.len()) {
            // Some firmware writes the data of every event into a slot of one size.
            Some((LOCALITY, [locality, ..])) if !event.is_measured() && event.pcr == 0 => *locality,
            _ if event.kind == EventKind::EFI_HCRTM_EVENT && event.pcr == 0 => 4,
            _ => return Ok(()),
        };
        let late = self.events.iter().any(|before| before.pcr == 0 && before.is_measured());
        let again = self.startup_locality != 0 && self.startup_locality != told;
        // Some firmware puts the event behind the H-CRTM's own measurement, which is no contradiction.
        let confirmed = self.startup_locality == told;
        if told > 4 || again || (late && !confirmed) {
            return Err(TcgLogError::Locality { event: event.number });
        }
        self.startup_locality = told;
        Ok(())
    }

    /// The form of the events.
    #[must_use]
    pub const fn format(&self) -> TcgFormat {
        self.format
    }

    /// The banks that every measured event has a digest for, and that are known here.
    #[must_use]
    pub fn banks(&self) -> &[HashAlg] {
        &self.banks
    }

    /// `TPM_ALG_ID`s of declared banks that are not known here; their digests are passed over by their declared size.
    #[must_use]
    pub fn unknown_banks(&self) -> &[u16] {
        &self.unknown_banks
    }

    /// The locality that the TPM was started from: 0, 3 or 4.
    #[must_use]
    pub const fn startup_locality(&self) -> u8 {
        self.startup_locality
    }

    /// The events, in the order of the log.
    #[must_use]
    pub fn events(&self) -> &[TcgEvent<'a>] {
        &self.events
    }
}

fn too_many(field: &'static str, limit: usize, actual: usize) -> Result<(), TcgLogError> {
    if actual > limit {
        return Err(TcgLogError::TooMany { field, limit, actual });
    }
    Ok(())
}

/// `TCG_PCR_EVENT` (PFP, section 10.2.1).
fn sha1_event<'a>(reader: &mut Reader<'a>, number: u32) -> Result<TcgEvent<'a>, TcgLogError> {
    let (pcr, kind) = (reader.u32("pcrIndex")?, EventKind(reader.u32("eventType")?));
    let digest = reader.take(HashAlg::Sha1.digest_len(), "digest")?;
    let length = reader.length("eventDataSize")?;
    Ok(TcgEvent {
        number,
        pcr,
        kind,
        digests: vec![(HashAlg::Sha1, digest)],
        data: reader.take(length, "event")?,
    })
}

/// `TCG_EfiSpecIdEvent` (PFP, section 10.4.5.1).
fn spec_id(data: &[u8]) -> Result<Vec<Declared>, TcgLogError> {
    let mut reader = Reader::new(data);
    reader.take(SPEC_ID.len(), "signature")?;
    reader.u32("platformClass")?;
    reader.take(3, "specVersion")?;
    if !matches!(reader.u8("uintnSize")?, 1 | 2) {
        return Err(TcgLogError::SpecId("uintnSize is neither 1 nor 2"));
    }
    let count = reader.length("numberOfAlgorithms")?;
    too_many("banks", MAX_BANKS, count)?;
    let mut declared: Vec<Declared> = Vec::new();
    for _ in 0..count {
        let (id, size) = (reader.u16("algorithmId")?, usize::from(reader.u16("digestSize")?));
        let known = HashAlg::from_id(id);
        if declared.iter().any(|other| other.id == id) {
            return Err(TcgLogError::SpecId("it declares a bank twice"));
        }
        if size > MAX_DIGEST || size == 0 || known.is_some_and(|alg| alg.digest_len() != size) {
            return Err(TcgLogError::SpecId(
                "it declares a bank with a digest size that is not the algorithm's",
            ));
        }
        declared.push(Declared { id, size, known });
    }
    let vendor = usize::from(reader.u8("vendorInfoSize")?);
    reader.take(vendor, "vendorInfo")?;
    if declared.iter().all(|bank| bank.known.is_none()) {
        return Err(TcgLogError::SpecId("it declares no bank that is known here"));
    }
    if !reader.is_empty() {
        return Err(TcgLogError::SpecId("bytes follow it"));
    }
    Ok(declared)
}

/// `TCG_PCR_EVENT2` (PFP, section 10.2.2).
fn agile_event<'a>(reader: &mut Reader<'a>, number: u32, declared: &[Declared]) -> Result<TcgEvent<'a>, TcgLogError> {
    let (pcr, kind) = (reader.u32("pcrIndex")?, EventKind(reader.u32("eventType")?));
    let count = reader.length("digests.count")?;
    too_many("digests", MAX_BANKS, count)?;
    let fault = |detail| TcgLogError::Digests { event: number, detail };
    let mut seen: Vec<u16> = Vec::with_capacity(count);
    let mut digests = Vec::with_capacity(count);
    for _ in 0..count {
        let id = reader.u16("hashAlg")?;
        let bank = declared
            .iter()
            .find(|bank| bank.id == id)
            .ok_or(fault("a bank that the Spec ID event does not declare"))?;
        if seen.contains(&id) {
            return Err(fault("a bank twice"));
        }
        seen.push(id);
        let digest = reader.take(bank.size, "digest")?;
        digests.extend(bank.known.map(|alg| (alg, digest)));
    }
    if kind != EventKind::NO_ACTION && seen.len() != declared.len() {
        return Err(fault("a declared bank is missing"));
    }
    let length = reader.length("eventSize")?;
    Ok(TcgEvent {
        number,
        pcr,
        kind,
        digests,
        data: reader.take(length, "event")?,
    })
}
