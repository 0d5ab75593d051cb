#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The long trials. Each ends in one line: name, count, seed, commit, date, verdict.

run.py                         all of them, with build/spore
run.py kill-checkpoint flip    by name
run.py --count 10 kill-restore fewer of each, to see that it works
run.py real-full -- xz vim     what stands behind -- picks scenarios, or components for drop-field
"""
import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../real")]
from harness import Failure, Skip, adopt       # noqa: E402
from lib import Trial                          # noqa: E402

MODULES = ["kill", "space", "flip", "blocked", "scope", "programs", "drop", "fresh", "graph", "guest", "instant", "incremental"]


def trials():
    found = {}
    for name in MODULES:
        found.update(importlib.import_module(name).TRIALS)
    return found


def parse(known):
    top = os.path.dirname(os.path.dirname(HERE))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=os.environ.get("BUILD", os.path.join(top, "build")), help="the build directory")
    p.add_argument("--spore", help="the command to test, if not the build's")
    p.add_argument("--oracle", help="if not the build's")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--count", type=int, default=0, help="so many of each, instead of the usual number")
    p.add_argument("--work", default="/var/tmp")
    p.add_argument("--keep", action="store_true", help="keep the files of what failed")
    p.add_argument("-v", "--verbose", action="store_true", help="tell failures as they come")
    p.add_argument("--list", action="store_true")
    p.add_argument("trials", nargs="*", metavar="TRIAL", help="all, if none is named: " + ", ".join(known))
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    options = p.parse_args(words[:cut])
    options.names = words[cut + 1:]
    options.build = os.path.abspath(options.build)
    options.spore = os.path.abspath(options.spore or os.path.join(options.build, "spore"))
    return options


def commit():
    p = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty", "--exclude=*"], stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, text=True)
    return p.stdout.strip() or "unknown"


def one(name, function, options):
    work = tempfile.mkdtemp(prefix=f"spore-trial-{name}-", dir=options.work)
    trial = Trial(name, options, work)
    begin, verdict = time.monotonic(), "passed"
    try:
        function(trial)
    except Skip as e:
        verdict = "skipped"
        trial.note(str(e))
    except Failure as e:
        trial.fail(str(e))
    except Exception as e:
        traceback.print_exc()
        trial.fail(f"{type(e).__name__}: {e}")
    if trial.failures:
        verdict = f"{len(trial.failures)} failed"
    for text in [] if options.verbose else trial.failures[:20]:
        print("   ", text)
    for text in trial.notes:
        print("   ", text)
    print(f"{name}: {trial.count} times, seed {options.seed}, commit {commit()}, {time.strftime('%Y-%m-%d', time.gmtime())}, "
          f"{time.monotonic() - begin:.0f} s: {verdict}", flush=True)
    if not (trial.failures and options.keep):
        shutil.rmtree(work, ignore_errors=True)
    return verdict


def main():
    known = trials()
    options = parse(known)
    if options.list:
        print("\n".join(known))
        return 0
    unknown = [n for n in options.trials if n not in known]
    if unknown or not os.path.exists(options.spore):
        print(f"run.py: unknown: {' '.join(unknown)}" if unknown else f"run.py: no {options.spore}: build it first, or --spore PATH", file=sys.stderr)
        return 2
    adopt()     # so what a killed spore leaves behind becomes our child, and is seen
    verdicts = [one(n, known[n], options) for n in options.trials or known]
    bad = sum("failed" in v for v in verdicts)
    print(f"{verdicts.count('passed')} passed, {bad} failed, {verdicts.count('skipped')} skipped")
    return 1 if bad else 77 if "passed" not in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
