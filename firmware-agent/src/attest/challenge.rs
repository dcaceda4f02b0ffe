//! The server's challenge, decoded within limits. Nothing here knows the TPM or the network.

use hallmark_api::attest::{LogOffset, PcrSelection as BankMessage, Tpm2Challenge};
use hallmark_evidence::Limits;
use hallmark_tpm_wire::{HashAlg, PcrSelection};
use prost::Message as _;

/// The version of the messages.
pub(crate) const VERSION: u32 = 1;
/// The largest `TPMS_ID_OBJECT`: an HMAC and a secret of SHA-512, each with its length.
const MOST_ID_OBJECT: usize = 2 + 64 + 2 + 64;
/// The largest encrypted secret: of an RSA key of 4096 bits.
const MOST_ENCRYPTED_SECRET: usize = 512;

/// What the server wants proven.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Challenge {
    pub(crate) nonce: [u8; 32],
    /// What MakeCredential made: `TPMS_ID_OBJECT`, and the encrypted secret. None where the server knows the
    /// attestation key.
    pub(crate) credential: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) selection: PcrSelection,
    pub(crate) logs: Vec<LogOffset>,
}

impl Challenge {
    /// Decodes a message.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow "the server's answer is not what the protocol allows:".
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let message = Tpm2Challenge::decode(bytes).map_err(|_| "its challenge does not decode")?;
        if message.version != VERSION {
            return Err("its challenge has another version");
        }
        let nonce = message.nonce.as_ref();
        let nonce = nonce.try_into().map_err(|_| "its nonce is not 32 bytes long")?;
        let (id_object, secret) = (message.credential_blob, message.encrypted_secret);
        let credential = match (id_object.is_empty(), secret.is_empty()) {
            (true, true) => None,
            (false, false) if id_object.len() <= MOST_ID_OBJECT && secret.len() <= MOST_ENCRYPTED_SECRET => {
                Some((id_object.to_vec(), secret.to_vec()))
            }
            (false, false) => return Err("a credential larger than any TPM's"),
            _ => return Err("half a credential"),
        };
        if message.log_offsets.len() > Limits::LOGS {
            return Err("its challenge wants more logs than there are");
        }
        Ok(Self {
            nonce,
            credential,
            selection: selection(&message.pcr_selection)?,
            logs: message.log_offsets,
        })
    }
}

/// What the server wants quoted.
fn selection(banks: &[BankMessage]) -> Result<PcrSelection, &'static str> {
    const REFUSED: &str = "its PCR selection cannot be";
    if banks.len() > PcrSelection::MAX_BANKS {
        return Err(REFUSED);
    }
    let mut chosen = Vec::new();
    for bank in banks {
        let hash = u16::try_from(bank.hash_alg).ok().and_then(HashAlg::from_id);
        let hash = hash.ok_or("its PCR selection names an unknown bank")?;
        let pcrs = bank.pcrs.iter().map(|pcr| u8::try_from(*pcr));
        chosen.push((hash, pcrs.collect::<Result<Vec<u8>, _>>().map_err(|_| REFUSED)?));
    }
    PcrSelection::new(chosen.iter().map(|(hash, pcrs)| (*hash, pcrs.as_slice()))).map_err(|_| REFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Tpm2Challenge {
        Tpm2Challenge {
            version: VERSION,
            nonce: vec![1; 32].into(),
            credential_blob: vec![2; MOST_ID_OBJECT].into(),
            encrypted_secret: vec![3; MOST_ENCRYPTED_SECRET].into(),
            pcr_selection: vec![BankMessage {
                hash_alg: HashAlg::Sha256.id().into(),
                pcrs: vec![0, 7],
            }],
            log_offsets: vec![LogOffset::default(); Limits::LOGS],
        }
    }

    #[test]
    fn a_challenge_is_taken_within_its_limits() {
        let challenge = Challenge::decode(&good().encode_to_vec()).unwrap();
        assert_eq!(challenge.nonce, [1; 32]);
        assert!(challenge.credential.is_some() && challenge.selection.contains(HashAlg::Sha256, 7));
        let known = Tpm2Challenge {
            credential_blob: bytes::Bytes::new(),
            encrypted_secret: bytes::Bytes::new(),
            ..good()
        };
        assert_eq!(Challenge::decode(&known.encode_to_vec()).unwrap().credential, None);
    }

    #[test]
    fn what_the_protocol_does_not_allow_is_refused() {
        let bank = |hash_alg: u32, pcrs: &[u32]| BankMessage {
            hash_alg,
            pcrs: pcrs.to_vec(),
        };
        let sha256 = u32::from(HashAlg::Sha256.id());
        let changes: [&dyn Fn(&mut Tpm2Challenge); 11] = [
            &|c| c.version = 2,
            &|c| c.nonce = vec![1; 31].into(),
            &|c| c.credential_blob.clear(),
            &|c| c.encrypted_secret.clear(),
            &|c| c.credential_blob = vec![2; MOST_ID_OBJECT + 1].into(),
            &|c| c.encrypted_secret = vec![3; MOST_ENCRYPTED_SECRET + 1].into(),
            &|c| c.log_offsets.push(LogOffset::default()),
            &|c| c.pcr_selection.clear(),
            &|c| c.pcr_selection = vec![bank(sha256, &[256])],
            &|c| c.pcr_selection = vec![bank(0x1_0000 + sha256, &[0])],
            &|c| c.pcr_selection = vec![bank(sha256, &[0]); 17],
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut challenge = good();
            change(&mut challenge);
            assert!(Challenge::decode(&challenge.encode_to_vec()).is_err(), "{number}");
        }
    }
}
