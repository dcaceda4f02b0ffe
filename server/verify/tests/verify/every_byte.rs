//! One bit changed in any byte of what a good machine sends: never accepted.

use hallmark_verify::testing::{ChallengeParts, ClaimParts, ProofParts};

use crate::scene::{EXPORTER, Scene, challenge, finish};

/// A field of a claim or of a proof.
type Field<T> = (&'static str, fn(&mut T) -> &mut Vec<u8>);

/// The bits that are changed in turn: the last; the one that makes a TLV constructed; the first.
const BITS: [u8; 3] = [0x01, 0x20, 0x80];

const CLAIM: [Field<ClaimParts>; 5] = [
    ("EK certificate", |claim| claim.ek_certificate.as_mut().unwrap()),
    ("intermediate", |claim| &mut claim.ek_chain[0]),
    ("AK", |claim| &mut claim.ak_public),
    ("SVID key", |claim| &mut claim.svid_public),
    ("CSR", |claim| &mut claim.csr),
];

const PROOF: [Field<ProofParts>; 6] = [
    ("secret", |proof| proof.activated_secret.as_mut().unwrap()),
    ("certification", |proof| &mut proof.certify.attest),
    ("its signature", |proof| &mut proof.certify.signature),
    ("quote", |proof| &mut proof.quote.attest),
    ("its signature", |proof| &mut proof.quote.signature),
    ("PCR value", |proof| &mut proof.pcr_values[5].2),
];

#[test]
fn a_changed_byte_of_the_claim_is_never_accepted() {
    let scene = Scene::new();
    scene.run().unwrap();
    for (what, field) in CLAIM {
        let length = field(&mut scene.machine.claim()).len();
        for at in 0..length {
            for bit in BITS {
                let result = scene.with_claim(|claim| {
                    let bytes = field(claim);
                    // The CSR is signed anew each time, and an ECDSA signature's DER varies by a byte or two.
                    let at = at.min(bytes.len() - 1);
                    bytes[at] ^= bit;
                });
                assert!(result.is_err(), "{what}, bit {bit:02x} of byte {at} of {length}");
            }
        }
    }
}

#[test]
fn a_changed_byte_of_the_proof_is_never_accepted() {
    let scene = Scene::new();
    scene.run().unwrap();
    for (what, field) in PROOF {
        let length = {
            let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
            let seen = ChallengeParts::from(&challenge(&verified_claim));
            field(&mut scene.machine.prove(&seen, &EXPORTER)).len()
        };
        for at in 0..length {
            for bit in BITS {
                let result = scene.with_proof(|proof| field(proof)[at] ^= bit);
                assert!(result.is_err(), "{what}, bit {bit:02x} of byte {at} of {length}");
            }
        }
    }
}

/// Who may use the EK, and by which policy, the certificate does not vouch for; the template that counts says it.
#[test]
fn a_changed_byte_of_the_ek_is_never_accepted() {
    let scene = Scene::new();
    scene.run().unwrap();
    for at in 0..scene.machine.claim().ek_public.len() {
        for bit in BITS {
            let result = scene.with_claim(|claim| claim.ek_public[at] ^= bit);
            assert!(result.is_err(), "bit {bit:02x} of byte {at}");
        }
    }
}

/// A proof with one field cut off at any length.
#[test]
fn a_shortened_field_of_the_proof_is_never_accepted() {
    let scene = Scene::new();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let first = challenge(&verified_claim);
    let whole = scene.machine.prove(&ChallengeParts::from(&first), &EXPORTER);
    finish(verified_claim, first, &whole).unwrap();
    for (what, field) in PROOF {
        for length in 0..field(&mut whole.clone()).len() {
            let result = scene.with_proof(|proof| field(proof).truncate(length));
            assert!(result.is_err(), "{what}, {length} bytes");
        }
    }
}
