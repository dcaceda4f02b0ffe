//! Software keys under a genuine machine's name.

use anyhow::{Context as _, Result};
use hallmark_tpm_wire::templates::{EK_TEMPLATES, Unique};
use hallmark_verify::testing::{ClaimParts, SoftwareMachine, VendorCa};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

/// What a thief of public material can put together: a genuine machine's EK certificate (anybody may read it) with an
/// AK and an SVID key of his own, in software, whose public areas claim to be TPM keys in every bit.
///
/// # Errors
/// When the certificate holds no RSA-2048 key.
pub fn software_keys_under(ek_certificate: &[u8], intermediate: &[u8]) -> Result<(SoftwareMachine, ClaimParts)> {
    let machine = SoftwareMachine::new(&VendorCa::new());
    let (_, certificate) = X509Certificate::from_der(ek_certificate)?;
    let PublicKey::RSA(rsa) = certificate.public_key().parsed()? else {
        anyhow::bail!("no RSA key")
    };
    let modulus = rsa.modulus.strip_prefix(&[0]).unwrap_or(rsa.modulus);
    let template = EK_TEMPLATES.first().context("no EK template")?.template;
    let claim = ClaimParts {
        ek_certificate: Some(ek_certificate.to_vec()),
        ek_chain: vec![intermediate.to_vec()],
        ek_public: template.marshal(Unique::Bytes(modulus)),
        ..machine.claim()
    };
    Ok((machine, claim))
}
