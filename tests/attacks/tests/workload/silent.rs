//! Attack 76: what a caller leaves for the agent to wait for keeps nobody else waiting.

use crate::site::{SOMEBODY_ELSE, Site, is_root};
use hallmark_agent::workload_api::Bounds;
use hallmark_spiffe::Selector;
use hallmark_workload::Users;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;
use tokio::time::timeout;

/// Another user is served within this.
const SOON: Duration = Duration::from_secs(5);

/// Somebody has the agent wait in `way`; the honest program is served all the same.
async fn waited(way: &str) {
    let site = Site::start(Users::of_this_machine(), Bounds::default());
    let program = site.copy("/usr/bin/python3", "program");
    let mut entry = site.agent.entry("program", 1).unwrap();
    let path = format!("unix:path:{}", program.display());
    entry.selectors = [Selector::parse(&path).unwrap()].into();
    site.agent.publish([entry]).unwrap();
    let served = async || site.given(&program, &program, "honest", 1).await;
    assert_eq!(timeout(SOON, served()).await, Ok(1), "the control: before");

    let mut somebody = site.script_of(SOMEBODY_ELSE, "silent.py", Site::python());
    somebody.arg(site.agent.socket()).arg(way).stdin(Stdio::piped());
    let mut somebody = somebody.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(somebody.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "done\n", "{way} was not tried");
    for _ in 0..3 {
        assert_eq!(timeout(SOON, served()).await, Ok(1), "{way}");
    }
    drop(somebody.stdin.take());
    assert!(somebody.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_76_descriptors_whose_close_waits() {
    waited("linger").await;
    waited("linger-and-go").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_76_frames_that_are_no_calls() {
    waited("pings").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_76_a_program_whose_file_system_never_answers() {
    // Only as root is there a second user; without its device nobody has FUSE.
    if is_root() && std::path::Path::new("/dev/fuse").exists() {
        waited("file-system").await;
    }
}
