//! Attacks 64, 65 and 66: a machine keeps back what would bring rules upon it. Whatever it leaves out, its trust does not rise.

use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use hallmark_api::admin::{ChangeNodeRequest, GetNodeRequest, ImportInventoryRequest};
use hallmark_api::attest::{Tpm2Claim, Tpm2Proof};
use hallmark_attacks::{attest, challenge_parts, claim_message, proof_message};
use hallmark_evidence::ima::{ImaList, ImaReplay};
use hallmark_evidence::tcg::{Replay, TcgLog};
use hallmark_evidence::{Log, LogKind};
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::testing::{RevocationDraft, SoftwareMachine, VendorCa};
use prost::Message as _;
use tonic::{Code, Status};

use crate::policy::apply;
use crate::revocation::{SERIAL, publish, verdict};
use crate::scene::{Site, ek, site, site_with};

const NO_BOOT_LOG: &str = "HM-POLICY-0101";
const REVOKED: &str = "HM-VERIFY-0128";

fn id(machine: &SoftwareMachine) -> String {
    format!("spiffe://example.org/spire/agent/tpm2/{}", ek(machine))
}

/// The machine without its EK certificate, as behind a proxy that hides the NV indexes.
fn bare(machine: &SoftwareMachine) -> hallmark_verify::testing::ClaimParts {
    hallmark_verify::testing::ClaimParts {
        ek_certificate: None,
        ek_chain: Vec::new(),
        ..machine.claim()
    }
}

async fn attest_bare(site: &Site, machine: &SoftwareMachine) -> Result<(), Status> {
    let wire = site.wire().await;
    let attested = hallmark_attacks::attest_with(&wire, machine, &bare(machine), |_| {}).await;
    attested.map(drop)
}

async fn import(site: &mut Site, csv: &str) {
    let message = ImportInventoryRequest {
        format: "csv".into(),
        data: csv.as_bytes().to_vec().into(),
        ..Default::default()
    };
    let stream = tokio_stream::iter([message]);
    site.admin.lifecycle.import_inventory(stream).await.unwrap();
}

async fn evict(site: &mut Site, machine: &SoftwareMachine) {
    let request = ChangeNodeRequest {
        id: id(machine),
        action: "evict".into(),
        ..Default::default()
    };
    site.admin.lifecycle.change_node(request).await.unwrap();
}

async fn selectors(site: &mut Site, machine: &SoftwareMachine) -> BTreeSet<String> {
    let request = GetNodeRequest { id: id(machine) };
    let node = site.admin.admin.get_node(request).await.unwrap().into_inner();
    node.selectors.into_iter().collect()
}

/// A policy for whom it names, which nobody fulfils who sends no boot log.
async fn demand_a_boot_log(site: &mut Site, serial: u32, of: &str) {
    let policy =
        format!("version = 1\nname = \"edge\"\nserial = {serial}\napplies_to = [\"{of}\"]\n[boot]\nrequired = true\n");
    assert_eq!(apply(site, "policy", &policy).await, "applied");
    site.verdicts().await;
}

const FACTS: [(&str, &str); 4] = [
    ("tpm2:class:discrete", "tpm2:class:virtual"),
    ("tpm2:manufacturer:id:49465800", "tpm2:manufacturer:id:414D4400"),
    ("tpm2:model:SLB9670", "tpm2:model:AMD"),
    ("tpm2:firmware:id:00070055", "tpm2:firmware:id:00070056"),
];

