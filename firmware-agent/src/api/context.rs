//! What the Workload API sent, checked.

use std::{fmt, time::SystemTime};

use hallmark_api::workload::{X509svid, X509svidResponse};
use hallmark_spiffe::{
    SpiffeId,
    x509::{SerialHex, leaf_id},
};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use super::ApiError;

/// The most SVIDs of one process that are taken: more than a message of 4 MiB has room for.
const MAX_SVIDS: usize = 8192;

/// All X.509 identities of a process; there is at least one, and the first is the default.
#[derive(Debug)]
pub(super) struct X509Context {
    pub(super) svids: Vec<Svid>,
    /// Trust domains whose bundles came with them, and have no place in files yet.
    pub(super) federated: usize,
}

/// One identity: its key fits its certificate, and its certificate its SPIFFE ID.
pub(super) struct Svid {
    pub(super) id: SpiffeId,
    pub(super) hint: String,
    /// DER, leaf first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// PKCS#8.
    pub(super) key: Zeroizing<Vec<u8>>,
    /// The authorities of its trust domain.
    pub(super) bundle: Vec<CertificateDer<'static>>,
    pub(super) serial: String,
    pub(super) dns_names: Vec<String>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Svid({}, serial {})", self.id, self.serial)
    }
}

impl X509Context {
    /// Reads an answer.
    ///
    /// # Errors
    /// When a part of it is not what an SVID is.
    pub(super) fn read(response: X509svidResponse) -> Result<Self, ApiError> {
        let count = response.svids.len();
        if count == 0 || count > MAX_SVIDS {
            return Err(unusable(format!("{count} SVIDs")));
        }
        Ok(Self {
            svids: response.svids.into_iter().map(Svid::read).collect::<Result<_, _>>()?,
            federated: response.federated_bundles.len(),
        })
    }

    /// The default identity.
    pub(super) fn default_svid(&self) -> Option<&Svid> {
        self.svids.first()
    }
}

impl Svid {
    fn read(svid: X509svid) -> Result<Self, ApiError> {
        let key = Zeroizing::new(svid.x509_svid_key.to_vec());
        let id = SpiffeId::parse(&svid.spiffe_id).map_err(|error| unusable(error.to_string()))?;
        let (chain, bundle) = (certificates(&svid.x509_svid)?, certificates(&svid.bundle)?);
        let leaf = chain
            .first()
            .ok_or_else(|| unusable(format!("{id} has no certificate")))?;
        if bundle.is_empty() {
            return Err(unusable(format!("{id} has no bundle")));
        }
        let named = leaf_id(leaf).map_err(|error| unusable(error.to_string()))?;
        if named != id {
            return Err(unusable(format!("{id} came with the certificate of {named}")));
        }
        fits(&chain, &key).map_err(|why| unusable(format!("the key of {id}: {why}")))?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| unusable(error.to_string()))?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let dns_names = names.iter().flat_map(|names| &names.value.general_names);
        let validity = parsed.validity();
        Ok(Self {
            hint: svid.hint,
            serial: SerialHex(parsed.raw_serial()).to_string(),
            dns_names: dns_names
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
                .collect(),
            not_before: validity.not_before.to_datetime().into(),
            not_after: validity.not_after.to_datetime().into(),
            id,
            chain: chain.clone(),
            key,
            bundle,
        })
    }
}

fn fits(chain: &[CertificateDer<'static>], key: &[u8]) -> Result<(), rustls::Error> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    CertifiedKey::new(chain.to_vec(), any_supported_type(&key)?).keys_match()
}

/// DER certificates, one after the other.
fn certificates(mut der: &[u8]) -> Result<Vec<CertificateDer<'static>>, ApiError> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (rest, _) = X509Certificate::from_der(der).map_err(|error| unusable(error.to_string()))?;
        let length = der.len() - rest.len();
        found.push(CertificateDer::from(der.get(..length).unwrap_or_default().to_vec()));
        der = rest;
    }
    Ok(found)
}

fn unusable(what: String) -> ApiError {
    ApiError::Unusable { what }
}
