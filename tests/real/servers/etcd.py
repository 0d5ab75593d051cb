# SPDX-License-Identifier: LGPL-2.1-or-later
"""etcd (Go) under etcdctl: commands one after the other, watchers that must see each change in order, a lease that is kept alive."""
import json
import os
import subprocess

from inside import Load, Wrong, connect, drive, free_port, run, start, stop, tick

WRITERS = 3


def ctl(*words):
    return run("etcdctl", "--command-timeout=300s", "--dial-timeout=300s", *words)


def write(number, rounds):
    for i in range(rounds):
        if ctl("put", f"key/{number}", str(i)).strip() != "OK":
            raise Wrong(f"etcd: put key/{number} {i}")
        if (got := ctl("get", "--print-value-only", f"key/{number}").strip()) != str(i):
            raise Wrong(f"etcd: key/{number} is {got!r}, {i} expected")
        tick()


def transact(number, rounds):
    """One long etcdctl that reads transactions from a pipe would hide errors: one each."""
    for i in range(rounds):
        out = subprocess.run(["etcdctl", "--command-timeout=300s", "txn"], input=f'value("counter") = "{i}"\n\nput counter {i + 1}\n\nput wrong {i}\n\n',
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if out.returncode or not out.stdout.startswith("SUCCESS"):
            raise Wrong(f"etcd: txn {i}: {out.stdout}")
        tick()


class Watch:
    """etcdctl watch, from the first change on however late it comes: a stream of HTTP/2 that stays open."""

    def __init__(self, prefix):
        self.p = subprocess.Popen(["etcdctl", "watch", "--prefix", prefix, "--rev=1", "-w", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.revisions = []

    def read(self, changes):
        while len(self.revisions) < changes:
            line = self.p.stdout.readline()
            if not line:
                raise Wrong(f"etcdctl watch: ended after {len(self.revisions)} of {changes} changes")
            self.revisions += [int(e["kv"]["mod_revision"]) for e in json.loads(line).get("Events") or []]
        if self.revisions != sorted(set(self.revisions)) or len(self.revisions) != changes:
            raise Wrong(f"etcdctl watch: {self.revisions[:5]} … {len(self.revisions)} of {changes}")


def main(full, times):
    rounds = 150 if full else 12 * times
    client, peer = free_port(), free_port()
    os.environ["ETCDCTL_API"], os.environ["ETCDCTL_ENDPOINTS"] = "3", f"http://127.0.0.1:{client}"
    server = start("etcd", "--data-dir", "data", "--listen-client-urls", f"http://127.0.0.1:{client}", "--advertise-client-urls", f"http://127.0.0.1:{client}",
                   "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                   "--initial-cluster", f"default=http://127.0.0.1:{peer}")
    connect(client).close()
    ctl("put", "counter", "0")
    lease = ctl("lease", "grant", "3600").split()[1]
    ctl("put", "leased", "yes", f"--lease={lease}")
    watch = Watch("key/")
    keep = subprocess.Popen(["etcdctl", "lease", "keep-alive", lease], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    ctl("put", "key/first", "0")
    yield
    load = Load()
    load.add(watch.read, WRITERS * rounds + 1)
    load.add(transact, 0, rounds)
    for n in range(WRITERS):
        load.add(write, n, rounds)
    load.wait()
    yield
    if ctl("get", "--print-value-only", "counter").strip() != str(rounds) or ctl("get", "wrong") or ctl("get", "--print-value-only", "leased").strip() != "yes":
        raise Wrong("etcd: the counter, or the lease")
    if keep.poll() is not None or watch.p.poll() is not None:
        raise Wrong("etcdctl: watch or keep-alive has ended")
    revision = json.loads(ctl("endpoint", "status", "-w", "json"))[0]["Status"]["header"]["revision"]
    yield f"revision {revision}, as many changes as were watched"
    for p in (watch.p, keep):
        p.kill()
        p.wait()
    stop(server, statuses=(0, -15))


drive(main)
