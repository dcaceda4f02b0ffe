"""Signatures by the key whose certificate is in the firmware's `db`: a PEM file, or a key in a PKCS#11 token."""

import hashlib
import os
import pathlib

from . import ImageError, run

# `db.key` is a PEM file, or one line `pkcs11:…` that names a key in a token.
KEY, CERTIFICATE = "db.key", "db.crt"


def check(keys: pathlib.Path):
    """Whether the folder of keys has what signing needs, and the key is the certificate's."""
    for name in (KEY, CERTIFICATE):
        if not (keys / name).exists():
            raise ImageError(f"the Secure Boot key {keys / name} is missing", f"images/keys {keys} makes a set for a lab", "HM-IMAGE-0057")
    named = _token(keys)
    engine = ["-engine", "pkcs11", "-inform", "engine", "-in", named] if named else ["-in", keys / KEY]
    key, certificate = run("openssl", "pkey", *engine, "-pubout", "-outform", "DER"), public_key(keys)
    if key != certificate:
        raise ImageError(
            f"{keys / KEY} is not the key of {keys / CERTIFICATE}: their public keys have the SHA-256 {hashlib.sha256(key).hexdigest()} and {hashlib.sha256(certificate).hexdigest()}",
            "put the certificate of this key beside it: machines would refuse what it signs", "HM-IMAGE-0057",
        )


def image(source: pathlib.Path, keys: pathlib.Path, signed: pathlib.Path):
    """Signs a PE file for Secure Boot.

    An RSA signature with PKCS#1 padding is the same each time; the time of signing that sbsign adds is that of the image's files.
    """
    key = _token(keys)
    engine = ["--engine", "pkcs11", "--key", key] if key else ["--key", keys / KEY]
    run("sbsign", *engine, "--cert", keys / CERTIFICATE, "--output", signed, source, env=os.environ | at_a_fixed_time())
    run("sbverify", "--cert", keys / CERTIFICATE, signed)


def file(source: pathlib.Path, keys: pathlib.Path, signature: pathlib.Path):
    """Writes a signature of a file beside it (SHA-256, as `openssl dgst -verify` takes it)."""
    key = _token(keys)
    engine = ["-engine", "pkcs11", "-keyform", "engine", "-sign", key] if key else ["-sign", keys / KEY]
    run("openssl", "dgst", "-sha256", *engine, "-out", signature, source)


def public_key(keys: pathlib.Path) -> bytes:
    """The public key of the certificate: SPKI, DER."""
    pem = run("openssl", "x509", "-in", keys / CERTIFICATE, "-noout", "-pubkey")
    return run("openssl", "pkey", "-pubin", "-outform", "DER", input=pem)


def at_a_fixed_time() -> dict[str, str]:
    """What a program's environment needs to be told another time. Without the program `faketime`, whose semaphores get in the way of builds beside this one."""
    found = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        raise ImageError("libfaketime is missing: a signature would have the time of this build", "scripts/deps images")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": "2026-01-01 00:00:00", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "TZ": "UTC"}


def _token(keys: pathlib.Path) -> str | None:
    named = (keys / KEY).read_text().strip()
    return named if named.startswith("pkcs11:") else None
