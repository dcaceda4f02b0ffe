//! Attack 64, for every field of what a machine sends: whatever it leaves out, its trust does not rise.

use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use hallmark_api::attest::{Tpm2Claim, Tpm2Proof};
use hallmark_attacks::{challenge_parts, claim_message, proof_message};
use hallmark_evidence::ima::{ImaList, ImaReplay};
use hallmark_evidence::tcg::{Replay, TcgLog};
use hallmark_evidence::{Log, LogKind};
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::testing::{SoftwareMachine, VendorCa};
use prost::Message as _;
use tonic::Code;

use crate::policy::apply;
use crate::scene::{Site, ek, site};
use crate::withheld::{import, selectors};

/// What a machine leaves out of an attestation.
struct Omission {
    what: &'static str,
    machine: fn(&mut SoftwareMachine),
    claim: fn(&mut Tpm2Claim),
    proof: fn(&mut Tpm2Proof),
    csr: bool,
}

impl Omission {
    const NOTHING: Self = Self {
        what: "nothing",
        machine: |_| {},
        claim: |_| {},
        proof: |_| {},
        csr: false,
    };
}

/// Every field of the messages is taken away, one after the other, and every log before the statements are signed. A field
/// that is new in the protocol does not compile here until it stands in this list.
fn omissions() -> Vec<Omission> {
    let Tpm2Claim {
        version: _,
        ek_certificate: _,
        ek_chain: _,
        ek_public: _,
        ak_public: _,
        svid_public: _,
        session: _,
    } = Tpm2Claim::default();
    let Tpm2Proof {
        version: _,
        activated_secret: _,
        certify: _,
        quote: _,
        pcr_values: _,
        logs: _,
    } = Tpm2Proof::default();
    let claim = |what, claim| Omission {
        what,
        claim,
        ..Omission::NOTHING
    };
    let proof = |what, proof| Omission {
        what,
        proof,
        ..Omission::NOTHING
    };
    let machine = |what, machine| Omission {
        what,
        machine,
        ..Omission::NOTHING
    };
    vec![
        claim("claim.version", |it| it.version = 0),
        claim("claim.ek_certificate", |it| it.ek_certificate = Bytes::new()),
        claim("claim.ek_chain", |it| it.ek_chain = Vec::new()),
        claim("claim.ek_certificate and ek_chain", |it| {
            it.ek_certificate = Bytes::new();
            it.ek_chain = Vec::new();
        }),
        claim("claim.ek_public", |it| it.ek_public = Bytes::new()),
        claim("claim.ak_public", |it| it.ak_public = Bytes::new()),
        claim("claim.svid_public", |it| it.svid_public = Bytes::new()),
        claim("claim.session", |it| it.session = 0),
        Omission {
            what: "csr",
            csr: true,
            ..Omission::NOTHING
        },
        proof("proof.version", |it| it.version = 0),
        proof("proof.activated_secret", |it| it.activated_secret = Bytes::new()),
        proof("proof.certify", |it| it.certify = None),
        proof("proof.quote", |it| it.quote = None),
        proof("proof.pcr_values", |it| it.pcr_values = Vec::new()),
        proof("proof.logs, as they are signed for", |it| it.logs = Vec::new()),
        machine("every log", |it| it.logs = Vec::new()),
        machine("the firmware's log", |it| {
            it.logs.retain(|log| log.kind != LogKind::Tcg)
        }),
        machine("the IMA list", |it| it.logs.retain(|log| log.kind != LogKind::Ima)),
        machine("every log and the certificate", |it| {
            it.logs = Vec::new();
            it.ek_certificate = None;
        }),
        machine("the IMA list and the certificate", |it| {
            it.logs.retain(|log| log.kind != LogKind::Ima);
            it.ek_certificate = None;
        }),
    ]
}

/// A machine that measured a recorded boot and shows the logs of it.
fn booted(vendor: &VendorCa) -> SoftwareMachine {
    let mut machine = SoftwareMachine::new(vendor);
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/measured-boot/sb-on");
    let read = |name: &str| fs::read(format!("{recorded}/{name}")).unwrap();
    let (tcg, ima) = (read("eventlog.bin"), read("ima.bin"));
    let replay = Replay::of(&TcgLog::parse(&tcg).unwrap());
    for pcr in 0..16 {
        let value = replay.value(HashAlg::Sha256, pcr).unwrap().to_vec();
        machine.pcrs.insert((0x000b, pcr), value);
    }
    let mut list = ImaReplay::at_boot(HashAlg::Sha256);
    ImaList::new(&ima).lines().for_each(|line| list.extend(&line.unwrap()));
    machine.pcrs.insert((0x000b, 10), list.value().to_vec());
    let log = |kind, data| Log::new(kind, 0, data).unwrap();
    machine.logs = vec![log(LogKind::Tcg, tcg), log(LogKind::Ima, ima)];
    machine
}

