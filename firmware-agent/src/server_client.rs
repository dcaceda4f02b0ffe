//! The agent's calls over mutual TLS.

mod listing;

pub use listing::{EntryVersion, KnownEntry, Listing, Versions};

use std::sync::Arc;

use hallmark_api::{
    agent::{PostStatusRequest, agent_client::AgentClient},
    bundle::{GetBundleRequest, bundle_client::BundleClient},
    entry::{SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse, entry_client::EntryClient},
    provision::provisioning_client::ProvisioningClient,
    svid::{
        BatchNewX509svidRequest, NewJwtsvidRequest, NewJwtsvidResponse, NewX509svidParams, batch_new_x509svid_response,
        svid_client::SvidClient,
    },
    types,
};
use hallmark_spiffe::{Bundle, TrustDomain, x509::Authorities};
use hallmark_tpm::TpmHandle;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Streaming, transport::Channel};
use zeroize::Zeroizing;

use crate::{
    AgentError,
    agent_svid::AgentSvid,
    connect::{self, CALL, NewestConnection, Target},
    convert,
    status::{answered, classify},
    tls::{self, ServerTrust, ServerVerifier},
};
use listing::Wanted;

const SYNC: &str = "SyncAuthorizedEntries";

/// One kept connection to the server with one identity; it is made again when it ends (the server ends it every three
/// minutes).
#[derive(Debug, Clone)]
pub struct ServerClient {
    trust_domain: TrustDomain,
    channel: Channel,
    newest: NewestConnection,
}

impl ServerClient {
    /// A client that speaks as `identity`. Nothing is sent yet.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(
        target: &Target,
        trust_domain: &TrustDomain,
        authorities: Arc<Authorities>,
        identity: &AgentSvid,
        tpm: &TpmHandle,
    ) -> Result<Self, AgentError> {
        let verifier =
            ServerVerifier::new(trust_domain, ServerTrust::Authorities(vec![authorities])).map_err(|error| {
                AgentError::System {
                    detail: error.to_string(),
                }
            })?;
        let config = tls::mutual(Arc::new(verifier), identity.signer(tpm))?;
        Ok(Self::over(trust_domain.clone(), connect::mutual(target, config)))
    }

    /// A client over a channel, whose connections are counted by the second part.
    pub(crate) fn over(trust_domain: TrustDomain, (channel, newest): (Channel, NewestConnection)) -> Self {
        Self {
            trust_domain,
            channel,
            newest,
        }
    }

    /// Tells the server the agent's version.
    ///
    /// # Errors
    /// The call's.
    pub async fn post_status(&self) -> Result<(), AgentError> {
        let request = PostStatusRequest {
            current_bundle_serial: 0,
            agent_version: env!("CARGO_PKG_VERSION").into(),
        };
        let mut client = AgentClient::new(self.channel.clone());
        answered("PostStatus", client.post_status(request)).await.map(drop)
    }

    /// The trust domain's bundle, and which of its authorities are tainted.
    ///
    /// # Errors
    /// The call's; or the bundle cannot be used.
    pub async fn bundle(&self) -> Result<(Bundle, Vec<Vec<u8>>), AgentError> {
        let mut client = BundleClient::new(self.channel.clone());
        let answer = answered("GetBundle", client.get_bundle(GetBundleRequest { output_mask: None })).await?;
        convert::bundle(&self.trust_domain, answer)
    }

    /// What a machine that is installed asks and tells.
    #[must_use]
    pub fn provisioning(&self) -> ProvisioningClient<Channel> {
        ProvisioningClient::new(self.channel.clone())
    }

    /// The entries that this agent is authorised for. Where there are so many that the server sends versions first, only
    /// those whose version is not in `have`, as this connection told it, are transferred.
    ///
    /// # Errors
    /// The call's.
    pub async fn sync(&self, have: &Versions) -> Result<Listing, AgentError> {
        let slow = |_| AgentError::Call {
            call: SYNC,
            detail: "no answer in time".into(),
        };
        timeout(CALL, self.sync_within(have)).await.map_err(slow)?
    }

    async fn sync_within(&self, have: &Versions) -> Result<Listing, AgentError> {
        let before = self.newest.number();
        let (requests, outgoing) = mpsc::channel(1);
        let first = SyncAuthorizedEntriesRequest {
            output_mask: Some(mask()),
            ids: Vec::new(),
        };
        ask(&requests, first).await?;
        let mut client = EntryClient::new(self.channel.clone());
        let answer = client
            .sync_authorized_entries(ReceiverStream::new(outgoing))
            .await
            .map_err(|status| classify(SYNC, &status))?;
        let mut answers = answer.into_inner();

        let page = next(&mut answers).await?;
        // A stream stays on its connection. Where another one was made meanwhile, nobody knows which of the two that is.
        let mut listing = Listing::over(before.filter(|_| before == self.newest.number()));
        if page.entry_revisions.is_empty() {
            take_entries(page, &mut answers, &mut listing, true).await?;
            return Ok(listing);
        }
        let chunk = page.entry_revisions.len();
        let wanted = take_revisions(page, &mut answers, &mut listing, have).await?;
        let mut wanted = wanted.chunks(chunk);
        for ids in wanted.by_ref() {
            ask(
                &requests,
                SyncAuthorizedEntriesRequest {
                    output_mask: None,
                    ids: ids.to_vec(),
                },
            )
            .await?;
            let page = next(&mut answers).await?;
            if !take_entries(page, &mut answers, &mut listing, false).await? {
                break;
            }
        }
        // What would find no room either is not asked for.
        let left = wanted.map(<[String]>::len).sum();
        listing.beyond = listing.beyond.saturating_add(left);
        Ok(listing)
    }

    /// SVIDs for entries: (entry id, certificate request), at most 500. The results are in the order of the requests.
    ///
    /// # Errors
    /// The call's; or the number of results is another.
    pub async fn new_svids(
        &self,
        requests: Vec<(String, Vec<u8>)>,
    ) -> Result<Vec<batch_new_x509svid_response::Result>, AgentError> {
        let asked = requests.len();
        let params = requests
            .into_iter()
            .map(|(entry_id, csr)| NewX509svidParams {
                entry_id,
                csr: csr.into(),
            })
            .collect();
        let mut client = SvidClient::new(self.channel.clone());
        let answer = client.batch_new_x509svid(BatchNewX509svidRequest { params });
        let results = answered("BatchNewX509SVID", answer).await?.results;
        if results.len() == asked {
            Ok(results)
        } else {
            Err(AgentError::Protocol("another number of SVIDs"))
        }
    }

    /// A JWT-SVID of an entry, for this audience; not checked yet. `None` where the server does not have the entry for this agent.
    ///
    /// # Errors
    /// The call's.
    pub async fn new_jwt_svid(
        &self,
        entry_id: &str,
        audience: &[String],
    ) -> Result<Option<Zeroizing<String>>, AgentError> {
        let mut client = SvidClient::new(self.channel.clone());
        let request = NewJwtsvidRequest {
            entry_id: entry_id.into(),
            audience: audience.into(),
        };
        let answer = async {
            match client.new_jwtsvid(request).await {
                Err(status) if status.code() == Code::NotFound => Ok(Response::new(NewJwtsvidResponse { svid: None })),
                answer => answer,
            }
        };
        let svid = answered("NewJWTSVID", answer).await?.svid;
        Ok(svid.map(|svid| Zeroizing::new(svid.token)))
    }
}

