//! Access control lists (acl(5)): users and groups that a file's owner, group and mode do not show.

use std::{fs::File, fs::Metadata, io, os::unix::fs::MetadataExt as _, path::Path};

use rustix::{
    fs::{fgetxattr, getxattr},
    io::Errno,
};

/// What may be done to a file; the bits of a mode, and of a list's entries.
pub(crate) const READ: u16 = 0o4;
pub(crate) const WRITE: u16 = 0o2;
pub(crate) const ANY: u16 = 0o7;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
/// No extended attribute is larger (xattr(7)).
const LARGEST: usize = 1 << 16;

/// The form of a list as an attribute: `linux/posix_acl_xattr.h`.
const VERSION: [u8; 4] = [2, 0, 0, 0];
const NAMED_USER: u16 = 0x02;
const GROUP: u16 = 0x04;
const NAMED_GROUP: u16 = 0x08;
const MASK: u16 = 0x10;

/// What those beside a file's owner may do to it, everybody aside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Its group. Where there is a list, the mode shows the list's mask in the group's place.
    pub(crate) group: u16,
    /// Further ones, but for root and this process's user.
    named: Vec<(String, u16)>,
}

impl Rights {
    /// Of what a path leads to.
    pub(crate) fn of(path: &Path, metadata: &Metadata) -> io::Result<Self> {
        let list = read(|buffer| getxattr(path, ACCESS, buffer))?;
        Self::by(list.as_deref(), metadata)
    }

    /// Of an open file.
    pub(crate) fn of_file(file: &File, metadata: &Metadata) -> io::Result<Self> {
        let list = read(|buffer| fgetxattr(file, ACCESS, buffer))?;
        Self::by(list.as_deref(), metadata)
    }

    /// Of what will be made in a folder.
    pub(crate) fn of_new_files(folder: &Path) -> io::Result<Self> {
        match read(|buffer| getxattr(folder, DEFAULT, buffer))? {
            Some(list) => Self::parse(&list),
            None => Ok(Self {
                group: 0,
                named: Vec::new(),
            }),
        }
    }

    fn by(list: Option<&[u8]>, metadata: &Metadata) -> io::Result<Self> {
        let of_mode = u16::try_from((metadata.mode() >> 3) & u32::from(ANY)).map_err(io::Error::other)?;
        match list {
            Some(list) => Self::parse(list),
            None => Ok(Self {
                group: of_mode,
                named: Vec::new(),
            }),
        }
    }

    fn parse(list: &[u8]) -> io::Result<Self> {
        let unknown = || io::Error::other("its access control list has an unknown form");
        let (entries, []) = list.strip_prefix(&VERSION).ok_or_else(unknown)?.as_chunks::<8>() else {
            return Err(unknown());
        };
        let us = rustix::process::geteuid().as_raw();
        let (mut group, mut mask, mut named) = (0, ANY, Vec::new());
        for [tag_low, tag_high, low, high, id @ ..] in entries {
            let (rights, id) = (u16::from_le_bytes([*low, *high]), u32::from_le_bytes(*id));
            match u16::from_le_bytes([*tag_low, *tag_high]) {
                NAMED_USER if ![0, us].contains(&id) => named.push((format!("user {id}"), rights)),
                NAMED_GROUP if id != 0 => named.push((format!("group {id}"), rights)),
                GROUP => group = rights,
                MASK => mask = rights,
                _ => {}
            }
        }
        for (_, rights) in &mut named {
            *rights &= mask;
        }
        Ok(Self {
            group: group & mask,
            named,
        })
    }

    /// The first one beside the group who may do one of the `wanted` things.
    pub(crate) fn named(&self, wanted: u16) -> Option<&str> {
        let mut able = self.named.iter().filter(|(_, rights)| rights & wanted != 0);
        able.next().map(|(who, _)| who.as_str())
    }
}

/// A list, where there is one.
fn read(attribute: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> io::Result<Option<Vec<u8>>> {
    let mut list = vec![0; LARGEST];
    match attribute(&mut list) {
        Ok(length) => {
            list.truncate(length);
            Ok(Some(list))
        }
        // Without a list, or on a file system without lists.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rustix::fs::{XattrFlags, setxattr};

    use super::*;

    const OTHER: u16 = 0x20;
    const OWNER: u16 = 0x01;
    const NOBODY: u32 = u32::MAX;

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut list = VERSION.to_vec();
        for (tag, rights, id) in entries {
            list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
            list.extend(id.to_le_bytes());
        }
        list
    }

    fn with(named: (u16, u16, u32), mask: u16) -> Vec<u8> {
        let (tag, ..) = named;
        let group = (GROUP, 0, NOBODY);
        let mut entries = vec![(OWNER, 7, NOBODY)];
        entries.extend(if tag == NAMED_USER {
            [named, group]
        } else {
            [group, named]
        });
        entries.extend([(MASK, mask, NOBODY), (OTHER, 0, NOBODY)]);
        list(&entries)
    }

    /// Lets another user do this to a file, as `setfacl -m u:54321:…` does.
    pub(crate) fn let_another(path: &Path, rights: u16) {
        let value = with((NAMED_USER, rights, 54321), rights);
        setxattr(path, ACCESS, &value, XattrFlags::empty()).unwrap();
    }

    /// The same to whatever will be made in a folder.
    pub(crate) fn let_another_by_default(path: &Path, rights: u16) {
        let value = with((NAMED_USER, rights, 54321), rights);
        setxattr(path, DEFAULT, &value, XattrFlags::empty()).unwrap();
    }

    #[test]
    fn the_mask_bounds_what_is_granted() {
        let named = |list: &[u8], wanted| Rights::parse(list).unwrap().named(wanted).map(str::to_owned);
        assert_eq!(named(&with((NAMED_USER, 6, 7), 7), WRITE), Some("user 7".into()));
        assert_eq!(named(&with((NAMED_GROUP, 6, 7), 7), READ), Some("group 7".into()));
        assert_eq!(named(&with((NAMED_USER, 6, 7), 5), WRITE), None);
        assert_eq!(named(&with((NAMED_USER, 6, 7), 0), ANY), None);
        let us = rustix::process::geteuid().as_raw();
        for nobody_else in [(NAMED_USER, 7, 0), (NAMED_USER, 7, us), (NAMED_GROUP, 7, 0)] {
            assert_eq!(named(&with(nobody_else, 7), ANY), None, "{nobody_else:?}");
        }
        let group = list(&[(GROUP, 7, NOBODY), (MASK, 5, NOBODY)]);
        assert_eq!(Rights::parse(&group).unwrap().group, 5);
    }

    #[test]
    fn an_unknown_form_is_refused() {
        let good = with((NAMED_USER, 6, 7), 7);
        assert!(Rights::parse(&good).is_ok());
        let mut newer = good.clone();
        newer[0] = 3;
        for bad in [&newer[..], &good[..good.len() - 1], &[]] {
            assert!(Rights::parse(bad).is_err(), "{bad:?}");
        }
    }
}
