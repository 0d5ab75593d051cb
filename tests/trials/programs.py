# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real programs at full size: once, 20 times on the same tree, twice from one image, make at 20 moments, and servers under load at as many."""
import os
import subprocess
import sys

PROGRAMS = ["xz", "pipeline", "python", "python-path", "sqlite-file", "sqlite-memory", "busybox", "golang", "make", "bash-jobs", "vim", "terminal"]
SERVERS = ["redis", "memcached", "nginx", "postgresql", "asyncio", "node", "jvm", "etcd", "chromium", "ssh-agent", "tmux"]
RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../real/run.py")


def real(trial, *args, programs=()):
    for mode in ("host", "run"):
        size = "small" if trial.options.count else "full"
        names = [] if "make" in args else trial.options.names or programs
        p = subprocess.Popen([sys.executable, RUN, "--spore", trial.options.spore, "--mode", mode, "--size", size, "--seed", str(trial.options.seed),
                              "--work", trial.work, "--timeout", "3600", *args, *names], stdout=subprocess.PIPE, text=True)
        last = ""
        for last in p.stdout:
            words = last.split()
            trial.count += len(words) > 1 and words[1] == "passed"
            if programs and len(words) > 1 and words[1] == "passed":
                trial.note(f"{mode}: {last.strip()}")
            if len(words) > 1 and words[1] in ("failed", "skipped") and words[0] != "0":
                (trial.fail if words[1] == "failed" else trial.note)(f"{mode}: {last.strip()}")
            if trial.options.verbose:
                print("   ", mode, last.strip(), flush=True)
        if p.wait() == 2:
            trial.fail(f"{mode}: run.py did not run")
        trial.note(f"{mode}: {last.strip()}")


TRIALS = {
    "real-full": lambda trial: real(trial),
    "real-repeat": lambda trial: real(trial, "--repeat", str(trial.number(20))),
    # not of servers: the test puts back the files of the work directory, and these have some elsewhere
    "real-twice": lambda trial: real(trial, "--twice", programs=PROGRAMS),
    "servers": lambda trial: real(trial, "--repeat", str(trial.number(20)), programs=SERVERS),
    "make-20": lambda trial: real(trial, "make"),
}
