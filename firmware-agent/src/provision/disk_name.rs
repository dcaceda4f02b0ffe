//! The names of a disk that stay: by its serial number, its WWN, and the place where it is attached.
//!
//! They are those that udev gives disks below `/dev/disk`, made of what the kernel says itself: the netboot image has no udev.

use std::path::Path;

/// What the kernel says of a disk, `/sys/block/NAME`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    serial: Option<String>,
    /// Without `naa.`, `eui.` and the like, in lower case.
    wwn: Option<String>,
    /// As the kernel says it.
    wwid: Option<String>,
    /// Where it is attached, as in `/dev/disk/by-path`.
    places: Vec<String>,
    is_virtio: bool,
    namespace: Option<String>,
}

/// Whether this is a name of another kind than the path of a device.
pub(super) fn is_lasting(name: &str) -> bool {
    ["serial:", "wwn:", BY_ID, BY_PATH]
        .iter()
        .any(|kind| name.starts_with(kind))
}

const BY_ID: &str = "/dev/disk/by-id/";
const BY_PATH: &str = "/dev/disk/by-path/";

/// Whether a name is that of the disk that the kernel lists here.
pub(super) fn is_of(name: &str, listed: &Path) -> bool {
    let facts = Facts::read(listed);
    if let Some(serial) = name.strip_prefix("serial:") {
        return facts.serial.as_deref() == Some(serial);
    }
    if let Some(wwn) = name.strip_prefix("wwn:") {
        return facts.wwn == Some(plain_wwn(wwn));
    }
    if let Some(id) = name.strip_prefix(BY_ID) {
        return facts.is_id(id);
    }
    name.strip_prefix(BY_PATH)
        .is_some_and(|place| facts.places.iter().any(|it| it == place))
}

impl Facts {
    fn read(listed: &Path) -> Self {
        let says = |name: &str| said(std::fs::read(listed.join(name)).ok()?);
        // Page 0x80 of a SCSI disk: four octets, and then the number.
        let of_page = || said(std::fs::read(listed.join("device/vpd_pg80")).ok()?.get(4..)?.to_vec());
        let wwid = says("wwid").or_else(|| says("device/wwid"));
        let own = listed.canonicalize().unwrap_or_else(|_| listed.to_owned());
        let parts: Vec<&str> = own.iter().filter_map(|part| part.to_str()).collect();
        let namespace = says("nsid");
        Self {
            serial: says("serial").or_else(|| says("device/serial")).or_else(of_page),
            wwn: wwid.as_deref().map(plain_wwn),
            places: places(&own, &parts, namespace.as_deref()),
            is_virtio: parts.iter().any(|part| part.starts_with("virtio")),
            wwid,
            namespace,
        }
    }

    /// Whether udev would give the disk this name below `by-id`. What is in front of the serial number, maker and model, is not
    /// looked at: two disks of one serial number are told apart by no name of this kind.
    fn is_id(&self, id: &str) -> bool {
        let naa = self.wwid.as_deref().and_then(|wwid| wwid.strip_prefix("naa."));
        let by_wwn = naa.is_some_and(|naa| id == format!("wwn-0x{naa}") || id == format!("scsi-3{naa}"));
        let by_wwid = self.wwid.as_deref().is_some_and(|wwid| id == format!("nvme-{wwid}"));
        let Some(serial) = self.serial.as_deref().map(|serial| serial.replace(' ', "_")) else {
            return by_wwn || by_wwid;
        };
        let by_virtio = self.is_virtio && id == format!("virtio-{serial}");
        let ends = [
            Some(format!("_{serial}")),
            self.namespace.as_ref().map(|nsid| format!("_{serial}_{nsid}")),
        ];
        let by_serial = ["ata-", "scsi-", "nvme-", "usb-", "mmc-"]
            .iter()
            .any(|bus| id.starts_with(bus))
            && ends.iter().flatten().any(|end| id.ends_with(end.as_str()));
        by_wwn || by_wwid || by_virtio || by_serial
    }
}

