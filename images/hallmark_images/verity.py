"""The root's file system, read-only, and the tree of hashes over its blocks (dm-verity)."""

import hashlib
import os
import pathlib
import re

from . import run, stable_uuid
from .root import EPOCH

BLOCK = 4096


def seal(tree: pathlib.Path, image: pathlib.Path, name: str) -> tuple[str, int]:
    """Writes the file system with its hashes behind it; gives the root hash and where the hashes begin, in octets."""
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    # Linux 6.1 reads erofs that is compressed by LZ4.
    run("mkfs.erofs", "-zlz4hc,12", f"-T{EPOCH}", "-U", stable_uuid(name, "root"), image, tree)
    length = -(-image.stat().st_size // BLOCK) * BLOCK
    os.truncate(image, length)
    said = run(
        "veritysetup", "format", image, image, f"--hash-offset={length}", f"--data-blocks={length // BLOCK}", f"--data-block-size={BLOCK}",
        f"--salt={hashlib.sha256(b'hallmark root').hexdigest()}", f"--uuid={stable_uuid(name, 'verity')}",
    ).decode()
    os.truncate(image, -(-image.stat().st_size // BLOCK) * BLOCK)
    return re.search(r"Root hash:\s*([0-9a-f]{64})", said)[1], length
