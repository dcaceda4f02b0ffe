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

        def add(name: str):
            name = name.replace("-", "_")
            if name in builtin:
                return
            if name not in index:
                raise ImageError(f"kernel {kernel.version} has no module {name}", "put the modules of the recipe right")
            if index[name] in order:
                return
            depends = re.search(rb"\0depends=([^\0]*)\0", b"\0" + index[name].read_bytes())
            for other in (depends[1].decode().split(",") if depends and depends[1] else []):
                add(other)
            order.append(index[name])

        for name in names:
            add(name)
        return order

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
