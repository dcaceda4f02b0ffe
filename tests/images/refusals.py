"""What was changed is refused: by the firmware, by the root's hashes, or by the server. The positive control is `good`: the same image, unchanged."""

import pathlib

import changes

FIRMWARE_REFUSES = r"(?i)access denied|security violation"
UNSIGNED_OVMF = pathlib.Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def by_firmware(fleet, name: str, file: pathlib.Path, place: str = changes.LISTED):
    """The firmware does not start the file in the place of the image; nothing of the machine ever runs."""
    disk = changes.disk(fleet.at("1.0.0"), fleet.folder / f"{name}.img")
    changes.put(disk, file, place)
    with fleet.machine(name, disk) as machine:
        machine.wait_for(FIRMWARE_REFUSES)
        assert not any("hallmark-image" in line for line in machine.lines), machine.lines
    disk.unlink()


def by_server(fleet, name: str, code: str, compared: str, disk: pathlib.Path, variables: pathlib.Path | None = None):
    """The machine comes up and asks, the server says no for this reason, and the workload has nothing."""
    with fleet.machine(name, disk, variables) as machine:
        machine.wait_for("root in root-a")
        machine.wait_for("HM-AGENT-0003")
        verdict = fleet.verdict()
        assert verdict.code == code and compared in verdict.reasons[0], f"{code} and {compared!r} were expected: {verdict}"
        assert not any("spiffe://fleet.example/gateway" in line for line in machine.lines), machine.lines


def edited(fleet, name: str, section: str, old: bytes, new: bytes) -> pathlib.Path:
    return changes.changed(fleet.at("1.0.0"), section, old, new, fleet.folder / f"{name}.efi")


def of_an_insider(fleet, name: str, section: str, old: bytes, new: bytes) -> pathlib.Path:
    """A disk whose image was changed by somebody who has the fleet's Secure Boot key."""
    disk = changes.disk(fleet.at("1.0.0"), fleet.folder / f"{name}.img")
    changes.put(disk, changes.signed(edited(fleet, name, section, old, new), fleet.keys), changes.LISTED)
    return disk


def changed_command_line(fleet):
    """a changed command line: the firmware refuses the image, whose signature fits no more"""
    by_firmware(fleet, "command-line", edited(fleet, "command-line", ".cmdline", b"loglevel=4", b"loglevel=7"))