#[test]
fn attack_64_a_certificate_that_is_kept_back_lifts_no_policy() {
    let configure = |lab: &mut hallmark_kit::Lab, _: &VendorCa, _: &std::path::Path| {
        lab.server().set("attestation.tpm2", "require_inventory", true.into());
    };
    site_with(VendorCa::new(), configure, async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let strangers = [SoftwareMachine::new(&site.vendor), SoftwareMachine::new(&site.vendor)];
        let [silent, stated] = &strangers;
        let csv = format!(
            "ek_sha256,class,manufacturer,model\n{},discrete,id:49465800,SLB9670\n{},,,\n{},discrete,id:49465800,SLB9670\n",
            ek(&machine),
            ek(silent),
            ek(stated),
        );
        import(site, &csv).await;
        attest(&site.wire().await, &machine).await.unwrap();
        let with_certificate = selectors(site, &machine).await;
        attest_bare(site, &machine).await.unwrap();
        assert_eq!(selectors(site, &machine).await, with_certificate, "renewed without it");
        site.verdicts().await;
        let mut serial = 0;
        for (own, anothers) in FACTS {
            serial += 2;
            demand_a_boot_log(site, serial, anothers).await;
            attest(&site.wire().await, &machine).await.unwrap();
            attest_bare(site, &machine).await.unwrap();
            let both = site.verdicts().await;
            assert!(
                both.len() == 2 && both.iter().all(|it| it.outcome == "accepted"),
                "{anothers}"
            );
            let told = attest_bare(site, silent).await.unwrap_err();
            site.refused("nobody knows what it is", &told, NO_BOOT_LOG).await;

            demand_a_boot_log(site, serial + 1, own).await;
            let told = attest(&site.wire().await, &machine).await.unwrap_err();
            site.refused(own, &told, NO_BOOT_LOG).await;
            // The certificate is kept back; or broken; or its intermediates are.
            let told = attest_bare(site, &machine).await.unwrap_err();
            site.refused(own, &told, NO_BOOT_LOG).await;
            let mut claim = machine.claim();
            claim.ek_certificate.as_mut().unwrap().truncate(100);
            let wire = site.wire().await;
            let told = hallmark_attacks::attest_with(&wire, &machine, &claim, |_| {})
                .await
                .unwrap_err();
            site.refused(own, &told, NO_BOOT_LOG).await;
            let mut claim = machine.claim();
            claim.ek_chain.clear();
            let told = hallmark_attacks::attest_with(&wire, &machine, &claim, |_| {})
                .await
                .unwrap_err();
            site.refused(own, &told, NO_BOOT_LOG).await;
            for stranger in &strangers {
                let told = attest_bare(site, stranger).await.unwrap_err();
                site.refused(own, &told, NO_BOOT_LOG).await;
            }
        }
        // What the inventory states of a TPM that never showed a certificate is known.
        demand_a_boot_log(site, 100, "tpm2:class:virtual").await;
        attest_bare(site, stated).await.unwrap();
        assert_eq!(site.verdicts().await[0].outcome, "accepted");
        assert!(
            !selectors(site, stated)
                .await
                .iter()
                .any(|it| it.starts_with("tpm2:class:"))
        );
    });
}

/// Its row is deleted: the certificate is not.
#[test]
fn attack_64_who_was_evicted_comes_back_without_its_certificate() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let told = attest_bare(site, &machine).await.unwrap_err();
        site.refused("it is not known yet", &told, "HM-VERIFY-0142").await;
        attest(&site.wire().await, &machine).await.unwrap();
        evict(site, &machine).await;
        demand_a_boot_log(site, 1, "tpm2:model:SLB9670").await;
        import(
            site,
            &format!("ek_sha256,class,manufacturer,model\n{},virtual,id:1,m\n", ek(&machine)),
        )
        .await;
        let told = attest_bare(site, &machine).await.unwrap_err();
        site.refused("evicted", &told, NO_BOOT_LOG).await;
        demand_a_boot_log(site, 2, "tpm2:model:other").await;
        attest_bare(site, &machine).await.unwrap();
        assert_eq!(site.verdicts().await[0].outcome, "accepted");
    });
}

