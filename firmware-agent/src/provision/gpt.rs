//! The partition that the firmware starts from, out of the disk's partition table (UEFI specification 2.10, 5.3).

use super::{disk::Disk, error::ProvisionError};

const SECTOR: usize = 512;
/// The header's sector and as many entries as fit behind it: more than any image of ours has.
pub(super) const LOOKED_AT: u64 = 34 * 512;
const SIGNATURE: &[u8] = b"EFI PART";
/// C12A7328-F81F-11D2-BA4B-00A0C93EC93B, the EFI system partition, as it is stored.
const EFI_SYSTEM: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
const SMALLEST_ENTRY: usize = 128;

/// A partition as firmware names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    /// Its number, from 1.
    pub(super) number: u32,
    /// Its first sector.
    pub(super) first: u64,
    /// How many sectors it has.
    pub(super) sectors: u64,
    /// Its own GUID, as it is stored.
    pub(super) guid: [u8; 16],
}

/// The EFI system partition of a disk.
///
/// # Errors
/// The disk cannot be read, or has none.
pub(super) async fn boot_partition(disk: Disk) -> Result<Partition, ProvisionError> {
    let table = disk.read(0, LOOKED_AT).await?;
    boot_partition_of(&table).ok_or_else(|| ProvisionError::NoBootPartition {
        detail: format!("the partition table of {}", disk.name()),
    })
}

/// The EFI system partition of a disk whose beginning this is.
pub(super) fn boot_partition_of(beginning: &[u8]) -> Option<Partition> {
    let most = usize::try_from(LOOKED_AT).unwrap_or(usize::MAX);
    efi_system(beginning.get(..most).unwrap_or(beginning))
}

/// The first EFI system partition of a table that begins with a disk's first sector.
fn efi_system(table: &[u8]) -> Option<Partition> {
    let header = table.get(SECTOR..2 * SECTOR)?;
    if !header.starts_with(SIGNATURE) {
        return None;
    }
    let entries = usize::try_from(u64::from_le_bytes(field(header, 72)?)).ok()?;
    let count = u32::from_le_bytes(field(header, 80)?);
    let length = usize::try_from(u32::from_le_bytes(field(header, 84)?)).ok()?;
    if length < SMALLEST_ENTRY {
        return None;
    }
    let listed = table.get(entries.checked_mul(SECTOR)?..)?.chunks_exact(length);
    let (number, entry) = (1..=count)
        .zip(listed)
        .find(|(_, entry)| entry.starts_with(&EFI_SYSTEM))?;
    let (first, last) = (
        u64::from_le_bytes(field(entry, 32)?),
        u64::from_le_bytes(field(entry, 40)?),
    );
    Some(Partition {
        number,
        first,
        sectors: last.checked_sub(first)?.checked_add(1)?,
        guid: field(entry, 16)?,
    })
}

fn field<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A disk's first sectors with a table of these partition types.
    pub(crate) fn table(types: &[[u8; 16]]) -> Vec<u8> {
        let mut table = vec![0; 34 * SECTOR];
        table[512..520].copy_from_slice(SIGNATURE);
        table[512 + 72..512 + 80].copy_from_slice(&2_u64.to_le_bytes());
        table[512 + 80..512 + 84].copy_from_slice(&128_u32.to_le_bytes());
        table[512 + 84..512 + 88].copy_from_slice(&128_u32.to_le_bytes());
        for (number, kind) in types.iter().enumerate() {
            let at = 1024 + 128 * number;
            let first = u64::try_from(2048 * (number + 1)).unwrap();
            table[at..at + 16].copy_from_slice(kind);
            table[at + 16..at + 32].copy_from_slice(&[u8::try_from(number + 1).unwrap(); 16]);
            table[at + 32..at + 40].copy_from_slice(&first.to_le_bytes());
            table[at + 40..at + 48].copy_from_slice(&(first + 2047).to_le_bytes());
        }
        table
    }

    /// A table whose second partition is the EFI system partition.
    pub(crate) fn bootable() -> Vec<u8> {
        table(&[[7; 16], EFI_SYSTEM])
    }

    #[test]
    fn the_efi_system_partition_is_found() {
        let partition = Partition {
            number: 2,
            first: 4096,
            sectors: 2048,
            guid: [2; 16],
        };
        assert_eq!(efi_system(&bootable()), Some(partition));
    }

    #[test]
    fn other_tables_have_none() {
        let with = |at: usize, octets: &[u8]| {
            let mut table = bootable();
            table[at..at + octets.len()].copy_from_slice(octets);
            table
        };
        let tables = [
            Vec::new(),
            vec![0; 1 << 16],
            table(&[[7; 16]]),
            with(512, b"X"),
            with(512 + 72, &u64::MAX.to_le_bytes()),
            with(512 + 80, &1_u32.to_le_bytes()),
            with(512 + 84, &0_u32.to_le_bytes()),
            with(1024 + 128 + 40, &1_u64.to_le_bytes()),
            bootable()[..1024 + 128 + 100].to_vec(),
        ];
        for (number, table) in tables.iter().enumerate() {
            assert_eq!(efi_system(table), None, "{number}");
        }
    }
}
