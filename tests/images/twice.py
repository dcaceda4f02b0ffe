"""The same image, built again."""

import json
import os
import shutil
import subprocess

from fleet import ROOT


def is_the_same(fleet):
    """built again later, in another folder, with another time zone and umask and nothing kept but packages: the same octets"""
    copy = fleet.folder / "a copy in another folder"
    shutil.copytree(ROOT / "images", copy / "images", symlinks=True)
    (copy / "target/images").mkdir(parents=True)
    (copy / "target/images/packages").symlink_to(ROOT / "target/images/packages")
    folders = ["--site", fleet.folder / "site-1.0.0", "--keys", fleet.keys, "--packages", fleet.folder / "packages", "--out", copy / "out"]
    subprocess.run(
        [copy / "images/build", "edge", "--version", "1.0.0", *folders],
        check=True, stdout=subprocess.DEVNULL, umask=0o077, env=os.environ | {"TZ": "Pacific/Auckland", "TMPDIR": "/var/tmp"},
    )
    first, second = (json.loads((folder / "image.json").read_text())["files"] for folder in (fleet.at("1.0.0"), copy / "out"))
    different = [file for file in first if first[file] != second[file]]
    assert not different and len(first) == 7, f"different: {different}"


CASES = [is_the_same]
