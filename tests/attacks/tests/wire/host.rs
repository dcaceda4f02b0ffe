//! Attack 74: on the server's own machine. Another process of the server's user reads its memory; another user reads or
//! writes the PIN's file; another user holds the folder of the admin socket.

use crate::scene::lay_out;
use hallmark_kit::{Lab, binary};
use hallmark_verify::testing::VendorCa;
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Nobody's on any machine.
const OTHER: u32 = 54321;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Lets the other user do this to a file by its access control list, with the file's mode as it is shown.
fn grant(path: &Path, rights: u8) {
    let (owner, user, group, mask, others) = (0x01, 0x02, 0x04, 0x10, 0x20);
    let mut list = vec![2, 0, 0, 0];
    for (tag, rights, id) in [
        (owner, 6, u32::MAX),
        (user, rights, OTHER),
        (group, 0, u32::MAX),
        (mask, rights, u32::MAX),
        (others, 0, u32::MAX),
    ] {
        list.extend([tag, 0, rights, 0]);
        list.extend(id.to_le_bytes());
    }
    rustix::fs::setxattr(path, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty()).unwrap();
}

/// Makes everything below a folder the other user's.
fn give_away(folder: &Path) {
    let status = Command::new("chown")
        .arg("-R")
        .arg(OTHER.to_string())
        .arg(folder)
        .status();
    assert!(status.unwrap().success());
}

/// Whether a process of the other user can look into the memory of `pid`, which is one of its own, in two ways.
fn can_read(pid: u32) -> [bool; 2] {
    // Both ask the kernel for the same right: to trace it, and to read what is in it.
    let read = |file: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &OTHER.to_string(), "--clear-groups", "head", "-c", "1"]);
        let out = command.arg(format!("/proc/{pid}/{file}")).output().unwrap();
        out.status.success() && !out.stdout.is_empty()
    };
    [read("environ"), read("maps")]
}

#[test]
fn attack_74_another_process_of_the_servers_user_reads_its_memory() {
    if !geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o755);
    let mut lab = lay_out(folder.path(), &VendorCa::new());
    lab.build_node().unwrap();
    give_away(folder.path());
    let as_other = ["setpriv", "--reuid", "54321", "--clear-groups"].map(str::to_owned);
    lab.server().launch_through(as_other.to_vec());
    lab.start_server().unwrap();
    let read = can_read(lab.server().pid().unwrap());
    assert_eq!(read, [false, false], "the PIN is in there");
    // The control: a process of the same user that has nothing to hide.
    let mut open = Command::new("setpriv");
    open.args(["--reuid", "54321", "--clear-groups", "sleep", "1000"]);
    let mut open = open.stdout(Stdio::null()).spawn().unwrap();
    let start = std::time::Instant::now();
    while can_read(open.id()) != [true, true] {
        assert!(start.elapsed().as_secs() < 30, "the control is not readable");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    open.kill().unwrap();
    open.wait().unwrap();
}

/// What `hallmark-server config check` and a start say: their exit codes, and the codes that they tell.
fn told(lab: &mut Lab) -> (Option<i32>, String, Option<i32>) {
    let config = lab.server().config().to_string();
    fs::write(lab.server().config_file(), config).unwrap();
    let (file, token) = (lab.server().config_file(), lab.server().token().conf());
    let ask = |words: &[&str]| {
        let mut command = Command::new(binary("hallmark-server").unwrap());
        command.args(words).arg("--config").arg(&file);
        command.env("SOFTHSM2_CONF", &token).output().unwrap()
    };
    let checked = ask(&["config", "check"]);
    let said = String::from_utf8(checked.stderr).unwrap();
    let code = said.split(':').next().unwrap_or_default().to_owned();
    let started = if checked.status.success() {
        None
    } else {
        let started = ask(&["run"]);
        assert!(String::from_utf8(started.stderr).unwrap().starts_with(&code), "{code}");
        started.status.code()
    };
    (checked.status.code(), code, started)
}

#[test]
fn attack_74_a_pin_that_others_may_read_or_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = lay_out(folder.path(), &VendorCa::new());
    lab.build_node().unwrap();
    let pin = lab.server().token().pin_file();
    let good = (Some(0), String::new(), None);
    let exposed = (Some(2), "HM-CONF-0012".to_owned(), Some(2));
    for (mode, expected) in [
        (0o600, &good),
        (0o400, &good),
        (0o644, &exposed),
        (0o622, &exposed),
        (0o660, &exposed),
    ] {
        set_mode(&pin, mode);
        assert_eq!(&told(&mut lab), expected, "{mode:o}");
    }
    set_mode(&pin, 0o600);
    grant(&pin, 4);
    assert_eq!(fs::metadata(&pin).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(told(&mut lab), exposed, "an access control list lets another read it");
    grant(&pin, 0);
    assert_eq!(told(&mut lab), good, "and this one does not");
    set_mode(&pin, 0o600);
    if geteuid().is_root() {
        std::os::unix::fs::chown(&pin, Some(OTHER), None).unwrap();
        assert_eq!(told(&mut lab), exposed, "another user's");
        std::os::unix::fs::chown(&pin, Some(0), None).unwrap();
    }
    let open = pin.parent().unwrap().to_owned();
    set_mode(&open, 0o777);
    assert_eq!(told(&mut lab), exposed, "others can put theirs in its place");
    set_mode(&open, 0o755);
    assert_eq!(told(&mut lab), good);
}

#[test]
fn attack_74_a_configuration_and_roots_that_others_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = lay_out(folder.path(), &VendorCa::new());
    let root = folder.path().join("vendor.der");
    let good = (Some(0), String::new(), None);
    let exposed = (Some(2), "HM-CONF-0013".to_owned(), Some(2));
    assert_eq!(told(&mut lab), good);
    for file in [root, lab.server().config_file()] {
        set_mode(&file, 0o666);
        assert_eq!(told(&mut lab), exposed, "{}", file.display());
        set_mode(&file, 0o644);
        assert_eq!(told(&mut lab), good);
        grant(&file, 6);
        assert_eq!(
            told(&mut lab),
            exposed,
            "{}: by its access control list",
            file.display()
        );
        grant(&file, 4);
        assert_eq!(told(&mut lab), good);
    }
}

#[test]
fn attack_74_an_admin_socket_in_a_folder_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut lab = lay_out(folder.path(), &VendorCa::new());
    lab.build_node().unwrap();
    let home = lab.server().admin_socket().parent().unwrap().to_owned();
    fs::create_dir_all(&home).unwrap();
    let data = lab.server().folder().join("data");
    for (place, code) in [(&home, "HM-SRV-0019"), (&data, "HM-SRV-0018")] {
        set_mode(place, 0o777);
        let error = lab.start_server().expect_err("others may replace it");
        assert!(error.to_string().contains(code), "{error}");
        assert!(!lab.server().admin_socket().exists());
        set_mode(place, 0o750);
    }
    lab.start_server().unwrap();
}
