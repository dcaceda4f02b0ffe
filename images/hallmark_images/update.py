"""The update: one file that `hallmark-image update` writes into a machine's other slot."""

import os
import pathlib

from . import run, sha256, sign
from .root import EPOCH


def build(out: pathlib.Path, work: pathlib.Path, name: str, version: str, root_hash: str, hashes_at: int, keys: pathlib.Path):
    """Writes `update.tar` of image.efi and root.img in `out`, with a signed manifest that names both."""
    manifest = work / "manifest"
    manifest.write_text(
        f"image=hallmark-{name}\nversion={version}\nroot_hash={root_hash}\nhashes_at={hashes_at}\n"
        f"image_sha256={sha256(out / 'image.efi')}\nroot_octets={(out / 'root.img').stat().st_size}\n"
    )
    sign.file(manifest, keys, work / "manifest.sig")
    for file in (manifest, work / "manifest.sig", out / "image.efi", out / "root.img"):
        os.chmod(file, 0o644)
    run(
        "tar", "--format=ustar", f"--mtime=@{EPOCH}", "--owner=0", "--group=0", "--numeric-owner", "-cf", out / "update.tar",
        "-C", work, "manifest", "manifest.sig", "-C", out, "image.efi", "root.img",
    )
