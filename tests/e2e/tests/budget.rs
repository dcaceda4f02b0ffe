//! The TPM commands that each flow of a real agent costs, against their budget.

#[test]
fn every_flow_keeps_to_its_budget_of_tpm_commands() {
    let folder = tempfile::tempdir().unwrap();
    let flows = hallmark_kit::count_tpm_commands(&folder.path().join("lab")).unwrap();
    let counted: Vec<_> = flows.iter().map(|flow| flow.name).collect();
    for wanted in [
        "first",
        "first_no_persistent_ek",
        "renewal",
        "restart",
        "handshake",
        "left_behind",
    ] {
        assert!(counted.contains(&wanted), "{wanted} was not counted: {counted:?}");
    }
    // What counts nothing shows nothing.
    assert!(
        flows.iter().all(|flow| flow.name == "left_behind" || flow.count > 0),
        "{flows:#?}"
    );
    assert!(flows.iter().all(hallmark_kit::Flow::is_within), "{flows:#?}");
}
