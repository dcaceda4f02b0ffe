"""The initrd: it finds the root whose hash the command line names, and starts it."""

import gzip
import pathlib
import re
import stat

from . import FOLDER, ImageError, run
from .kernel import Kernel, modules
from .recipe import NetbootRecipe, Recipe


class Archive:
    """A cpio archive as the kernel reads it (newc), without times or owners."""

    def __init__(self):
        self.octets = bytearray()
        self.entries = 0
        self.folders: set[str] = set()

    def _add(self, path: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)):
        self.entries += 1
        name = path.encode() + b"\0"
        fields = [self.entries, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0]
        self.octets += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self._pad()
        self.octets += data
        self._pad()

    def _pad(self):
        self.octets += bytes(-len(self.octets) % 4)

    def folder(self, path: str):
        """A folder, with those above it."""
        if path and path not in self.folders:
            self.folder(path.rpartition("/")[0])
            self.folders.add(path)
            self._add(path, stat.S_IFDIR | 0o755)

    def file(self, path: str, data: bytes, mode: int = 0o644):
        """A file."""
        self.folder(path.rpartition("/")[0])
        self._add(path, stat.S_IFREG | mode, data)

    def console(self):
        """The device that the kernel opens for init."""
        self.folder("dev")
        self._add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))

    def finish(self) -> bytes:
        """The archive, compressed."""
        self._add("TRAILER!!!", 0)
        return gzip.compress(bytes(self.octets), 9, mtime=0)


def build(recipe: Recipe, kernel: Kernel, tree: pathlib.Path) -> bytes:
    """The initrd of a recipe: busybox, the recipe's programs with their libraries, modules, and images/initrd/init."""
    archive = Archive()
    for folder in ("proc", "sys", "dev", "tmp", "run", "sysroot"):
        archive.folder(folder)
    archive.console()
    archive.file("bin/busybox", (tree / "bin/busybox").read_bytes(), 0o755)
    init = recipe.folder / "init"
    archive.file("init", (init if init.exists() else FOLDER / "initrd/init").read_bytes(), 0o755)
    loaded = modules.ordered(kernel, recipe.initrd_modules)
    for module in loaded:
        archive.file(f"modules/{module.name}", module.read_bytes())
    archive.file("modules/order", "".join(f"{module.name}\n" for module in loaded).encode())
    libraries = set()
    for program in recipe.initrd_programs:
        archive.file(program.lstrip("/"), (tree / program.lstrip("/")).resolve().read_bytes(), 0o755)
        libraries |= _libraries(tree, program)
    for pattern in recipe.initrd_files if isinstance(recipe, NetbootRecipe) else []:
        found = [path for path in sorted(tree.glob(pattern)) if path.is_file()]
        if not found:
            raise ImageError(f"the root has no {pattern}", f"put `initrd_files` in {recipe.folder}/recipe.toml right")
        for path in found:
            archive.file(str(path.relative_to(tree)), path.read_bytes(), path.stat().st_mode & 0o777)
            if path.suffix == ".0":
                libraries |= _libraries(tree, f"/{path.relative_to(tree)}")
    for library in sorted(libraries):
        place = "lib64" if "ld-linux" in library else "lib/x86_64-linux-gnu"
        archive.file(f"{place}/{pathlib.PurePath(library).name}", (tree / library.lstrip("/")).read_bytes(), 0o755)
    return archive.finish()


def _libraries(tree: pathlib.Path, program: str) -> set[str]:
    return set(re.findall(r"(/\S+) \(0x", run("chroot", tree, "/usr/bin/ldd", program).decode()))
