//! X.509 authorities: made in the token, published, signing, old, tainted and gone, step by step and by themselves.

mod cut;

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use hallmark_api::{
    bundle::{GetBundleRequest, bundle_server::Bundle as _},
    localauthority::{
        ActivateX509AuthorityRequest, GetX509AuthorityStateRequest, PrepareX509AuthorityRequest,
        RevokeX509AuthorityRequest, TaintX509AuthorityRequest, TaintX509UpstreamAuthorityRequest,
        local_authority_server::LocalAuthority as _,
    },
    svid::{MintX509svidRequest, svid_server::Svid as _},
    types,
};
use hallmark_authority::{Serial, X509Authority, prepare_renewal};
use hallmark_hsm::KeyKind;
use hallmark_server::{
    api::local_authority::LocalAuthorityService,
    clock::{Clock, ClockHand},
    config,
    run::Running,
};
use hallmark_spiffe::{
    SpiffeId,
    x509::{ChainError, SigningFacts, verify_chain},
};
use hallmark_state::{Authority, AuthorityState, Change, RecordFilter, RecordQuery};
use tonic::{Code, Status};

use crate::{
    lab::{Lab, TRUST_DOMAIN, isolated, key_files, local},
    svids::csr,
};

const HOUR: i64 = 3600;

async fn mint(lab: &Lab) -> types::X509svid {
    let request = MintX509svidRequest {
        csr: csr(&[&format!("spiffe://{TRUST_DOMAIN}/ops")], &[]),
        ttl: 60,
    };
    let answer = lab.svids.mint_x509svid(local(request)).await.unwrap();
    answer.into_inner().svid.unwrap()
}

async fn bundle(lab: &Lab) -> types::Bundle {
    let asked = lab.bundle.get_bundle(local(GetBundleRequest::default()));
    asked.await.unwrap().into_inner()
}

fn id_of(certificate: &types::X509Certificate) -> String {
    hex::encode(SigningFacts::read(&certificate.asn1).unwrap().key_id)
}

/// Verifies against the bundle as a client has it, by the server's clock.
async fn verified(lab: &Lab, svid: &types::X509svid) -> Result<SpiffeId, ChainError> {
    let bundle = bundle(lab).await;
    let roots: Vec<&[u8]> = bundle.x509_authorities.iter().map(|it| &it.asn1[..]).collect();
    let chain: Vec<&[u8]> = svid.cert_chain.iter().map(AsRef::as_ref).collect();
    verify_chain(
        &chain,
        &roots,
        lab.server.journal.trust_domain(),
        lab.server.journal.clock().now(),
    )
}

/// The ids of the active, the prepared and the newest old authority.
async fn standing(lab: &Lab) -> [Option<String>; 3] {
    let asked = lab
        .local_authority
        .get_x509_authority_state(local(GetX509AuthorityStateRequest {}));
    let answer = asked.await.unwrap().into_inner();
    [answer.active, answer.prepared, answer.old].map(|it| it.map(|it| it.authority_id))
}

async fn labels(lab: &Lab) -> BTreeSet<String> {
    let all = lab.server.keys.list().await.unwrap();
    let labels = all.into_iter().map(|key| key.label);
    labels.filter(|label| label.starts_with("hallmark-x509-")).collect()
}

/// The labels that rows name.
fn named(lab: &Lab) -> BTreeSet<String> {
    let state = lab.server.journal.state();
    state.authorities().iter().map(|it| it.label.clone()).collect()
}

async fn prepare(service: &LocalAuthorityService) -> Result<String, Status> {
    let answer = service
        .prepare_x509_authority(local(PrepareX509AuthorityRequest {}))
        .await?;
    Ok(answer.into_inner().prepared_authority.unwrap().authority_id)
}

async fn activate(lab: &Lab, id: &str) -> Result<String, Status> {
    let authority_id = id.into();
    let asked = local(ActivateX509AuthorityRequest { authority_id });
    let answer = lab.local_authority.activate_x509_authority(asked).await?;
    Ok(answer.into_inner().activated_authority.unwrap().authority_id)
}

