//! Machines that are installed over the network.

use std::fs;

use crate::{
    fake::{NODE_A, NODE_B, NODE_C},
    run::Server,
};

/// A manifest of one chunk.
fn manifest(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("manifest");
    let text = format!(
        "hallmark-disk-image 1\nimage=hallmark-edge\nversion=2.0.0\ndisk_octets=512\nchunk_octets=8388608\nchunks=1\n{}\n",
        "ab".repeat(32)
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn an_image_is_assigned_by_its_manifest() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let file = manifest(&folder);
    let line = format!("provision assign 77c --manifest {file} --url https://images.example/m --baseline edge-2");
    let rehearsed = server.run(&format!("{line} --dry-run"));
    assert_eq!(
        (rehearsed.code, rehearsed.stdout.as_str()),
        (7, "would assign hallmark-edge 2.0.0 of 77c000000000: assigned\n"),
        "{}",
        rehearsed.stderr
    );
    assert!(server.fake().state().images.is_empty());
    let done = server.json(&line);
    assert_eq!((&done["action"], &done["dry_run"]), (&"assign".into(), &false.into()));
    let kept = server.fake().state().images[NODE_C].clone();
    assert_eq!(
        (
            kept.image.as_str(),
            kept.version.as_str(),
            kept.chunks,
            kept.baseline.as_str()
        ),
        ("hallmark-edge", "2.0.0", 1, "edge-2")
    );
    let sum = std::process::Command::new("sha256sum").arg(&file).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(done["manifest_sha256"], sum[..64]);
    // What overwrites is confirmed first.
    let unsure = server.run(&format!("{line} --overwrite"));
    assert_eq!((unsure.code, unsure.stdout.as_str()), (2, ""));
    assert!(!server.fake().state().images[NODE_C].overwrite);
    assert_eq!(server.run(&format!("{line} --overwrite --yes")).code, 0);
    assert!(server.fake().state().images[NODE_C].overwrite);
    // A file that is no manifest is told with its line, and nothing is asked of the server.
    fs::write(folder.path().join("manifest"), "image=x\n").unwrap();
    let refused = server.run(&line);
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.starts_with("HM-REG-0095: ") && refused.stderr.contains("line 1"),
        "{}",
        refused.stderr
    );
    // A machine that nobody has seen is named by its whole hash.
    manifest(&folder);
    let unseen = "ab".repeat(32);
    let warned = server.run(&line.replace("77c", &unseen));
    assert_eq!(warned.code, 0);
    assert!(
        warned.stderr.starts_with("warning: nobody has seen") && !warned.stderr.contains('\u{1b}'),
        "{}",
        warned.stderr
    );
    let warned = server.run(&format!("{} -o json", line.replace("77c", &unseen)));
    let told: serde_json::Value = serde_json::from_str(&warned.stdout).unwrap();
    assert_eq!(told["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(done["warnings"], serde_json::json!([]));
    assert!(server.fake().state().images.contains_key(&unseen));
    assert_eq!(server.run(&line.replace("77c", "abab")).code, 6);
}

#[test]
fn the_list_shows_stage_and_reason_on_one_line_each() {
    let server = Server::start();
    server.installs();
    let list = server.run("provision list");
    assert_eq!(list.code, 0);
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", list.stdout);
    assert!(
        lines[0].starts_with("NODE          IMAGE          VERSION  STAGE"),
        "{}",
        lines[0]
    );
    assert!(lines[1].contains("writing 43 %"), "{}", lines[1]);
    assert!(
        lines[2].contains("HM-AGENT-0044") && !lines[2].contains('\u{1b}'),
        "{}",
        lines[2]
    );
    let shown = server.run("provision show 3f9a").stdout;
    assert!(
        shown.contains("129 of 300")
            && !shown.contains("next")
            && shown.contains("/dev/nvme0n1, also where it is not blank"),
        "{shown}"
    );
}

#[test]
fn a_failure_is_shown_with_what_to_do_about_it() {
    let server = Server::start();
    server.installs();
    let shown = server.run("provision show 3f9b").stdout;
    assert!(
        shown.contains("HM-AGENT-0044") && shown.contains("assign a smaller image"),
        "{shown}"
    );
}

#[test]
fn an_assignment_is_tried_again_and_taken_back() {
    let server = Server::start();
    server.installs();
    assert_eq!(server.run("provision retry 3f9b --dry-run").code, 7);
    assert_eq!(server.fake().state().images[NODE_B].stage, "failed");
    assert_eq!(server.run("provision retry 3f9b --reason disk").code, 0);
    assert_eq!(server.fake().state().images[NODE_B].stage, "assigned");
    let unsure = server.run("provision remove 3f9a");
    assert_eq!((unsure.code, unsure.stdout.as_str()), (2, ""));
    assert!(server.fake().state().images.contains_key(NODE_A));
    assert_eq!(server.run("provision remove 3f9a --yes").code, 0);
    for line in [
        "provision show 3f9a",
        "provision retry 3f9a",
        "provision remove 3f9a --yes",
    ] {
        let refused = server.run(line);
        assert_eq!(refused.code, 6, "{line}");
        assert!(
            refused.stderr.starts_with("HM-REG-0096: "),
            "{line}: {}",
            refused.stderr
        );
    }
}
