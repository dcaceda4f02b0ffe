"""Images that were changed on the way to a machine, and how."""

import pathlib
import re
import shutil
import struct
import subprocess

MIB = 1 << 20
LISTED = "EFI/Linux/hallmark_1.efi"


def disk(image: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """A copy of an image's disk."""
    subprocess.run(["cp", "--sparse=always", image / "disk.img", to], check=True)
    return to


def put(disk_image: pathlib.Path, file: pathlib.Path, place: str):
    """Puts a file onto the boot partition of a disk."""
    subprocess.run(["mmd", "-D", "s", "-i", f"{disk_image}@@1M", *parents(place)], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    subprocess.run(["mcopy", "-o", "-i", f"{disk_image}@@1M", file, f"::{place}"], check=True)


def parents(place: str) -> list[str]:
    """The folders of a place, outermost first."""
    parts = place.split("/")[:-1]
    return ["::" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def section(octets: bytes, name: str) -> tuple[int, int]:
    """Where a section of a PE file begins, and how long what is in it is."""
    header = struct.unpack_from("<I", octets, 0x3C)[0]
    count, optional = struct.unpack_from("<H", octets, header + 6)[0], struct.unpack_from("<H", octets, header + 20)[0]
    for number in range(count):
        at = header + 24 + optional + 40 * number
        if octets[at : at + 8].rstrip(b"\0") == name.encode():
            size, _, _, begin = struct.unpack_from("<IIII", octets, at + 8)
            return begin, size
    raise AssertionError(f"the image has no section {name}")


def changed(image: pathlib.Path, name: str, old: bytes, new: bytes, to: pathlib.Path) -> pathlib.Path:
    """image.efi with other octets of the same length in a section; its signature stays, and fits no more."""
    octets = bytearray((image / "image.efi").read_bytes())
    begin, size = section(octets, name)
    at = octets.find(old, begin, begin + size)
    assert at >= 0 and len(old) == len(new), f"{name} has no {old!r}"
    octets[at : at + len(old)] = new
    to.write_bytes(octets)
    return to


def unsigned(file: pathlib.Path) -> pathlib.Path:
    """Takes the signature off."""
    subprocess.run(["sbattach", "--remove", file], check=True, stderr=subprocess.DEVNULL)
    return file


def signed(file: pathlib.Path, keys: pathlib.Path) -> pathlib.Path:
    """Signs it anew."""
    return sign(unsigned(file), keys)


def sign(file: pathlib.Path, keys: pathlib.Path) -> pathlib.Path:
    """Signs what has no signature."""
    subprocess.run(["sbsign", "--key", keys / "db.key", "--cert", keys / "db.crt", "--output", file, file], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return file


def add_on(image: pathlib.Path, line: str, keys: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """A signed add-on of this command line: the image's PE file without kernel and initrd (systemd-stub(7), add-ons)."""
    shutil.copyfile(image / "image.efi", to)
    unsigned(to)
    words = to.with_suffix(".line")
    words.write_bytes(line.encode() + b"\0")
    away = [word for name in (".linux", ".initrd", ".cmdline") for word in ("--remove-section", name)]
    subprocess.run(["objcopy", *away, to], check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["objcopy", "--add-section", f".cmdline={words}", "--change-section-vma", ".cmdline=0x100000", to], check=True, stderr=subprocess.DEVNULL)
    return sign(to, keys)


def stranger(folder: pathlib.Path) -> pathlib.Path:
    """A key that no firmware of this fleet knows."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "10", "-subj", "/CN=stranger", "-keyout", folder / "db.key", "-out", folder / "db.crt"],
        check=True, stderr=subprocess.DEVNULL,
    )
    return folder


def flip_root(disk_image: pathlib.Path, root: pathlib.Path, path: str):
    """Changes one bit of a file of the root in the first slot, behind the boot partition's back."""
    said = subprocess.run(["dump.erofs", "-e", f"--path={path}", root], check=True, stdout=subprocess.PIPE, text=True).stdout
    extents = [tuple(map(int, found)) for found in re.findall(r"^\s*\d+:\s*\d+\.\.\s*\d+ \|\s*\d+ :\s*(\d+)\.\.\s*(\d+)", said, re.M)]
    begin, end = extents[0]
    flip(disk_image, slot_a(disk_image) + (begin + end) // 2)


def flip(file: pathlib.Path, at: int):
    """Changes one bit."""
    with open(file, "r+b") as octets:
        octets.seek(at)
        (was,) = octets.read(1)
        octets.seek(at)
        octets.write(bytes([was ^ 1]))


def slot_a(disk_image: pathlib.Path) -> int:
    """Where the first slot begins: behind the boot partition, in the partition table's second line."""
    with open(disk_image, "rb") as octets:
        octets.seek(2 * 512 + 128 + 32)
        return struct.unpack("<Q", octets.read(8))[0] * 512
