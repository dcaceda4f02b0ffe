"""The disk: a GPT with the EFI system partition, two slots for the root, and the machine's own data."""

import os
import pathlib
import shutil
import struct
import uuid
import zlib

from . import ImageError, run, stable_uuid
from .recipe import Recipe
from .root import EPOCH

SECTOR, MIB = 512, 1 << 20
# UEFI specification 5.3.2 and the Discoverable Partitions Specification.
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
DATA = "0fc63daf-8483-4772-8e79-3d69d8477de4"


def of_image(recipe: Recipe, out: pathlib.Path, work: pathlib.Path):
    """Writes `disk.img`: the boot loader, the image in the first slot, room for the second, and the machine's data."""
    (work / "loader.conf").write_text("timeout 0\neditor no\nauto-firmware no\n")
    # The first image is not on trial: there is no other that the machine could go back to.
    files = {"EFI/BOOT/BOOTX64.EFI": out / "loader.efi", "loader/loader.conf": work / "loader.conf", "EFI/Linux/hallmark_1.efi": out / "image.efi"}
    esp(work / "esp.img", recipe.esp, files, recipe.name)
    build(
        out / "disk.img",
        [
            ("esp", ESP, recipe.esp, work / "esp.img"),
            ("root-a", ROOT, recipe.root, out / "root.img"),
            ("root-b", ROOT, recipe.root, None),
            ("data", DATA, recipe.data, None),
        ],
        recipe.name,
    )


def esp(image: pathlib.Path, size: int, files: dict[str, pathlib.Path], name: str):
    """A FAT file system of `size` MiB with these files."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH), "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(size * MIB)
    run("mkfs.vfat", "-F", "32", "-i", stable_uuid(name, "esp")[:8], "-n", "ESP", "--invariant", image, env=environment)
    made: set[str] = set()
    for place, source in sorted(files.items()):
        folder = ""
        for part in place.split("/")[:-1]:
            folder += f"/{part}"
            if folder not in made:
                run("mmd", "-i", image, f"::{folder}", env=environment)
                made.add(folder)
        os.utime(source, (EPOCH, EPOCH))
        run("mcopy", "-m", "-i", image, source, f"::{place}", env=environment)


def build(image: pathlib.Path, partitions: list[tuple[str, str, int, pathlib.Path | None]], name: str):
    """Writes the disk: partitions are (name, type, MiB, contents), each where the one before ends."""
    sectors = (2 + sum(size for _, _, size, _ in partitions)) * MIB // SECTOR
    entries, begin = b"", MIB // SECTOR
    with open(image, "wb") as disk:
        disk.truncate(sectors * SECTOR)
        for label, kind, size, contents in partitions:
            end = begin + size * MIB // SECTOR - 1
            entries += uuid.UUID(kind).bytes_le + uuid.UUID(stable_uuid(name, label)).bytes_le
            entries += struct.pack("<QQQ", begin, end, 0) + label.encode("utf-16-le").ljust(72, b"\0")
            if contents:
                if contents.stat().st_size > size * MIB:
                    raise ImageError(
                        f"{contents.name} has {contents.stat().st_size} octets, its partition {label} {size * MIB}", "make the partition larger in the recipe", "HM-IMAGE-0059"
                    )
                disk.seek(begin * SECTOR)
                with open(contents, "rb") as source:
                    shutil.copyfileobj(source, disk, MIB)
            begin = end + 1
        array = entries.ljust(128 * 128, b"\0")
        protective = bytearray(SECTOR)
        protective[446:462] = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(sectors - 1, 0xFFFFFFFF))
        protective[510:] = b"\x55\xaa"
        last = sectors - 1
        _write(disk, 0, bytes(protective))
        _write(disk, 1, _header(1, last, 2, sectors, array, name))
        _write(disk, 2, array)
        _write(disk, last - 32, array)
        _write(disk, last, _header(last, 1, last - 32, sectors, array, name))


def _write(disk, sector: int, data: bytes):
    disk.seek(sector * SECTOR)
    disk.write(data)


def _header(own: int, other: int, array_at: int, sectors: int, array: bytes, name: str) -> bytes:
    header = bytearray(
        struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other, 34, sectors - 34, uuid.UUID(stable_uuid(name, "disk")).bytes_le,
            array_at, 128, 128, zlib.crc32(array),
        )
    )
    header[16:20] = struct.pack("<I", zlib.crc32(bytes(header)))
    return bytes(header).ljust(SECTOR, b"\0")
