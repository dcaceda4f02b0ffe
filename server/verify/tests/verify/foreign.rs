//! Certificates of real vendors, read from where the environment variable HALLMARK_FOREIGN_VECTORS says. They are not
//! part of this repository; where they are absent, the tests say so and check nothing.

use std::path::PathBuf;

use hallmark_reason::Coded;
use hallmark_verify::EkRoots;

/// The files of a folder, by name; `None` where there are none, said aloud.
fn files(folder: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let Some(base) = std::env::var_os("HALLMARK_FOREIGN_VECTORS") else {
        eprintln!("SKIPPED: HALLMARK_FOREIGN_VECTORS is not set, no vendor certificate was read");
        return None;
    };
    let mut files: Vec<_> = std::fs::read_dir(PathBuf::from(base).join(folder))
        .expect("HALLMARK_FOREIGN_VECTORS names the folder that holds ek-roots and ek-certs")
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    Some(files)
}

#[test]
fn vendor_roots_are_taken_or_named() {
    let Some(files) = files("ek-roots") else { return };
    let mut roots = EkRoots::default();
    let mut refused = Vec::new();
    for (name, file) in &files {
        match roots.add(name, file) {
            Ok(_) => {}
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(name.as_str()), "{text}");
                eprintln!("{}: {text}", error.code());
                refused.push(name.clone());
            }
        }
    }
    eprintln!("{} files, {} roots, refused: {refused:?}", files.len(), roots.len());
    assert!(roots.len() > files.len() / 2, "most vendor certificates are good");
}
