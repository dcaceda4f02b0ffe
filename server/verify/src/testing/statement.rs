//! TPMS_ATTEST with every field open.

use hallmark_tpm_wire::HashAlg;

use super::{narrow, sized};

/// A TPMS_ATTEST before it is signed.
#[derive(Debug, Clone)]
pub struct AttestDraft {
    /// TPM_GENERATED_VALUE, 0xff544347.
    pub magic: u32,
    /// TPM_ST: 0x8017 Certify, 0x8018 Quote.
    pub tag: u16,
    /// Qualified Name of the signer.
    pub qualified_signer: Vec<u8>,
    /// qualifyingData.
    pub extra_data: Vec<u8>,
    /// Milliseconds.
    pub clock: u64,
    /// resetCount.
    pub reset_count: u32,
    /// restartCount.
    pub restart_count: u32,
    /// 1 for yes.
    pub safe: u8,
    /// The TPM's firmware version.
    pub firmware_version: u64,
    /// Wire form of what is attested (see [`certify_body`] and [`quote_body`]).
    pub attested: Vec<u8>,
}

impl AttestDraft {
    /// The TPMS_ATTEST.
    #[must_use]
    pub fn marshal(&self) -> Vec<u8> {
        [
            &self.magic.to_be_bytes()[..],
            &self.tag.to_be_bytes(),
            &sized(&self.qualified_signer),
            &sized(&self.extra_data),
            &self.clock.to_be_bytes(),
            &self.reset_count.to_be_bytes(),
            &self.restart_count.to_be_bytes(),
            &[self.safe],
            &self.firmware_version.to_be_bytes(),
            &self.attested,
        ]
        .concat()
    }
}

/// TPMS_CERTIFY_INFO.
#[must_use]
pub fn certify_body(name: &[u8], qualified_name: &[u8]) -> Vec<u8> {
    [sized(name), sized(qualified_name)].concat()
}

/// TPMS_QUOTE_INFO over `banks` (TPM_ALG_ID and registers), with the SHA-256 digest of `values` as they stand.
#[must_use]
pub fn quote_body(banks: &[(u16, Vec<u8>)], values: &[Vec<u8>]) -> Vec<u8> {
    let mut body = narrow::<u32>(banks.len()).to_be_bytes().to_vec();
    for (alg, pcrs) in banks {
        let bitmap = pcrs.iter().fold(0_u32, |bits, pcr| bits | 1 << pcr).to_le_bytes();
        body.extend(alg.to_be_bytes());
        body.push(3);
        body.extend(bitmap.iter().take(3));
    }
    body.extend(sized(&HashAlg::Sha256.digest(&values.concat())));
    body
}

/// A signed TPMS_ATTEST.
#[derive(Debug, Clone)]
pub struct SignedParts {
    /// TPMS_ATTEST.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
}
