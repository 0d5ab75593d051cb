# SPDX-License-Identifier: LGPL-2.1-or-later
"""memcached with four threads; clients that know what they wrote."""
import random
import shutil

from inside import Load, Wrong, connect, drive, free_port, start, stop, tick

CLIENTS = 8


class Client:
    def __init__(self, port):
        self.socket = connect(port)
        self.file = self.socket.makefile("rb")

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Wrong(f"memcached: the connection ended, after {line!r}")
        return line[:-2]

    def expect(self, want, command, body=None):
        self.socket.sendall(command.encode() + b"\r\n" + (b"" if body is None else body + b"\r\n"))
        got = self.line()
        if got != want:
            raise Wrong(f"memcached: {command}: {got!r}, {want!r} expected")

    def get(self, key, want):
        self.expect(b"VALUE %s 0 %d" % (key.encode(), len(want)), f"get {key}")
        if self.file.read(len(want) + 2) != want + b"\r\n" or self.line() != b"END":
            raise Wrong(f"memcached: get {key}: other contents")

    def stats(self):
        self.socket.sendall(b"stats\r\n")
        lines = iter(self.line, b"END")
        return {k.decode(): v.decode() for _, k, v in (line.split(b" ", 2) for line in lines)}


def worker(port, number, rounds):
    c, rng = Client(port), random.Random(number)
    c.expect(b"STORED", f"set sum:{number} 0 0 1", b"0")
    total = 0
    for i in range(rounds):
        key, body = f"{number}:{i % 100}", rng.randbytes(rng.choice((10, 1000, 60000)))
        c.expect(b"STORED", f"set {key} 0 0 {len(body)}", body)
        c.get(key, body)
        total += i
        c.expect(b"%d" % total, f"incr sum:{number} {i}")
        c.expect(b"DELETED", f"delete {key}")
        c.expect(b"END", f"get {key}")
        c.expect(b"STORED", f"set {key} 0 0 {len(body)}", body)
        tick()


def main(full, times):
    rounds = 6000 if full else 1000 * times
    port = free_port()
    server = start("memcached", "-p", str(port), "-l", "127.0.0.1", "-U", "0", "-t", "4", "-u", "nobody", "-m", "256", executable=shutil.which("memcached"))
    c = Client(port)
    yield
    load = Load()
    for n in range(CLIENTS):
        load.add(worker, port, n, rounds)
    load.wait()
    yield
    for n in range(CLIENTS):
        total = b"%d" % (rounds * (rounds - 1) // 2)
        c.get(f"sum:{n}", total)
    s = c.stats()
    yield " ".join(f"{k}={s[k]}" for k in ("curr_items", "cmd_set", "get_hits", "get_misses", "delete_hits", "incr_hits", "evictions"))
    stop(server)


drive(main)
