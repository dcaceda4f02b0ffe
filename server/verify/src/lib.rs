//! Evidence, trust anchors, a challenge and the time, judged: `VerifiedEvidence`.
