//! The facts about a process that `/proc` shows, read with limits.

use std::fs::File;
use std::io::Read as _;

/// `/proc/PID/status` grows by up to eleven bytes per supplementary group, of which Linux allows
/// 65,536.
const MAX_STATUS: u64 = 1 << 20;
const MAX_STAT: u64 = 4096;
const USUAL_FILE: usize = 4096;

/// What `/proc/PID/status` says about who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// The effective user id.
    pub(crate) uid: u32,
    /// The effective group id.
    pub(crate) gid: u32,
    /// The supplementary groups, in the kernel's order.
    pub(crate) groups: Vec<u32>,
}

impl Status {
    /// Reads the status of a process.
    pub(crate) fn read(pid: i32) -> std::io::Result<Self> {
        let text = read_limited(&format!("/proc/{pid}/status"), MAX_STATUS)?;
        Self::parse(&text).ok_or_else(|| std::io::Error::other("unexpected form"))
    }

    /// The lines `Uid:` and `Gid:` carry real, effective, saved and filesystem ids (proc_pid_status(5)).
    fn parse(text: &str) -> Option<Self> {
        // A process chooses its own `Name:`; the kernel escapes line feeds in it, so no other line can
        // be forged, and the first one of each kind is the kernel's.
        let field = |label: &str| text.lines().find_map(|line| line.strip_prefix(label));
        let effective = |label| field(label)?.split_whitespace().nth(1)?.parse().ok();
        let groups = field("Groups:")?
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        Some(Self {
            uid: effective("Uid:")?,
            gid: effective("Gid:")?,
            groups,
        })
    }
}

/// The time a process started, in clock ticks since boot (field 22 of proc_pid_stat(5)).
pub(crate) fn start_time(pid: i32) -> std::io::Result<u64> {
    let text = read_limited(&format!("/proc/{pid}/stat"), MAX_STAT)?;
    parse_start_time(&text).ok_or_else(|| std::io::Error::other("unexpected form"))
}

/// The user namespace of a process, as `user:[number]`.
pub(crate) fn user_namespace(pid: i32) -> std::io::Result<String> {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/user"))?;
    Ok(link.to_string_lossy().into_owned())
}

/// The second field is the command in parentheses, which may itself hold spaces and parentheses:
/// counting starts behind the last one.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Reads a text file of at most `limit` bytes.
pub(crate) fn read_limited(path: &str, limit: u64) -> std::io::Result<String> {
    // Room for a usual file of /proc, so that one read takes it whole.
    let mut bytes = Vec::with_capacity(USUAL_FILE);
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > limit) {
        return Err(std::io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_ids_and_all_groups_are_taken() {
        let text = "Name:\tx\\nUid: 0 0 0 0\nUid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\nGroups:\t10 20 30 \n";
        let status = Status::parse(text).unwrap();
        assert_eq!(
            status,
            Status {
                uid: 1001,
                gid: 6,
                groups: vec![10, 20, 30]
            }
        );
        let lonely = Status::parse("Uid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\nGroups:\t\n").unwrap();
        assert!(lonely.groups.is_empty());
    }

    #[test]
    fn a_status_that_cannot_be_understood_is_refused() {
        for text in [
            "",
            "Uid:\t1\nGid:\t1\t1\nGroups:\n",
            "Uid:\t1\t1\nGid:\t1\t1\nGroups:\t1 x\n",
        ] {
            assert_eq!(Status::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_start_time() {
        let plain = "7 (sh) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 10 11";
        assert_eq!(parse_start_time(plain), Some(4242));
        assert_eq!(parse_start_time(&plain.replace("(sh)", "(a) S 1 (b c) d)")), Some(4242));
        assert_eq!(parse_start_time("7 (sh) S 1"), None);
    }

    #[test]
    fn our_own_facts_can_be_read() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(Status::read(me).unwrap().uid, rustix::process::geteuid().as_raw());
        assert!(start_time(me).unwrap() > 0);
    }
}
