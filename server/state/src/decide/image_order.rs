//! Whether an image can be assigned as an operator asks.

use hallmark_node::{DiskImageManifest, ImageUrl};

use crate::{ImageOrder, ProvisionError};

/// The longest name of a disk, in bytes.
const MAX_DISK: usize = 255;
/// The longest name of a baseline, in bytes.
const MAX_BASELINE: usize = 255;

/// Refuses values that no machine could use, or that would read as something else.
///
/// # Errors
/// [`ProvisionError::Order`] with the first one.
pub(super) fn check(order: &ImageOrder) -> Result<(), ProvisionError> {
    let name = || {
        let most = DiskImageManifest::MAX_NAME;
        format!("1 to {most} characters of A-Z a-z 0-9 . _ + ~ : -")
    };
    let require = |is_good: bool, what, expected: &dyn Fn() -> String| {
        let refused = || ProvisionError::Order {
            what,
            expected: expected(),
        };
        is_good.then_some(()).ok_or_else(refused)
    };
    require(DiskImageManifest::is_name(&order.image), "image", &name)?;
    require(DiskImageManifest::is_name(&order.version), "version", &name)?;
    let chunks = 1..=DiskImageManifest::MAX_CHUNKS;
    require(chunks.contains(&u64::from(order.chunks)), "chunks", &|| {
        format!("1 to {}", DiskImageManifest::MAX_CHUNKS)
    })?;
    if let Err(fault) = ImageUrl::parse(&order.manifest_url) {
        return Err(ProvisionError::Order {
            what: "url",
            expected: format!("http:// or https://, a host and the manifest's path; {fault}"),
        });
    }
    require(order.disk.is_empty() || is_disk(&order.disk), "disk", &|| {
        format!("a path below /dev/, serial:NUMBER or wwn:NUMBER, at most {MAX_DISK} bytes of A-Z a-z 0-9 . _ : + - /")
    })?;
    let is_baseline = (1..=MAX_BASELINE).contains(&order.baseline.len());
    require(is_baseline, "baseline", &|| "the name of a baseline".to_owned())
}

fn is_disk(disk: &str) -> bool {
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"._:+-/".contains(&c);
    if let Some(number) = disk.strip_prefix("wwn:") {
        // World wide names are numbers, with the name of their kind before them or not.
        let digits = ["0x", "eui.", "naa."]
            .into_iter()
            .find_map(|kind| number.strip_prefix(kind));
        let digits = digits.unwrap_or(number);
        return (8..=32).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit());
    }
    if let Some(number) = disk.strip_prefix("serial:") {
        // Serial numbers have spaces within.
        let is_there = !number.is_empty() && number.trim() == number;
        return disk.len() <= MAX_DISK && is_there && number.bytes().all(|c| is_plain(c) || c == b' ');
    }
    let Some(path) = disk.strip_prefix("/dev/") else {
        return false;
    };
    let is_segment = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
    disk.len() <= MAX_DISK && path.bytes().all(is_plain) && path.split('/').all(is_segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> ImageOrder {
        ImageOrder {
            image: "hallmark-edge".into(),
            version: "2026.11.1".into(),
            chunks: 3,
            manifest_url: "http://images.example:8080/edge/manifest".into(),
            manifest_sha256: [1; 32],
            disk: "/dev/disk/by-path/pci-0000:00:03.0".into(),
            overwrite: false,
            baseline: "edge-2026-11".into(),
        }
    }

    #[test]
    fn disks_may_be_named_by_what_stays() {
        let long = format!("serial:{}", "s".repeat(255));
        for (disk, is_good) in [
            ("serial:S4EV NX0M7", true),
            ("wwn:0x5000c500a1b2c3d4", true),
            ("wwn:eui.0025385b71b0e2f1", true),
            ("serial:", false),
            ("serial: 17", false),
            ("wwn:0x5\n", false),
            ("wwn:zz", false),
            ("wwn:0x5000c500a1b2c3dg", false),
            (&long, false),
        ] {
            let order = ImageOrder {
                disk: disk.to_owned(),
                ..order()
            };
            assert_eq!(check(&order).is_ok(), is_good, "{disk:?}");
        }
    }

    #[test]
    fn what_no_machine_could_use_is_refused_by_its_name() {
        assert_eq!(check(&order()), Ok(()));
        let whole_disk = ImageOrder {
            disk: String::new(),
            ..order()
        };
        assert_eq!(check(&whole_disk), Ok(()));
        let url = |text: &str| ImageOrder {
            manifest_url: text.to_owned(),
            ..order()
        };
        let disk = |text: &str| ImageOrder {
            disk: text.to_owned(),
            ..order()
        };
        let refused = [
            (
                "image",
                ImageOrder {
                    image: "a b".into(),
                    ..order()
                },
            ),
            (
                "version",
                ImageOrder {
                    version: String::new(),
                    ..order()
                },
            ),
            ("chunks", ImageOrder { chunks: 0, ..order() }),
            (
                "chunks",
                ImageOrder {
                    chunks: 65_537,
                    ..order()
                },
            ),
            ("url", url("ftp://images.example/manifest")),
            ("url", url("http://images.example")),
            ("url", url("http:///manifest")),
            ("url", url("http://images.example/")),
            ("url", url("http://user:password@images.example/manifest")),
            ("url", url("http://images.example:99999/manifest")),
            ("url", url("http://images.example/manifest?x=1")),
            ("url", url("http://images.example/manifest#x")),
            ("url", url("http://images.example/mani fest")),
            ("url", url("http://images.example/mani\nfest")),
            ("url", url("http://images.exämple/manifest")),
            ("url", url(&format!("http://images.example/{}", "m".repeat(1024)))),
            ("disk", disk("sda")),
            ("disk", disk("/dev/")),
            ("disk", disk("/dev/../etc/passwd")),
            ("disk", disk("/dev//sda")),
            ("disk", disk("/dev/sda\u{1b}[2J")),
            ("disk", disk(&format!("/dev/{}", "s".repeat(255)))),
            (
                "baseline",
                ImageOrder {
                    baseline: String::new(),
                    ..order()
                },
            ),
        ];
        for (expected, order) in refused {
            let error = check(&order).expect_err(expected);
            let ProvisionError::Order { what, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!(*what, expected, "{order:?}");
        }
    }
}
