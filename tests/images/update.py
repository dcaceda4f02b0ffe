"""Images that take the place of others."""

import changes
import refusals

# What the machine does when it has its identity: says what it runs, takes the update where there is one, and starts anew or ends.
TAKE = """
until systemctl is-active --quiet hallmark-agent; do sleep 1; done
hallmark-image status
hallmark-image update /dev/disk/by-id/virtio-update && systemctl reboot || systemctl poweroff
"""
LOOK = """
until systemctl is-active --quiet boot-complete.target; do sleep 1; done
until systemctl show -p SubState --value systemd-bless-boot.service | grep -qx exited; do sleep 1; done
hallmark-image status
systemctl poweroff
"""
REFUSED = """
file=/dev/disk/by-id/virtio-update
head -c 20000000 $file >/var/tmp/short
hallmark-image update /var/tmp/short --allow-older
head -c 512 /dev/zero >/var/tmp/none
hallmark-image update /var/tmp/none
mkdir /var/tmp/u && tar -C /var/tmp/u -xf $file
sed -i s/version=1.0.0/version=9.0.0/ /var/tmp/u/manifest
tar -C /var/tmp/u -cf /var/tmp/forged manifest manifest.sig image.efi root.img
rm -rf /var/tmp/short /var/tmp/u
hallmark-image update /var/tmp/forged
rm /var/tmp/forged
hallmark-image update $file
hallmark-image status
systemctl poweroff
"""


def goes_through(fleet):
    """an update is written into the other slot, starts, attests, and is kept"""
    newer = fleet.image("1.1.0")
    fleet.allow("1.0.0", "1.1.0")
    disk = changes.disk(fleet.at("1.0.0"), fleet.folder / "updated.img")
    with fleet.machine("updated", disk, keep_disk=True, script=TAKE, updates={"update": newer / "update.tar"}) as machine:
        machine.wait_for("runs +hallmark_1 in root-a, version 1.0.0")
        machine.wait_for("version 1.1.0 is in root-b and starts next")
        machine.wait_for_end()
    with fleet.machine("updated", disk, keep_disk=True, script=LOOK) as machine:
        machine.wait_for("root in root-b")
        machine.wait_for("the image on trial is good")
        machine.wait_for("runs +hallmark_2 in root-b, version 1.1.0")
        machine.wait_for("good +hallmark_2.efi")
        machine.wait_for("good +hallmark_1.efi")
        machine.wait_for_end()


def rolls_back(fleet):
    """an update that the server does not trust is tried three times; then the machine runs the image before, and has its identity"""
    # The same as an update that nobody announced to the server. It shall not take the ten minutes that a machine on a slow line gets.
    def hurry(site):
        folder = site / "root/etc/systemd/system/hallmark-image-good.service.d"
        folder.mkdir()
        (folder / "hurry.conf").write_text("[Service]\nTimeoutStartSec=30s\n")

    bad = fleet.image("1.2.0", hurry)
    disk = fleet.folder / "updated.img"
    with fleet.machine("updated", disk, keep_disk=True, script=TAKE, updates={"update": bad / "update.tar"}) as machine:
        machine.wait_for("runs +hallmark_2 in root-b, version 1.1.0")
        machine.wait_for("version 1.2.0 is in root-a and starts next")
        machine.wait_for_end()
    for _ in range(3):
        with fleet.machine("updated", disk, keep_disk=True) as machine:
            machine.wait_for("root in root-a")
            machine.wait_for("HM-AGENT-0003: the server's rules do not allow this machine")
            machine.wait_for_end()
            # However often the agent asks.
            assert fleet.verdict().code == "HM-POLICY-0126", fleet.seen
    with fleet.machine("updated", disk, keep_disk=True, script="hallmark-image status") as machine:
        machine.wait_for("root in root-b")
        machine.wait_for("failed +hallmark_3[+]0-3.efi")
        machine.wait_for("attested id=")
        machine.wait_for("SPIFFE ID +spiffe://fleet.example/gateway")


def refuses(fleet):
    """what is cut short, no update, forged or older is refused with its code, and nothing is changed"""
    disk = fleet.folder / "updated.img"
    with fleet.machine("updated", disk, keep_disk=True, script=REFUSED, updates={"update": fleet.at("1.0.0") / "update.tar"}) as machine:
        for code in ("HM-IMAGE-0018: /var/tmp/short is cut short", "HM-IMAGE-0013: /var/tmp/none is not an update", "HM-IMAGE-0014", "HM-IMAGE-0016"):
            machine.wait_for(code)
        machine.wait_for("runs +hallmark_2 in root-b")
        machine.wait_for_end()


def retired(fleet):
    """the first image, once its baseline is retired: it boots, and the server refuses it"""
    fleet.hallmark("baseline", "retire", "edge-1.0.0", "--yes", "--reason", "all machines have the next one")
    refusals.by_server(fleet, "retired", "HM-POLICY-0126", "differs from edge-1.1.0", fleet.at("1.0.0") / "disk.img")


CASES = [goes_through, rolls_back, refuses, retired]
