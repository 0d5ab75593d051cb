# SPDX-License-Identifier: LGPL-2.1-or-later
"""Node.js: a server with HTTP, timers, worker threads, its thread pool (files, zlib), under clients that know each answer."""
import hashlib
import http.client
import os

from inside import Load, Wrong, connect, drive, free_port, start, stop, tick

CLIENTS = 8


def hashed(text, rounds):
    for _ in range(rounds):
        text = hashlib.sha256(text.encode()).hexdigest()
    return text


def questions(number, i):
    """What is asked, and the answer."""
    text = f"c{number}-{i}"
    return [(f"/echo/{text}", f"/echo/{text}"), (f"/thread/{text}/40", hashed(text, 40)), (f"/timer/{text}/{i % 20}", f"after {i % 20}"),
            (f"/file/{number}/{i}", f"/file/{number}/{i}"), (f"/zip/{text}/500", hashed(text * 500, 1))]


def client(port, number, rounds):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    for i in range(rounds):
        for path, want in questions(number, i):
            c.request("GET", path)
            r = c.getresponse()
            got = r.read().decode()
            if r.status != 200 or got != want:
                raise Wrong(f"node: {path}: {r.status}, {got[:100]!r}, {want!r} expected")
            if r.will_close:
                raise Wrong(f"node: {path}: the connection was to be closed")
        tick()


def main(full, times):
    port = free_port()
    server = start("node", os.path.join(os.path.dirname(os.path.abspath(__file__)), "node.js"), str(port))
    connect(port).close()
    yield
    load = Load()
    for n in range(CLIENTS):
        load.add(client, port, n, 600 if full else 60 * times)
    load.wait()
    yield
    c = http.client.HTTPConnection("127.0.0.1", port)
    c.request("GET", "/ticks")
    if int(c.getresponse().read()) < 10:
        raise Wrong("node: its timer does not run")
    c.close()
    yield "every answer right"
    stop(server)


drive(main)
