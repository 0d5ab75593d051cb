# SPDX-License-Identifier: LGPL-2.1-or-later
"""tmux with vim, less and a shell; a user outside who attaches, detaches, and attaches again after each restore."""
from harness import Failure, Terminal, read_lines
from servers import Server


class Tmux(Server):
    name = "tmux"
    needs = {"tmux": "tmux", "vim": "vim", "less": "less"}
    outputs = ["verdict", "attached"]

    def user(self, session, *lines):
        """Attaches, types, detaches."""
        session.visits = getattr(session, "visits", 0) + 1
        t = Terminal(["tmux", "-S", f"{session.work}/socket", "attach", "-t", "user"], session.work, {**self.environ(), "TERM": "xterm"})
        try:
            t.expect("[user]", 120)
            for line in lines:
                t.send(line + "\r")
            t.send(f"echo vi''sit-{session.visits}-\r")
            t.expect(f"visit-{session.visits}-", 120)
            t.send("\x02d")
            t.expect("[detached", 120)
            if t.wait(60):
                raise Failure(f"tmux attach: exit {t.status}")
        finally:
            t.close()

    def advance(self, session, fraction, reference):
        self.ready(session)
        self.user(session, "x=${x-start}")
        super().advance(session, fraction, reference)

    def complete(self, session):
        self.user(session, "echo $x >attached.new", "mv attached.new attached")

    def check(self, work):
        if read_lines(f"{work}/attached") != ["start"]:
            raise Failure("tmux: the shell of the user has lost its variable")


SCENARIOS = [Tmux]
