# SPDX-License-Identifier: LGPL-2.1-or-later
"""A shell on the user's own terminal, restored on another one: variables, jobs, history, window size, exit status."""
import contextlib

from harness import Failure, Scenario, descendants, stat_of, wait_until


# What the user types before the save, and what tells that it has been done.
BEFORE = [
    "PS1='> '; bind 'set enable-bracketed-paste off' 2>/dev/null; nonce=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')",
    "echo $nonce >>started; mkdir -p sub; cd sub; x=4",
    "x=$((x + 38)); declare -A map=([a]=1 [b]=two); shout() { echo \"${1^^}\"; }",
    "sleep 4321 & :",
    "sleep 8765 & kill -STOP $!; sleep 0.2",
    "trap 'echo caught-$LINES' WINCH; shopt -s checkwinsize; set -o noclobber",
    "exec 7>>../seven; echo first >&7",
    "history -s remembered command",
]


def in_foreground(session, argument):
    """Does the sleep with this argument own the terminal, and run?"""
    for pid in descendants(session.root):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as f:
            if f.read().split("\0")[:2] == ["sleep", argument]:
                state, _, group, _, _, foreground = (stat_of(pid) or [b"X"] * 6)[:6]
                return state == b"S" and group == foreground
    return False


class Shell(Scenario):
    name = "terminal"
    needs = {"bash": "bash"}
    outputs = ["out", "seven"]
    tty = True
    cpu_bound = False
    exit_status = 7

    def command(self, session):
        return ["bash", "--norc", "--noprofile", "-i"]

    def line(self, session, text):
        """One line typed at the prompt; returns what it printed. The marker is typed in two halves, so that its echo is not it."""
        t = session.terminal
        session.count = getattr(session, "count", 0) + 1
        t.send(f"{text}; echo do''ne-{session.count}-\n")
        return t.expect(f"done-{session.count}-", 20)

    def advance(self, session, fraction, reference):
        done = getattr(session, "typed", 0)
        want = int(len(BEFORE) * min(1, fraction * (1 if session.options.repeat > 1 else 2)) + 0.5)
        for text in BEFORE[done:want]:
            self.line(session, text)
        session.typed = max(done, want)
        if session.lives:
            self.line(session, ":")         # the shell answers on each terminal that it comes back on

    def complete(self, session):
        if getattr(session, "typed", 0) < len(BEFORE):
            self.advance(session, 1, None)
        t = session.terminal
        self.line(session, "echo $x ${PWD##*/} ${map[b]} $(shout loud) >../out; echo second >&7")
        jobs = self.line(session, "jobs")
        for want in ("Running", "Stopped", "sleep 4321", "sleep 8765"):
            if want not in jobs:
                raise Failure(f"terminal: jobs says {jobs!r}, without {want}")
        if "remembered command" not in self.line(session, "history | grep 'remembered comman[d]'"):
            raise Failure("terminal: the history is lost")
        t.resize(43, 132)
        self.line(session, "sleep 0.2")
        size = self.line(session, "stty size")
        if "43 132" not in size:
            raise Failure(f"terminal: the new window size did not arrive: {size!r}")
        if "tty" not in self.line(session, "tty | sed s,.*/,tty-,; test -t 0 && test -t 1 && echo tty"):
            raise Failure("terminal: not a terminal any more")
        # a foreground job, ended from the keyboard
        t.send("fg %2\n")
        wait_until(lambda: in_foreground(session, "8765"), 10, "the job in the foreground")
        t.send("\x03")
        status = self.line(session, "echo status-$?-")
        if "status-130-" not in status:
            raise Failure(f"terminal: Ctrl-C did not reach the foreground job: {status!r}")
        self.line(session, "kill %1")
        self.line(session, "wait")
        t.send("echo $nonce 0 >>../finished; exit 7\n")


SCENARIOS = [Shell]