async fn taint(lab: &Lab, id: &str) -> Result<(), Status> {
    let authority_id = id.into();
    let asked = local(TaintX509AuthorityRequest { authority_id });
    lab.local_authority.taint_x509_authority(asked).await.map(drop)
}

async fn revoke(service: &LocalAuthorityService, id: &str) -> Result<(), Status> {
    let authority_id = id.into();
    let asked = local(RevokeX509AuthorityRequest { authority_id });
    service.revoke_x509_authority(asked).await.map(drop)
}

/// Sets the clock, and has done what is due then. The server's own task may not look yet, so soon after a start.
async fn at(lab: &Lab, hand: &ClockHand, seconds: i64) {
    hand.set(seconds).await;
    lab.server.x509.keep().await.unwrap();
}

fn configure(folder: &Path, lines: &str) {
    let path = folder.join("server.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{before}[authority]\n{lines}\n")).unwrap();
}

#[test]
fn authorities_are_replaced_step_by_step_and_destroyed_in_the_token() {
    isolated(
        "x509::authorities_are_replaced_step_by_step_and_destroyed_in_the_token",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let service = lab.local_authority.clone();
            let by_first = mint(&lab).await;
            let [Some(first), None, None] = standing(&lab).await else {
                panic!("one authority, which signs")
            };
            // There is nothing to activate, and what signs can be neither tainted nor revoked.
            assert_eq!(activate(&lab, "").await.unwrap_err().code(), Code::FailedPrecondition);
            assert_eq!(taint(&lab, &first).await.unwrap_err().code(), Code::FailedPrecondition);
            let refused = revoke(&service, &first).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition);
            assert!(refused.message().contains("HM-REG-0123"), "{refused}");
            assert_eq!(revoke(&service, "unknown").await.unwrap_err().code(), Code::NotFound);
            let upstream = local(TaintX509UpstreamAuthorityRequest::default());
            let refused = service.taint_x509_upstream_authority(upstream).await.unwrap_err();
            assert!(
                refused.code() == Code::FailedPrecondition && refused.message().contains("HM-SRV-0044"),
                "{refused}"
            );

            let sequence = bundle(&lab).await.sequence_number;
            let next = prepare(&service).await.unwrap();
            let refused = prepare(&service).await.unwrap_err();
            assert!(refused.message().contains("HM-REG-0122"), "{refused}");
            // It is in the bundle before it signs, under a name of its own.
            let published = bundle(&lab).await;
            assert_eq!(published.sequence_number, sequence + 1);
            // Both may be of one second: their order says nothing.
            let ids: BTreeSet<_> = published.x509_authorities.iter().map(id_of).collect();
            assert_eq!(ids, BTreeSet::from([first.clone(), next.clone()]));
            let meanwhile = mint(&lab).await;
            assert_eq!(
                activate(&lab, &first).await.unwrap_err().code(),
                Code::FailedPrecondition
            );
            assert_eq!(activate(&lab, &next).await.unwrap(), next);
            let by_next = mint(&lab).await;
            for svid in [&by_first, &meanwhile, &by_next] {
                verified(&lab, svid).await.unwrap();
            }
            // The old one has signed neither of these, and the next one both.
            let roots = bundle(&lab).await.x509_authorities;
            let leads_to = |svid: &types::X509svid, id: &str| {
                let now = lab.server.journal.clock().now();
                let trust_domain = lab.server.journal.trust_domain();
                let root = roots.iter().find(|it| id_of(it) == id).unwrap();
                verify_chain(&[&svid.cert_chain[0]], &[&root.asn1], trust_domain, now).is_ok()
            };
            assert!(leads_to(&meanwhile, &first) && !leads_to(&meanwhile, &next));
            assert!(!leads_to(&by_next, &first) && leads_to(&by_next, &next));
            assert_eq!(standing(&lab).await, [Some(next.clone()), None, Some(first.clone())]);
            assert_eq!(labels(&lab).await.len(), 2);

            taint(&lab, &first).await.unwrap();
            let published = bundle(&lab).await.x509_authorities;
            assert!(published.iter().all(|it| it.tainted == (id_of(it) == first)));
            // What it signed is believed until it is revoked: with it agents ask for what takes its place.
            verified(&lab, &by_first).await.unwrap();
            let chain = [&by_first.cert_chain[0][..]];
            let served = lab.server.authority.load_full();
            served
                .authorities
                .verify(&chain, lab.server.journal.clock().now())
                .unwrap();
            revoke(&service, &first).await.unwrap();
            verified(&lab, &by_first).await.unwrap_err();
            verified(&lab, &by_next).await.unwrap();
            assert_eq!(labels(&lab).await, named(&lab), "it is gone from the token as well");
            drop((service, served));
            lab.stop().await;
            // The control: the next start finds the authority again.
            let lab = Lab::start(&folder).await;
            assert_eq!(standing(&lab).await, [Some(next), None, None]);
            verified(&lab, &by_next).await.unwrap();
            verified(&lab, &mint(&lab).await).await.unwrap();
            lab.stop().await;
        },
    );
}

