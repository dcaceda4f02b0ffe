//! The firmware's boot entry for the disk (UEFI specification 2.10, 3.1 and 10.3), through the kernel's efivarfs.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use super::{error::ProvisionError, gpt::Partition};
use crate::AgentError;

/// EFI_GLOBAL_VARIABLE.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Octets of the attributes in front of each variable's value.
const ATTRIBUTES: usize = 4;
/// Non-volatile, for boot services and at run time.
const KEPT: u32 = 7;
const ACTIVE: u32 = 1;
const LABEL: &str = "Hallmark";
/// Where firmware looks on a disk by itself, too.
const LOADER: &str = "\\EFI\\BOOT\\BOOTX64.EFI";
/// Most octets of a variable that is read.
const MAX_VARIABLE: usize = 1 << 16;

/// A variable that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    attributes: u32,
    value: Vec<u8>,
}

impl Variable {
    /// Whether it is an entry for this option that is there after a restart. Some firmware puts data of its own behind.
    fn is_for(&self, option: &[u8]) -> bool {
        self.attributes == KEPT && self.value.starts_with(option)
    }
}

/// The firmware's variables.
#[derive(Debug, Clone)]
pub(super) struct Firmware {
    variables: PathBuf,
}

impl Firmware {
    pub(super) const fn new(variables: PathBuf) -> Self {
        Self { variables }
    }

    /// Whether there are variables at all: before anything is written.
    ///
    /// # Errors
    /// The machine was not started by UEFI firmware, or efivarfs is not mounted or read-only.
    pub(super) fn require_writable(&self) -> Result<(), ProvisionError> {
        let fault = |detail: String| ProvisionError::BootEntry {
            detail: format!("{}: {detail}", self.variables.display()),
        };
        let any = std::fs::read_dir(&self.variables)
            .map_err(|error| fault(error.to_string()))?
            .next();
        if any.is_none() {
            return Err(fault("no variable is there".into()));
        }
        rustix::fs::access(&self.variables, rustix::fs::Access::WRITE_OK).map_err(|error| fault(error.to_string()))
    }

    /// Puts the partition's loader first among the boot entries; gives the entry's name.
    ///
    /// # Errors
    /// A variable cannot be read or written, or is not read back as it was written.
    pub(super) async fn start_from(&self, partition: Partition) -> Result<String, ProvisionError> {
        let this = self.clone();
        spawn_blocking(move || this.set(&load_option(&partition)))
            .await
            .unwrap_or_else(|error| {
                let detail = error.to_string();
                Err(AgentError::System { detail }.into())
            })
    }

    fn set(&self, option: &[u8]) -> Result<String, ProvisionError> {
        let stored = self.read("BootOrder").map_err(|error| fault("BootOrder", &error))?;
        // The firmware takes another value of a variable with the attributes that it has.
        let attributes = stored.as_ref().map_or(KEPT, |order| order.attributes);
        let mut order: Vec<u16> = stored
            .map(|order| order.value)
            .unwrap_or_default()
            .as_chunks::<2>()
            .0
            .iter()
            .map(|pair| u16::from_le_bytes(*pair))
            .collect();
        let number = self.entry(option, &order)?;
        if order.first() != Some(&number) {
            order.retain(|other| *other != number);
            order.insert(0, number);
            let order: Vec<u8> = order.into_iter().flat_map(u16::to_le_bytes).collect();
            self.write("BootOrder", attributes, &order)?;
        }
        Ok(name_of(number))
    }

    /// The number of the entry with this option: one that is there, or a new one. Whatever else the firmware keeps, and whether
    /// it can be read at all, is passed over.
    fn entry(&self, option: &[u8], order: &[u16]) -> Result<u16, ProvisionError> {
        let is_there = |number: u16| matches!(self.read(&name_of(number)), Ok(Some(it)) if it.is_for(option));
        if let Some(number) = order.iter().copied().find(|number| is_there(*number)) {
            return Ok(number);
        }
        for number in 0..=u16::MAX {
            match self.read(&name_of(number)) {
                Ok(None) => {
                    self.write(&name_of(number), KEPT, option)?;
                    return Ok(number);
                }
                // An attempt that was cut off before it came to the order.
                Ok(Some(found)) if found.is_for(option) => return Ok(number),
                Ok(Some(_)) | Err(_) => {}
            }
        }
        Err(ProvisionError::BootEntry {
            detail: "all boot entries are taken".into(),
        })
    }

