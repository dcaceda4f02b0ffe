"""A server appliance: the questions of its first start, typed at its console, and a node that gets its identity from it."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import changes
import refusals
from fleet import PROGRAMS, ROOT
from machine import Machine, manufacture

TRUST_DOMAIN, PIN, OTHER_PIN = "appliance.example", "correct 4711 horse", "correct 4712 horse"
SITE = """
[attestation.tpm2]
ek_roots = ["/etc/hallmark/ek-roots"]
allowed_classes = ["simulator"]
"""


class Appliance:
    """Images of one site, a machine's disk, and who administers it."""

    def __init__(self, fleet, name: str, prepare=None):
        """`prepare` may change the site's folder."""
        self.fleet, self.name, self.folder, self.bundle = fleet, name, fleet.folder / name, None
        self.site, roots = self.folder / "site", self.folder / "site/root/etc/hallmark/ek-roots"
        roots.mkdir(parents=True)
        (self.site / "site.toml").write_text(SITE)
        # A machine makes the maker's certificates, with its TPM.
        manufacture(self.folder / "node", fleet.tpm_maker, "2.0")
        for file in ("swtpm-localca-rootca-cert.pem", "issuercert.pem"):
            shutil.copyfile(fleet.tpm_maker / file, roots / file)
        self.key, other = self.folder / "alice", self.folder / "bob"
        for key in (self.key, other):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key.name, "-f", key], check=True)
        named = self.site / "root/etc/hallmark/administrators"
        named.mkdir()
        shutil.copyfile(other.with_suffix(".pub"), named / "bob")
        for trial in ("usr/lib/hallmark-test/trial", "etc/systemd/system/trial.service", "etc/systemd/system/multi-user.target.wants/trial.service"):
            (self.site / "root" / trial).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "tests/images/site/root" / trial, self.site / "root" / trial, follow_symlinks=False)
        if prepare:
            prepare(self.site / "root")
        self.image = self.build("1.0.0")
        self.disk = self.new_disk()
        self.port, self.ssh = free_port(), free_port()

    def build(self, version: str) -> pathlib.Path:
        """An image of the site as it is now."""
        image = self.folder / f"image-{version}"
        folders = ["--site", self.site, "--keys", self.fleet.keys, "--packages", self.fleet.folder / "packages", "--out", image]
        subprocess.run([ROOT / "images/build", "appliance", "--version", version, *folders], check=True, stdout=subprocess.DEVNULL)
        return image

    def new_disk(self) -> pathlib.Path:
        """The disk of a machine that had no first start."""
        return changes.disk(self.image, self.folder / "disk.img")

    def start(self, machine="machine", **more) -> Machine:
        ports = {self.port: 8081, self.ssh: 22}
        return Machine(self.folder / machine, self.disk, self.fleet.keys / "vars.fd", self.fleet.tpm_maker, keep_disk=True, ports=ports, **more)

    @contextlib.contextmanager
    def administered(self, machine: Machine):
        """The command line, as the administrator alice has it, through SSH; the host key is the one that the console showed."""
        shown = machine.wait_for(r"host key \d+ (SHA256:\S+)")[1]
        known, admin = self.folder / "known_hosts", self.folder / "admin.sock"
        admin.unlink(missing_ok=True)
        options = ["-i", self.key, "-p", str(self.ssh), "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes"]
        options += ["-o", "ExitOnForwardFailure=yes", "-o", "ConnectTimeout=60"]
        forward = ["ssh", *options, "-N", "-L", f"{admin}:/run/hallmark-server/admin.sock", "alice@127.0.0.1"]
        log = open(self.folder / "ssh.log", "ab")
        tunnel = subprocess.Popen([str(word) for word in forward], stderr=log)

        def is_there():
            nonlocal tunnel
            if tunnel.poll() is not None:
                # QEMU takes connections before anybody in the machine does.
                tunnel = subprocess.Popen([str(word) for word in forward], stderr=log)
            return admin.exists()

        try:
            within(180, "the forwarded admin socket", is_there)
            found = subprocess.run(["ssh-keygen", "-l", "-f", known], check=True, stdout=subprocess.PIPE, text=True).stdout
            assert shown in found, (shown, found)
            yield lambda *words: hallmark(admin, *words), options
        finally:
            tunnel.kill()
            tunnel.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def reached(port: int) -> bool:
    """Whether somebody listens there; what is asked for is sent, and the answer, or the end, waited for."""
    with socket.socket() as client:
        client.settimeout(30)
        if client.connect_ex(("127.0.0.1", port)):
            return False
        client.sendall(b"\x16\x03\x01")
        with contextlib.suppress(OSError):
            client.recv(1)
        return True


