//! The pinned roots that EK certificates must lead to.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, TrustAnchor};

use super::TrustError;
use super::authority::{self, CaFacts};

/// Largest file of roots, in bytes; the collections that vendors and projects publish are well below it.
const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// CA certificates that the operator pinned. Each is trusted as it stands: also one that another CA signed may be
/// pinned, and its own validity period is not looked at, only its path length and key usage. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct EkRoots(Arc<Pinned>);

#[derive(Debug, Clone, Default)]
struct Pinned {
    anchors: Vec<TrustAnchor<'static>>,
    constraints: Vec<RootConstraints>,
}

/// What webpki does not know of an anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RootConstraints {
    path_len: Option<u32>,
    subject: String,
    /// The certificate, to be kept beside evidence.
    der: CertificateDer<'static>,
}

impl EkRoots {
    /// Adds the CA certificates of one file, in any form that [`hallmark_der::certificates`] reads. A certificate that is
    /// already pinned is not added again. Gives how many there are in the file.
    ///
    /// `name` is the file's name, for the error.
    ///
    /// # Errors
    /// [`TrustError`] naming the file, the certificate's place in it, and what is wrong. Nothing of the file is added.
    pub fn add(&mut self, name: &str, file: &[u8]) -> Result<usize, TrustError> {
        let mut added = Vec::new();
        let certificates = certificates(name, file)?;
        let count = certificates.len();
        for (number, der) in (1..).zip(certificates) {
            let reason = |reason| TrustError::Root {
                file: name.to_owned(),
                number,
                reason,
            };
            let CaFacts {
                path_len, subject_text, ..
            } = authority::read(&der).map_err(reason)?;
            let anchor = webpki::anchor_from_trusted_cert(&der)
                .map_err(|error| reason(format!("not usable as trust anchor: {error}")))?
                .to_owned();
            if !self.0.anchors.contains(&anchor) && !added.iter().any(|(other, _)| *other == anchor) {
                added.push((
                    anchor,
                    RootConstraints {
                        path_len,
                        subject: subject_text,
                        der,
                    },
                ));
            }
        }
        let pinned = Arc::make_mut(&mut self.0);
        for (anchor, constraints) in added {
            pinned.anchors.push(anchor);
            pinned.constraints.push(constraints);
        }
        Ok(count)
    }

    /// How many roots are pinned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.anchors.len()
    }

    /// True if no root is pinned: then only the inventory can enrol a TPM.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.anchors.is_empty()
    }

    /// The names of the pinned roots, in the order in which they were added.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.0
            .constraints
            .iter()
            .map(|constraints| constraints.subject.as_str())
    }

    /// The pinned certificates, DER, each with its subject's name.
    pub fn certificates(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let roots = self.0.constraints.iter();
        roots.map(|root| (root.subject.as_str(), root.der.as_ref()))
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.0.anchors
    }

    /// Whether `other` is this collection, unchanged since it was cloned.
    pub(crate) fn are(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether `anchor`, one of these, allows `below` CAs between itself and an EK certificate.
    pub(crate) fn allows(&self, anchor: &TrustAnchor<'_>, below: usize) -> bool {
        let known = self
            .0
            .anchors
            .iter()
            .zip(&self.0.constraints)
            .find(|(candidate, _)| *candidate == anchor);
        match known {
            Some((
                _,
                RootConstraints {
                    path_len: Some(limit), ..
                },
            )) => usize::try_from(*limit).is_ok_and(|limit| below <= limit),
            Some(_) => true,
            None => false,
        }
    }
}

/// The certificates of a file, in order.
fn certificates(name: &str, file: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let unfit = |reason: String| TrustError::RootFile {
        file: name.to_owned(),
        reason,
    };
    if file.len() > MAX_FILE_BYTES {
        let reason = format!("{} bytes, at most {MAX_FILE_BYTES} are read", file.len());
        return Err(unfit(reason));
    }
    let found = hallmark_der::certificates(file).map_err(|error| unfit(error.to_string()))?;
    Ok(found.into_iter().map(CertificateDer::from).collect())
}
