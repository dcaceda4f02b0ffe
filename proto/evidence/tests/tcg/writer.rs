//! Writes logs.

use hallmark_evidence::tcg::EventKind;
use hallmark_tpm_wire::HashAlg;

/// A crypto-agile log under construction.
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) banks: Vec<HashAlg>,
}

/// `TCG_PCR_EVENT`.
pub(crate) fn sha1_event(pcr: u32, kind: EventKind, digest: [u8; 20], data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [
        &pcr.to_le_bytes()[..],
        &kind.0.to_le_bytes(),
        &digest,
        &length.to_le_bytes(),
        data,
    ]
    .concat()
}

/// `TCG_EfiSpecIdEvent`.
pub(crate) fn spec_id(banks: &[(u16, u16)]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 2, 2]);
    data.extend(u32::try_from(banks.len()).unwrap().to_le_bytes());
    for (id, size) in banks {
        data.extend(id.to_le_bytes());
        data.extend(size.to_le_bytes());
    }
    data.push(0);
    data
}

impl Writer {
    pub(crate) fn new(banks: &[HashAlg]) -> Self {
        let declared: Vec<_> = banks
            .iter()
            .map(|alg| (alg.id(), u16::try_from(alg.digest_len()).unwrap()))
            .collect();
        Self {
            bytes: sha1_event(0, EventKind::NO_ACTION, [0; 20], &spec_id(&declared)),
            banks: banks.to_vec(),
        }
    }

    /// An event whose digests are those of its data.
    pub(crate) fn event(mut self, pcr: u32, kind: EventKind, data: &[u8]) -> Self {
        let digests: Vec<_> = self.banks.iter().map(|alg| (alg.id(), alg.digest(data))).collect();
        self.push(pcr, kind, &digests, data);
        self
    }

    /// An event with any digests.
    pub(crate) fn with_digests(mut self, pcr: u32, kind: EventKind, digests: &[(u16, Vec<u8>)], data: &[u8]) -> Self {
        self.push(pcr, kind, digests, data);
        self
    }

    /// The event that says from which locality the TPM was started.
    pub(crate) fn locality(self, locality: u8) -> Self {
        let digests: Vec<_> = self
            .banks
            .iter()
            .map(|alg| (alg.id(), vec![0; alg.digest_len()]))
            .collect();
        let data = [&b"StartupLocality\0"[..], &[locality]].concat();
        self.with_digests(0, EventKind::NO_ACTION, &digests, &data)
    }

    fn push(&mut self, pcr: u32, kind: EventKind, digests: &[(u16, Vec<u8>)], data: &[u8]) {
        self.bytes.extend(pcr.to_le_bytes());
        self.bytes.extend(kind.0.to_le_bytes());
        self.bytes.extend(u32::try_from(digests.len()).unwrap().to_le_bytes());
        for (id, digest) in digests {
            self.bytes.extend(id.to_le_bytes());
            self.bytes.extend(digest);
        }
        self.bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        self.bytes.extend(data);
    }
}
