//! Which mechanisms a token has, and which of them is taken for what.
//!
//! Nothing is assumed: the token is asked once each time it is opened. Where it both signs a digest and hashes by itself,
//! it is given the digest for ECDSA, and the message for RSA: what signs any digest with an RSA key is what decrypts, and tokens
//! and their policies keep it from keys that only sign.

use cryptoki::{
    context::Pkcs11,
    error::Error,
    mechanism::{
        Mechanism, MechanismInfo, MechanismType,
        eddsa::{EddsaParams, EddsaSignatureScheme},
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    slot::Slot,
    types::Ulong,
};
use hallmark_hsm::{HsmError, KeyKind, SignatureAlg};

use crate::digests::Hash;

/// The most mechanisms that a token is asked about, one by one.
const MAX_MECHANISMS: usize = 1024;

/// What one token can do.
#[derive(Debug, Default)]
pub(crate) struct Mechanisms(Vec<(MechanismType, Facts)>);

#[derive(Debug, Clone, Copy)]
struct Facts {
    signs: bool,
    makes_keys: bool,
    /// Bits; zero where the token does not say.
    min: usize,
    max: usize,
}

/// How a signature is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The token signs a digest that was made here.
    OfDigest,
    /// The token hashes the message itself, or signs it as it is.
    OfMessage,
}

impl Mechanisms {
    /// Asks the token in `slot`.
    pub(crate) fn ask(context: &Pkcs11, slot: Slot) -> Result<Self, Error> {
        let mut listed = context.get_mechanism_list(slot)?;
        listed.truncate(MAX_MECHANISMS);
        let wanted = listed.into_iter().filter(|listed| is_used(*listed));
        let facts = wanted.filter_map(|mechanism| {
            // What it cannot tell about counts as not there.
            let info = context.get_mechanism_info(slot, mechanism).ok()?;
            Some((mechanism, Facts::of(&info)))
        });
        Ok(Self(facts.collect()))
    }

    fn facts(&self, mechanism: MechanismType) -> Option<Facts> {
        let mut all = self.0.iter();
        all.find(|(known, _)| *known == mechanism).map(|(_, facts)| *facts)
    }

    /// How the token makes signatures of this algorithm, by its own word: the way to be tried first, and what is left.
    pub(crate) fn ways(&self, algorithm: SignatureAlg) -> Result<(Way, Option<Way>), HsmError> {
        let mut ways = [
            (Way::OfDigest, of_digest(algorithm)),
            (Way::OfMessage, Some(of_message(algorithm))),
        ];
        if is_rsa(algorithm) {
            ways.reverse();
        }
        let signs = |mechanism| self.facts(mechanism).is_some_and(|facts| facts.signs);
        let mut listed = ways.into_iter().filter(|(_, mechanism)| mechanism.is_some_and(signs));
        let first = listed.next().ok_or_else(|| {
            let lacking = ways.into_iter().filter_map(|(_, mechanism)| Some(name(mechanism?)));
            HsmError::NotSupported {
                what: algorithm.to_string(),
                cause: format!("it lists {} to sign with", none_of(&lacking.collect::<Vec<_>>())),
            }
        })?;
        Ok((first.0, listed.next().map(|(way, _)| way)))
    }

    /// The mechanism that signatures of this algorithm are asked for by, as the specification names it; `known` is the way that
    /// has worked.
    pub(crate) fn name(&self, algorithm: SignatureAlg, known: Option<Way>) -> Result<&'static str, HsmError> {
        let (first, _) = self.ways(algorithm)?;
        Ok(match known.unwrap_or(first) {
            Way::OfDigest => of_digest(algorithm).map_or("", name),
            Way::OfMessage => name(of_message(algorithm)),
        })
    }

    /// Fails unless the token lists what it needs to make a key of this kind and to sign with it.
    pub(crate) fn require(&self, kind: KeyKind) -> Result<(), HsmError> {
        let (mechanism, bits) = generation(kind);
        let refused = |cause| HsmError::NotSupported {
            what: format!("{kind} keys"),
            cause,
        };
        let facts = self.facts(mechanism).filter(|facts| facts.makes_keys);
        let facts = facts.ok_or_else(|| refused(format!("it does not list {} to make keys with", name(mechanism))))?;
        // Of Ed25519 some say 255, and others 256.
        if kind != KeyKind::Ed25519 && facts.excludes(bits) {
            let (min, max) = (facts.min, facts.max);
            return Err(refused(format!("its {} takes {min} to {max} bits", name(mechanism))));
        }
        self.ways(kind.signature_alg()).map(drop)
    }
}

