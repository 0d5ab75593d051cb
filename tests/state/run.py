#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Takes makers of kernel state (maker.h) through a checkpoint, a kill and a restore, and has them use what they made.

For each maker: start it, wait until it is ready, ask the oracle, checkpoint, kill every task, restore, ask the oracle
again (the same?), let the maker use its state, read its verdict. With --no-spore nothing happens in between; with
--stop the tree is stopped and continued (an oracle, if given, must see no difference then either). A maker that may be refused, or must be, has its refusal checked instead:
exit status 3, the object named, and the tree goes on.

Each maker has a process of its own that starts it, is the subreaper of all that follows, and leaves nothing behind.
"""

import argparse
import contextlib
import ctypes
import difflib
import errno
import fnmatch
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import file_systems

MAY_REFUSE, MUST_REFUSE, NO_STOP, CONTAINER, SLOW, BUSY, RESTLESS = (1 << i for i in range(7))
MOVED = "in a new one, in which alone it has its pids"
UNSEEN = re.compile("note: .*cannot be (read|told) here")
DRAWN = re.compile("note: .*has come to it at once")  # so the tree is not as it was, though it was refused
SKIP, REFUSED = 77, 3
PR_SET_CHILD_SUBREAPER = 36
# What makers of a group take of the host, one at a time: terminals are numbered, and one beside another could be given its number.
TAKES = {"pty": "a terminal", "pty_queues": "a terminal", "pty_jobs": "a terminal", "graph": "a terminal", "file_owner": "a terminal",
         "sysv_shm": "IPC of the host", "sysv_msg": "IPC of the host", "mqueue": "IPC of the host", "huge": "huge pages"}
# On the host these have it to themselves: who has no privileges refuses while there are semaphores that it may not look at.
ALONE = {"sysv_sem"}


# What several clones cannot have each, since it is not theirs alone.
CLASH = re.compile("several clones|flock: Resource|lock: .*Resource|F_(OFD_)?SET(LK|LEASE): Resource|Address already in use|now give it up")
WATCHERS = {"watch", "fanotify", "dnotify"}
EXECED = {"task/execed", "task/thread-parent-execed"}


class Failure(Exception):
    pass


class Overtaken(Failure):
    """Timers may have been due before the oracle looked again: a busy machine."""


class Skip(Exception):
    pass


class Maker:
    def __init__(self, line):
        self.name, flags, self.refusal, self.what = line.rstrip("\n").split("\t")
        self.flags = int(flags)
        self.group = self.name.split("/")[0]


def all_makers(program):
    out = subprocess.run([program, "--flags"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return [Maker(line) for line in out.splitlines()]


# --- processes -------------------------------------------------------------------------------------------------------


def children(pid):
    """Its children, of every thread: what /proc says of one process, since to look at all of them takes longer than the rest of a test."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                found += map(int, f.read().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def descendants(pid):
    found, left = [], [pid]
    while left:
        new = children(left.pop())
        found += new
        left += new
    return found


def send(pid, sig):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def reap():
    """Waits for every child that has ended."""
    try:
        while os.waitpid(-1, os.WNOHANG | 0x40000000)[0]:
            pass
    except ChildProcessError:
        pass


def kill_tree(pid):
    """Kills a process and its descendants, and sees them gone, so that their numbers are free."""
    victims, new = set(), {pid}
    while new:  # only of processes that are stopped does /proc tell all children
        for victim in new:
            send(victim, signal.SIGSTOP)
        victims |= new
        new = set(descendants(pid)) - victims
    for victim in victims:
        send(victim, signal.SIGKILL)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        reap()
        left = [v for v in victims if os.path.exists(f"/proc/{v}")]
        if not left:
            return
        for victim in left:
            send(victim, signal.SIGKILL)
        time.sleep(0.005)
    raise Failure(f"tasks {left} would not die")


