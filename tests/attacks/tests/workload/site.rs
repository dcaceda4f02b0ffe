//! A Workload API, and programs of other users beside it.

use hallmark_agent::workload_api::Bounds;
use hallmark_interop::WorkloadAgent;
use hallmark_workload::{UnixConfig, Users};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The interpreter that every user may run.
const PYTHON: &str = "/usr/bin/python3";

/// Users that nobody is.
const SOMEBODY: u32 = 54321;
pub(crate) const SOMEBODY_ELSE: u32 = 54322;

pub(crate) fn is_root() -> bool {
    fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("Uid:\t0\t"))
}

/// A running Workload API that tells binaries, with a folder that every user may enter.
pub(crate) struct Site {
    pub(crate) agent: WorkloadAgent,
}

impl Site {
    pub(crate) fn start(users: Users, bounds: Bounds) -> Self {
        let both = UnixConfig {
            path: true,
            sha256: true,
        };
        let agent = WorkloadAgent::start_with(both, users, bounds).unwrap();
        fs::set_permissions(agent.folder(), Permissions::from_mode(0o755)).unwrap();
        fs::write(agent.folder().join("caller.py"), include_str!("caller.py")).unwrap();
        fs::write(agent.folder().join("silent.py"), include_str!("silent.py")).unwrap();
        Self { agent }
    }

    /// A copy of a program, that every user may run.
    pub(crate) fn copy(&self, program: &str, name: &str) -> PathBuf {
        let to = self.agent.folder().join(name);
        // In a process of its own: what this one has open for writing cannot be run by a child of another test.
        let from = fs::canonicalize(program).unwrap();
        assert!(Command::new("cp").arg(from).arg(&to).status().unwrap().success());
        fs::set_permissions(&to, Permissions::from_mode(0o755)).unwrap();
        to
    }

    /// `caller.py` under this interpreter. As root, it runs as a user that is nobody else, but where it changes its user
    /// by itself.
    pub(crate) fn caller(&self, interpreter: &Path, program: &Path, way: &str, count: usize) -> Command {
        let mut command = if is_root() && ["connect", "demoted"].contains(&way) {
            self.script("caller.py", Command::new(interpreter))
        } else {
            self.script_of(SOMEBODY, "caller.py", interpreter)
        };
        command
            .arg(self.agent.socket())
            .arg(program)
            .arg(way)
            .arg(count.to_string());
        command
    }

    /// A script under this interpreter. As root, it runs as this user.
    pub(crate) fn script_of(&self, user: u32, script: &str, interpreter: &Path) -> Command {
        let mut command = Command::new(interpreter);
        if is_root() {
            command = Command::new("setpriv");
            command.args([
                format!("--reuid={user}"),
                format!("--regid={user}"),
                "--clear-groups".into(),
            ]);
            command.arg(interpreter);
        }
        self.script(script, command)
    }

    fn script(&self, script: &str, mut command: Command) -> Command {
        command.arg(self.agent.folder().join(script));
        command.env("PYTHONHOME", "/usr").env("PYTHONDONTWRITEBYTECODE", "1");
        command.current_dir("/").stdout(Stdio::piped());
        command
    }

    /// How many of so many callers were given an SVID.
    pub(crate) async fn given(&self, interpreter: &Path, program: &Path, way: &str, times: usize) -> usize {
        let mut command = self.caller(interpreter, program, way, times);
        let out = tokio::task::spawn_blocking(move || command.spawn().unwrap().wait_with_output().unwrap())
            .await
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{way}: {text}");
        text.trim().parse().unwrap()
    }

    pub(crate) fn python() -> &'static Path {
        Path::new(PYTHON)
    }
}