def hallmark(admin: pathlib.Path, *words) -> str:
    done = subprocess.run([PROGRAMS / "hallmark", "--socket", admin, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, f"hallmark {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def within(limit: float, what: str, is_so):
    until = time.monotonic() + limit
    while not (answer := is_so()):
        assert time.monotonic() < until, f"{limit} s passed before {what}"
        # Real time: nothing tells when another program has come so far.
        time.sleep(0.5)
    return answer


def answer(machine: Machine, question: str, *typed: str):
    """Waits for a question, and types one line or, where it is asked again, several."""
    for text in typed:
        machine.wait_for(rf"\? {question}", again=True)
        machine.type(text)


@contextlib.contextmanager
def node(appliance: Appliance, bundle: str):
    """A machine of the fleet with a TPM simulator: an agent on this host, and the socket at which workloads ask it."""
    folder = appliance.folder / "agent"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    port = free_port()
    simulator = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={appliance.folder / 'node'}", "--server", f"type=tcp,port={port},bindaddr=127.0.0.1",
         "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1", "--flags", "not-need-init,startup-clear"],
    )
    tcti = f"swtpm:host=127.0.0.1,port={port}"
    # What firmware does: it measures something into each register of the boot.
    extend = ["tpm2_pcrextend", *[f"{register}:sha256={register + 1:064x}" for register in range(8)]]
    told = {"env": os.environ | {"TPM2TOOLS_TCTI": tcti}, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    within(30, "the TPM simulator", lambda: subprocess.run(extend, **told).returncode == 0)
    (folder / "bundle.pem").write_text(bundle)
    (folder / "agent.toml").write_text(
        f'version = 1\ntrust_domain = "{TRUST_DOMAIN}"\ndata_dir = "{folder / "state"}"\n[server]\naddress = "127.0.0.1:{appliance.port}"\n'
        f'trust_bundle = "{folder / "bundle.pem"}"\n[tpm]\ntcti = "{tcti}"\n[measurements]\ntcg = ""\nsystemd = ""\nima = ""\n'
        f'[workload_api]\nsocket = "{folder / "workload.sock"}"\n'
    )
    agent = subprocess.Popen([PROGRAMS / "hallmark-agent", "run", "--config", folder / "agent.toml"], stderr=open(folder / "agent.log", "wb"), stdout=subprocess.DEVNULL)
    try:
        yield agent, folder
    finally:
        for process in (agent, simulator):
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def identity_of(folder: pathlib.Path, agent) -> str:
    """The SVID that a workload of this host gets."""

    def fetched():
        assert agent.poll() is None, (folder / "agent.log").read_text()[-2000:]
        fetch = [PROGRAMS / "hallmark-agent", "api", "fetch", "x509", "--socket", folder / "workload.sock"]
        done = subprocess.run(fetch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout if done.returncode == 0 else None

    return within(180, "an SVID", fetched)


def questions(machine: Machine, appliance: Appliance):
    """Everything that is asked, with a wrong answer first each time."""
    answer(machine, "trust domain", "Appliance Example", TRUST_DOMAIN)
    machine.wait_for("HM-IMAGE-0040: 'Appliance Example' is not a trust domain")
    answer(machine, "label", 'a "label"', "")
    machine.wait_for("HM-IMAGE-0041")
    answer(machine, "user PIN", PIN)
    answer(machine, "once more", OTHER_PIN)
    machine.wait_for("HM-IMAGE-0042: the two PINs differ")
    answer(machine, "user PIN", "123")
    answer(machine, "once more", "123")
    machine.wait_for("HM-IMAGE-0043: the PIN has 3 characters")
    answer(machine, "user PIN", PIN)
    answer(machine, "once more", PIN)
    answer(machine, "login name", "", "root", "alice")
    machine.wait_for("HM-IMAGE-0044: nobody could administer")
    machine.wait_for("HM-IMAGE-0044: 'root' is not a name, or it is taken")
    answer(machine, "SSH public key", "no key")
    machine.wait_for("HM-IMAGE-0044: this is not the public key of alice")
    answer(machine, "login name", "alice")
    answer(machine, "SSH public key", appliance.key.with_suffix(".pub").read_text().strip())
    answer(machine, "login name", "")


def of(fleet) -> Appliance:
    """The fleet's appliance with SoftHSM; built where it is asked for first."""
    if "appliance" not in fleet.appliances:
        fleet.appliances["appliance"] = Appliance(fleet, "appliance")
    return fleet.appliances["appliance"]


def first_start(fleet):
    """asked on its console, it becomes a server: bad answers are told; a power cut half-way leaves nothing; a node gets its SVID"""
    appliance = of(fleet)
    with appliance.start() as machine:
        answer(machine, "trust domain", "cut.example")
        answer(machine, "label", "")
        answer(machine, "user PIN", PIN)
        # The power goes here.
    with appliance.start() as machine:
        questions(machine, appliance)
        machine.wait_for("done. The questions do not come again")
        as_predicted(machine, appliance.image)
        serves(appliance, machine)
        shown = "\n".join(machine.lines)
        assert PIN not in shown and OTHER_PIN not in shown and "cut.example" not in shown


def as_predicted(machine: Machine, image: pathlib.Path):
    """Whether the TPM's registers are those that the image's baseline has."""
    baseline = json.loads((image / "baseline.json").read_text())["registers"]
    measured = {register: machine.wait_for(rf"measured {register} ([0-9a-f]{{64}})")[1] for register in baseline}
    assert all(value in baseline[register] for register, value in measured.items()) and len(baseline) == 5, (measured, baseline)


def serves(appliance: Appliance, machine: Machine):
    """An administrator is let in, and may do nothing beside; a node attests, and a workload on it gets its SVID."""
    with appliance.administered(machine) as (administer, options):

        def answered():
            # SSH is there before the server has opened its socket.
            try:
                return json.loads(administer("status", "-o", "json"))
            except AssertionError:
                return None

        status = within(180, "the server", answered)
        assert status["trust_domain"] == TRUST_DOMAIN, status
        if not json.loads(administer("entry", "list", "-o", "json")):
            administer("entry", "create", "--spiffe-id", "/nodes/all", "--parent-id", "/spire/server", "--selector", "tpm2:class:simulator")
            administer("entry", "create", "--spiffe-id", "/workload", "--parent-id", "/nodes/all", "--selector", f"unix:uid:{os.getuid()}")
        shell = subprocess.run(["ssh", *map(str, options), "alice@127.0.0.1", "id; cat /etc/passwd"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        assert "root:" not in shell.stdout and TRUST_DOMAIN in shell.stdout, shell.stdout
        port, said = free_port(), appliance.folder / "onward.log"
        with open(said, "wb") as log:
            onward = subprocess.Popen(["ssh", *map(str, options), "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:8081", "alice@127.0.0.1"], stderr=log)
            within(60, "a forwarded port", lambda: reached(port))
            within(60, "the refusal of a port of the network", lambda: "open failed" in said.read_text())
            onward.kill()
            onward.wait()
        # Whom the image names is let in by their own key, and nobody by another's.
        bob = [appliance.folder / "bob" if word == appliance.key else word for word in options]
        status = subprocess.run(["ssh", *map(str, bob), "bob@127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert TRUST_DOMAIN in status.stdout, status.stdout
        for name in ("root", "bob"):
            refused = subprocess.run(["ssh", *map(str, options), f"{name}@127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            assert refused.returncode and "Permission denied" in refused.stdout, refused.stdout
        bundle = administer("bundle", "show", "--format", "pem")
        # The same authority as at the last start.
        assert appliance.bundle in (None, bundle), (appliance.bundle, bundle)
        appliance.bundle = bundle
        with node(appliance, bundle) as (agent, folder):
            assert f"spiffe://{TRUST_DOMAIN}/workload" in identity_of(folder, agent)


def comes_back(fleet):
    """started again it asks nothing, has the same authority, and serves"""
    appliance = of(fleet)
    with appliance.start() as machine:
        serves(appliance, machine)
        assert not any(line.startswith("? ") for line in machine.lines), machine.lines


def keeps_its_pin(fleet):
    """with Secure Boot off the TPM keeps the PIN back: the console asks for it, tells a wrong one, and then the server runs"""
    appliance = of(fleet)
    shutil.copyfile(refusals.UNSIGNED_OVMF, appliance.folder / "machine/vars.fd")
    with appliance.start() as machine:
        machine.wait_for("HM-IMAGE-0049: the TPM does not release the PIN")
        assert not any("hallmark-server[" in line for line in machine.lines), machine.lines
        answer(machine, "user PIN", OTHER_PIN)
        machine.wait_for("HM-IMAGE-0045: the token hallmark does not take this PIN: .*CKR_PIN_INCORRECT")
        answer(machine, "user PIN", PIN)
        machine.wait_for("serving address")
        assert not any(pin in line for line in machine.lines for pin in (PIN, OTHER_PIN)), machine.lines


CASES = [first_start, comes_back, keeps_its_pin]