def is_missing_pages(pid):
    try:
        with open(f"/proc/{pid}/smaps") as f:
            return any(line.startswith("VmFlags") and " um" in line for line in f)
    except OSError:
        return False


def await_pages(pid):
    end = time.monotonic() + 20
    while any(is_missing_pages(p) for p in [pid, *descendants(pid)]):
        if time.monotonic() > end:
            raise Failure("its pages do not come")
        time.sleep(0.005)


def hold_number(number):
    """A process that has that pid, and sleeps."""
    set_tid = ctypes.c_int(number)
    args = (ctypes.c_uint64 * 11)()  # struct clone_args
    args[4], args[8], args[9] = signal.SIGCHLD, ctypes.addressof(set_tid), 1
    pid = ctypes.CDLL(None).syscall(435, args, ctypes.sizeof(args))
    if not pid:
        while True:
            signal.pause()
    if pid != number:
        raise Failure(f"{number} could not be taken")
    return pid


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"no {what} within {seconds} s")
        time.sleep(0.005)


def ended(pid):
    """Reaps it if it is ours; true when it is no more, or a zombie that another has to reap."""
    try:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
    except ChildProcessError:
        pass
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rsplit(b")", 1)[1].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def wait_end(pid, seconds):
    try:
        fd = os.pidfd_open(pid)
    except OSError as e:
        if e.errno in (errno.ESRCH, errno.EINVAL):
            return
        raise
    end = time.monotonic() + seconds
    try:
        while not select.select([fd], [], [], 0.05)[0]:
            reap()  # as init would
            if time.monotonic() > end:
                raise Failure(f"the tree does not end within {seconds} s of being told to go on")
    finally:
        os.close(fd)
    ended(pid)


def at_rest(pid):
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat", "rb") as f:
                if f.read().rsplit(b")", 1)[1].split()[0] in (b"R", b"D"):
                    return False
    except OSError:
        pass
    return True


def wait_rest(pid):
    """Until every task of the tree sleeps, twice in a row; but spinning ones never do."""
    end, quiet = time.monotonic() + 0.3, 0
    while quiet < 2 and time.monotonic() < end:
        quiet = quiet + 1 if all(at_rest(p) for p in [pid, *descendants(pid)]) else 0
        time.sleep(0.003)


# --- one maker -------------------------------------------------------------------------------------------------------


def without_exec(facts):
    """Who shares memory with other clones was born by fork (docs/coverage.md)."""
    return re.sub(r"^.*forked, no exec: .*\n", "", facts, flags=re.MULTILINE)


