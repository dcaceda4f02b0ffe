"""A server appliance with another PKCS#11 module than SoftHSM: p11-kit's client, which talks to a daemon, as the modules of HSMs in the network do."""

import pathlib
import shutil

from answers import answers, nothing_was_asked, no_pin_was_shown, stick
from appliance import OTHER_PIN, PIN, Appliance, answer, serves

CLIENT = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so"
# The daemon starts the other program for each connection.
DAEMON = ["/usr/libexec/p11-kit/p11-kit-server", "/usr/libexec/p11-kit/p11-kit-remote"]
# What a vendor's tool does before anybody starts the appliance.
TOKEN = f"""#!/bin/sh
set -eu
mkdir -p /var/lib/hsm/tokens
tool="pkcs11-tool --module /usr/lib/softhsm/libsofthsm2.so"
[ -z "$(ls /var/lib/hsm/tokens)" ] || exit 0
$tool --slot-index 0 --init-token --label "of the vendor" --so-pin 87654321
$tool --token-label "of the vendor" --login --login-type so --so-pin 87654321 --init-pin --pin "{PIN}"
"""
CONFIGURATION = "directories.tokendir = /var/lib/hsm/tokens\nobjectstore.backend = file\nslots.removable = false\n"
UNIT = """[Unit]
RequiresMountsFor=/var/lib
Before=hallmark-appliance.service hallmark-server.service

[Service]
User=hallmark-server
StateDirectory=hsm
RuntimeDirectory=hsm
Environment=SOFTHSM2_CONF=/usr/lib/hsm/softhsm2.conf
ExecStartPre=/usr/lib/hsm/token
ExecStart=/usr/libexec/p11-kit/p11-kit-server -f --provider /usr/lib/softhsm/libsofthsm2.so -n /run/hsm/socket pkcs11:
"""
SAYS_WHERE = "[Service]\nEnvironment=P11_KIT_SERVER_ADDRESS=unix:path=/run/hsm/socket\n"


def of_the_vendor(root: pathlib.Path):
    """The site's files of an HSM with a daemon."""

    def put(place: str, content: str, mode=0o644):
        file = root / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(mode)

    for source, place in [(CLIENT, "usr/lib/hallmark/pkcs11.so"), *((program, program[1:]) for program in DAEMON)]:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / place)
    put("usr/lib/hsm/token", TOKEN, 0o755)
    put("usr/lib/hsm/softhsm2.conf", CONFIGURATION)
    put("etc/systemd/system/hsm.service", UNIT)
    (root / "etc/systemd/system/multi-user.target.wants/hsm.service").symlink_to("../hsm.service")
    for unit in ("hallmark-appliance", "hallmark-server"):
        put(f"etc/systemd/system/{unit}.service.d/hsm.conf", SAYS_WHERE)


def issues(fleet):
    """with a vendor's module it asks for the token that is there, tells a wrong label and a wrong PIN, makes no token, and a node gets its SVID"""
    fleet.appliances["vendor"] = appliance = Appliance(fleet, "vendor", of_the_vendor)
    with appliance.start() as machine:
        answer(machine, "trust domain", "appliance.example")
        answer(machine, "label", "", "of the vendor")
        machine.wait_for("HM-IMAGE-0055: the module has no token 'hallmark'; it has 'of the vendor")
        answer(machine, "user PIN", OTHER_PIN)
        machine.wait_for("HM-IMAGE-0045: the token of the vendor does not take this PIN: .*CKR_PIN_INCORRECT")
        answer(machine, "user PIN", PIN)
        answer(machine, "login name", "alice")
        answer(machine, "SSH public key", appliance.key.with_suffix(".pub").read_text().strip())
        answer(machine, "login name", "")
        serves(appliance, machine)
        no_pin_was_shown(machine)


def comes_back(fleet):
    """started again it has the same key in the vendor's token, and asks nothing"""
    appliance = fleet.appliances["vendor"]
    with appliance.start() as machine:
        serves(appliance, machine)
        nothing_was_asked(machine)


def is_answered(fleet):
    """a volume answers with a vendor's module as well: the PIN of its token is tried once, and a wrong one waits for somebody"""
    appliance = fleet.appliances["vendor"]
    appliance.disk = appliance.new_disk()
    plugged = stick(appliance.folder / "stick.img", answers(appliance, token_label="of the vendor", pin=OTHER_PIN))
    with appliance.start("answered", sticks=[plugged]) as machine:
        machine.wait_for("HM-IMAGE-0045: the token of the vendor does not take this PIN")
        machine.wait_for("[?] put the file answers of HM-ANSWERS right")
        plugged_anew = stick(appliance.folder / "new.img", answers(appliance, token_label="of the vendor"))
        with open(plugged, "r+b") as octets:
            octets.write(plugged_anew.read_bytes())
        machine.type("")
        machine.wait_for("serving address")
        assert sum("HM-IMAGE-0045" in line for line in machine.lines) == 1, machine.lines
        no_pin_was_shown(machine)


CASES = [issues, comes_back, is_answered]
