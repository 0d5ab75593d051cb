# SPDX-License-Identifier: LGPL-2.1-or-later
"""xz -T2: threads, large anonymous memory, one file read while another grows."""
from harness import FINISH, NONCE, Scenario, random_text


class Xz(Scenario):
    name = "xz"
    needs = {"xz": "xz-utils"}
    outputs = ["input.xz"]

    def prepare(self, work):
        random_text(f"{work}/input", self.scale(40, 200), self.seed)

    def command(self, session):
        return ["sh", "-c", NONCE + "xz -T2 -6 -k input" + FINISH]


SCENARIOS = [Xz]
