# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the trials share: their options, a tree that watches itself, and the ways to look at an image."""
import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import time

from harness import TREE, Failure, Spore, all_pids, bury, descendants, is_gone, kill_all, pids_with, put_back, copy_files, read_lines, root_of, session_of, stat_of, \
    wait_until

COUNTERS = ["errors", "spinner", "sleeper", "ping", "pong", "epoll"]


class Trial:
    """One run of one trial: a directory, a seed, and the failures so far (each trial goes on after a failure, and tells them all)."""

    def __init__(self, name, options, work):
        self.name, self.options, self.work = name, options, work
        self.rng = random.Random(options.seed)
        self.spore = Spore(options.spore, f"{work}/spore.log")
        self.failures, self.notes = [], []
        self.count = 0

    def number(self, usual):
        return self.options.count or usual

    def fail(self, text):
        self.failures.append(text)
        if self.options.verbose:
            print("   ", text, flush=True)

    def note(self, text):
        self.notes.append(text)

    def program(self, name):
        path = os.path.join(self.options.build, "tests/trials", name)
        if not os.path.exists(path):
            raise Failure(f"{path} is not built")
        return path

    def call(self, *args, timeout=120):
        """spore with these arguments: status, standard output, standard error. A crash is a failure whatever the caller thinks of it."""
        try:
            p = subprocess.run([self.options.spore, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, timeout=timeout)
        except subprocess.TimeoutExpired:
            self.fail(f"spore {' '.join(map(str, args))}: hangs")
            return 124, "", ""
        out, err = p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")
        if p.returncode < 0 or p.returncode >= 128 or "Sanitizer" in err:
            self.fail(f"spore {' '.join(map(str, args))}: crash, status {p.returncode}: {err[-300:]!r}")
        return p.returncode, out, err

    def restore(self, image, timeout=60):
        """spore restore -d, whose standard output may stay open: status, pid or None, standard error."""
        with open(f"{self.work}/restore.err", "w+") as err, open(f"{self.work}/restore.out", "w+") as out:
            p = subprocess.Popen([self.options.spore, "restore", "-d", image], stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            try:
                status = p.wait(timeout)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
                self.fail("spore restore -d: hangs")
                status = 124
            out.seek(0)
            err.seek(0)
            first, text = out.readline().strip(), err.read()
        if status < 0 or status >= 128 or "Sanitizer" in text:
            self.fail(f"spore restore: crash, status {status}: {text[-300:]!r}")
        return status, int(first) if first.isdigit() else None, text


class Target:
    """trial-target or trial-blocked, with its own directory. With container, a shell command: by `spore run`, after that command."""

    def __init__(self, trial, *args, program="trial-target", name="target", container=None):
        self.trial = trial
        self.dir = f"{trial.work}/{name}"
        os.makedirs(self.dir, exist_ok=True)
        self.nonce = os.urandom(8).hex()
        mode, *more = args
        words = [mode, self.dir, *more] if program == "trial-target" else [self.dir, mode, *more]
        self.popen = self.session = None
        if container:
            inside = ["env", f"{TREE}={self.nonce}", "sh", "-c", f'{container}; exec "$@" </dev/null >>out 2>&1', "sh", trial.program(program), *words]
            self.root, self.output = trial.spore.pid_from(["run", "-d", "--", *inside], self.dir)
            return
        with open(f"{self.dir}/out", "ab") as out:
            self.popen = subprocess.Popen([trial.program(program), *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.dir,
                                          env={**os.environ, TREE: self.nonce}, start_new_session=True)
        self.root = self.session = self.popen.pid

    def reap(self):
        if self.popen:
            self.popen.wait(30)
            self.popen = None
        bury([p for p in all_pids() if session_of(p) == self.session], 2)

    def counters(self):
        with open(f"{self.dir}/progress", "rb") as f:
            return dict(zip(COUNTERS, struct.unpack("6Q", f.read(48).ljust(48, b"\0"))))

    def wait_ready(self, which=("spinner",)):
        wait_until(lambda: self.pids() and os.path.exists(f"{self.dir}/progress") and all(self.counters()[c] > 3 for c in which), 20, "start of the target")

    def errors(self):
        return read_lines(f"{self.dir}/errors")

    def unharmed(self, what, which=("spinner", "sleeper", "ping", "pong", "epoll"), timeout=10):
        """Does each part of it make progress, and has none seen anything amiss?"""
        before = self.counters()
        try:
            wait_until(lambda: all(self.counters()[c] > before[c] for c in which), timeout, "progress")
        except Failure:
            now = self.counters()
            states = {p: (stat_of(p) or [b"gone"])[0].decode() for p in descendants(self.root)} or "gone"
            self.trial.fail(f"{what}: no progress of {[c for c in which if now[c] == before[c]]}; processes: {states}")
            return False
        if self.errors():
            self.trial.fail(f"{what}: the program saw: {'; '.join(self.errors()[:3])}")
            os.truncate(f"{self.dir}/errors", 0)
            return False
        return True

    def pids(self):
        return [p for p in pids_with(TREE, self.nonce) if not is_gone(p)]

    def close(self):
        for _ in range(50):
            pids = self.pids()
            if not pids:
                break
            kill_all(pids)
            time.sleep(0.02)
        self.reap() if self.session else os.close(self.output)


@contextlib.contextmanager
def target(trial, *args, **kw):
    t = Target(trial, *args, **kw)
    try:
        yield t
    finally:
        t.close()


def image_is_sound(trial, image, target, what):
    """The image is valid, or it is refused; there is no third way. Returns True where it is valid."""
    status, _, err = trial.call("verify", image)
    if status == 0:
        return True
    if not err.strip():
        trial.fail(f"{what}: verify exits {status} and says nothing")
    status, pid, err = trial.restore(image)
    if status == 0 or pid:
        trial.fail(f"{what}: verify refuses the image, restore takes it")
        kill_all([pid] if pid else [])
    return False


def image_files(image):
    return sorted(f for f in os.listdir(image) if os.path.isfile(f"{image}/{f}"))


def cbor_skip(data, at):
    """The end of the CBOR item that begins here."""
    head = data[at]
    major, more = head >> 5, head & 31
    at += 1
    if more < 24:
        value = more
    elif more <= 27:
        n = 1 << (more - 24)
        value, at = int.from_bytes(data[at:at + n], "big"), at + n
    elif more == 31:
        if major in (0, 1, 6):
            raise ValueError
        while data[at] != 0xff:
            at = cbor_skip(data, at)
        return at + 1
    else:
        raise ValueError
    if major in (2, 3):
        at += value
    elif major in (4, 5):
        for _ in range(value * (major - 3)):
            at = cbor_skip(data, at)
    elif major == 6:
        at = cbor_skip(data, at)
    if at > len(data):
        raise ValueError
    return at


def record_edges(path):
    """Where the records of a CBOR sequence end; for a file of pages, where each page does."""
    with open(path, "rb") as f:
        data = f.read()
    edges, at = [0], 0
    try:
        while at < len(data):
            at = cbor_skip(data, at)
            edges.append(at)
    except (ValueError, IndexError, RecursionError):
        edges = list(range(0, len(data), 4096))
    return [e for e in edges if e < len(data)]


__all__ = ["Trial", "Target", "target", "image_is_sound", "image_files", "record_edges", "copy_files", "put_back", "root_of", "signal", "shutil"]
