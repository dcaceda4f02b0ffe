//! Evidence as a file: what a machine's TPM said once, kept so that it can be judged again, anywhere, years later.
//!
//! One JSON document. Binary fields are base64 (RFC 4648, section 4), digests and the qualification lower-case hex.
//! The file is no proof of itself: everything in it is foreign bytes until it was judged.

mod judged;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hallmark_tpm_wire::{HashAlg, PcrValues};
use serde::{Deserialize, Serialize};

use crate::{
    error::EvidenceError,
    limits::Limits,
    log::{Log, LogKind},
    proof::{RawSigned, Signed},
};

use judged::JudgedForm;
pub use judged::{Judged, RuleFile};

const FORMAT: &str = "hallmark-evidence";
const VERSION: u32 = 1;

/// The evidence of one quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceFile {
    /// Where it comes from.
    pub source: Source,
    /// When the file was made, RFC 3339; the maker's word.
    pub made_at: String,
    /// The attestation key as it was given: `TPMT_PUBLIC`, or a DER SPKI that says nothing of the key's properties.
    pub ak: AkPublic,
    /// The EK certificate, DER, if there is one.
    pub ek_certificate: Option<Vec<u8>>,
    /// Certificates between it and its root, DER.
    pub ek_chain: Vec<Vec<u8>>,
    /// The quote.
    pub quote: Signed,
    /// What the quote must be qualified by, at most 64 bytes.
    pub qualification: Vec<u8>,
    /// Values of the quoted registers; may be empty, then the logs alone must give the quoted digest.
    pub pcr_values: PcrValues,
    /// The logs, each whole and each kind at most once.
    pub logs: Vec<Log>,
    /// What it was judged by, if a server judged it.
    pub judged: Option<Judged>,
}

/// Where evidence comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
#[non_exhaustive]
pub enum Source {
    /// Put together from files of other tools.
    Import,
    /// An attestation that a Hallmark server judged.
    Attestation {
        /// The node's SPIFFE ID.
        node: String,
        /// When, RFC 3339.
        judged_at: String,
        /// `accepted` or `refused`.
        verdict: String,
    },
}

