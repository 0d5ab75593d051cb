# SPDX-License-Identifier: LGPL-2.1-or-later
"""A JVM with a small server of many threads (Server.java, beside this), and clients that know each answer."""
import hashlib
import os

from inside import Load, Wrong, connect, drive, free_port, run, start, stop, tick

CLIENTS = 8


def hashed(text, rounds):
    value = text.encode()
    for _ in range(rounds):
        value = hashlib.sha256(value).digest()
    return value.hex()


def java_hash(text):
    value = 0
    for c in text:
        value = (value * 31 + ord(c)) & 0xffffffff
    return value & 0xff


class Client:
    def __init__(self, port):
        self.socket = connect(port, 120)
        self.file = self.socket.makefile("r")

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\n")
        got = self.file.readline()
        if not got.endswith("\n"):
            raise Wrong(f"jvm: {line}: the connection ended")
        return got[:-1]


def client(port, number, rounds):
    c = Client(port)
    for i in range(rounds):
        text, size = f"c{number}-{i}", 100_000 + 1000 * i % 300_000
        for line, want in ((f"put {number} {size}", "ok"), (f"hash {text} 30", hashed(text, 30)), (f"pool {text} 300", hashed(text, 300)),
                           (f"after - {i % 10}", f"after {i % 10}"), (f"sum {number} -", str(size * java_hash(str(number))))):
            got = c.ask(line)
            if got != want:
                raise Wrong(f"jvm: {line}: {got!r}, {want!r} expected")
        tick()


def main(full, times):
    here = os.path.dirname(os.path.abspath(__file__))
    run("javac", "-d", ".", f"{here}/Server.java")
    port = free_port()
    server = start("java", "-Xmx256m", "-cp", ".", "Server", str(port))
    connect(port, 120).close()
    yield
    load = Load()
    for n in range(CLIENTS):
        load.add(client, port, n, 1500 if full else 60 * times)
    load.wait()
    yield
    if int(Client(port).ask("ticks")) < 20:
        raise Wrong("jvm: its timers do not run")
    with open("java.log") as f:
        if out := f.read():
            raise Wrong(f"jvm: {out[-300:]}")
    yield "every answer right"
    stop(server, statuses=(143,))


drive(main)
