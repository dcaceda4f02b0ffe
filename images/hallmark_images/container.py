"""Container images in the OCI layout (image-spec 1.0), written without a daemon: Debian's packages in one layer, Hallmark's in the next.

No package's script runs: a layer is the packages' files, what shells and package managers would add left out. The packages' control files are kept
below /var/lib/dpkg/status.d, where scanners look for what an image consists of.
"""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import tarfile
import tempfile

from . import FOLDER, ImageError, recipe, run
from .root import EPOCH

# Nobody's id on any Debian machine: the programs are not root, also outside of their container.
USER = 65532
CREATED = "2026-01-01T00:00:00Z"
# What a program does without.
LEFT_OUT = re.compile(
    r"^(usr/share/(man|info|locale|lintian|bug|bash-completion|zsh|fish|doc-base|gcc|gdb)(/|$)|usr/share/doc/[^/]+/(?!copyright$)|lib/systemd/|usr/lib/(systemd|sysusers\.d|tmpfiles\.d)/"
    r"|etc/(init\.d|default|systemd)/)"
)
# Packages that the programs' packages want for a machine that boots, which a container is not.
OF_MACHINES = {"systemd", "systemd-standalone-sysusers", "systemd-sysusers", "tpm-udev"}
MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
LINKED = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}


@dataclasses.dataclass(frozen=True)
class Container:
    """What a container image consists of. TOML; a key that does not exist is refused."""

    name: str
    folder: pathlib.Path
    # Debian packages, without what they depend on, and packages of this project.
    packages: list[str]
    hallmark: list[str]
    entrypoint: list[str]
    command: list[str]
    ports: list[str]
    volumes: list[str]
    environment: dict[str, str]
    # Folders that the program writes to, with their modes.
    folders: dict[str, str]
    files: dict[str, str]
    # A container has none.
    kernel: None = None


def read(name: str) -> Container:
    """The container of this name."""
    return recipe.load(Container, name, FOLDER / "containers", "container.toml")


