# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Go program (gojq, static, its own scheduler and many threads): a long fold, with garbage for the collector."""
import json

from harness import Failure, Scenario, read_lines

# The nonce is the time at which the program itself began, kept in one of its variables.
FILTER = """now as $begin | ($begin | stderr) |
[range(50) | tostring] as $names |
(reduce range($n) as $i ({x: 1, last: []};
    .x = (.x * 48271 + $i) % 2147483647 | .last = ([$names[$i % 50], .x] + .last)[:20])) | [$begin, .]"""


class Golang(Scenario):
    name = "golang"
    needs = {"gojq": "gojq"}

    def command(self, session):
        return ["gojq", "-cn", "--argjson", "n", str(self.scale(400_000, 3_000_000)), FILTER]

    def check_nonce(self, work):
        with open(f"{work}/stderr") as f:
            started = f.read()
        lines = read_lines(f"{work}/stdout")
        if len(lines) != 1 or started != lines[0][1:].split(",")[0]:
            raise Failure(f"gojq: began at {started}, printed {lines[:2]}")

    def result(self, work):
        return {"stdout": json.loads(read_lines(f"{work}/stdout")[0])[1]}


SCENARIOS = [Golang]
