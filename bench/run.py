#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""make bench: what checkpoints and restores cost, beside what the bare work costs on the same machine in the same run.

run.py                   all of it, and writes bench/RESULTS.md and bench/results.svg
run.py --quick           a short form, which writes nothing
run.py memory-64 lazy …  some of it, writes nothing

Of programs (tiny, memory-N, processes-N, threads-N) the floors are write of the same bytes and touch of as much fresh memory, by as many threads
as spore has; fork of the same memory; forking as many processes, creating as many threads. Beside criu, where one that works is on PATH. Each figure
is the best of some rounds, in milliseconds, but of one tiny process the median. The other parts say themselves what they measure.
Figures outside the bounds are told, and are no failure; a program that does not come back as it was is one.
"""
import argparse
import collections
import ctypes
import importlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
sys.path.insert(0, HERE)
from plot import Chart                         # noqa: E402
from report import Bound, Part, ms             # noqa: E402
import report                                  # noqa: E402

Load = collections.namedtuple("Load", "name title arguments rounds program of", defaults=["bench-workload", min])
LOADS = [
    Load("tiny", "one tiny process", ["tiny", "1"], 25, of=statistics.median),
    Load("memory-16", "16 MiB", ["memory", "16"], 5),
    Load("memory-64", "64 MiB", ["memory", "64"], 5),
    Load("memory-256", "256 MiB", ["memory", "256"], 5),
    Load("memory-1024", "1 GiB", ["memory", "1024"], 5),
    Load("memory-4096", "4 GiB", ["memory", "4096"], 2),
    Load("processes-1", "1 process", ["processes", "1"], 7),
    Load("processes-10", "10 processes", ["processes", "10"], 5),
    Load("processes-100", "100 processes", ["processes", "100"], 5),
    Load("processes-500", "500 processes", ["processes", "500"], 5),
    Load("threads-10", "10 threads", ["threads", "10"], 5),
    Load("threads-100", "100 threads", ["threads", "100"], 5),
    Load("threads-1000", "1000 threads", ["threads", "1000"], 5),
]
SLOW = ("memory-1024", "memory-4096", "processes-500")
# modules beside this one, each with a function part(options)
PARTS = ["incremental", "lazy", "clones", "overhead", "peak"]
# what must not cost more than so many times which floor; None: milliseconds
BOUNDS = [
    ("tiny", "checkpoint", 6, None),
    ("tiny", "restore command", 6, None),
    ("memory-1024", "checkpoint", 1.2, "write"),
    ("memory-1024", "restore", 1.3, "touch"),
    ("processes-500", "checkpoint", 4, "fork"),
    ("processes-500", "restore", 3.5, "fork"),
    ("threads-1000", "checkpoint", 3, "create"),
    ("threads-1000", "restore", 3, "create"),
]
# the floor that a column is shown as a multiple of
BESIDE = {"tiny": {"checkpoint": "/bin/true", "stop": "fork", "restore": "/bin/true"},
          "memory": {"checkpoint": "write", "stop": "fork", "restore": "touch"},
          "processes": {"checkpoint": "fork", "stop": "fork", "restore": "fork"},
          "threads": {"checkpoint": "create", "stop": "create", "restore": "create"}}


class Broken(Exception):
    """A program was not saved, or did not come back as it was."""


def is_there(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def bury():
    """Waits for what was orphaned to us."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def tree(pid):
    found = [pid]
    for p in found:
        try:
            for task in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{task}/children") as f:
                    found += map(int, f.read().split())
        except OSError:
            pass
    return found


def wait_for(path, pid, seconds=120):
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > end or not is_there(pid):
            raise Broken(f"{os.path.basename(path)}: not written, and the program {'is silent' if is_there(pid) else 'is gone'}")
        bury()
        time.sleep(0.002)
    with open(path) as f:
        checksum, when = f.read().split()
    return checksum, float(when)


def kill(pid):
    pids = tree(pid)
    for p in pids:
        try:
            os.kill(p, signal.SIGKILL)
        except ProcessLookupError:
            pass
    end = time.monotonic() + 30
    while any(map(is_there, pids)):
        bury()
        time.sleep(0.002)
        if time.monotonic() > end:
            raise Broken(f"{pid} does not die")


# --- the tools -----------------------------------------------------------------------------------------------------


