# SPDX-License-Identifier: LGPL-2.1-or-later
"""make bench ARGS=peak: the most memory that spore itself has at any time.

The command and each keeper, as the kernel tells it when they have ended (ru_maxrss), or of a keeper that stays, VmHWM: the largest. In MiB. What the kernel tells of a command
is not less than what its starter had, some 15.
"""
import os
import shutil
import subprocess
import tempfile
import time

import run
from clones import spores
from report import Bound, Part, table

MIB = 1 << 20
# title, program, its arguments, MiB of the tree
TREES = [
    ("64 MiB", "bench-workload", ["memory", "64"], 64),
    ("1 GiB", "bench-workload", ["memory", "1024"], 1024),
    ("4 GiB", "bench-workload", ["memory", "4096"], 4096),
    ("500 processes", "bench-workload", ["processes", "500"], 60),
    ("10,000 descriptors", "bench-descriptors", ["mix", "10000"], 0),
]


def peak_of(pid):
    try:
        with open(f"/proc/{pid}/status") as f:
            return next((int(line.split()[1]) << 10 for line in f if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def is_spore(pid):
    """Of one that has ended too: but its name nothing is left of it."""
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().startswith("spore")
    except OSError:
        return False


def ended(seconds):
    """The largest of those spores that have ended, or end within that time; others that have are buried."""
    most, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            break
        if not found:
            time.sleep(0.01)
            continue
        counts = is_spore(found.si_pid)
        _, _, usage = os.wait4(found.si_pid, 0)
        most = max(most, usage.ru_maxrss << 10 if counts else 0)
    return most


class Peak:
    """Of commands of spore."""

    def __init__(self, options):
        self.options = options

    def run(self, *arguments, source=None, target=None):
        before = spores(self.options)
        script = 'exec "$@"' + (f' <"{source}"' if source else " </dev/null") + (f' >"{target}"' if target else "")
        p = subprocess.Popen(["/bin/sh", "-c", script, "sh", self.options.spore, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = p.stdout.read(), p.stderr.read()
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        if p.returncode:
            raise run.Broken(f"spore {' '.join(arguments)}: {err.strip()}")
        time.sleep(0.1)
        return out, max([usage.ru_maxrss << 10, ended(0.2), *map(peak_of, spores(self.options) - before)])


def saved(peak, pid, at):
    """Of each way to save; in the end the tree is killed."""
    found = {}
    _, found["full"] = peak.run("checkpoint", "--track", str(pid), at("full"))
    _, found["--parent"] = peak.run("checkpoint", "--parent", at("full"), str(pid), at("parent"))
    _, found["merge"] = peak.run("merge", at("parent"), at("merged"))
    for name in ("full", "parent", "merged"):
        shutil.rmtree(at(name))
    _, found["--compress"] = peak.run("checkpoint", "--compress", str(pid), at("compressed"))
    shutil.rmtree(at("compressed"))
    _, found["stream"] = peak.run("checkpoint", "--kill", str(pid), "-", target=at("stream"))
    return found


def restored(peak, at, options):
    found = {}
    for name, arguments in (("restore -", ["-"]), ("restore", [at("image")]), ("--lazy", ["--lazy", at("image")])):
        if name == "restore":
            peak.run("receive", at("image"), source=at("stream"))
            os.unlink(at("stream"))
        before = spores(options)
        out, found[name] = peak.run("restore", "-d", *arguments, source=at("stream") if name == "restore -" else None)
        time.sleep(1 if name == "--lazy" else 0)
        found[name] = max([found[name], *map(peak_of, spores(options) - before)])
        run.kill(int(out))
        ended(0.2)
    return found


def measure(options, program, arguments):
    work = tempfile.mkdtemp(prefix="spore-bench-", dir=options.work)
    pid = 0
    try:
        pid = subprocess.Popen([os.path.join(options.build, "bench", program), *arguments], cwd=work, start_new_session=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid
        run.wait_for(os.path.join(work, "ready"), pid)
        peak = Peak(options)
        found = saved(peak, pid, lambda name: os.path.join(work, name))
        return {**found, **restored(peak, lambda name: os.path.join(work, name), options)}
    finally:
        if pid and run.is_there(pid):
            run.kill(pid)
        run.bury()
        shutil.rmtree(work, ignore_errors=True)


def part(options):
    rows, bounds = [], []
    for title, program, arguments, mib in TREES[:1] if options.quick else TREES:
        found = measure(options, program, arguments)
        rows.append([title, *(f"{b / MIB:.1f}" for b in found.values())])
        bounds.append(Bound(f"peak memory of spore, {title} ({max(found, key=found.get)})", max(found.values()) / MIB, 64 + mib / 512, "MiB"))
    return Part("Memory of spore", __doc__.split("\n\n", 1)[1].strip() + "\n\n" + table(["", *found], rows), bounds)
