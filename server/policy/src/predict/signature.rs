//! Which entry of db lets a signed image pass.
//!
//! The signature is verified as firmware does (Windows Authenticode Portable Executable Signature Format; UEFI 2.10,
//! section 32.5.3): a signer whose chain reaches an entry of db, time aside.

use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use aws_lc_rs::signature::{RsaParameters, UnparsedPublicKey};
use hallmark_evidence::tcg::efi::{SignatureEntry, SignatureType};
use x509_parser::asn1_rs::{Any, Class, FromDer as _, Tag};
use x509_parser::prelude::X509Certificate;

use super::error::PredictError;
use super::pe::{PeImage, sha256};

/// The most signatures of an image, certificates of a signature, and links of a chain.
const MAX_SIGNATURES: usize = 8;
const MAX_CERTIFICATES: usize = 32;
const MAX_CHAIN: usize = 8;

/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
const PKCS_SIGNED_DATA: u16 = 2;

/// Object identifiers, as their contents' bytes.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const INDIRECT_DATA: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];

/// The entry of db that lets an image pass, which firmware measures.
///
/// # Errors
/// [`PredictError::NotAuthorised`] when none does, or dbx forbids it.
pub(super) fn authority<'a>(
    name: &str,
    image: &PeImage<'_>,
    db: &[SignatureEntry<'a>],
    dbx: &[SignatureEntry<'_>],
) -> Result<SignatureEntry<'a>, PredictError> {
    let refused = |fault: &str| PredictError::NotAuthorised {
        image: name.to_owned(),
        fault: fault.to_owned(),
    };
    let is_hash = |entry: &SignatureEntry<'_>| entry.kind == SignatureType::Sha256 && entry.data == image.authenticode;
    if dbx.iter().any(is_hash) {
        return Err(refused("its hash is in dbx"));
    }
    let mut last = "it is not signed, and its hash is not in db".to_owned();
    for signature in signatures(image.certificates).ok_or_else(|| refused("its signature is malformed"))? {
        let chain = match Signed::parse(signature).and_then(|signed| signed.chain(image, db)) {
            Ok(chain) => chain,
            Err(fault) => {
                last = fault;
                continue;
            }
        };
        let is_in_chain =
            |entry: &&SignatureEntry<'_>| entry.kind == SignatureType::X509 && chain.contains(&entry.data);
        if dbx.iter().any(|entry| is_in_chain(&entry)) {
            return Err(refused("a certificate of its signature is in dbx"));
        }
        match db.iter().find(is_in_chain) {
            Some(entry) => return Ok(*entry),
            None => last = "no certificate of its signature is in db".to_owned(),
        }
    }
    db.iter().copied().find(is_hash).ok_or_else(|| refused(&last))
}

