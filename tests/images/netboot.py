"""Machines that are started over the network and installed: PXE, attestation, assignment, chunks over HTTP, the boot entry, the installed image."""

import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading

import changes
from fleet import HOST, ROOT

VERSION = "1.0.0"
NODE = re.compile(r"provision assign (\S+) ")


class ImageServer:
    """The chunks over HTTP on loopback. It counts what it gives, and holds back or changes what it is told to."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.netboot, self.given, self.tampered, self.held = folder, folder.parent / "netboot" / "image.efi", [], set(), None
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.content(self.path.lstrip("/"))

            def do_GET(self):
                name = self.path.lstrip("/")
                if len(outer.given) == outer.held:
                    # Half-way: whoever waits for this waits until the power goes.
                    outer.reached.set()
                    threading.Event().wait()
                if (content := self.content(name)) is not None:
                    outer.given.append(name)
                    self.wfile.write(content)

            def content(self, name: str) -> bytes | None:
                file = outer.netboot if name == "image.efi" else outer.folder / name
                if file.parent not in (outer.folder, outer.netboot.parent) or not file.is_file():
                    self.send_error(404)
                    return None
                content = file.read_bytes()
                if name in outer.tampered:
                    content = bytes([content[0] ^ 1]) + content[1:]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                return content

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.reached = threading.Event()
        self.at = f"http://{HOST}:{self.server.server_address[1]}"
        self.url = f"{self.at}/manifest"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def hold_behind(self, count: int):
        """Answers so many requests more, and then none."""
        self.held = len(self.given) + count

    def chunks(self) -> list[str]:
        """The chunks that it gave."""
        return [name for name in self.given if len(name) == 64]


def build(fleet, name: str, bundle: pathlib.Path) -> pathlib.Path:
    """Builds a netboot image whose machines know the server by this trust bundle."""
    out, site = fleet.folder / name, fleet.folder / f"site-{name}"
    site.mkdir()
    shutil.copyfile(fleet.folder / f"site-{VERSION}" / "agent.toml", site / "agent.toml")
    shutil.copyfile(bundle, site / "bundle.pem")
    folders = ["--site", site, "--keys", fleet.keys, "--packages", fleet.folder / "packages", "--out", out]
    subprocess.run([ROOT / "images/build", "provision", "--version", VERSION, *folders], check=True, stdout=subprocess.DEVNULL)
    return out


def prepare(fleet) -> pathlib.Path:
    """Builds the netboot image and the chunks of the edge image, and puts rules in force that both satisfy. Gives the folder of the chunks."""
    out, chunks = fleet.folder / "netboot", fleet.folder / "chunks"
    if out.exists():
        return chunks
    build(fleet, "netboot", fleet.folder / f"site-{VERSION}" / "bundle.pem")
    disk = fleet.at(VERSION) / "disk.img"
    subprocess.run([ROOT / "images/build", "manifest", disk, "--keys", fleet.keys, "--out", chunks], check=True, stdout=subprocess.DEVNULL)
    fleet.import_baseline(out)
    fleet.require(f"edge-{VERSION}", f"provision-{VERSION}")
    return chunks


def blank(fleet, name: str) -> pathlib.Path:
    """A blank disk that is a little larger than the image."""
    disk = fleet.folder / f"{name}.img"
    with open(disk, "wb") as file:
        file.truncate((fleet.at(VERSION) / "disk.img").stat().st_size + (5 << 20))
    return disk


def started(fleet, name: str, disk: pathlib.Path, **more):
    """The machine, started: from its disk where its firmware starts that, else over the network."""
    return fleet.machine(name, disk, keep_disk=True, netboot=fleet.folder / "netboot" / "image.efi", **more)


def by_http(fleet, server: ImageServer) -> pathlib.Path:
    """The fleet's firmware variables, with an address that is started once by UEFI HTTP boot."""
    variables = fleet.folder / "http.fd"
    tools = pathlib.Path(os.environ.get("HALLMARK_IMAGE_TOOLS", ROOT / "target/images/venv"))
    command = [tools / "bin/virt-fw-vars", "-i", fleet.keys / "vars.fd", "-o", variables, "--set-boot-uri", f"{server.at}/image.efi"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return variables


def assign(fleet, node: str, server: ImageServer, *more: str):
    """Assigns the edge image to a machine."""
    image = ["--manifest", server.folder / "manifest", "--url", server.url, "--baseline", f"edge-{VERSION}"]
    fleet.hallmark("provision", "assign", node, *image, *more, "--yes", "--reason", "a new gateway")


def stage(fleet, node: str) -> dict:
    """What the server says of the machine's installation."""
    return json.loads(fleet.hallmark("provision", "show", node, "-o", "json"))


def comes_back_installed(fleet, name: str, disk: pathlib.Path, node: str):
    """The machine, started anew, runs the edge image of its disk, attests by its baseline, and the server takes that for the end."""
    with started(fleet, name, disk) as machine:
        machine.wait_for("root in root-a")
        machine.wait_for("attested id=spiffe://fleet.example/spire/agent/tpm2/")
        verdict = fleet.verdict()
        assert verdict.trusted and f"HM-POLICY-0126 the boot matches the baseline edge-{VERSION}" in verdict.reasons, verdict
        found = stage(fleet, node)
        assert found["stage"] == "done", found


def installs(fleet):
    """a blank disk, named by its serial number, is installed over the second network card, and the machine comes back attested from it;
    started from the network once more, it goes to its disk"""
    with ImageServer(prepare(fleet)) as server:
        disk = blank(fleet, "installs")
        with started(fleet, "installs", disk, network="two", serial="EDGE-17") as machine:
            machine.wait_for("hallmark-server at .* does not answer by eth0", 600)
            node = machine.wait_for(NODE.pattern, 600)[1]
            verdict = fleet.verdict()
            assert verdict.trusted and f"HM-POLICY-0126 the boot matches the baseline provision-{VERSION}" in verdict.reasons, verdict
            assign(fleet, node, server, "--disk", "serial:EDGE-17")
            machine.wait_for("installed; the machine starts from its disk now", 600)
            machine.wait_for_end()
        assert stage(fleet, node)["stage"] == "restarting", stage(fleet, node)
        with open(disk, "rb") as file:
            file.seek(-512, os.SEEK_END)
            assert file.read(8) == b"EFI PART", "the partition table's second copy is at the end of the disk"
        assert len(set(server.chunks())) == len(server.chunks()), "each chunk was fetched once"
        comes_back_installed(fleet, "installs", disk, node)
        given = len(server.given)
        # Its firmware forgets the boot entry, and starts from the network.
        (fleet.folder / "installs" / "vars.fd").unlink()
        with started(fleet, "installs", disk, network="first", serial="EDGE-17") as machine:
            machine.wait_for("this machine was installed before: nothing is written", 600)
            machine.wait_for_end()
        found = stage(fleet, node)
        assert (found["stage"], found["returns"], len(server.given)) == ("restarting", 1, given), found
        comes_back_installed(fleet, "installs", disk, node)
    disk.unlink()


def refuses_and_goes_on(fleet):
    """a disk that is not blank, and a tampered chunk, are refused; after a power cut half-way the installation goes on where it was"""
    with ImageServer(prepare(fleet)) as server:
        disk = blank(fleet, "refuses")
        with open(disk, "r+b") as file:
            file.seek(1080)
            file.write(b"\x53\xef")  # ext4
        with started(fleet, "refuses", disk, variables=by_http(fleet, server)) as machine:
            node = machine.wait_for(NODE.pattern, 600)[1]
            assert "image.efi" in server.given, "the firmware fetched the image over HTTP"
            assign(fleet, node, server)
            machine.wait_for("HM-AGENT-0045", again=True)
            machine.wait_for("this machine waits for another attempt", again=True)
            machine.wait_for("the installation of this machine failed.*hallmark provision retry", again=True)
            found = stage(fleet, node)
            assert (found["stage"], found["code"]) == ("failed", "HM-AGENT-0045"), found

            first, *others = (server.folder / "manifest").read_text().splitlines()[6:]
            wanted = list(dict.fromkeys(others))
            server.tampered = {wanted[3]}
            assign(fleet, node, server, "--overwrite")
            machine.wait_for("HM-AGENT-0042", 600, again=True)
            machine.wait_for("this machine waits for another attempt", again=True)
            found = stage(fleet, node)
            assert (found["stage"], found["code"]) == ("failed", "HM-AGENT-0042"), found

            server.tampered = set()
            before = set(server.chunks()) - {wanted[3]}
            server.hold_behind(2 + 5)
            fleet.hallmark("provision", "retry", node, "--reason", "the file is whole again")
            assert server.reached.wait(600), "the machine asked for the next chunk"
        server.held = None
        half = set(server.chunks())
        with started(fleet, "refuses", disk) as machine:
            machine.wait_for("installed; the machine starts from its disk now", 900)
            machine.wait_for_end()
        # The first has the partition table, which each attempt looks at before it writes.
        again = [name for name in before | half if server.chunks().count(name) > 1 and name not in (first, wanted[3])]
        assert not again, f"{again} were fetched again"
        comes_back_installed(fleet, "refuses", disk, node)
    disk.unlink()


def stick(fleet, name: str, image: pathlib.Path) -> pathlib.Path:
    """A disk that firmware starts the image from: what is tried needs no network for that."""
    disk = fleet.folder / f"{name}.img"
    with open(disk, "wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.vfat", disk], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mmd", "-i", disk, "::EFI", "::EFI/BOOT"], check=True)
    subprocess.run(["mcopy", "-i", disk, image / "image.efi", "::EFI/BOOT/BOOTX64.EFI"], check=True)
    return disk


def says_what_is_wrong(fleet):
    """a machine without TPM, with TPM 1.2, without a network, with one of IPv6 that does not lead to the server, or before another server, says so on its console with a code and the next step"""
    prepare(fleet)
    disk = stick(fleet, "netboot-stick", fleet.folder / "netboot")
    faults = {
        "no-tpm": ("HM-TPM-0001: no TPM answers", {"tpm": None}),
        "tpm-1.2": ("HM-TPM-0023: the machine's TPM is of version 1.2", {"tpm": "1.2"}),
        "no-network": ("HM-IMAGE-0022: no network gives this machine an address", {"network": False}),
        "ipv6": ("address fd00:.* on eth0", {"network": "six"}),
    }
    for name, (message, more) in faults.items():
        with fleet.machine(name, disk, **more) as machine:
            machine.wait_for(message)
            machine.wait_for("next: ")
    stranger = changes.stranger(fleet.folder / "stranger")
    other = stick(fleet, "other-stick", build(fleet, "netboot-other", stranger / "db.crt"))
    with fleet.machine("other-server", other) as machine:
        machine.wait_for("HM-AGENT-0002: the endpoint at .* is not this trust domain's server")
        machine.wait_for("next: ")


CASES = [installs, refuses_and_goes_on, says_what_is_wrong]
