//! A machine installs itself: the real agent on a real TPM, against the real server, an image server on loopback, and a file as
//! its disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hallmark_kit::{Lab, LabOptions, Process, binary};
use hallmark_tpm_wire::HashAlg;
use serde_json::{Value, json};

const CHUNK: usize = 8 << 20;
const LIMIT: Duration = Duration::from_secs(120);

/// Files over HTTP; what is asked for behind the first chunk is held back until it is released.
struct ImageServer {
    url: String,
    is_held: Arc<AtomicBool>,
    is_reached: Arc<AtomicBool>,
}

impl ImageServer {
    fn start(files: HashMap<String, Vec<u8>>, held: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            url: format!("http://{}/manifest", listener.local_addr().unwrap()),
            is_held: Arc::new(AtomicBool::new(true)),
            is_reached: Arc::default(),
        };
        let (is_held, is_reached) = (Arc::clone(&server.is_held), Arc::clone(&server.is_reached));
        let files = Arc::new(files);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, held) = (Arc::clone(&files), held.clone());
                let (is_held, is_reached) = (Arc::clone(&is_held), Arc::clone(&is_reached));
                std::thread::spawn(move || {
                    answer(stream.unwrap(), &files, |name| {
                        if name == held && is_held.load(Ordering::SeqCst) {
                            is_reached.store(true, Ordering::SeqCst);
                            return false;
                        }
                        true
                    });
                });
            }
        });
        server
    }
}

