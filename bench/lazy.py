# SPDX-License-Identifier: LGPL-2.1-or-later
"""make bench ARGS=lazy: restores on demand beside full ones.

Milliseconds from the start of the command, medians: until the program runs again; until it has met all of its memory (its image is deleted as soon as the command has returned); until
nothing is registered any more. And of a redis-server with as much data, until it first answers.
"""
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import run
from report import Bound, Part, table


def read(path):
    end = time.monotonic() + 120
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise run.Broken(f"{path} does not come")
        time.sleep(0.001)
    with open(path) as f:
        when, total = f.read().split()
    return float(when), total


def spore(options, *arguments):
    r = subprocess.run([options.spore, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if r.returncode:
        raise run.Broken(f"spore {' '.join(arguments)}: {r.stderr}")
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
    while is_registered(pid):       # to look takes a while, and keeps the program's memory locked
        time.sleep(0.01)
    whole = time.time()
    if total != want:
        raise run.Broken(f"the sum was {want} and is {total}")
    run.kill(pid)
    return {"first": first - begin, "done": done - begin, "whole": max(whole, done) - begin}


def measure(mib, rounds, options):
    with tempfile.TemporaryDirectory(prefix="spore-bench-", dir=options.work) as work:
        p = subprocess.Popen([os.path.join(options.build, "bench/bench-lazy"), str(mib)], cwd=work, start_new_session=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, want = read(os.path.join(work, "ready"))
        spore(options, "checkpoint", "--kill", str(p.pid), os.path.join(work, "image"))
        p.wait()
        open(os.path.join(work, "go"), "w").close()
        found = {"full": [], "lazy": []}
        for _ in range(rounds):
            for name, how in (("full", ()), ("lazy", ("--lazy",))):
                found[name].append(one_round(work, options, want, *how))
    return {name: {part: statistics.median(r[part] for r in all_of_it) for part in all_of_it[0]} for name, all_of_it in found.items()}


# --- redis -----------------------------------------------------------------------------------------------------------

VALUE = 4096


def ask(port, *words, size=64):
    """One question on a connection of its own; None while nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
            s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            return s.recv(size) or None
    except OSError:
        return None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def redis_command(work, port):
    return ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", work]


def fill_redis(port, keys, together=256):
    """Values of random bytes, no two alike; DEBUG POPULATE makes zeros."""
    pool = os.urandom(1 << 24)
    with socket.create_connection(("127.0.0.1", port)) as s:
        for first in range(0, keys, together):
            some = range(first, min(first + together, keys))
            s.sendall(b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\nkey:%d\r\n$%d\r\n%b\r\n" % (4 + len(str(i)), i, VALUE, memoryview(pool)[i * 13 % (len(pool) - VALUE):][:VALUE]) for i in some))
            left = len(some) * len(b"+OK\r\n")
            while left:
                left -= len(s.recv(left))


def start_redis(work, port, mib, command):
    """A command that runs the server, until it has so much data."""
    p = subprocess.Popen(command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while ask(port, b"PING") is None:
        if p.poll() is not None:
            raise run.Broken("redis-server does not start")
        time.sleep(0.05)
    fill_redis(port, mib * 1048576 // VALUE)
    return p


def first_answer(options, image, port, key, *how):
    """Asked by a thread of its own would be another process's time: the command is started, and the server asked until it answers."""
    begin = time.monotonic()
    p = subprocess.Popen([options.spore, "restore", "-d", *how, image], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    answer = None
    while answer is None and p.poll() in (None, 0) and time.monotonic() - begin < 60:
        answer = ask(port, b"GET", key)
        if answer is None:
            time.sleep(0.0005)
    took = time.monotonic() - begin
    out, err = p.communicate()
    if p.returncode or not answer or not answer.startswith(b"$%d" % VALUE):
        raise run.Broken(f"redis after the restore: {answer!r} {err}")
    run.kill(int(out))
    return took


def redis(options, mib, rounds):
    with tempfile.TemporaryDirectory(prefix="spore-bench-", dir=options.work) as work:
        port, image = free_port(), os.path.join(work, "image")
        p = start_redis(work, port, mib, redis_command(work, port))
        try:
            spore(options, "checkpoint", "--kill", str(p.pid), image)
        finally:
            p.kill()
            p.wait()
        keys = [b"key:%d" % (i * 7919 % (mib * 1048576 // VALUE)) for i in range(rounds)]
        return statistics.median(first_answer(options, image, port, key, "--lazy") for key in keys)


# --- all -------------------------------------------------------------------------------------------------------------


def part(options):
    rows, bounds = [], []
    rounds = options.rounds or (2 if options.quick else 5)
    for mib in options.mib or ([64] if options.quick else [64, 1024, 4096]):
        m = measure(mib, rounds, options)
        full, lazy = m["full"], m["lazy"]
        rows.append([f"{mib} MiB", *(f"{t * 1e3:.1f}" for t in (full["first"], full["done"], lazy["first"], lazy["done"], lazy["whole"]))])
        last = [Bound(f"first instruction on demand, {mib} MiB", lazy["first"] * 1e3, 12, "ms"),
                Bound(f"all pages in, on demand, {mib} MiB", lazy["done"] / full["done"], 1.2, "× full restore")]
    bounds += last
    text = table(["", "full: runs", "has met all", "on demand: runs", "has met all", "is all there"], rows)
    if shutil.which("redis-server"):
        bounds.append(Bound(f"first answer of redis on demand, {mib} MiB", redis(options, mib, rounds) * 1e3, 30, "ms"))
    else:
        text += "\n\nNo redis-server is on PATH."
    return Part("On demand", __doc__.split("\n\n", 1)[1].strip() + "\n\n" + text, bounds)
