"""The power goes in the middle of an update, on a disk that loses what was not flushed."""

import random
import time

import changes
from volatile import VolatileDisk

CUTS = 10
SEED = 15
# Writes the other version over the other slot, whichever runs.
TAKE = """
while hallmark-image status | grep -q ^trial; do sleep 1; done
case $(sed -n s/^IMAGE_VERSION=//p /etc/os-release) in 1.0.0) other=1.1.0 ;; *) other=1.0.0 ;; esac
echo "trial: update to $other"
hallmark-image update /dev/disk/by-id/virtio-$other --allow-older
echo "trial: update ended with $?"
"""


def comes_back(fleet):
    """power is lost at ten random moments of an update, and the machine always comes back and can be updated"""
    fleet.image("1.1.0")
    fleet.allow("1.0.0", "1.1.0")
    chance = random.Random(SEED)
    disk = changes.disk(fleet.at("1.0.0"), fleet.folder / "cuts.img")
    updates = {version: fleet.at(version) / "update.tar" for version in ("1.0.0", "1.1.0")}
    took = None
    for number in range(CUTS + 2):
        volatile = VolatileDisk(disk, fleet.folder / "disk.sock", chance)
        with fleet.machine("cuts", f"nbd:unix:{fleet.folder / 'disk.sock'}", keep_disk=True, script=TAKE, updates=updates) as machine:
            slot = machine.wait_for("root in (root-[ab])")[1]
            machine.wait_for("trial: update to")
            began = time.monotonic()
            if number in (0, CUTS + 1):
                # The first says how long an update takes; the last, that the disk is still good for one.
                machine.wait_for("trial: update ended with 0")
                took = took or time.monotonic() - began
                volatile.off()
                continue
            # Half of them near the end, where the boot partition is written.
            moment = took * (chance.uniform(0, 1) if number % 2 else chance.uniform(0.8, 1.1))
            # Real time: the moment of a power cut hangs on nothing else.
            time.sleep(moment)
            kept, of = volatile.cut()
        print(f"  # {slot}; power lost after {moment:.1f} s of {took:.1f} s; {kept} of {of} sectors in the cache reached the disk", flush=True)


CASES = [comes_back]
