"""A PKCS#11 token for tests of signing."""

import os
import pathlib
import shutil
import subprocess

PIN = "1234"


def token(folder: pathlib.Path, keys: pathlib.Path) -> pathlib.Path:
    """A folder of keys whose `db.key` names a token that has the key of `keys`; this process and its children find the token."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "keys").mkdir(parents=True)
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    os.environ.update({"SOFTHSM2_CONF": str(folder / "conf"), "PKCS11_MODULE_PATH": "/usr/lib/softhsm/libsofthsm2.so"})

    def tool(*words):
        subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)

    tool("softhsm2-util", "--init-token", "--free", "--label", "images", "--pin", PIN, "--so-pin", PIN)
    tool("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", keys / "db.key", "-out", folder / "key.pem")
    tool("softhsm2-util", "--import", folder / "key.pem", "--token", "images", "--label", "db", "--id", "01", "--pin", PIN)
    (folder / "keys/db.key").write_text(uri(PIN))
    shutil.copyfile(keys / "db.crt", folder / "keys/db.crt")
    return folder / "keys"


def uri(pin: str) -> str:
    """What `db.key` says of the token's key."""
    return f"pkcs11:token=images;object=db;type=private?pin-value={pin}\n"
