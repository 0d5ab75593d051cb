# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random graphs of processes and objects (tests/graph), one after the other."""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# What others have of these would be in the way of a restore by hand: a number in /dev/pts that they have taken since, semaphores of the host's.
APART = ["unshare", "--ipc", "--mount", "--propagation", "private", "sh", "-c",
         'mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts && mount --bind /dev/pts/ptmx /dev/ptmx && exec "$@"', "sh"]


def graphs(trial):
    """Half of them by hand, half in a container; the seeds follow on from the trial's."""
    build, number = trial.options.build, trial.number(2000)
    program, first = os.path.join(build, "tests/graph/spore-graph"), (trial.options.seed - 1) * number + 1
    half = first + number // 2
    for mode, begin, end in ("host", first, half - 1), ("run", half, first + number - 1):
        command = [sys.executable, os.path.join(HERE, "../state/run.py"), "--makers", program, "--spore", trial.options.spore, "--oracle",
                   os.path.join(build, "tests/oracle/spore-oracle"), "--quiet", "--mode", mode, "--tmp", trial.work]
        if mode == "host":
            command = APART + command
        p = subprocess.run(command, env={**os.environ, "GRAPH_SEEDS": f"{begin}-{end}"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        for text in re.split(r"\n(?=FAIL)", p.stdout):
            if text.startswith("FAIL"):
                trial.fail(f"{mode}: {text.strip()[:600]}")
        counts = re.search(r"(\d+) passed, (\d+) failed, (\d+) skipped", p.stdout)
        trial.count += sum(map(int, counts.groups())) if counts else 0
        if not counts or int(counts[3]):
            trial.fail(f"{mode}: {p.stdout.strip()[-300:]}")
    histogram = subprocess.run([program, "--count"], env={"GRAPH_SEEDS": f"{first}-{first + number - 1}"}, stdout=subprocess.PIPE, text=True)
    if histogram.returncode and number >= 2000:
        trial.fail("a kind was never shared in one of the ways")
    trial.note("what the graphs held:\n" + histogram.stdout)


TRIALS = {"graph": graphs}
