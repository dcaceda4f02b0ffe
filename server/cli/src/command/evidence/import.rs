//! `evidence import`: files of other tools become one evidence file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hallmark_der::SectionKind;
use hallmark_evidence::anchor::{AnchorFile, Anchors};
use hallmark_evidence::{AkPublic, EvidenceFile, Limits, Log, LogKind, RawSigned, Signed, Source};
use hallmark_tpm_wire::{Attest, HashAlg, PublicArea, Signature};
use hallmark_verify::offline;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{
    read::{MAX_FILE, limited},
    registers::registers,
};
use crate::{args::out_path, error::CliError, timestamp};

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The attestation key: TPM2B_PUBLIC or TPMT_PUBLIC (tpm2_createak -u, tpm2_readpublic -f tss), or PEM; beside PEM, given
    /// again, its TPM Name (tpm2_createak -n), which says what kind of key it is
    #[arg(long, value_name = "FILE", required = true)]
    ak_public: Vec<PathBuf>,
    /// The quote: TPMS_ATTEST (tpm2_quote -m)
    #[arg(long, value_name = "FILE")]
    quote: PathBuf,
    /// Its signature: TPMT_SIGNATURE (tpm2_quote -s)
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    /// What the quote must be qualified by (tpm2_quote -q), hex
    #[arg(long, value_name = "HEX", value_parser = qualification)]
    qualification: Qualification,
    /// The firmware's event log (binary_bios_measurements)
    #[arg(long, value_name = "FILE")]
    eventlog: Option<PathBuf>,
    /// The IMA list (binary_runtime_measurements or ascii_runtime_measurements)
    #[arg(long, value_name = "FILE")]
    ima: Option<PathBuf>,
    /// systemd's measurement log (tpm2-measure.log)
    #[arg(long, value_name = "FILE")]
    systemd_log: Option<PathBuf>,
    /// An NvPCR anchor that systemd-stub measured (loader/credentials/nvpcr-anchor.….cred on the boot partition); may be given
    /// several times
    #[arg(long, value_name = "FILE", requires = "systemd_log")]
    nvpcr_anchor: Vec<PathBuf>,
    /// The values of the quoted registers: lines `sha256:7 HEX`, what tpm2_pcrread prints, or what tpm2_quote -o
    /// writes
    #[arg(long, value_name = "FILE")]
    pcrs: Option<PathBuf>,
    /// The TPM's EK certificate with its chain: PEM, DER, or as tpm2_nvread gives it
    #[arg(long, value_name = "FILE")]
    ek_cert: Option<PathBuf>,
    /// The evidence file to write; `-o OUT` says the same here
    #[arg(long, value_name = "OUT", value_parser = out_path)]
    out: PathBuf,
}

/// `extraData`, at most 64 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Qualification(Vec<u8>);

fn qualification(text: &str) -> Result<Qualification, String> {
    let bytes = hex::decode(text.trim().trim_start_matches("0x")).map_err(|error| error.to_string())?;
    if bytes.len() > Limits::SECRET {
        return Err(format!("{} bytes; a TPM takes at most {}", bytes.len(), Limits::SECRET));
    }
    Ok(Qualification(bytes))
}

impl Import {
    /// Writes the file; nothing is judged but the form of what was given.
    pub(super) fn run(self) -> Result<PathBuf, CliError> {
        let (quote, signature) = (limited(&self.quote, MAX_FILE)?, limited(&self.signature, MAX_FILE)?);
        let (ek_certificate, ek_chain) = self
            .ek_cert
            .as_deref()
            .map(certificates)
            .transpose()?
            .unwrap_or_default();
        let logs = [
            (LogKind::Tcg, &self.eventlog),
            (LogKind::Systemd, &self.systemd_log),
            (LogKind::Ima, &self.ima),
        ];
        let mut kept = Vec::new();
        for (kind, path) in logs {
            let Some(path) = path else { continue };
            let mut bytes = limited(path, Limits::KEPT_LOG)?;
            if kind == LogKind::Systemd && !self.nvpcr_anchor.is_empty() {
                bytes = [anchors(&self.nvpcr_anchor)?.to_record(), bytes].concat();
            }
            let log = Log::whole(kind, bytes);
            kept.push(log.map_err(|cause| CliError::Evidence {
                file: path.clone(),
                cause,
            })?);
        }
        readable(&self.quote, &quote, &self.signature, &signature)?;
        let quote = Signed::new(&RawSigned {
            attest: &quote,
            signature: &signature,
        });
        let file = EvidenceFile {
            source: Source::Import,
            made_at: timestamp::rfc3339(timestamp::now()).unwrap_or_default(),
            ak: ak_public(&self.ak_public, &signature)?,
            ek_certificate,
            ek_chain,
            quote: quote.map_err(|cause| CliError::Evidence {
                file: self.quote.clone(),
                cause,
            })?,
            qualification: self.qualification.0,
            pcr_values: self.pcrs.as_deref().map(registers).transpose()?.unwrap_or_default(),
            logs: kept,
            judged: None,
        };
        let json = file.to_json().map_err(|cause| CliError::Evidence {
            file: self.out.clone(),
            cause,
        })?;
        fs::write(&self.out, json).map_err(|cause| CliError::Write {
            file: self.out.clone(),
            cause,
        })?;
        Ok(self.out)
    }
}

