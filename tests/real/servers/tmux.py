# SPDX-License-Identifier: LGPL-2.1-or-later
"""tmux with a shell, vim and less in panes, a client attached to it inside the tree, and commands that type and look at what is shown."""
import hashlib
import os
import pty
import re
import threading
import time

from inside import Load, Wrong, drive, note, run, tick

SOCKET = os.path.abspath("socket")
LINES = 5000


def tmux(*words):
    return run("tmux", "-S", SOCKET, *words)


def typed(pane, *keys):
    tmux("send-keys", "-t", f"main:{pane}", *keys)


def shown(pane, pattern, timeout=100):
    """Waits until a pane shows this."""
    end = time.monotonic() + timeout
    while not (found := re.search(pattern, tmux("capture-pane", "-p", "-t", f"main:{pane}"), re.M)):
        if time.monotonic() > end:
            raise Wrong(f"tmux: {pane} does not show {pattern}: {tmux('capture-pane', '-p', '-t', f'main:{pane}')}")
        time.sleep(0.02)
    return found


def written(file, timeout=100):
    end = time.monotonic() + timeout
    while not os.path.exists(file):
        if time.monotonic() > end:
            raise Wrong(f"tmux: vim does not write {file}: {tmux('capture-pane', '-p', '-t', 'main:vim')}")
        time.sleep(0.02)


def attach():
    """A client inside the tree, on a terminal of the tree: what it is shown goes nowhere, but has to come."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execvp("tmux", ["tmux", "-S", SOCKET, "attach", "-t", "main:counter"])
    seen = []

    def read():
        while True:
            try:
                seen.append(len(os.read(fd, 65536)))
            except OSError:
                return
    threading.Thread(target=read, daemon=True).start()
    return pid, seen


def shell(rounds):
    for i in range(rounds):
        typed("shell", f"sum=$((sum + {i})); echo sum-{i}-is-$sum", "Enter")
        shown("shell", f"^sum-{i}-is-{i * (i + 1) // 2}$")
        tick()


def vim(rounds):
    for i in range(rounds):
        typed("vim", "G", "o", f"line {i} " + "x" * 40)
        shown("vim", f"^line {i} x{{40}}$(.|\\n)*-- INSERT --")
        typed("vim", "Escape")
        shown("vim", r"\A(?!(.|\n)*-- INSERT --)")       # Escape and a key typed with it would be another key
        if i % 3 == 2:
            typed("vim", "u")
            shown("vim", rf"\A(?!(.|\n)*line {i} x)")
        if i % 5 == 4:
            typed("vim", f":silent write | silent write! copy-{i}", "Enter")      # what it says of that is gone when tmux changes its window's size
            written(f"copy-{i}")
        tick()


def less(rounds):
    """Each number typed leads to that line, at the top."""
    for i in range(rounds):
        line = (i * 977) % (LINES - 100) + 1
        typed("less", f"{line}g")
        shown("less", rf"\A{line} of the book$")
        tick()


def main(full, times):
    rounds = 150 if full else 20 * times
    with open("book", "w") as f:
        f.writelines(f"{i} of the book\n" for i in range(1, LINES + 1))
    with open("text", "w") as f:
        f.write("the first line\n")
    for name in [n for n in os.environ if n.startswith("TMUX")]:
        del os.environ[name]
    os.environ["SHELL"] = "/bin/sh"
    tmux("-f", "/dev/null", "new-session", "-d", "-s", "main", "-n", "shell", "-x", "80", "-y", "24", "PS1='> ' bash --norc --noprofile")
    tmux("set-option", "-g", "assume-paste-time", "0")       # the user outside types faster than a person
    tmux("new-window", "-d", "-t", "main:", "-n", "vim", "vim -u NONE -n -N text")
    tmux("new-window", "-d", "-t", "main:", "-n", "less", "LESS= less book")
    tmux("new-window", "-d", "-t", "main:", "-n", "counter", "n=0; while :; do n=$((n + 1)); echo $n; sleep 0.01; done")
    tmux("new-session", "-d", "-s", "user", "-x", "80", "-y", "24", "PS1='> ' bash --norc --noprofile")
    shown("less", r"\A1 of the book$")
    shown("vim", "^the first line$")
    pid, seen = attach()
    yield
    load = Load()
    load.add(shell, rounds)
    load.add(vim, rounds)
    load.add(less, rounds)
    load.wait()
    yield
    before = len(seen)
    while not os.path.exists("attached"):
        time.sleep(0.05)        # what the user does who attaches from outside
    end = time.monotonic() + 100
    while len(seen) == before:
        if time.monotonic() > end or os.waitpid(pid, os.WNOHANG) != (0, 0):
            raise Wrong("tmux: the attached client is shown nothing more")
    typed("vim", ":wq", "Enter")
    typed("shell", "echo $sum >sum; exit", "Enter")
    typed("less", "q")
    while tmux("list-windows", "-t", "main", "-F", "#W").split() != ["counter"]:
        time.sleep(0.05)
    with open("text", "rb") as text, open("sum") as total:
        verdict = f"sum {total.read().strip()}, text {hashlib.sha256(text.read()).hexdigest()}"
    tmux("kill-server")
    if not os.WIFEXITED(os.waitpid(pid, 0)[1]):
        raise Wrong("tmux: the attached client's status")
    note("shown", f"{sum(seen)} bytes\n")
    yield verdict


drive(main)
