"""The same image, built again."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import changes
import softhsm
from fleet import ROOT


def same(fleet, name: str, site: pathlib.Path, first: pathlib.Path, files: set[str]):
    """Whether an image that was built is the same, octet by octet, when it is built again elsewhere and years later."""
    copy = fleet.folder / f"a copy of {name} in another folder"
    shutil.copytree(ROOT / "images", copy / "images", symlinks=True)
    (copy / "target/images").mkdir(parents=True)
    (copy / "target/images/packages").symlink_to(ROOT / "target/images/packages")
    folders = ["--site", site, "--keys", fleet.keys, "--packages", fleet.folder / "packages", "--out", copy / "out"]
    sys.path.insert(0, str(ROOT / "images"))
    from hallmark_images import sign

    elsewhere = os.environ | sign.at_a_fixed_time() | {"FAKETIME": "@2031-07-09 10:11:12", "NO_FAKE_STAT": "1", "TZ": "Pacific/Auckland", "TMPDIR": "/var/tmp"}
    subprocess.run([copy / "images/build", name, "--version", "1.0.0", *folders], check=True, stdout=subprocess.DEVNULL, umask=0o077, env=elsewhere)
    one, other = (json.loads((folder / "image.json").read_text())["files"] for folder in (first, copy / "out"))
    assert one.keys() == files, one.keys()
    different = [file for file in one if one[file] != other[file]]
    assert not different, f"different: {different}"
    shutil.rmtree(copy)


DISK = {"root.img", "image.efi", "loader.efi", "update.tar", "disk.img", "baseline.json"}


def is_the_same(fleet):
    """built again years later, in another folder, with another time zone and umask and nothing kept but packages: the same octets"""
    same(fleet, "edge", fleet.folder / "site-1.0.0", fleet.at("1.0.0"), DISK | {"baseline.signed.json"})


def is_signed_in_a_token(fleet):
    """the same key in a PKCS#11 token gives the same signatures of the loader and of the update"""
    folder = fleet.folder / "token"
    keys = softhsm.token(folder, fleet.keys)
    sys.path.insert(0, str(ROOT / "images"))
    from hallmark_images import sign

    loader = folder / "loader.efi"
    shutil.copyfile(fleet.at("1.0.0") / "loader.efi", loader)
    changes.unsigned(loader)
    sign.image(loader, keys, folder / "signed.efi")
    assert (folder / "signed.efi").read_bytes() == (fleet.at("1.0.0") / "loader.efi").read_bytes()
    for signer, signature in ((keys, "token.sig"), (fleet.keys, "file.sig")):
        sign.file(loader, signer, folder / signature)
    assert (folder / "token.sig").read_bytes() == (folder / "file.sig").read_bytes()


def has_baselines_of_two_models(fleet):
    """the same image has a baseline for each model of machines, of its own name; both are in force at once"""
    sys.path.insert(0, str(ROOT / "images"))
    from hallmark_images import baseline
    from hallmark_images.own import own_package

    other = fleet.folder / "other-model"
    shutil.rmtree(other, ignore_errors=True)
    other.mkdir()
    for file in ("image.efi", "loader.efi"):
        shutil.copyfile(fleet.at("1.0.0") / file, other / file)
    baseline.predict(other, own_package(fleet.folder / "packages", "hallmark"), fleet.keys / "vars.fd", "edge-1.0.0-other", 2, "loader.efi")
    baseline.seal(other, other, fleet.keys, "fleet.example")
    first, second = (json.loads((folder / "baseline.json").read_text()) for folder in (fleet.at("1.0.0"), other))
    assert (second["name"], second["serial"]) == ("edge-1.0.0-other", 2) and second["registers"] == first["registers"], second
    fleet.import_baseline(other)
    listed = json.loads(fleet.hallmark("baseline", "list", "-o", "json"))
    in_force = {found["name"]: found["serial"] for found in listed if found["state"] == "in force"}
    assert in_force["edge-1.0.0"] == 1 and in_force["edge-1.0.0-other"] == 2, listed


CASES = [is_the_same, is_signed_in_a_token, has_baselines_of_two_models]
