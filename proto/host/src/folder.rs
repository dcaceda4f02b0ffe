//! Folders and files that only this process's user, or root, may change.

use std::{
    fs,
    fs::Metadata,
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::acl::{Rights, WRITE};

const ROOT: u32 = 0;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_ALL: u32 = 0o002;
/// More symbolic links than the kernel follows on one way (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Who else could change a file, or what is in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The file or folder that is open to others: the one asked for, or one on the way to it.
    pub place: PathBuf,
    /// Why.
    pub why: String,
}

/// What a folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Files that are read again: nobody else may make any.
    Files,
    /// One file or socket: others may put theirs beside it where they cannot take this one away, as in /tmp.
    OneEntry,
}

/// Looks for others than this process's user and root who may put something of their own in the place of what is in
/// `folder`: by writing to it, or by renaming it, a folder above it or a symbolic link on the way to it.
///
/// # Errors
/// The folder cannot be looked at.
pub fn foreign(folder: &Path, purpose: Purpose) -> io::Result<Option<Foreign>> {
    if let Some(found) = foreign_folder(&folder.canonicalize()?, purpose)? {
        return Ok(Some(found));
    }
    foreign_link(&std::path::absolute(folder)?, &mut 0)
}

/// Makes a folder where it is missing, with those above it, and looks for others as [`foreign`] does: before anything is made,
/// so that nothing is made where others led.
///
/// # Errors
/// The folder cannot be made or looked at.
pub fn make_folder(folder: &Path, mode: u32, purpose: Purpose) -> io::Result<Option<Foreign>> {
    let whole = std::path::absolute(folder)?;
    let is_missing = |place: &&Path| fs::symlink_metadata(place).is_err();
    let missing: Vec<&Path> = whole.ancestors().take_while(is_missing).collect();
    if let Some(there) = whole.ancestors().nth(missing.len())
        && let Some(found) = foreign(there, Purpose::OneEntry)?
    {
        return Ok(Some(found));
    }
    for place in missing.into_iter().rev() {
        match fs::DirBuilder::new().mode(mode).create(place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Where the folder above is sticky, somebody else may have been faster.
        if let Some(found) = foreign(place, Purpose::OneEntry)? {
            return Ok(Some(found));
        }
    }
    if !fs::metadata(&whole)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    foreign(&whole, purpose)
}

/// Looks for others than this process's user and root who may write to a file, or put another in its place.
///
/// # Errors
/// The file cannot be looked at.
pub fn foreign_file(file: &Path) -> io::Result<Option<Foreign>> {
    let writable = others_write(file, &fs::metadata(file)?)?;
    if let Some(why) = writable {
        let place = file.to_owned();
        return Ok(Some(Foreign { place, why }));
    }
    foreign_way(file)
}

/// Looks for others who may put another file in the place of this one, whatever they may do to the file itself.
pub(crate) fn foreign_way(file: &Path) -> io::Result<Option<Foreign>> {
    let real = file.canonicalize()?;
    let folder = real.parent().unwrap_or(&real);
    if let Some(found) = foreign_folder(folder, Purpose::OneEntry)? {
        return Ok(Some(found));
    }
    foreign_link(&std::path::absolute(file)?, &mut 0)
}

/// Whether a file or folder belongs to neither root nor this process's user.
pub(crate) fn other_owner(metadata: &Metadata) -> Option<String> {
    let us = rustix::process::geteuid().as_raw();
    (![ROOT, us].contains(&metadata.uid())).then(|| format!("it belongs to uid {}", metadata.uid()))
}

/// Who else may write, by owner, mode and access control list.
fn others_write(place: &Path, metadata: &Metadata) -> io::Result<Option<String>> {
    let mode = metadata.mode();
    if let Some(why) = other_owner(metadata) {
        return Ok(Some(why));
    }
    if mode & WRITABLE_BY_ALL != 0 {
        return Ok(Some(format!("everybody may write to it (mode {:04o})", mode & 0o7777)));
    }
    let rights = Rights::of(place, metadata)?;
    if rights.group & WRITE != 0 && metadata.gid() != ROOT {
        return Ok(Some(format!(
            "the group {} may write to it (mode {:04o})",
            metadata.gid(),
            mode & 0o7777
        )));
    }
    Ok((rights.named(WRITE)).map(|who| format!("its access control list lets {who} write to it")))
}

/// Who else may write to what will be made in a folder.
fn others_write_later(folder: &Path) -> io::Result<Option<String>> {
    let rights = Rights::of_new_files(folder)?;
    Ok((rights.named(WRITE)).map(|who| format!("its default access control list lets {who} write to new files")))
}

/// A folder without symbolic links in its path, and those above it.
fn foreign_folder(folder: &Path, purpose: Purpose) -> io::Result<Option<Foreign>> {
    for (depth, place) in folder.ancestors().enumerate() {
        let metadata = fs::metadata(place)?;
        // Where a folder is sticky, nobody takes away what belongs to another.
        let kept = metadata.mode() & STICKY != 0 && (depth > 0 || purpose == Purpose::OneEntry);
        let why = if kept {
            other_owner(&metadata)
        } else {
            others_write(place, &metadata)?
        };
        let why = match why {
            None if depth == 0 && purpose == Purpose::Files => others_write_later(place)?,
            why => why,
        };
        if let Some(why) = why {
            let place = place.to_owned();
            return Ok(Some(Foreign { place, why }));
        }
    }
    Ok(None)
}

/// The symbolic links on a way: each is root's or ours, in a folder where nobody else can replace it.
fn foreign_link(path: &Path, links: &mut usize) -> io::Result<Option<Foreign>> {
    for place in path.ancestors() {
        let metadata = fs::symlink_metadata(place)?;
        if !metadata.file_type().is_symlink() {
            continue;
        }
        *links += 1;
        if *links > MAX_LINKS {
            return Err(io::Error::other("too many symbolic links"));
        }
        if let Some(why) = other_owner(&metadata) {
            let place = place.to_owned();
            return Ok(Some(Foreign { place, why }));
        }
        let folder = place.parent().unwrap_or(Path::new("/"));
        let found = match foreign_folder(&folder.canonicalize()?, Purpose::OneEntry)? {
            None => foreign_link(&folder.join(fs::read_link(place)?), links)?,
            found => found,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;
    use crate::acl::tests::{let_another, let_another_by_default};

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn is_ours(path: &Path, purpose: Purpose) -> bool {
        foreign(path, purpose).unwrap().is_none()
    }

    #[test]
    fn a_folder_is_ours_if_nobody_else_may_change_what_is_in_it() {
        let stage = tempfile::tempdir().unwrap();
        let (above, folder) = (stage.path().join("above"), stage.path().join("above/folder"));
        fs::create_dir_all(&folder).unwrap();
        for (above_mode, mode, files, socket) in [
            (0o755, 0o700, true, true),
            (0o755, 0o755, true, true),
            (0o755, 0o777, false, false),
            (0o755, 0o1777, false, true),
            (0o777, 0o700, false, false),
            (0o1777, 0o700, true, true),
        ] {
            set(&above, above_mode);
            set(&folder, mode);
            assert_eq!(is_ours(&folder, Purpose::Files), files, "{above_mode:o} {mode:o}");
            assert_eq!(is_ours(&folder, Purpose::OneEntry), socket, "{above_mode:o} {mode:o}");
        }
    }

    #[test]
    fn a_folder_is_not_ours_if_an_access_control_list_lets_others_write() {
        let stage = tempfile::tempdir().unwrap();
        let (above, folder) = (stage.path().join("above"), stage.path().join("above/folder"));
        fs::create_dir_all(&folder).unwrap();
        for (above_rights, rights, by_default, files, socket) in [
            (0o5, 0o5, 0o5, true, true),
            (0o5, 0o7, 0o5, false, false),
            (0o7, 0o5, 0o5, false, false),
            (0o5, 0o5, 0o7, false, true),
        ] {
            let_another(&above, above_rights);
            let_another(&folder, rights);
            let_another_by_default(&folder, by_default);
            let told = (above_rights, rights, by_default);
            assert_eq!(is_ours(&folder, Purpose::Files), files, "{told:?}");
            assert_eq!(is_ours(&folder, Purpose::OneEntry), socket, "{told:?}");
        }
    }

    #[test]
    fn a_folder_of_another_user_or_below_one_is_not_ours() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let stage = tempfile::tempdir().unwrap();
        let (above, folder) = (stage.path().join("above"), stage.path().join("above/folder"));
        fs::create_dir_all(&folder).unwrap();
        let way = stage.path().join("way");
        symlink(&folder, &way).unwrap();
        for theirs in [&above, &folder] {
            assert!(is_ours(&way, Purpose::Files));
            chown(theirs, Some(54321), None).unwrap();
            assert!(!is_ours(&way, Purpose::Files) && !is_ours(&way, Purpose::OneEntry));
            chown(theirs, Some(0), None).unwrap();
        }
        chown(&folder, None, Some(54321)).unwrap();
        assert!(is_ours(&folder, Purpose::Files));
        set(&folder, 0o770);
        assert!(!is_ours(&folder, Purpose::Files));
    }

    #[test]
    fn nothing_is_made_where_others_led() {
        let stage = tempfile::tempdir().unwrap();
        let (open, ours) = (stage.path().join("open"), stage.path().join("ours"));
        for folder in [&open, &ours] {
            fs::create_dir(folder).unwrap();
        }
        symlink(&ours, open.join("way")).unwrap();
        set(&open, 0o777);
        for way in [open.join("way/made/deeper"), open.join("made")] {
            let found = make_folder(&way, 0o755, Purpose::Files).unwrap().unwrap();
            assert_eq!(found.place, open);
        }
        assert_eq!(fs::read_dir(&ours).unwrap().count(), 0, "nothing was made");
        set(&open, 0o755);
        for _ in 0..2 {
            assert_eq!(
                make_folder(&open.join("way/made/deeper"), 0o750, Purpose::Files).unwrap(),
                None
            );
        }
        let made = fs::metadata(ours.join("made/deeper")).unwrap();
        assert_eq!(made.mode() & 0o7777, 0o750);
        fs::write(ours.join("file"), "").unwrap();
        for no_folder in ["file", "file/below"] {
            let error = make_folder(&ours.join(no_folder), 0o755, Purpose::Files).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{no_folder}");
        }
    }

    #[test]
    fn a_link_that_others_can_replace_leads_nowhere() {
        let stage = tempfile::tempdir().unwrap();
        let (ours, open) = (stage.path().join("ours"), stage.path().join("open"));
        for folder in [&ours, &open] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(ours.join("file"), "").unwrap();
        // A link to a link to the folder, so that the outer one is only as good as the inner one.
        symlink(&ours, open.join("way")).unwrap();
        symlink(open.join("way"), stage.path().join("way")).unwrap();
        let ways = [
            open.join("way"),
            stage.path().join("way"),
            stage.path().join("ours/../way"),
        ];
        for (mode, good) in [(0o755, true), (0o777, false), (0o1777, true)] {
            set(&open, mode);
            for way in &ways {
                assert_eq!(is_ours(way, Purpose::Files), good, "{mode:o} {}", way.display());
                assert_eq!(foreign_file(&way.join("file")).unwrap().is_none(), good, "{mode:o}");
            }
            assert!(is_ours(&ours, Purpose::Files), "the control");
        }
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(open.join("way"), Some(54321), None).unwrap();
            assert!(ways.iter().all(|way| !is_ours(way, Purpose::Files)));
        }
    }

    #[test]
    fn a_file_is_ours_if_nobody_else_may_write_to_it_or_replace_it() {
        let stage = tempfile::tempdir().unwrap();
        let file = stage.path().join("file");
        fs::write(&file, "").unwrap();
        let good = || foreign_file(&file).unwrap().is_none();
        for (mode, expected) in [(0o600, true), (0o644, true), (0o646, false), (0o666, false)] {
            set(&file, mode);
            assert_eq!(good(), expected, "{mode:o}");
        }
        set(&file, 0o644);
        set(stage.path(), 0o777);
        assert!(!good());
        set(stage.path(), 0o700);
        assert!(good());
        let_another(&file, 0o4);
        assert!(good(), "another user may read it");
        let_another(&file, 0o6);
        assert!(!good(), "and write to it");
        let_another(&file, 0);
        let_another(stage.path(), 0o7);
        assert!(!good(), "and put another in its place");
        let_another(stage.path(), 0o5);
        assert!(good());
        fs::remove_file(&file).unwrap();
        fs::write(&file, "").unwrap();
        if rustix::process::geteuid().is_root() {
            set(&file, 0o664);
            assert!(good(), "root's own group");
            chown(&file, None, Some(54321)).unwrap();
            assert!(!good());
            set(&file, 0o644);
            chown(&file, Some(54321), None).unwrap();
            assert!(!good());
        }
    }
}
