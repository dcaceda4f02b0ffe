"""The site: what a fleet adds to its image. It becomes part of the root, so it is measured and signed with it."""

import dataclasses
import os
import pathlib
import shutil
import tomllib

from . import ImageError, run
from .overlay import lay_over

# FOLDER has the agent's configuration and the trust bundle of its server; `root`, if it is there, is laid over the root.
FILES = ("agent.toml", "bundle.pem")


@dataclasses.dataclass(frozen=True)
class Site:
    """A fleet's own folder, and the certificate whose images its machines take as updates."""

    folder: pathlib.Path
    signer: pathlib.Path

    def check(self):
        """Whether everything is there, and nothing that would be left out in silence."""
        for name in FILES:
            if not (self.folder / name).is_file():
                raise ImageError(f"the site's {self.folder / name} is missing", "docs/how-to/build-edge-image.md says what a site's folder has")
        unknown = sorted(path.name for path in self.folder.iterdir() if path.name not in (*FILES, "root"))
        if unknown:
            raise ImageError(f"{self.folder} has {' '.join(unknown)}, which have no place in the image", f"put files of the image below {self.folder}/root")

    def trust_domain(self) -> str:
        """The trust domain of the agent; the agent has checked its configuration by then."""
        return tomllib.loads((self.folder / FILES[0]).read_text())["trust_domain"]

    def lay_over(self, tree: pathlib.Path):
        """Puts the site's files into the tree, and lets the agent in it check its configuration."""
        lay_over(self.folder / "root", tree)
        configuration = tree / "etc/hallmark"
        for name in FILES:
            shutil.copyfile(self.folder / name, configuration / name)
            os.chmod(configuration / name, 0o644)
        signers = configuration / "image-signers"
        signers.mkdir(exist_ok=True)
        shutil.copyfile(self.signer, signers / "image.pem")
        os.chmod(signers / "image.pem", 0o644)
        try:
            run("chroot", tree, "/usr/bin/hallmark-agent", "config", "check", "--config", "/etc/hallmark/agent.toml")
        except ImageError as error:
            raise ImageError(f"the agent does not take the site's {FILES[0]}: {error}", f"put {self.folder / FILES[0]} right") from None