class Spore:
    name = "spore"

    def __init__(self, command):
        self.command = command

    def call(self, *arguments):
        p = subprocess.run([self.command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, start_new_session=True)
        if p.returncode:
            raise Broken(f"spore {' '.join(arguments)}: exit {p.returncode}: {p.stderr.strip()}")
        try:
            return json.loads(p.stdout)
        except ValueError:
            raise Broken(f"spore {arguments[0]} --json: {p.stdout!r}") from None

    def checkpoint(self, pid, image):
        """Returns the stop time as the tool itself tells it, in seconds."""
        return self.call("checkpoint", "--json", str(pid), image)["stop_us"] / 1e6

    def restore(self, image, pid):
        return self.call("restore", "-d", "--json", image)["pid"]


class Criu:
    name = "criu"

    def __init__(self, command):
        self.command = command

    @classmethod
    def find(cls):
        command = shutil.which("criu")
        if command and subprocess.run([command, "check"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            return cls(command)
        return None

    def call(self, *arguments):
        p = subprocess.run([self.command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if p.returncode:
            raise Broken(f"criu {arguments[0]}: exit {p.returncode}: {p.stdout[-300:]}")

    def checkpoint(self, pid, image):
        os.mkdir(image)
        self.call("dump", "--leave-running", "-t", str(pid), "-D", image, "-o", "log")
        return None

    def restore(self, image, pid):
        self.call("restore", "-d", "-D", image, "-o", "restore.log")
        return pid


# --- measuring -----------------------------------------------------------------------------------------------------


def one_round(tool, load, options):
    """Start, checkpoint, kill, restore, sum: seconds of each part."""
    work = tempfile.mkdtemp(prefix="spore-bench-", dir=options.work)
    image, pid = os.path.join(work, "image"), 0
    try:
        p = subprocess.Popen([os.path.join(options.build, "bench", load.program), *load.arguments], cwd=work, start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pid = p.pid
        before, _ = wait_for(os.path.join(work, "ready"), pid)
        time.sleep(0.05)
        begin = time.monotonic()
        stop = tool.checkpoint(pid, image)
        checkpoint = time.monotonic() - begin
        kill(pid)
        with open(os.path.join(work, "go"), "w"):
            pass
        begin = time.time()
        pid = tool.restore(image, pid)
        command = time.time() - begin
        after, when = wait_for(os.path.join(work, "done"), pid)
        if after != before:
            raise Broken(f"{load.name}: the checksum was {before} and is {after}")
        return {"checkpoint": checkpoint, "stop": stop, "restore": when - begin, "restore command": command}
    finally:
        if pid and is_there(pid):
            kill(pid)
        bury()
        shutil.rmtree(work, ignore_errors=True)


def run_true():
    """What it takes to start a command at all, as Spore.call does, and to wait for it."""
    begin = time.monotonic()
    subprocess.run(["/bin/true"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    return time.monotonic() - begin


def spores_threads():
    """As src/engine/workers.c."""
    return min(2 * len(os.sched_getaffinity(0)), 16)


def floors(load, options):
    if load.arguments[0] == "tiny":
        return {"/bin/true": run_true(), **floors(load._replace(arguments=["processes", "1"]), options)}
    arguments = load.arguments + ([options.work, str(spores_threads())] if load.arguments[0] == "memory" else [])
    out = subprocess.run([os.path.join(options.build, "bench/bench-floors"), *arguments], stdout=subprocess.PIPE, check=True, text=True).stdout
    return {name: float(seconds) for name, seconds in (line.split() for line in out.splitlines())}


def of_all(load, rounds):
    """Of each part the smallest: what remains when nothing else ran; or what the load says."""
    parts = {}
    for r in rounds:
        for name, seconds in r.items():
            if seconds is not None:
                parts.setdefault(name, []).append(seconds)
    return {name: load.of(all_of_it) for name, all_of_it in parts.items()}


def measure(load, tools, options):
    """Floors and tools by turns, so that they meet the same weather."""
    found = {"floor": []}
    for _ in range(1 if options.quick else options.rounds or load.rounds):
        found["floor"].append(floors(load, options))
        for tool in tools:
            found.setdefault(tool.name, []).append(one_round(tool, load, options))
    return {name: of_all(load, rounds) for name, rounds in found.items()}


# --- telling -------------------------------------------------------------------------------------------------------


def cell(result, load, tool, part):
    seconds = result[tool].get(part)
    floor = BESIDE[load.arguments[0]][part]
    return "–" if seconds is None else f"{ms(seconds)} ({seconds / result['floor'][floor]:.1f} × {floor})"


def table(results, tools):
    rows = []
    for load, result in results:
        cells = [cell(result, load, t.name, part) for t in tools for part in ("checkpoint", "stop", "restore")]
        cells.append(", ".join(f"{name} {ms(seconds)}" for name, seconds in result["floor"].items()))
        rows.append([load.title, *cells])
    return report.table(["", *(f"{t.name} {part}" for t in tools for part in ("checkpoint", "stop", "restore")), "floors"], rows)


def bounds(results):
    for name, part, limit, floor in BOUNDS:
        for load, result in results:
            if load.name == name:
                value = result["spore"][part] / (result["floor"][floor] if floor else 1e-3)
                yield Bound(f"{part} of {load.title}", value, limit, f"× {floor}" if floor else "ms")


def line(results, kind, tool, part):
    return [(int(load.arguments[1]), result[tool][part] * 1e3) for load, result in results if load.arguments[0] == kind]


def charts(results):
    one = [("stop over memory", "MiB", "memory", ["stop"], "fork"), ("restore over memory", "MiB", "memory", ["restore"], "touch"),
           ("processes", "processes", "processes", ["checkpoint", "stop", "restore"], "fork"),
           ("threads", "threads", "threads", ["checkpoint", "stop", "restore"], "create")]
    return [Chart(title, x, "ms", {**{part: line(results, kind, "spore", part) for part in parts}, f"floor: {floor}": line(results, kind, "floor", floor)})
            for title, x, kind, parts, floor in one]


NOTES = """Milliseconds, each the best of its rounds (of one tiny process the median); in brackets the multiple of the floor named, which was measured in the same run.

{table}

- Checkpoint: from the start of the command until it has ended. Stop: from the first task stopped to the last one running, as the tool tells it.
  Restore: from the start of the command until the restored program has read all of its memory once, and has found it to be what it was.
- Memory is filled with distinct random pages. Each process has 25 mappings and 30 pages of its own. Floors, by as many threads as spore has ({threads}): write
  of the same bytes from warm memory, touch of as much fresh memory; fork of the same memory and its sum by one; forking as many such
  processes, until each has its pages; creating as many threads."""


def programs(loads, options):
    criu = Criu.find()
    tools = [Spore(options.spore)] + ([criu] if criu else [])
    results = []
    for load in loads:
        print(f"{load.title} …", file=sys.stderr, flush=True)
        results.append((load, measure(load, tools, options)))
    return Part("Programs", NOTES.format(table=table(results, tools), threads=spores_threads()), list(bounds(results)), charts(results))


def chosen(options):
    """Functions that measure, and what they measure."""
    loads = [load for load in LOADS if load.name in options.parts or not options.parts]
    if options.quick and not options.parts:
        loads = [load for load in loads if load.name not in SLOW]
    if loads:
        yield "programs", lambda: programs(loads, options)
    for name in PARTS:
        if name in options.parts or not options.parts:
            yield name, lambda name=name: importlib.import_module(name).part(options)


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=os.environ.get("BUILD", os.path.join(TOP, "build")))
    p.add_argument("--spore", help="the command, if not the build's")
    p.add_argument("--work", default="/dev/shm", help="where images are written")
    p.add_argument("--rounds", type=int, default=0)
    p.add_argument("--mib", type=int, action="append", help="sizes for incremental, lazy, clones and overhead, in place of their own")
    p.add_argument("--quick", action="store_true")
    p.add_argument("parts", nargs="*", metavar="PART", help=", ".join([load.name for load in LOADS] + PARTS))
    options = p.parse_args()
    options.build = os.path.abspath(options.build)
    options.spore = os.path.abspath(options.spore or os.path.join(options.build, "spore"))
    unknown = set(options.parts) - {load.name for load in LOADS} - set(PARTS)
    if unknown:
        p.error(f"unknown: {' '.join(sorted(unknown))}")
    return options


def main():
    options, parts, broken = parse(), [], 0
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)     # PR_SET_CHILD_SUBREAPER: the dead of a killed tree are ours to bury
    for name, measure_it in chosen(options):
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            part = measure_it()
        except Broken as e:
            print(f"bench: {name}: {e}", file=sys.stderr)
            broken += 1
            continue
        parts.append(part)
        print(f"{part.title}\n\n{part.text}\n\n{report.verdicts(part.bounds)}\n", flush=True)
    if not (broken or options.quick or options.parts or options.mib):
        report.write(parts, options.work)
    return 1 if broken else 0


if __name__ == "__main__":
    import run                                  # the same module that the parts import, and the same Broken
    sys.exit(run.main())