/// Answers the requests of a connection; where `gives` says no, nothing comes any more.
fn answer(mut stream: TcpStream, files: &HashMap<String, Vec<u8>>, gives: impl Fn(&str) -> bool) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while let Some(Ok(first)) = lines.next() {
        let name = first
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        if !gives(&name) {
            std::thread::park();
        }
        let (status, content) = match files.get(&name) {
            Some(content) => ("200 OK", content.as_slice()),
            None => ("404 Not Found", [].as_slice()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", content.len());
        // A machine that loses its power asks no more.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(content));
    }
}

struct Site {
    lab: Lab,
    folder: tempfile::TempDir,
    disk: PathBuf,
    image: Vec<u8>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
        let options = LabOptions {
            folder: folder.path().join("l"),
            trust_domain: "example.org".into(),
            nodes: 0,
        };
        let mut lab = Lab::lay_out(options).unwrap();
        lab.server().set("attestation.tpm2", "approval", "one".into());
        lab.build_node().unwrap().write_config().unwrap();
        lab.start_server().unwrap();
        // Below /dev, as disks are.
        let disk = Path::new("/dev/shm").join(format!("hallmark-install-{}", std::process::id()));
        let file = fs::File::create(&disk).unwrap();
        file.set_len(u64::try_from(4 * CHUNK).unwrap()).unwrap();
        Self {
            lab,
            folder,
            disk,
            image: image(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The image's files, signed; and what the machine knows of its signers and its firmware.
    fn publish(&self) -> ImageServer {
        let chunks: Vec<_> = self
            .image
            .chunks(CHUNK)
            .map(|chunk| (hex(chunk), chunk.to_vec()))
            .collect();
        let digests: String = chunks.iter().map(|(digest, _)| format!("{digest}\n")).collect();
        let manifest = format!(
            "hallmark-disk-image 1\nimage=hallmark-edge\nversion=1\ndisk_octets={}\nchunk_octets={CHUNK}\nchunks={}\n{digests}",
            self.image.len(),
            chunks.len()
        );
        fs::write(self.at("manifest"), &manifest).unwrap();
        let [key, certificate] = ["key.pem", "signers/image.pem"].map(|name| self.at(name));
        fs::create_dir(self.at("signers")).unwrap();
        fs::create_dir(self.at("variables")).unwrap();
        let order = self.at("variables/BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c");
        fs::write(order, [7, 0, 0, 0]).unwrap();
        let words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=images";
        openssl(
            &words.split(' ').collect::<Vec<_>>(),
            &[("-keyout", &key), ("-out", &certificate)],
        );
        let signature = self.at("manifest.sig");
        let manifest_file = self.at("manifest");
        openssl(
            &["dgst", "-sha256"],
            &[("-sign", &key), ("-out", &signature), ("", &manifest_file)],
        );
        let signed = [
            ("manifest".to_owned(), manifest.into_bytes()),
            ("manifest.sig".to_owned(), fs::read(signature).unwrap()),
        ];
        let held = chunks[2].0.clone();
        ImageServer::start(chunks.into_iter().chain(signed).collect(), held)
    }

    /// The machine, started over the network.
    fn machine(&mut self) -> Process {
        let words = [
            "provision".to_owned(),
            "--config".to_owned(),
            self.lab.node(0).unwrap().config_file().display().to_string(),
            "--signers".to_owned(),
            self.at("signers").display().to_string(),
            "--firmware-variables".to_owned(),
            self.at("variables").display().to_string(),
        ];
        let (program, log) = (binary("hallmark-agent").unwrap(), self.at("console"));
        Process::start("hallmark-agent", &program, &words, &[], &log).unwrap()
    }

    fn operator(&mut self, words: &[&str]) -> Vec<u8> {
        let out = hallmark_kit::hallmark(&self.lab.server().admin_socket(), words).unwrap();
        assert!(
            out.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        out.stdout
    }

    fn json(&mut self, words: &[&str]) -> Value {
        serde_json::from_slice(&self.operator(&[words, &["-o", "json"]].concat())).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.disk);
    }
}

fn openssl(words: &[&str], files: &[(&str, &Path)]) {
    let mut openssl = Command::new("openssl");
    openssl.args(words);
    for (option, file) in files {
        openssl
            .args(Some(*option).filter(|option| !option.is_empty()))
            .arg(file);
    }
    let done = openssl.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn hex(bytes: &[u8]) -> String {
    HashAlg::Sha256
        .digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Three chunks, and a partition table with an EFI system partition (UEFI specification 2.10, 5.3).
fn image() -> Vec<u8> {
    let mut image: Vec<u8> = (0..2 * CHUNK + 4096)
        .map(|at| u8::try_from(at / CHUNK + 1).unwrap())
        .collect();
    image[..34 * 512].fill(0);
    image[512..520].copy_from_slice(b"EFI PART");
    image[512 + 72] = 2;
    image[512 + 80] = 128;
    image[512 + 84] = 128;
    let system = [
        0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
    ];
    image[1024..1040].copy_from_slice(&system);
    image[1024 + 33] = 8;
    image[1024 + 41] = 9;
    image
}

fn baseline(folder: &Path) -> String {
    let file = folder.join("edge.json");
    let baseline = json!({
        "version": 1, "name": "edge", "serial": 1, "state": "active", "created_at": 1,
        "origin": {"predicted": {"uki_sha256": "00", "firmware_variables_sha256": null, "earlier_images_sha256": []}},
        "registers": {"sha256:4": [hex(b"the boot loader on the disk")]}, "boots": [],
    });
    fs::write(&file, baseline.to_string()).unwrap();
    file.display().to_string()
}

#[test]
fn a_machine_that_was_approved_installs_itself_and_goes_on_after_a_power_cut() {
    let mut site = Site::new();
    let images = site.publish();
    let node = site.lab.node(0).unwrap().agent_id().unwrap();
    let mut machine = site.machine();
    let waits_for = |machine: &mut Process, words: &str| {
        let log = machine.log_path().to_owned();
        let is_there = || fs::read_to_string(&log).unwrap_or_default().contains(words);
        machine.wait_until(LIMIT, is_there).unwrap();
    };
    waits_for(&mut machine, "this machine waits for an operator's approval");
    waits_for(&mut machine, &format!("hallmark node approve {node}"));
    site.operator(&["node", "approve", &node, "--reason", "rack 7"]);
    waits_for(&mut machine, &format!("hallmark provision assign {node}"));

    let baseline = baseline(site.folder.path());
    site.operator(&["baseline", "promote", &baseline, "--yes", "--reason", "a new image"]);
    let (manifest, disk) = (
        site.at("manifest").display().to_string(),
        site.disk.display().to_string(),
    );
    let assign = [
        "provision",
        "assign",
        &node,
        "--manifest",
        &manifest,
        "--url",
        &images.url,
    ];
    site.operator(&[&assign[..], &["--baseline", "edge", "--disk", &disk, "--yes"]].concat());
    machine
        .wait_until(LIMIT, || images.is_reached.load(Ordering::SeqCst))
        .unwrap();
    assert_eq!(site.json(&["provision", "show", &node])["stage"], "writing");
    machine.kill();
    let on_disk = fs::read(&site.disk).unwrap();
    assert!(
        on_disk[CHUNK..2 * CHUNK] == site.image[CHUNK..2 * CHUNK] && on_disk[..CHUNK].iter().all(|octet| *octet == 0)
    );

    images.is_held.store(false, Ordering::SeqCst);
    let mut machine = site.machine();
    let ended = machine.wait_exit(LIMIT).unwrap();
    assert!(ended.success(), "{ended}: {}", machine.log());
    let on_disk = fs::read(&site.disk).unwrap();
    assert!(on_disk[..site.image.len()] == site.image, "the disk holds the image");
    assert!(
        machine
            .log()
            .contains("3 chunks were written and read back, 2 of them fetched now"),
        "{}",
        machine.log()
    );
    let order = fs::read(site.at("variables/BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c")).unwrap();
    assert_eq!(order, [7, 0, 0, 0, 0, 0]);
    let shown = site.json(&["provision", "show", &node]);
    assert_eq!((&shown["stage"], &shown["code"]), (&json!("restarting"), &json!("")));
}
