# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL to spore, at moments spread evenly over its own system calls."""
import collections
import os
import re
import shutil
import subprocess
import time

from faults import KillAt
from harness import Failure, descendants, is_gone, kill_all, pids_with, root_of, wait_until
from lib import copy_files, image_is_sound, put_back, target

MARK = "SPORE_TRIAL"        # in the environment of spore, and so of what it starts
PARTS = ("spinner", "sleeper", "ping", "pong", "epoll")
PID_TAKEN = re.compile(r"pid is taken|File exists")   # by somebody else on this machine
CHECKPOINT = ("stop", "look", "capture", "snapshot", "pages", "release", "copies", "commit")      # its phases, and those of restore
RESTORE = ("read", "plan", "births", "stages", "hold", "release")
ENOUGH = 10                 # kills in each of them


class Victim:
    """spore in the cgroup where its n-th system call is fatal."""

    def __init__(self, trial):
        self.trial, self.kill_at = trial, KillAt(f"{trial.name}-{os.getpid()}")
        self.phases = collections.Counter()     # kills in each
        self.lengths = {}   # of each, in calls, as far as known
        self.calls = 0      # that the last run made
        self.phase = None   # in which it was killed, if it was

    def run(self, n, args, all_of_it, phase=None):
        """Returns the status, and whether the kill happened. all_of_it: every process of spore dies, not only the one that made the call."""
        log = f"{self.trial.work}/victim.err"
        self.kill_at.arm(n, phase)
        with open(log, "w") as err, open(f"{self.trial.work}/victim.out", "w") as out:
            p = subprocess.Popen([self.trial.options.spore, *map(str, args)], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                 env={**os.environ, MARK: self.trial.nonce, "SPORE_DEBUG": "1"}, preexec_fn=self.kill_at.group.enter)
            end = time.monotonic() + 60
            while p.poll() is None and time.monotonic() < end:
                if all_of_it and n and self.kill_at.state()[1]:
                    kill_all(self.spores())
                time.sleep(0.001)
            if p.poll() is None:
                self.trial.fail(f"kill at call {n} of {phase or 'all'}: spore {args[0]} hangs")
                kill_all(self.spores())
            p.wait()
        self.calls, killed, phase_hit = self.kill_at.state()
        self.phase = phase_hit if killed else None
        if all_of_it and killed:
            kill_all(self.spores())
        self.kill_at.arm(0)
        if killed:
            self.phases[self.phase] += 1
        if phase:           # it was long enough for this call, or was not
            self.lengths[phase] = max(4, self.lengths[phase] * (3 if killed and self.phase == phase else 2) // (2 if killed and self.phase == phase else 3))
        return p.returncode, bool(killed)

    def spores(self):
        """Processes of spore itself, by the name they bear: not the tasks that it is building."""
        found = []
        for pid in self.kill_at.pids():
            try:
                with open(f"/proc/{pid}/comm") as f:
                    if f.read().startswith("spore"):
                        found.append(pid)
            except OSError:
                pass
        return found

    def quiet(self, timeout=15):
        """spore's remaining processes have ended, or only wait for something to do."""
        try:
            wait_until(lambda: not self.spores(), timeout, "end of spore", 0.005)
            return True
        except Failure:
            return False

    def moments(self, times, total, names):
        """(call, phase from whose start it is counted): times of them spread evenly over all calls; then more for each phase that was hit too few times."""
        for i in range(times):
            for _ in range(3):
                yield 1 + i * total // times, None
                if self.phase:
                    break
                total = self.calls      # it had ended before: a busy machine made the last whole run a long one
        for phase in names if times >= 200 else []:
            for _ in range(10 * ENOUGH):
                if self.phases[phase] < ENOUGH:
                    yield self.within(phase), phase

    def within(self, phase):
        """How many calls a phase makes differs from run to run, and is learned from what its kills hit."""
        return self.trial.rng.randint(1, self.lengths.setdefault(phase, 16))

    def tell_phases(self, names):
        self.trial.note("phases: " + ", ".join(f"{p} {self.phases[p]}" for p in ("begin", *names)))
        thin = [p for p in names if self.phases[p] < ENOUGH]
        if thin and sum(self.phases.values()) >= 200:
            self.trial.fail(f"phases hit fewer than {ENOUGH} times: {', '.join(thin)}")

    def close(self):
        self.kill_at.close()


def mappings(pid):
    with open(f"/proc/{pid}/maps") as f:
        return sum(1 for _ in f)


def copies_of(tree):
    """Dead or alive."""
    found = []
    for pid in descendants(tree.root):
        try:
            with open(f"/proc/{pid}/comm") as f:
                if f.read() == "spore-copy\n":
                    found.append(pid)
        except OSError:
            pass
    return found


def kill_checkpoint(trial):
    """The tree runs on every time, and the directory is valid or refused."""
    trial.nonce = os.urandom(8).hex()
    times = trial.number(200)
    victim = Victim(trial)
    try:
        with target(trial, "mixed") as tree:
            tree.wait_ready(PARTS)
            image = f"{trial.work}/image"
            status, _ = victim.run(0, ["checkpoint", tree.root, image], False)
            if status:
                raise Failure(f"spore checkpoint, undisturbed: exit {status}: {tail(trial)}")
            total = victim.calls
            before = mappings(tree.root)
            shutil.rmtree(image)
            valid = killed = eintr = 0
            for i, (n, phase) in enumerate(victim.moments(times, total, CHECKPOINT)):
                what = f"kill at call {n} of {phase or total}{', all of spore' if i % 2 else ''}"
                _, hit = victim.run(n, ["checkpoint", tree.root, image], i % 2 == 1, phase)
                killed += hit
                if hit and i % 2:
                    save_again(trial, tree, what)
                victim.quiet()
                trial.count += 1
                seen = interrupted(tree, victim, hit)
                eintr += seen
                if not tree.unharmed(what) and not tree.pids():
                    raise Failure("the tree is gone; the trial ends here")
                if os.path.isdir(image):
                    valid += image_is_sound(trial, image, tree, what)
                    shutil.rmtree(image, ignore_errors=True)
            if victim.run(0, ["checkpoint", tree.root, image], False)[0]:
                trial.fail(f"a whole checkpoint after all the kills: {tail(trial)}")
            if copies_of(tree):
                trial.fail(f"left in the tree: copies of its memory: {copies_of(tree)}")
            if mappings(tree.root) > before:
                trial.fail(f"left in the tree: {mappings(tree.root)} mappings, {before} before")
            trial.note(f"{killed} killed of {trial.count}, {total} calls, {valid} images complete; {eintr} times, killed while it stopped the tree, an epoll_wait returned EINTR")
            victim.tell_phases(CHECKPOINT)
    finally:
        victim.close()


def kill_track(trial):
    """While memory is captured and begins to be tracked, all of spore: the tree runs on, and holds no descriptor that it did not make."""
    trial.nonce = os.urandom(8).hex()
    victim = Victim(trial)
    try:
        with target(trial, "mixed") as tree:
            tree.wait_ready(PARTS)
            image = f"{trial.work}/image"
            killed = 0
            for _ in range(trial.number(1000)):
                n = victim.within("capture")
                killed += victim.run(n, ["checkpoint", "--track", tree.root, image], True, "capture")[1]
                kill_all(victim.spores())       # of one that was not killed: it tracks
                victim.quiet()
                trial.count += 1
                what = f"kill at call {n} of capture"
                if not tree.unharmed(what) and not tree.pids():
                    raise Failure("the tree is gone; the trial ends here")
                for link in descriptors(tree):
                    if "userfaultfd" in link:
                        trial.fail(f"{what}: left in the tree: {link}")
                        raise Failure("from here on it would be found again and again")
                shutil.rmtree(image, ignore_errors=True)
            trial.note(f"{killed} killed of {trial.count}")
    finally:
        victim.close()


def descriptors(tree):
    for pid in tree.pids():
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                yield f"process {pid}: {name} -> {os.readlink(f'/proc/{pid}/fd/{name}')}"
            except OSError:
                pass


# src/remote/layout.c: where what spore maps into a process lies
AREAS = range(0x2c5e00000000, 0x2c6200000000)


def save_again(trial, tree, what):
    """At once, while threads may still be on their way out of what the killed spore had them do: that is no state to be saved."""
    again = f"{trial.work}/again"
    for _ in range(5):
        status, _, err = trial.call("checkpoint", tree.root, again)
        if "its keeper died" not in err:        # that of the killed one, which still took the call
            break
    if status:
        trial.fail(f"{what}: the next checkpoint exits {status}: {err[-300:]}")
        return
    status, out, err = trial.call("inspect", "--json", again)
    for n, rip in enumerate(re.findall(r'"rip": ?(\d+)', out)):
        if int(rip) in AREAS:
            trial.fail(f"{what}: the next checkpoint has thread {n} of the tree in code of spore's")
    if status or '"rip"' not in out:
        trial.fail(f"{what}: inspect of the next checkpoint exits {status}: {err[-300:]}")
    shutil.rmtree(again, ignore_errors=True)


def interrupted(tree, victim, hit):
    """The kernel ends an epoll_wait with EINTR when a tracer stops it and dies before it can wind the call back. Only there is that excused."""
    errors = tree.errors()
    if not (hit and victim.phase == "stop" and errors and all("epoll_wait" in e and "Interrupted system call" in e for e in errors)):
        return False
    os.truncate(f"{tree.dir}/errors", 0)
    return True


def tail(trial):
    with open(f"{trial.work}/victim.err", errors="replace") as f:
        return f.read().strip()[-300:]


def kill_restore(trial):
    """No task of the new tree is left, or all of it runs: where spore was killed after it had let the tree go."""
    kill_while_restoring(trial, lambda victim, times, total: (
        (n, phase, i % 2 == 1) for i, (n, phase) in enumerate(victim.moments(times, total, RESTORE))), RESTORE)


def kill_release(trial):
    """The same around the commit alone, and all of spore each time: half a tree would be left there, if anywhere."""
    kill_while_restoring(trial, lambda victim, times, total: (
        (victim.within(phase), phase, True) for i in range(times) for phase in [RESTORE[-2 + i % 2]]), RESTORE[-2:])


def kill_while_restoring(trial, moments, names):
    trial.nonce = os.urandom(8).hex()
    times = trial.number(200)
    victim = Victim(trial)
    try:
        with target(trial, "mixed") as tree:
            tree.wait_ready(PARTS)
            image, copy = f"{trial.work}/image", f"{trial.work}/copy"
            trial.spore.call("checkpoint", "--kill", tree.root, image)
            tree.reap()
            copy_files(tree.dir, copy)
            status, _ = victim.run(0, ["restore", "-d", image], False)
            if status:
                raise Failure(f"spore restore, undisturbed: exit {status}: {tail(trial)}")
            total = victim.calls
            tree.root = root_of(tree.nonce)
            tree.unharmed("restored undisturbed")
            whole = len(tree.pids())
            sweep(tree, victim)
            went_on = killed = 0
            for n, phase, all_of_it in moments(victim, times, total):
                what = f"kill at call {n} of {phase or total}{', all of spore' if all_of_it else ''}"
                put_back(copy, tree.dir)
                status, hit = victim.run(n, ["restore", "-d", image], all_of_it, phase)
                killed += hit
                trial.count += 1
                if not hit and status and not PID_TAKEN.search(tail(trial)):
                    trial.fail(f"not killed, restore: exit {status}: {tail(trial)}")
                went_on += aftermath(trial, tree, victim, what, whole, 5 if hit else 0)
                sweep(tree, victim)
            trial.note(f"{killed} killed of {trial.count}, {total} calls, {went_on} with the tree complete and running")
            victim.tell_phases(names)
    finally:
        victim.close()


def ours(trial, tree, victim):
    return {p for p in [*tree.pids(), *pids_with(MARK, trial.nonce), *victim.kill_at.pids(), *descendants(os.getpid())[1:]]
            if not is_gone(p)}


def aftermath(trial, tree, victim, what, whole, seconds):
    """Is everything gone within that time (True: or the whole tree at work)?"""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not ours(trial, tree, victim):
            return False
        time.sleep(0.01)
    if len(tree.pids()) == whole:
        tree.root = root_of(tree.nonce)
        return tree.unharmed(what + ", the tree complete")
    names = []
    for pid in sorted(ours(trial, tree, victim)):
        try:
            with open(f"/proc/{pid}/comm") as f:
                names.append(f"{pid} {f.read().strip()}{' (of the tree)' if pid in tree.pids() else ''}")
        except OSError:
            pass
    trial.fail(f"{what}: left behind: {', '.join(names)}")
    return False


def sweep(tree, victim):
    """Nothing is left, nor any of the dead, whose pids the next restore needs."""
    for _ in range(200):
        left = ours(tree.trial, tree, victim)
        kill_all(left)
        reap_all()
        if not left:
            return
        time.sleep(0.02)


def reap_all():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


TRIALS = {"kill-checkpoint": kill_checkpoint, "kill-track": kill_track, "kill-restore": kill_restore, "kill-release": kill_release}
