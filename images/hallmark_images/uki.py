"""The unified kernel image: systemd's stub with the kernel, the initrd and the command line as sections of one PE file."""

import pathlib
import struct
import tempfile

from . import run

STUB = pathlib.Path("usr/lib/systemd/boot/efi/linuxx64.efi.stub")
LOADER = pathlib.Path("usr/lib/systemd/boot/efi/systemd-bootx64.efi")
# PE/COFF specification, offsets from the signature "PE\0\0".
TIME, CHECKSUM, IMAGE_BASE, SECTIONS = 8, 24 + 64, 24 + 24, 6
ALIGNMENT = 0x10000


def build(stub: bytes, sections: list[tuple[str, bytes]], image: pathlib.Path):
    """Adds the sections to the stub, in this order, and takes out what differs from build to build."""
    base, end = _bounds(stub)
    address = -(-(base + end) // ALIGNMENT) * ALIGNMENT
    with tempfile.TemporaryDirectory() as folder:
        command = ["objcopy"]
        for name, data in sections:
            file = pathlib.Path(folder) / name.lstrip(".")
            file.write_bytes(data)
            command += ["--add-section", f"{name}={file}", "--change-section-vma", f"{name}={address:#x}"]
            address = -(-(address + len(data)) // ALIGNMENT) * ALIGNMENT
        plain = pathlib.Path(folder) / "stub"
        plain.write_bytes(stub)
        run(*command, plain, image)
    octets = bytearray(image.read_bytes())
    header = struct.unpack_from("<I", octets, 0x3C)[0]
    octets[header + TIME : header + TIME + 4] = bytes(4)
    octets[header + CHECKSUM : header + CHECKSUM + 4] = bytes(4)
    image.write_bytes(octets)


def _bounds(octets: bytes) -> tuple[int, int]:
    """Where the image is loaded, and where its last section ends from there."""
    header = struct.unpack_from("<I", octets, 0x3C)[0]
    count = struct.unpack_from("<H", octets, header + SECTIONS)[0]
    optional = struct.unpack_from("<H", octets, header + 20)[0]
    base = struct.unpack_from("<Q", octets, header + IMAGE_BASE)[0]
    ends = []
    for number in range(count):
        size, address = struct.unpack_from("<II", octets, header + 24 + optional + 40 * number + 8)
        ends.append(address + size)
    return base, max(ends)
