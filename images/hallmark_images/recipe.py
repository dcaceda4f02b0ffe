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
    # Paths, with wildcards, that the root does without.
    remove: list[str]
    # Units of systemd: enabled as UNIT = "TARGET", and masked.
    enable: dict[str, str]
    mask: list[str]
    # Kernel modules of the root and of the initrd, by name; what they depend on follows.
    root_modules: list[str]
    initrd_modules: list[str]
    # Programs of the root that the initrd has as well.
    initrd_programs: list[str]
    command_line: str
    # Sizes of the partitions, in MiB.
    esp: int
    root: int
    data: int


def read(name: str) -> Recipe:
    """The recipe of this name."""
    return load(Recipe, name, FOLDER, "recipe.toml")


def load(kind, name: str, place: pathlib.Path, file: str):
    """What `kind`, a dataclass, has no default for, as the file of the folder `name` below `place` says it."""
    folder = place / name
    path = folder / file
    known = sorted(found.parent.name for found in place.glob(f"*/{file}"))
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ImageError(f"there is no {path}", f"known: {', '.join(known)}") from None
    except tomllib.TOMLDecodeError as error:
        raise ImageError(f"{path}: {error}", "put the line right") from None
    wanted = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING} - {"name", "folder"}
    if table.keys() != wanted:
        missing, unknown = sorted(wanted - table.keys()), sorted(table.keys() - wanted)
        raise ImageError(f"{path}: missing keys {missing}, unknown keys {unknown}", f"compare it with another: {', '.join(known)}")
    return kind(name=name, folder=folder, **table)
