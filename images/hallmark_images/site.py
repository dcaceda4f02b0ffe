"""The site: what a fleet adds to its image. It becomes part of the root, so it is measured and signed with it."""

import dataclasses
import os
import pathlib
import shutil
import tomllib

from . import ImageError, run, signers
from .overlay import lay_over
from .recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Site:
    """A fleet's own folder, and the certificate whose images its machines take as updates.

    The folder has the files that the recipe names; `root`, if it is there, is laid over the root.
    """

    folder: pathlib.Path
    signer: pathlib.Path
    recipe: Recipe

    def check(self):
        """Whether everything is there, and nothing that would be left out in silence."""
        for name in self.recipe.site:
            if not (self.folder / name).is_file():
                raise ImageError(f"the site's {self.folder / name} is missing", f"the site of {self.recipe.name} has {' '.join(self.recipe.site)}; docs/how-to says what is in them")
        unknown = sorted(path.name for path in self.folder.iterdir() if path.name not in (*self.recipe.site, "root"))
        if unknown:
            raise ImageError(f"{self.folder} has {' '.join(unknown)}, which have no place in the image", f"put files of the image below {self.folder}/root")
        signers.check_certificate(self.signer)
        signers.check(self.folder / "root" / signers.FOLDER)

    def trust_domain(self) -> str | None:
        """The trust domain of the image's agent, where it has one; the agent has checked its configuration by then."""
        configuration = self.folder / "agent.toml"
        return tomllib.loads(configuration.read_text())["trust_domain"] if configuration.exists() else None

    def lay_over(self, tree: pathlib.Path):
        """Puts the site's files into the tree, and lets the program in it that reads them check them."""
        lay_over(self.folder / "root", tree)
        configuration = tree / "etc/hallmark"
        for name in self.recipe.site:
            shutil.copyfile(self.folder / name, configuration / name)
            os.chmod(configuration / name, 0o644)
        own = tree / signers.FOLDER / signers.OWN
        own.parent.mkdir(exist_ok=True)
        shutil.copyfile(self.signer, own)
        os.chmod(own, 0o644)
        try:
            run("chroot", tree, *self.recipe.site_check)
        except ImageError as error:
            raise ImageError(f"{self.recipe.site[0]} of the site is not taken: {error}", f"put {self.folder / self.recipe.site[0]} right") from None