/// The anchors by the names that they have on the boot partition.
fn anchors(paths: &[PathBuf]) -> Result<Anchors, CliError> {
    const WHAT: &str = "NvPCR anchor";
    let mut files = Vec::new();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let file = AnchorFile::new(name, limited(path, AnchorFile::MAX_CONTENTS)?);
        files.push(file.ok_or_else(|| unfit(WHAT, path, "its name is none: nvpcr-anchor.….cred"))?);
    }
    let first = paths.first().map_or(Path::new(""), PathBuf::as_path);
    Anchors::new(files).ok_or_else(|| {
        unfit(
            WHAT,
            first,
            "one is given twice, or there are more than any machine has",
        )
    })
}

pub(super) fn unfit(what: &'static str, file: &Path, detail: impl Into<String>) -> CliError {
    CliError::Unfit {
        what,
        file: file.to_owned(),
        detail: detail.into(),
    }
}

/// Whether quote and signature can be what they are said to be. Whether they hold is what `verify` says.
fn readable(quote_file: &Path, quote: &[u8], signature_file: &Path, signature: &[u8]) -> Result<(), CliError> {
    let (attest, signed) = (Attest::parse(quote), Signature::parse(signature));
    if attest.is_err() && Attest::parse(signature).is_ok() {
        return Err(unfit(
            "quote",
            quote_file,
            "it is not a quote, and the file given as its signature is one: were they exchanged?",
        ));
    }
    if let Err(error) = attest {
        return Err(unfit(
            "quote",
            quote_file,
            format!("not a TPMS_ATTEST (tpm2_quote -m): {error}"),
        ));
    }
    if let Err(error) = signed {
        let detail = format!("not a TPMT_SIGNATURE (tpm2_quote -s, and not -f plain): {error}");
        return Err(unfit("signature", signature_file, detail));
    }
    Ok(())
}

const WHAT: &str = "attestation key";

/// A public key in any of the forms that tpm2-tools write; of one without its properties, with the Name that proves them.
fn ak_public(paths: &[PathBuf], signature: &[u8]) -> Result<AkPublic, CliError> {
    let (mut key, mut name) = (None, None);
    for path in paths {
        let bytes = limited(path, MAX_FILE)?;
        let taken = if is_name(&bytes) {
            name.replace((path, bytes)).is_some()
        } else {
            key.replace(read_key(path, bytes)?).is_some()
        };
        if taken {
            return Err(unfit(WHAT, path, "it was given before"));
        }
    }
    match (key, name) {
        (Some(AkPublic::Spki(spki)), Some((path, name))) => {
            let area = offline::named_ak(&spki, &name, signature);
            let area = area.map_err(|error| unfit(WHAT, path, error.to_string()))?;
            Ok(AkPublic::Area(area.marshal()))
        }
        (Some(AkPublic::Area(area)), Some((path, name))) => {
            let named = PublicArea::parse(&area).is_ok_and(|area| area.name().as_bytes() == name);
            if named {
                Ok(AkPublic::Area(area))
            } else {
                Err(unfit(WHAT, path, "it is not the Name of the key that was given"))
            }
        }
        (Some(key), None) => Ok(key),
        (None, Some((path, _))) => Err(unfit(
            WHAT,
            path,
            "a Name is only a digest of the key: give the key beside it (--ak-public FILE once more; PEM will do)",
        )),
        (None, None) => Err(unfit(WHAT, Path::new(""), "none was given")),
    }
}

fn read_key(path: &Path, bytes: Vec<u8>) -> Result<AkPublic, CliError> {
    if hallmark_der::is_pem(&bytes) {
        let keys = hallmark_der::objects(&bytes, SectionKind::PublicKey);
        let mut keys = keys.map_err(|error| unfit(WHAT, path, error.to_string()))?;
        return match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => Ok(AkPublic::Spki(key)),
            _ => Err(unfit(WHAT, path, "the PEM file holds more than one PUBLIC KEY")),
        };
    }
    if let Ok(area) = PublicArea::parse_sized(&bytes) {
        return Ok(AkPublic::Area(area.marshal()));
    }
    match PublicArea::parse(&bytes) {
        Ok(area) => Ok(AkPublic::Area(area.marshal())),
        Err(_) if bytes.first() == Some(&0x30) => Ok(AkPublic::Spki(bytes)),
        Err(error) => Err(unfit(WHAT, path, error.to_string())),
    }
}

/// A Name: an algorithm's identifier and a digest of its length.
fn is_name(bytes: &[u8]) -> bool {
    let (head, digest) = bytes.split_at_checked(2).unwrap_or_default();
    let alg = head.try_into().ok().map(u16::from_be_bytes).and_then(HashAlg::from_id);
    alg.is_some_and(|alg| alg.digest_len() == digest.len())
}

type Certificates = (Option<Vec<u8>>, Vec<Vec<u8>>);

/// The first certificate is the TPM's, what follows its chain.
fn certificates(path: &Path) -> Result<Certificates, CliError> {
    const WHAT: &str = "EK certificate";
    let all = hallmark_der::certificates(&limited(path, MAX_FILE)?);
    let all = all.map_err(|error| unfit(WHAT, path, error.to_string()))?;
    if let Some(error) = all.iter().find_map(|der| X509Certificate::from_der(der).err()) {
        return Err(unfit(WHAT, path, format!("not an X.509 certificate: {error}")));
    }
    let mut certificates = all.into_iter();
    let first = certificates.next();
    Ok((first, certificates.collect()))
}