/// The machine's selectors if it is let in, else nothing.
async fn trust(site: &mut Site, machine: &mut SoftwareMachine, less: &Omission) -> Option<BTreeSet<String>> {
    let wire = site.wire().await;
    let whole = (machine.logs.clone(), machine.ek_certificate.clone());
    (less.machine)(machine);
    let attested = async {
        let (mut claim, csr) = claim_message(&machine.claim());
        (less.claim)(&mut claim);
        let csr = if less.csr { Bytes::new() } else { csr };
        let (mut attempt, challenge) = wire.claim(&claim, csr).await?;
        let proof = machine.prove(&challenge_parts(&challenge)?, wire.exporter());
        let mut message = proof_message(&proof);
        (less.proof)(&mut message);
        attempt.send(message.encode_to_vec().into()).await?;
        drop(attempt.send_logs(&proof.logs).await);
        attempt.svid().await
    };
    let attested = attested.await;
    (machine.logs, machine.ek_certificate) = whole;
    match attested {
        Ok(_) => Some(selectors(site, machine).await),
        Err(told) => {
            assert_ne!(told.code(), Code::ResourceExhausted, "{}: {told}", less.what);
            None
        }
    }
}

/// Under which rules what is tried, and whether they let the whole machine in.
const RULES: [(&str, bool); 10] = [
    ("[boot]\nsecure_boot = true\n", true),
    ("[boot]\nsecure_boot = false\n", false),
    (
        "applies_to = [\"tpm2:class:discrete\"]\n[boot]\nsecure_boot = true\n",
        true,
    ),
    (
        "applies_to = [\"tpm2:class:discrete\"]\n[boot]\nsecure_boot = false\n",
        false,
    ),
    (
        "applies_to = [\"tpm2:manufacturer:id:49465800\"]\n[ima]\nlines_at_most = 1\n",
        false,
    ),
    (
        "applies_to = [\"tpm2:model:SLB9670\"]\n[tpm]\ndenied_models = [\"SLB9670\"]\n",
        false,
    ),
    (
        "applies_to = [\"tpm2:firmware:id:00070055\"]\n[tpm]\nclasses = [\"virtual\"]\n",
        false,
    ),
    ("applies_to = [\"tpm2:model:AMD\"]\n[boot]\nsecure_boot = true\n", true),
    (
        "applies_to = [\"inventory:site:lab\"]\n[boot.pcrs]\n12 = [\"1111111111111111111111111111111111111111111111111111111111111111\"]\n",
        false,
    ),
    (
        "[ima]\nrequired = false\nboot_aggregate = false\nlines_at_most = 1\n",
        false,
    ),
];

#[test]
fn attack_64_whatever_a_machine_leaves_out_its_trust_does_not_rise() {
    site(async |site| {
        let mut serial = 0;
        for (rules, lets_in) in RULES {
            serial += 1;
            let (head, rest) = match rules.strip_prefix("applies_to") {
                Some(_) => rules.split_once('\n').unwrap(),
                None => ("", rules),
            };
            let policy = format!("version = 1\nname = \"edge\"\nserial = {serial}\n{head}\n{rest}");
            assert_eq!(apply(site, "policy", &policy).await, "applied", "{rules}");
            // One that is known by what it showed at first; one that never shows more than this.
            for is_known in [true, false] {
                for listed in [true, false] {
                    let mut whole = booted(&site.vendor);
                    if listed {
                        import(site, &format!("ek_sha256,labels\n{},site=lab\n", ek(&whole))).await;
                    }
                    let of_site = rules.contains("inventory:site");
                    let all = trust(site, &mut whole, &Omission::NOTHING).await;
                    assert_eq!(all.is_some(), lets_in || (of_site && !listed), "the control: {rules}");
                    for less in omissions() {
                        let (mut fresh, mut reference);
                        let (machine, before) = if is_known {
                            (&mut whole, all.clone())
                        } else {
                            fresh = booted(&site.vendor);
                            reference = all.clone();
                            if listed {
                                import(site, &format!("ek_sha256,labels\n{},site=lab\n", ek(&fresh))).await;
                            }
                            // Its own hash in the place of the other's.
                            if let Some(selectors) = &mut reference {
                                selectors.remove(&format!("tpm2:ek-hash:{}", ek(&whole)));
                                selectors.insert(format!("tpm2:ek-hash:{}", ek(&fresh)));
                            }
                            (&mut fresh, reference)
                        };
                        machine.clock += 1;
                        let after = trust(site, machine, &less).await;
                        let rose = match (&before, &after) {
                            (_, None) => false,
                            (None, Some(_)) => true,
                            (Some(before), Some(after)) => !after.is_subset(before),
                        };
                        // What was shown once need not be shown again.
                        if is_known && less.what.starts_with("claim.ek_c") {
                            assert_eq!(after, before, "without {}, under {rules}", less.what);
                        }
                        assert!(
                            !rose,
                            "without {} (known: {is_known}, listed: {listed}) under {rules}: {before:?} became {after:?}",
                            less.what
                        );
                    }
                }
            }
        }
        site.verdicts().await;
        let wire = site.wire().await;
        assert_eq!(
            apply(
                site,
                "policy",
                "version = 1\nname = \"edge\"\nserial = 99\n[tpm]\nclasses = [\"discrete\"]\n"
            )
            .await,
            "applied"
        );
        site.verdicts().await;
        site.control(&wire, "after all").await;
    });
}
