"""A server appliance whose first start is answered by a volume, and machines on which it cannot start."""

import pathlib
import subprocess

from appliance import OTHER_PIN, PIN, TRUST_DOMAIN, Appliance, as_predicted, of, serves
from machine import Machine


def stick(file: pathlib.Path, answers: str | None) -> pathlib.Path:
    """A USB stick with the label that the appliance looks for, with a file of answers or without one."""
    file.unlink(missing_ok=True)
    subprocess.run(["mkfs.vfat", "-C", "-n", "HM-ANSWERS", file, "8192"], check=True, stdout=subprocess.DEVNULL)
    if answers is not None:
        subprocess.run(["mcopy", "-i", file, "-", "::answers"], check=True, input=answers.encode())
    return file


def cd(file: pathlib.Path, answers: str) -> pathlib.Path:
    """A CD in place of the stick, as a management controller shows one."""
    folder = file.with_suffix(".d")
    folder.mkdir()
    (folder / "answers").write_text(answers)
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-V", "HM-ANSWERS", "-R", "-o", file, folder], check=True, stderr=subprocess.DEVNULL)
    return file


def answers(appliance: Appliance, **other: str) -> str:
    """Good answers, but for those that are given; an empty one is left out."""
    key = appliance.key.with_suffix(".pub").read_text().strip()
    said = {"trust_domain": TRUST_DOMAIN, "token_label": "unattended", "pin": PIN, "administrator": f"alice {key}"} | other
    return "# of a test\r\n" + "".join(f"{name}={value}\r\n" for name, value in said.items() if value)


def another_machine(appliance: Appliance, name: str, **more) -> Machine:
    """A machine beside the one that the other cases have, with a blank disk."""
    appliance.disk = appliance.new_disk()
    return appliance.start(name, **more)


def nothing_was_asked(machine: Machine):
    assert not any(line.startswith("? ") for line in machine.lines), machine.lines


def no_pin_was_shown(machine: Machine):
    assert not any(pin in line for line in machine.lines for pin in (PIN, OTHER_PIN)), machine.lines


def wrong_answers(fleet):
    """each wrong answer of a volume is told with its code; put right, nothing is asked, the PIN is wiped, and a node gets its SVID"""
    appliance = of(fleet)
    appliance.bundle = None
    key = appliance.key.with_suffix(".pub").read_text().strip()
    wrong = [
        (None, "HM-IMAGE-0050: the volume HM-ANSWERS has no file answers"),
        (answers(appliance) + PIN, "HM-IMAGE-0051: answers:6: not KEY=VALUE"),
        (answers(appliance) + f"pin={OTHER_PIN}\n", "HM-IMAGE-0051: answers has pin twice"),
        ("#" * 70000, "HM-IMAGE-0051: answers has 70000 octets, and 65536 are allowed"),
        (answers(appliance, trust_domain=""), "HM-IMAGE-0040: '' is not a trust domain"),
        (answers(appliance, token_label="a/b"), "HM-IMAGE-0041: 'a/b' is not a label"),
        (answers(appliance, pin="123"), "HM-IMAGE-0043: the PIN has 3 characters"),
        (answers(appliance, administrator=""), "HM-IMAGE-0044: nobody could administer this server"),
        (answers(appliance, administrator=f"root {key}"), "HM-IMAGE-0044: 'root' is not a name, or it is taken"),
        (answers(appliance, administrator="alice no key"), "HM-IMAGE-0044: this is not the public key of alice"),
    ]
    plugged = stick(appliance.folder / "stick.img", wrong[0][0])
    with another_machine(appliance, "unattended", sticks=[plugged]) as machine:
        for number, (_, told) in enumerate(wrong, 1):
            machine.wait_for(told)
            machine.wait_for("[?] put the file answers of HM-ANSWERS right", again=True)
            # In its place: QEMU has the file open.
            new = stick(appliance.folder / "new.img", wrong[number][0] if number < len(wrong) else answers(appliance))
            with open(plugged, "r+b") as octets:
                octets.write(new.read_bytes())
            machine.type("")
        machine.wait_for("answers is wiped from HM-ANSWERS")
        machine.wait_for("done. The questions do not come again")
        assert sum(line.startswith("? ") for line in machine.lines) == len(wrong), machine.lines
        as_predicted(machine, appliance.image)
        machine.wait_for(r"administrator alice 256 SHA256:\S+ alice [(]ED25519[)]")
        serves(appliance, machine)
        no_pin_was_shown(machine)
    assert PIN.encode() not in plugged.read_bytes()


def is_not_asked_again(fleet):
    """a volume that is plugged in after the first start is not read: that is told, and nothing changes"""
    appliance = of(fleet)
    key = (appliance.folder / "bob.pub").read_text().strip()
    other = answers(appliance, trust_domain="other.example", pin=OTHER_PIN, administrator=f"mallory {key}")
    plugged = stick(appliance.folder / "stick.img", other)
    before = plugged.read_bytes()
    with appliance.start("unattended", sticks=[plugged]) as machine:
        machine.wait_for("HM-IMAGE-0053: a volume HM-ANSWERS is plugged in, and is not read")
        serves(appliance, machine)
        nothing_was_asked(machine)
        assert not any("mallory" in line or "other.example" in line for line in machine.lines), machine.lines
    assert plugged.read_bytes() == before


def on_a_cd(fleet):
    """a CD answers as well: that its PIN cannot be wiped is told; beside a second volume of the label none is read"""
    appliance = of(fleet)
    disc = cd(appliance.folder / "answers.iso", answers(appliance))
    with another_machine(appliance, "two", sticks=[disc, stick(appliance.folder / "stick.img", answers(appliance))]) as machine:
        machine.wait_for("HM-IMAGE-0050: 2 volumes are called HM-ANSWERS")
    with another_machine(appliance, "cd", sticks=[disc]) as machine:
        machine.wait_for("HM-IMAGE-0052: the PIN is still on the volume HM-ANSWERS: Read-only file system")
        machine.wait_for("serving address")
        nothing_was_asked(machine)
        no_pin_was_shown(machine)


def without_a_tpm(fleet):
    """a machine without a TPM, and one with a TPM 1.2, say so and ask nothing"""
    appliance = of(fleet)
    for name, version, told in (("no-tpm", None, "this machine has no TPM 2.0"), ("tpm-1.2", "1.2", "this machine's TPM is of version 1.2, and sealing the PIN takes 2.0")):
        with another_machine(appliance, name, tpm=version) as machine:
            machine.wait_for(f"HM-IMAGE-0047: {told}")
            nothing_was_asked(machine)


CASES = [wrong_answers, is_not_asked_again, on_a_cd, without_a_tpm]
