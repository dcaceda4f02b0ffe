//! A server below this one: it gets a CA certificate and publishes its JWT keys, over the wire; and what it may do with them.

use std::{process::Command, sync::Arc, time::SystemTime};

use hallmark_api::{
    bundle::{GetBundleRequest, PublishJwtAuthorityRequest, bundle_client::BundleClient},
    entry::{BatchDeleteEntryRequest, entry_client::EntryClient},
    svid::{NewDownstreamX509caRequest, NewDownstreamX509caResponse, svid_client::SvidClient},
    types::{Entry, JwtKey, X509svid},
};
use hallmark_attacks::attest;
use hallmark_server::run::Running;
use hallmark_spiffe::{
    TrustDomain,
    x509::{Authorities, ChainError, ProfileError, verify_chain},
};
use hallmark_state::{RecordFilter, RecordQuery};
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use tonic::{Code, Status, transport::Channel};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    attestation::{connected, wire},
    client::{Client, local},
    connections::bundle,
    lab::{Lab, TRUST_DOMAIN, isolated},
    roles::{Node, chain, connect, create, list},
};

fn td() -> TrustDomain {
    TrustDomain::parse(TRUST_DOMAIN).unwrap()
}

/// A server below: its authority's key, and what it got for it.
struct Below {
    chain: Vec<Vec<u8>>,
    issuer: Issuer<'static, KeyPair>,
}

fn csr(key: &KeyPair, uri: &str) -> bytes::Bytes {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.serialize_request(key).unwrap().der().to_vec().into()
}

async fn ask(channel: &Channel, key: &KeyPair, preferred_ttl: i32) -> Result<NewDownstreamX509caResponse, Status> {
    // What it asks for beside its key counts for nothing.
    let request = NewDownstreamX509caRequest {
        csr: csr(key, "spiffe://example.org/whatever"),
        preferred_ttl,
    };
    let answer = SvidClient::new(channel.clone()).new_downstream_x509ca(request).await?;
    Ok(answer.into_inner())
}

impl Below {
    /// The holder of the entry `below`, on a machine of its own.
    async fn new(lab: &Lab, running: &Running) -> (Self, Channel, Node) {
        let node = Node::new(lab, running).await;
        let entry = Entry {
            downstream: true,
            ..node.entry("below", false)
        };
        create(lab, vec![entry]).await;
        let channel = node.workload(running, "below").await;
        let key = KeyPair::generate().unwrap();
        let answer = ask(&channel, &key, 0).await.unwrap();
        (Self::of(&answer, key), channel, node)
    }

    fn of(answer: &NewDownstreamX509caResponse, key: KeyPair) -> Self {
        let chain: Vec<Vec<u8>> = answer.ca_cert_chain.iter().map(|der| der.to_vec()).collect();
        let certificate = CertificateDer::from(chain[0].clone());
        Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key).unwrap(),
            chain,
        }
    }

    /// A leaf of its making with this id and serial number, and the chain to it.
    fn leaf(&self, id: &str, serial: &[u8], spki: &[u8]) -> Vec<Vec<u8>> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.serial_number = Some(SerialNumber::from_slice(serial));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        let key = SubjectPublicKeyInfo::from_der(spki).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let mut chain = self.chain.clone();
        chain.insert(0, leaf.der().to_vec());
        chain
    }
}

fn verify(running: &Running, chain: &[Vec<u8>]) -> Result<String, ChainError> {
    let roots = bundle(running).x509_authorities;
    let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    verify_chain(&chain, &roots, &td(), SystemTime::now()).map(|id| id.to_string())
}

fn serial_of(svid: &X509svid) -> Vec<u8> {
    let (_, leaf) = X509Certificate::from_der(&svid.cert_chain[0]).unwrap();
    leaf.raw_serial().to_vec()
}

fn denied(outcome: Result<(), Status>, part: &str) {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains(part), "{status}");
}

