# SPDX-License-Identifier: LGPL-2.1-or-later
"""./demo and ./check in a Debian that has nothing but its base."""
import os
import subprocess

from harness import Skip

HERE = os.path.dirname(os.path.abspath(__file__))


def fresh_debian(trial):
    p = subprocess.run([os.path.join(HERE, "../house/fresh-debian.sh")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = p.stdout.splitlines() or ["said nothing"]
    if p.returncode == 77:
        raise Skip(lines[-1])
    trial.count = 1
    if p.returncode:
        for line in lines[-20:]:
            trial.fail(line)


TRIALS = {"fresh-debian": fresh_debian}
