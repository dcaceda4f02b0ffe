//! `hallmark svid mint x509`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::ValueEnum;
use hallmark_api::{bundle::GetBundleRequest, svid::MintX509svidRequest, types};
use hallmark_der::SectionKind;
use hallmark_spiffe::{
    Bundle, SpiffeId,
    x509::{RequestedNames, VerifiedLeaf},
};
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType,
    string::Ia5String,
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer as _};
use zeroize::Zeroizing;

use super::{
    Context, MintError,
    files::{SvidFiles, SvidFolder},
};
use crate::{
    client::Client, command::bundle::domain_bundle, command::evidence::read::limited, duration::parse_ttl,
    error::CliError, exit::Exit, lookup, output::show, view::svid::X509SvidView,
};

/// The largest file of a certificate request that is read, in bytes: as text it is larger than the request.
const MAX_FILE: usize = 64 * 1024;

/// What is minted.
#[derive(Debug, clap::Args)]
pub(crate) struct Mint {
    /// The SPIFFE ID
    #[arg(value_name = "SPIFFE-ID")]
    id: String,
    /// A DNS name for the certificate; may be given several times
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// A certificate request for a key that was made elsewhere (PKCS#10, PEM or DER). It has to ask for the SPIFFE ID and the DNS
    /// names of this command, and for no others
    #[arg(long, value_name = "FILE", conflicts_with = "key_type")]
    csr: Option<PathBuf>,
    /// The kind of key to make
    #[arg(long, value_enum, default_value_t)]
    key_type: MintedKeyType,
    /// For how long; the server's default when left out
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    ttl: Option<i32>,
    /// The folder for svid.pem, bundle.pem, and key.pem where the key is made here
    #[arg(long, value_name = "FOLDER", required_unless_present = "csr")]
    out: Option<PathBuf>,
    /// Replace the files that are there
    #[arg(long, requires = "out")]
    replace: bool,
}

/// The kinds of keys that are made here.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum MintedKeyType {
    /// NIST P-256
    #[default]
    EcP256,
    /// NIST P-384
    EcP384,
}

/// What is asked for: the request, and its key where that was made here.
struct Asked {
    csr: Vec<u8>,
    key: Option<Zeroizing<String>>,
}

impl Mint {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.connect().await?;
        let id = lookup::spiffe_id(&client, &self.id).await?;
        let asked = match &self.csr {
            Some(file) => self.read(file, &id)?,
            None => self.make(&id)?,
        };
        let folder = |path: &PathBuf| SvidFolder::open(path, self.replace, asked.key.is_some());
        let folder = self.out.as_ref().map(folder).transpose()?;
        let request = MintX509svidRequest {
            csr: asked.csr.clone().into(),
            // Zero asks for the server's default.
            ttl: self.ttl.unwrap_or(0),
        };
        let answer = client.svids().mint_x509svid(request).await?.into_inner();
        let svid = answer.svid.ok_or_else(|| unreadable("no X509-SVID"))?;
        let bundle = bundle(&client).await?;
        let leaf = verified(&svid, &bundle, &asked.csr, &id)?;
        let files = SvidFiles {
            chain: pem(&svid, &bundle),
            key: asked.key,
            bundle: bundle.to_pem(),
        };
        let written = folder.map(|folder| folder.write(&files)).transpose()?;
        let view = X509SvidView::new(&leaf, self.dns, files.chain, files.bundle, written);
        show(context.format, &view)?;
        Ok(Exit::Done)
    }

    /// A key, and the request for it.
    fn make(&self, id: &SpiffeId) -> Result<Asked, CliError> {
        let fault = |cause: rcgen::Error| MintError::Key {
            cause: cause.to_string(),
        };
        let algorithm = match self.key_type {
            MintedKeyType::EcP256 => &PKCS_ECDSA_P256_SHA256,
            MintedKeyType::EcP384 => &PKCS_ECDSA_P384_SHA384,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = |text: &str| -> Result<Ia5String, MintError> { text.try_into().map_err(fault) };
        params.subject_alt_names.push(SanType::URI(name(id.as_str())?));
        for dns in &self.dns {
            params.subject_alt_names.push(SanType::DnsName(name(dns)?));
        }
        let key = KeyPair::generate_for(algorithm).map_err(fault)?;
        let csr = params.serialize_request(&key).map_err(fault)?;
        Ok(Asked {
            csr: csr.der().to_vec(),
            key: Some(Zeroizing::new(key.serialize_pem())),
        })
    }

    /// A request that somebody else made. What it asks for was said here as well: nobody signs what he did not mean.
    fn read(&self, file: &Path, id: &SpiffeId) -> Result<Asked, CliError> {
        let unfit = |detail: String| CliError::Unfit {
            what: "certificate request",
            file: file.to_owned(),
            detail,
        };
        let found = hallmark_der::objects(&limited(file, MAX_FILE)?, SectionKind::Csr);
        let found = found.map_err(|error| unfit(error.to_string()))?;
        let [csr] = found.as_slice() else {
            return Err(unfit(format!("{} requests in it, 1 expected", found.len())));
        };
        let names = RequestedNames::read(csr).map_err(|cause| MintError::Request {
            file: file.to_owned(),
            cause,
        })?;
        let lower = |names: &[String]| names.iter().map(|it| it.to_ascii_lowercase()).collect::<BTreeSet<_>>();
        if names.spiffe_id != *id || lower(&names.dns_names) != lower(&self.dns) {
            return Err(MintError::OtherNames {
                file: file.to_owned(),
                given: told(id, &self.dns),
                asked: told(&names.spiffe_id, &names.dns_names),
            }
            .into());
        }
        Ok(Asked {
            csr: csr.clone(),
            key: None,
        })
    }
}

fn told(id: &SpiffeId, dns_names: &[String]) -> String {
    let mut all = vec![id.to_string()];
    all.extend(dns_names.iter().map(|name| hallmark_host::printable(name)));
    all.join(", ")
}

async fn bundle(client: &Client) -> Result<Bundle, CliError> {
    let request = GetBundleRequest { output_mask: None };
    let message = client.bundles().get_bundle(request).await?.into_inner();
    domain_bundle(message)
}

/// The SVID's leaf, where it leads to the bundle, has the id, and certifies the key of the request.
fn verified(svid: &types::X509svid, bundle: &Bundle, csr: &[u8], id: &SpiffeId) -> Result<VerifiedLeaf, CliError> {
    let chain: Vec<&[u8]> = svid.cert_chain.iter().map(AsRef::as_ref).collect();
    let authorities = bundle.authorities().map_err(|error| unreadable(&error.to_string()))?;
    let leaf = authorities
        .verify(&chain, SystemTime::now())
        .map_err(|error| unreadable(&format!("an X509-SVID that does not verify: {error}")))?;
    let (_, request) = X509CertificationRequest::from_der(csr).map_err(|error| unreadable(&error.to_string()))?;
    if leaf.id != *id || leaf.spki != request.certification_request_info.subject_pki.raw {
        return Err(unreadable("an X509-SVID of another id or key"));
    }
    Ok(leaf)
}

/// The chain as certificates of a text, leaf first.
fn pem(svid: &types::X509svid, of: &Bundle) -> String {
    let chain = Bundle {
        x509_authorities: svid.cert_chain.iter().map(|der| der.to_vec()).collect(),
        ..Bundle::empty(of.trust_domain.clone())
    };
    chain.to_pem()
}

fn unreadable(what: &str) -> CliError {
    CliError::Answer { what: what.to_owned() }
}
