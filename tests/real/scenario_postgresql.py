# SPDX-License-Identifier: LGPL-2.1-or-later
"""PostgreSQL as Debian starts it, with pgbench inside the tree, and two psql outside over its unix socket."""
import contextlib

import subprocess

from harness import Failure, read_lines
from servers import Server


class Psql:
    """Somebody outside who is connected: waits at the prompt, or for an answer."""

    def __init__(self, work, sql):
        with open(f"{work}/address") as f:
            socket, port = f.read().split()
        self.p = subprocess.Popen(["psql", "-qAtX", "-h", socket, "-p", port, "-U", "postgres", "bench"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        self.say("SELECT 'here';")
        if self.p.stdout.readline() != "here\n":
            raise Failure("psql outside: no answer")
        self.say(sql)

    def say(self, text):
        self.p.stdin.write(text + "\n")
        self.p.stdin.flush()

    def hung_up(self):
        """Told by the death of the tree, whatever was restored since."""
        with contextlib.suppress(BrokenPipeError):
            self.say("SELECT 'still here';")
        out, err = self.p.communicate(timeout=30)
        if out or "server closed the connection" not in err:
            raise Failure(f"psql outside: {out!r}, {err!r}")


class Postgresql(Server):
    name = "postgresql"
    needs = {"pg_ctlcluster": "postgresql", "pgbench": "postgresql-contrib"}

    def advance(self, session, fraction, reference):
        if fraction < 1:
            self.outside(session)
        super().advance(session, fraction, reference)

    def outside(self, session):
        """Before each save two come; those of the save before have been told."""
        self.told(session)
        self.ready(session)
        session.psql = [Psql(session.work, ""), Psql(session.work, "SELECT 1 FROM pg_sleep(1000);")]

    def told(self, session):
        for psql in getattr(session, "psql", []):
            psql.hung_up()
        session.psql = []

    def complete(self, session):
        if session.spore and session.lives:
            log = read_lines(session.spore.log)
            if sum("hung up" in line for line in log) < 2 * len(session.lives):
                raise Failure(f"psql outside: not reported: {log[-5:]}")
            self.told(session)


SCENARIOS = [Postgresql]