#[test]
fn authorities_follow_each_other_as_time_passes() {
    isolated(
        "x509::authorities_follow_each_other_as_time_passes",
        |folder| async move {
            configure(&folder, "ca_ttl = \"24h\"");
            let config = config::load(&folder.join("server.toml"), None).unwrap();
            let (clock, hand) = Clock::movable();
            let lab = Lab::of(Running::start(config, clock).await.unwrap());
            let states = |lab: &Lab| {
                let state = lab.server.journal.state();
                let all = state.authorities().iter();
                all.map(|it| it.state.as_str()).collect::<Vec<_>>()
            };
            let mut before = mint(&lab).await;
            for (hours, expected) in [
                (11, &["active"][..]),
                (12, &["active", "prepared"]),
                (19, &["active", "prepared"]),
                (20, &["old", "active"]),
                (24, &["old", "active", "prepared"]),
                (25, &["active", "prepared"]),
                (32, &["old", "active"]),
            ] {
                at(&lab, &hand, hours * HOUR).await;
                assert_eq!(states(&lab), expected, "after {hours} hours");
                assert_eq!(labels(&lab).await, named(&lab));
                let svid = mint(&lab).await;
                verified(&lab, &svid).await.unwrap();
                // The last one is believed as long as it is valid.
                let is_valid = before.expires_at > lab.server.journal.clock().unix();
                assert_eq!(verified(&lab, &before).await.is_ok(), is_valid, "after {hours} hours");
                before = svid;
            }
            let records = lab.server.journal.store().records(RecordQuery {
                limit: 100,
                filter: RecordFilter::Admin,
                ..RecordQuery::default()
            });
            let records = records.await.unwrap();
            let steps = |act: &str| {
                let act = format!("\"x509-authority-{act}\"");
                records.iter().filter(|it| it.record.detail.contains(&act)).count()
            };
            // The first was made and certified by the start.
            assert_eq!(
                ["generate", "certify", "prepare", "activate", "end", "destroy"].map(steps),
                [3, 4, 2, 2, 1, 1]
            );
            lab.stop().await;
        },
    );
}

/// A clock that is ahead for a while: nothing is made behind the end of the authority, and all is as before when it is right again.
#[test]
fn a_clock_that_jumps_over_the_whole_life_takes_nothing_away() {
    isolated(
        "x509::a_clock_that_jumps_over_the_whole_life_takes_nothing_away",
        |folder| async move {
            configure(&folder, "ca_ttl = \"24h\"");
            let config = config::load(&folder.join("server.toml"), None).unwrap();
            let (clock, hand) = Clock::movable();
            let lab = Lab::of(Running::start(config, clock).await.unwrap());
            let before = (standing(&lab).await, bundle(&lab).await);
            let svid = mint(&lab).await;
            at(&lab, &hand, 1000 * HOUR).await;
            assert_eq!(standing(&lab).await, before.0);
            at(&lab, &hand, 0).await;
            assert_eq!(
                (standing(&lab).await, bundle(&lab).await.x509_authorities),
                (before.0, before.1.x509_authorities)
            );
            verified(&lab, &svid).await.unwrap();
            verified(&lab, &mint(&lab).await).await.unwrap();
            lab.stop().await;
        },
    );
}

