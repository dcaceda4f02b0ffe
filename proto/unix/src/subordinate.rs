//! Whose a subordinate user id is: `/etc/subuid` (subuid(5)).
//!
//! A user that has a range there can be every user id in it, in a user namespace of its own. To whoever looks from
//! outside, these are as many different users.

use std::collections::{BTreeMap, BTreeSet};

/// How far the owner of an owner is followed. Deeper nesting is no machine's.
const MAX_DEPTH: usize = 16;

/// One line: `owner:first:count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubordinateRange<'a> {
    /// A login name, or a user id in digits.
    pub owner: &'a str,
    /// The first user id.
    pub first: u32,
    /// The last one.
    pub last: u32,
}

impl SubordinateRange<'_> {
    /// Whether the user id is in it.
    #[must_use]
    pub fn contains(&self, uid: u32) -> bool {
        (self.first..=self.last).contains(&uid)
    }
}

/// The ranges of a file of the form of subuid(5). Lines that are none give nothing to anybody, as to newuidmap(1); what
/// reaches beyond the last user id ends there.
pub fn subordinate_ranges(text: &str) -> impl Iterator<Item = SubordinateRange<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (owner, first, count) = (fields.next()?.trim(), fields.next()?, fields.next()?);
        let (first, count) = (first.trim().parse().ok()?, count.trim().parse::<u64>().ok()?);
        let beyond = count.checked_sub(1)?.saturating_add(u64::from(first));
        let whole = !owner.is_empty() && !owner.starts_with('#') && fields.next().is_none();
        whole.then(|| SubordinateRange {
            owner,
            first,
            last: u32::try_from(beyond).unwrap_or(u32::MAX),
        })
    })
}

/// Every subordinate user id, with whom it counts as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubordinateIds {
    /// Disjoint, in order.
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    first: u32,
    last: u32,
    /// `None` where ranges of several owners overlap.
    owner: Option<u32>,
}

impl SubordinateIds {
    /// Takes the ranges together. `uid_of` finds the user id of a login name; an owner whom it does not know stands for
    /// itself, under the first user id of its first range.
    #[must_use]
    pub fn new<'a>(
        ranges: impl IntoIterator<Item = SubordinateRange<'a>>,
        mut uid_of: impl FnMut(&str) -> Option<u32>,
    ) -> Self {
        let mut owners: BTreeMap<&str, u32> = BTreeMap::new();
        // Where which owners' ranges begin (true) and are over (false).
        let mut edges: BTreeMap<u64, Vec<(bool, u32)>> = BTreeMap::new();
        for range in ranges {
            let owner = *(owners.entry(range.owner))
                .or_insert_with_key(|name| uid_of(name).or_else(|| name.parse().ok()).unwrap_or(range.first));
            edges.entry(range.first.into()).or_default().push((true, owner));
            let over = u64::from(range.last) + 1;
            edges.entry(over).or_default().push((false, owner));
        }
        Self {
            segments: segments(&edges),
        }
    }

    /// The user whom a user id counts as: itself, or the owner of the range that it is in, and that one's owner if need
    /// be. Where ranges of several owners overlap it counts as a user of its own, the same one for the whole overlap:
    /// nobody can take another's share through it.
    #[must_use]
    pub fn counts_as(&self, uid: u32) -> u32 {
        let mut way = BTreeSet::from([uid]);
        let mut at = uid;
        while let Some(segment) = self.segment(at) {
            at = segment.owner.unwrap_or(segment.first);
            if segment.owner.is_none() || way.len() > MAX_DEPTH {
                return at;
            }
            if !way.insert(at) {
                // Owners in a circle are one user, whoever of them is asked about.
                return self.circle(at);
            }
        }
        at
    }

    /// Whether some other user can be this one.
    #[must_use]
    pub fn is_subordinate(&self, uid: u32) -> bool {
        self.segment(uid).is_some_and(|segment| segment.owner != Some(uid))
    }

    /// The lowest of the owners that own one another in a circle.
    fn circle(&self, start: u32) -> u32 {
        let next = |uid| self.segment(uid).and_then(|segment| segment.owner);
        let round = std::iter::successors(next(start), |uid| next(*uid).filter(|_| *uid != start));
        round.take(MAX_DEPTH).min().unwrap_or(start)
    }

    fn segment(&self, uid: u32) -> Option<&Segment> {
        let behind = self.segments.partition_point(|segment| segment.first <= uid);
        let segment = self.segments.get(behind.checked_sub(1)?)?;
        (uid <= segment.last).then_some(segment)
    }
}

