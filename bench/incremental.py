# SPDX-License-Identifier: LGPL-2.1-or-later
"""make bench ARGS=incremental: how long a program stands still, as it sees it itself; and what a checkpoint against an older image costs beside a full one.

A thread of the program looks at the clock all the time; its longest gap in a window with one checkpoint is what a user would notice. Beside it: the longest gap in windows of the
same length without one, and a plain fork that the program itself makes of all that in between. Two threads write all the time, or 1 % of the pages a second. Medians, in milliseconds.
"""
import collections
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

import run
from plot import Chart
from report import Bound, Part


class Program:
    def __init__(self, options, mib, pages):
        self.work = tempfile.mkdtemp(prefix="spore-bench-", dir=options.work)
        self.process = subprocess.Popen([os.path.join(options.build, "bench/bench-gap"), str(mib), "2", str(pages)], cwd=self.work,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        self.await_answer(120)

    def await_answer(self, seconds=30):
        end = time.monotonic() + seconds
        while not os.path.exists(f"{self.work}/gap"):
            if time.monotonic() > end or self.process.poll() is not None:
                raise run.Broken("the program is silent")
            time.sleep(0.002)
        with open(f"{self.work}/gap") as f:
            gap = float(f.read())
        os.unlink(f"{self.work}/gap")
        return gap

    def gap(self):
        """The longest since it was last asked."""
        return self.ask("ask")

    def fork(self):
        return self.ask("fork")

    def ask(self, question):
        open(f"{self.work}/{question}", "w").close()
        return self.await_answer()

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.work)


def checkpoint(options, pid, image, *more):
    begin = time.monotonic()
    p = subprocess.run([options.spore, "checkpoint", "--json", *more, str(pid), image], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode:
        raise run.Broken(f"spore checkpoint {' '.join(more)}: {p.stderr.strip()}")
    return {**json.loads(p.stdout), "took": time.monotonic() - begin}


def median(values):
    return statistics.median(values) * 1e3


def full(options, mib, found, rounds):
    """Under random writes: a checkpoint, and as long without one."""
    program = Program(options, mib, 0)
    try:
        for _ in range(rounds):
            image = f"{program.work}/image"
            time.sleep(0.1)
            program.gap()
            result = checkpoint(options, program.process.pid, image)
            found["full gap"].append(program.gap())
            found["full stop"].append(result["stop_us"] / 1e6)
            shutil.rmtree(image)
            time.sleep(0.3)
            program.gap()
            time.sleep(result["took"])
            found["full floor"].append(program.gap())
            found["fork"].append(program.fork())
    finally:
        program.close()


def against(options, mib, found, percent, rounds):
    """So many percent a second, and a checkpoint each second."""
    program = Program(options, mib, mib * 256 * percent / 100)
    try:
        images = [f"{program.work}/{i}" for i in range(rounds + 1)]
        first = checkpoint(options, program.process.pid, images[0], "--track")
        found["full took"].append(first["took"])
        found["full bytes"].append(first["bytes"])
        for old, new in zip(images, images[1:]):
            time.sleep(0.5)
            program.gap()
            time.sleep(0.5)
            found["parent floor"].append(program.gap())
            result = checkpoint(options, program.process.pid, new, "--parent", old)
            found["parent gap"].append(program.gap())
            found["parent stop"].append(result["stop_us"] / 1e6)
            found["parent took"].append(result["took"])
            found["parent bytes"].append(result["bytes"])
    finally:
        program.close()


def tell(mib, f):
    size = f"{mib} MiB"
    fork = median(f["fork"])
    above = median(f["parent gap"]) - median(f["parent floor"])
    lines = [
        f"- {size}, written all the time: longest gap {median(f['full gap']):.1f} (undisturbed {median(f['full floor']):.1f}), told {median(f['full stop']):.1f}, fork {fork:.1f}",
        f"- {size}, 1 % a second, with a parent: longest gap {median(f['parent gap']):.1f} (undisturbed {median(f['parent floor']):.1f}), told {median(f['parent stop']):.1f}; "
        f"{median(f['parent took']):.1f} in all (full: {median(f['full took']):.0f})",
    ]
    bounds = [
        Bound(f"gap of a full one, {size}", median(f["full gap"]), 1.3 * fork + 5, "ms"),
        Bound(f"gap above the undisturbed one, with a parent, {size}", above, 5 if mib <= 1024 else 8, "ms"),
        Bound(f"time with a parent, {size}", median(f["parent took"]) / median(f["full took"]), 1 / 20, "× full"),
        Bound(f"bytes with a parent, {size}", median(f["parent bytes"]) / median(f["full bytes"]), 1 / 50, "× full"),
    ]
    return lines, bounds


def measure(options, mib, rounds):
    found = collections.defaultdict(list)
    full(options, mib, found, rounds)
    against(options, mib, found, 1, rounds)
    return tell(mib, found)


RATES = [0.1, 1, 5, 20]     # percent a second; more than the last is a full one under writes


def over_rates(options, mib, rounds):
    """How the stop grows with what is written."""
    lines = {"stop": [], "longest gap": []}
    for percent in RATES:
        found = collections.defaultdict(list)
        against(options, mib, found, percent, rounds)
        lines["stop"].append((percent, median(found["parent stop"])))
        lines["longest gap"].append((percent, median(found["parent gap"])))
    return Chart(f"stop over dirty rate, {mib} MiB", "% of the pages a second", "ms", lines)


def part(options):
    lines, bounds = [], []
    for mib in options.mib or ([256] if options.quick else [1024, 4096]):
        more, limits = measure(options, mib, options.rounds or (3 if options.quick else 20))
        lines += more
        bounds += limits
    chart = over_rates(options, 256 if options.quick else 1024, 3 if options.quick else 5)
    return Part("Stop time, incremental", __doc__.split("\n\n", 1)[1].strip() + "\n\n" + "\n".join(lines), bounds, [chart])
