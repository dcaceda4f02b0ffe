//! What survives a restart: one JSON file in the data folder. Nothing in it is secret: the SVID's key is in the TPM,
//! and the bytes that it is made from are of no use without that TPM.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hallmark_host::{Foreign, Purpose, log, make_folder};
use hallmark_spiffe::{Bundle, TrustDomain};
use hallmark_tpm::{Endorsement, Unique};
use hallmark_tpm_wire::{HashAlg, PcrValues, PublicArea};
use serde::{Deserialize, Serialize};

use crate::{AgentError, agent_svid::AgentSvid, attester::Known};

const FILE: &str = "state.json";
const VERSION: u32 = 1;
/// Far more than a state ever takes.
const MOST_BYTES: u64 = 16 << 20;

/// The data folder.
#[derive(Debug, Clone)]
pub struct StateFile {
    folder: PathBuf,
}

/// What an earlier run left, decoded but not yet checked against TPM and bundle.
#[derive(Debug)]
pub struct Remembered {
    /// The trust domain's bundle.
    pub bundle: Bundle,
    /// What the TPM showed.
    pub known: Known,
    /// The values of the last quote.
    pub pcrs: Option<PcrValues>,
    /// What the SVID's key is made from.
    pub unique: Unique,
    /// The key's certificate request.
    pub csr: Vec<u8>,
    /// The SVID, DER, leaf first.
    pub chain: Vec<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    trust_domain: String,
    bundle: Vec<String>,
    bundle_sequence: u64,
    bundle_refresh_seconds: u64,
    ek_certificate: Option<String>,
    ek_public: String,
    ek_chain: Vec<String>,
    ak_public: String,
    pcrs: Vec<Pcr>,
    svid_key_unique: String,
    svid_key_csr: String,
    svid_chain: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pcr {
    bank: String,
    pcr: u8,
    value: String,
}

impl StateFile {
    /// The state in `folder`, which is made (mode 0700) where it does not exist.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn open(folder: &Path) -> Result<Self, AgentError> {
        let failed = |error: io::Error| failure(folder, &error);
        if let Some(Foreign { place, why }) = make_folder(folder, 0o700, Purpose::Files).map_err(failed)? {
            return Err(AgentError::StateExposed {
                path: folder.display().to_string(),
                detail: format!("{}: {why}", place.display()),
            });
        }
        // A full disk lets a file be made: an agent starts there too, and does its work.
        let probe = folder.join(".write-test");
        fresh(&probe).map_err(failed)?;
        fs::remove_file(&probe).map_err(failed)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// What an earlier run left; `None` at the first start. A file that does not decode is set aside under another
    /// name, with a warning: the agent can always attest afresh.
    ///
    /// # Errors
    /// The file is there and cannot be read, or cannot be set aside.
    pub fn load(&self, trust_domain: &TrustDomain) -> Result<Option<Remembered>, AgentError> {
        let path = self.path();
        let text = match read_limited(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return self.set_aside(&error.to_string()),
            Err(error) => return Err(failure(&path, &error)),
        };
        match decode(trust_domain, &text) {
            Ok(remembered) => Ok(Some(remembered)),
            Err(detail) => self.set_aside(&detail),
        }
    }

    /// Replaces the state: written beside, flushed, renamed, and the folder flushed, so that a crash at any moment
    /// leaves the old state or the new.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn save(
        &self,
        bundle: &Bundle,
        known: &Known,
        pcrs: Option<&PcrValues>,
        identity: &AgentSvid,
    ) -> Result<(), AgentError> {
        let form = encode(bundle, known, pcrs, identity);
        let text = serde_json::to_vec_pretty(&form).map_err(|error| AgentError::State {
            path: FILE.into(),
            detail: error.to_string(),
        })?;
        let path = self.path();
        write_atomically(&self.folder, &path, &text).map_err(|error| failure(&path, &error))
    }

    /// Forgets everything: the machine was banned.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self) -> Result<(), AgentError> {
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failure(&self.path(), &error)),
            _ => Ok(()),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    fn set_aside(&self, detail: &str) -> Result<Option<Remembered>, AgentError> {
        let stamp = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let aside = self.folder.join(format!("{FILE}.damaged-{stamp}"));
        fs::rename(self.path(), &aside).map_err(|error| failure(&aside, &error))?;
        let moved_to = aside.display().to_string();
        let warning = AgentError::StateCorrupt {
            moved_to,
            detail: detail.to_owned(),
        };
        log::warn(&warning);
        Ok(None)
    }
}

