//! Which certificate of an EK counts: the one that the claim shows, or the one that the server keeps.

use std::time::SystemTime;

use hallmark_evidence::{Claim, EkCertificateChain};

use super::EnrolmentError;
use crate::ek::{EkCertificate, EkCertificateError, GenuineCertificate, is_genuine, judge_certificate};
use crate::fingerprint::{hex, sha256};
use crate::trust::{ExpiredPolicy, KnownTpm, Trust};

/// A certificate with the verdict on it.
pub(super) struct Shown {
    /// Begin of its validity; `None` if it cannot be read.
    pub(super) issued: Option<i64>,
    pub(super) is_kept: bool,
    pub(super) worth: Result<GenuineCertificate, EkCertificateError>,
}

impl Shown {
    /// One that was not believed.
    pub(super) const fn refused(error: EkCertificateError) -> Self {
        Self {
            issued: None,
            is_kept: false,
            worth: Err(error),
        }
    }

    /// One that was judged before.
    pub(super) fn genuine(genuine: GenuineCertificate) -> Self {
        Self {
            issued: Some(genuine.facts.not_before),
            is_kept: true,
            worth: Ok(genuine),
        }
    }

    /// Whether its vendor has anything to say of it: that it is good, or that it is revoked.
    const fn is_vendors(&self) -> bool {
        matches!(self.worth, Ok(_) | Err(EkCertificateError::Revoked))
    }

    const fn is_revoked(&self) -> bool {
        matches!(self.worth, Err(EkCertificateError::Revoked))
    }

    fn is_genuine_and_the_same_as(&self, chain: &EkCertificateChain) -> bool {
        self.worth
            .as_ref()
            .is_ok_and(|it| it.chain.certificate == chain.certificate)
    }
}

/// What certificates of one EK are judged by.
pub(super) struct Judge<'a> {
    pub(super) ek_spki: &'a [u8],
    pub(super) trust: &'a Trust,
    pub(super) enrolled_before: bool,
    pub(super) now: SystemTime,
}

impl Judge<'_> {
    /// The certificate of a claim.
    ///
    /// # Errors
    /// It is of another key: a lie, for which neither inventory nor record makes up.
    pub(super) fn claimed(&self, claim: &Claim) -> Result<Option<Shown>, EnrolmentError> {
        let judge = |nv: &Vec<u8>| match self.judge(nv, &claim.ek_chain, false) {
            Ok(shown) => Ok(shown),
            Err(certified) => {
                let (certified, presented) = (hex(&certified), self.ek_sha256());
                Err(EnrolmentError::OtherKey { certified, presented })
            }
        };
        claim.ek_certificate.as_ref().map(judge).transpose()
    }

    /// The certificate of the record; none where the claim shows the same one and it holds.
    ///
    /// # Errors
    /// It is of another key: a fault in the server.
    pub(super) fn kept(
        &self,
        kept: Option<&EkCertificateChain>,
        shown: Option<&Shown>,
    ) -> Result<Option<Shown>, EnrolmentError> {
        let needed = kept.filter(|kept| !shown.is_some_and(|shown| shown.is_genuine_and_the_same_as(kept)));
        let judge = |kept: &EkCertificateChain| match self.judge(&kept.certificate, &kept.intermediates, true) {
            Ok(shown) => Ok(shown),
            Err(certified) => {
                let (record, presented) = (hex(&certified), self.ek_sha256());
                Err(EnrolmentError::OtherRecord { record, presented })
            }
        };
        needed.map(judge).transpose()
    }

    /// The error is the SHA-256 of the other key.
    fn judge(&self, nv: &[u8], chain: &[Vec<u8>], is_kept: bool) -> Result<Shown, [u8; 32]> {
        let certificate = match EkCertificate::read(nv) {
            Ok(certificate) => certificate,
            Err(error) => {
                let shown = Shown::refused(error);
                return Ok(Shown { is_kept, ..shown });
            }
        };
        if certificate.spki != self.ek_spki {
            return Err(sha256(&certificate.spki));
        }
        let tolerate_expired = self.tolerate_expired();
        Ok(Shown {
            issued: Some(certificate.not_before),
            is_kept,
            worth: judge_certificate(&certificate, chain, self.trust, tolerate_expired, self.now),
        })
    }

    /// Whether a certificate that was judged before would be judged the same.
    pub(super) fn still_stands(&self, genuine: &GenuineCertificate) -> bool {
        genuine.stands(self.trust, self.tolerate_expired(), self.now)
    }

    const fn tolerate_expired(&self) -> bool {
        match self.trust.expired {
            ExpiredPolicy::Enforce => false,
            ExpiredPolicy::AtEnrolment => self.enrolled_before,
            ExpiredPolicy::Ignore => true,
        }
    }

    fn ek_sha256(&self) -> String {
        hex(&sha256(self.ek_spki))
    }
}

/// The one that counts, and why the shown one does not where that is the kept one. A certificate that is shown takes the
/// place of the kept one if it is genuine and no older. For one that was revoked only a newer one makes up.
pub(super) fn choose(shown: Option<Shown>, kept: Option<Shown>) -> (Option<Shown>, Option<EkCertificateError>) {
    match (shown, kept) {
        (Some(shown), Some(kept)) => {
            let counts = match &shown.worth {
                Ok(_) if kept.is_revoked() => kept.issued < shown.issued,
                Ok(_) => kept.worth.is_err() || kept.issued <= shown.issued,
                Err(_) => shown.is_revoked() || !kept.is_vendors(),
            };
            if counts {
                (Some(shown), None)
            } else {
                (Some(kept), shown.worth.err())
            }
        }
        (shown, kept) => (shown.or(kept), None),
    }
}

/// The certificate of a claim that was refused since its vendor revoked it, to be kept: who comes back without it is
/// judged by it. `None` where the record has it, or a newer one, or it is not its vendor's.
#[must_use]
pub fn revoked_certificate(
    shown: &EkCertificateChain,
    known: Option<&KnownTpm>,
    trust: &Trust,
    now: SystemTime,
) -> Option<EkCertificateChain> {
    let certificate = EkCertificate::read(&shown.certificate).ok()?;
    let kept = known.and_then(|record| record.certificate.as_ref());
    if let Some(kept) = kept.and_then(|kept| EkCertificate::read(&kept.certificate).ok())
        && (kept.der == certificate.der || kept.not_before > certificate.not_before)
    {
        return None;
    }
    is_genuine(&certificate, &shown.intermediates, trust, now)
}
