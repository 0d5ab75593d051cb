# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is told of the measurements: tables, bounds, RESULTS.md."""
import collections
import os
import platform
import subprocess
import time

import plot

HERE = os.path.dirname(os.path.abspath(__file__))

# what was measured together: text is Markdown, charts are plot.Chart
Part = collections.namedtuple("Part", "title text bounds charts", defaults=[[], []])
Bound = collections.namedtuple("Bound", "what value limit unit")


def ms(seconds):
    return "–" if seconds is None else f"{seconds * 1e3:.0f}" if seconds >= 0.1 else f"{seconds * 1e3:.1f}"


def table(head, rows):
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows])


def holds(bound):
    return bound.value <= bound.limit


def verdicts(bounds):
    return table(["", "measured", "at most", ""],
                 [(b.what, f"{b.value:.2f} {b.unit}", f"{b.limit:.4g}", "pass" if holds(b) else "FAIL") for b in bounds])


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "?")
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) >> 20
    with open("/sys/kernel/mm/transparent_hugepage/enabled") as f:
        huge = f.read().split("[")[1].split("]")[0]
    return f"{model}, {os.cpu_count()} CPUs, {memory} GiB, Linux {platform.release()}, transparent huge pages: {huge}"


def commit():
    try:
        p = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty", "--exclude=*"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return p.stdout.strip() or "unknown"
    except OSError:
        return "unknown"


PAGE = """# Results of `make bench`

Machine: {machine}. Commit {commit}, {date}. Images in {work}.

{parts}

![plot](results.svg)

## Bounds

{verdicts}
"""


def write(parts, work):
    text = PAGE.format(machine=machine(), commit=commit(), date=time.strftime("%Y-%m-%d", time.gmtime()), work=work,
                       parts="\n\n".join(f"## {p.title}\n\n{p.text}" for p in parts), verdicts=verdicts([b for p in parts for b in p.bounds]))
    with open(os.path.join(HERE, "RESULTS.md"), "w") as f:
        f.write(text)
    with open(os.path.join(HERE, "results.svg"), "w") as f:
        f.write(plot.page([c for p in parts for c in p.charts]))
