//! The disk's partition table (UEFI specification 2.10, 5.3): the partition that the firmware starts from, and where the
//! table's second copy is.

use bytes::Bytes;

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

/// A table whose second copy is at the end of another disk than the image was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moved {
    /// The disk's first two sectors.
    pub(super) beginning: Vec<u8>,
    /// The second copy.
    pub(super) copy: Bytes,
    /// Where that is, in octets.
    pub(super) copy_at: u64,
}

/// The table of an image for a disk that is larger: firmware looks for the second copy at the end of the disk when the first one
/// is damaged. `None` where there is no room beside the image's own copy, or the image has no whole table with a copy at its end.
pub(super) fn moved(image: &[u8], image_octets: u64, disk_octets: u64) -> Option<Moved> {
    let sector = u64::try_from(SECTOR).ok()?;
    let (image_end, disk_end) = (image_octets / sector, disk_octets / sector);
    let header = image.get(SECTOR..2 * SECTOR)?;
    let size = usize::try_from(u32::from_le_bytes(field(header, 12)?)).ok()?;
    let sound = header.starts_with(SIGNATURE)
        && (92..=SECTOR).contains(&size)
        && u32::from_le_bytes(field(header, 16)?) == sum_of_header(header, size)?
        && u64::from_le_bytes(field(header, 24)?) == 1
        && u64::from_le_bytes(field(header, 32)?) == image_end.checked_sub(1)?
        && u64::from_le_bytes(field(header, 72)?) == 2;
    let count = usize::try_from(u32::from_le_bytes(field(header, 80)?)).ok()?;
    let length = count.checked_mul(usize::try_from(u32::from_le_bytes(field(header, 84)?)).ok()?)?;
    let entries = image
        .get(2 * SECTOR..)?
        .get(..length.checked_next_multiple_of(SECTOR)?)?;
    let is_whole = u32::from_le_bytes(field(header, 88)?) == crc32fast::hash(entries.get(..length)?);
    let sectors = u64::try_from(entries.len() / SECTOR).ok()?.checked_add(1)?;
    if !sound || !is_whole || disk_end.checked_sub(image_end)? < sectors {
        return None;
    }
    let (last, copy_at) = (disk_end.checked_sub(1)?, disk_end.checked_sub(sectors)?);
    let mut first = header.to_vec();
    put(&mut first, 32, &last.to_le_bytes())?;
    put(&mut first, 48, &copy_at.checked_sub(1)?.to_le_bytes())?;
    let mut second = first.clone();
    put(&mut second, 24, &last.to_le_bytes())?;
    put(&mut second, 32, &1_u64.to_le_bytes())?;
    put(&mut second, 72, &copy_at.to_le_bytes())?;
    for header in [&mut first, &mut second] {
        let sum = sum_of_header(header, size)?;
        put(header, 16, &sum.to_le_bytes())?;
    }
    let mut protective = image.get(..SECTOR)?.to_vec();
    if protective.get(450) == Some(&0xee) {
        put(
            &mut protective,
            458,
            &u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes(),
        )?;
    }
    Some(Moved {
        beginning: [protective, first].concat(),
        copy: [entries, &second].concat().into(),
        copy_at: copy_at.checked_mul(sector)?,
    })
}

/// The CRC-32 of a header, in which that itself counts as zero.
fn sum_of_header(header: &[u8], size: usize) -> Option<u32> {
    let mut header = header.get(..size)?.to_vec();
    put(&mut header, 16, &[0; 4])?;
    Some(crc32fast::hash(&header))
}

fn put(data: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    let place = data.get_mut(at..at.checked_add(value.len())?)?;
    place.copy_from_slice(value);
    Some(())
}

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

    /// The same, whole: with its sums, in an image of so many octets.
    pub(crate) fn whole(image_octets: u64) -> Vec<u8> {
        let mut table = bootable();
        let last = image_octets / 512 - 1;
        table[450] = 0xee;
        table[512 + 12..512 + 16].copy_from_slice(&92_u32.to_le_bytes());
        table[512 + 24..512 + 32].copy_from_slice(&1_u64.to_le_bytes());
        table[512 + 32..512 + 40].copy_from_slice(&last.to_le_bytes());
        table[512 + 48..512 + 56].copy_from_slice(&(last - 33).to_le_bytes());
        let entries = crc32fast::hash(&table[1024..]);
        table[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
        let header = crc32fast::hash(&table[512..512 + 92]);
        table[512 + 16..512 + 20].copy_from_slice(&header.to_le_bytes());
        table
    }

    /// Whether a disk has a whole table, and its second copy at its very end.
    pub(crate) fn is_whole_to_its_end(disk: &[u8]) -> bool {
        let number =
            |header: &[u8], at: usize| usize::try_from(u64::from_le_bytes(field(header, at).unwrap())).unwrap();
        let last = disk.len() / 512 - 1;
        [1, last].into_iter().all(|own| {
            let header = &disk[own * 512..(own + 1) * 512];
            let entries = number(header, 72) * 512;
            header.starts_with(SIGNATURE)
                && number(header, 24) == own
                && number(header, 32) == last + 1 - own
                && number(header, 48) == last - 33
                && sum_of_header(header, 92).unwrap().to_le_bytes() == header[16..20]
                && crc32fast::hash(&disk[entries..entries + 128 * 128]).to_le_bytes() == header[88..92]
        })
    }

    #[test]
    fn the_tables_second_copy_moves_to_the_end_of_a_larger_disk() {
        let image = whole(1 << 20);
        for disk in [(1 << 20) + 33 * 512, 3 << 20, (3 << 20) + 100] {
            let moved = moved(&image, 1 << 20, disk).unwrap();
            let mut written = image.clone();
            written.resize(usize::try_from(disk / 512 * 512).unwrap(), 0);
            written[..1024].copy_from_slice(&moved.beginning);
            let at = usize::try_from(moved.copy_at).unwrap();
            written[at..at + moved.copy.len()].copy_from_slice(&moved.copy);
            assert!(is_whole_to_its_end(&written), "{disk}");
            assert_eq!(efi_system(&written), efi_system(&image));
            assert_eq!(written[458..462], u32::try_from(disk / 512 - 1).unwrap().to_le_bytes());
        }
        // No room, and tables that are not whole.
        assert_eq!(moved(&image, 1 << 20, 1 << 20), None);
        assert_eq!(moved(&image, 1 << 20, (1 << 20) + 33 * 512 - 1), None);
        assert_eq!(moved(&image, 2 << 20, 4 << 20), None);
        for at in [512, 512 + 24, 512 + 33, 512 + 80, 1024 + 200] {
            let mut damaged = image.clone();
            damaged[at] ^= 1;
            assert_eq!(moved(&damaged, 1 << 20, 3 << 20), None, "{at}");
        }
        assert_eq!(moved(&image[..5000], 1 << 20, 3 << 20), None);
        assert_eq!(moved(&[], 1 << 20, 3 << 20), None);
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
