"""The root's tree: the locked packages, installed; the site's files; what the recipe does without, removed."""

import hashlib
import os
import pathlib
import shutil
import tempfile

from . import REPOSITORY, ImageError, run, sha256
from .kernel import Kernel, modules
from .overlay import lay_over
from .recipe import Recipe
from .site import Site

# Every file of every image has this time: 2026-01-01T00:00:00Z.
EPOCH = 1767225600
# Debian's part of a root takes a minute to install, and is the same until the lock file changes.
BASES = REPOSITORY / "target" / "images" / "bases"
# In the root: its packages, in the form of dpkg's status.
PACKAGES = "usr/lib/hallmark-image/packages"
INSTALL = [
    "mmdebstrap", "--mode=root", "--variant=custom", "--quiet", '--aptopt=APT::Install-Recommends "false"',
    # Scripts of packages call awk, which mawk's own script would give that name too late for some.
    '--setup-hook=mkdir -p "$1/usr/bin" && ln -s mawk "$1/usr/bin/awk"',
    *[f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info", "bash-completion", "zsh")],
]


def build(recipe: Recipe, packages: list[pathlib.Path], own: list[pathlib.Path], kernel: Kernel, site: Site, version: str, tree: pathlib.Path):
    """Makes the tree at `tree`, of Debian's packages, this project's own, and the site's files."""
    _install(packages, tree)
    for package in own:
        _unpack(package, tree)
    _list(packages, own, tree)
    _remove(recipe, tree)
    _empty(tree)
    for overlay in recipe.overlays:
        lay_over(recipe.folder.parent / overlay, tree)
    lay_over(recipe.folder / "overlay", tree)
    (tree / "etc/hostname").write_text(f"{recipe.name}\n")
    site.lay_over(tree)
    run("systemd-sysusers", f"--root={tree}", env=os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)})
    (tree / "etc/.pwd.lock").unlink(missing_ok=True)
    release = tree / "usr/lib/os-release"
    release.write_text(release.read_text() + f"IMAGE_ID=hallmark-{recipe.name}\nIMAGE_VERSION={version}\n")
    _units(recipe, tree)
    modules.install(kernel, recipe.root_modules, tree)


def leave_out_of_root(tree: pathlib.Path):
    """Removes what the initrd and the boot partition have taken, and the root does without."""
    for path in ("bin/busybox", "usr/lib/systemd/boot/efi"):
        _delete(tree / path)


def _install(packages, tree):
    named = {package: package.name.split("_")[0] for package in packages if not package.name.startswith("linux-image-")}
    key = hashlib.sha256("\n".join(INSTALL + [sha256(package) for package in sorted(named)]).encode()).hexdigest()
    base = BASES / f"{key}.tar"
    if not base.exists():
        BASES.mkdir(parents=True, exist_ok=True)
        # Not below BASES: apt's list of sources takes no path with blanks.
        with tempfile.TemporaryDirectory() as folder:
            archive = pathlib.Path(folder) / "archive"
            archive.mkdir()
            for package in named:
                shutil.copy(package, archive / package.name)
            (archive / "Packages").write_bytes(run("dpkg-scanpackages", "--multiversion", ".", cwd=archive))
            made = base.with_suffix(".new")
            run(
                *INSTALL, f"--include={','.join(named.values())}", "--format=tar", "bookworm", made, f"deb [trusted=yes] copy:{archive} ./",
                env=os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH), "TZ": "UTC", "LC_ALL": "C.UTF-8"},
            )
            made.rename(base)
    tree.mkdir(parents=True)
    run("tar", "-C", tree, "--exclude=./dev/*", "-xf", base)


def _unpack(package, tree):
    # dpkg -x would put a folder in the place of the link /lib.
    with tempfile.NamedTemporaryFile() as tar:
        tar.write(run("dpkg-deb", "--fsys-tarfile", package))
        tar.flush()
        run("tar", "-C", tree, "--keep-directory-symlink", "-xf", tar.name)


def _list(packages, own, tree):
    """What is in the image, for whoever looks for vulnerable packages: dpkg's list, and what was unpacked without it."""
    listed = (tree / "var/lib/dpkg/status").read_text().rstrip("\n")
    for package in [package for package in packages if package.name.startswith("linux-image-")] + own:
        listed += f"\n\n{run('dpkg-deb', '--field', package).decode().strip()}\nStatus: install ok installed"
    kept = tree / PACKAGES
    kept.parent.mkdir(parents=True)
    kept.write_text(listed + "\n")


def _remove(recipe, tree):
    for pattern in recipe.remove:
        for path in sorted(tree.glob(pattern)):
            _delete(path)


def _empty(tree):
    for folder in ("var/log", "var/cache", "var/tmp", "tmp"):
        for path in sorted((tree / folder).glob("*")):
            _delete(path)
    # Where the boot partition is mounted.
    (tree / "efi").mkdir()
    # Empty: the machine gets an id of its own at each boot.
    (tree / "etc/machine-id").write_text("")


def _delete(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _units(recipe, tree):
    units = tree / "etc/systemd/system"
    for unit, target in sorted(recipe.enable.items()):
        found = [folder for folder in ("etc/systemd/system", "lib/systemd/system") if (tree / folder / unit).exists()]
        if not found:
            raise ImageError(f"the recipe enables {unit}, which no package of the image has", f"put `enable` in {recipe.folder}/recipe.toml right")
        wants = units / f"{target}.wants"
        wants.mkdir(parents=True, exist_ok=True)
        link = wants / unit
        link.unlink(missing_ok=True)
        link.symlink_to(f"/{found[0]}/{unit}")
    for unit in sorted(recipe.mask):
        link = units / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