impl Facts {
    fn of(info: &MechanismInfo) -> Self {
        Self {
            signs: info.sign(),
            makes_keys: info.generate_key_pair(),
            min: info.min_key_size(),
            max: info.max_key_size(),
        }
    }

    /// Some tokens give bytes instead of bits, or nothing: then the token itself refuses what it cannot do.
    const fn excludes(self, bits: usize) -> bool {
        const PLAUSIBLE: usize = 160;
        self.max >= PLAUSIBLE && (bits < self.min || bits > self.max)
    }
}

/// The mechanism that makes keys of a kind, and their size in bits.
pub(crate) const fn generation(kind: KeyKind) -> (MechanismType, usize) {
    match kind {
        KeyKind::EcP256 => (MechanismType::ECC_KEY_PAIR_GEN, 256),
        KeyKind::EcP384 => (MechanismType::ECC_KEY_PAIR_GEN, 384),
        KeyKind::EcP521 => (MechanismType::ECC_KEY_PAIR_GEN, 521),
        KeyKind::Rsa2048 => (MechanismType::RSA_PKCS_KEY_PAIR_GEN, 2048),
        KeyKind::Rsa3072 => (MechanismType::RSA_PKCS_KEY_PAIR_GEN, 3072),
        KeyKind::Rsa4096 => (MechanismType::RSA_PKCS_KEY_PAIR_GEN, 4096),
        KeyKind::Ed25519 => (MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, 255),
    }
}

/// The mechanism that signs a digest.
const fn of_digest(algorithm: SignatureAlg) -> Option<MechanismType> {
    Some(match algorithm {
        SignatureAlg::EcdsaP256Sha256 | SignatureAlg::EcdsaP384Sha384 | SignatureAlg::EcdsaP521Sha512 => {
            MechanismType::ECDSA
        }
        SignatureAlg::RsaPkcs1Sha256 | SignatureAlg::RsaPkcs1Sha384 | SignatureAlg::RsaPkcs1Sha512 => {
            MechanismType::RSA_PKCS
        }
        SignatureAlg::RsaPssSha256 | SignatureAlg::RsaPssSha384 | SignatureAlg::RsaPssSha512 => {
            MechanismType::RSA_PKCS_PSS
        }
        SignatureAlg::Ed25519 => return None,
    })
}

/// The mechanism that takes the message.
const fn of_message(algorithm: SignatureAlg) -> MechanismType {
    match algorithm {
        SignatureAlg::EcdsaP256Sha256 => MechanismType::ECDSA_SHA256,
        SignatureAlg::EcdsaP384Sha384 => MechanismType::ECDSA_SHA384,
        SignatureAlg::EcdsaP521Sha512 => MechanismType::ECDSA_SHA512,
        SignatureAlg::RsaPkcs1Sha256 => MechanismType::SHA256_RSA_PKCS,
        SignatureAlg::RsaPkcs1Sha384 => MechanismType::SHA384_RSA_PKCS,
        SignatureAlg::RsaPkcs1Sha512 => MechanismType::SHA512_RSA_PKCS,
        SignatureAlg::RsaPssSha256 => MechanismType::SHA256_RSA_PKCS_PSS,
        SignatureAlg::RsaPssSha384 => MechanismType::SHA384_RSA_PKCS_PSS,
        SignatureAlg::RsaPssSha512 => MechanismType::SHA512_RSA_PKCS_PSS,
        SignatureAlg::Ed25519 => MechanismType::EDDSA,
    }
}

