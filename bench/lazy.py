#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""make bench-lazy: restores on demand beside full ones: when the program runs again, when it has met all of its memory (its image is deleted as soon as the command has returned), and
when nothing is registered any more. Medians, in milliseconds from the start of the command."""
import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time


def read(path):
    end = time.monotonic() + 120
    while not os.path.exists(path):
        if time.monotonic() > end:
            sys.exit(f"bench: {path} does not come")
        time.sleep(0.001)
    with open(path) as f:
        when, total = f.read().split()
    return float(when), total


def spore(options, *arguments):
    r = subprocess.run([os.path.join(options.build, "spore"), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if r.returncode:
        sys.exit(f"bench: spore {' '.join(arguments)}: {r.stderr}")
    return r.stdout


def is_registered(pid):
    with open(f"/proc/{pid}/smaps") as f:
        return any(line.startswith("VmFlags") and " um" in line for line in f)


def one_round(work, options, want, *how):
    image = os.path.join(work, "image")
    copy = os.path.join(work, "copy")
    subprocess.run(["cp", "-al", image, copy], check=True)
    for name in ("first", "done"):
        if os.path.exists(os.path.join(work, name)):
            os.unlink(os.path.join(work, name))
    begin = time.time()
    pid = int(spore(options, "restore", "-d", *how, copy))
    shutil.rmtree(copy)
    done, total = read(os.path.join(work, "done"))
    first, _ = read(os.path.join(work, "first"))
    while is_registered(pid):
        time.sleep(0.001)
    whole = time.time()
    if total != want:
        sys.exit(f"bench: the sum was {want} and is {total}")
    os.kill(pid, signal.SIGKILL)
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.005)
    return {"first": first - begin, "done": done - begin, "whole": max(whole, done) - begin}


def measure(mib, options):
    with tempfile.TemporaryDirectory(prefix="spore-bench-", dir=options.work) as work:
        p = subprocess.Popen([os.path.join(options.build, "bench/bench-lazy"), str(mib)], cwd=work, start_new_session=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, want = read(os.path.join(work, "ready"))
        spore(options, "checkpoint", "--kill", str(p.pid), os.path.join(work, "image"))
        p.wait()
        open(os.path.join(work, "go"), "w").close()
        rounds = {"full": [], "lazy": []}
        for _ in range(options.rounds):
            for name, how in (("full", ()), ("lazy", ("--lazy",))):
                rounds[name].append(one_round(work, options, want, *how))
    return {name: {part: statistics.median(r[part] for r in all_of_it) for part in all_of_it[0]} for name, all_of_it in rounds.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default=os.environ.get("BUILD", os.path.join(os.path.dirname(__file__), "../build")))
    p.add_argument("--work", default="/dev/shm")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("mib", nargs="*", type=int, default=[64, 1024, 4096])
    options = p.parse_args()
    options.build = os.path.abspath(options.build)
    print("| MiB | full: runs | has met all | on demand: runs | has met all | is all there | on demand / full |\n|---|---|---|---|---|---|---|")
    for mib in options.mib:
        m = measure(mib, options)
        full, lazy = m["full"], m["lazy"]
        print(f"| {mib} | {full['first'] * 1e3:.0f} | {full['done'] * 1e3:.0f} | {lazy['first'] * 1e3:.1f} | {lazy['done'] * 1e3:.0f} | {lazy['whole'] * 1e3:.0f} "
              f"| {lazy['whole'] / full['done']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
