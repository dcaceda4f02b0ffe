//! ActivateCredential over one salted policy session.

use hallmark_tpm_wire::{HashAlg, PublicArea, templates};
use tss_esapi::{
    attributes::SessionAttributesBuilder,
    constants::SessionType,
    handles::{AuthHandle, KeyHandle, SessionHandle},
    interface_types::{
        algorithm::HashingAlgorithm,
        session_handles::{AuthSession, PolicySession},
    },
    structures::{Digest, DigestList, EncryptedSecret, IdObject, Nonce, SymmetricDefinition},
};
use zeroize::Zeroizing;

use super::{EsysTpm, Fault, Op, op};
use crate::{TpmError, port::Credential, response::Response};

const START_SESSION: Op = op("TPM2_StartAuthSession", "endorsement");
const POLICY_SECRET: Op = op("TPM2_PolicySecret", "endorsement");
const POLICY_OR: Op = op("TPM2_PolicyOR", "endorsement");
const ACTIVATE: Op = op("TPM2_ActivateCredential", "endorsement");

impl EsysTpm {
    pub(super) fn activate_credential(
        &mut self,
        endorsement: &PublicArea,
        credential: &Credential,
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let key = self.ensure_endorsement(endorsement)?;
        let (attestation_key, _) = self.ensure_attestation_key()?;
        let session = self.start_policy_session(key, endorsement)?;
        let secret = self
            .satisfy_policy(session, endorsement)
            .and_then(|()| self.activate_in(session, attestation_key, key, credential));
        if secret.is_err() {
            // On success the TPM has ended the session itself: continueSession is clear.
            self.flush_quietly(SessionHandle::from(session).into());
        }
        secret
    }

    /// A session salted to the endorsement key, which encrypts the first parameter of the answer: the secret does not
    /// cross the bus in clear, and only the TPM with that very key can have the session's keys.
    fn start_policy_session(&mut self, key: KeyHandle, endorsement: &PublicArea) -> Result<AuthSession, Fault> {
        let hash = hashing_algorithm(endorsement.name_alg())?;
        let session = self.run(START_SESSION, |context| {
            context.execute_without_session(|context| {
                context.start_auth_session(
                    Some(key),
                    None,
                    None,
                    SessionType::Policy,
                    SymmetricDefinition::AES_128_CFB,
                    hash,
                )
            })
        })?;
        let session = session.ok_or_else(|| Fault::malformed(START_SESSION, "no session handle"))?;
        let (attributes, mask) = SessionAttributesBuilder::new()
            .with_encrypt(true)
            .with_decrypt(true)
            .with_continue_session(true)
            .build();
        self.run(START_SESSION, |context| {
            context.tr_sess_set_attributes(session, attributes, mask)
        })?;
        Ok(session)
    }

    /// PolicyA of the EK credential profile: knowledge of the endorsement hierarchy's authorization value. The
    /// high range's keys have PolicyB, an OR of PolicyA and an NV-held policy.
    fn satisfy_policy(&mut self, session: AuthSession, endorsement: &PublicArea) -> Result<(), Fault> {
        let policy = policy(session)?;
        self.run_authorized(POLICY_SECRET, |context| {
            context.policy_secret(
                policy,
                AuthHandle::Endorsement,
                Nonce::default(),
                Digest::default(),
                Nonce::default(),
                None,
            )
        })?;
        if endorsement.attributes() == templates::EK_LOW_ATTRIBUTES {
            return Ok(());
        }
        let mut list = DigestList::new();
        for branch in policy_b_branches(endorsement.name_alg())? {
            Digest::try_from(branch)
                .and_then(|digest| list.add(digest))
                .map_err(|error| Fault::malformed(POLICY_OR, error))?;
        }
        self.run(POLICY_OR, |context| {
            context.execute_without_session(|context| context.policy_or(policy, list.clone()))
        })
    }