/// What an operator saw before the approval is what counts after it.
#[test]
fn attack_64_the_certificate_of_a_machine_that_waits_counts() {
    let configure = |lab: &mut hallmark_kit::Lab, _: &VendorCa, _: &std::path::Path| {
        lab.server().set("attestation.tpm2", "approval", "one".into());
    };
    site_with(VendorCa::new(), configure, async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        import(site, &format!("ek_sha256,class\n{},virtual\n", ek(&machine))).await;
        attest(&site.wire().await, &machine).await.unwrap_err();
        let request = ChangeNodeRequest {
            id: id(&machine),
            action: "approve".into(),
            ..Default::default()
        };
        site.admin.lifecycle.change_node(request).await.unwrap();
        demand_a_boot_log(site, 1, "tpm2:class:discrete").await;
        let told = attest_bare(site, &machine).await.unwrap_err();
        site.refused("approved as discrete", &told, NO_BOOT_LOG).await;
        demand_a_boot_log(site, 2, "tpm2:class:firmware").await;
        attest_bare(site, &machine).await.unwrap();
    });
}

#[test]
fn attack_65_a_certificate_that_was_kept_back_is_revoked() {
    let vendor = VendorCa::new();
    let [renewed, evicted, never_in] = [(); 3].map(|()| SoftwareMachine::new(&vendor));
    let mut other = SoftwareMachine::new(&vendor);
    other.ek_certificate = None;
    let list = |number: u8, revoked: bool| {
        let draft = RevocationDraft {
            number: vec![number],
            revoked: if revoked { vec![SERIAL.to_vec()] } else { Vec::new() },
            ..RevocationDraft::of_intermediate()
        };
        draft.sign(&vendor.intermediate_key)
    };
    let (clean, revoked) = (list(1, false), list(2, true));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vendor.crl");
    publish(&file, &clean);
    let named = folder.path().display().to_string();
    let configure = |lab: &mut hallmark_kit::Lab, _: &VendorCa, _: &std::path::Path| {
        let paths = toml::Value::Array(vec![named.into()]);
        lab.server().set("attestation.tpm2", "crls", paths);
    };
    site_with(vendor, configure, async |site| {
        let lines: Vec<_> = [&renewed, &evicted, &never_in, &other].into_iter().map(ek).collect();
        import(site, &format!("ek_sha256\n{}\n", lines.join("\n"))).await;
        for machine in [&renewed, &evicted] {
            attest(&site.wire().await, machine).await.unwrap();
        }
        attest_bare(site, &renewed).await.unwrap();
        attest_bare(site, &other).await.unwrap();
        evict(site, &evicted).await;
        assert!(
            site.verdicts().await.iter().all(|it| it.outcome == "accepted"),
            "positive control"
        );

        publish(&file, &revoked);
        assert_eq!(verdict(site).await, ("refused".into(), "HM-POLICY-0010".into()));
        for machine in [&renewed, &evicted] {
            let told = attest_bare(site, machine).await.unwrap_err();
            site.refused("kept back", &told, REVOKED).await;
        }
        // It showed its certificate once, before it proved anything.
        let told = attest(&site.wire().await, &never_in).await.unwrap_err();
        site.refused("shown once", &told, REVOKED).await;
        let told = attest_bare(site, &never_in).await.unwrap_err();
        site.refused("and then kept back", &told, REVOKED).await;
        attest_bare(site, &other).await.unwrap();
        assert_eq!(site.verdicts().await[0].outcome, "accepted", "who never had one");

        // An older certificate for the same EK does not make up for it; one that the vendor issued since does.
        let vendor = &site.vendor;
        let [older, newer] = [1_500_000_000, 1_700_000_000].map(|not_before| {
            vendor.ek_certificate_with(&renewed.ek, |draft| {
                draft.serial = vec![0x77];
                draft.not_before = not_before;
            })
        });
        let mut renewed = renewed;
        renewed.ek_certificate = Some(older);
        let told = attest(&site.wire().await, &renewed).await.unwrap_err();
        site.refused("an older one", &told, REVOKED).await;
        renewed.ek_certificate = Some(newer);
        let told = attest(&site.wire().await, &renewed).await.unwrap_err();
        site.refused("the lists are held against it first", &told, "HM-POLICY-0010")
            .await;
        assert_eq!(verdict(site).await, ("accepted".into(), String::new()));
        attest(&site.wire().await, &renewed).await.unwrap();
        attest_bare(site, &renewed).await.unwrap();
    });
}

