"""Machines with two disks that both have an image: all images of a recipe have the same labels and GUIDs."""

import changes

LOOK = """
until systemctl is-active --quiet hallmark-agent; do sleep 1; done
udevadm settle
for name in esp root-a root-b data; do echo "trial: $name is $(readlink -f /dev/hallmark/$name)"; done
echo "trial: /var is on $(sed -n 's/^\\([^ ]*\\) .var .*/\\1/p' /proc/mounts)"
hallmark-image status
systemctl poweroff
"""


def takes_its_own(fleet):
    """beside a disk with another root and the same labels, a machine runs from the disk with its root, and has that disk's data"""
    other = changes.disk(fleet.at("1.0.0"), fleet.folder / "other.img")
    changes.flip(other, changes.slot_a(other) + 1024 + 16)
    with fleet.machine("two-disks", script=LOOK, updates={"other": other}) as machine:
        disk = machine.wait_for(r"trial: root-a is /dev/(vd[ab])2")[1]
        for name, number in (("esp", 1), ("root-b", 3), ("data", 4)):
            machine.wait_for(f"trial: {name} is /dev/{disk}{number}$")
        machine.wait_for(f"trial: /var is on /dev/{disk}4$")
        machine.wait_for("runs +hallmark_1 in root-a, version 1.0.0")
        machine.wait_for_end()
    other.unlink()


def refuses_a_copy(fleet):
    """beside a copy of its disk, the machine does not start: which of them was started cannot be told"""
    with fleet.machine("twins", updates={"copy": fleet.at("1.0.0") / "disk.img"}) as machine:
        machine.wait_for("HM-IMAGE-0003: two disks have the root [0-9a-f]{64}: vd[ab] and vd[ab]")
        machine.wait_for("next: take one of them out, or wipe it")
        machine.wait_for_end()
        assert not any("root in" in line for line in machine.lines), machine.lines


CASES = [takes_its_own, refuses_a_copy]
