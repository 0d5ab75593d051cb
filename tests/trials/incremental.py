# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images made against older ones, each restored beside the program that runs on (tests/cli/changing.c, moving.c, instant.c); and a long chain, equal to the living tree."""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time

from harness import Failure, is_gone, kill_all, wait_until
from instant import end, goes_on, rounds

MIB = 32


def start(trial, name, *arguments):
    p = subprocess.Popen([os.path.join(trial.options.build, "tests/cli", name), *map(str, arguments)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: rounds(p.pid) > 1, 30, "start")
    return p


def save(trial, pid, image, *options):
    status, out, err = trial.call("checkpoint", "--json", *options, pid, image)
    if status:
        raise Failure(f"spore checkpoint {' '.join(options)}: exit {status}: {err[-300:]}")
    return json.loads(out)


def restored_beside(trial, image, what):
    """Its pid is taken, so it gets a pid namespace of its own."""
    status, pid, err = trial.restore(image)
    if status:
        raise Failure(f"{what}: spore restore: exit {status}: {err[-300:]}")
    try:
        goes_on(trial, pid, what)
    finally:
        kill_all([pid])
        wait_until(lambda: is_gone(pid), 10, "end")


def one_program(trial, times, *command):
    """In chains of random length, with a random pause and now and then a keeper that is killed, a parent that is older, a full image."""
    p, what, older = start(trial, *command), " ".join(map(str, command)), []
    tracked = 0
    try:
        for i in range(times):
            image = f"{trial.work}/{i}"
            chance = trial.rng.random()
            if not older or chance < 0.05:
                save(trial, p.pid, image, "--track")
                for old in older:
                    shutil.rmtree(old)
                older = []
            else:
                parent = trial.rng.choice(older) if chance < 0.15 else older[-1]
                result = save(trial, p.pid, image, "--parent", parent)
                tracked += result["tracked"]
            older.append(image)
            if p.poll() is not None:
                raise Failure(f"{what}: the program has ended with status {p.returncode}")
            restored_beside(trial, image, f"{what}: image {i}")
            trial.count += 1
            time.sleep(trial.rng.uniform(0, 0.03))
        if not tracked:
            trial.fail(f"{what}: it was never tracked")
    finally:
        end(p)
        for old in older:
            shutil.rmtree(old, ignore_errors=True)


def incremental(trial):
    one_program(trial, trial.number(500), "changing", MIB, 40)
    for _ in range(3):
        one_program(trial, trial.number(100), "moving", trial.rng.randrange(1 << 30))
    one_program(trial, trial.number(100), "instant", MIB)


def hashes(pid):
    """Of all its anonymous memory but what is small, to which the kernel writes (rseq)."""
    joined = hashlib.blake2b()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            area, prot, _, _, inode, *name = line.split()
            at, to = (int(x, 16) for x in area.split("-"))
            if prot[:2] == "rw" and prot[3] == "p" and inode == "0" and (to - at >= 1 << 20 or name):
                mem.seek(at)
                while at < to:
                    data = mem.read(min(to - at, 1 << 24))
                    joined.update(data)
                    at += len(data)
    return joined.hexdigest()


def chain(trial):
    """200 images, each against the one before."""
    length = trial.number(200)
    p = start(trial, "changing", 256, 650)
    try:
        save(trial, p.pid, f"{trial.work}/0", "--track")
        for i in range(1, length):
            result = save(trial, p.pid, f"{trial.work}/{i}", "--parent", f"{trial.work}/{i - 1}")
            if not result["tracked"] or result["pages"] > 32768:
                trial.fail(f"image {i}: {result}")
            trial.count += 1
        os.kill(p.pid, signal.SIGSTOP)
        time.sleep(0.2)
        save(trial, p.pid, f"{trial.work}/{length}", "--parent", f"{trial.work}/{length - 1}")
        want = hashes(p.pid)
        end(p)
        status, pid, err = trial.restore(f"{trial.work}/{length}")
        if status:
            raise Failure(f"spore restore: exit {status}: {err[-300:]}")
        if hashes(pid) != want:
            trial.fail("the memory restored from the chain is not that of the living tree")
        os.kill(pid, signal.SIGCONT)
        goes_on(trial, pid, "the end of the chain")
        kill_all([pid])
        wait_until(lambda: is_gone(pid), 10, "end")
        status, _, err = trial.call("merge", f"{trial.work}/{length}", f"{trial.work}/one")
        if status:
            raise Failure(f"spore merge: exit {status}: {err[-300:]}")
        for i in range(length + 1):
            shutil.rmtree(f"{trial.work}/{i}")
        status, pid, err = trial.restore(f"{trial.work}/one")
        if status:
            raise Failure(f"spore restore of the merged image: exit {status}: {err[-300:]}")
        if hashes(pid) != want:
            trial.fail("the memory restored from the merged image is not that of the living tree")
        os.kill(pid, signal.SIGCONT)
        goes_on(trial, pid, "the merged image")
        kill_all([pid])
        wait_until(lambda: is_gone(pid), 10, "end")
    finally:
        end(p)


def numbered(directory):
    return sorted(n for n in os.listdir(directory) if n.isdigit()) if os.path.isdir(directory) else []


def watch(trial):
    """`spore watch`, killed at random moments: whatever has a number is whole, and the latest is restored beside the program."""
    p, store = start(trial, "changing", MIB, 200), f"{trial.work}/store"
    try:
        for i in range(trial.number(200)):
            before = len(numbered(store)) and int(numbered(store)[-1])
            w = subprocess.Popen([trial.options.spore, "watch", "--every", "1ms", "--keep", str(trial.rng.randrange(1, 5)), str(p.pid), store],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(lambda: numbered(store) and int(numbered(store)[-1]) > before, 60, "image")
            time.sleep(trial.rng.uniform(0, 0.4))
            w.kill()
            w.wait()
            for n in numbered(store):
                status, _, err = trial.call("verify", f"{store}/{n}")
                if status:
                    trial.fail(f"kill {i}: {n} is not whole: {err[-300:]}")
            if i % 10 == 0:
                restored_beside(trial, f"{store}/latest", f"kill {i}: latest")
            if p.poll() is not None:
                raise Failure(f"kill {i}: the program has ended with status {p.returncode}")
            trial.count += 1
    finally:
        end(p)


TRIALS = {"incremental": incremental, "chain": chain, "watch": watch}
