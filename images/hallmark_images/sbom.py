"""What packages and images consist of, as CycloneDX 1.6: Debian packages, the crates that each program lists of itself (cargo-auditable), and the
programs' SHA-256."""

import json
import pathlib
import tempfile
import venv

from . import FOLDER, REPOSITORY, ImageError, run, sha256, stable_uuid
from .container import CREATED
from .root import PACKAGES

TOOLS = REPOSITORY / "target" / "images" / "tools"
REQUIREMENTS = FOLDER / "requirements.txt"


def scanner() -> pathlib.Path:
    """Syft, in an environment of its own; installed where it is not there, of the version and with the hash that requirements.txt names."""
    stamp = TOOLS / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        venv.create(TOOLS, with_pip=True, clear=True)
        run(TOOLS / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", REQUIREMENTS)
        stamp.write_text(REQUIREMENTS.read_text())
    return TOOLS / "bin" / "syft"


def of_package(package: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """The list of a Debian package's own content."""
    name, version, _ = package.name.split("_")
    with tempfile.TemporaryDirectory() as folder:
        run("dpkg-deb", "--extract", package, folder)
        found = _scan("dir:.", name, version, folder)
        found["components"] += _programs(pathlib.Path(folder), version)
        return _write(found, name, version, out)


def of_container(layout: pathlib.Path, version: str, out: pathlib.Path) -> pathlib.Path:
    """The list of a container image."""
    return _write(_scan(f"oci-dir:{layout.name}", layout.name, version, layout.parent), f"{layout.name}.oci", version, out)


def of_image(image: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """The list of a machine image: its root's packages, the kernel's among them, Hallmark's programs, and their crates."""
    facts = json.loads((image / "image.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / "root"
        run("fsck.erofs", f"--extract={tree}", image / "root.img")
        # Where it is looked for.
        status = tree / "var/lib/dpkg/status"
        status.parent.mkdir(parents=True, exist_ok=True)
        (tree / PACKAGES).rename(status)
        name = f"hallmark-{facts['name']}"
        found = _scan("dir:.", name, facts["version"], tree)
        own = [component["version"] for component in found["components"] if component.get("purl", "").startswith("pkg:deb/debian/hallmark")]
        found["components"] += _programs(tree, own[0] if own else facts["version"])
        return _write(found, f"{name}.image", facts["version"], out)


def _programs(tree: pathlib.Path, version: str) -> list[dict]:
    """Hallmark's programs of a tree, each with the SHA-256 of its file."""
    return [
        {"type": "application", "bom-ref": f"/usr/bin/{path.name}", "name": f"/usr/bin/{path.name}", "version": version, "hashes": [{"alg": "SHA-256", "content": sha256(path)}]}
        for path in sorted((tree / "usr/bin").glob("hallmark*"))
    ]


def _scan(source: str, name: str, version: str, folder) -> dict:
    # From within: what is found is referred to by its path.
    words = ["scan", source, "--quiet", "--output", "cyclonedx-json@1.6", "--source-name", name, "--source-version", version]
    # dpkg's list names each program and module by its package; what is guessed from their bytes would be there twice.
    words += ["--select-catalogers", "-binary-classifier-cataloger,-linux-kernel-cataloger"]
    found = run(scanner(), *words, cwd=folder)
    return json.loads(found)


def _write(found: dict, name: str, version: str, out: pathlib.Path) -> pathlib.Path:
    """Without what differs from build to build: times and random numbers."""
    crates = sum(component.get("purl", "").startswith("pkg:cargo/") for component in found.get("components", []))
    if not crates:
        raise ImageError(f"the programs in {name} do not list their crates", "pack what `make packages` builds (cargo auditable); a debug build has no list")
    found["serialNumber"] = f"urn:uuid:{stable_uuid('sbom', name, version)}"
    found["metadata"]["timestamp"] = CREATED
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{name}_{version}.cdx.json"
    file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    return file
