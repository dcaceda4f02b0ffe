"""Files that are laid over a root's tree."""

import os
import pathlib
import shutil


def lay_over(overlay: pathlib.Path, tree: pathlib.Path):
    """Copies the files of a folder over the tree: root's, 0644, or 0755 where they can be run."""
    if not overlay.exists():
        return
    for path in sorted(overlay.rglob("*")):
        place = tree / path.relative_to(overlay)
        if path.is_dir() and not path.is_symlink():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if path.is_symlink():
            place.symlink_to(os.readlink(path))
        else:
            shutil.copyfile(path, place)
            os.chmod(place, 0o755 if os.access(path, os.X_OK) else 0o644)
