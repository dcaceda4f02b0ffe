"""The baseline: what machines that boot the image will measure, computed by `hallmark baseline predict`."""

import pathlib
import tempfile

from . import run


def predict(out: pathlib.Path, package: pathlib.Path, variables: pathlib.Path, name: str, version: str, loader: str | None):
    """Writes `baseline.json` for machines with these firmware variables; `package` is that of the command line, `loader` what starts the image
    where that is not the firmware itself."""
    with tempfile.TemporaryDirectory() as folder:
        run("dpkg-deb", "-x", package, folder)
        # Within the folder, since the baseline says which files it was computed from.
        run(
            pathlib.Path(folder) / "usr/bin/hallmark", "baseline", "predict", "--uki", "image.efi",
            *(["--earlier-image", loader] if loader else []), "--firmware-variables", variables, "--phase", "stub", "--name", f"{name}-{version}", "--at", "2026-01-01T00:00:00Z", "-o", "baseline.json",
            cwd=out,
        )
