//! Manifests of disk images: one form each, and chunks that lie side by side.
#![no_main]

use hallmark_node::DiskImageManifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = DiskImageManifest::parse(bytes) {
        assert_eq!(manifest.to_string().as_bytes(), bytes);
        let mut end = 0;
        for chunk in manifest.chunks() {
            assert_eq!(chunk.offset, end);
            assert!((1..=DiskImageManifest::CHUNK_OCTETS).contains(&chunk.octets));
            end += chunk.octets;
        }
        assert_eq!(end, manifest.disk_octets());
    }
});
