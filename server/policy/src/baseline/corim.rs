//! Baselines from CoRIM (draft-ietf-rats-corim): reference values as makers publish them.
//!
//! Taken are the integrity registers of reference triples: register numbers with digests of named algorithms. Several
//! values of one register are alternatives. What has no place in a baseline is left out and told.

mod algorithms;

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use corim::types::corim::{CorimId, CorimMap};
use corim::types::measurement::{DigestAlg, IntegrityRegisterId, MeasurementMap};
use corim::types::signed::{CoseAlgorithm, decode_signed_corim, validate_signed_corim_payload};
use corim::validate::decode_and_validate_full_at;
use hallmark_tpm_wire::HashAlg;

use super::{Baseline, BaselineError, BaselineState, Origin, capture};
use crate::selectors::hex;
use crate::signed::OperatorKeys;

/// CBOR tag 18: COSE_Sign1.
const SIGNED: u8 = 0xd2;
/// CBOR tag 501, its first two bytes: an unsigned CoRIM.
const UNSIGNED: [u8; 3] = [0xd9, 0x01, 0xf5];

impl Baseline {
    /// The largest CoRIM that is read, in bytes.
    pub const MAX_CORIM_BYTES: usize = 4 * 1024 * 1024;

    /// Whether the bytes mean to be a CoRIM, signed or not.
    #[must_use]
    pub fn is_corim(bytes: &[u8]) -> bool {
        bytes.first() == Some(&SIGNED) || bytes.starts_with(&UNSIGNED)
    }

    /// A baseline of the registers that a CoRIM has reference values of, and what of it was left out. With `keys` one of
    /// them must have signed it (COSE_Sign1, ES256); `now` (Unix seconds) is held against its validity.
    ///
    /// # Errors
    /// [`BaselineError::Malformed`] when it is none, is not signed by one of the keys, has expired, names no register that
    /// a baseline can hold, or has registers of several environments, of which no machine is all.
    pub fn from_corim(
        bytes: &[u8],
        name: &str,
        serial: u64,
        now: i64,
        keys: Option<&OperatorKeys>,
    ) -> Result<(Self, Vec<String>), BaselineError> {
        let malformed = |what: String| BaselineError::Malformed { what };
        if bytes.len() > Self::MAX_CORIM_BYTES {
            return Err(malformed(format!(
                "{} bytes, at most {} are read",
                bytes.len(),
                Self::MAX_CORIM_BYTES
            )));
        }
        if !Self::is_corim(bytes) {
            return Err(malformed(
                "it is no CoRIM: it has neither its tag nor a signature's".to_owned(),
            ));
        }
        let mut found = Found::default();
        let (validated, signed_by) = match keys {
            Some(keys) => signed(bytes, keys, now, &mut found.left_out)?,
            None if bytes.first() == Some(&SIGNED) => {
                return Err(malformed("it is signed: name the operator's key".to_owned()));
            }
            None => {
                let plain = algorithms::numbered(bytes, &mut found.left_out);
                let read = decode_and_validate_full_at(plain.as_deref().unwrap_or(bytes), now);
                (read.map_err(|error| malformed(error.to_string()))?, None)
            }
        };
        for comid in &validated.comids {
            for triple in comid.triples.reference_triples.iter().flatten() {
                let environment = format!("{:?}", triple.environment());
                for measurement in triple.measurements() {
                    found.take(&environment, measurement);
                }
            }
        }
        if found.environments.len() > 1 {
            return Err(malformed(format!(
                "it has registers of {} environments, and no machine is all of them",
                found.environments.len()
            )));
        }
        if found.registers.is_empty() {
            let left_out: Vec<_> = found.left_out.into_iter().collect();
            return Err(malformed(format!(
                "it has reference values of no register that a baseline can hold; left out: {}",
                left_out.join(", ")
            )));
        }
        let origin = Origin::Imported {
            corim: id(&validated.corim),
            sha256: hex(digest::digest(&digest::SHA256, bytes).as_ref()),
            signed_by,
        };
        let baseline = Self {
            version: 1,
            name: name.to_owned(),
            serial,
            state: BaselineState::Active,
            created_at: now,
            origin,
            registers: found.registers,
            boots: Vec::new(),
        };
        Ok((baseline.checked()?, found.left_out.into_iter().collect()))
    }
}

fn id(corim: &CorimMap) -> String {
    match &corim.id {
        CorimId::Text(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn signed(
    bytes: &[u8],
    keys: &OperatorKeys,
    now: i64,
    left_out: &mut BTreeSet<String>,
) -> Result<(corim::validate::ValidatedCorim, Option<String>), BaselineError> {
    let malformed = |what: String| BaselineError::Malformed { what };
    let mut envelope = decode_signed_corim(bytes).map_err(|error| malformed(format!("not a signed CoRIM: {error}")))?;
    if !matches!(envelope.protected().alg, CoseAlgorithm::Es256 | CoseAlgorithm::Esp256) {
        return Err(malformed(format!(
            "it is signed with {}, expected ES256",
            envelope.protected().alg.name()
        )));
    }
    let message = envelope
        .to_be_signed(&[])
        .map_err(|error| malformed(error.to_string()))?;
    let key = keys
        .who_signed(&message, &envelope.signature)
        .ok_or_else(|| malformed("none of the operators' keys signed it".to_owned()))?;
    // What was signed is proven; from here on it is read.
    if let Some(plain) = envelope
        .payload
        .as_deref()
        .and_then(|payload| algorithms::numbered(payload, left_out))
    {
        envelope.payload = Some(plain);
    }
    let read = validate_signed_corim_payload(&envelope, now).map_err(|error| malformed(error.to_string()))?;
    Ok((read, Some(key.to_string())))
}

/// What reference triples say of registers.
#[derive(Default)]
struct Found {
    registers: BTreeMap<String, BTreeSet<String>>,
    environments: BTreeSet<String>,
    left_out: BTreeSet<String>,
}

impl Found {
    fn take(&mut self, environment: &str, measurement: &MeasurementMap) {
        let Some(registers) = &measurement.mval.integrity_registers else {
            self.left_out
                .insert("a measurement that is not of registers".to_owned());
            return;
        };
        for (register, digests) in &registers.0 {
            let pcr = match register {
                IntegrityRegisterId::Uint(number) => u8::try_from(*number).ok().filter(|pcr| capture::can_hold(*pcr)),
                _ => None,
            };
            let Some(pcr) = pcr else {
                self.left_out
                    .insert(format!("register {register:?}, which a baseline cannot hold"));
                continue;
            };
            for digest in digests
                .iter()
                .filter(|digest| digest.alg().as_int() != Some(algorithms::UNKNOWN))
            {
                let Some(bank) = bank(digest.alg()).filter(|bank| bank.digest_len() == digest.value().len()) else {
                    self.left_out
                        .insert(format!("a digest of algorithm {} for PCR {pcr}", digest.alg()));
                    continue;
                };
                self.environments.insert(environment.to_owned());
                let values = self.registers.entry(format!("{bank}:{pcr}")).or_default();
                values.insert(hex(digest.value()));
            }
        }
    }
}

/// The bank of an algorithm by its number in the registry of named information.
fn bank(algorithm: &DigestAlg) -> Option<HashAlg> {
    match algorithm.as_int() {
        Some(1) => Some(HashAlg::Sha256),
        Some(7) => Some(HashAlg::Sha384),
        Some(8) => Some(HashAlg::Sha512),
        _ => None,
    }
}
