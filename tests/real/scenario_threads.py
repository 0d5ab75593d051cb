# SPDX-License-Identifier: LGPL-2.1-or-later
"""Python: four threads, a generator half consumed, open files, an unlinked temporary file."""
import os
import shutil

from harness import Scenario, Skip, random_text

PROGRAM = r'''
import hashlib, os, sys, tempfile, threading
nonce = os.urandom(8).hex()
with open("started", "a") as f:
    print(nonce, file=f)
rounds, hashes = map(int, sys.argv[1:])
unlinked = tempfile.TemporaryFile()
named = open("scratch", "w+b"); os.unlink("scratch")
log = open("log", "a")
source = open("input", "rb")
lock, turn = threading.Lock(), threading.Barrier(4)
sums = [b"%d" % i for i in range(4)]

def lines():
    for n, line in enumerate(source):
        yield n, line.strip()

stream = lines()

def work(me):
    for r in range(rounds):
        if r % 4 == me:
            with lock:
                n, line = next(stream)
                unlinked.write(b"%d %d %s\n" % (n, me, line[:20]))
        for _ in range(hashes):
            sums[me] = hashlib.sha256(sums[me]).digest()
        turn.wait()
        if me == 1:
            named.write(sums[me])
        if me == 2 and r % 50 == 0:
            print(r, sums[me].hex(), file=log, flush=True)

threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
for f in (unlinked, named):
    f.seek(0)
    print(hashlib.sha256(f.read()).hexdigest(), f.tell())
print([s.hex() for s in sums], next(stream), source.tell() > 0)
log.close()
with open("finished", "a") as f:
    print(nonce, 0, file=f)
'''


class Python(Scenario):
    """Debian's python3."""
    name = "python"
    needs = {"/usr/bin/python3": "python3"}
    outputs = ["stdout", "log"]
    program = "/usr/bin/python3"

    def prepare(self, work):
        random_text(f"{work}/input", 2, self.seed)
        with open(f"{work}/program.py", "w") as f:
            f.write(PROGRAM)

    def command(self, session):
        return [self.program, "program.py", str(self.scale(2000, 4000)), str(self.scale(300, 1500))]


class PathPython(Python):
    """Whatever python3 PATH finds, where it is another one."""
    name = "python-path"

    def prepare(self, work):
        super().prepare(work)
        found = shutil.which("python3")
        if not found or os.path.realpath(found) == os.path.realpath("/usr/bin/python3"):
            raise Skip("python3 of PATH is /usr/bin/python3")
        self.program = found


SCENARIOS = [Python, PathPython]