def build(container: Container, packages: list[pathlib.Path], own: list[pathlib.Path], version: str, out: pathlib.Path):
    """Writes the image's layout into the folder `out`."""
    _require_complete(packages, own)
    system, program = _Layer(), _Layer()
    system.folder("usr", 0o755)
    for place, target in LINKED.items():
        system.folder(target, 0o755)
        system.link(place, target)
    for package in packages:
        system.package(package)
    system.file("etc/passwd", f"root:x:0:0:root:/:/usr/sbin/nologin\nhallmark:x:{USER}:{USER}:hallmark:/:/usr/sbin/nologin\n")
    system.file("etc/group", f"root:x:0:\nhallmark:x:{USER}:\n")
    system.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    system.file("usr/lib/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n')
    system.link("etc/os-release", "../usr/lib/os-release")
    system.folder("tmp", 0o1777)
    for package in own:
        program.package(package)
    for path, text in container.files.items():
        program.file(path.lstrip("/"), text.lstrip("\n"))
    for path, mode in container.folders.items():
        program.folder(path.lstrip("/"), int(mode, 8), USER)
    _require_libraries(system, program)

    blobs = out / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers, contents = [], []
    for layer in (system, program):
        content = layer.tar()
        contents.append(_digest(content))
        layers.append(_put(blobs, gzip.compress(content, 9, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip"))
    labels = {
        "org.opencontainers.image.title": f"hallmark-{container.name}",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.created": CREATED,
    }
    config = {
        "created": CREATED,
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Env": ["PATH=/usr/bin:/usr/sbin"] + [f"{name}={value}" for name, value in sorted(container.environment.items())],
            "Entrypoint": container.entrypoint,
            "Cmd": container.command,
            "ExposedPorts": {port: {} for port in container.ports},
            "Volumes": {volume: {} for volume in container.volumes},
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": contents},
        "history": [{"created": CREATED, "created_by": f"images/container {container.name}: {part}"} for part in ("Debian's packages", "Hallmark's")],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _put(blobs, _json(config), "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
        "annotations": labels,
    }
    entry = _put(blobs, _json(manifest), manifest["mediaType"]) | {
        "annotations": {"org.opencontainers.image.ref.name": version},
        "platform": {"architecture": "amd64", "os": "linux"},
    }
    (out / "index.json").write_bytes(_json({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}))
    (out / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def archive(layout: pathlib.Path, file: pathlib.Path):
    """The layout as one file, as `skopeo copy oci-archive:FILE`, `podman load` and `ctr images import` take it."""
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(layout.rglob("*")):
            info = tarfile.TarInfo(str(path.relative_to(layout)))
            info.mtime = EPOCH
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size, info.mode = path.stat().st_size, 0o644
                with open(path, "rb") as content:
                    tar.addfile(info, content)


class _Layer:
    """A layer: files by their paths, with owners and modes and no times."""

    def __init__(self):
        self.members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def package(self, package: pathlib.Path):
        """All files of a Debian package, and its control file."""
        with tarfile.open(fileobj=io.BytesIO(run("dpkg-deb", "--fsys-tarfile", package))) as tar:
            for member in tar:
                path = os.path.normpath(member.name.lstrip("./")) if member.name not in (".", "./") else ""
                if not path or LEFT_OUT.match(path) or LEFT_OUT.match(path + "/"):
                    continue
                # Debian 12 has one /usr: what a package still puts beside it goes there.
                if path.split("/")[0] in MERGED:
                    path = "usr/" + path
                    if "/" not in path.removeprefix("usr/"):
                        continue
                content = tar.extractfile(member).read() if member.isreg() else b""
                if member.islnk():
                    found = os.path.normpath(member.linkname.lstrip("./"))
                    member, content = self.members["usr/" + found if found.split("/")[0] in MERGED else found]
                self._add(path, member.type, member.mode, 0, member.linkname if member.issym() else "", content)
        control = run("dpkg-deb", "--field", package)
        self.file(f"var/lib/dpkg/status.d/{package.name.split('_')[0]}", control.decode())

    def folder(self, path: str, mode: int, owner: int = 0):
        self._add(path, tarfile.DIRTYPE, mode, owner, "", b"")

    def link(self, path: str, target: str):
        self._add(path, tarfile.SYMTYPE, 0o777, 0, target, b"")

    def file(self, path: str, text: str):
        self._add(path, tarfile.REGTYPE, 0o644, 0, "", text.encode())

    def _add(self, path: str, kind, mode: int, owner: int, target: str, content: bytes):
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.uid, info.gid, info.linkname = kind, mode, owner, owner, target
        info.size, info.mtime = len(content), EPOCH
        there = self.members.get(path)
        if there is None or not (there[0].isdir() and info.isdir()):
            self.members[path] = (info, content)

    def tar(self) -> bytes:
        """The layer, each folder before what is in it."""
        for path in list(self.members):
            for parent in pathlib.PurePosixPath(path).parents:
                if str(parent) != "." and str(parent) not in self.members:
                    self.folder(str(parent), 0o755)
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(self.members):
                info, content = self.members[path]
                tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
        return written.getvalue()


def _require_complete(packages: list[pathlib.Path], own: list[pathlib.Path]):
    """What this project's packages depend on is there."""
    names = {package.name.split("_")[0] for package in [*packages, *own]}
    for package in own:
        for wanted in run("dpkg-deb", "--field", package, "Depends").decode().split(","):
            choices = {re.split(r"[ (:]", choice.strip())[0] for choice in wanted.split("|")}
            if not choices & (names | OF_MACHINES):
                raise ImageError(f"{package.name} depends on {wanted.strip()}, which the image does not have", "put it into `packages` of container.toml; then renew its lock file")


def _require_libraries(system: _Layer, program: _Layer):
    """Every library that a program or library of the image is linked to is in it."""
    members = system.members | program.members
    there = {path.rsplit("/", 1)[1] for path in members if "/" in path}
    with tempfile.TemporaryDirectory() as folder:
        for path, (info, content) in sorted(members.items()):
            if not (info.isreg() and content.startswith(b"\x7fELF")):
                continue
            file = pathlib.Path(folder) / "file"
            file.write_bytes(content)
            needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-d", file).decode()))
            if missing := sorted(needed - there):
                raise ImageError(f"/{path} needs {' '.join(missing)}, which the image does not have", "put its package into `packages` of container.toml; then renew its lock file")


def _put(blobs: pathlib.Path, content: bytes, media_type: str) -> dict:
    digest = _digest(content)
    (blobs / digest.removeprefix("sha256:")).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _json(value) -> bytes:
    return (json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n").encode()
