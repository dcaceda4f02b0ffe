//! The SVID for the server above, from the Workload API of an agent (SPIFFE Workload API, section 5).

use std::{io, path::Path};

use hallmark_api::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{Request, metadata::MetadataValue, transport::Endpoint};
use tower::service_fn;
use zeroize::Zeroizing;

use super::{LIMIT, MAX_ANSWER, SpireError};

/// The header that every call of the Workload API has (SPIFFE Workload Endpoint, section 6).
const HEADER: &str = "workload.spiffe.io";
/// The most certificates of a chain or a bundle.
const MAX_CERTIFICATES: usize = 64;

/// What the server above is met with.
pub(super) struct Credential {
    /// DER, leaf first.
    pub(super) chain: Vec<Vec<u8>>,
    /// PKCS#8.
    pub(super) key: Zeroizing<Vec<u8>>,
    /// What its server's certificate has to lead to, DER.
    pub(super) roots: Vec<Vec<u8>>,
}

/// The default SVID that the agent at `socket` has for this process, which has to be one of the trust domain.
pub(super) async fn credential(socket: &Path, trust_domain: &TrustDomain) -> Result<Credential, SpireError> {
    let away = |cause: &dyn std::fmt::Display| SpireError::away(format!("Workload API {}", socket.display()), cause);
    let path = socket.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    let endpoint = Endpoint::from_static("http://workload-api").timeout(LIMIT);
    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|error| away(&error))?;
    let mut client = SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(MAX_ANSWER);
    let mut request = Request::new(X509svidRequest {});
    request
        .metadata_mut()
        .insert(HEADER, MetadataValue::from_static("true"));
    let answer = client.fetch_x509svid(request).await;
    let mut answers = answer
        .map_err(|status| SpireError::refused("FetchX509SVID", &status))?
        .into_inner();
    let first = answers.message().await;
    let first = first.map_err(|status| SpireError::refused("FetchX509SVID", &status))?;
    let svid = first.and_then(|it| it.svids.into_iter().next());
    let svid = svid.ok_or_else(|| SpireError::unreadable("the Workload API gives no SVID"))?;
    let id = SpiffeId::parse(&svid.spiffe_id).ok();
    if !id.is_some_and(|id| id.is_member_of(trust_domain)) {
        let what = format!("the Workload API gives an SVID of another trust domain than {trust_domain}");
        return Err(SpireError::unreadable(what));
    }
    Ok(Credential {
        chain: certificates(&svid.x509_svid)?,
        key: Zeroizing::new(svid.x509_svid_key.to_vec()),
        roots: certificates(&svid.bundle)?,
    })
}

/// Certificates one after the other.
fn certificates(mut der: &[u8]) -> Result<Vec<Vec<u8>>, SpireError> {
    let mut all = Vec::new();
    while !der.is_empty() {
        let len = hallmark_der::element_len(der).map_err(|error| SpireError::unreadable(error.to_string()))?;
        let (one, rest) = der.split_at_checked(len).unwrap_or((der, &[]));
        all.push(one.to_vec());
        der = rest;
        if all.len() > MAX_CERTIFICATES {
            return Err(SpireError::unreadable("the Workload API gives too many certificates"));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_come_one_after_the_other_and_nothing_else_does() {
        let two = [0x30, 0x01, 0x05, 0x30, 0x00];
        assert_eq!(
            certificates(&two).ok(),
            Some(vec![vec![0x30, 0x01, 0x05], vec![0x30, 0x00]])
        );
        assert!(certificates(&two[..2]).is_err(), "cut short");
        let many = [0x30, 0x00].repeat(MAX_CERTIFICATES + 1);
        assert!(certificates(&many).is_err(), "too many");
        assert!(certificates(&many[2..]).is_ok(), "the control");
    }
}