#[test]
fn a_server_that_was_off_behind_the_end_goes_on_with_the_prepared_authority() {
    isolated(
        "x509::a_server_that_was_off_behind_the_end_goes_on_with_the_prepared_authority",
        |folder| async move {
            configure(&folder, "ca_ttl = \"24h\"");
            let start = async || {
                let config = config::load(&folder.join("server.toml"), None).unwrap();
                let (clock, hand) = Clock::movable();
                (config, clock, hand)
            };
            let (config, clock, hand) = start().await;
            let lab = Lab::of(Running::start(config, clock).await.unwrap());
            at(&lab, &hand, 13 * HOUR).await;
            let [Some(_), Some(next), None] = standing(&lab).await else {
                panic!("one is prepared")
            };
            lab.stop().await;
            let (config, clock, hand) = start().await;
            hand.set(25 * HOUR).await;
            let lab = Lab::of(Running::start(config, clock).await.unwrap());
            let [active, ..] = standing(&lab).await;
            assert_eq!(active, Some(next));
            verified(&lab, &mint(&lab).await).await.unwrap();
            lab.stop().await;
            // The control: behind the end of all of them a start is refused, and nothing was made.
            let (config, clock, hand) = start().await;
            hand.set(100 * HOUR).await;
            let refused = Running::start(config, clock).await.unwrap_err();
            assert_eq!(hallmark_reason::Coded::code(&refused).as_str(), "HM-SRV-0013");
        },
    );
}

/// The next certificate of an authority on its key, as `hallmark-server authority renew` makes it.
async fn renewed(lab: &Lab, row: &Authority, lifetime: Duration) -> Authority {
    let clock = lab.server.journal.clock();
    let x509 = X509Authority::from_certificate(&row.certificate, lab.server.journal.trust_domain()).unwrap();
    let draft = prepare_renewal(&x509, lifetime, Serial::from_random([7; 16]), clock.now()).unwrap();
    let key = lab.server.keys.find(&row.label).await.unwrap().unwrap();
    let signature = lab
        .server
        .keys
        .sign(&key.id, key.kind.signature_alg(), draft.tbs().to_vec());
    Authority {
        upstream: Vec::new(),
        certificate: draft.seal(&signature.await.unwrap()).unwrap(),
        created_at: clock.unix(),
        state: AuthorityState::Old,
        label: row.label.clone(),
    }
}

#[test]
fn a_key_goes_with_the_last_certificate_that_has_it() {
    isolated(
        "x509::a_key_goes_with_the_last_certificate_that_has_it",
        |folder| async move {
            configure(&folder, "ca_ttl = \"24h\"");
            let config = config::load(&folder.join("server.toml"), None).unwrap();
            let (clock, hand) = Clock::movable();
            let lab = Lab::of(Running::start(config, clock).await.unwrap());
            let row = lab.server.journal.state().active_authority().cloned().unwrap();
            let other = renewed(&lab, &row, Duration::from_secs(24 * 3600 + 7200)).await;
            assert_eq!(other.key_id(), row.key_id());
            lab.commit(vec![Change::PutAuthority(Arc::new(other.clone()))]).await;
            for hours in [12, 20, 25] {
                at(&lab, &hand, hours * HOUR).await;
            }
            let rows = lab.server.journal.state().authorities().to_vec();
            assert!(!rows.contains(&row) && rows.iter().any(|it| it.certificate == other.certificate));
            assert!(labels(&lab).await.contains(&row.label), "another row names it");
            at(&lab, &hand, 27 * HOUR).await;
            assert!(!labels(&lab).await.contains(&row.label));
            assert_eq!(labels(&lab).await, named(&lab));
            lab.stop().await;
        },
    );
}

