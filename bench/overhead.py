# SPDX-License-Identifier: LGPL-2.1-or-later
"""make bench ARGS=overhead: what armed tracking costs a program, over a minute with one checkpoint in it.

By turns, so that both meet the same weather, windows in which the program is tracked and windows in which it is not; two checkpoints against the older image fall into
tracked windows. Told is the share of a minute's work that is lost: what tracked windows without a checkpoint lack of those untracked, and one checkpoint's loss in sixty seconds.
"""
import collections
import os
import shlex
import shutil
import statistics
import subprocess
import tempfile
import time

import run
from lazy import ask, free_port, redis_command, spore, start_redis
from report import Bound, Part, table

MINUTE = 60.0
Windows = collections.namedtuple("Windows", "seconds pairs")


class Writer:
    """A loop that writes memory."""
    title = "a memory-writing loop"

    def __init__(self, options, work, mib):
        self.work = work
        self.process = subprocess.Popen([os.path.join(options.build, "bench/bench-writes"), str(mib)], cwd=work, start_new_session=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.count()

    def count(self):
        run.wait_for(os.path.join(self.work, "ready"), self.process.pid)
        os.unlink(os.path.join(self.work, "ready"))

    def written(self):
        with open(os.path.join(self.work, "ask"), "w"):
            pass
        path = os.path.join(self.work, "ready")
        written, when = run.wait_for(path, self.process.pid)
        os.unlink(path)
        return int(written, 16), when

    def window(self, seconds, during):
        """Units of work in a second of such a window."""
        first, begin = self.written()
        during()
        time.sleep(max(0, begin + seconds - time.time()))
        last, end = self.written()
        return (last - first) / (end - begin)


class Redis:
    """redis-benchmark and its server, of one tree, since connections to the outside are not saved: sets, scattered over all keys."""
    title = "redis-benchmark"

    def __init__(self, options, work, mib):
        self.port = free_port()
        benchmark = ["redis-benchmark", "-p", str(self.port), "-t", "set", "-d", "64", "-c", "8", "-P", "4", "-n", "1000000000", "-r", str(mib * 256), "-q"]
        script = f"{shlex.join(redis_command(work, self.port))} & while [ ! -e go ]; do sleep 0.1; done; exec {shlex.join(benchmark)}"
        self.process = start_redis(work, self.port, mib, ["/bin/sh", "-c", script])
        with open(os.path.join(work, "go"), "w"):
            pass
        time.sleep(1)

    def window(self, seconds, during):
        first, begin = self.commands(), time.monotonic()
        during()
        time.sleep(max(0, begin + seconds - time.monotonic()))
        return (self.commands() - first) / (time.monotonic() - begin)

    def commands(self):
        for line in ask(self.port, b"INFO", b"stats", size=16384).splitlines():
            if line.startswith(b"total_commands_processed:"):
                return int(line.split(b":")[1])
        raise run.Broken("redis does not tell its commands")


def checkpoints(options, pid, image, *more):
    spore(options, "checkpoint", "--json", *more, str(pid), image)


def measure(kind, options, mib, windows):
    """Work in a second: untracked, tracked, and tracked with a checkpoint at the beginning."""
    rates = {"untracked": [], "tracked": [], "saved": []}
    work = tempfile.mkdtemp(prefix="spore-bench-", dir=options.work)
    program = kind(options, work, mib)
    pid = program.process.pid
    try:
        for i in range(windows.pairs):
            old, new, last = (os.path.join(work, name) for name in ("image-1", "image-2", "image-3"))
            checkpoints(options, pid, old, "--track")
            program.window(1, lambda: None)         # what the checkpoint itself did is over
            if i % 3 == 1:
                rates["saved"].append(program.window(windows.seconds, lambda: checkpoints(options, pid, new, "--parent", old)))
            else:
                rates["tracked"].append(program.window(windows.seconds, lambda: None))
            checkpoints(options, pid, last)         # which ends the tracking
            for image in (old, new, last):
                shutil.rmtree(image, ignore_errors=True)
            program.window(1, lambda: None)
            rates["untracked"].append(program.window(windows.seconds, lambda: None))
    finally:
        run.kill(pid)
        program.process.wait()
        shutil.rmtree(work, ignore_errors=True)
    return {name: statistics.median(all_of_it) for name, all_of_it in rates.items()}


def lost(rates, seconds):
    """Of a minute's work, and of that by the checkpoint alone."""
    by_tracking = 1 - rates["tracked"] / rates["untracked"]
    by_checkpoint = (rates["tracked"] - rates["saved"]) * seconds / rates["untracked"] / MINUTE
    return by_tracking + by_checkpoint, by_checkpoint


def part(options):
    windows = Windows(2, 3) if options.quick else Windows(6, 6)
    mib, rows, bounds = options.mib[-1] if options.mib else 64 if options.quick else 1024, [], []
    for kind in [Writer, Redis] if shutil.which("redis-benchmark") else [Writer]:
        rates = measure(kind, options, mib, windows)
        all_of_it, by_checkpoint = lost(rates, windows.seconds)
        rows.append([f"{kind.title}, {mib} MiB", *(f"{rates[name]:,.0f}" for name in ("untracked", "tracked", "saved")), f"{by_checkpoint * 100:.2f} %"])
        bounds.append(Bound(f"lost by tracking and one checkpoint a minute, {kind.title}", all_of_it * 100, 5, "%"))
    text = table(["work in a second", "untracked", "tracked", f"tracked, {windows.seconds} s with a checkpoint", "of a minute, by the checkpoint"], rows)
    return Part("Overhead of tracking", __doc__.split("\n\n", 1)[1].strip() + "\n\n" + text, bounds)
