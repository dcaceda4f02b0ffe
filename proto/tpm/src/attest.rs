//! Attestation structures (part 2, section 10.12, table "TPMS_ATTEST").

use crate::{error::WireError, name::Name, pcr::PcrSelection, reader::Reader};

const STRUCTURE: &str = "TPMS_ATTEST";
/// `TPM_GENERATED_VALUE`: what a restricted key signs begins with it only where the TPM made it.
const MAGIC: u32 = 0xff54_4347;
const ATTEST_CERTIFY: u16 = 0x8017;
const ATTEST_QUOTE: u16 = 0x8018;
/// The largest `TPM2B_DATA`: a `TPMT_HA` with SHA-512.
const MAX_EXTRA_DATA: usize = 66;

/// What a TPM said about itself, decoded; nothing of it is true until its signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// The Qualified Name of the signing key. In the owner hierarchy it also hides the parent's identity.
    pub qualified_signer: Name,
    /// `qualifyingData` of the command: the caller's anti-replay value.
    pub extra_data: Vec<u8>,
    /// Clock and counters.
    pub clock_info: ClockInfo,
    /// The TPM vendor's firmware version; obfuscated unless the signing key is in the endorsement or platform
    /// hierarchy.
    pub firmware_version: u64,
    /// What is attested.
    pub kind: AttestKind,
}

/// `TPMS_CLOCK_INFO` (part 2, section 10.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds that the TPM has been powered.
    pub clock: u64,
    /// TPM resets: reboots of the machine.
    pub reset_count: u32,
    /// TPM restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Whether no greater clock value was ever reported.
    pub safe: bool,
}

/// What an attestation structure attests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttestKind {
    /// TPM2_Quote: PCR values.
    Quote(Quote),
    /// TPM2_Certify: another object in the same TPM.
    Certify(Certify),
    /// Another attestation type, by its `TPM_ST`; its contents are not decoded.
    Other(u16),
}

/// `TPMS_QUOTE_INFO` (part 2, section 10.12.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The quoted registers.
    pub selection: PcrSelection,
    /// The digest over their values, under the hash of the signature's scheme.
    pub pcr_digest: Vec<u8>,
}

/// `TPMS_CERTIFY_INFO` (part 2, section 10.12.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certify {
    /// The Name of the certified object.
    pub name: Name,
    /// The Qualified Name of the certified object.
    pub qualified_name: Name,
}

impl Attest {
    /// The longest `TPMS_ATTEST` accepted, in bytes.
    pub const MAX_LEN: usize = 1024;

    /// Reads a `TPMS_ATTEST`.
    ///
    /// # Errors
    /// It does not begin with `TPM_GENERATED_VALUE` (then it was not made inside a TPM), is malformed or too long, or
    /// bytes follow it.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::bounded(bytes, STRUCTURE, Self::MAX_LEN)?;
        let magic = reader.u32()?;
        if magic != MAGIC {
            return Err(WireError::WrongMagic(magic));
        }
        let tag = reader.u16()?;
        let qualified_signer = read_name(&mut reader)?;
        let extra_data = reader.sized("extraData", MAX_EXTRA_DATA)?.to_vec();
        let clock_info = read_clock_info(&mut reader)?;
        let firmware_version = reader.u64()?;
        let kind = match tag {
            ATTEST_QUOTE => AttestKind::Quote(read_quote(&mut reader)?),
            ATTEST_CERTIFY => AttestKind::Certify(Certify {
                name: read_name(&mut reader)?,
                qualified_name: read_name(&mut reader)?,
            }),
            other => {
                reader.remainder("attested", Self::MAX_LEN)?;
                AttestKind::Other(other)
            }
        };
        reader.finish()?;
        Ok(Self {
            qualified_signer,
            extra_data,
            clock_info,
            firmware_version,
            kind,
        })
    }
}

fn read_name(reader: &mut Reader<'_>) -> Result<Name, WireError> {
    Name::parse(reader.sized("Name", Name::MAX_LEN)?)
}

fn read_clock_info(reader: &mut Reader<'_>) -> Result<ClockInfo, WireError> {
    let clock = reader.u64()?;
    let reset_count = reader.u32()?;
    let restart_count = reader.u32()?;
    let safe = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(WireError::malformed("TPMS_CLOCK_INFO", "safe is 0 or 1")),
    };
    Ok(ClockInfo {
        clock,
        reset_count,
        restart_count,
        safe,
    })
}

fn read_quote(reader: &mut Reader<'_>) -> Result<Quote, WireError> {
    let selection = PcrSelection::read(reader)?;
    let pcr_digest = reader.sized("pcrDigest", 64)?.to_vec();
    if !matches!(pcr_digest.len(), 32 | 48 | 64) {
        return Err(WireError::malformed(
            "TPMS_QUOTE_INFO",
            "pcrDigest is a digest of SHA-256 or better",
        ));
    }
    Ok(Quote { selection, pcr_digest })
}
