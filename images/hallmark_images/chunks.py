"""A disk in chunks: what machines are installed from over the network. The manifest's form is proto/node/src/disk_image.rs."""

import hashlib
import json
import os
import pathlib

from . import ImageError, sha256, sign

CHUNK = 8 << 20


def build(disk: pathlib.Path, keys: pathlib.Path, out: pathlib.Path) -> str:
    """Writes `manifest`, `manifest.sig` and each distinct chunk under its SHA-256; says what it wrote."""
    sign.check(keys)
    try:
        facts = json.loads((disk.parent / "image.json").read_text())
        octets = disk.stat().st_size
    except FileNotFoundError as error:
        raise ImageError(f"{error.filename} is missing", "give the disk.img that images/build made, where it made it") from None
    if octets == 0:
        raise ImageError(f"{disk} is empty", "give the disk.img that images/build made")
    named, found = facts["files"].get("disk.img", {}).get("sha256"), sha256(disk)
    if named != found:
        raise ImageError(
            f"{disk} is not the disk of {disk.parent / 'image.json'}: that names the SHA-256 {named}, and it has {found}", "give the disk.img that images/build made, or build it again"
        )
    os.umask(0o022)
    out.mkdir(parents=True, exist_ok=True)
    digests = []
    with open(disk, "rb") as file:
        while chunk := file.read(CHUNK):
            digests.append(hashlib.sha256(chunk).hexdigest())
            place = out / digests[-1]
            if not place.exists() or sha256(place) != digests[-1]:
                # Machines may fetch it already: it is there whole, or not at all.
                new = out / f".{digests[-1]}"
                new.write_bytes(chunk)
                new.rename(place)
    manifest = out / ".manifest"
    manifest.write_text(
        f"hallmark-disk-image 1\nimage=hallmark-{facts['name']}\nversion={facts['version']}\ndisk_octets={octets}\nchunk_octets={CHUNK}\n"
        f"chunks={len(digests)}\n" + "".join(f"{digest}\n" for digest in digests)
    )
    signature = out / ".manifest.sig"
    sign.file(manifest, keys, signature)
    # Both are whole before the first gets its name.
    signature = signature.rename(out / "manifest.sig")
    manifest = manifest.rename(out / "manifest")
    return f"{manifest}: {len(digests)} chunks, {len(set(digests))} of them different, SHA-256 {hashlib.sha256(manifest.read_bytes()).hexdigest()}"
