# SPDX-License-Identifier: LGPL-2.1-or-later
"""redis-server with many keys, redis-benchmark, and clients that know what they wrote; saving in the background all the while."""
import os
import random
import shutil
import signal
import subprocess

from inside import Load, Wrong, connect, drive, free_port, note, start, stop, tick

CLIENTS = 6


class Client:
    """The protocol, as far as it is needed (RESP 2)."""

    def __init__(self, port):
        self.socket = connect(port)
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Wrong(f"redis: the connection ended, after {line!r}")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Wrong(f"redis: {rest.decode()}")
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def call(self, *words):
        self.send(*words)
        return self.answer()

    def expect(self, want, *words):
        got = self.call(*words)
        if got != want:
            raise Wrong(f"redis: {words[:3]}: {got!r}, {want!r} expected")


def worker(port, number, rounds):
    """One client's own keys: everything that it reads back is known; then a train of commands whose answers come in order."""
    c, rng, total = Client(port), random.Random(number), 0
    mine = f"client:{number}"
    for i in range(rounds):
        body = rng.randbytes(rng.choice((10, 1000, 40000)))
        c.expect(b"OK", "SET", f"{mine}:{i % 50}", body)
        total += i
        c.expect(total, "INCRBY", f"{mine}:sum", i)
        c.expect(i + 1, "RPUSH", f"{mine}:list", i)
        c.expect(body, "GET", f"{mine}:{i % 50}")
        c.expect(i + 1, "HINCRBY", f"{mine}:hash", "n", 1)
        for n in range(20):
            c.send("ECHO", f"{number}-{i}-{n}")
        for n in range(20):
            if c.answer() != f"{number}-{i}-{n}".encode():
                raise Wrong(f"redis: an answer of client {number} is out of order")
        tick()
    c.call("RPUSH", "queue", number)


def blocked(port):
    """Waits in BLPOP for each worker's end."""
    c = Client(port)
    seen = {int(c.call("BLPOP", "queue", 0)[1]) for _ in range(CLIENTS)}
    if seen != set(range(CLIENTS)):
        raise Wrong(f"redis: BLPOP saw {seen}")


def subscriber(port, messages, ready):
    c = Client(port)
    c.call("SUBSCRIBE", "news")
    ready.append(True)
    for i in range(messages):
        if c.answer()[2] != str(i).encode():
            raise Wrong(f"redis: message {i} was lost or came out of order")


def publisher(port, messages, ready):
    c = Client(port)
    while not ready:
        c.call("PING")
    for i in range(messages):
        c.expect(1, "PUBLISH", "news", i)


def benchmark(port, count):
    """redis-benchmark ends itself at the first error; its counter tells whether a command was lost or done twice."""
    p = subprocess.run(["redis-benchmark", "-p", str(port), "-c", "20", "-n", str(count), "-P", "4", "-q", "incr", "counter"],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if p.returncode or "requests per second" not in p.stdout.replace("\r", "\n"):
        raise Wrong(f"redis-benchmark: {p.returncode}, {p.stdout[-200:]!r}")


def saving(c):
    return b"rdb_bgsave_in_progress:0" not in c.call("INFO", "persistence")


def background(port, done):
    """BGSAVE again and again: a forked child that shares all the keys and writes a file."""
    c, count = Client(port), 0
    while not done or saving(c):
        if not saving(c):
            c.call("BGSAVE")
            count += 1
    if b"rdb_last_bgsave_status:ok" not in c.call("INFO", "persistence"):
        raise Wrong(f"redis: one of {count} BGSAVE failed")


def main(full, times):
    keys, rounds, count = (1_000_000, 1500, 400_000) if full else (20_000, 250 * times, 60_000 * times)
    port = free_port()
    # (in Debian's redis-tools, redis-server is the program that is also redis-check-rdb)
    server = start("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--enable-debug-command", "yes",
                   "--dir", os.getcwd(), executable=shutil.which("redis-server") or shutil.which("redis-check-rdb"))
    c = Client(port)
    c.call("DEBUG", "POPULATE", keys, "key", 60)
    yield
    load, saver, ready, done = Load(), Load(), [], []
    for n in range(CLIENTS):
        load.add(worker, port, n, rounds)
    load.add(blocked, port)
    load.add(subscriber, port, rounds * 4, ready)
    load.add(publisher, port, rounds * 4, ready)
    load.add(benchmark, port, count)
    saver.add(background, port, done)
    load.wait()
    done.append(True)
    saver.wait()
    yield
    c.expect(str(count).encode(), "GET", "counter")
    digest = c.call("DEBUG", "DIGEST").decode()
    note("info", c.call("INFO").decode())
    c.call("SAVE")
    c.call("DEBUG", "RELOAD")
    if c.call("DEBUG", "DIGEST").decode() != digest:
        raise Wrong("redis: another DEBUG DIGEST after DEBUG RELOAD")
    yield f"{c.call('DBSIZE')} keys, DEBUG DIGEST {digest}"
    stop(server, signal.SIGTERM)


drive(main)
