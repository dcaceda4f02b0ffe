//! The attestation key of a file.

use hallmark_evidence::AkPublic;
use hallmark_tpm_wire::{AsymScheme, HashAlg, PublicArea, Signature, WireError};
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

/// The key with which a signature is checked. Of a bare SPKI nothing is known of the key's properties, so it is taken to
/// have the signature's scheme.
pub(super) fn key(ak: &AkPublic, signature: &[u8]) -> Result<PublicArea, WireError> {
    match ak {
        AkPublic::Area(area) => PublicArea::parse(area),
        AkPublic::Spki(spki) => {
            let scheme = Signature::parse(signature)?.scheme();
            PublicArea::parse(&area(spki, scheme, HashAlg::Sha256, USUAL, DEFAULT)?)
        }
    }
}

/// Attributes (`TPMA_OBJECT`, part 2, section 8.3) that attestation keys are made with: fixed to their TPM and parent, made
/// in it, restricted, for signing; with `userWithAuth` or without; under dictionary attack protection or not.
const ATTRIBUTES: [u32; 4] = [USUAL, 0x0005_0032, 0x0005_0472, 0x0005_0432];
/// What `tpm2_createak` gives.
const USUAL: u32 = 0x0005_0072;

/// How an RSA key's exponent 65537 is written: as nearly every key has it, and in full (part 2, section 12.2.3.5).
const EXPONENTS: [u32; 2] = [DEFAULT, 65_537];
const DEFAULT: u32 = 0;

/// The public area (`TPMT_PUBLIC`) of an attestation key of which the public key (DER SPKI), the Name and a signature are
/// known: that of the usual ones which has this Name. The Name is over all of it, so it proves the key's properties.
///
/// # Errors
/// The key or the signature cannot be read, or no usual key with this public key has the Name.
pub fn named_ak(spki: &[u8], name: &[u8], signature: &[u8]) -> Result<PublicArea, WireError> {
    let scheme = Signature::parse(signature)?.scheme();
    let id = name.get(..2).and_then(|id| id.try_into().ok()).map(u16::from_be_bytes);
    let hash = id.and_then(HashAlg::from_id).ok_or(WireError::Malformed {
        structure: "TPM2B_NAME",
        rule: "it names no hash algorithm",
    })?;
    let forms = ATTRIBUTES
        .into_iter()
        .flat_map(|attributes| EXPONENTS.map(|exponent| (attributes, exponent)));
    for (attributes, exponent) in forms {
        let area = PublicArea::parse(&area(spki, scheme, hash, attributes, exponent)?)?;
        if area.name().as_bytes() == name {
            return Ok(area);
        }
    }
    Err(WireError::Malformed {
        structure: "TPM2B_NAME",
        rule: "it is not the Name of an attestation key with this public key",
    })
}

/// A `TPMT_PUBLIC` (part 2, section 12.2.4) with this public key and scheme, without a policy; `exponent` stands for 65537.
fn area(
    spki: &[u8],
    scheme: AsymScheme,
    name_alg: HashAlg,
    attributes: u32,
    exponent: u32,
) -> Result<Vec<u8>, WireError> {
    let unusable = |rule| WireError::Malformed {
        structure: "SubjectPublicKeyInfo",
        rule,
    };
    let (rest, spki) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| unusable("it is no DER SPKI"))?;
    if !rest.is_empty() {
        return Err(unusable("bytes follow it"));
    }
    let (alg, hash) = match scheme {
        AsymScheme::RsaSsa(hash) => (0x0014_u16, hash),
        AsymScheme::RsaPss(hash) => (0x0016, hash),
        AsymScheme::Ecdsa(hash) => (0x0018, hash),
        _ => return Err(unusable("the signature has no scheme")),
    };
    let scheme = [alg.to_be_bytes(), hash.id().to_be_bytes()].concat();
    let head = |kind: u16| {
        [
            &kind.to_be_bytes()[..],
            &name_alg.id().to_be_bytes(),
            &attributes.to_be_bytes(),
            &[0x00, 0x00, 0x00, 0x10],
            &scheme,
        ]
        .concat()
    };
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes()[..], bytes].concat();
    match spki.parsed().map_err(|_| unusable("its key cannot be read"))? {
        PublicKey::EC(point) => {
            let (curve, length) = match point.key_size() {
                256 => (0x0003_u16, 32),
                384 => (0x0004, 48),
                521 => (0x0005, 66),
                _ => return Err(unusable("its curve is not one of NIST's")),
            };
            let numbers = point
                .data()
                .split_first()
                .filter(|(form, _)| **form == 4)
                .map(|(_, numbers)| numbers);
            let numbers = numbers.and_then(|numbers| numbers.split_at_checked(length));
            let (x, y) = numbers.ok_or(unusable("its point is not in uncompressed form"))?;
            let curve = [curve.to_be_bytes(), [0x00, 0x10]].concat();
            Ok([head(0x0023), curve, sized(x), sized(y)].concat())
        }
        PublicKey::RSA(rsa) => {
            let modulus: Vec<u8> = rsa.modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
            let bits =
                u16::try_from(modulus.len().saturating_mul(8)).map_err(|_| unusable("its modulus is too long"))?;
            let exponent = match rsa
                .try_exponent()
                .ok()
                .and_then(|exponent| u32::try_from(exponent).ok())
            {
                Some(65_537) => exponent,
                Some(other) => other,
                None => return Err(unusable("its exponent is too long")),
            };
            let numbers = [&bits.to_be_bytes()[..], &exponent.to_be_bytes()].concat();
            Ok([head(0x0001), numbers, sized(&modulus)].concat())
        }
        _ => Err(unusable("it is neither RSA nor ECC")),
    }
}
