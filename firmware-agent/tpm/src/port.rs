//! The port: what the agent asks of a TPM, in the words of the attestation protocol.

use std::fmt;

use hallmark_tpm_wire::{PcrSelection, PcrValues, PublicArea};
use zeroize::Zeroizing;

use crate::TpmError;

/// A TPM 2.0, as far as attestation needs it. Calls block for as long as the chip takes (up to seconds for a key).
///
/// Keys are primary keys, made from their template whenever they are needed: nothing is stored in the TPM and no key
/// blob exists. An implementation may drop a key from the chip at any time and make it again.
pub trait Tpm: Send {
    /// The endorsement key with its certificate, if the TPM holds one.
    ///
    /// # Errors
    /// There is no TPM, it has no usable endorsement key, or key and certificate do not fit each other.
    fn endorsement(&mut self) -> Result<Endorsement, TpmError>;

    /// The endorsement key's certificate chain from NV 0x01C00100-0x01C001FF (TCG EK credential profile, 2.2.1.5):
    /// DER certificates, as they lie there. Costs one command for the list and three for every index.
    ///
    /// # Errors
    /// There is no TPM, or what lies there is no certificate.
    fn endorsement_chain(&mut self) -> Result<Vec<Vec<u8>>, TpmError>;

    /// The attestation key: a restricted primary signing key of the endorsement hierarchy, always the same one.
    ///
    /// # Errors
    /// There is no TPM, or its endorsement hierarchy is disabled or has an authorization value.
    fn attestation_key(&mut self) -> Result<PublicArea, TpmError>;

    /// The SVID key that `unique` stands for: an unrestricted primary signing key of the null hierarchy. The same bytes
    /// give the same key until the machine is booted again; then nobody can make it any more (part 1, "Primary Seeds").
    ///
    /// # Errors
    /// There is no TPM, or no room in it.
    fn svid_key(&mut self, unique: &Unique) -> Result<SvidKey, TpmError>;

    /// TPM2_Sign: a P-256 signature over a SHA-256 digest, as a DER `ECDSA-Sig-Value`.
    ///
    /// # Errors
    /// The key was released, or the TPM no longer makes the same key.
    fn sign(&mut self, key: KeyId, digest: &[u8; 32]) -> Result<Vec<u8>, TpmError>;

    /// TPM2_ActivateCredential with the endorsement key for the attestation key, over a session salted to the
    /// endorsement key, so that the secret crosses the bus encrypted.
    ///
    /// # Errors
    /// The credential was made for another endorsement key or another attestation key.
    fn activate(&mut self, endorsement: &PublicArea, credential: &Credential) -> Result<Zeroizing<Vec<u8>>, TpmError>;

    /// TPM2_Certify of an SVID key by the attestation key.
    ///
    /// # Errors
    /// The key was released, or the TPM no longer makes the same key.
    fn certify(&mut self, key: KeyId, qualifying: &[u8; 32]) -> Result<Signed, TpmError>;

    /// TPM2_Quote by the attestation key.
    ///
    /// # Errors
    /// A selected register is not allocated.
    fn quote(&mut self, selection: &PcrSelection, qualifying: &[u8; 32]) -> Result<Signed, TpmError>;

    /// TPM2_PCR_Read of every selected register, eight a command.
    ///
    /// # Errors
    /// A selected register is not allocated.
    fn read_pcrs(&mut self, selection: &PcrSelection) -> Result<PcrValues, TpmError>;

    /// Forgets an SVID key and frees its slot in the chip. Releasing a key twice does nothing.
    ///
    /// # Errors
    /// The TPM did not let the key go; the driver has forgotten it all the same.
    fn release(&mut self, key: KeyId) -> Result<(), TpmError>;

    /// Frees what only an attestation needs (an endorsement key that had to be made). Call it after each.
    ///
    /// # Errors
    /// The TPM did not let the key go.
    fn release_endorsement(&mut self) -> Result<(), TpmError>;

    /// A self-check for `doctor`: maker, model and firmware as the TPM tells them.
    ///
    /// # Errors
    /// There is no TPM, or it does not answer.
    fn properties(&mut self) -> Result<Properties, TpmError>;
}

/// An endorsement key as the TPM shows it. Nothing here is proven: the server judges the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// X.509 DER from NV, without padding; `None` when the TPM holds none.
    pub certificate: Option<Vec<u8>>,
    /// The key's public area. Its Name was compared with the TPM's own.
    pub public: PublicArea,
}

/// Which SVID key is meant; valid for the life of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(crate) u64);

/// An SVID key in the TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvidKey {
    /// Names it in later calls.
    pub id: KeyId,
    /// Its public area, as the TPM made it.
    pub public: PublicArea,
}

/// The bytes in an SVID key's template that tell it from every other. Random, and no secret: who has them still needs
/// the TPM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Unique(pub [u8; 32]);

impl fmt::Debug for Unique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unique")
    }
}

/// A credential from the server: contents of `TPM2B_ID_OBJECT` and `TPM2B_ENCRYPTED_SECRET`, without their sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `TPMS_ID_OBJECT`.
    pub id_object: Vec<u8>,
    /// The seed, encrypted to the endorsement key.
    pub encrypted_secret: Vec<u8>,
}

/// An attestation structure with the attestation key's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// `TPMS_ATTEST`.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
}

/// What a TPM says about itself; not proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// `TPM_PT_MANUFACTURER`, four characters.
    pub manufacturer: String,
    /// `TPM_PT_FIRMWARE_VERSION_1` and `_2`.
    pub firmware: u64,
    /// `TPM_PT_HR_TRANSIENT_AVAIL`: free slots for transient objects; `None` if not told.
    pub transient_available: Option<u32>,
    /// `TPM_PT_LOCKOUT_COUNTER`.
    pub lockout_counter: Option<u32>,
}
