//! From a verdict to an agent's grant: the whole way of a machine, made in software.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallmark_node::NodeId;
use hallmark_policy::{Appraisal, Listed, PolicySet, Rules, appraise};
use hallmark_reason::Coded as _;
use hallmark_state::{GrantError, Why, authorise_node};
use hallmark_tpm_wire::{HashAlg, PcrSelection};
use hallmark_verify::{
    HeldLogs,
    testing::{ChallengeParts, SoftwareMachine, VendorCa},
    verify_claim, verify_logs, verify_proof,
};
use zeroize::Zeroizing;

use crate::samples::{NOW, td};

const HOUR: Duration = Duration::from_secs(3600);

fn appraised(rules: &Rules) -> Appraisal {
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW).unwrap());
    let vendor = VendorCa::new();
    let machine = SoftwareMachine::new(&vendor);
    let trust = SoftwareMachine::trust(&vendor);
    let selection = PcrSelection::new([(HashAlg::Sha256, &[0, 7][..])]).unwrap();
    let exporter = [3; 32];
    let verified_claim = verify_claim(machine.claim().decode().unwrap(), &trust, None, now).unwrap();
    let secret = Some(Zeroizing::new([2; 32]));
    let challenge = verified_claim.challenge_with([1; 32], secret, selection, now).unwrap();
    let proof = machine.prove(&ChallengeParts::from(&challenge), &exporter);
    let evidence = verify_logs(
        verify_proof(verified_claim, challenge, proof.decode().unwrap(), &exporter, now).unwrap(),
        Vec::new(),
        &HeldLogs::default(),
    )
    .unwrap();
    appraise(evidence, Listed::default(), &PolicySet::from(rules.clone()), now)
}

#[test]
fn a_trusted_node_gets_the_id_of_its_ek() {
    let appraisal = appraised(&Rules::default());
    let grant = authorise_node(&appraisal, &td(), HOUR).unwrap();
    let hash: String = appraisal
        .evidence()
        .ek_sha256()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        grant.spiffe_id().as_str(),
        format!("spiffe://example.org/spire/agent/tpm2/{hash}")
    );
    assert_eq!(
        grant.spiffe_id(),
        NodeId::new(&td(), appraisal.evidence().ek_sha256())
            .unwrap()
            .spiffe_id()
    );
    assert_eq!((grant.why(), grant.ttl()), (&Why::NodeAttested, HOUR));
    assert!(grant.dns_names().is_empty());
    assert!(matches!(
        authorise_node(&appraisal, &td(), Duration::ZERO),
        Err(GrantError::NoLifetime { .. })
    ));
}

#[test]
fn a_refused_node_gets_nothing_but_the_reason() {
    let rules = Rules {
        require_inventory: true,
        ..Rules::default()
    };
    let appraisal = appraised(&rules);
    let refusal = appraisal.refusal().unwrap().clone();
    let error = authorise_node(&appraisal, &td(), HOUR).unwrap_err();
    assert_eq!(error.code(), refusal.code);
    assert_eq!(error.compared(), refusal.compared);
    assert!(error.to_string().contains(&refusal.text));
}
