#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""make bench-descriptors: how the time to save and to restore a tree grows with its descriptors.

descriptors.py             every kind with 1,000 and 10,000 descriptors; fails where the mix costs over 12 times as much to save
descriptors.py mix tcp …   some kinds

mix: unix sockets (pairs of each type, accepted, named), TCP and UDP on loopback, pipes, eventfds and epolls, all of them registered
in one epoll and shared by four processes, some by dup; a quarter with something unread. The others: of one kind alone. spread: the mix,
with 100 descriptors in each of many processes. Each figure is the best of some rounds, in milliseconds, from the start of the command
until it has ended; for a restore, until the restored program has read from every object what was written to it. The last column
is what a checkpoint has of the processors, which tells more where the machine has other work.
"""
import argparse
import ctypes
import os
import resource
import sys
import time

import run

KINDS = ["mix", "pipe", "unix", "unix-accepted", "unix-named", "tcp", "udp", "eventfd", "epoll", "spread"]
FEW, MANY = 1000, 10000
BOUND = 12


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=os.environ.get("BUILD", os.path.join(run.TOP, "build")))
    p.add_argument("--spore", help="the command, if not the build's")
    p.add_argument("--work", default="/dev/shm", help="where images are written")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    options = p.parse_args()
    options.build = os.path.abspath(options.build)
    options.spore = os.path.abspath(options.spore or os.path.join(options.build, "spore"))
    unknown = set(options.kinds) - set(KINDS)
    if unknown:
        p.error(f"unknown: {' '.join(sorted(unknown))}")
    return options


class Counted(run.Spore):
    """The keeper ends with the command. As an orphan it is ours to bury, and its time is counted then."""

    def checkpoint(self, pid, image):
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        stop = super().checkpoint(pid, image)
        self.took = time.monotonic() - begin
        time.sleep(0.05)
        run.bury()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return stop


def measure(kind, options):
    """Few and many by turns, so that they meet the same weather."""
    spore, found = Counted(options.spore), {FEW: [], MANY: []}
    for _ in range(options.rounds):
        for n, rounds in found.items():
            load = run.Load(kind, kind, [kind, str(n)], 1, "bench-descriptors")
            parts = run.one_round(spore, load, options)
            rounds.append({**parts, "checkpoint": spore.took, "processors": spore.used})
    return {n: run.of_all(load, rounds) for n, rounds in found.items()}


def main():
    options, broken, ratio = parse(), 0, None
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)     # PR_SET_CHILD_SUBREAPER: the dead of a killed tree are ours to bury
    print(f"{'':15}" + "".join(f"{part + ' of ' + f'{n:,}':>22}" for part in ("checkpoint", "restore", "processors") for n in (FEW, MANY)))
    for kind in options.kinds or KINDS:
        try:
            found = measure(kind, options)
        except run.Broken as e:
            print(f"bench: {kind}: {e}", file=sys.stderr)
            broken += 1
            continue
        line = f"{kind:15}"
        for part in ("checkpoint", "restore", "processors"):
            few, many = found[FEW][part], found[MANY][part]
            line += f"{run.ms(few):>22}{run.ms(many):>13} ({many / few:4.1f} ×)"
            if kind == "mix" and part == "checkpoint":
                ratio = many / few
        print(line, flush=True)
    if ratio is not None:
        print(f"descriptors: {MANY:,} cost {ratio:.1f} times {FEW:,}")
    return 1 if broken or (ratio or 0) > BOUND else 0


if __name__ == "__main__":
    sys.exit(main())
