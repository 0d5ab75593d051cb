#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real programs through the spore command: saved half-way, killed, restored, judged by their result.

run.py --spore build/spore [NAME…]            every scenario, or those named
run.py --no-spore                             the scenarios alone: frozen and thawed, no spore
run.py --mode run --repeat 20 xz              20 lives of one tree, in a container that `spore run` made
run.py --twice --size full                    restored twice from one image, at the sizes of the trials
"""
import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness

FILES = ["xz", "pipeline", "threads", "database", "static", "golang", "build", "jobs", "editor", "terminal", "caches", "web", "runtimes", "postgresql", "agent", "tmux"]


def scenarios(size, seed):
    found = {}
    for name in FILES:
        for scenario in importlib.import_module(f"scenario_{name}").SCENARIOS:
            found[scenario.name] = scenario(size, seed)
    return found


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--spore", default=os.environ.get("SPORE"), help="the command to test")
    p.add_argument("--no-spore", action="store_true", help="freeze and thaw instead of checkpoint and restore")
    p.add_argument("--mode", choices=["host", "run", "both"], default="host", help="started by the harness, or by `spore run`; or first the one, then the other")
    p.add_argument("--streams", choices=["file", "pipe"], default="file", help="standard output: a file, or a pipe to outside")
    p.add_argument("--size", choices=["small", "full"], default="small")
    p.add_argument("--repeat", type=int, default=1, metavar="N", help="checkpoint, kill, restore N times on the same tree")
    p.add_argument("--twice", action="store_true", help="restore twice from one image, the files put back between")
    p.add_argument("--at", type=float, metavar="F", help="save at this fraction of the work")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--timeout", type=float, default=900)
    p.add_argument("--work", default="/var/tmp", help="where the files go")
    p.add_argument("--keep", action="store_true", help="keep the files of what failed")
    p.add_argument("--debug", action="store_true", help="show tracebacks")
    p.add_argument("--none-may-pass", action="store_true", help="for a spore that is known to cheat: each scenario must find it out")
    p.add_argument("--list", action="store_true")
    p.add_argument("names", nargs="*", metavar="NAME")
    return p.parse_args()


def one(scenario, options):
    base = tempfile.mkdtemp(prefix=f"spore-real-{scenario.name}-", dir=options.work)
    begin = time.monotonic()
    verdict = "failed"
    try:
        note = harness.run_scenario(scenario, options, base)
        verdict = "passed"
    except harness.Skip as e:
        verdict, note = "skipped", str(e)
    except harness.Failure as e:
        note = str(e)
    except Exception as e:
        note = f"{type(e).__name__}: {e}"
    if verdict == "failed" and options.debug:
        traceback.print_exc()
    if verdict == "failed" and options.keep:
        note += f" (kept in {base})"
    else:
        shutil.rmtree(base, ignore_errors=True)
    print(f"{scenario.name:12} {verdict:7} {time.monotonic() - begin:6.1f} s  {note}", flush=True)
    return verdict


def main():
    options = parse()
    known = scenarios(options.size, options.seed)
    if options.list:
        print("\n".join(known))
        return 0
    unknown = [n for n in options.names if n not in known]
    if unknown or not (options.no_spore or options.spore):
        print(f"run.py: unknown: {' '.join(unknown)}" if unknown else "run.py: --spore PATH or --no-spore", file=sys.stderr)
        return 2
    if options.spore:
        options.spore = os.path.abspath(options.spore)
    options.modes = ["host", "run"] if options.mode == "both" else [options.mode]
    harness.adopt()
    verdicts = [one(known[n], options) for n in options.names or known]
    count = {v: verdicts.count(v) for v in ("passed", "failed", "skipped")}
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    if options.none_may_pass:
        return 1 if count["passed"] else 0
    return 1 if count["failed"] else 77 if count["skipped"] and not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