#[test]
fn attack_84_a_key_of_another_store_is_never_destroyed() {
    isolated(
        "x509::attack_84_a_key_of_another_store_is_never_destroyed",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let generate = async |lab: &Lab, label: &str| {
                let label = format!("hallmark-x509-{TRUST_DOMAIN}-{label}");
                lab.server.keys.generate(&label, KeyKind::EcP256).await.unwrap();
                label
            };
            let others = generate(&lab, "00000000000000ff").await;
            prepare(&lab.local_authority).await.unwrap();
            activate(&lab, "").await.unwrap();
            let first = standing(&lab).await[2].clone().unwrap();
            revoke(&lab.local_authority, &first).await.unwrap();
            // The first label has become free, and another store's server makes its key under it. This store's records name the label.
            let again = generate(&lab, "1").await;
            // The control: a key of this store's own that no row names is destroyed.
            prepare(&lab.local_authority).await.unwrap();
            let lost = lab.server.journal.state().prepared_authority().cloned().unwrap();
            let certificate = lost.certificate.clone();
            lab.commit(vec![Change::DeleteAuthority { certificate }]).await;
            lab.stop().await;
            let lab = Lab::start(&folder).await;
            let left = labels(&lab).await;
            assert!(left.contains(&others) && left.contains(&again), "{left:?}");
            assert!(!left.contains(&lost.label), "{left:?}");
            // A new store on this token does not begin beside them.
            lab.stop().await;
            std::fs::remove_dir_all(folder.join("data")).unwrap();
            let config = config::load(&folder.join("server.toml"), None).unwrap();
            let refused = Running::start(config, Clock::system()).await.unwrap_err();
            assert_eq!(hallmark_reason::Coded::code(&refused).as_str(), "HM-SRV-0032");
        },
    );
}

#[test]
fn a_prepared_authority_whose_key_the_token_has_lost_never_signs() {
    isolated(
        "x509::a_prepared_authority_whose_key_the_token_has_lost_never_signs",
        |folder| async move {
            configure(&folder, "ca_ttl = \"24h\"");
            let config = config::load(&folder.join("server.toml"), None).unwrap();
            let (clock, hand) = Clock::movable();
            let lab = Lab::of(Running::start(config, clock).await.unwrap());
            at(&lab, &hand, 12 * HOUR).await;
            let lost = lab.server.journal.state().prepared_authority().cloned().unwrap();
            let key = lab.server.keys.find(&lost.label).await.unwrap().unwrap();
            lab.server.keys.destroy(&key.id).await.unwrap();
            let refused = activate(&lab, "").await.unwrap_err();
            assert!(refused.message().contains("HM-SRV-0010"), "{refused}");
            verified(&lab, &mint(&lab).await).await.unwrap();
            // When it is due it goes, another one is prepared, and that one signs.
            at(&lab, &hand, 20 * HOUR).await;
            let next = lab.server.journal.state().prepared_authority().cloned().unwrap();
            assert_ne!(next.certificate, lost.certificate);
            at(&lab, &hand, 20 * HOUR + 301).await;
            let [active, ..] = standing(&lab).await;
            assert_eq!(active, next.key_id());
            verified(&lab, &mint(&lab).await).await.unwrap();
            lab.stop().await;
        },
    );
}

#[test]
fn a_prepared_authority_that_has_lost_half_of_its_key_makes_room_for_another_one() {
    isolated(
        "x509::a_prepared_authority_that_has_lost_half_of_its_key_makes_room_for_another_one",
        |folder| async move {
            for half in 0..2 {
                let lab = Lab::start(&folder).await;
                let before = key_files(&folder);
                prepare(&lab.local_authority).await.unwrap();
                let lost = lab.server.journal.state().prepared_authority().cloned().unwrap();
                lab.stop().await;
                let made: Vec<_> = key_files(&folder).difference(&before).cloned().collect();
                assert_eq!(made.len(), 2, "{made:?}");
                std::fs::remove_file(&made[half]).unwrap();
                let lab = Lab::start(&folder).await;
                lab.server.x509.keep().await.unwrap();
                assert_eq!(lab.server.journal.state().prepared_authority().cloned(), None);
                assert!(!labels(&lab).await.contains(&lost.label));
                // The way on is free.
                prepare(&lab.local_authority).await.unwrap();
                activate(&lab, "").await.unwrap();
                verified(&lab, &mint(&lab).await).await.unwrap();
                lab.stop().await;
            }
        },
    );
}
