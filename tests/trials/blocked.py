# SPDX-License-Identifier: LGPL-2.1-or-later
"""Threads blocked in every call that can block do not notice a checkpoint."""
import json
import os
import subprocess
import time

from harness import Failure, read_lines, wait_until
from lib import target

TIMEOUT = 500_000   # us, of every call that has one
INTERVAL = 0.8      # longer than the calls' timeouts, so that no call meets two stops


def numbers(trial, *args):
    status, out, err = trial.call(*args)
    if status:
        raise Failure(f"spore {args[0]}: exit {status}: {err.strip()[-300:]}")
    return json.loads(out)


def checkpoints(trial, tree, times):
    """Checkpoints of a tree that goes on; the longest stop in microseconds."""
    longest = 0
    for n in range(times):
        time.sleep(trial.rng.uniform(INTERVAL, INTERVAL * 1.2))
        image = f"{trial.work}/image"
        longest = max(longest, numbers(trial, "checkpoint", "--json", tree.root, image)["stop_us"])
        subprocess.run(["rm", "-r", image], check=True)
        trial.count += 1
    return longest


def restores(trial, tree, times):
    """Lives; the longest time that spore took for one change of lives, in microseconds."""
    longest = 0
    for n in range(times):
        time.sleep(trial.rng.uniform(INTERVAL, INTERVAL * 1.2))
        image = f"{trial.work}/image"
        begin = time.monotonic()
        trial.spore.call("checkpoint", "--kill", tree.root, image)
        tree.reap()
        status, tree.root, err = trial.restore(image)
        if status:
            raise Failure(f"spore restore: exit {status}: {err.strip()[-300:]}")
        longest = max(longest, int(1e6 * (time.monotonic() - begin)))
        subprocess.run(["rm", "-r", image], check=True)
        trial.count += 1
    return longest


def isolations(trial, tree, times):
    """Isolate and unisolate, for what a checkpoint still refuses."""
    longest = 0
    for n in range(times):
        time.sleep(trial.rng.uniform(INTERVAL, INTERVAL * 1.2))
        begin = time.monotonic()
        trial.spore.call("isolate", tree.root)
        trial.spore.call("unisolate", tree.root)
        longest = max(longest, int(1e6 * (time.monotonic() - begin)))
        trial.count += 1
    return longest


def report(tree):
    open(f"{tree.dir}/end", "w").close()
    wait_until(lambda: os.path.exists(f"{tree.dir}/report"), 20, "report of the blocked threads")
    found = {}
    for line in read_lines(f"{tree.dir}/report"):
        name, rounds, errors, early, late, first = line.split()
        found[name] = (int(rounds), int(errors), int(early), int(late), first)
    return found


def watch(trial, group, disturb, what):
    """One run: a disturbed and an undisturbed instance side by side, compared call by call."""
    with target(trial, group, program="trial-blocked", name=f"disturbed-{what}") as tree, \
            target(trial, group, program="trial-blocked", name=f"undisturbed-{what}") as still:
        try:
            for t in (tree, still):
                wait_until(lambda: os.path.exists(f"{t.dir}/ready"), 10, "start")
            time.sleep(0.5)
            longest = disturb(tree)
            mine, other = report(tree), report(still)
            # the coarse clock of socket timeouts has a lateness of its own; all others share one
            usual = max(late for name, (_, _, _, late, _) in other.items() if name != "recv-timeout")
            for name, (rounds, errors, early, late, first) in mine.items():
                allowed = longest + 2 * max(usual, other[name][3])     # twice: two draws of the same noise
                if name == "recv-timeout":
                    # The kernel does not go on with such a wait (sock_intr_errno), and its timeout is the socket's, not the
                    # call's: made again, it waits for all of it. docs/coverage.md says so; how late it was is told below.
                    allowed += TIMEOUT
                    trial.note(f"{what}: {name} began anew, {late} us late")
                if errors:
                    trial.fail(f"{what}: {name}: {errors} of {rounds} calls failed, the first with {first}")
                if early > other[name][2]:
                    trial.fail(f"{what}: {name} ended {early} us early")
                if late > allowed:
                    trial.fail(f"{what}: {name} was {late} us late, {allowed} allowed")
            trial.note(f"{what}: {len(mine)} calls, stop at most {longest} us, undisturbed {usual} us late")
        finally:
            for t in (tree, still):
                for line in read_lines(f"{t.dir}/ipc"):
                    if not os.path.exists(f"{t.dir}/report"):
                        subprocess.run(["ipcrm", *line.split()], check=False, stderr=subprocess.DEVNULL)


def carries_all(trial):
    """Does this spore checkpoint a tree with System V objects, a listener and an aio context at all?"""
    with target(trial, "all", program="trial-blocked", name="probe") as tree:
        wait_until(lambda: os.path.exists(f"{tree.dir}/ready"), 10, "start")
        status = trial.call("checkpoint", tree.root, f"{trial.work}/probe-image")[0]
        report(tree)
        return status == 0


def blocked(trial):
    saves, lives = trial.number(50), trial.options.count or 20
    watch(trial, "carried", lambda tree: checkpoints(trial, tree, saves), "checkpointed")
    watch(trial, "carried", lambda tree: restores(trial, tree, lives), "restored")
    if carries_all(trial):
        watch(trial, "all", lambda tree: checkpoints(trial, tree, saves), "all, checkpointed")
    else:
        trial.note("semop, msgrcv, accept, recv and io_getevents: a checkpoint refuses them, so isolated only")
        watch(trial, "all", lambda tree: isolations(trial, tree, saves), "all, isolated")


TRIALS = {"blocked": blocked}
