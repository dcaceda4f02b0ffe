//! `make demo`: one chain from a TPM to an HSM, shown with real values on swtpm and SoftHSM.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod chain;
mod operator;
mod refusals;
mod show;
mod update;
mod workloads;

use anyhow::Result;
use hallmark_kit::{AdminClient, Lab, LabOptions};
use show::Show;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const TRUST_DOMAIN: &str = "demo.example";

fn main() -> ExitCode {
    let show = Show::new();
    match run(&show) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show.failed(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(show: &Show) -> Result<()> {
    let start = Instant::now();
    let folder = tempfile::Builder::new().prefix("hallmark-demo").tempdir()?;
    let mut lab = lay_out(show, folder.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    let socket = lab.server().admin_socket();
    let mut admin = runtime.block_on(AdminClient::connect(&socket))?;
    let (first, second) = (lab.node(0)?.agent_id()?, lab.node(1)?.agent_id()?);
    runtime.block_on(chain::show(show, &mut admin, "machine A", &first))?;
    runtime.block_on(chain::summary(show, &mut admin, "machine B", &second))?;
    workloads::register(show, &socket, &first, &second)?;
    let sockets = (lab.node(0)?.workload_api(), lab.node(1)?.workload_api());
    workloads::meet(show, &sockets.0, &sockets.1)?;
    update::boots(show, &mut lab, &runtime, &mut admin, &second)?;
    refusals::unknown_tpm(show, &mut lab, &runtime, &mut admin)?;
    refusals::software_key(show, &mut lab, &runtime, &mut admin)?;

    show.step("What the operator sees at the end");
    operator::types(show, &socket, "status")?;
    operator::types(show, &socket, "node list")?;

    show.step("Clean up");
    drop(admin);
    drop(lab);
    folder.close()?;
    show.value("left running", "nothing");
    show.value("left behind", "nothing");
    show.done(&format!("shown in {:.1} s", start.elapsed().as_secs_f32()));
    Ok(())
}

fn lay_out(show: &Show, folder: &std::path::Path) -> Result<Lab> {
    show.step("A trust domain on real parts");
    show.value("trust domain", TRUST_DOMAIN);
    let options = LabOptions {
        folder: folder.join("lab"),
        trust_domain: TRUST_DOMAIN.into(),
        nodes: 2,
    };
    let mut lab = show.timed("PKCS#11 token (SoftHSM)", || Lab::lay_out(options))?;
    for name in [
        "machine A: TPM 2.0 with its maker's EK certificate",
        "machine B: TPM 2.0 with its maker's EK certificate",
    ] {
        show.timed(name, || lab.build_node().map(|_| ()))?;
    }
    show.timed("hallmark-server: CA key made inside the token", || lab.start_server())?;
    show.timed("hallmark-agent on A and B: attested, holding their identities", || {
        for node in lab.nodes() {
            node.launch()?;
        }
        for node in lab.nodes() {
            node.wait_ready(Duration::from_secs(60))?;
        }
        anyhow::Ok(())
    })?;
    Ok(lab)
}
