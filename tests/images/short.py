"""What each change is held to (`.ci/run`): the good image, and one refusal by the firmware and one by the server."""

import good
import refusals

CASES = [good.attests, refusals.changed_command_line, refusals.secure_boot_off]