async fn ask(
    requests: &mpsc::Sender<SyncAuthorizedEntriesRequest>,
    request: SyncAuthorizedEntriesRequest,
) -> Result<(), AgentError> {
    requests
        .send(request)
        .await
        .map_err(|_| AgentError::Protocol("the stream ended early"))
}

async fn next(
    answers: &mut Streaming<SyncAuthorizedEntriesResponse>,
) -> Result<SyncAuthorizedEntriesResponse, AgentError> {
    answers
        .message()
        .await
        .map_err(|status| classify(SYNC, &status))?
        .ok_or(AgentError::Protocol("the stream ended early"))
}

/// Collects the revisions of `page` and of the pages that it announces; gives the ids of those to ask for.
async fn take_revisions(
    mut page: SyncAuthorizedEntriesResponse,
    answers: &mut Streaming<SyncAuthorizedEntriesResponse>,
    listing: &mut Listing,
    have: &Versions,
) -> Result<Vec<String>, AgentError> {
    let mut wanted = Wanted::default();
    loop {
        listing.name(page.entry_revisions, have, &mut wanted)?;
        if !page.more {
            return Ok(listing.room(wanted));
        }
        page = next(answers).await?;
    }
}

/// Collects the entries of `page` and of the pages that it announces; says whether there was room for all of them.
async fn take_entries(
    mut page: SyncAuthorizedEntriesResponse,
    answers: &mut Streaming<SyncAuthorizedEntriesResponse>,
    listing: &mut Listing,
    names: bool,
) -> Result<bool, AgentError> {
    loop {
        let all = listing.take(page.entries, names)?;
        if !page.more {
            return Ok(all);
        }
        page = next(answers).await?;
    }
}

/// The fields that the agent uses, and those that go into SVIDs: a change of them makes new ones due.
fn mask() -> types::EntryMask {
    types::EntryMask {
        spiffe_id: true,
        selectors: true,
        x509_svid_ttl: true,
        expires_at: true,
        dns_names: true,
        revision_number: true,
        store_svid: true,
        hint: true,
        created_at: true,
        additional_attributes: true,
        ..types::EntryMask::default()
    }
}

#[cfg(test)]
mod tests;
