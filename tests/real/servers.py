# SPDX-License-Identifier: LGPL-2.1-or-later
"""What scenarios of servers have in common: a driver (servers/NAME.py) that runs server, clients and checks, all inside the tree."""
import contextlib
import os

from harness import Missed, Scenario, read_lines, tail, wait_until

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers")
LIVES = 5       # of one tree, at most


class Server(Scenario):
    """Saved while the load runs, when a fraction of the load is done; its clients are never idle, so requests are in flight."""
    outputs = ["verdict"]
    cpu_bound = False
    exit_status = 0
    driver = None           # if it is not called as the scenario

    def prepare(self, work):
        while os.path.basename(work := os.path.dirname(work)).startswith("spore-"):
            os.chmod(work, 0o711)       # servers drop their privileges

    def command(self, session):
        return ["/usr/bin/python3", f"{HERE}/{self.driver or self.name}.py", self.size, str(min(session.options.repeat, LIVES))]

    def moments(self, rng):
        return [rng.uniform(0.03, 0.7) for _ in range(self.scale(1, 4))]

    def lives(self, rng, repeat):
        """Random moments, a few of one tree."""
        trees = [range(i, min(i + LIVES, repeat)) for i in range(0, repeat, LIVES)]
        return [sorted(rng.uniform(0.03, 0.7) for _ in tree) for tree in trees]

    def ready(self, session):
        wait_until(lambda: not session.alive() or os.path.exists(f"{session.work}/ready"), 120, f"{self.name}: the server")

    def result(self, work):
        return {name: " / ".join(read_lines(f"{work}/{name}")) for name in self.outputs}

    def done(self, session):
        """How much of the load is done, by what the driver counts."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.getsize(f"{session.work}/progress")
        return 0

    def advance(self, session, fraction, reference):
        """Called just after the start, and just after each restore."""
        self.ready(session)
        loaded = lambda: not session.alive() or os.path.exists(f"{session.work}/loaded")
        if fraction >= 1:
            wait_until(loaded, 600, f"{self.name}: the end of the load", 0.005)
            reference.load = self.done(session)
            return
        wait_until(lambda: loaded() or self.done(session) >= fraction * reference.load, 600, f"{self.name}: {100 * fraction:.0f} % of the load", 0.002)
        if loaded():
            raise Missed(f"{self.name}: no load any more when it was to be saved: {tail(session.work)}")