#[test]
fn a_server_below_gets_a_ca_certificate_under_which_its_svids_verify() {
    isolated(
        "downstream::a_server_below_gets_a_ca_certificate_under_which_its_svids_verify",
        async |mut lab| {
            lab.set("authority", "downstream_ttl_max", "2h");
            lab.set("authority", "downstream_ttl", "1h");
            let running = lab.start().await;
            let (below, channel, _node) = Below::new(&lab, &running).await;
            let answer = ask(&channel, &KeyPair::generate().unwrap(), 100_000).await.unwrap();
            let roots: Vec<Vec<u8>> = answer.x509_authorities.iter().map(|der| der.to_vec()).collect();
            assert_eq!(roots, bundle(&running).x509_authorities);
            let lifetime = |der: &[u8]| {
                let (_, certificate) = X509Certificate::from_der(der).unwrap();
                certificate.validity().not_after.timestamp() - running.server.journal.clock().unix()
            };
            assert!((3595..=3600).contains(&lifetime(&below.chain[0])));
            assert!(
                (7195..=7200).contains(&lifetime(&answer.ca_cert_chain[0])),
                "cut to the maximum"
            );

            // As openssl reads it.
            let file = lab.folder.join("ca.der");
            std::fs::write(&file, &below.chain[0]).unwrap();
            let out = Command::new("openssl")
                .args(["x509", "-inform", "DER", "-noout", "-text", "-in"])
                .arg(&file)
                .output();
            let text = String::from_utf8(out.unwrap().stdout).unwrap();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for part in [
                "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0",
                "X509v3 Key Usage: critical Certificate Sign, CRL Sign X509v3",
                "X509v3 Subject Alternative Name: URI:spiffe://example.org Signature",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(
                !text.contains("Extended Key Usage") && !text.contains("whatever"),
                "{text}"
            );

            // What it issues verifies, and opens a connection: it is an SVID of the trust domain.
            let key = SoftwareKey::svid();
            let workload = below.leaf("spiffe://example.org/web", &[7; 16], &key.spki());
            assert_eq!(verify(&running, &workload).unwrap(), "spiffe://example.org/web");
            let server = below.leaf("spiffe://example.org/spire/server", &[8; 16], &key.spki());
            assert_eq!(verify(&running, &server).unwrap(), "spiffe://example.org/spire/server");
            let connected = connect(&running, workload, key).await;
            let got = BundleClient::new(connected)
                .get_bundle(GetBundleRequest::default())
                .await
                .unwrap();
            assert_eq!(got.into_inner().x509_authorities.len(), 1);

            let records = running.server.journal.store().records(RecordQuery {
                limit: 100,
                filter: RecordFilter::Svids,
                subject: Some("spiffe://example.org".into()),
                ..RecordQuery::default()
            });
            let records = records.await.unwrap();
            assert!(records.len() >= 2, "intents and outcomes are on record: {records:?}");
            assert!(
                records
                    .iter()
                    .any(|it| it.record.detail.contains("spiffe://example.org/below through ")),
                "{records:?}"
            );
            lab.stop(running).await;
        },
    );
}

#[test]
fn attack_81_only_a_downstream_server_gets_a_ca_certificate() {
    isolated(
        "downstream::attack_81_only_a_downstream_server_gets_a_ca_certificate",
        async |lab| {
            let running = lab.start().await;
            let (_, channel, node) = Below::new(&lab, &running).await;
            create(&lab, vec![node.entry("web", false), node.entry("admin", true)]).await;
            let key = KeyPair::generate().unwrap();
            let asked = async |channel: &Channel| ask(channel, &key, 0).await.map(drop);
            for other in ["web", "admin"] {
                let channel = node.workload(&running, other).await;
                denied(asked(&channel).await, "authorization denied for method");
            }
            let mut machine = SoftwareMachine::new(&lab.vendor);
            let svid = attest(&wire(&running).await, &machine).await.unwrap();
            denied(
                asked(&connected(&running, &mut machine, svid).await).await,
                "authorization denied",
            );
            let anonymous = Client::anonymous(&bundle(&running))
                .connect(running.address)
                .await
                .unwrap();
            denied(asked(&anonymous).await, "authorization denied");
            denied(asked(&local(&lab.admin_socket()).await).await, "authorization denied");
            for (csr, code) in [
                (vec![0x30; 64 * 1024], "HM-CA-0001"),
                (b"no request".to_vec(), "HM-CA-0002"),
                (Vec::new(), "missing CSR"),
            ] {
                let request = NewDownstreamX509caRequest {
                    csr: csr.into(),
                    preferred_ttl: 0,
                };
                let refused = SvidClient::new(channel.clone())
                    .new_downstream_x509ca(request)
                    .await
                    .unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{code}");
                assert!(refused.message().contains(code), "{code}: {}", refused.message());
            }
            let negative = ask(&channel, &key, -1).await.unwrap_err();
            assert_eq!(negative.code(), Code::InvalidArgument);
            asked(&channel).await.expect("the control");

            // With its machine it loses the role, on the connection that is open.
            node.ban(&lab).await;
            denied(asked(&channel).await, "HM-SRV-0342");
            denied(publish(&channel, jwt_key("late", 3600)).await.map(drop), "HM-SRV-0342");
            lab.stop(running).await;
        },
    );
}

/// A server below can make an SVID with the id and the very serial number of an agent or an administrator of this server. It is one of
/// the trust domain, and nobody here: who issued it decides.
#[test]
fn attack_81_an_svid_of_a_server_below_is_no_agent_or_administrator_here() {
    isolated(
        "downstream::attack_81_an_svid_of_a_server_below_is_no_agent_or_administrator_here",
        async |mut lab| {
            lab.settings
                .insert("admin_ids".into(), vec!["spiffe://example.org/operator"].into());
            let running = lab.start().await;
            let (below, _, node) = Below::new(&lab, &running).await;
            create(&lab, vec![node.entry("operator", false), node.entry("admin", true)]).await;

            // The victims: real ones get through.
            let mut machine = SoftwareMachine::new(&lab.vendor);
            let agent = attest(&wire(&running).await, &machine).await.unwrap();
            let agent_id = format!("spiffe://example.org{}", agent.id.as_ref().unwrap().path);
            let real = connected(&running, &mut machine, agent.clone()).await;
            let authorized = async |channel: &Channel| {
                let request = hallmark_api::entry::GetAuthorizedEntriesRequest::default();
                EntryClient::new(channel.clone())
                    .get_authorized_entries(request)
                    .await
                    .map(drop)
            };
            authorized(&real).await.expect("the control: the agent");
            for name in ["operator", "admin"] {
                let (svid, key) = node.svid(name).await;
                list(&connect(&running, chain(&svid), key).await)
                    .await
                    .expect("the control: the administrator");
                let forged_key = SoftwareKey::svid();
                let id = format!("spiffe://example.org/{name}");
                let forged = below.leaf(&id, &serial_of(&svid), &forged_key.spki());
                assert_eq!(
                    verify(&running, &forged).unwrap(),
                    id,
                    "it is an SVID of the trust domain"
                );
                denied(list(&connect(&running, forged, forged_key).await).await, "HM-SRV-0348");
            }
            let forged_key = Arc::new(SoftwareKey::svid());
            let forged = below.leaf(&agent_id, &serial_of(&agent), &forged_key.spki());
            assert_eq!(verify(&running, &forged).unwrap(), agent_id);
            let channel = connect(&running, forged.clone(), Arc::clone(&forged_key)).await;
            denied(authorized(&channel).await, "HM-SRV-0348");
            authorized(&real).await.expect("the real one was not put out by it");

            // The certificate of this server's own authority, shown as if it stood between, changes nothing.
            let mut padded = forged;
            padded.push(bundle(&running).x509_authorities[0].clone());
            let channel = connect(&running, padded, forged_key).await;
            denied(authorized(&channel).await, "HM-SRV-0348");

            // Nor is it a downstream server again, and so on without end.
            let key = SoftwareKey::svid();
            let (svid, _) = node.svid("below").await;
            let again = below.leaf("spiffe://example.org/below", &serial_of(&svid), &key.spki());
            let channel = connect(&running, again, key).await;
            denied(
                ask(&channel, &KeyPair::generate().unwrap(), 0).await.map(drop),
                "HM-SRV-0348",
            );
            lab.stop(running).await;
        },
    );
}

#[test]
fn attack_81_a_server_below_speaks_for_no_other_trust_domain_and_has_none_below_itself() {
    isolated(
        "downstream::attack_81_a_server_below_speaks_for_no_other_trust_domain_and_has_none_below_itself",
        async |lab| {
            let running = lab.start().await;
            let (below, _, _node) = Below::new(&lab, &running).await;
            let key = SoftwareKey::svid();
            let foreign = below.leaf("spiffe://other.test/web", &[7; 16], &key.spki());
            let refused = verify(&running, &foreign).unwrap_err();
            assert!(
                matches!(refused, ChainError::Leaf(ProfileError::ForeignTrustDomain { .. })),
                "{refused}"
            );
            // Nor where its certificate is taken for an authority of the other one.
            let roots: Vec<&[u8]> = below.chain.iter().map(Vec::as_slice).collect();
            let other = TrustDomain::parse("other.test").unwrap();
            assert!(matches!(
                Authorities::new(&other, &roots),
                Err(ChainError::Authority { .. })
            ));

            // As a peer it is nobody.
            let refused = verify(&running, &below.chain).unwrap_err();
            assert!(matches!(refused, ChainError::Leaf(ProfileError::LeafIsCa)), "{refused}");

            // A CA of its making: the path length.
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI("spiffe://example.org".try_into().unwrap())];
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.distinguished_name.push(rcgen::DnType::CommonName, "deeper");
            params.use_authority_key_identifier_extension = true;
            let deeper_key = KeyPair::generate().unwrap();
            let deeper = params.signed_by(&deeper_key, &below.issuer).unwrap();
            let deeper = Below {
                chain: [vec![deeper.der().to_vec()], below.chain.clone()].concat(),
                issuer: Issuer::new(params, deeper_key),
            };
            let leaf = deeper.leaf("spiffe://example.org/web", &[7; 16], &key.spki());
            let refused = verify(&running, &leaf).unwrap_err();
            assert!(matches!(refused, ChainError::PathLen), "{refused}");
            let control = below.leaf("spiffe://example.org/web", &[7; 16], &key.spki());
            verify(&running, &control).expect("the control");
            lab.stop(running).await;
        },
    );
}