    fn activate_in(
        &mut self,
        session: AuthSession,
        attestation_key: KeyHandle,
        key: KeyHandle,
        credential: &Credential,
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let refused = || Fault::from(TpmError::CredentialRefused { rc: 0 });
        let blob = IdObject::try_from(credential.id_object.as_slice()).map_err(|_| refused())?;
        let seed = EncryptedSecret::try_from(credential.encrypted_secret.as_slice()).map_err(|_| refused())?;
        let (attributes, mask) = SessionAttributesBuilder::new()
            .with_encrypt(true)
            .with_continue_session(false)
            .build();
        self.run(ACTIVATE, |context| {
            context.tr_sess_set_attributes(session, attributes, mask)
        })?;
        let sessions = (Some(AuthSession::Password), Some(session), None);
        let secret = self.run(ACTIVATE, |context| {
            context.execute_with_sessions(sessions, |context| {
                context.activate_credential(attestation_key, key, blob.clone(), seed.clone())
            })
        });
        match secret {
            Ok(digest) => Ok(Zeroizing::new(digest.value().to_vec())),
            Err(Fault::Response(_, Response::Unsupported(rc) | Response::Other(rc))) if rc < 0x1000 => {
                Err(TpmError::CredentialRefused { rc }.into())
            }
            Err(fault) => Err(fault),
        }
    }
}

fn policy(session: AuthSession) -> Result<PolicySession, Fault> {
    PolicySession::try_from(session).map_err(|error| Fault::malformed(START_SESSION, error))
}

fn hashing_algorithm(hash: HashAlg) -> Result<HashingAlgorithm, Fault> {
    match hash {
        HashAlg::Sha256 => Ok(HashingAlgorithm::Sha256),
        HashAlg::Sha384 => Ok(HashingAlgorithm::Sha384),
        HashAlg::Sha512 => Ok(HashingAlgorithm::Sha512),
        _ => Err(TpmError::NoEndorsementKey.into()),
    }
}

/// The two branches of policy B: policy A and policy C, `PolicyAuthorizeNV` of an index that the profile reserves
/// (TCG EK credential profile 2.5, annex B.6).
fn policy_b_branches(hash: HashAlg) -> Result<[Vec<u8>; 2], Fault> {
    let (a, c) = match hash {
        HashAlg::Sha256 => (templates::POLICY_A_SHA256.to_vec(), POLICY_C_SHA256),
        HashAlg::Sha384 => (hex(POLICY_A_SHA384), POLICY_C_SHA384),
        HashAlg::Sha512 => (hex(POLICY_A_SHA512), POLICY_C_SHA512),
        _ => return Err(TpmError::NoEndorsementKey.into()),
    };
    Ok([a, hex(c)])
}

const POLICY_A_SHA384: &str =
    "8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53";
const POLICY_A_SHA512: &str = "1e3b76502c8a1425aa0b7b3fc646a1b0fae063b03b5368f9c4cddecaff0891dd\
                               682bac1a85d4d832b781ea451915de5fc5bf0dc4a1917cd42fa041e3f998e0ee";
const POLICY_C_SHA256: &str = "3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde";
const POLICY_C_SHA384: &str =
    "d6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165";
const POLICY_C_SHA512: &str = "589ee1e146544716e8deafe6db247b01b81e9f9c7dd16b814aa159138749105f\
                               ba5388dd1dea702f35240c184933121e2c61b8f50d3ef91393a49a38c3f73fc8";

fn hex(digits: &str) -> Vec<u8> {
    let nibbles: Vec<u8> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    nibbles
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | nibble))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PolicyOR's digest: of zeros, the command code, and the branches (part 3, section 23.6).
    fn policy_or(hash: HashAlg) -> Vec<u8> {
        let zeros = vec![0; hash.digest_len()];
        hash.digest(&[zeros, vec![0, 0, 0x01, 0x71], policy_b_branches(hash).unwrap().concat()].concat())
    }

    #[test]
    fn the_branches_give_the_policies_of_the_templates() {
        assert_eq!(policy_or(HashAlg::Sha256), templates::POLICY_B_SHA256);
        assert_eq!(policy_or(HashAlg::Sha384), templates::POLICY_B_SHA384);
        assert_eq!(policy_or(HashAlg::Sha512), templates::POLICY_B_SHA512);
    }
}
