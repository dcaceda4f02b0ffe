"""A fleet of one server and as many machines as a test boots: the server on this host's loopback, images built for it, firmware keys of its own."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from machine import Machine

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAMS = pathlib.Path(os.environ.get("HALLMARK_BIN_DIR", TARGET / "debug"))
# Where QEMU's user network shows the host's loopback.
HOST = "10.0.2.2"


class Fleet:
    """A running server, and what its machines are made of."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.rules, self.seen, self.appliances = folder, 0, None, {}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.keys = folder / "keys"
        subprocess.run([ROOT / "images/keys", self.keys], check=True)
        packed = os.environ | {"BUILT": str(PROGRAMS.resolve()), "OUT": str(folder / "packages")}
        subprocess.run([ROOT / "scripts/packages"], check=True, stdout=subprocess.DEVNULL, env=packed)

    def __enter__(self):
        lab = self.folder / "lab"
        self.server = subprocess.Popen(
            [PROGRAMS / "hallmark-lab", "up", "--dir", lab, "--nodes", "0", "--trust-domain", "fleet.example", "-o", "json"],
            stdout=subprocess.PIPE, env=os.environ | {"HALLMARK_BIN_DIR": str(PROGRAMS)},
        )
        line = self.server.stdout.readline()
        if not line:
            raise AssertionError("hallmark-lab did not come up; its messages stand above")
        self.lab = json.loads(line)["server"]
        self.tpm_maker = lab / "tpm-maker"
        self.hallmark("entry", "create", "--spiffe-id", "/nodes/edge", "--parent-id", "/spire/server", "--selector", "tpm2:class:simulator")
        self.hallmark("entry", "create", "--spiffe-id", "/gateway", "--parent-id", "/nodes/edge", "--selector", "unix:user:gateway")
        return self

    def __exit__(self, *_):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(30)

    def hallmark(self, *words) -> str:
        """What the command line answers, as the server's administrator."""
        done = subprocess.run(
            [PROGRAMS / "hallmark", *map(str, words)], env=os.environ | {"HALLMARK_ADMIN_SOCKET": self.lab["admin_socket"]},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        if done.returncode:
            raise AssertionError(f"hallmark {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def image(self, version: str, change=None) -> pathlib.Path:
        """Builds an image of this version for machines of this fleet; `change` may change its site's folder first."""
        site, out = self.folder / f"site-{version}", self.at(version)
        if out.exists():
            return out
        shutil.copytree(ROOT / "tests/images/site", site, symlinks=True)
        port = self.lab["address"].rpartition(":")[2]
        (site / "agent.toml").write_text(
            f'version = 1\ntrust_domain = "fleet.example"\ndata_dir = "/var/lib/hallmark-agent"\n\n'
            f'[server]\naddress = "{HOST}:{port}"\ntrust_bundle = "/etc/hallmark/bundle.pem"\n'
        )
        shutil.copyfile(self.lab["bundle_file"], site / "bundle.pem")
        if change:
            change(site)
        folders = ["--site", site, "--keys", self.keys, "--packages", self.folder / "packages", "--out", out]
        subprocess.run([ROOT / "images/build", "edge", "--version", version, *folders], check=True, stdout=subprocess.DEVNULL)
        return out

    def at(self, version: str) -> pathlib.Path:
        """Where the image of this version is."""
        return self.folder / f"image-{version}"

    def allow(self, *versions: str):
        """Puts rules in force: Secure Boot, and what these images measure, is what a machine has to prove."""
        for version in versions:
            self.import_baseline(self.at(version))
        self.require(*[f"edge-{version}" for version in versions])

    def import_baseline(self, image: pathlib.Path):
        """Puts the baseline of an image in force."""
        baseline, signer = image / "baseline.signed.json", self.keys / "db.crt"
        self.hallmark("baseline", "import", baseline, "--signer", signer, "--yes", "--reason", "an image of this fleet")

    def require(self, *baselines: str):
        """Puts rules in force: Secure Boot, and one of these baselines."""
        self.rules += 1
        policy = self.folder / "policy.toml"
        named = ", ".join(f'"{baseline}"' for baseline in baselines)
        policy.write_text(
            f'version = 1\nname = "edge"\nserial = {self.rules}\n\n[boot]\nsecure_boot = true\nsetup_mode = false\n'
            f'baselines = [{named}]\n\n[boot.pcrs]\n13 = "zero"\n'
        )
        self.hallmark("policy", "apply", policy, "--yes", "--reason", "these images may boot")

    def machine(self, name: str, disk: pathlib.Path | None = None, variables: pathlib.Path | None = None, **more) -> Machine:
        """A machine of this fleet: of the first image and with the fleet's firmware keys, unless said otherwise."""
        return Machine(self.folder / name, disk or self.at("1.0.0") / "disk.img", variables or self.keys / "vars.fd", self.tpm_maker, **more)

    def verdict(self, limit: float = 60) -> "Verdict":
        """The newest verdict on a machine that is newer than the last one that was asked for."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            records = json.loads(self.hallmark("record", "list", "--kind", "verdict", "--limit", "1", "-o", "json"))
            if records and records[-1] != self.seen:
                self.seen = records[-1]
                return Verdict(records[-1])
            time.sleep(1)
        raise AssertionError(f"no verdict in {limit} s")


class Verdict:
    """What the server said of a machine."""

    def __init__(self, record: dict):
        self.trusted, self.code, detail = not record["code"], record["code"], record["detail"]
        reasons = detail.get("facts", {}).get("reasons", [])
        self.reasons = [f"{reason['code']} {reason['text']}" for reason in reasons] or [f"{record['code']} {detail.get('text')}; {detail.get('compared')}"]

    def __repr__(self):
        return f"{'trusted' if self.trusted else 'refused'}:\n    " + "\n    ".join(self.reasons)
