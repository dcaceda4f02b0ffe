//! One event.

use hallmark_tpm_wire::HashAlg;

use super::kind::EventKind;

/// An event of the log, borrowed from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcgEvent<'a> {
    /// Its place in the log, from 0.
    pub number: u32,
    /// The register that the log says it was measured into.
    pub pcr: u32,
    /// The type that the log claims.
    pub kind: EventKind,
    /// One digest for each bank that is known here, in the order of the log.
    pub digests: Vec<(HashAlg, &'a [u8])>,
    /// The event data.
    pub data: &'a [u8],
}

impl<'a> TcgEvent<'a> {
    /// The digest that was extended into `bank`.
    #[must_use]
    pub fn digest(&self, bank: HashAlg) -> Option<&'a [u8]> {
        let digest = self.digests.iter().find(|(alg, _)| *alg == bank)?;
        Some(digest.1)
    }

    /// Whether it was measured at all: `EV_NO_ACTION` only informs (PFP, section 10.4.5).
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.kind != EventKind::NO_ACTION
    }
}
