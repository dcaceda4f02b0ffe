"""A machine for tests: QEMU with UEFI firmware and a TPM simulator. It is slow (no hardware virtualisation) and real: firmware, Secure Boot,
boot loader, kernel and TPM do what they do on a board."""

import os
import pathlib
import re
import shutil
import subprocess
import threading
import time

FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
# Where firmware or boot loader wait for a key: nothing more comes.
STUCK = re.compile(r"Access Denied|Security Violation|No bootable option|Press any key|BdsDxe: failed to load.*Access Denied")


class Machine:
    """One boot of one machine; the TPM's state and the firmware's variables stay in `folder` from boot to boot."""

    def __init__(
        self, folder: pathlib.Path, disk: pathlib.Path | str, variables: pathlib.Path, tpm_maker: pathlib.Path, *, keep_disk=False, script="", updates=None,
        netboot=None, ports=None, tpm="2.0", network=True, sticks=(), serial="",
    ):
        """`script` runs as root in the machine (images of tests have a unit for that); `updates` are
        files that it finds as /dev/disk/by-id/virtio-NAME; `netboot` is what its network offers by PXE: it starts what its firmware's own boot entries
        say, and not always its disk; `ports` are those of this host's loopback that lead to ports of the machine; `tpm` is the TPM's version, or None
        for a machine that has none; `sticks` are files that it has as USB sticks, and those that end in .iso as CDs of a USB drive; `network` is False
        for none, "first" where firmware starts from it before all else, "two" for the same with a first card more, whose network gives addresses and leads
        nowhere, "six" for one of IPv6 alone; `serial` is the disk's serial number."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.disk, self.keep_disk, self.more = folder, disk, keep_disk, []
        if script:
            (folder / "script").write_text(script)
            self.more += ["-fw_cfg", f"name=opt/hallmark/trial,file={folder / 'script'}"]
        for number, (name, file) in enumerate((updates or {}).items()):
            self.more += ["-drive", f"if=none,id=update{number},format=raw,readonly=on,file={file}"]
            self.more += ["-device", f"virtio-blk-pci,drive=update{number},serial={name}"]
        if sticks:
            self.more += ["-device", "qemu-xhci,id=usb"]
        for number, file in enumerate(sticks):
            medium = ",media=cdrom,readonly=on" if file.suffix == ".iso" else ""
            self.more += ["-drive", f"if=none,id=stick{number},format=raw,file={file}{medium}", "-device", f"usb-storage,bus=usb.0,drive=stick{number}"]
        self.first, self.offered = ("", f",tftp={netboot.parent},bootfile={netboot.name}") if netboot else (",bootindex=1", "")
        self.offered += "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in (ports or {}).items())
        self.version, self.network, self.serial = tpm, network, f",serial={serial}" if serial else ""
        self.variables = folder / "vars.fd"
        if not self.variables.exists():
            shutil.copyfile(variables, self.variables)
        self.tpm = folder / "tpm"
        if tpm and not self.tpm.exists():
            manufacture(self.tpm, tpm_maker, tpm)
        self.lines: list[str] = []
        self.times: list[float] = []
        # Of the lines, how many have been waited for.
        self.passed = 0
        self.news = threading.Condition()
        self.ended = False

    def __enter__(self):
        socket = self.folder / "tpm.sock"
        socket.unlink(missing_ok=True)
        self.simulator, chip = None, []
        if self.version:
            spoken = ["--tpm2"] if self.version == "2.0" else []
            command = ["swtpm", "socket", *spoken, "--tpmstate", f"dir={self.tpm}", "--ctrl", f"type=unixio,path={socket}", "--terminate"]
            self.simulator = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            while not socket.exists():
                time.sleep(0.02)
            kind = "tpm-crb" if self.version == "2.0" else "tpm-tis"
            chip = ["-chardev", f"socket,id=tpm,path={socket}", "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", f"{kind},tpmdev=tpm0"]
        spoken = ",ipv4=off,ipv6-prefix=fd00::" if self.network == "six" else ""
        order = ",bootindex=1" if self.network in ("first", "two") else ""
        card = ["-netdev", f"user,id=net0{self.offered}{spoken}", "-device", f"virtio-net-pci,netdev=net0,romfile={order}"]
        card = card if self.network else ["-nic", "none"]
        if self.network == "two":
            card = ["-netdev", "user,id=side,restrict=on", "-device", "virtio-net-pci,netdev=side,romfile=", *card]
        command = [
            "qemu-system-x86_64", "-machine", "q35,smm=on", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
            "-nodefaults", "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot",
            "-global", "driver=cfi.pflash01,property=secure,value=on",
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE}",
            "-drive", f"if=pflash,format=raw,unit=1,file={self.variables}",
            *chip, *card, "-device", "virtio-rng-pci",
            "-drive", f"if=none,id=disk0,format=raw,file={self.disk},cache=writeback" + ("" if self.keep_disk else ",snapshot=on"),
            "-device", f"virtio-blk-pci,drive=disk0{self.first}{self.serial}", *self.more,
        ]
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        return self

    def _read(self):
        with open(self.folder / "console.log", "ab") as log:
            for line in self.process.stdout:
                text = re.sub(r"\x1b\[[0-9;=?]*[A-Za-z]", "", line.decode(errors="replace")).strip()
                spent = time.monotonic() - self.began
                log.write(f"[{spent:7.2f}] {text}\n".encode())
                log.flush()
                with self.news:
                    self.lines.append(text)
                    self.times.append(spent)
                    self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def wait_for(self, pattern: str, limit: float = 600, again=False) -> re.Match:
        """The first line with the pattern, or with `again` the first behind the one that was waited for so before; the machine's end, or a
        firmware that waits for a key, ends the wait as well."""
        wanted, until, seen = re.compile(pattern), time.monotonic() + limit, self.passed if again else 0
        with self.news:
            while True:
                for number, line in enumerate(self.lines[seen:], seen + 1):
                    if found := wanted.search(line):
                        self.passed = number if again else self.passed
                        return found
                    if STUCK.search(line):
                        raise AssertionError(f"the firmware stopped at {line!r} while {pattern!r} was awaited")
                seen = len(self.lines)
                left = until - time.monotonic()
                if self.ended or left <= 0:
                    raise AssertionError(f"{'the machine ended' if self.ended else f'{limit} s passed'} before {pattern!r}; last lines:\n  " + "\n  ".join(self.lines[-15:]))
                self.news.wait(min(left, 1))

    def seen_at(self, pattern: str, limit: float = 600) -> float:
        """When, in seconds from power-on, the first line with the pattern came; waits for it."""
        self.wait_for(pattern, limit)
        with self.news:
            return next(spent for line, spent in zip(self.lines, self.times) if re.search(pattern, line))

    def type(self, text: str):
        """Types a line at the console."""
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def wait_for_end(self, limit: float = 600):
        """The machine turns itself off, or starts anew, which ends QEMU as well."""
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the machine still runs after {limit} s; last lines:\n  " + "\n  ".join(self.lines[-15:])) from None
        self.reader.join(10)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.reader.join(5)
        if not self.simulator:
            return
        try:
            self.simulator.wait(3)
        except subprocess.TimeoutExpired:
            self.simulator.terminate()
            self.simulator.wait()


def manufacture(tpm: pathlib.Path, maker: pathlib.Path, version: str):
    """A TPM of this version; of 2.0 with an EK certificate of the CA in `maker`."""
    tpm.mkdir(parents=True, exist_ok=True)
    made = ["--tpm2", "--create-ek-cert", "--create-platform-cert", "--lock-nvram"] if version == "2.0" else []
    subprocess.run(
        ["swtpm_setup", *made, "--tpmstate", tpm, "--overwrite", "--config", maker / "setup.conf"],
        check=True, stdout=subprocess.DEVNULL, env=os.environ,
    )