/// The PKCS #7 signatures in an attribute certificate table.
fn signatures(mut table: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while let Some((header, _)) = table.split_first_chunk::<8>() {
        let [a, b, c, d, _, _, kind @ ..] = *header;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
        let body = table.get(8..length)?;
        if u16::from_le_bytes(kind) == PKCS_SIGNED_DATA {
            found.push(body);
        }
        if found.len() > MAX_SIGNATURES {
            return None;
        }
        // Entries begin at multiples of 8; the last one's padding may be missing.
        table = table.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    Some(found)
}

/// What is read of a `SignedData` (RFC 2315, section 9).
struct Signed<'a> {
    /// The signed structure's contents.
    content: &'a [u8],
    /// The certificates, DER.
    certificates: Vec<&'a [u8]>,
    issuer: &'a [u8],
    serial: &'a [u8],
    /// The signed attributes' contents.
    attributes: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        Self::read(bytes).ok_or_else(|| "its signature cannot be read".to_owned())
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut info = Reader(Reader(bytes).tagged(Tag::Sequence)?);
        (info.tagged(Tag::Oid)? == SIGNED_DATA).then_some(())?;
        let mut signed = Reader(Reader(info.context(0)?).tagged(Tag::Sequence)?);
        signed.tagged(Tag::Integer)?;
        signed.tagged(Tag::Set)?;
        let mut encapsulated = Reader(signed.tagged(Tag::Sequence)?);
        (encapsulated.tagged(Tag::Oid)? == INDIRECT_DATA).then_some(())?;
        let content = Reader(encapsulated.context(0)?).tagged(Tag::Sequence)?;
        let mut bag = Reader(signed.context(0)?);
        let mut certificates = Vec::new();
        while !bag.0.is_empty() {
            certificates.push(bag.element()?.0);
            (certificates.len() <= MAX_CERTIFICATES).then_some(())?;
        }
        if Any::from_der(signed.0).is_ok_and(|(_, any)| any.class() == Class::ContextSpecific) {
            signed.element()?;
        }
        let mut signers = Reader(signed.tagged(Tag::Set)?);
        let mut signer = Reader(signers.tagged(Tag::Sequence)?);
        signer.tagged(Tag::Integer)?;
        let mut named = Reader(signer.tagged(Tag::Sequence)?);
        let (issuer, serial) = (named.element()?.0, named.tagged(Tag::Integer)?);
        let algorithm = Reader(signer.tagged(Tag::Sequence)?).tagged(Tag::Oid)?;
        let attributes = signer.context(0)?;
        signer.tagged(Tag::Sequence)?;
        let signature = signer.tagged(Tag::OctetString)?;
        Some(Self {
            content,
            certificates,
            issuer,
            serial,
            attributes,
            algorithm,
            signature,
        })
    }

    /// Every certificate to which the signer's chain leads, DER; those of `db` that have issued one of them among them.
    fn chain(&self, image: &PeImage<'_>, db: &[SignatureEntry<'a>]) -> Result<Vec<&'a [u8]>, String> {
        let covered = self
            .indirect_digest()
            .ok_or("its signature is not over a SHA-256 hash")?;
        if covered != image.authenticode {
            return Err("it was changed after it was signed".to_owned());
        }
        let signer = self
            .signer()
            .ok_or("its signature does not bring the signer's certificate")?;
        self.verify(&signer).ok_or("its signature is wrong")?;
        let roots = db
            .iter()
            .filter(|entry| entry.kind == SignatureType::X509)
            .map(|entry| entry.data);
        let known: Vec<&[u8]> = self.certificates.iter().copied().chain(roots).collect();
        let mut chain = vec![signer.1];
        let mut next = 0;
        while let Some(certificate) = chain.get(next).copied().filter(|_| next < MAX_CHAIN) {
            for candidate in &known {
                if !chain.contains(candidate) && issued(candidate, certificate) {
                    chain.push(candidate);
                }
            }
            next += 1;
        }
        Ok(chain)
    }

    /// The hash in `SpcIndirectDataContent`.
    fn indirect_digest(&self) -> Option<&'a [u8]> {
        let mut content = Reader(self.content);
        content.tagged(Tag::Sequence)?;
        let mut digest = Reader(content.tagged(Tag::Sequence)?);
        let algorithm = Reader(digest.tagged(Tag::Sequence)?).tagged(Tag::Oid)?;
        (algorithm == SHA256).then(|| digest.tagged(Tag::OctetString)).flatten()
    }

    fn signer(&self) -> Option<(X509Certificate<'a>, &'a [u8])> {
        self.certificates.iter().find_map(|der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            let is_signer = certificate.issuer().as_raw() == self.issuer && certificate.raw_serial() == self.serial;
            is_signer.then_some((certificate, *der))
        })
    }

    /// Verifies the attributes' signature, and that they cover the content.
    fn verify(&self, signer: &(X509Certificate<'a>, &[u8])) -> Option<()> {
        (self.algorithm == SHA256).then_some(())?;
        let mut attributes = Reader(self.attributes);
        let mut covers = false;
        while !attributes.0.is_empty() {
            let mut attribute = Reader(attributes.tagged(Tag::Sequence)?);
            if attribute.tagged(Tag::Oid)? == MESSAGE_DIGEST {
                let digest = Reader(attribute.tagged(Tag::Set)?).tagged(Tag::OctetString)?;
                covers = digest == sha256(self.content);
            }
        }
        covers.then_some(())?;
        // They are signed as a SET, not under the tag that they stand with.
        let signed = set_of(self.attributes)?;
        let key = signer.0.public_key();
        let parameters: &RsaParameters = match key.algorithm.algorithm.as_bytes() {
            algorithm if algorithm.starts_with(RSA) => &RSA_PKCS1_2048_8192_SHA256,
            _ => return None,
        };
        let key = UnparsedPublicKey::new(parameters, &key.subject_public_key.data);
        key.verify(&signed, self.signature).ok()
    }
}

/// Whether `issuer` signed `certificate`.
fn issued(issuer: &[u8], certificate: &[u8]) -> bool {
    let (Ok((_, issuer)), Ok((_, certificate))) = (
        X509Certificate::from_der(issuer),
        X509Certificate::from_der(certificate),
    ) else {
        return false;
    };
    issuer.subject().as_raw() == certificate.issuer().as_raw()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

/// A SET of these contents, DER.
fn set_of(contents: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(contents.len()).ok()?;
    let [high, low] = length.to_be_bytes();
    let head: &[u8] = match length {
        0..=0x7f => &[0x31, low],
        0x80..=0xff => &[0x31, 0x81, low],
        _ => &[0x31, 0x82, high, low],
    };
    Some([head, contents].concat())
}

/// DER elements one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: all of it, and its head and contents.
    fn element(&mut self) -> Option<(&'a [u8], Any<'a>)> {
        let (rest, any) = Any::from_der(self.0).ok()?;
        let whole = self.0.get(..self.0.len().checked_sub(rest.len())?)?;
        self.0 = rest;
        Some((whole, any))
    }

    fn tagged(&mut self, tag: Tag) -> Option<&'a [u8]> {
        let (_, any) = self.element()?;
        (any.class() == Class::Universal && any.tag() == tag).then_some(any.data)
    }

    fn context(&mut self, number: u32) -> Option<&'a [u8]> {
        let (_, any) = self.element()?;
        (any.class() == Class::ContextSpecific && any.tag() == Tag(number)).then_some(any.data)
    }
}