fn failure(path: &Path, error: &io::Error) -> AgentError {
    AgentError::State {
        path: path.display().to_string(),
        detail: error.to_string(),
    }
}

/// Reads a file that this agent, or root, has written; what somebody left there while the folder was open to others is
/// not the agent's state.
fn read_limited(path: &Path) -> io::Result<String> {
    let damaged = |detail: &str| Err(io::Error::new(io::ErrorKind::InvalidData, detail.to_owned()));
    if !fs::symlink_metadata(path)?.is_file() {
        return damaged("it is not a file");
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if ![0, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) || metadata.mode() & 0o022 != 0 {
        return damaged("others may write to it");
    }
    let mut text = Vec::new();
    file.take(MOST_BYTES.saturating_add(1)).read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MOST_BYTES) {
        return damaged("larger than any state");
    }
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A new file, in the place of whatever was there.
fn fresh(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

fn write_atomically(folder: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = folder.join(format!("{FILE}.new"));
    let mut file = fresh(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

fn encode(bundle: &Bundle, known: &Known, pcrs: Option<&PcrValues>, identity: &AgentSvid) -> Form {
    Form {
        version: VERSION,
        trust_domain: bundle.trust_domain.to_string(),
        bundle: bundle.x509_authorities.iter().map(hex::encode).collect(),
        bundle_sequence: bundle.sequence,
        bundle_refresh_seconds: bundle.refresh_hint.as_secs(),
        ek_certificate: known.endorsement.certificate.as_ref().map(hex::encode),
        ek_public: hex::encode(known.endorsement.public.marshal()),
        ek_chain: known.chain.iter().map(hex::encode).collect(),
        ak_public: hex::encode(known.attestation_key.marshal()),
        pcrs: pcrs.map(encode_pcrs).unwrap_or_default(),
        svid_key_unique: hex::encode(identity.unique.0),
        svid_key_csr: hex::encode(&identity.csr),
        svid_chain: identity.chain.iter().map(hex::encode).collect(),
    }
}

fn encode_pcrs(values: &PcrValues) -> Vec<Pcr> {
    values
        .iter()
        .map(|(bank, pcr, value)| Pcr {
            bank: bank.as_str().into(),
            pcr,
            value: hex::encode(value),
        })
        .collect()
}

fn decode(trust_domain: &TrustDomain, text: &str) -> Result<Remembered, String> {
    let form: Form = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if form.version != VERSION {
        return Err(format!("version {}, this program reads {VERSION}", form.version));
    }
    if form.trust_domain != trust_domain.as_str() {
        return Err(format!("it belongs to the trust domain {}", form.trust_domain));
    }
    let bundle = Bundle {
        x509_authorities: all_bytes(&form.bundle)?,
        sequence: form.bundle_sequence,
        refresh_hint: Duration::from_secs(form.bundle_refresh_seconds),
        ..Bundle::empty(trust_domain.clone())
    };
    bundle.authorities().map_err(|error| error.to_string())?;
    let unique = bytes(&form.svid_key_unique)?
        .try_into()
        .map_err(|_| "svid_key_unique is not 32 bytes long")?;
    Ok(Remembered {
        bundle,
        known: Known {
            endorsement: Endorsement {
                certificate: form.ek_certificate.as_deref().map(bytes).transpose()?,
                public: public(&form.ek_public)?,
            },
            chain: all_bytes(&form.ek_chain)?,
            attestation_key: public(&form.ak_public)?,
        },
        pcrs: decode_pcrs(&form.pcrs)?,
        unique: Unique(unique),
        csr: bytes(&form.svid_key_csr)?,
        chain: all_bytes(&form.svid_chain)?,
    })
}

fn decode_pcrs(pcrs: &[Pcr]) -> Result<Option<PcrValues>, String> {
    let mut values = PcrValues::new();
    for pcr in pcrs {
        let bank = HashAlg::from_name(&pcr.bank).ok_or_else(|| format!("unknown bank {}", pcr.bank))?;
        values
            .insert(bank, pcr.pcr, bytes(&pcr.value)?)
            .map_err(|error| error.to_string())?;
    }
    Ok((!values.is_empty()).then_some(values))
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|error| error.to_string())
}

fn all_bytes(texts: &[String]) -> Result<Vec<Vec<u8>>, String> {
    texts.iter().map(|text| bytes(text)).collect()
}

fn public(text: &str) -> Result<PublicArea, String> {
    PublicArea::parse(&bytes(text)?).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