/// Names as the specification has them; every mechanism that is used here.
const NAMES: [(MechanismType, &str); 16] = [
    (MechanismType::ECC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"),
    (MechanismType::RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN"),
    (MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, "CKM_EC_EDWARDS_KEY_PAIR_GEN"),
    (MechanismType::ECDSA, "CKM_ECDSA"),
    (MechanismType::ECDSA_SHA256, "CKM_ECDSA_SHA256"),
    (MechanismType::ECDSA_SHA384, "CKM_ECDSA_SHA384"),
    (MechanismType::ECDSA_SHA512, "CKM_ECDSA_SHA512"),
    (MechanismType::RSA_PKCS, "CKM_RSA_PKCS"),
    (MechanismType::SHA256_RSA_PKCS, "CKM_SHA256_RSA_PKCS"),
    (MechanismType::SHA384_RSA_PKCS, "CKM_SHA384_RSA_PKCS"),
    (MechanismType::SHA512_RSA_PKCS, "CKM_SHA512_RSA_PKCS"),
    (MechanismType::RSA_PKCS_PSS, "CKM_RSA_PKCS_PSS"),
    (MechanismType::SHA256_RSA_PKCS_PSS, "CKM_SHA256_RSA_PKCS_PSS"),
    (MechanismType::SHA384_RSA_PKCS_PSS, "CKM_SHA384_RSA_PKCS_PSS"),
    (MechanismType::SHA512_RSA_PKCS_PSS, "CKM_SHA512_RSA_PKCS_PSS"),
    (MechanismType::EDDSA, "CKM_EDDSA"),
];

const fn is_rsa(algorithm: SignatureAlg) -> bool {
    !matches!(
        algorithm,
        SignatureAlg::EcdsaP256Sha256
            | SignatureAlg::EcdsaP384Sha384
            | SignatureAlg::EcdsaP521Sha512
            | SignatureAlg::Ed25519
    )
}

fn is_used(mechanism: MechanismType) -> bool {
    NAMES.iter().any(|(known, _)| *known == mechanism)
}

fn name(mechanism: MechanismType) -> &'static str {
    let mut all = NAMES.iter();
    all.find(|(known, _)| *known == mechanism).map_or("", |(_, name)| name)
}

fn none_of(names: &[&str]) -> String {
    match names {
        [only] => format!("no {only}"),
        several => format!("neither {}", several.join(" nor ")),
    }
}

/// What the token is told to do, and with which bytes, for one message.
pub(crate) fn request(algorithm: SignatureAlg, way: Way, message: &[u8]) -> (Mechanism<'static>, Vec<u8>) {
    let hash = Hash::of(algorithm);
    let input = match (way, hash) {
        (Way::OfMessage, _) | (Way::OfDigest, None) => message.to_vec(),
        (Way::OfDigest, Some(hash)) => match algorithm {
            SignatureAlg::RsaPkcs1Sha256 | SignatureAlg::RsaPkcs1Sha384 | SignatureAlg::RsaPkcs1Sha512 => {
                hash.digest_info(message)
            }
            _ => hash.digest(message),
        },
    };
    (mechanism(algorithm, way), input)
}

fn mechanism(algorithm: SignatureAlg, way: Way) -> Mechanism<'static> {
    match (algorithm, way) {
        (
            SignatureAlg::EcdsaP256Sha256 | SignatureAlg::EcdsaP384Sha384 | SignatureAlg::EcdsaP521Sha512,
            Way::OfDigest,
        ) => Mechanism::Ecdsa,
        (SignatureAlg::EcdsaP256Sha256, Way::OfMessage) => Mechanism::EcdsaSha256,
        (SignatureAlg::EcdsaP384Sha384, Way::OfMessage) => Mechanism::EcdsaSha384,
        (SignatureAlg::EcdsaP521Sha512, Way::OfMessage) => Mechanism::EcdsaSha512,
        (SignatureAlg::RsaPkcs1Sha256 | SignatureAlg::RsaPkcs1Sha384 | SignatureAlg::RsaPkcs1Sha512, Way::OfDigest) => {
            Mechanism::RsaPkcs
        }
        (SignatureAlg::RsaPkcs1Sha256, Way::OfMessage) => Mechanism::Sha256RsaPkcs,
        (SignatureAlg::RsaPkcs1Sha384, Way::OfMessage) => Mechanism::Sha384RsaPkcs,
        (SignatureAlg::RsaPkcs1Sha512, Way::OfMessage) => Mechanism::Sha512RsaPkcs,
        (SignatureAlg::RsaPssSha256, Way::OfDigest) => Mechanism::RsaPkcsPss(pss_sha256()),
        (SignatureAlg::RsaPssSha384, Way::OfDigest) => Mechanism::RsaPkcsPss(pss_sha384()),
        (SignatureAlg::RsaPssSha512, Way::OfDigest) => Mechanism::RsaPkcsPss(pss_sha512()),
        (SignatureAlg::RsaPssSha256, Way::OfMessage) => Mechanism::Sha256RsaPkcsPss(pss_sha256()),
        (SignatureAlg::RsaPssSha384, Way::OfMessage) => Mechanism::Sha384RsaPkcsPss(pss_sha384()),
        (SignatureAlg::RsaPssSha512, Way::OfMessage) => Mechanism::Sha512RsaPkcsPss(pss_sha512()),
        (SignatureAlg::Ed25519, _) => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
    }
}

fn pss_sha256() -> PkcsPssParams {
    PkcsPssParams {
        hash_alg: MechanismType::SHA256,
        mgf: PkcsMgfType::MGF1_SHA256,
        s_len: Ulong::new(32),
    }
}

fn pss_sha384() -> PkcsPssParams {
    PkcsPssParams {
        hash_alg: MechanismType::SHA384,
        mgf: PkcsMgfType::MGF1_SHA384,
        s_len: Ulong::new(48),
    }
}

