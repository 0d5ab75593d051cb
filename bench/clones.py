# SPDX-License-Identifier: LGPL-2.1-or-later
"""make bench ARGS=clones: the memory of ten clones of one image beside that of one.

Of each tree and of the spores that keep it: proportional set size, in which a page that several have counts once, and page tables. Nothing was written since the restore.
"""
import os
import shutil
import subprocess
import tempfile
import time

import run
from lazy import spore
from report import Bound, Part

CLONES = 10


def spores(options):
    """Pids of processes of this build."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe").startswith(os.path.dirname(options.spore) + "/spore"):
                found.add(int(pid))
        except OSError:
            pass
    return found


def bytes_of(pid):
    kib = 0
    with open(f"/proc/{pid}/smaps_rollup") as f:
        kib += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    with open(f"/proc/{pid}/status") as f:
        kib += sum(int(line.split()[1]) for line in f if line.startswith("VmPTE:"))
    return kib * 1024


def restored(options, image, n):
    before = spores(options)
    pids = [int(p) for p in spore(options, "restore", "-d", *(["--clone", str(n)] if n > 1 else []), image).split()]
    try:
        return sum(bytes_of(p) for root in pids for p in run.tree(root)) + sum(map(bytes_of, spores(options) - before))
    finally:
        for pid in pids:
            run.kill(pid)


def measure(options, mib):
    work = tempfile.mkdtemp(prefix="spore-bench-", dir=options.work)
    image = os.path.join(work, "image")
    pid = 0
    inside = tempfile.mkdtemp(prefix="spore-bench-")       # a container has a /dev/shm of its own
    try:
        # in a pid namespace of its own: each clone is to have the same pids
        pid = int(subprocess.run([options.spore, "run", "-d", "--", os.path.join(options.build, "bench/bench-workload"), "memory", str(mib)], cwd=inside,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout)
        run.wait_for(os.path.join(inside, "ready"), pid)
        everyone = run.tree(pid)
        spore(options, "checkpoint", "--kill", str(pid), image)
        while any(map(run.is_there, everyone)):     # they are dying
            run.bury()
            time.sleep(0.01)
        return restored(options, image, 1), restored(options, image, CLONES)
    finally:
        if pid and run.is_there(pid):
            run.kill(pid)
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(inside, ignore_errors=True)


def part(options):
    mib = options.mib[-1] if options.mib else 64 if options.quick else 1024
    one, all_of_them = measure(options, mib)
    text = f"{mib} MiB: one {one / 2**20:.1f} MiB, {CLONES} clones {all_of_them / 2**20:.1f} MiB."
    return Part("Clones", __doc__.split("\n\n", 1)[1].strip() + "\n\n" + text,
                [Bound(f"memory of {CLONES} clones, {mib} MiB", all_of_them / one, 1.15, "× one")])
