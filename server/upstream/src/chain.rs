//! From the certificates of an answer to a chain and its root.

use hallmark_der::{CertificationRequest, check};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{error::Fault, port::Signed};

/// No answer has more certificates.
pub(crate) const MAX_CERTIFICATES: usize = 32;
/// No authority is deeper below its root.
const MAX_DEPTH: usize = 8;

/// A certificate, as far as the way to the root needs it.
struct Certificate<'a> {
    der: &'a [u8],
    read: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    fn read(der: &'a [u8]) -> Result<Self, Fault> {
        check(der).map_err(|fault| Fault::malformed(format!("a certificate is not DER: {fault}")))?;
        let (_, read) = X509Certificate::from_der(der)
            .map_err(|error| Fault::malformed(format!("a certificate cannot be read: {error}")))?;
        Ok(Self { der, read })
    }

    /// Whether the key of `other` signed this one, and the names say so too.
    fn is_signed_by(&self, other: &Self) -> bool {
        self.read.issuer().as_raw() == other.read.subject().as_raw()
            && self.read.verify_signature(Some(other.read.public_key())).is_ok()
    }

    fn is_root(&self) -> bool {
        self.is_signed_by(self)
    }

    fn subject(&self) -> String {
        crate::exchange::shown(&self.read.subject().to_string())
    }
}

fn read_all(certificates: &[Vec<u8>]) -> Result<Vec<Certificate<'_>>, Fault> {
    if certificates.len() > MAX_CERTIFICATES {
        let detail = format!("{} certificates, {MAX_CERTIFICATES} at most", certificates.len());
        return Err(Fault::Malformed { detail });
    }
    certificates.iter().map(|der| Certificate::read(der)).collect()
}

/// The certificate for the request's key among those of an answer.
pub(crate) fn issued(csr: &[u8], answer: &[Vec<u8>]) -> Result<Vec<u8>, Fault> {
    let request = CertificationRequest::read(csr)
        .map_err(|fault| Fault::malformed(format!("this server's own signing request cannot be read: {fault}")))?;
    let all = read_all(answer)?;
    let mut ours = all.iter().filter(|it| it.read.public_key().raw == request.spki);
    match (ours.next(), ours.next()) {
        (Some(one), None) => Ok(one.der.to_vec()),
        (None, _) => Err(Fault::NoChain {
            detail: "no certificate of the answer is for the key that was asked for".into(),
        }),
        (Some(_), Some(_)) => Err(Fault::NoChain {
            detail: "several certificates of the answer are for the key that was asked for".into(),
        }),
    }
}

/// The way from `leaf` to a root over certificates of `pool`. With `anchors`, which the configuration names, it has to end at one of
/// them, and all of them are the roots; without, at a self-signed certificate of the pool.
pub(crate) fn assemble(leaf: Vec<u8>, pool: &[Vec<u8>], anchors: Option<&[Vec<u8>]>) -> Result<Signed, Fault> {
    let pool = read_all(pool)?;
    let believed = match anchors {
        Some(anchors) => read_all(anchors)?,
        None => read_all_roots(&pool)?,
    };
    let mut chain = vec![leaf.clone()];
    let mut current = Certificate::read(&leaf)?;
    let end = loop {
        if let Some(root) = believed.iter().find(|root| current.is_signed_by(root)) {
            break root;
        }
        let above = pool
            .iter()
            .find(|it| current.is_signed_by(it) && chain.iter().all(|der| der != it.der));
        let Some(above) = above.filter(|_| chain.len() < MAX_DEPTH) else {
            let what = if anchors.is_some() {
                "in the file of `roots`"
            } else {
                "self-signed, and so a root"
            };
            let detail = format!("behind {:?} no certificate is {what}", current.subject());
            return Err(Fault::NoChain { detail });
        };
        chain.push(above.der.to_vec());
        current = Certificate::read(above.der)?;
    };
    if end.der == leaf {
        return Err(Fault::NoChain {
            detail: "the certificate is signed by its own key".into(),
        });
    }
    let roots = match anchors {
        Some(anchors) => anchors.to_vec(),
        None => vec![end.der.to_vec()],
    };
    Ok(Signed { chain, roots })
}

fn read_all_roots<'a>(pool: &[Certificate<'a>]) -> Result<Vec<Certificate<'a>>, Fault> {
    let roots = pool.iter().filter(|it| it.is_root());
    roots.map(|it| Certificate::read(it.der)).collect()
}

/// The roots among the certificates of an answer, each once.
pub(crate) fn roots(pool: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
    let mut roots: Vec<Vec<u8>> = Vec::new();
    for root in read_all(pool)?.iter().filter(|it| it.is_root()) {
        if roots.iter().all(|known| known != root.der) {
            roots.push(root.der.to_vec());
        }
    }
    if roots.is_empty() {
        return Err(Fault::NoChain {
            detail: "no certificate of the chain is self-signed, and so a root".into(),
        });
    }
    Ok(roots)
}
