# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images of one instant: of threads that write all of their memory all the time (tests/cli/instant.c), and of every maker, each from a copy."""
import json
import os
import re
import shutil
import subprocess
import sys
import time

from harness import Failure, Skip, is_gone, kill_all, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 32


def rounds(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            text = f.read().strip()
    except OSError:
        return -1
    return int(text) if text.isdigit() else 0


def goes_on(trial, pid, what):
    """For more than a round, in which each page is looked at."""
    before = rounds(pid)
    try:
        wait_until(lambda: is_gone(pid) or rounds(pid) >= before + 2, 30, "two rounds")
    except Failure as e:
        trial.fail(f"{what}: {e}")
    if is_gone(pid):
        trial.fail(f"{what}: not of one instant")


def save(trial, way, pid, image):
    """from a copy, when the tree runs on; or while it stands."""
    if way == "copied":
        status, out, err = trial.call("checkpoint", "--json", pid, image)
    else:
        trial.call("isolate", pid)
        status, out, err = trial.call("checkpoint", "--json", pid, image)
        trial.call("unisolate", pid)
    if status:
        raise Failure(f"{way}: spore checkpoint: exit {status}: {err[-300:]}")
    if json.loads(out)["copies"] != (way == "copied"):
        trial.fail(f"{way}: saved the other way")


def one_way(trial, way, times):
    image = f"{trial.work}/image"
    p = subprocess.Popen([os.path.join(trial.options.build, "tests/cli/instant"), str(MIB), "dontfork", "wipeonfork"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: rounds(p.pid) > 1, 30, "start")
        for i in range(times):
            time.sleep(trial.rng.uniform(0, 0.05))
            save(trial, way, p.pid, image)
            trial.count += 1
            if p.poll() is not None:
                raise Failure(f"{way}: the program has ended with status {p.returncode}")
            # Its pid is taken while it runs, so it is killed, and goes on as what was restored.
            p = go_on_as(trial, p, image, f"{way} {i}")
            shutil.rmtree(image)
    finally:
        end(p)


class Restored:
    """Nobody's child here, but for the subreaper."""

    def __init__(self, pid):
        self.pid = pid

    def poll(self):
        return 1 if is_gone(self.pid) else None


def end(p):
    kill_all([p.pid])
    if isinstance(p, subprocess.Popen):
        p.wait()
    else:
        wait_until(lambda: is_gone(p.pid), 10, "end")


def go_on_as(trial, p, image, what):
    end(p)
    status, pid, err = trial.restore(image)
    if status:
        raise Failure(f"{what}: spore restore: exit {status}: {err[-300:]}")
    goes_on(trial, pid, what)
    return Restored(pid)


def instant(trial):
    for way in "copied", "stopped":
        one_way(trial, way, trial.number(500))


def copies(trial):
    """All makers, by a spore that saves from a copy whatever can be."""
    with open(f"{trial.options.build}/meson-info/intro-buildoptions.json") as f:
        if not any(o["name"] == "test_copies" and o["value"] for o in json.load(f)):
            raise Skip("needs a build with -Dtest_copies=true: --build DIR")
    build = trial.options.build
    for options in ["--mode", "host"], ["--mode", "host", "--survive"], ["--mode", "run"]:
        p = subprocess.run([sys.executable, os.path.join(HERE, "../state/run.py"), "--makers", f"{build}/tests/state/spore-makers", "--spore", trial.options.spore,
                            "--oracle", f"{build}/tests/oracle/spore-oracle", "--quiet", "-j0", "--tmp", trial.work, *options],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        counts = re.search(r"(\d+) passed, (\d+) failed, (\d+) skipped", p.stdout)
        trial.count += int(counts[1]) if counts else 0
        for text in re.split(r"\n(?=FAIL|skip)", p.stdout):
            if text.startswith("FAIL"):
                trial.fail(f"{' '.join(options)}: {text.strip()[:600]}")
        if not counts:
            trial.fail(f"{' '.join(options)}: {p.stdout.strip()[-300:]}")


TRIALS = {"instant": instant, "copies": copies}
