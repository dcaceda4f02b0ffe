"""The same image, built again."""

import json
import os
import shutil
import subprocess
import sys

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


def is_signed_in_a_token(fleet):
    """the same key in a PKCS#11 token gives the same signatures of the loader and of the update"""
    folder = fleet.folder / "token"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "keys").mkdir(parents=True)
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    softhsm = {"SOFTHSM2_CONF": str(folder / "conf"), "PKCS11_MODULE_PATH": "/usr/lib/softhsm/libsofthsm2.so"}

    def tool(*words):
        subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL, env=os.environ | softhsm)

    tool("softhsm2-util", "--init-token", "--free", "--label", "images", "--pin", "1234", "--so-pin", "1234")
    tool("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", fleet.keys / "db.key", "-out", folder / "key.pem")
    tool("softhsm2-util", "--import", folder / "key.pem", "--token", "images", "--label", "db", "--id", "01", "--pin", "1234")
    (folder / "keys/db.key").write_text("pkcs11:token=images;object=db;type=private?pin-value=1234\n")
    shutil.copyfile(fleet.keys / "db.crt", folder / "keys/db.crt")
    sys.path.insert(0, str(ROOT / "images"))
    from hallmark_images import sign

    os.environ.update(softhsm)
    loader = folder / "loader.efi"
    shutil.copyfile(fleet.at("1.0.0") / "loader.efi", loader)
    tool("sbattach", "--remove", loader)
    sign.image(loader, folder / "keys", folder / "signed.efi")
    assert (folder / "signed.efi").read_bytes() == (fleet.at("1.0.0") / "loader.efi").read_bytes()
    for keys, signature in ((folder / "keys", "token.sig"), (fleet.keys, "file.sig")):
        sign.file(loader, keys, folder / signature)
    assert (folder / "token.sig").read_bytes() == (folder / "file.sig").read_bytes()


CASES = [is_the_same, is_signed_in_a_token]
