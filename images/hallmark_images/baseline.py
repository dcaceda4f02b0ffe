"""The baseline: what machines that boot the image will measure, computed by `hallmark baseline predict` and signed by the image's key."""

import base64
import hashlib
import json
import pathlib
import tempfile

from . import run, sign


def predict(out: pathlib.Path, package: pathlib.Path, variables: pathlib.Path, name: str, serial: int, loader: str | None):
    """Writes `baseline.json` for machines with these firmware variables; `package` is that of the command line, `loader` what starts the image
    where that is not the firmware itself."""
    with tempfile.TemporaryDirectory() as folder:
        run("dpkg-deb", "-x", package, folder)
        # Within the folder, since the baseline says which files it was computed from.
        run(
            pathlib.Path(folder) / "usr/bin/hallmark", "baseline", "predict", "--uki", "image.efi",
            # Machines come to the network after what they have tried before: blank disks, cards without an answer.
            *(["--earlier-image", loader] if loader else ["--failed-entries", "8"]), "--firmware-variables", variables, "--phase", "stub",
            "--name", name, "--serial", serial, "--at", "2026-01-01T00:00:00Z", "-o", "baseline.json",
            cwd=out,
        )


def seal(out: pathlib.Path, work: pathlib.Path, keys: pathlib.Path, trust_domain: str):
    """Writes `baseline.signed.json`: the baseline as a signed file of Hallmark (server/policy/src/signed.rs), for one trust domain."""
    payload = (out / "baseline.json").read_bytes()
    message, signature = work / "baseline.message", work / "baseline.signature"
    message.write_bytes(b"\0".join([b"hallmark signed file v2", trust_domain.encode(), b"baseline", payload]))
    sign.file(message, keys, signature)
    sealed = {
        "hallmark_signed_file": 2, "kind": "baseline", "trust_domain": trust_domain, "payload": base64.b64encode(payload).decode(),
        "key_id": hashlib.sha256(sign.public_key(keys)).hexdigest(), "signature": base64.b64encode(signature.read_bytes()).decode(),
    }
    (out / "baseline.signed.json").write_text(json.dumps(sealed, indent=2) + "\n")
