# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is out of scope is refused, all of it in one answer, and the tree does not notice."""
import re
import socket

from harness import Failure, read_lines, wait_until
from lib import target


def echo(connection, byte):
    connection.sendall(byte)
    return connection.recv(1) == byte


def out_of_scope(trial):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with target(trial, "scope", str(listener.getsockname()[1])) as tree:
            listener.settimeout(10)
            connection = listener.accept()[0]
            connection.settimeout(10)
            ready = wait_until(lambda: read_lines(f"{tree.dir}/ready"), 10, "start")
            pid, ring, tcp, child = ready[0].split()
            if ring == "-1":
                trial.note("this kernel has no io_uring for us")
            for n in range(trial.number(20)):
                image = f"{trial.work}/image"
                status, out, err = trial.call("checkpoint", pid, image)
                trial.count += 1
                if status != 3:
                    trial.fail(f"exit {status}, 3 expected: {err.strip()[-300:]!r}")
                    break
                named(trial, "io_uring", err, ["io_uring", pid, ring]) if ring != "-1" else None
                named(trial, "the TCP connection", err, ["TCP", pid, tcp])
                named(trial, "the traced child", err, ["trace", child])
                if not echo(connection, b"%c" % (65 + n % 26)):
                    raise Failure("the TCP connection is broken")
                if tree.errors():
                    trial.fail("the program saw: " + "; ".join(tree.errors()[:3]))
                if trial.call("verify", image)[0] == 0:
                    trial.fail("refused, yet there is an image")
            status, out, err = trial.call("check", pid)
            if status != 3:
                trial.fail(f"check: exit {status}, 3 expected")
            named(trial, "check: the TCP connection", out + err, ["TCP", pid, tcp])
            connection.close()


def named(trial, what, text, words):
    """All of the words in one line."""
    if not any(all(re.search(rf"(?<![0-9a-z]){re.escape(w)}", line, re.I) for w in words) for line in text.splitlines()):
        trial.fail(f"{what} is not named ({', '.join(words)}) in: {text.strip()[-400:]!r}")


TRIALS = {"out-of-scope": out_of_scope}