fn pss_sha512() -> PkcsPssParams {
    PkcsPssParams {
        hash_alg: MechanismType::SHA512,
        mgf: PkcsMgfType::MGF1_SHA512,
        s_len: Ulong::new(64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABLE: Facts = Facts {
        signs: true,
        makes_keys: true,
        min: 256,
        max: 4096,
    };

    fn with(mechanisms: &[MechanismType]) -> Mechanisms {
        Mechanisms(mechanisms.iter().map(|mechanism| (*mechanism, ABLE)).collect())
    }

    #[test]
    fn the_token_is_given_a_digest_where_it_takes_one_and_the_message_where_not() {
        let p256 = SignatureAlg::EcdsaP256Sha256;
        let hashing = with(&[MechanismType::ECDSA_SHA256]);
        assert_eq!(hashing.ways(p256), Ok((Way::OfMessage, None)));
        let both = with(&[MechanismType::ECDSA_SHA256, MechanismType::ECDSA]);
        assert_eq!(both.ways(p256), Ok((Way::OfDigest, Some(Way::OfMessage))));
        assert_eq!(both.name(p256, None), Ok("CKM_ECDSA"));
        assert_eq!(both.name(p256, Some(Way::OfMessage)), Ok("CKM_ECDSA_SHA256"));
        let rsa = with(&[MechanismType::RSA_PKCS, MechanismType::SHA256_RSA_PKCS]);
        assert_eq!(rsa.name(SignatureAlg::RsaPkcs1Sha256, None), Ok("CKM_SHA256_RSA_PKCS"));
        assert_eq!(rsa.name(SignatureAlg::RsaPkcs1Sha384, None), Ok("CKM_RSA_PKCS"));
        assert_eq!(
            with(&[MechanismType::EDDSA]).ways(SignatureAlg::Ed25519),
            Ok((Way::OfMessage, None))
        );
        let Err(HsmError::NotSupported { what, cause }) =
            with(&[MechanismType::ECDSA_SHA256]).ways(SignatureAlg::EcdsaP384Sha384)
        else {
            panic!("SHA-256 is not SHA-384");
        };
        assert_eq!(what, "ECDSA P-384 with SHA-384");
        assert_eq!(cause, "it lists neither CKM_ECDSA nor CKM_ECDSA_SHA384 to sign with");
    }

    #[test]
    fn a_mechanism_that_is_listed_for_other_uses_does_not_count() {
        let verifies_only = Facts { signs: false, ..ABLE };
        let token = Mechanisms(vec![(MechanismType::ECDSA, verifies_only)]);
        assert!(matches!(
            token.ways(SignatureAlg::EcdsaP256Sha256),
            Err(HsmError::NotSupported { .. })
        ));
    }

    #[test]
    fn what_a_key_needs_is_checked_before_it_is_made() {
        let ec = [MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA];
        assert_eq!(with(&ec).require(KeyKind::EcP256), Ok(()));
        let refused = |token: &Mechanisms, kind| match token.require(kind) {
            Err(HsmError::NotSupported { what, cause }) => format!("{what}: {cause}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused(&with(&ec), KeyKind::Ed25519),
            "ed25519 keys: it does not list CKM_EC_EDWARDS_KEY_PAIR_GEN to make keys with"
        );
        let small = Facts { max: 384, ..ABLE };
        let small = Mechanisms(ec.iter().map(|mechanism| (*mechanism, small)).collect());
        assert_eq!(
            refused(&small, KeyKind::EcP521),
            "ec-p521 keys: its CKM_EC_KEY_PAIR_GEN takes 256 to 384 bits"
        );
        assert_eq!(small.require(KeyKind::EcP384), Ok(()), "the control");
        // A token that says nothing of sizes, or counts bytes, is asked for the key itself.
        let silent = Facts {
            min: 0,
            max: 64,
            ..ABLE
        };
        let silent = Mechanisms(ec.iter().map(|mechanism| (*mechanism, silent)).collect());
        assert_eq!(silent.require(KeyKind::EcP521), Ok(()));
        assert_eq!(
            refused(&with(&[MechanismType::ECC_KEY_PAIR_GEN]), KeyKind::EcP256),
            "ECDSA P-256 with SHA-256: it lists neither CKM_ECDSA nor CKM_ECDSA_SHA256 to sign with"
        );
    }

    #[test]
    fn every_mechanism_that_is_used_has_a_name() {
        for kind in KeyKind::ALL {
            assert_ne!(name(generation(kind).0), "");
            for algorithm in kind.algorithms() {
                assert_ne!(name(of_message(*algorithm)), "");
                assert_ne!(of_digest(*algorithm).map(name), Some(""));
            }
        }
    }
}
