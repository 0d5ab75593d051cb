#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The first process of the guest that guest.py boots: guest_inside.py WORK BUILD GRAPHS [MAKER|cli:NAME...]. What it says goes to the second serial line."""
import json
import os
import resource
import subprocess
import sys
import tempfile

MOUNTS = [("proc", "/proc", ""), ("sysfs", "/sys", ""), ("cgroup2", "/sys/fs/cgroup", ""), ("devtmpfs", "/dev", ""),
          ("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666"), ("tmpfs", "/dev/shm", "mode=1777"), ("mqueue", "/dev/mqueue", ""),
          ("tmpfs", "/run", "mode=755"), ("tmpfs", "/tmp", "mode=1777")]
STATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../state")


def set_up(work):
    for kind, where, options in MOUNTS:
        os.makedirs(where, exist_ok=True)
        subprocess.run(["mount", "-t", kind, *(["-o", options] if options else []), kind, where], check=True)
    line = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
    for fd in 1, 2:
        os.dup2(line, fd)
    for name, value in ("kernel/modprobe", f"{work}/modprobe"), ("net/ipv4/ping_group_range", "0 2147483647"):
        with open(f"/proc/sys/{name}", "w") as f:
            f.write(value)
    for words in ["ip link add eth0 type dummy", "ip link set lo up", "ip link set eth0 up"]:
        subprocess.run([f"{work}/kernel/bin/busybox", *words.split()], check=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 19, 1 << 19))


def one(spore):
    """A process that sleeps, by hand."""
    sleeper = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    with tempfile.TemporaryDirectory() as directory:
        print("$ spore check", flush=True)
        subprocess.run([spore, "check", str(sleeper.pid)], check=False)
        subprocess.run([spore, "checkpoint", "--kill", str(sleeper.pid), f"{directory}/image"], check=True)
        sleeper.wait()
        subprocess.run([spore, "restore", "-d", f"{directory}/image"], check=True)
        os.kill(sleeper.pid, 9)


def run(build, program, mode, *more):
    """All that fail, by name."""
    print(f"$ {program} {mode} {' '.join(w for w in more if w.startswith('-'))}", flush=True)
    p = subprocess.Popen([f"{STATE}/run.py", "--makers", f"{build}/tests/{program}", "--spore", f"{build}/spore", "--oracle",
                          f"{build}/tests/oracle/spore-oracle", "--mode", mode, "--may-refuse", "--timeout", "120", *more],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    failed = []
    for line in p.stdout:
        print(line, end="", flush=True)
        words = line.split()
        if words[:1] == ["FAIL"]:
            failed.append(words[3].rstrip(":"))
    p.wait()
    return failed


def makers(build, program, mode, *names):
    """What fails is tried again, with nothing beside it, and then without spore: does this kernel do at all what the maker expects?"""
    failed = run(build, program, mode, "-j3", *names)
    failed = failed and run(build, program, mode, "-j1", *failed)
    if failed:
        run(build, program, mode, "--no-spore", *failed)


def command(build, name):
    """A test of the command (tests/cli), each of whose functions says how it ended; and what it says if it ended badly."""
    with open(f"{build}/meson-info/intro-tests.json") as f:
        test, = (t for t in json.load(f) if t["name"] == f"cli {name}")
    print(f"$ cli {name}", flush=True)
    p = subprocess.run(test["cmd"], env={**os.environ, **test["env"]}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(p.stdout, f"exit {p.returncode}", sep="", flush=True)


def main(work, build, graphs, *words):
    set_up(work)
    print("$ uname", os.uname().release, flush=True)
    one(f"{build}/spore")
    commands, names = [w[4:] for w in words if w.startswith("cli:")], [w for w in words if not w.startswith("cli:")]
    for name in commands:
        command(build, name)
    if commands and not names:
        print("$ end", flush=True)
        return
    for mode in "host", "run":
        makers(build, "state/spore-makers", mode, *names)
    os.environ["GRAPH_SEEDS"] = graphs
    for mode in "host", "run":
        makers(build, "graph/spore-graph", mode)
    print("$ end", flush=True)


if __name__ == "__main__":
    worker = os.fork()
    if not worker:
        try:
            main(*sys.argv[1:])
        finally:
            sys.stdout.flush()
            os._exit(0)
    while os.wait()[0] != worker:  # it also reaps what nobody else does, as a first process has to
        pass
    subprocess.run([f"{sys.argv[1]}/kernel/bin/busybox", "poweroff", "-f"], check=False)
