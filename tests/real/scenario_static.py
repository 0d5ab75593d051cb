# SPDX-License-Identifier: LGPL-2.1-or-later
"""busybox-static: no dynamic linker, no libc file mapped; a shell, awk and sha256sum all from one static binary."""
import subprocess

from harness import Scenario, Skip, random_text

SCRIPT = r"""
nonce=$(busybox od -An -N8 -tx8 /dev/urandom | busybox tr -d ' ')
echo $nonce >>started
busybox awk -v n=$1 'BEGIN { for (i = 0; i < n; i++) { x = (x * 1103515245 + i) % 2147483648; if (i % 100000 == 0) print i, x } print x }'
busybox sha256sum input
echo $nonce $? >>finished
"""


class Static(Scenario):
    name = "busybox"
    needs = {"busybox": "busybox-static"}

    def prepare(self, work):
        about = subprocess.run(["ldd", "/usr/bin/busybox"], capture_output=True, text=True)
        if "not a dynamic" not in about.stdout + about.stderr:
            raise Skip("busybox is not static: Debian package busybox-static")
        random_text(f"{work}/input", self.scale(20, 100), self.seed)

    def command(self, session):
        return ["busybox", "sh", "-c", SCRIPT, "sh", str(self.scale(6_000_000, 40_000_000))]


SCENARIOS = [Static]
