//! A small disk that only one server sees.

use hallmark_kit::Process;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A file system in memory, in a mount namespace of its own. It goes with this value.
pub(crate) struct Disk {
    holder: Process,
    folder: PathBuf,
}

impl Disk {
    /// Mounts one of so many KiB over a folder; `None`, with a word on standard error, where the system allows no mount
    /// namespace, or only one in which / belongs to nobody: no server keeps its data below that.
    pub(crate) fn over(folder: &Path, kib: u32, log: &Path) -> Option<Self> {
        let possible = Command::new("unshare").args(["-rm", "true"]).output();
        let is_root = rustix::process::geteuid().is_root();
        if !is_root || !possible.is_ok_and(|out| out.status.success()) {
            // Not by a macro, whose words are kept back when a test passes.
            let _ = std::io::stderr()
                .write_all(b"skipped: no mount namespace of root's here, so no disk can be full or read-only\n");
            return None;
        }
        let script = r#"mount -t tmpfs -o "size=$1k,mode=755" none "$0" && echo mounted && exec sleep infinity"#;
        let arguments = ["-rm", "sh", "-c", script]
            .map(str::to_owned)
            .into_iter()
            .chain([folder.display().to_string(), kib.to_string()])
            .collect::<Vec<_>>();
        let mut holder = Process::start("unshare", Path::new("unshare"), &arguments, &[], log).unwrap();
        let said = |log: &Path| std::fs::read_to_string(log).is_ok_and(|log| log.contains("mounted"));
        holder.wait_until(Duration::from_secs(10), || said(log)).unwrap();
        let folder = folder.to_owned();
        Some(Self { holder, folder })
    }

    /// The program that becomes another one which sees the disk.
    pub(crate) fn launcher(&self) -> Vec<String> {
        let pid = self.holder.pid().to_string();
        [
            "nsenter",
            "--user",
            "--mount",
            "--preserve-credentials",
            "--target",
            &pid,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Where this test sees the disk.
    pub(crate) fn inside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        root.join(self.folder.strip_prefix("/").unwrap())
    }

    /// Leaves no room on it.
    pub(crate) fn fill(&self) {
        self.fill_but(0);
    }

    /// Leaves so many pages of 4 KiB on it.
    pub(crate) fn fill_but(&self, pages: u32) {
        let mut ballast = std::fs::File::create(self.inside().join("ballast")).unwrap();
        let mut written = 0_u32;
        while ballast.write_all(&[0; 4096]).is_ok() {
            written += 1;
        }
        assert!(written > pages, "it was full before");
        ballast.set_len(u64::from(written - pages) * 4096).unwrap();
    }

    /// Gives the room back.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.inside().join("ballast")).unwrap();
    }

    /// Mounts it anew, read-only ("ro") or not ("rw").
    pub(crate) fn remount(&self, mode: &str) {
        let mut launcher = self.launcher();
        let status = Command::new(launcher.remove(0))
            .args(launcher)
            .args(["mount", "-o", &format!("remount,{mode}")])
            .arg(&self.folder)
            .status();
        assert!(status.unwrap().success());
    }
}
