"""A recipe: what an image consists of. TOML; a key that does not exist is refused."""

import dataclasses
import pathlib
import tomllib

from . import FOLDER, ImageError


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One image."""

    name: str
    folder: pathlib.Path
    # Debian packages beside what they depend on, and packages of this project.
    packages: list[str]
    hallmark: list[str]
    # The kernel's package: one that depends on that of the newest version.
    kernel: str
    # Folders beside the recipe's that are laid over the root, before its own `overlay`.
    overlays: list[str]
    # Files of the site, which go to /etc/hallmark, and the command in the root that looks at them.
    site: list[str]
    site_check: list[str]
    # Paths, with wildcards, that the root does without.
    remove: list[str]
    # Units of systemd: enabled as UNIT = "TARGET", and masked.
    enable: dict[str, str]
    mask: list[str]
    # Kernel modules of the root and of the initrd, by name, or "@" and a list of images/hardware.toml; what they depend on follows.
    root_modules: list[str]
    initrd_modules: list[str]
    # Programs of the root that the initrd has as well.
    initrd_programs: list[str]
    command_line: str


@dataclasses.dataclass(frozen=True)
class DiskRecipe(Recipe):
    """An image that is a machine's disk."""

    # Sizes of the partitions, in MiB.
    esp: int
    root: int
    data: int


@dataclasses.dataclass(frozen=True)
class NetbootRecipe(Recipe):
    """An image that runs in memory: one file that firmware fetches over the network."""

    # Paths of the root, with wildcards, that are in memory as well.
    initrd_files: list[str]


def read(name: str) -> Recipe:
    """The recipe of this name; which kind it is follows from its keys."""
    kind = NetbootRecipe if "initrd_files" in table(name, FOLDER, "recipe.toml") else DiskRecipe
    found = load(kind, name, FOLDER, "recipe.toml")
    lists = tomllib.loads((FOLDER / "hardware.toml").read_text())

    def modules(named: list[str]) -> list[str]:
        try:
            return [module for word in named for module in (lists[word[1:]] if word.startswith("@") else [word])]
        except KeyError as unknown:
            raise ImageError(f"{found.folder}/recipe.toml names the list {unknown}, which {FOLDER}/hardware.toml does not have", f"known: {', '.join(lists)}") from None

    return dataclasses.replace(found, root_modules=modules(found.root_modules), initrd_modules=modules(found.initrd_modules))


def table(name: str, place: pathlib.Path, file: str) -> dict:
    """What the file of the folder `name` below `place` says."""
    path = place / name / file
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ImageError(f"there is no {path}", f"known: {', '.join(_known(place, file))}") from None
    except tomllib.TOMLDecodeError as error:
        raise ImageError(f"{path}: {error}", "put the line right") from None


def load(kind, name: str, place: pathlib.Path, file: str):
    """What `kind`, a dataclass, has no default for, as the file of the folder `name` below `place` says it."""
    folder, said = place / name, table(name, place, file)
    wanted = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING} - {"name", "folder"}
    if said.keys() != wanted:
        missing, unknown = sorted(wanted - said.keys()), sorted(said.keys() - wanted)
        known = ", ".join(_known(place, file))
        raise ImageError(f"{folder / file}: missing keys {missing}, unknown keys {unknown}", f"compare it with another: {known}")
    return kind(name=name, folder=folder, **said)


def _known(place: pathlib.Path, file: str) -> list[str]:
    return sorted(found.parent.name for found in place.glob(f"*/{file}"))
