"""The kernel of an image: its files, unpacked from its package, and the modules that are taken of it."""

import dataclasses
import pathlib
import re
import shutil

from . import ImageError, run


@dataclasses.dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package."""

    folder: pathlib.Path
    version: str

    @property
    def image(self) -> pathlib.Path:
        """The kernel itself."""
        return self.folder / f"boot/vmlinuz-{self.version}"


def unpack(packages: list[pathlib.Path], folder: pathlib.Path) -> Kernel:
    """The kernel among the packages, unpacked; its scripts do not run."""
    found = [package for package in packages if package.name.startswith("linux-image-")]
    if len(found) != 1:
        raise ImageError(f"the lock file names {len(found)} kernels instead of one", "renew the lock file")
    run("dpkg-deb", "-x", found[0], folder)
    (image,) = folder.glob("boot/vmlinuz-*")
    return Kernel(folder, image.name.removeprefix("vmlinuz-"))


class modules:
    """Modules, each behind those that it depends on."""

    @staticmethod
    def ordered(kernel: Kernel, names: list[str]) -> list[pathlib.Path]:
        """The files of these modules and of what they depend on, in the order in which they load."""
        base = kernel.folder / "lib/modules" / kernel.version
        index = {path.name.removesuffix(".ko").replace("-", "_"): path for path in base.rglob("*.ko")}
        builtin = {pathlib.PurePath(line).name.removesuffix(".ko").replace("-", "_") for line in (base / "modules.builtin").read_text().splitlines()}
        order: list[pathlib.Path] = []
        # Apart from `order`: modules may ask for each other to be there before.
        seen: set[str] = set()

        def add(name: str):
            name = name.replace("-", "_")
            if name in builtin:
                return
            if name not in index:
                raise ImageError(f"kernel {kernel.version} has no module {name}", "put the modules of the recipe right")
            if name in seen:
                return
            seen.add(name)
            depends, before = modules.wants(index[name].read_bytes())
            for other in depends + [other for other in before if other.replace("-", "_") in index]:
                add(other)
            order.append(index[name])

        for name in names:
            add(name)
        return order

    @staticmethod
    def wants(module: bytes) -> tuple[list[str], list[str]]:
        """Of a module's own words (.modinfo): what it depends on, and what it would have loaded before, if there is such a module."""
        depends = re.search(rb"\0depends=([^\0]*)\0", b"\0" + module)
        before = [found[1].decode() for found in re.finditer(rb"\0softdep=(?:[^\0]*\s)?pre:([^\0:]*)(?=\0|\spost:)", b"\0" + module)]
        return depends[1].decode().split(",") if depends and depends[1] else [], " ".join(before).split()

    @staticmethod
    def install(kernel: Kernel, names: list[str], tree: pathlib.Path):
        """Puts the modules into a root, where modprobe finds them."""
        base = kernel.folder / "lib/modules" / kernel.version
        target = tree / "usr/lib/modules" / kernel.version
        target.mkdir(parents=True)
        for path in modules.ordered(kernel, names):
            place = target / path.relative_to(base)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        for name in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
            shutil.copyfile(base / name, target / name)
        run("depmod", "-b", tree, kernel.version)