/// Cuts the ranges where one begins or is over, so that each piece has the same owners throughout; pieces beside each
/// other that are one owner's, or several owners', are one.
fn segments(edges: &BTreeMap<u64, Vec<(bool, u32)>>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut open: BTreeMap<u32, u32> = BTreeMap::new();
    let ends = edges.keys().skip(1);
    for ((first, changes), end) in edges.iter().zip(ends) {
        for (begins, owner) in changes {
            let count = open.entry(*owner).or_default();
            *count = if *begins { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                open.remove(owner);
            }
        }
        let (Ok(first), Ok(last)) = (u32::try_from(*first), u32::try_from(end - 1)) else {
            continue;
        };
        let mut owners = open.keys();
        let owner = match (owners.next(), owners.next()) {
            (None, _) => continue,
            (Some(owner), None) => Some(*owner),
            (Some(_), Some(_)) => None,
        };
        match segments.last_mut() {
            Some(before) if before.owner == owner && before.last.checked_add(1) == Some(first) => before.last = last,
            _ => segments.push(Segment { first, last, owner }),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(text: &str) -> SubordinateIds {
        let known = [("root", 0), ("alice", 1000), ("bob", 1001), ("alias", 1000)];
        SubordinateIds::new(subordinate_ranges(text), |name| {
            known.iter().find(|(known, _)| *known == name).map(|(_, uid)| *uid)
        })
    }

    #[test]
    fn lines_are_read_as_newuidmap_reads_them() {
        let text = "alice:100000:65536\n# x:1:2\n\nbob:200000\nbob:x:5\nbob:1:0\nbob:1:-1\n:1:2\na:1:2:3\n 1001 : 7 : 1 \nz:4294967295:9\n";
        let read: Vec<_> = subordinate_ranges(text).map(|r| (r.owner, r.first, r.last)).collect();
        assert_eq!(
            read,
            [("alice", 100_000, 165_535), ("1001", 7, 7), ("z", u32::MAX, u32::MAX)]
        );
    }

    #[test]
    fn a_subordinate_id_counts_as_its_owner() {
        let ids = map("alice:100000:65536\n1001:165536:65536\nalias:300000:10\nroot:400000:10\n");
        for (uid, owner) in [
            (0, 0),
            (1000, 1000),
            (99_999, 99_999),
            (100_000, 1000),
            (165_535, 1000),
            (165_536, 1001),
            (231_071, 1001),
            (231_072, 231_072),
            (300_009, 1000),
            (400_000, 0),
            (65_534, 65_534),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(ids.counts_as(uid), owner, "{uid}");
            assert_eq!(ids.is_subordinate(uid), uid != owner, "{uid}");
        }
    }

    #[test]
    fn an_owner_without_an_account_is_one_user_with_all_its_ranges() {
        let ids = map("nobody-knows:100000:10\nother:200000:10\nnobody-knows:300000:10\n");
        assert_eq!(ids.counts_as(100_009), 100_000);
        assert_eq!(ids.counts_as(300_005), 100_000);
        assert_eq!(ids.counts_as(200_005), 200_000);
        // Another user can be it all the same.
        assert!(ids.is_subordinate(100_001) && ids.is_subordinate(300_000));
    }

    #[test]
    fn an_overlap_is_nobodys_share() {
        let ids = map("alice:100000:100\nbob:100050:100\nalice:500:10\nalice:505:10\n");
        assert_eq!(ids.counts_as(100_049), 1000);
        assert_eq!(ids.counts_as(100_050), 100_050);
        assert_eq!(ids.counts_as(100_099), 100_050);
        assert_eq!(ids.counts_as(100_100), 1001);
        assert!(ids.is_subordinate(100_050) && ids.is_subordinate(100_051));
        // One owner's own lines may overlap.
        assert_eq!(ids.counts_as(507), 1000);
        assert_eq!(ids.segments.len(), 4);
    }

    #[test]
    fn owners_of_owners_are_followed_and_circles_end() {
        let nested = map("alice:100000:65536\n100000:200000:10\n200001:300000:10\n");
        assert_eq!(nested.counts_as(300_001), 1000);
        let circle = map("alice:1001:1\nbob:1000:1\nbob:5000:10\n");
        for uid in [1000, 1001, 5003] {
            assert_eq!(circle.counts_as(uid), 1000, "{uid}");
        }
        assert!(circle.is_subordinate(1000) && circle.is_subordinate(1001));
        let own = map("alice:1000:65536\n");
        assert!(!own.is_subordinate(1000), "nobody else can be alice");
        assert_eq!((own.counts_as(1000), own.counts_as(1001)), (1000, 1000));
        assert!(own.is_subordinate(1001), "alice can be bob");
        let mut chain = String::new();
        for uid in 1..200 {
            chain.push_str(&format!("{}:{uid}:1\n", uid + 1));
        }
        assert!(
            map(&chain).counts_as(1) > 10,
            "a chain without end is not followed to its end"
        );
    }

    proptest! {
        #[test]
        fn every_id_counts_as_one_user_and_ids_outside_as_themselves(
            lines in prop::collection::vec((0_u32..40, 0_u32..40, 0_u32..12), 0..12),
            uid in 0_u32..60,
        ) {
            let text: String = lines.iter().map(|(owner, first, count)| format!("{owner}:{first}:{count}\n")).collect();
            let ids = map(&text);
            prop_assert!(ids.segments.windows(2).all(|pair| pair[0].last < pair[1].first));
            let covering: BTreeSet<u32> = subordinate_ranges(&text)
                .filter(|range| range.contains(uid))
                .map(|range| range.owner.parse().unwrap())
                .collect();
            prop_assert_eq!(ids.is_subordinate(uid), covering.iter().any(|owner| *owner != uid));
            if covering.is_empty() {
                prop_assert_eq!(ids.counts_as(uid), uid);
            } else if let [owner] = *covering.iter().collect::<Vec<_>>() {
                prop_assert_eq!(ids.counts_as(uid), ids.counts_as(*owner));
            }
        }
    }
}
