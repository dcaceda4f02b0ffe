"""Updates of a server appliance: what it is stays through them, and through a roll-back."""

from answers import answers, nothing_was_asked, stick
from appliance import Appliance, as_predicted, serves

# What the machine does when its server runs: says what it runs, takes the update, and starts anew or ends.
TAKE = """
until systemctl is-active --quiet hallmark-server; do sleep 1; done
hallmark-image status
hallmark-image update /dev/disk/by-id/virtio-update && systemctl reboot || systemctl poweroff
"""
LOOK = """
until systemctl is-active --quiet boot-complete.target; do sleep 1; done
until systemctl show -p SubState --value systemd-bless-boot.service | grep -qx exited; do sleep 1; done
hallmark-image status
"""


def goes_through(fleet):
    """an update is written into the other slot, starts as its own baseline predicts and is kept: no question, the same trust domain, the same key"""
    fleet.appliances["slots"] = appliance = Appliance(fleet, "slots")
    newer = appliance.build("1.1.0")
    plugged = stick(appliance.folder / "stick.img", answers(appliance))
    with appliance.start(sticks=[plugged], script=TAKE, updates={"update": newer / "update.tar"}) as machine:
        machine.wait_for("done. The questions do not come again")
        as_predicted(machine, appliance.image)
        machine.wait_for("runs +hallmark_1 in root-a, version 1.0.0")
        machine.wait_for("version 1.1.0 is in root-b and starts next")
        machine.wait_for_end()
    with appliance.start(script=LOOK) as machine:
        machine.wait_for("root in root-b")
        as_predicted(machine, newer)
        machine.wait_for("the image on trial is good")
        machine.wait_for("runs +hallmark_2 in root-b, version 1.1.0")
        machine.wait_for("good +hallmark_2.efi")
        serves(appliance, machine)
        nothing_was_asked(machine)


def rolls_back(fleet):
    """an update with which the server does not run is tried three times; then the image before runs, with the same key"""
    appliance = fleet.appliances["slots"]
    units = appliance.site / "root/etc/systemd/system"
    # It shall not take the ten minutes that a machine gets.
    for unit, words in (("hallmark-server", "ExecStart=\nExecStart=/bin/false"), ("hallmark-image-good", "TimeoutStartSec=30s")):
        (units / f"{unit}.service.d").mkdir(exist_ok=True)
        (units / f"{unit}.service.d/trial.conf").write_text(f"[Service]\n{words}\n")
    bad = appliance.build("1.2.0")
    with appliance.start(script=TAKE, updates={"update": bad / "update.tar"}) as machine:
        machine.wait_for("version 1.2.0 is in root-a and starts next")
        machine.wait_for_end()
    for _ in range(3):
        with appliance.start() as machine:
            machine.wait_for("root in root-a")
            machine.wait_for_end()
            assert not any("serving address" in line for line in machine.lines), machine.lines
    with appliance.start(script="hallmark-image status") as machine:
        machine.wait_for("root in root-b")
        machine.wait_for("failed +hallmark_3[+]0-3.efi")
        serves(appliance, machine)
        nothing_was_asked(machine)


CASES = [goes_through, rolls_back]
