#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A spore that cheats: it saves the command line, and restores by running the program again from the start.

The tests of the tests: every scenario must find it out, and the trials have something to be tried with.
"""
import hashlib
import json
import os
import signal
import subprocess
import sys
import time


def read(path):
    with open(path, "rb") as f:
        return f.read()


def tree(pid):
    found = [pid]
    for p in found:
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                found += [int(c) for c in read(f"/proc/{p}/task/{t}/children").split()]
        except OSError:
            pass
    return found


def checkpoint(args):
    kill, as_json = "--kill" in args, "--json" in args
    pid, image = [a for a in args if not a.startswith("--")]
    os.makedirs(image, exist_ok=True)
    head = json.dumps({"argv": read(f"/proc/{pid}/cmdline").decode().split("\0")[:-1],
                       "env": [e for e in read(f"/proc/{pid}/environ").decode().split("\0") if e],
                       "cwd": os.readlink(f"/proc/{pid}/cwd"),
                       "streams": [os.readlink(f"/proc/{pid}/fd/{n}") for n in range(3)]}).encode()
    pages = os.urandom(16384)
    for name, data in (("head", head), ("pages", pages), ("manifest.new", hashlib.sha256(head + pages).digest())):
        with open(f"{image}/{name}", "wb") as f:
            f.write(data)
    os.rename(f"{image}/manifest.new", f"{image}/manifest")
    if kill:
        for p in tree(int(pid)):
            os.kill(p, signal.SIGKILL)
    if as_json:
        print(json.dumps({"pid": int(pid), "stop_us": 0, "total_us": 1, "pages": 4, "bytes": 16384}))


def verify(args):
    image = args[-1]
    if sorted(os.listdir(image)) != ["head", "manifest", "pages"]:
        raise OSError(f"{image}: no image")
    head = read(f"{image}/head")
    if hashlib.sha256(head + read(f"{image}/pages")).digest() != read(f"{image}/manifest"):
        raise OSError(f"{image}: damaged")
    return json.loads(head)


def restore(args):
    saved = verify(args)
    out = [open(f, "rb" if n == 0 else "ab") if f.startswith("/") and os.path.isfile(f) else subprocess.DEVNULL if "-d" in args else None
           for n, f in enumerate(saved["streams"])]
    env = dict(e.split("=", 1) for e in saved["env"])
    p = subprocess.Popen(saved["argv"], cwd=saved["cwd"], env=env, stdin=out[0], stdout=out[1], stderr=out[2], start_new_session="-d" in args)
    if "-d" in args:
        print(p.pid, flush=True)
        return 0
    return p.wait()


def run(args):
    argv = args[args.index("--") + 1:]
    p = subprocess.Popen(argv, start_new_session="-d" in args)
    if "-d" in args:
        print(p.pid, flush=True)
        return 0
    return p.wait() & 255


def nothing(args):
    time.sleep(0)


def main():
    calls = {"checkpoint": checkpoint, "restore": restore, "verify": verify, "run": run, "isolate": nothing, "unisolate": nothing}
    try:
        result = calls[sys.argv[1]](sys.argv[2:])
        return result if isinstance(result, int) else 0
    except (OSError, ValueError, KeyError) as e:
        print(f"cheat: {e}", file=sys.stderr)
        return 1


sys.exit(main())
