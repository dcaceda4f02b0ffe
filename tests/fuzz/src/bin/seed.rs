//! Records one attestation of a machine in software as the seed of the message targets. Run it in `tests/fuzz`.

use std::{fs, io};

use hallmark_api::attest::{PcrValue, Signed, Tpm2Claim, Tpm2Proof};
use hallmark_fuzz::{EXPORTER, challenged, decode_proof, now, trust};
use hallmark_verify::{
    HeldLogs,
    testing::{ChallengeParts, SignedParts, SoftwareMachine, VendorCa},
    verify_logs, verify_proof,
};
use prost::Message;

fn main() -> io::Result<()> {
    let vendor = VendorCa::new();
    let machine = SoftwareMachine::new(&vendor);
    let parts = machine.claim();
    let message = Tpm2Claim {
        version: 1,
        ek_certificate: parts.ek_certificate.unwrap_or_default().into(),
        ek_chain: parts.ek_chain.into_iter().map(Into::into).collect(),
        ek_public: parts.ek_public.into(),
        ak_public: parts.ak_public.into(),
        svid_public: parts.svid_public.into(),
        session: parts.session,
    };
    let length = u16::try_from(parts.csr.len()).expect("a CSR is short");
    let claim = [length.to_be_bytes().as_slice(), &parts.csr, &message.encode_to_vec()].concat();

    let (verified_claim, challenge) = challenged(&claim, &trust(vendor.root_der()));
    let parts = machine.prove(&ChallengeParts::from(&challenge), &EXPORTER);
    let values = parts.pcr_values.into_iter();
    let message = Tpm2Proof {
        version: 1,
        activated_secret: parts.activated_secret.unwrap_or_default().into(),
        certify: Some(signed(parts.certify)),
        quote: Some(signed(parts.quote)),
        pcr_values: values
            .map(|(alg, pcr, digest)| PcrValue {
                hash_alg: alg.into(),
                pcr: pcr.into(),
                digest: digest.into(),
            })
            .collect(),
        logs: Vec::new(),
    };
    let proof = message.encode_to_vec();
    let decoded = decode_proof(&proof).expect("protobuf").expect("within the limits");
    let verified_proof =
        verify_proof(verified_claim, challenge, decoded, &EXPORTER, now()).expect("what is recorded is good");
    verify_logs(verified_proof, Vec::new(), &HeldLogs::default()).expect("no log was announced");

    fs::write("seed/root.der", vendor.root_der())?;
    fs::write("corpus/claim/recorded", claim)?;
    fs::write("corpus/proof/recorded", proof)
}

fn signed(parts: SignedParts) -> Signed {
    Signed {
        attest: parts.attest.into(),
        signature: parts.signature.into(),
    }
}
