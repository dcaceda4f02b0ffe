//! What Hallmark does not believe.

use crate::show::Show;
use anyhow::{Context as _, Result, ensure};
use hallmark_api::admin::{ListRecordsRequest, Record};
use hallmark_attacks::{Wire, attest_with, software_keys_under};
use hallmark_kit::{AdminClient, EkAuthority, Lab, SwtpmOptions, binary};
use std::fs;
use std::process::Command;
use tokio::runtime::Runtime;
use x509_parser::pem::Pem;

/// A TPM of a maker that nobody trusts, and in no inventory.
pub(crate) fn unknown_tpm(show: &Show, lab: &mut Lab, runtime: &Runtime, admin: &mut AdminClient) -> Result<()> {
    show.step("Refused: a TPM in no inventory, whose EK certificate leads to no trusted root");
    let stranger = EkAuthority::create_named(&lab.folder().join("other-maker"), "Another TPM Maker")?;
    let node = lab.build_node_from(&stranger, SwtpmOptions::default())?;
    show.value("its EK", &node.tpm().ek_sha256()?);
    node.write_config()?;
    let out = Command::new(binary("hallmark-agent")?)
        .args(["attest", "--once", "--config"])
        .arg(node.config_file())
        .output()?;
    ensure!(!out.status.success(), "a stranger's TPM was accepted");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    for (index, line) in said
        .lines()
        .filter(|line| line.starts_with("HM-") || line.starts_with("  "))
        .enumerate()
    {
        if index == 0 {
            show.refused("the agent is told", line)
        } else {
            show.more(line.trim())
        }
    }
    on_record(show, runtime, admin, "HM-VERIFY-0121")
}

/// Keys made in software under machine A's genuine EK certificate.
pub(crate) fn software_key(show: &Show, lab: &mut Lab, runtime: &Runtime, admin: &mut AdminClient) -> Result<()> {
    show.step("Refused: a software key passed off as a TPM key");
    show.value(
        "the attacker shows",
        "machine A's genuine EK certificate, an AK and an SVID key of his own",
    );
    let certificate = lab.node(0)?.tpm().ek_certificate()?;
    let issuer = fs::read(lab.ek_authority().issuer())?;
    let issuer = Pem::iter_from_buffer(&issuer)
        .next()
        .context("no issuer certificate")??
        .contents;
    let (machine, claim) = software_keys_under(&certificate, &issuer)?;
    let address = lab.server().address();
    let outcome = runtime.block_on(async {
        let wire = Wire::connect(&address).await?;
        anyhow::Ok(
            attest_with(&wire, &machine, &claim, |draft| {
                draft.activated_secret = Some(vec![0; 32])
            })
            .await,
        )
    })?;
    let status = outcome.err().context("a software key was accepted")?;
    show.refused(
        "the node is told",
        &format!("{:?}: {}", status.code(), status.message()),
    );
    on_record(show, runtime, admin, "HM-VERIFY-0311")
}

/// The newest verdict on record: what operators see. It must have been refused for the reason that the heading names.
fn on_record(show: &Show, runtime: &Runtime, admin: &mut AdminClient, code: &str) -> Result<()> {
    let record = runtime.block_on(newest_verdict(admin))?;
    ensure!(
        record.outcome == "refused" && record.code == code,
        "the newest verdict is {} {}, not refused for {code}",
        record.outcome,
        record.code
    );
    show.refused(
        "on record",
        &format!("{} {} #{}", record.code, record.outcome, record.sequence),
    );
    let detail: serde_json::Value = serde_json::from_str(&record.detail)?;
    for name in ["text", "compared"] {
        if let Some(text) = detail.get(name).and_then(serde_json::Value::as_str) {
            show.more(text);
        }
    }
    Ok(())
}

async fn newest_verdict(admin: &mut AdminClient) -> Result<Record> {
    let mut newest = None;
    let mut after = 0;
    loop {
        let request = ListRecordsRequest {
            after,
            limit: 100,
            kind: "verdict".into(),
            ..ListRecordsRequest::default()
        };
        let records = admin.admin.list_records(request).await?.into_inner().records;
        match records.last() {
            Some(last) => after = last.sequence,
            None => return newest.context("no verdict is on record"),
        }
        newest = records.into_iter().last();
    }
}
