"""This project's own packages, and their versions."""

import argparse
import pathlib
import re

from . import ImageError


def own_package(folder: pathlib.Path, name: str) -> pathlib.Path:
    packages = sorted(folder.glob(f"{name}_*_amd64.deb"))
    if len(packages) != 1:
        raise ImageError(f"{folder} has {len(packages)} packages {name} instead of one", "make packages")
    return packages[0]


def version(text: str) -> str:
    if not re.fullmatch(r"[0-9][0-9a-z.-]{0,39}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: a digit, then up to 39 of 0-9 a-z . -")
    return text
