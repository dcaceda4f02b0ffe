"""The baseline: what machines that boot the image will measure, computed by `hallmark baseline predict`."""

import pathlib
import tempfile

from . import run


def predict(out: pathlib.Path, program: pathlib.Path, variables: pathlib.Path, name: str, version: str):
    """Writes `baseline.json` for machines with these firmware variables; `program` is the package of the command line."""
    with tempfile.TemporaryDirectory() as folder:
        run("dpkg-deb", "-x", program, folder)
        run(
            pathlib.Path(folder) / "usr/bin/hallmark", "baseline", "predict", "--uki", out / "image.efi", "--earlier-image", out / "loader.efi",
            "--firmware-variables", variables, "--phase", "stub", "--name", f"{name}-{version}", "--at", "2026-01-01T00:00:00Z", "-o", out / "baseline.json",
        )