class Run:
    def __init__(self, maker, opts, directory, images):
        self.maker, self.opts, self.dir = maker, opts, directory
        self.work = os.path.join(directory, "work")
        os.mkdir(self.work)
        os.chmod(directory, 0o755)
        os.chmod(self.work, 0o777)
        self.ready, self.go, self.log = (os.path.join(self.work, n) for n in ("ready", "go", "log"))
        os.mkfifo(self.go)
        os.chmod(self.go, 0o666)
        self.image = os.path.join(images, "image")
        self.nonce = f"{random.getrandbits(64):016x}"
        self.pid = None
        self.others = []  # clones, but for the one that is used
        self.told = None  # blind, and the checkpoint said that there may be what it does not see

    def stream(self, *args):
        """The same with the image as one stream through a pipe, in the place of its directory."""
        writes = args[0] == "checkpoint"
        command = ["cat"] if writes else ["cat", self.image]
        with open(self.image, "ab") as file:
            cat = subprocess.Popen(command, stdin=subprocess.PIPE if writes else subprocess.DEVNULL, stdout=file if writes else subprocess.PIPE)
            end = cat.stdin if writes else cat.stdout
            try:
                return self.spore(*args[:-1], "-", **{"stdout" if writes else "stdin": end})
            finally:
                end.close()
                cat.wait()

    def spore(self, *args, **ends):
        # Through a file, not a pipe: what it leaves running must not keep us waiting.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                blind = [self.opts.blind] if self.opts.blind and args[0] == "checkpoint" else []
                status = subprocess.run([*blind, self.opts.spore, *args], **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err, **ends},
                                        timeout=self.opts.timeout).returncode
            except subprocess.TimeoutExpired:
                raise Failure(f"spore {args[0]} did not end within {self.opts.timeout} s")
            out.seek(0), err.seek(0)
            return status, out.read().decode(errors="replace"), err.read().decode(errors="replace")

    def start(self):
        self.started = time.monotonic()
        command = [self.opts.makers, self.maker.name, self.ready, self.go, self.log]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAKER_NONCE": self.nonce,
               "MAKER_DELAY_MS": str(self.opts.delay)}
        if self.mode == "run":
            os.environ.update(env)
            status, out, err = self.spore("run", "-d", *(["--net", "none"] if self.opts.clone else []), "--", *command)
            if status:
                raise Failure(f"spore run: exit {status}: {err.strip()}")
            self.pid = int(out.split()[-1])
            return
        stderr = os.open(os.path.join(self.dir, "stderr"), os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o666) \
            if self.opts.keep else subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, env=env,
                                   start_new_session=self.mode != "led")
        process.returncode = 0  # waited for here, not there
        self.pid = process.pid

    def verdict(self):
        try:
            with open(self.log) as f:
                how, own, given, *why = f.read().split(None, 3)
        except FileNotFoundError:
            return None
        return how, own, given, (why[0].strip() if why else "")

    def wait_ready(self):
        def state():
            if os.path.exists(self.ready):
                return "ready"
            return "ended" if ended(self.pid) else None

        if wait_for(state, 30, "ready maker") == "ended":
            how = self.verdict()
            if how and how[0] == "skip":
                raise Skip(how[3])
            raise Failure(f"the maker could not make it: {how[3] if how else 'it died'}")
        with open(self.ready) as f:
            self.own_nonce = f.read().split()[1]

    def oracle(self):
        if not self.opts.oracle or self.maker.flags & RESTLESS:
            return None
        wait_rest(self.pid)
        args = ["--no-memory"] if self.maker.flags & BUSY else []
        if self.maker.group == "sleep" and not self.maker.name.endswith("-forever"):
            # From outside: an oracle that stops the tree makes a sleep a restarted one, and what is left of one of
            # those nobody but the kernel knows, unless a checkpoint was the reason (docs/coverage.md).
            args.append("--outside")
        r = subprocess.run([self.opts.oracle, *args, str(self.pid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=self.opts.timeout, text=True, errors="replace")
        if r.returncode:
            raise Failure(f"the oracle fails: {r.stderr.strip()[:500]}")
        if self.mode in ("taken", "led"):  # the oracle shows mounts that are not the host's own; tests/cli looks at these
            return re.sub(r"^tree/mount: .*\n", "", r.stdout, flags=re.MULTILINE)
        return r.stdout

    def compare(self, before, after):
        if before == after:
            return
        diff = list(difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", "", n=1))
        more = len(diff) - 40
        late = time.monotonic() - self.started > self.opts.delay / 1000
        raise (Overtaken if late else Failure)("the oracle sees a difference:\n    " + "\n    ".join(diff[:40])
                      + (f"\n    ... {more} more lines" if more > 0 else ""))

    def is_stopped(self):
        """By a plain stop, which is visible to some."""
        return self.opts.between == "stop" and not self.maker.flags & NO_STOP

    def stop_and_go(self):
        tree = [self.pid, *descendants(self.pid)]
        for pid in tree:
            send(pid, signal.SIGSTOP)
        time.sleep(0.05)
        for pid in tree:
            send(pid, signal.SIGCONT)

    def check_refusal(self, err):
        lenient = self.opts.blind or self.opts.may_refuse
        if self.opts.may_refuse and not re.match(r"spore: checkpoint: .+ \(\d+\): .+: .+", err):
            raise Failure(f"the refusal does not name process, object and reason: {err.strip()}")
        if not lenient and not self.maker.flags & (MAY_REFUSE | MUST_REFUSE):
            raise Failure(f"refused: {err.strip()}")
        if not err.strip():
            raise Failure("refused, and nothing said")
        if self.maker.refusal and not lenient and not re.search(self.maker.refusal, err, re.IGNORECASE):
            raise Failure(f"the refusal does not name '{self.maker.refusal}': {err.strip()}")
        if os.path.exists(os.path.join(self.image, "manifest")) or (self.opts.stream and os.path.getsize(self.image)):
            raise Failure("refused, and yet there is an image")

    def compressed(self, which):
        return ["--compress"] if self.opts.compress in ("all", which) else []

    def checkpoint_kill_restore(self):
        before = self.oracle()
        track = ["--track"] if self.opts.against else []
        spore = self.stream if self.opts.stream else self.spore
        status, out, err = spore("checkpoint", *track, *self.compressed("parent"), str(self.pid), self.image)
        if status == 0 and self.opts.against:
            parent, self.image = self.image, self.image + "-child"
            status, out, err = self.spore("checkpoint", "--parent", parent, *self.compressed("child"), str(self.pid), self.image)
        if status == REFUSED:
            self.check_refusal(err)
            if before is not None and not DRAWN.search(err):
                self.compare(before, self.oracle())
            return "refused: " + err.strip().splitlines()[0]
        if status:
            raise Failure(f"spore checkpoint: exit {status}: {err.strip()}")
        told = self.opts.blind and UNSEEN.search(err)
        if self.maker.flags & MUST_REFUSE and not told:
            raise Failure("not refused")
        if self.opts.survive:
            return "went on after a checkpoint"
        number = self.pid
        kill_tree(self.pid)
        self.pid = None
        if self.opts.clone:
            return self.clone(before)
        holder = hold_number(number) if self.mode == "taken" else None
        status, out, err = spore("restore", "-d", *(["--lazy"] if self.opts.lazy else []), self.image)
        if holder:
            kill_tree(holder)
        if status:
            raise Failure(f"spore restore: exit {status}: {err.strip()}")
        self.pid, self.told = int(out.split()[-1]), told
        if self.opts.lazy:
            await_pages(self.pid)
        if self.mode == "host" and MOVED in err:
            raise Failure(f"it did not get its pids back: {err.strip()}")
        if self.mode in ("taken", "led") and not re.search(MOVED + ": "
                                                           + ("session" if self.mode == "led" else f"{number} is taken"), err):
            raise Failure(f"nothing said of the new pid namespace: {err.strip()}")
        after = self.oracle()
        if before is not None:
            self.compare(before, after)
        return ""

    def clone(self, before):
        """All clones are like what was saved; and so is the last when the others are dead, which then is used."""
        status, out, err = self.spore("restore", "-d", "--clone", str(self.opts.clone), self.image)
        if status and CLASH.search(err):
            self.left_behind()
            return "clones clash: " + err.strip().splitlines()[0]
        if status:
            raise Failure(f"spore restore: exit {status}: {err.strip()}")
        clones = [int(pid) for pid in out.split()]
        if len(clones) != self.opts.clone:
            raise Failure(f"{len(clones)} clones: {out}")
        for self.pid in clones:
            if before is not None:
                self.compare(*map(without_exec, (before, self.oracle())))
        self.others = clones[:-1]
        if self.maker.group in WATCHERS:  # of what a clone closes when it dies
            for pid in [p for other in self.others for p in (other, *descendants(other))]:
                send(pid, signal.SIGSTOP)
        else:
            self.kill_others()
        if before is not None:
            self.compare(*map(without_exec, (before, self.oracle())))
        return ""

    def kill_others(self):
        while self.others:
            kill_tree(self.others.pop())

    def finish(self):
        wait_rest(self.pid)
        fd = os.open(self.go, os.O_RDWR)
        try:
            os.write(fd, b"1" if self.opts.between == "spore" or self.is_stopped() else b"0")
            wait_end(self.pid, self.opts.timeout)
        finally:
            os.close(fd)
            self.kill_others()
        how = self.verdict()
        if not how:
            raise Failure("it died without a verdict")
        if how[0] != "ok":
            raise Failure(how[3] or how[0])
        if how[1] != self.own_nonce or how[2] != self.nonce:
            raise Failure("it was run again from the start")

    def left_behind(self):
        """Whatever is still our descendant a while after the end."""
        end = time.monotonic() + 3
        while True:
            reap()
            left = descendants(os.getpid())
            if not left or time.monotonic() > end:
                break
            time.sleep(0.01)
        names = []
        for pid in left:
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    names.append(f"{pid} ({f.read().replace(bytes(1), b' ').decode(errors='replace').strip()})")
            except OSError:
                names.append(str(pid))
        for pid in left:
            send(pid, signal.SIGKILL)
        if names:
            raise Failure("left behind: " + ", ".join(names))

    def go_through(self):
        opts = self.opts
        self.mode = opts.mode
        if self.maker.flags & CONTAINER and opts.between == "spore":
            self.mode = "run"
        if opts.clone and self.maker.name in EXECED:
            raise Skip("of a clone's process nobody can tell that it had called exec")
        self.start()
        self.wait_ready()
        remark = ""
        if opts.between == "spore":
            remark = self.checkpoint_kill_restore()
            if remark.startswith("clones clash"):
                return remark
            if opts.twice and not remark:
                self.image += "-2"
                remark = self.checkpoint_kill_restore()
        else:
            before = self.oracle()
            if self.is_stopped():
                self.stop_and_go()
            if before is not None:
                self.compare(before, self.oracle())
        self.finish()
        return remark


def run_one(maker, opts):
    """In a process of its own: (status, remark). Again, with timers set further ahead, where these may have been due too early."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for _ in range(3):
        result = try_one(maker, opts)
        if result["status"] != "overtaken":
            return result
        opts.delay *= 4
    return {**result, "status": "FAIL"}


def try_one(maker, opts):
    directory = tempfile.mkdtemp(prefix=f"spore-{maker.name.replace('/', '-')}-", dir=opts.tmp)
    # Nobody needs these images after a power cut, so no disk is waited for.
    images = directory if opts.keep else tempfile.mkdtemp(prefix="spore-image-", dir="/dev/shm")
    run = Run(maker, opts, directory, images)
    began = time.monotonic()
    try:
        remark = run.go_through()
        run.left_behind()
        status = "pass"
    except Skip as e:
        status, remark = "skip", str(e)
    except Overtaken as e:
        status, remark = "pass" if run.told else "overtaken", str(e)
    except Failure as e:
        status, remark = "pass" if run.told else "FAIL", f"told: {e}" if run.told else str(e)
    except Exception as e:  # the driver's own: no result is as good as a failure
        status, remark = "FAIL", f"the driver: {type(e).__name__}: {e}"
    for pid in descendants(os.getpid()):
        send(pid, signal.SIGKILL)
    time.sleep(0)
    reap()
    if opts.keep:
        remark = (remark + "\n    " if remark else "") + f"kept: {directory}"
    else:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(images, ignore_errors=True)
    return {"status": status, "remark": remark, "seconds": time.monotonic() - began}


# --- all of them -----------------------------------------------------------------------------------------------------


def start_one(maker, opts):
    r, w = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        os.close(r)
        os.set_inheritable(w, False)
        try:
            with os.fdopen(w, "w") as f:
                json.dump(run_one(maker, opts), f)
        finally:
            os._exit(0)
    os.close(w)
    return pid, r


def known_gap(maker, opts):
    """What is written down in known-gaps.txt, beside this file, as not carried yet."""
    if opts.between != "spore" or opts.survive:
        return None
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "known-gaps.txt")) as f:
        for line in f:
            words = line.split(None, 2)
            if line.strip() and not line.startswith("#") and words[0] == maker.name and words[1] in (opts.mode, "both"):
                return words[2].strip()
    return None


def in_turns(makers):
    """Every group spread over the whole run: those that only wait beside those that work."""
    groups = {}
    for maker in makers:
        groups.setdefault(maker.group, []).append(maker)
    return [m for _, m in sorted(((i / len(g), m) for g in groups.values() for i, m in enumerate(g)), key=lambda turn: turn[0])]


def next_one(waiting, running, opts):
    """The first that takes nothing of the host that another has."""
    if len(running) >= opts.jobs:
        return None
    if opts.mode == "run":
        return next(iter(waiting), None)
    groups = {maker.group for maker, _, _ in running.values()}
    taken = {TAKES.get(group) for group in groups} - {None}
    if groups & ALONE:
        return None
    return next((m for m in waiting if (not groups if m.group in ALONE else TAKES.get(m.group) not in taken)), None)


def run_all(makers, opts):
    waiting, running, count = in_turns(makers), {}, {"pass": 0, "FAIL": 0, "skip": 0}
    while waiting or running:
        while maker := next_one(waiting, running, opts):
            waiting.remove(maker)
            pid, fd = start_one(maker, opts)
            running[fd] = (maker, pid, b"")
        for fd in select.select(list(running), [], [])[0]:
            maker, pid, text = running[fd]
            data = os.read(fd, 65536)
            if data:
                running[fd] = (maker, pid, text + data)
                continue
            os.close(fd)
            del running[fd]
            os.waitpid(pid, 0)
            result = json.loads(text) if text else {"status": "FAIL", "remark": "the driver's process died", "seconds": 0}
            gap = known_gap(maker, opts)
            if gap and result["status"] == "FAIL":
                result["status"], result["remark"] = "skip", f"KNOWN GAP: {gap} ({result['remark'].splitlines()[0]})"
            elif gap and result["status"] == "pass":
                result["status"], result["remark"] = "FAIL", f"passes: its line in known-gaps.txt is to go ({gap})"
            count[result["status"]] += 1
            if result["status"] == "FAIL" or not opts.quiet or result["remark"]:
                print(f"{result['status']}  {result['seconds']:5.2f} s  {maker.name}"
                      + (f": {result['remark']}" if result["remark"] else ""), flush=True)
    print(f"{count['pass']} passed, {count['FAIL']} failed, {count['skip']} skipped")
    return count


def choose(makers, opts):
    if opts.group:
        groups = set(",".join(opts.group).split(","))
        for group in groups - {m.group for m in makers}:
            sys.exit(f"run.py: no group of makers is called {group}")
        makers = [m for m in makers if m.group in groups]
    if opts.names:
        for name in opts.names:
            if not any(fnmatch.fnmatch(m.name, name) for m in makers):
                sys.exit(f"run.py: no maker is called {name}")
        return [m for m in makers if any(fnmatch.fnmatch(m.name, n) for n in opts.names)]
    return [m for i, m in enumerate(makers) if not opts.part or i % opts.part[1] == opts.part[0] - 1]


def part(text):
    k, n = map(int, text.split("/"))
    if not 1 <= k <= n:
        raise ValueError
    return k, n


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--makers", required=True, metavar="PATH", help="spore-makers")
    p.add_argument("--spore", metavar="PATH")
    p.add_argument("--oracle", metavar="PATH", help="prints the facts of a tree; must print the same after the restore")
    p.add_argument("--no-spore", action="store_true", help="let each maker use its state at once")
    p.add_argument("--stop", action="store_true", help="SIGSTOP and SIGCONT in between, no spore (nothing, where that is visible to the maker)")
    p.add_argument("--stream", action="store_true", help="the image is a stream, and goes through pipes")
    p.add_argument("--lazy", action="store_true", help="restores on demand (with meson -Dtest_lazy=true all memory that can come so)")
    p.add_argument("--clone", type=int, metavar="N", help="restores N trees of each image (with meson -Dtest_clones=true all memory is shared that can be)")
    p.add_argument("--survive", action="store_true", help="checkpoint without kill and restore: the tree itself goes on")
    p.add_argument("--mode", choices=("host", "run", "taken", "led"), default="host",
                   help="started by the driver; by spore run; by the driver, and its pid is another's at the restore; in the driver's "
                   "session, so that it moves to a pid namespace of its own at the restore")
    p.add_argument("--blind", metavar="PATH", help="what forbids a checkpoint to look into the kernel (blind.c): then each is carried, refused, or told to "
                   "be what cannot be seen")
    p.add_argument("--against", action="store_true", help="the image that is restored is made against one just before it, with its writes tracked")
    p.add_argument("--compress", choices=("all", "parent", "child"), help="compresses images: all, or with --against only the older or the newer one")
    p.add_argument("--twice", action="store_true", help="what was restored is saved, killed and restored again")
    p.add_argument("--group", action="append", metavar="G[,G]", help="only the makers of these groups")
    p.add_argument("--part", type=part, metavar="K/N", help="of those only every Nth, from the Kth on; not of makers that are named")
    p.add_argument("--may-refuse", action="store_true", help="any may be refused by name, as on a kernel that lets less be seen")
    p.add_argument("--delay", type=int, metavar="MS", help="how far ahead timers are set (400, or 2000 with spore)")
    p.add_argument("--timeout", type=float, default=60, metavar="S")
    p.add_argument("--tmp", metavar="DIR", help="where scratch directories are made")
    p.add_argument("--on", choices=file_systems.KINDS, help="make them on such a file system, mounted for this")
    p.add_argument("-j", dest="jobs", type=int, default=1, metavar="N", help="so many at a time; 0: as many as keep the processors busy")
    p.add_argument("--keep", action="store_true", help="keep scratch directories and images")
    p.add_argument("-q", "--quiet", action="store_true", help="print only what failed or has something to say")
    p.add_argument("--list", action="store_true", help="print the makers and what each makes")
    p.add_argument("names", nargs="*", metavar="NAME", help="GROUP/NAME, may be a pattern")
    opts = p.parse_args()
    opts.makers = os.path.abspath(opts.makers)
    opts.between = "nothing" if opts.no_spore else "stop" if opts.stop else "spore"
    if not opts.spore and not opts.list and (opts.between == "spore" or opts.mode == "run"):
        p.error("--spore PATH, or --no-spore, or --stop")
    for program in ("spore", "oracle", "blind"):
        if getattr(opts, program):
            setattr(opts, program, os.path.abspath(getattr(opts, program)))
    opts.jobs = opts.jobs or 3 * len(os.sched_getaffinity(0))
    if opts.delay is None:
        opts.delay = 2000 if opts.between == "spore" or opts.oracle else 400  # an oracle takes its time
    return opts


def main():
    opts = options()
    makers = choose(all_makers(opts.makers), opts)
    if opts.list:
        for maker in makers:
            print(f"{maker.name}: {maker.what}")
        return 0
    if os.geteuid():
        print("the makers need root")
        return SKIP
    if opts.between == "spore" and "checkpoint" not in subprocess.run([opts.spore, "help"], capture_output=True, text=True).stdout:
        print("this spore has no checkpoint")
        return SKIP
    try:
        with file_systems.mounted(opts.on) if opts.on else contextlib.nullcontext(opts.tmp) as opts.tmp:
            count = run_all(makers, opts)
    except file_systems.Missing as e:
        print(e)
        return SKIP
    return 1 if count["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