fn jwt_key(id: &str, seconds: i64) -> JwtKey {
    let key = KeyPair::generate().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    JwtKey {
        public_key: key.subject_public_key_info().into(),
        key_id: id.into(),
        expires_at: i64::try_from(now.as_secs()).unwrap() + seconds,
        tainted: false,
    }
}

async fn publish(channel: &Channel, key: JwtKey) -> Result<Vec<JwtKey>, Status> {
    let request = PublishJwtAuthorityRequest {
        jwt_authority: Some(key),
    };
    let answer = BundleClient::new(channel.clone())
        .publish_jwt_authority(request)
        .await?;
    Ok(answer.into_inner().jwt_authorities)
}

#[test]
fn a_published_key_is_in_the_bundle_until_its_entry_goes() {
    isolated(
        "downstream::a_published_key_is_in_the_bundle_until_its_entry_goes",
        async |lab| {
            let running = lab.start().await;
            let (_, channel, _node) = Below::new(&lab, &running).await;
            let before = bundle(&running);
            let key = jwt_key("of-below", 3600);
            let all = publish(&channel, key.clone()).await.unwrap();
            assert_eq!(all.len(), before.jwt_authorities.len() + 1);
            assert!(all.contains(&key), "{all:?}");
            publish(&channel, key.clone()).await.expect("it may say so again");
            let served = bundle(&running);
            assert_eq!(served.sequence, before.sequence + 1);
            let ids = |running: &Running| {
                let keys = bundle(running).jwt_authorities;
                keys.iter().map(|it| it.key_id().to_owned()).collect::<Vec<_>>()
            };
            assert!(ids(&running).contains(&"of-below".to_owned()));

            // None of this server's own is displaced, and no nonsense comes in.
            let own = before.jwt_authorities[0].key_id().to_owned();
            for (key, code) in [
                (
                    JwtKey {
                        key_id: own,
                        ..jwt_key("x", 60)
                    },
                    Code::AlreadyExists,
                ),
                (
                    JwtKey {
                        public_key: before.jwt_authorities[0].public_key().to_vec().into(),
                        ..jwt_key("alias", 60)
                    },
                    Code::AlreadyExists,
                ),
                (jwt_key("", 60), Code::InvalidArgument),
                (jwt_key(&"k".repeat(256), 60), Code::InvalidArgument),
                (jwt_key("ended", -1), Code::InvalidArgument),
                (jwt_key("forever", 10 * 365 * 86_400), Code::InvalidArgument),
                (
                    JwtKey {
                        public_key: vec![0x30; 2049].into(),
                        ..jwt_key("large", 60)
                    },
                    Code::InvalidArgument,
                ),
                (
                    JwtKey {
                        public_key: b"no key".to_vec().into(),
                        ..jwt_key("none", 60)
                    },
                    Code::InvalidArgument,
                ),
                (
                    JwtKey {
                        tainted: true,
                        ..jwt_key("tainted", 60)
                    },
                    Code::InvalidArgument,
                ),
            ] {
                let refused = publish(&channel, key.clone()).await.unwrap_err();
                assert_eq!(refused.code(), code, "{key:?}: {refused}");
            }
            assert_eq!(bundle(&running).sequence, served.sequence);

            // A start finds it again.
            lab.stop(running).await;
            let running = lab.start().await;
            assert!(ids(&running).contains(&"of-below".to_owned()));
            let mut entries = EntryClient::new(local(&lab.admin_socket()).await);
            let request = BatchDeleteEntryRequest {
                ids: vec!["below".into()],
            };
            entries.batch_delete_entry(request).await.unwrap();
            running.server.published.remove_due().await.unwrap();
            assert!(!ids(&running).contains(&"of-below".to_owned()));
            lab.stop(running).await;
        },
    );
}