/// Text of a file below `/sys`; none where it says nothing.
fn said(octets: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(octets).ok()?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

fn plain_wwn(wwn: &str) -> String {
    let lower = wwn.to_ascii_lowercase();
    let kinds = ["naa.", "eui.", "uuid.", "0x"];
    let plain = kinds.iter().find_map(|kind| lower.strip_prefix(kind));
    plain.unwrap_or(&lower).to_owned()
}

/// The names below `by-path`, out of the device's place in the kernel's tree.
fn places(own: &Path, parts: &[&str], namespace: Option<&str>) -> Vec<String> {
    let Some(pci) = parts.iter().rev().find(|part| is_pci(part)) else {
        return Vec::new();
    };
    let pci = format!("pci-{pci}");
    if parts.iter().any(|part| part.starts_with("virtio")) && !parts.iter().any(|part| part.starts_with("target")) {
        return vec![format!("virtio-{pci}"), pci];
    }
    if let Some(namespace) = namespace {
        return vec![format!("{pci}-nvme-{namespace}")];
    }
    let upto = |at: usize| own.iter().take(at.saturating_add(1)).collect::<std::path::PathBuf>();
    let find = |kind: &str| {
        let at = parts.iter().rposition(|part| number_behind(part, kind).is_some())?;
        Some((at, *parts.get(at)?))
    };
    if let Some((at, ata)) = find("ata") {
        let port = said(std::fs::read(upto(at).join("ata_port").join(ata).join("port_no")).unwrap_or_default());
        let port = port.unwrap_or_else(|| ata.trim_start_matches("ata").to_owned());
        return vec![format!("{pci}-ata-{port}"), format!("{pci}-ata-{port}.0")];
    }
    let scsi = || {
        let (at, host) = find("host")?;
        let own_number = number_behind(host, "host")?;
        let siblings = std::fs::read_dir(upto(at.checked_sub(1)?)).ok()?;
        let names = siblings
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        let first = names
            .filter_map(|name| number_behind(&name, "host"))
            .min()
            .unwrap_or(own_number);
        let address = parts.iter().rev().find(|part| part.split(':').count() == 4)?;
        let (_, rest) = address.split_once(':')?;
        Some(format!("{pci}-scsi-{}:{rest}", own_number.saturating_sub(first)))
    };
    scsi().into_iter().collect()
}

fn number_behind(part: &str, kind: &str) -> Option<u32> {
    part.strip_prefix(kind)?.parse().ok()
}

/// `0000:00:1f.2`.
fn is_pci(part: &str) -> bool {
    let shape = |c: u8| if c.is_ascii_hexdigit() { b'x' } else { c };
    part.bytes().map(shape).eq(*b"xxxx:xx:xx.x")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk as `/sys` has it: its place below `devices`, and files with what they say.
    fn disk(place: &str, files: &[(&str, &[u8])]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("devices").join(place);
        std::fs::create_dir_all(&device).unwrap();
        for (name, content) in files {
            let file = device.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
        (folder, device)
    }

    /// The names of the four disks of the test.
    const NAMES: [&[&str]; 4] = [
        &[
            "serial:edge-17",
            "/dev/disk/by-id/virtio-edge-17",
            "/dev/disk/by-path/pci-0000:00:03.0",
            "/dev/disk/by-path/virtio-pci-0000:00:03.0",
        ],
        &[
            "serial:S4EV NX0M7",
            "wwn:eui.0025385b71b0e2f1",
            "wwn:0025385B71B0E2F1",
            "/dev/disk/by-id/nvme-eui.0025385B71B0E2F1",
            "/dev/disk/by-id/nvme-Maker_Model_S4EV_NX0M7",
            "/dev/disk/by-id/nvme-Maker_Model_S4EV_NX0M7_1",
            "/dev/disk/by-path/pci-0000:01:00.0-nvme-1",
        ],
        &[
            "serial:ZA1B2C3D",
            "wwn:0x5000c500a1b2c3d4",
            "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4",
            "/dev/disk/by-id/scsi-35000c500a1b2c3d4",
            "/dev/disk/by-id/ata-MAKER_ZA1B2C3D",
            "/dev/disk/by-path/pci-0000:00:1f.2-ata-2",
            "/dev/disk/by-path/pci-0000:00:1f.2-ata-2.0",
        ],
        &["wwn:600508b1001c", "/dev/disk/by-path/pci-0000:00:05.0-scsi-1:0:1:0"],
    ];

    #[test]
    fn disks_of_each_kind_are_found_by_their_lasting_names_and_by_no_others() {
        let virtio = disk("pci0000:00/0000:00:03.0/virtio1/block/vda", &[("serial", b"edge-17\n")]);
        let nvme = disk(
            "pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/nvme0n1",
            &[
                ("wwid", b"eui.0025385B71B0E2F1\n"),
                ("nsid", b"1\n"),
                ("device/serial", b"S4EV NX0M7   \n"),
            ],
        );
        let ata = disk(
            "pci0000:00/0000:00:1f.2/ata5/host4/target4:0:0/4:0:0:0/block/sda",
            &[
                ("device/wwid", b"naa.5000c500a1b2c3d4\n"),
                ("device/vpd_pg80", b"\0\x80\0\x08ZA1B2C3D"),
                ("../../../../../ata_port/ata5/port_no", b"2\n"),
            ],
        );
        let scsi = disk(
            "pci0000:00/0000:00:05.0/host3/target3:0:1/3:0:1:0/block/sdb",
            &[("../../../../../host2/x", b""), ("device/wwid", b"naa.600508b1001c\n")],
        );
        let disks = [&virtio.1, &nvme.1, &ata.1, &scsi.1];
        for (own, (disk, names)) in disks.iter().zip(NAMES).enumerate() {
            for name in names {
                assert!(is_lasting(name) && is_of(name, disk), "{name}");
                for (other, stranger) in disks.iter().enumerate() {
                    assert!(
                        other == own || !is_of(name, stranger),
                        "{name} of {}",
                        stranger.display()
                    );
                }
            }
        }
        for wrong in [
            "serial:",
            "wwn:",
            "serial:edge",
            "/dev/disk/by-id/ata-edge-17",
            "/dev/disk/by-id/",
            "/dev/disk/by-path/pci-0000:00:03.1",
        ] {
            assert!(!is_of(wrong, &virtio.1), "{wrong}");
        }
        assert!(!is_lasting("/dev/vda") && !is_lasting("/dev/disk/by-label/x") && !is_lasting(""));
    }
}
