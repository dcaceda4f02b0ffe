"""The lock file: every Debian package of an image, by version and SHA-256.

A line is `NAME VERSION SHA256 FILE SIZE`. Packages come from the archive that this machine's apt knows, by name and version; what comes has to have
the hash. The archive forgets old versions: what was fetched is kept in target/images/packages.
"""

import os
import pathlib
import re
import tempfile
import urllib.parse

from . import REPOSITORY, ImageError, run, sha256
from .recipe import Recipe

KEPT = REPOSITORY / "target" / "images" / "packages"
LINE = re.compile(r"^([a-z0-9][a-z0-9.+-]+) (\S+) ([0-9a-f]{64}) (\S+) (\d+)$")
# What apt would fetch: an address, a file's name and its size. The hash beside them is not always SHA-256.
FETCHED = re.compile(r"^'[^']+' ([a-z0-9][^_ ]*)_([^_ ]+)_[a-z0-9]+\.deb \d+")


def path(recipe: Recipe) -> pathlib.Path:
    """Where a recipe's lock file is."""
    return recipe.folder / "packages.lock"


def renew(recipe: Recipe) -> str:
    """Writes the lock file anew, of what the archive has now; says what changed."""
    before = _lines(path(recipe)) if path(recipe).exists() else {}
    with tempfile.TemporaryDirectory() as empty:
        status = pathlib.Path(empty) / "status"
        status.touch()
        options = ["-o", f"Dir::State::Status={status}", "-o", "APT::Install-Recommends=false", "-o", "Debug::NoLocking=1"]
        if recipe.kernel:
            listed = run("apt-get", "-y", "--print-uris", *options, "install", *_essential(), *recipe.packages).decode()
        else:
            # A container's packages are named one by one: what a package wants of a machine is not followed.
            listed = run("apt-get", "download", "--print-uris", *recipe.packages).decode()
        # Of the kernel the image takes the files alone; its package's scripts and dependencies are for machines that update in place.
        if recipe.kernel:
            kernel = re.search(r"^Depends:.*?(linux-image-\S+)", run("apt-cache", "show", "--no-all-versions", recipe.kernel).decode(), re.M)
            if not kernel:
                raise ImageError(f"{recipe.kernel} depends on no kernel", f"put `kernel` in {recipe.folder}/recipe.toml right")
            listed += run("apt-get", "download", "--print-uris", kernel[1]).decode()
    wanted = [(found[1], urllib.parse.unquote(found[2])) for line in listed.splitlines() if (found := FETCHED.match(line))]
    if not wanted:
        raise ImageError("apt names no package", "apt-get update")
    now = {}
    for paragraph in run("apt-cache", "show", *[f"{name}={version}" for name, version in wanted]).decode().split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Filename|SHA256|Size): (.+)$", paragraph, re.M))
        if len(fields) == 5:
            now[fields["Package"]] = (fields["Package"], fields["Version"], fields["SHA256"], os.path.basename(fields["Filename"]), fields["Size"])
    if lost := {name for name, _ in wanted} - now.keys():
        raise ImageError(f"apt has no SHA-256 of {' '.join(sorted(lost))}", "apt-get update")
    path(recipe).write_text("".join(" ".join(now[name]) + "\n" for name in sorted(now)))
    changed = [name for name in sorted(now | before) if now.get(name) != before.get(name)]
    return f"{path(recipe)}: {len(now)} packages, {len(changed)} changed: {' '.join(changed)}"


def fetch(recipe: Recipe) -> list[pathlib.Path]:
    """The packages that the lock file names, each with the hash that it names."""
    if not path(recipe).exists():
        raise ImageError(f"{path(recipe)} is missing", f"{_command(recipe)} lock {recipe.name}")
    KEPT.mkdir(parents=True, exist_ok=True)
    files, missing = [], []
    for name, version, digest, file, _ in _lines(path(recipe)).values():
        kept = KEPT / file
        if kept.exists() and sha256(kept) == digest:
            files.append(kept)
        else:
            missing.append((name, version, digest, kept))
    if missing:
        _download(recipe, missing)
    return sorted(files + [kept for _, _, _, kept in missing])


def _download(recipe: Recipe, missing: list[tuple[str, str, str, pathlib.Path]]):
    with tempfile.TemporaryDirectory(dir=KEPT) as folder:
        wanted = [f"{name}={version}" for name, version, _, _ in missing]
        try:
            run("apt-get", "download", *wanted, cwd=folder)
        except ImageError as error:
            gone = [name for name in wanted if f"'{name.split('=')[1]}'" in str(error)] or wanted
            raise ImageError(
                f"the lock file is stale: the archive does not give {' '.join(gone)}",
                f"apt-get update; then {_command(recipe)} lock {recipe.name}, or put the old packages into {KEPT}", "HM-IMAGE-0058",
            ) from None
        fetched = {(fields[0], urllib.parse.unquote(fields[1])): file for file in pathlib.Path(folder).glob("*.deb") if (fields := file.name.split("_"))}
        for name, version, digest, kept in missing:
            file = fetched[(name, version)]
            if (found := sha256(file)) != digest:
                raise ImageError(
                    f"{name} {version} is not what the lock file names: SHA-256 {found} instead of {digest}",
                    f"if the archive is right, {_command(recipe)} lock {recipe.name}", "HM-IMAGE-0058",
                )
            file.rename(kept)


def _command(recipe) -> str:
    return "images/build" if recipe.kernel else "images/container"


def _lines(file: pathlib.Path) -> dict[str, tuple[str, ...]]:
    lines = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        found = LINE.match(line)
        if not found or "/" in found[4]:
            raise ImageError(f"{file}:{number}: not NAME VERSION SHA256 FILE SIZE", "renew the lock file")
        lines[found[1]] = found.groups()
    return lines


def _essential() -> list[str]:
    listed = run("apt-cache", "dumpavail").decode(errors="replace")
    names = set()
    for paragraph in listed.split("\n\n"):
        if "\nEssential: yes" in paragraph or "\nPriority: required" in paragraph:
            if found := re.match(r"Package: (\S+)", paragraph):
                if re.search(r"^Architecture: (amd64|all)$", paragraph, re.M) and "\nEssential: yes" in paragraph:
                    names.add(found[1])
    return sorted(names)