/// A node that the inventory alone vouches for loses trust when its revoked certificate comes to light.
#[test]
fn attack_65_a_revoked_certificate_that_comes_to_light() {
    let vendor = VendorCa::new();
    let machine = SoftwareMachine::new(&vendor);
    let revoked = RevocationDraft {
        revoked: vec![SERIAL.to_vec()],
        ..RevocationDraft::of_intermediate()
    };
    let list = revoked.sign(&vendor.intermediate_key);
    let configure = |lab: &mut hallmark_kit::Lab, _: &VendorCa, folder: &std::path::Path| {
        let file = folder.join("vendor.crl");
        fs::write(&file, &list).unwrap();
        let paths = toml::Value::Array(vec![file.display().to_string().into()]);
        lab.server().set("attestation.tpm2", "crls", paths);
    };
    site_with(vendor, configure, async |site| {
        import(site, &format!("ek_sha256\n{}\n", ek(&machine))).await;
        attest_bare(site, &machine).await.unwrap();
        assert_eq!(site.verdicts().await[0].outcome, "accepted", "positive control");
        attest(&site.wire().await, &machine).await.unwrap_err();
        assert_eq!(verdict(site).await, ("refused".into(), REVOKED.into()));
        assert_eq!(verdict(site).await, ("refused".into(), "HM-POLICY-0010".into()));
    });
}

#[test]
fn attack_66_an_expired_line_selects_policies_and_grants_nothing() {
    site(async |site| {
        let machine = SoftwareMachine::new(&site.vendor);
        let csv = |expires: &str| {
            format!(
                "ek_sha256,labels,owner,expires\n{},site=lab,ops,{expires}\n",
                ek(&machine)
            )
        };
        let granted = ["inventory:site:lab", "inventory:owner:ops", "policy:of-the-lab"];
        let fulfilled = "version = 1\nname = \"of-the-lab\"\nserial = 1\napplies_to = [\"inventory:site:lab\"]\n\
                         [tpm]\nclasses = [\"discrete\"]\n";
        assert_eq!(apply(site, "policy", fulfilled).await, "applied");
        let mut serial = 0;
        for expires in ["", "2020-01-01T00:00:00Z"] {
            import(site, &csv(expires)).await;
            for of in ["inventory:site:lab", "inventory:owner:ops"] {
                demand_a_boot_log(site, serial + 1, of).await;
                let told = attest(&site.wire().await, &machine).await.unwrap_err();
                site.refused(of, &told, NO_BOOT_LOG).await;
                demand_a_boot_log(site, serial + 2, "inventory:site:elsewhere").await;
                attest(&site.wire().await, &machine).await.unwrap();
                assert_eq!(site.verdicts().await[0].outcome, "accepted", "{of} {expires}");
                serial += 2;
            }
            let has = selectors(site, &machine).await;
            for selector in granted {
                assert_eq!(
                    has.contains(selector),
                    expires.is_empty(),
                    "{selector}, expired: {expires:?}"
                );
            }
        }
        // Nor does it let anybody in.
        let stranger = SoftwareMachine::new(&site.vendor);
        import(
            site,
            &format!("ek_sha256,expires\n{},2020-01-01T00:00:00Z\n", ek(&stranger)),
        )
        .await;
        let told = attest_bare(site, &stranger).await.unwrap_err();
        site.refused("an expired line", &told, "HM-VERIFY-0143").await;
    });
}

/// A line that names the EK by its Name finds it, whatever policy or attributes the machine says the key has.
#[test]
fn attack_66_a_name_that_the_machine_chooses_hides_no_line() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        let name = hex::encode(machine.ek.public.name());
        import(site, &format!("ek_sha256,labels\n{name},site=lab\n")).await;
        demand_a_boot_log(site, 1, "inventory:site:lab").await;
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused("by its Name", &told, NO_BOOT_LOG).await;
        machine.ek.public.auth_policy = vec![0x11; 32];
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused("under another Name", &told, NO_BOOT_LOG).await;
        demand_a_boot_log(site, 2, "inventory:site:elsewhere").await;
        attest(&site.wire().await, &machine).await.unwrap();
    });
}

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
