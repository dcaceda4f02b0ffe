"""Builds machine images of Hallmark, bit for bit: a recipe and a lock file in, a disk and its baseline out.

The way of an image: `lock` fetches the pinned Debian packages, `root` makes the tree of them, `verity` seals it, `initrd` and `uki` make what the
firmware starts, `sign` signs that, `disk` puts all on a disk. Each step is a function of files alone: no clock, no random number, no path of this
machine goes into what it writes.
"""

import hashlib
import pathlib
import re
import subprocess
import uuid

FOLDER = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = FOLDER.parent


class ImageError(Exception):
    """Something that whoever builds an image can put right: what failed, the next step, and the code where the list of reasons has it."""

    def __init__(self, what: str, next_step: str, code: str | None = None):
        super().__init__(f"{code}: {what}" if code else what)
        self.next_step = next_step


def run(*command, **options):
    """Runs a program; its output goes into the error where it fails."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options).stdout
    except FileNotFoundError:
        raise ImageError(f"the program {words[0]} is missing", "scripts/deps images", "HM-IMAGE-0056") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or b"").decode(errors="replace").strip().splitlines()[-12:]
        raise ImageError(_without_pin(f"{words[0]} failed: " + "\n  ".join(said)), _without_pin(f"run it by hand: {' '.join(words)}")) from None


def _without_pin(text: str) -> str:
    """Without the PINs of PKCS#11 URIs (RFC 7512)."""
    return re.sub(r"(pin-value=)[^;?&\s'\"]*", r"\1…", text)


def stable_uuid(*names: str) -> str:
    """The same UUID for the same names, wherever and whenever it is asked for."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "hallmark:" + ":".join(names)))


def sha256(path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
