# SPDX-License-Identifier: LGPL-2.1-or-later
"""sort | uniq -c | gzip: pipes with bytes in them, sort's temporary files, its threads."""
from harness import FINISH, NONCE, Scenario, random_text


class Pipeline(Scenario):
    name = "pipeline"
    needs = {"bash": "bash", "sort": "coreutils", "gzip": "gzip"}
    outputs = ["output.gz"]

    def prepare(self, work):
        random_text(f"{work}/input", self.scale(20, 100), self.seed)

    def moments(self, rng):
        return [0.4, 0.8]       # sorting into temporary files; merging, with all three at work

    def command(self, session):
        return ["bash", "-c", "set -o pipefail; " + NONCE + "sort -S 8M -T . input | uniq -c | gzip -n >output.gz" + FINISH]


SCENARIOS = [Pipeline]