def changed_initrd(fleet):
    """a changed initrd: the firmware refuses the image"""
    by_firmware(fleet, "initrd", edited(fleet, "initrd", ".initrd", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", b"\x1f\x8b\x08\x00\x01\x00\x00\x00"))


def unsigned(fleet):
    """an unsigned image: the firmware refuses it"""
    by_firmware(fleet, "unsigned", changes.unsigned(edited(fleet, "unsigned", ".cmdline", b"", b"")))


def rogue(fleet):
    """an image signed by a key that the firmware does not know: the firmware refuses it"""
    by_firmware(fleet, "rogue", changes.signed(edited(fleet, "rogue", ".cmdline", b"", b""), changes.stranger(fleet.folder / "stranger")))


def unsigned_loader(fleet):
    """an unsigned boot loader: the firmware refuses it"""
    loader = fleet.folder / "loader.efi"
    loader.write_bytes((fleet.at("1.0.0") / "loader.efi").read_bytes())
    by_firmware(fleet, "loader", changes.unsigned(loader), "EFI/BOOT/BOOTX64.EFI")


def command_line_of_an_insider(fleet):
    """a changed command line, signed by the fleet's key: it boots, and the server refuses what it measured"""
    by_server(fleet, "insider-line", "HM-POLICY-0126", "got sha256:4, sha256:9, sha256:11, sha256:12 differs from edge-1.0.0", of_an_insider(fleet, "insider-line", ".cmdline", b"loglevel=4", b"loglevel=7"))


def initrd_of_an_insider(fleet):
    """a changed initrd, signed by the fleet's key: it boots, and the server refuses what it measured"""
    disk = of_an_insider(fleet, "insider-initrd", ".initrd", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", b"\x1f\x8b\x08\x00\x01\x00\x00\x00")
    by_server(fleet, "insider-initrd", "HM-POLICY-0126", "got sha256:4, sha256:9, sha256:11 differs from edge-1.0.0", disk)


def secure_boot_off(fleet):
    """the good image with Secure Boot off: it boots, and the server refuses it by name"""
    by_server(fleet, "secure-boot-off", "HM-POLICY-0102", "off", fleet.at("1.0.0") / "disk.img", UNSIGNED_OVMF)


def changed_root_at_the_start(fleet):
    """a root whose first block was changed: the initrd finds no root, says so, and starts the machine anew"""
    disk = changes.disk(fleet.at("1.0.0"), fleet.folder / "root-start.img")
    changes.flip(disk, changes.slot_a(disk) + 1024 + 16)
    with fleet.machine("root-start", disk) as machine:
        machine.wait_for("HM-IMAGE-0001: no slot has the root")
        machine.wait_for_end()


def changed_root(fleet):
    """one bit of the agent's program changed on the disk: the machine ends itself before it runs"""
    disk = changes.disk(fleet.at("1.0.0"), fleet.folder / "root.img")
    changes.flip_root(disk, fleet.at("1.0.0") / "root.img", "/usr/bin/hallmark-agent")
    with fleet.machine("root", disk) as machine:
        machine.wait_for("root in root-a")
        machine.wait_for(r"verity.*is corrupted")
        machine.wait_for_end()
        assert not any("attested" in line for line in machine.lines), machine.lines


def injected_credential(fleet):
    """a credential laid beside the image on the boot partition: it is measured, and the server refuses it"""
    disk = changes.disk(fleet.at("1.0.0"), fleet.folder / "credential.img")
    credential = fleet.folder / "extra.cred"
    credential.write_bytes(b"a credential\n")
    changes.put(disk, credential, f"{changes.LISTED}.extra.d/extra.cred")
    by_server(fleet, "credential", "HM-POLICY-0126", "got sha256:9, sha256:12 differs from edge-1.0.0", disk)


def injected_extension(fleet):
    """a system extension laid beside the image: it is measured, and the server refuses it"""
    disk = changes.disk(fleet.at("1.0.0"), fleet.folder / "extension.img")
    extension = fleet.folder / "extra.raw"
    extension.write_bytes(b"a system extension".ljust(4096, b"\0"))
    changes.put(disk, extension, f"{changes.LISTED}.extra.d/extra.raw")
    by_server(fleet, "extension", "HM-POLICY-0125", "13", disk)


def injected_add_on(fleet):
    """an add-on that is signed by the fleet's key and changes the command line, laid beside the image: it has no effect on the machine, which runs, and
    proves, the command line of its image"""
    disk = changes.disk(fleet.at("1.0.0"), fleet.folder / "add-on.img")
    add_on = changes.add_on(fleet.at("1.0.0"), "loglevel=7 hallmark.injected", fleet.keys, fleet.folder / "extra.addon.efi")
    for folder in (f"{changes.LISTED}.extra.d", "loader/addons"):
        changes.put(disk, add_on, f"{folder}/extra.addon.efi")
    with fleet.machine("add-on", disk, script="cat /proc/cmdline >/dev/console") as machine:
        line = machine.wait_for("hallmark.root=.*").string
        assert "hallmark.injected" not in line and "loglevel=4" in line, line
        machine.wait_for("SPIFFE ID +spiffe://fleet.example/gateway")
        verdict = fleet.verdict()
        assert verdict.trusted, verdict


CASES = [
    changed_command_line, changed_initrd, unsigned, rogue, unsigned_loader, command_line_of_an_insider, initrd_of_an_insider, secure_boot_off,
    changed_root_at_the_start, changed_root, injected_credential, injected_extension,
    injected_add_on,
]
