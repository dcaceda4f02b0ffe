//! Compiles the .proto files without a system `protoc`.
#![expect(
    clippy::disallowed_methods,
    reason = "a build script reads and writes files; the crate does not"
)]

use prost::Message as _;

const FILES: &[&str] = &[
    "spire/api/types/types.proto",
    "spire/api/server/agent/v1/agent.proto",
    "spire/api/server/entry/v1/entry.proto",
    "spire/api/server/svid/v1/svid.proto",
    "spire/api/server/bundle/v1/bundle.proto",
    "spire/api/server/localauthority/v1/localauthority.proto",
    "grpc/health/v1/health.proto",
    "google/rpc/status.proto",
    "workload/workload.proto",
    "hallmark/attest/v1/tpm2.proto",
    "hallmark/provision/v1/provision.proto",
    "hallmark/admin/v1/admin.proto",
    "hallmark/admin/v1/lifecycle.proto",
    "hallmark/admin/v1/provision.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    let workload = protox::compile(["workload/workload.proto"], ["proto"])?;
    std::fs::write(out.join("workload.bin"), workload.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(true)
        .build_server(true)
        .compile_fds(descriptors)?;
    Ok(())
}