/// The attestation key's public part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AkPublic {
    /// `TPMT_PUBLIC`.
    Area(Vec<u8>),
    /// DER `SubjectPublicKeyInfo`.
    Spki(Vec<u8>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    format: String,
    version: u32,
    source: Source,
    made_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ak_public: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ak_spki: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ek_certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ek_chain: Vec<String>,
    quote: String,
    signature: String,
    qualification: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pcr_values: Vec<PcrForm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    logs: Vec<LogForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged: Option<JudgedForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PcrForm {
    bank: String,
    pcr: u8,
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogForm {
    kind: String,
    data: String,
}

impl EvidenceFile {
    /// The largest file that is read, in bytes: an IMA list and a list of digests of the largest size, in base64.
    pub const MAX_LEN: usize = (Limits::KEPT_LOG + Limits::RULE) / 3 * 4 + 16 * 1024 * 1024;

    /// Reads a file.
    ///
    /// # Errors
    /// It is too large, no evidence file, of another version, or a field breaks its limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        Limits::check("evidence file", bytes.len(), Self::MAX_LEN)?;
        let malformed = |detail: String| EvidenceError::File { detail };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let form: Form = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if form.format != FORMAT {
            return Err(malformed(format!(
                "its format is {:?}, expected {FORMAT:?}",
                form.format
            )));
        }
        if form.version != VERSION {
            return Err(EvidenceError::Version {
                expected: VERSION,
                actual: form.version,
            });
        }
        let ak = match (&form.ak_public, &form.ak_spki) {
            (Some(area), None) => AkPublic::Area(binary("ak_public", area, Limits::CERTIFICATE)?),
            (None, Some(spki)) => AkPublic::Spki(binary("ak_spki", spki, Limits::CERTIFICATE)?),
            _ => return Err(malformed("it must have one of ak_public and ak_spki".to_owned())),
        };
        let (quote, signature) = (
            binary("quote", &form.quote, Limits::CERTIFICATE)?,
            binary("signature", &form.signature, Limits::CERTIFICATE)?,
        );
        let certificate = |text: &String| binary("EK certificate", text, Limits::CERTIFICATE);
        Limits::check("EK chain", form.ek_chain.len(), Limits::CHAIN)?;
        Ok(Self {
            source: form.source,
            made_at: form.made_at,
            ak,
            ek_certificate: form.ek_certificate.as_ref().map(certificate).transpose()?,
            ek_chain: form.ek_chain.iter().map(certificate).collect::<Result<_, _>>()?,
            quote: Signed::new(&RawSigned {
                attest: &quote,
                signature: &signature,
            })?,
            qualification: hexadecimal("qualification", &form.qualification)?,
            pcr_values: pcr_values(&form.pcr_values)?,
            logs: logs(&form.logs)?,
            judged: form.judged.map(Judged::of).transpose()?,
        })
    }

    /// The file's bytes: equal evidence gives equal bytes.
    ///
    /// # Errors
    /// None that is known; the encoder's, were it to fail.
    pub fn to_json(&self) -> Result<Vec<u8>, EvidenceError> {
        let encode = |bytes: &Vec<u8>| STANDARD.encode(bytes);
        let (ak_public, ak_spki) = match &self.ak {
            AkPublic::Area(area) => (Some(encode(area)), None),
            AkPublic::Spki(spki) => (None, Some(encode(spki))),
        };
        let form = Form {
            format: FORMAT.to_owned(),
            version: VERSION,
            source: self.source.clone(),
            made_at: self.made_at.clone(),
            ak_public,
            ak_spki,
            ek_certificate: self.ek_certificate.as_ref().map(encode),
            ek_chain: self.ek_chain.iter().map(encode).collect(),
            quote: encode(&self.quote.attest),
            signature: encode(&self.quote.signature),
            qualification: hex::encode(&self.qualification),
            pcr_values: self
                .pcr_values
                .iter()
                .map(|(bank, pcr, digest)| PcrForm {
                    bank: bank.as_str().to_owned(),
                    pcr,
                    digest: hex::encode(digest),
                })
                .collect(),
            logs: self
                .logs
                .iter()
                .map(|log| LogForm {
                    kind: log.kind.as_str().to_owned(),
                    data: encode(&log.data),
                })
                .collect(),
            judged: self.judged.as_ref().map(Judged::form),
        };
        let mut json = serde_json::to_vec_pretty(&form).map_err(|error| EvidenceError::File {
            detail: error.to_string(),
        })?;
        json.push(b'\n');
        Ok(json)
    }

    /// The log of a kind.
    #[must_use]
    pub fn log(&self, kind: LogKind) -> Option<&[u8]> {
        let log = self.logs.iter().find(|log| log.kind == kind)?;
        Some(&log.data)
    }
}

pub(crate) fn binary(field: &'static str, text: &str, limit: usize) -> Result<Vec<u8>, EvidenceError> {
    Limits::check(field, text.len() / 4 * 3, limit.saturating_add(3))?;
    let bytes = STANDARD.decode(text).map_err(|error| EvidenceError::File {
        detail: format!("{field} is not base64: {error}"),
    })?;
    Limits::check(field, bytes.len(), limit)?;
    Ok(bytes)
}

fn hexadecimal(field: &'static str, text: &str) -> Result<Vec<u8>, EvidenceError> {
    Limits::check(field, text.len(), 2 * Limits::SECRET)?;
    hex::decode(text).map_err(|error| EvidenceError::File {
        detail: format!("{field} is not hex: {error}"),
    })
}

fn pcr_values(forms: &[PcrForm]) -> Result<PcrValues, EvidenceError> {
    Limits::check("PCR values", forms.len(), 4 * Limits::PCR_VALUES)?;
    let mut values = PcrValues::new();
    for form in forms {
        let bank = HashAlg::from_name(&form.bank).ok_or_else(|| EvidenceError::File {
            detail: format!("unknown bank {:?}", form.bank),
        })?;
        values
            .insert(bank, form.pcr, hexadecimal("PCR value", &form.digest)?)
            .map_err(EvidenceError::structure("PCR values"))?;
    }
    Ok(values)
}

fn logs(forms: &[LogForm]) -> Result<Vec<Log>, EvidenceError> {
    Limits::check("logs", forms.len(), Limits::LOGS)?;
    let mut logs: Vec<Log> = Vec::new();
    for form in forms {
        let kind = LogKind::from_name(&form.kind).ok_or_else(|| EvidenceError::File {
            detail: format!("unknown kind of log {:?}", form.kind),
        })?;
        if logs.iter().any(|log| log.kind == kind) {
            return Err(EvidenceError::DuplicateLog(kind.as_str()));
        }
        logs.push(Log::whole(kind, binary("log", &form.data, Limits::KEPT_LOG)?)?);
    }
    Ok(logs)
}
