//! Who may sign images: the certificates that this machine's own image has.

use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use hallmark_host::foreign_file;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::error::ProvisionError;

/// Most octets of a file of certificates.
const MAX_FILE: u64 = 1 << 20;

/// The keys whose signatures count. A certificate's dates and issuer do not: that it is in the folder says that it is trusted.
pub(super) struct Signers {
    folder: PathBuf,
    keys: Vec<UnparsedPublicKey<Vec<u8>>>,
}

impl Signers {
    /// Most octets of a signature: of an RSA key of 8192 bits.
    pub(super) const MAX_SIGNATURE: usize = 1024;

    /// Reads the certificates of `*.pem` in a folder.
    ///
    /// # Errors
    /// There is none, one of them cannot be read, or others than this machine's administrators can change it.
    pub(super) fn load(folder: &Path) -> Result<Self, ProvisionError> {
        let unusable = |detail: String| ProvisionError::Signers {
            folder: folder.display().to_string(),
            detail,
        };
        let listed = std::fs::read_dir(folder).map_err(|error| unusable(error.to_string()))?;
        let mut keys = Vec::new();
        for entry in listed {
            let path = entry.map_err(|error| unusable(error.to_string()))?.path();
            if path.extension().is_some_and(|end| end == "pem") {
                let of_file = keys_of(&path).map_err(|detail| unusable(format!("{}: {detail}", path.display())))?;
                keys.extend(of_file);
            }
        }
        if keys.is_empty() {
            return Err(unusable("there is no *.pem".into()));
        }
        Ok(Self {
            folder: folder.to_owned(),
            keys,
        })
    }

    /// Checks a signature over the SHA-256 of `message`, as `openssl dgst -sha256 -sign` makes it.
    ///
    /// # Errors
    /// It is of none of the keys.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), ProvisionError> {
        let is_of = |key: &UnparsedPublicKey<Vec<u8>>| key.verify(message, signature).is_ok();
        if self.keys.iter().any(is_of) {
            return Ok(());
        }
        Err(ProvisionError::NotSigned {
            folder: self.folder.display().to_string(),
            signers: self.keys.len(),
        })
    }
}

fn keys_of(path: &Path) -> Result<Vec<UnparsedPublicKey<Vec<u8>>>, String> {
    if let Some(foreign) = foreign_file(path).map_err(|error| error.to_string())? {
        return Err(format!(
            "others can change {}: {}",
            foreign.place.display(),
            foreign.why
        ));
    }
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_FILE {
        return Err(format!("{length} octets, of {MAX_FILE} at most"));
    }
    let file = std::fs::read(path).map_err(|error| error.to_string())?;
    let certificates = hallmark_der::certificates(&file).map_err(|error| error.to_string())?;
    certificates.iter().map(|der| key_of(der)).collect()
}

fn key_of(der: &[u8]) -> Result<UnparsedPublicKey<Vec<u8>>, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let info = certificate.public_key();
    let algorithm: &'static dyn VerificationAlgorithm = match hallmark_der::ec_point(info.raw) {
        Some((hallmark_der::NamedCurve::P256, _)) => &ECDSA_P256_SHA256_ASN1,
        Some((hallmark_der::NamedCurve::P384, _)) => &ECDSA_P384_SHA256_ASN1,
        Some(_) => return Err("an EC key of another curve than P-256 and P-384".into()),
        None if hallmark_der::rsa_numbers(info.raw).is_ok() => &RSA_PKCS1_2048_8192_SHA256,
        None => return Err("neither an RSA key nor an EC key".into()),
    };
    Ok(UnparsedPublicKey::new(algorithm, info.subject_public_key.data.to_vec()))
}
