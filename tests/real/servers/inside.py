# SPDX-License-Identifier: LGPL-2.1-or-later
"""What runs inside the tree: a driver that starts a server and its clients, has every answer checked, and judges the end.

A driver's life: its nonce (started), the server up and filled (ready), the load running until all its work is done (loaded), the
consistency check (verdict), the server told to end, the nonce again (finished). It knows nothing of spore.
"""
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback


class Wrong(Exception):
    """An error that a client saw, a lost answer, or an inconsistency."""


def note(file, text, how="w"):
    """A whole file at once, so that who waits for it never sees half of it."""
    if how == "w":
        with open(f"{file}.new", "w") as f:
            f.write(text)
        os.rename(f"{file}.new", file)
    else:
        with open(file, how) as f:
            f.write(text)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connect(port, timeout=20):
    """A connection to a server that may just be starting."""
    end = time.monotonic() + timeout
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise Wrong(f"port {port}: nobody listens after {timeout} s") from None
            time.sleep(0.05)


def start(*argv, name=None, **how):
    """A server in the background; its output goes to a file."""
    with open(f"{name or os.path.basename(argv[0])}.log", "ab") as log:
        how = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **how}
        return subprocess.Popen(argv, **how)


def run(*argv, **how):
    """A command that must succeed; returns what it printed."""
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)
    if p.returncode:
        raise Wrong(f"{' '.join(argv[:4])}: exit {p.returncode}: {(p.stderr or p.stdout).strip()[-300:]}")
    return p.stdout


def tick():
    """One step of the load is done."""
    with open("progress", "ab") as f:
        f.write(b".")


def stop(server, how=signal.SIGTERM, timeout=60, statuses=(0,)):
    server.send_signal(how)
    status = server.wait(timeout)
    if status not in statuses:
        raise Wrong(f"{server.args[0]}: status {status} at its end")


class Load:
    """Threads that are clients; what one of them raises is what the load comes to."""

    def __init__(self):
        self.threads, self.errors = [], []

    def add(self, function, *args):
        def body():
            try:
                function(*args)
            except BaseException as e:      # a client's SystemExit too is a client lost
                traceback.print_exc()
                self.errors.append(f"{function.__name__}{args}: {type(e).__name__}: {e}")
        self.threads.append(threading.Thread(target=body, daemon=True))
        self.threads[-1].start()

    def running(self):
        return any(t.is_alive() for t in self.threads)

    def wait(self):
        for t in self.threads:
            t.join()
        if self.errors:
            raise Wrong("; ".join(self.errors[:3]))


def children():
    found = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children") as f:
            found += map(int, f.read().split())
    return found


def end_all():
    """Nothing of a driver that failed stays behind, whatever it calls itself."""
    while pids := children():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def drive(main):
    """main(full, times) is the whole of a driver: a generator that yields when the server is ready, when the load is done, and its verdict.

    A load that has to last for several lives is so many times as long.
    """
    nonce = os.urandom(8).hex()
    note("started", nonce + "\n", "a")
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)     # PR_SET_CHILD_SUBREAPER: a daemon of ours stays in the tree
    status = 1
    try:
        steps = main("full" in sys.argv[1:], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
        next(steps)
        note("ready", "")
        next(steps)
        note("loaded", "")
        note("verdict", next(steps) + "\n")
        for _ in steps:
            pass
        status = 0
    except (Exception, StopIteration):
        traceback.print_exc()
        end_all()
    note("finished", f"{nonce} {status}\n", "a")
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(status)