    fn place(&self, name: &str) -> PathBuf {
        self.variables.join(format!("{name}-{GLOBAL}"))
    }

    /// A variable; none where it is not set, or has no value: what a write leaves for which there was no room.
    fn read(&self, name: &str) -> io::Result<Option<Variable>> {
        let octets = match std::fs::read(self.place(name)) {
            Ok(octets) => octets,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if octets.len() > MAX_VARIABLE {
            return Err(io::Error::other("it is larger than boot entries are"));
        }
        let set = octets.split_first_chunk::<ATTRIBUTES>();
        Ok(set
            .filter(|(_, value)| !value.is_empty())
            .map(|(attributes, value)| Variable {
                attributes: u32::from_le_bytes(*attributes),
                value: value.to_vec(),
            }))
    }

    /// Sets a variable: the firmware takes it from one write.
    fn write(&self, name: &str, attributes: u32, value: &[u8]) -> Result<(), ProvisionError> {
        let octets = [attributes.to_le_bytes().as_slice(), value].concat();
        write_at_once(&self.place(name), &octets).map_err(|error| fault(name, &error))?;
        let kept = self.read(name).map_err(|error| fault(name, &error))?;
        if kept.is_some_and(|kept| kept.attributes == attributes && kept.value.starts_with(value)) {
            return Ok(());
        }
        Err(fault(name, &io::Error::other("it is not read back as it was written")))
    }
}

fn write_at_once(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let written = file.write(octets)?;
    if written == octets.len() {
        file.sync_all().or_else(|error| match error.kind() {
            // efivarfs has nothing to be flushed.
            ErrorKind::InvalidInput | ErrorKind::Unsupported => Ok(()),
            _ => Err(error),
        })
    } else {
        Err(io::Error::other(format!(
            "{written} of {} octets were taken",
            octets.len()
        )))
    }
}

fn fault(variable: &str, error: &io::Error) -> ProvisionError {
    ProvisionError::BootEntry {
        detail: format!("{variable}: {error}"),
    }
}

fn name_of(number: u16) -> String {
    format!("Boot{number:04X}")
}

/// EFI_LOAD_OPTION: the partition, and the loader's path on it.
fn load_option(partition: &Partition) -> Vec<u8> {
    let drive = node(
        [4, 1],
        &[
            &partition.number.to_le_bytes(),
            &partition.first.to_le_bytes(),
            &partition.sectors.to_le_bytes(),
            &partition.guid,
            // GPT, and a GUID as the signature.
            &[2, 2],
        ],
    );
    let file = node([4, 4], &[&utf16(LOADER)]);
    let path = [drive, file, node([0x7f, 0xff], &[])].concat();
    let length = u16::try_from(path.len()).unwrap_or(u16::MAX);
    [
        ACTIVE.to_le_bytes().as_slice(),
        &length.to_le_bytes(),
        &utf16(LABEL),
        &path,
    ]
    .concat()
}

/// A node of a device path.
fn node(kind: [u8; 2], parts: &[&[u8]]) -> Vec<u8> {
    let data = parts.concat();
    let length = u16::try_from(data.len().saturating_add(4)).unwrap_or(u16::MAX);
    [kind.as_slice(), &length.to_le_bytes(), &data].concat()
}

/// UTF-16 with a zero behind.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: Partition = Partition {
        number: 1,
        first: 2048,
        sectors: 327_680,
        guid: [0xa5; 16],
    };

    struct Machine {
        folder: tempfile::TempDir,
        firmware: Firmware,
    }

    fn machine(order: &[u8]) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let firmware = Firmware::new(folder.path().to_owned());
        firmware.write("BootOrder", KEPT, order).unwrap();
        firmware.write("Boot0000", KEPT, b"the network").unwrap();
        Machine { folder, firmware }
    }

    fn value(machine: &Machine, name: &str) -> Vec<u8> {
        machine.firmware.read(name).unwrap().unwrap().value
    }

    /// What firmware is known to keep: entries without a value, volatile ones, ones that cannot be read, its own data behind.
    #[tokio::test]
    async fn entries_of_others_are_passed_over_whatever_they_are() {
        let option = load_option(&PARTITION);
        let machine = machine(&[0, 0, 1, 0, 2, 0, 3, 0, 9, 0]);
        let place = |number: u16| machine.firmware.place(&name_of(number));
        std::fs::create_dir(place(1)).unwrap();
        machine.firmware.write("Boot0002", 6, &option).unwrap();
        std::fs::write(place(3), vec![0; MAX_VARIABLE + 1]).unwrap();
        std::fs::write(place(4), b"").unwrap();
        assert_eq!(machine.firmware.start_from(PARTITION).await.unwrap(), "Boot0004");
        assert_eq!(value(&machine, "Boot0004"), option);
        let order = [4, 0, 0, 0, 1, 0, 2, 0, 3, 0, 9, 0];
        assert_eq!(value(&machine, "BootOrder"), order);
        let appended = [option.as_slice(), b"of the firmware"].concat();
        machine.firmware.write("Boot0004", KEPT, &appended).unwrap();
        assert_eq!(machine.firmware.start_from(PARTITION).await.unwrap(), "Boot0004");
        assert_eq!(value(&machine, "BootOrder"), order);
    }

    #[tokio::test]
    async fn an_order_without_a_value_or_with_other_attributes_is_taken() {
        let machine = machine(&[0, 0]);
        std::fs::write(machine.firmware.place("BootOrder"), [7, 0, 0, 0]).unwrap();
        assert_eq!(machine.firmware.start_from(PARTITION).await.unwrap(), "Boot0001");
        assert_eq!(value(&machine, "BootOrder"), [1, 0]);
        machine.firmware.write("BootOrder", 6, &[0, 0]).unwrap();
        machine.firmware.start_from(PARTITION).await.unwrap();
        let order = machine.firmware.read("BootOrder").unwrap().unwrap();
        assert_eq!((order.attributes, order.value.as_slice()), (6, [1, 0, 0, 0].as_slice()));
    }

    /// Lengths and types as the UEFI specification has them (3.1.3, 10.3.4.1, 10.3.4.4).
    #[test]
    fn the_option_is_what_firmware_reads() {
        let option = load_option(&PARTITION);
        assert_eq!(&option[..6], [1, 0, 0, 0, 94, 0]);
        assert_eq!(&option[6..24], b"H\0a\0l\0l\0m\0a\0r\0k\0\0\0");
        assert_eq!(&option[24..28], [4, 1, 42, 0]);
        assert_eq!(&option[28..32], [1, 0, 0, 0]);
        assert_eq!(&option[64..66], [2, 2]);
        assert_eq!(&option[66..70], [4, 4, 48, 0]);
        assert!(option.ends_with(&[0x7f, 0xff, 4, 0]));
        assert_eq!(option.len(), 24 + 94);
    }

    #[tokio::test]
    async fn the_disk_becomes_the_first_entry_once() {
        let machine = machine(&[0, 0, 9, 0]);
        machine.firmware.require_writable().unwrap();
        for _ in 0..2 {
            assert_eq!(machine.firmware.start_from(PARTITION).await.unwrap(), "Boot0001");
            assert_eq!(value(&machine, "BootOrder"), [1, 0, 0, 0, 9, 0]);
        }
        assert_eq!(value(&machine, "Boot0000"), b"the network");
        assert_eq!(std::fs::read_dir(machine.folder.path()).unwrap().count(), 3);
    }

    #[tokio::test]
    async fn an_entry_that_is_not_in_the_order_is_taken_up() {
        let machine = machine(&[0, 0]);
        let option = load_option(&PARTITION);
        machine.firmware.write("Boot0001", KEPT, &option).unwrap();
        assert_eq!(machine.firmware.start_from(PARTITION).await.unwrap(), "Boot0001");
        assert_eq!(value(&machine, "BootOrder"), [1, 0, 0, 0]);
    }

    #[tokio::test]
    async fn without_variables_nothing_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let firmware = Firmware::new(folder.path().to_owned());
        let error = firmware.require_writable().unwrap_err();
        assert!(matches!(error, ProvisionError::BootEntry { .. }), "{error:?}");
        let away = Firmware::new(folder.path().join("efivars"));
        assert!(away.require_writable().is_err() && away.start_from(PARTITION).await.is_err());
        std::fs::create_dir(firmware.place("BootOrder")).unwrap();
        assert!(firmware.start_from(PARTITION).await.is_err());
    }
}
