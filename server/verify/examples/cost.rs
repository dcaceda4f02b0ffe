//! What one attestation costs the verifier, against the cryptography that it cannot avoid.
//!
//! `cargo run --release -p hallmark-verify --example cost --features software-machine`
#![expect(clippy::disallowed_methods, reason = "it measures time, and prints it")]

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use hallmark_tpm_wire::{HashAlg, PcrSelection, PublicArea, Signature, credential};
use hallmark_verify::testing::{ChallengeParts, SoftwareEk, SoftwareKey, SoftwareMachine, VendorCa};
use hallmark_verify::{HeldLogs, Trust, verify_claim, verify_logs, verify_proof};
use zeroize::Zeroizing;

type Failure = Box<dyn std::error::Error>;

const ROUNDS: u32 = 400;
const EXPORTER: [u8; 32] = [3; 32];

fn main() -> Result<(), Failure> {
    let vendor = VendorCa::new();
    let trust = SoftwareMachine::trust(&vendor);
    for (name, ek) in [("EK P-256", SoftwareEk::ecc()), ("EK RSA-2048", SoftwareEk::rsa())] {
        let machine = SoftwareMachine::with_ek(&vendor, ek);
        // Once each to warm up; then by turns, so that a busy machine slows both alike.
        let (mut whole, mut bare) = (Duration::ZERO, Duration::ZERO);
        attestations(&machine, &trust, 20)?;
        bare_crypto(&machine, 20)?;
        for _ in 0..10 {
            whole += attestations(&machine, &trust, ROUNDS / 10)?;
            bare += bare_crypto(&machine, ROUNDS / 10)?;
        }
        let ratio = whole.as_secs_f64() / bare.as_secs_f64();
        let (whole, bare) = ((whole / ROUNDS).as_micros(), (bare / ROUNDS).as_micros());
        writeln!(
            std::io::stdout(),
            "{name}: {whole} us, bare cryptography {bare} us, ratio {ratio:.2}"
        )?;
    }
    Ok(())
}

/// Time in verify_claim, challenge_with and conclude alone; the machine's own work does not count.
fn attestations(machine: &SoftwareMachine, trust: &Trust, rounds: u32) -> Result<Duration, Failure> {
    let now = UNIX_EPOCH + SystemTime::now().duration_since(UNIX_EPOCH)?;
    let parts = machine.claim();
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        let claim = parts.decode()?;
        let selection = PcrSelection::new([(HashAlg::Sha256, &[0, 1, 2, 3, 4, 5, 6, 7][..])])?;
        let begin = Instant::now();
        let verified_claim = verify_claim(claim, trust, None, now)?;
        let challenge = verified_claim.challenge_with([1; 32], Some(Zeroizing::new([2; 32])), selection, now)?;
        spent += begin.elapsed();
        let proof = machine.prove(&ChallengeParts::from(&challenge), &EXPORTER).decode()?;
        let begin = Instant::now();
        let evidence = verify_logs(
            verify_proof(verified_claim, challenge, proof, &EXPORTER, now)?,
            Vec::new(),
            &HeldLogs::default(),
        )?;
        spent += begin.elapsed();
        drop(evidence);
    }
    Ok(spent)
}

/// Five signatures verified (leaf, intermediate, CSR, certification, quote; all P-256 here) and one credential made.
fn bare_crypto(machine: &SoftwareMachine, rounds: u32) -> Result<Duration, Failure> {
    let signer = SoftwareKey::ak();
    let spki = signer.spki();
    let point = spki.get(26..).ok_or("no P-256 SPKI")?;
    let message = [9; 300];
    let der = signer.sign_x509(&message);
    let tpm_signature = Signature::parse(&signer.sign(&message))?;
    let ak = PublicArea::parse(&signer.public.marshal())?;
    let ek = PublicArea::parse(&machine.ek.public.marshal())?;
    let begin = Instant::now();
    for _ in 0..rounds {
        for _ in 0..3 {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
                .verify(&message, &der)
                .map_err(|_| "signature")?;
        }
        for _ in 0..2 {
            tpm_signature.verify(&ak, &message)?;
        }
        credential::make(&ek, &ak.name(), &[2; 32])?;
    }
    Ok(begin.elapsed())
}
