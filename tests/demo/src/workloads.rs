//! Two ordinary SPIFFE clients, in two languages, on two machines.

use crate::TRUST_DOMAIN;
use crate::operator;
use crate::show::Show;
use anyhow::{Context as _, Result, ensure};
use hallmark_kit::binary;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PYTHON: &str = "/demo/python";
const RUST: &str = "/demo/rust";

/// One entry on each machine, for this user's processes.
pub(crate) fn register(show: &Show, socket: &Path, first: &str, second: &str) -> Result<()> {
    show.step("Registration entries: who may hold which identity, on which machine");
    let uid = std::fs::metadata("/proc/self")?.uid();
    let short = |id: &str| {
        id.rsplit('/')
            .next()
            .unwrap_or_default()
            .chars()
            .take(12)
            .collect::<String>()
    };
    for (path, node) in [(PYTHON, short(first)), (RUST, short(second))] {
        operator::types(
            show,
            socket,
            &format!("entry create --spiffe-id {path} --node {node} --selector unix:uid:{uid}"),
        )?;
    }
    Ok(())
}

/// The workload in Python on machine A calls the workload in Rust on machine B.
pub(crate) fn meet(show: &Show, first: &Path, second: &Path) -> Result<()> {
    show.step("Two ordinary SPIFFE workloads speak mutual TLS");
    let (python_id, rust_id) = (
        format!("spiffe://{TRUST_DOMAIN}{PYTHON}"),
        format!("spiffe://{TRUST_DOMAIN}{RUST}"),
    );
    wait_for_identity(second)?;
    let mut server = Command::new(binary("demo-workload")?)
        .arg(&python_id)
        .env("SPIFFE_ENDPOINT_SOCKET", endpoint(second))
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(server.stdout.take().context("no output")?).lines();
    let hello: Value = serde_json::from_str(&lines.next().context("the Rust workload said nothing")??)?;
    wait_for_identity(first)?;
    let python = std::env::var_os("HALLMARK_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("workload.py");
    let out = Command::new(python)
        .arg(script)
        .args([
            hello
                .get("port")
                .and_then(Value::as_u64)
                .context("no port")?
                .to_string(),
            rust_id,
        ])
        .env("SPIFFE_ENDPOINT_SOCKET", endpoint(first))
        .output()?;
    if !out.status.success() {
        let _ = server.kill();
        let _ = server.wait();
        anyhow::bail!("the Python workload: {}", String::from_utf8_lossy(&out.stderr));
    }
    let told: Value = serde_json::from_slice(&out.stdout)?;
    let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    show.link("Python on machine A", &text("spiffe_id"), "PyPI spiffe, gRPC C core");
    show.more(&format!("serial {}, expires {}", text("serial"), text("not_after")));
    show.link("Rust on machine B", &text("peer"), "crate spiffe");
    show.link("mutual TLS", &format!("{} {}", text("tls"), text("cipher")), "");
    show.more(&text("answer"));
    ensure!(server.wait()?.success(), "the Rust workload failed");
    Ok(())
}

fn endpoint(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

/// The agent learns of a new entry with its next synchronisation.
fn wait_for_identity(socket: &Path) -> Result<()> {
    use hallmark_api::workload::X509svidRequest;
    use hallmark_kit::WorkloadRequest;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let start = Instant::now();
    loop {
        let held = runtime.block_on(async {
            let mut client = WorkloadRequest::connect(socket).await.ok()?;
            let stream = client
                .fetch_x509svid(WorkloadRequest::with_header(X509svidRequest {}))
                .await
                .ok()?;
            stream.into_inner().message().await.ok()?
        });
        if held.is_some() {
            return Ok(());
        }
        ensure!(start.elapsed() < Duration::from_secs(30), "no identity after 30 s");
        std::thread::sleep(Duration::from_millis(100));
    }
}
