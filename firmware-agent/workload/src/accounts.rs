//! Names of users and groups, from `/etc/passwd` and `/etc/group` alone.
//!
//! The C library's name service (LDAP, SSSD, systemd-homed …) is not asked: it would load foreign code
//! into the agent and can block for seconds. Accounts known only there have no `unix:user` and
//! `unix:group` selectors; use `unix:uid` and `unix:gid` for them.

use std::collections::HashMap;

/// The longest name that becomes a selector, in bytes (Linux allows 32 to useradd, 256 to files).
const MAX_NAME: usize = 256;

/// Names by id.
pub(crate) type Names = HashMap<u32, Box<str>>;

/// The names of an account file of the form `name:password:id:…`: passwd(5) or group(5). The first line of an id names
/// it, as getpwuid(3) has it.
pub(crate) fn names(text: &str) -> Names {
    let mut names = Names::new();
    for (name, id) in entries(text) {
        names.entry(id).or_insert_with(|| name.into());
    }
    names
}

/// User ids by login name; the first line of a name counts, as getpwnam(3) has it.
pub(crate) fn user_ids(text: &str) -> HashMap<Box<str>, u32> {
    let mut ids = HashMap::new();
    for (name, id) in entries(text) {
        ids.entry(name.into()).or_insert(id);
    }
    ids
}

fn entries(text: &str) -> impl Iterator<Item = (&str, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        // `+` and `-` begin the old NIS compatibility lines, which name nobody themselves.
        let named = !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with(['+', '-', '#']);
        Some((name, id.parse().ok()?)).filter(|_| named)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "root:x:0:0::/root:/bin/sh\ntoor:x:0:0\n+:x:5\n#c:x:6\n:x:7\na:x\nb:x:-1\nc:x:8x\nd:x:9\nd:x:10\n";

    #[test]
    fn the_first_name_of_an_id_wins_and_broken_lines_name_nobody() {
        let names = names(FILE);
        let mut found: Vec<_> = names.iter().map(|(id, name)| (*id, &**name)).collect();
        found.sort_unstable();
        assert_eq!(found, [(0, "root"), (9, "d"), (10, "d")]);
    }

    #[test]
    fn the_first_id_of_a_name_wins() {
        let ids = user_ids(FILE);
        let mut found: Vec<_> = ids.iter().map(|(name, id)| (&**name, *id)).collect();
        found.sort_unstable();
        assert_eq!(found, [("d", 9), ("root", 0), ("toor", 0)]);
    }
}
