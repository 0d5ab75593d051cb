# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every test of a real program needs: a tree that is started, saved about half-way, killed, restored, and judged by its result.

A scenario says what to prepare, what to run and which files are the result; a Session is one run of it, through as many lives as it
is given. The backend is the spore command, or, with --no-spore, a cgroup's freezer (signals where there is none), which shows that the
scenario itself is sound.
"""
import contextlib
import ctypes
import fcntl
import hashlib
import os
import pty
import random
import select
import shutil
import signal
import struct
import subprocess
import termios
import threading
import time

# A shell draws its nonce once and keeps it in memory: `started` has two lines if anything was run again from the start, and
# `finished` another nonce if this is not the process that wrote the first.
NONCE = "nonce=$(od -An -N8 -tx8 /dev/urandom | tr -d ' '); echo $nonce >>started; "
FINISH = " ; echo $nonce $? >>finished"
TREE = "SPORE_TEST_TREE"     # in the environment of every task of a tree, and of nothing else
TICK = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """The scenario did not end as it should have."""


class Missed(Failure):
    """It was at its end before it could be saved: what is left of a short program at 80 % may pass between two looks of a busy machine."""


class Skip(Exception):
    """Something that the scenario needs is not here."""


# --- processes ---------------------------------------------------------------------------------------------------

def stat_of(pid):
    """The fields of /proc/PID/stat from the state on, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rpartition(b")")[2].split()
    except OSError:
        return None


def all_pids():
    return [int(d) for d in os.listdir("/proc") if d.isdigit()]


def descendants(root):
    """root and everything below it, parents first."""
    found, todo = [], [root]
    while todo:
        pid = todo.pop(0)
        if stat_of(pid) is None:
            continue
        found.append(pid)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as f:
                    todo += [int(p) for p in f.read().split()]
    return found


def session_of(pid):
    s = stat_of(pid)
    return int(s[3]) if s else None


def threads_cpu(pid):
    """Processor seconds of the living threads of a process, in nanoseconds where stat has ticks: these add up over 20 lives."""
    total = 0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int((f.read() or "0").split()[0])     # nothing, of one that has just ended
    return total / 1e9


def tree_cpu(root):
    """Processor seconds of a tree so far: its live processes, and those that they have waited for."""
    total = 0.0
    for pid in descendants(root):
        s = stat_of(pid)
        if s:
            user, system, waited_user, waited_system = map(int, s[11:15])
            total += max((user + system) / TICK, threads_cpu(pid)) + (waited_user + waited_system) / TICK
    return total


def is_gone(pid):
    s = stat_of(pid)
    return s is None or s[0] in (b"Z", b"X")


def adopt():
    """What loses its parent becomes our child, so that the dead can be buried and their pids are free again for a restore."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)     # PR_SET_CHILD_SUBREAPER


def bury(pids, timeout=10):
    """Wait until these killed processes are gone, and reap those that have become our children."""
    def left():
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return [p for p in pids if stat_of(p) is not None]
    with contextlib.suppress(Failure):
        wait_until(lambda: not left(), timeout, "burial", 0.005)
    return [p for p in pids if not is_gone(p)]


def pids_with(name, value):
    """Processes whose environment has name=value."""
    want, found = f"{name}={value}".encode(), []
    for pid in all_pids():
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/environ", "rb") as f:
                if want in f.read().split(b"\0"):
                    found.append(pid)
    return found


def is_init(pid):
    """Is this pid 1 of a pid namespace other than ours?"""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("NSpid:"):
                    ids = line.split()[1:]
                    return len(ids) > 1 and ids[-1] == "1"
    return False


def root_of(nonce):
    """The root of the tree that carries the nonce: the container init where there is one."""
    pids = set(pids_with(TREE, nonce))
    for pid in sorted(pids):
        s = stat_of(pid)
        if s and int(s[1]) not in pids:
            parent = int(s[1])
            return parent if not is_init(pid) and is_init(parent) else pid
    return None


def kill_all(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_until(test, timeout, what, step=0.01):
    end = time.monotonic() + timeout
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {timeout:.0f} s")
        time.sleep(step)


class Freezer:
    """A cgroup of its own for one tree, where there is cgroup v2."""

    def __init__(self, name):
        self.path = None
        with open("/proc/mounts") as f:
            mounts = [line.split()[1] for line in f if line.split()[2] == "cgroup2"]
        with contextlib.suppress(OSError):
            if mounts:
                os.mkdir(f"{mounts[0]}/spore-test-{name}")
                self.path = f"{mounts[0]}/spore-test-{name}"

    def write(self, file, text):
        with open(f"{self.path}/{file}", "w") as f:
            f.write(text)

    def enter(self):
        if self.path:
            self.write("cgroup.procs", "0")

    def set(self, frozen):
        self.write("cgroup.freeze", "01"[frozen])
        wait_until(lambda: f"frozen {int(frozen)}" in read_lines(f"{self.path}/cgroup.events"), 10, "cgroup.freeze", 0.001)

    def remove(self):
        if self.path:
            self.set(False)
            with contextlib.suppress(OSError):
                os.rmdir(self.path)


# --- a user's terminal -------------------------------------------------------------------------------------------

class Terminal:
    """A pty with a user in front of it: types, reads, resizes. Runs one command as the leader of its session."""

    def __init__(self, argv, cwd, env=None, rows=24, cols=80, enter=lambda: None):
        self.status = None
        self.seen = bytearray()
        self.mark = 0
        self.more = threading.Condition()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                enter()
                os.chdir(cwd)
                for number in (signal.SIGINT, signal.SIGQUIT):      # ignored in what a script runs in the background
                    signal.signal(number, signal.SIG_DFL)
                os.execvpe(argv[0], argv, env or os.environ)
            finally:
                os._exit(127)
        self.resize(rows, cols)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            with self.more:
                self.seen += data
                self.more.notify_all()
            if not data:
                return

    def resize(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def send(self, text):
        os.write(self.fd, text.encode())

    def expect(self, text, timeout=20):
        """Wait for text in what has been shown since the last match; returns what stood before it."""
        want = text.encode()
        end = time.monotonic() + timeout
        with self.more:
            while True:
                at = self.seen.find(want, self.mark)
                if at >= 0:
                    before = bytes(self.seen[self.mark:at])
                    self.mark = at + len(want)
                    return before.decode(errors="replace")
                left = end - time.monotonic()
                if left <= 0 or not self.more.wait(left):
                    raise Failure(f"terminal: expected {text!r}, saw {bytes(self.seen[self.mark:])[-400:]!r}")

    def poll(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, timeout=30):
        wait_until(lambda: self.poll() is not None, timeout, "end of the command on the terminal")
        return self.status

    def close(self):
        if self.poll() is None:
            kill_all([self.pid])
            with contextlib.suppress(Failure):
                self.wait(5)
        with contextlib.suppress(OSError):
            os.close(self.fd)


# --- the spore command -------------------------------------------------------------------------------------------

class Spore:
    """The command, as a user would call it."""

    def __init__(self, path, log):
        self.path, self.log = path, log

    def call(self, *args, ok=(0,), timeout=180):
        with open(self.log, "a") as log:
            print("$ spore", *args, file=log)
        p = subprocess.run([self.path, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=timeout, text=True, errors="replace")
        with open(self.log, "a") as log:
            print(p.stdout + p.stderr, f"= {p.returncode}", file=log)
        if p.returncode not in ok:
            raise Failure(f"spore {args[0]}: exit {p.returncode}: {(p.stderr.strip() or p.stdout.strip())[-600:]}")
        return p

    def pid_from(self, args, cwd, timeout=180):
        """Run a command with -d. Its standard output is the tree's as well, so only the first line is ours."""
        rd, wr = os.pipe()
        with open(self.log, "a") as log:
            print("$ spore", *args, file=log, flush=True)
            p = subprocess.Popen([self.path, *map(str, args)], cwd=cwd, stdin=subprocess.DEVNULL, stdout=wr, stderr=log)
        os.close(wr)
        line = bytearray()
        end = time.monotonic() + timeout
        while not line.endswith(b"\n"):
            if not select.select([rd], [], [], max(0, end - time.monotonic()))[0]:
                p.kill()
                raise Failure(f"spore {args[0]}: no pid within {timeout} s")
            byte = os.read(rd, 1)
            if not byte:
                break
            line += byte
        try:
            status = p.wait(timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            raise Failure(f"spore {args[0]} -d: printed {bytes(line)!r} and did not return") from None
        with open(self.log, "a") as log:
            print(line.decode(errors="replace"), f"= {status}", file=log)
        if status or not line.strip().isdigit():
            raise Failure(f"spore {args[0]}: exit {status}, printed {bytes(line)!r}: {self.last_words()}")
        return int(line), rd

    def last_words(self):
        with open(self.log) as f:
            lines = [x for x in f.read().splitlines() if x and not x.startswith("=")]
        return " / ".join(lines[-3:])[-600:]


class Pump:
    """Carries what a tree writes to an outside pipe into a file, for one life."""

    def __init__(self, fd, path):
        self.fd, self.path = fd, path
        self.thread = threading.Thread(target=self._carry, daemon=True)
        self.thread.start()

    def _carry(self):
        while data := os.read(self.fd, 65536):
            with open(self.path, "ab") as f:
                f.write(data)

    def empty(self):
        """Everything written so far is in the file."""
        waiting = lambda: struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0" * 4))[0]
        wait_until(lambda: not waiting(), 5, "empty pipe")
        time.sleep(0.05)

    def end(self):
        self.thread.join(10)
        if self.thread.is_alive():
            raise Failure("the tree is gone, and something holds its standard output open")
        os.close(self.fd)


class Session:
    """One run of a scenario: start, then any number of (save, restore), then finish."""

    def __init__(self, scenario, options, work, spore=None, mode="host"):
        self.scenario, self.options, self.work, self.spore, self.mode = scenario, options, work, spore, mode
        self.size = options.size
        self.nonce = os.urandom(8).hex()
        self.root = None
        self.popen = None
        self.terminal = None
        self.status = None
        self.lives = []             # processor seconds of each life
        self.cpu = 0.0              # of this life, as last seen
        self.base = 0.0             # what is not to be counted (--no-spore: a process goes on with its count)
        self.sessions = set()       # that the tree was seen to have
        self.stopped = []
        self.freezer = Freezer(self.nonce) if spore is None else None
        self.outer = []             # read ends that must stay open: a tree's own standard output
        self.pump = None            # with --streams pipe: what reads it

    # the environment is set by env(1), inside, so that spore itself never carries the tree's nonce
    def argv(self):
        return ["env", f"{TREE}={self.nonce}", *self.scenario.command(self)]

    def start(self):
        argv = self.argv()
        enter = self.freezer.enter if self.freezer else lambda: None
        if self.scenario.tty:
            if self.spore and self.mode == "run":
                argv = [self.spore.path, "run", "--", *argv]
            self.terminal = Terminal(argv, self.work, self.scenario.environ(), enter=enter)
            self.root = wait_until(lambda: root_of(self.nonce), 20, "start on a terminal")
        elif self.spore and self.mode == "run":
            inner = ["sh", "-c", 'exec "$@" </dev/null >stdout 2>stderr', "sh", *argv]
            if self.options.streams == "pipe":
                inner = ["sh", "-c", 'exec "$@" 2>stderr', "sh", *argv]
            self.root, rd = self.spore.pid_from(["run", "-d", "--", *inner], self.work)
            self.listen(rd)
        else:
            rd = None
            with contextlib.ExitStack() as stack:
                err = stack.enter_context(open(f"{self.work}/stderr", "ab"))
                if self.options.streams == "pipe":
                    rd, wr = os.pipe()
                    out = stack.enter_context(open(wr, "wb"))
                else:
                    out = stack.enter_context(open(f"{self.work}/stdout", "ab"))
                self.popen = subprocess.Popen(argv, cwd=self.work, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                              env=self.scenario.environ(), start_new_session=True,
                                              preexec_fn=enter)
            self.root = self.popen.pid
            if rd is not None:
                self.listen(rd)
        self.begin = time.monotonic()

    def listen(self, fd):
        """What comes from an outside pipe belongs to the result, or to nobody."""
        if self.options.streams == "pipe":
            self.pump = Pump(fd, f"{self.work}/stdout")
        else:
            self.outer.append(fd)

    def note_cpu(self):
        self.sessions |= {s for s in map(session_of, descendants(self.root)) if s and s != os.getsid(0)}
        self.cpu = max(self.cpu, tree_cpu(self.root) - self.base)

    @contextlib.contextmanager
    def noting_cpu(self):
        """A tree goes on while spore looks at it, and 20 times that is much of a short run: the last reading is of the stopped tree."""
        done = threading.Event()

        def note():
            while not done.wait(0.005):
                self.note_cpu()
        thread = threading.Thread(target=note, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def alive(self):
        """Is the tree still at work? Notes the processor time on the way."""
        self.note_cpu()
        if self.terminal:
            return self.terminal.poll() is None
        if self.popen:
            done, status, usage = os.wait4(self.popen.pid, os.WNOHANG)
            if done:
                self.popen.returncode = self.status = os.waitstatus_to_exitcode(status)
                self.popen = None
                self.cpu = max(self.cpu, usage.ru_utime + usage.ru_stime - self.base)
                return False
            return True
        return not is_gone(self.root)

    def run_to(self, cpu, timeout):
        """Let the tree use processor time up to here."""
        end = time.monotonic() + timeout
        while sum(self.lives) + self.cpu < cpu:
            if not self.alive():
                raise Missed(f"ended after {sum(self.lives) + self.cpu:.2f} s of processor time, before it could be saved at {cpu:.2f}")
            if time.monotonic() > end:
                raise Failure(f"stuck: {sum(self.lives) + self.cpu:.2f} s of processor time, {cpu:.2f} wanted, after {timeout:.0f} s")
            time.sleep(0.005)

    def save(self, image, copy_to=None):
        """Save the tree and kill it. With copy_to, the files are copied while it is isolated."""
        shutil.rmtree(image, ignore_errors=True)        # of an earlier moment
        self.alive()
        if self.spore is None:
            self.freeze()
            if self.pump:
                self.pump.empty()
            if copy_to:
                copy_files(self.work, copy_to)
            self.lives.append(self.cpu)
            self.base += self.cpu
            self.cpu = 0.0
            return
        with self.noting_cpu():
            try:
                if copy_to:
                    self.spore.call("isolate", self.root)
                    if self.pump:
                        self.pump.empty()
                    copy_files(self.work, copy_to)
                # all at once, isolated or not: one killed after the other, the last would go on when the first has ended
                self.spore.call("checkpoint", "--kill", self.root, image)
            except Failure as e:
                raise e if self.alive() else Missed(str(e))
        self.lives.append(self.cpu)
        self.cpu = self.base = 0.0
        sessions, self.sessions = self.sessions, set()      # in a container the next life has others, and these may become anybody's
        self.reap()
        # what was born after the last look died all the same, and its pid is in the image
        left = bury({p for p in all_pids() if session_of(p) in sessions})
        if left:
            raise Failure(f"still there after the checkpoint and the kill: {left}")
        if copy_to:
            self.spore.call("unisolate", self.root, ok=range(256))      # nothing is left of it: only what was kept for it

    def reap(self):
        if self.popen:
            self.popen.wait(20)
            self.popen = None
        if self.terminal:
            self.terminal.wait()
            self.terminal.close()
            self.terminal = None
        if self.pump:
            self.pump.end()
            self.pump = None
        for fd in self.outer:
            os.close(fd)
        self.outer = []

    def restore(self, image):
        if self.spore is None:
            self.thaw()
        elif self.scenario.tty:
            self.terminal = Terminal([self.spore.path, "restore", image], self.work, None, rows=24, cols=80)
            self.root = wait_until(lambda: self.terminal.poll() is not None or root_of(self.nonce), 30, "restore on a terminal")
            if self.terminal.poll() is not None:
                raise Failure(f"spore restore: exit {self.terminal.status}: {bytes(self.terminal.seen)[-400:]!r}")
        else:
            self.root, rd = self.spore.pid_from(["restore", "-d", image], self.work)
            self.listen(rd)

    def freeze(self):
        """Root first, and last to go on: a shell with job control must not see its children stop."""
        self.stopped = []
        if self.freezer.path:
            self.freezer.set(True)
            return
        for pid in descendants(self.root):
            s = stat_of(pid)
            if s and s[0] != b"T":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    self.stopped.append(pid)

    def thaw(self):
        if self.freezer and self.freezer.path:
            self.freezer.set(False)
        for pid in reversed(self.stopped):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.stopped = []

    def finish(self, timeout):
        end = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() > end:
                raise Failure(f"did not end within {timeout:.0f} s")
            time.sleep(0.01)
        if self.terminal:
            self.status = self.terminal.status
        if self.pump:
            self.pump.end()
            self.pump = None
        self.lives.append(self.cpu)
        self.wall = time.monotonic() - self.begin

    def close(self):
        """Nothing of this session outlives it."""
        self.thaw()
        below = descendants(self.root) if self.root and root_of(self.nonce) == self.root else []     # not all keep their environment
        pids = [p for p in {*below, *pids_with(TREE, self.nonce)} if p != self.root]
        kill_all(pids)
        if self.root and (is_init(self.root) or self.root in pids_with(TREE, self.nonce)):
            kill_all([self.root])
        if self.terminal:
            self.terminal.close()
        if self.popen:
            kill_all([self.popen.pid])
            self.popen.wait()
        for fd in self.outer:
            os.close(fd)
        self.outer = []
        bury(pids, 1)
        if self.freezer:
            self.freezer.remove()


# --- files -------------------------------------------------------------------------------------------------------

def copy_files(src, dst):
    """cp -a: what put-back needs (times, modes, fifos, holes)."""
    shutil.rmtree(dst, ignore_errors=True)
    subprocess.run(["cp", "-a", "--sparse=always", src, dst], check=True)


def put_back(copy, work):
    for name in os.listdir(work):
        path = f"{work}/{name}"
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    subprocess.run(["cp", "-a", "--sparse=always", f"{copy}/.", work], check=True)


def digest(path):
    h = hashlib.sha256()
    try:
        with open(path, "rb") as f:
            while block := f.read(1 << 20):
                h.update(block)
    except OSError as e:
        return e.strerror
    return f"{os.path.getsize(path)} bytes, sha256 {h.hexdigest()[:16]}"


def random_text(path, megabytes, seed):
    """Semi-compressible text: pieces of a fixed vocabulary with numbers between, the same for the same seed."""
    rng = random.Random(seed)
    words = " ".join("".join(rng.choices("etaoinshrdlucmfw", k=rng.randint(2, 9))) for _ in range(40000)).encode()
    with open(path, "wb") as f:
        for _ in range(megabytes):
            left, parts = 1 << 20, []
            while left > 0:
                n = min(left, rng.randint(30, 300))
                at = rng.randrange(len(words) - 300)
                parts.append(words[at:at + n - 9] + b"%08x\n" % rng.getrandbits(32) if n > 9 else b"\n" * n)
                left -= n
            f.write(b"".join(parts))


# --- scenarios ---------------------------------------------------------------------------------------------------

class Scenario:
    """One real program. Subclasses say what is below; the rest is the same for all."""
    name = ""
    needs = {}              # program: the Debian package that has it
    outputs = ["stdout"]    # the result, compared with the uninterrupted run's byte for byte
    tty = False             # runs on a terminal of its own
    cpu_bound = True        # half-way is half the processor time, and the second life must use clearly less than the whole
    exit_status = None      # expected, where the harness can see it
    instead = None          # what is done with one that is not saved (options, a directory)

    def __init__(self, size="small", seed=1):
        self.size, self.seed = size, seed

    def scale(self, small, full):
        return full if self.size == "full" else small

    def environ(self):
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")}
        return {**keep, "LC_ALL": "C", "TERM": "xterm"}

    def prepare(self, work):
        """Make the input files; the same for the same size and seed."""

    def command(self, session):
        raise NotImplementedError

    def moments(self, rng):
        """When to save, as fractions of the whole; each is a run of its own."""
        return [0.5]

    def lives(self, rng, repeat):
        """When to save with --repeat; each list is a run with so many lives."""
        return [[0.6 * (i + 1) / repeat for i in range(repeat)]]

    def advance(self, session, fraction, reference):
        """Bring the tree to this fraction of its work."""
        session.run_to(reference.total * fraction, 60 + 20 * reference.wall)

    def complete(self, session):
        """What the user does after the last restore."""

    def check(self, work):
        """Anything more than the nonce and equality with the reference."""

    def check_nonce(self, work):
        started = read_lines(f"{work}/started")
        finished = read_lines(f"{work}/finished")
        if len(started) != 1:
            raise Failure(f"started {len(started)} times")
        if finished != [f"{started[0]} 0"]:
            raise Failure(f"nonce and exit status: {finished} at the end, {started[0]} 0 expected; stderr: {tail(work)}")

    def result(self, work):
        return {name: digest(f"{work}/{name}") for name in self.outputs}


def read_lines(path):
    try:
        with open(path, errors="replace") as f:
            return f.read().splitlines()
    except FileNotFoundError:
        return []


def tail(work):
    return " / ".join(read_lines(f"{work}/stderr")[-3:])[-300:]


class Reference:
    """The uninterrupted run."""

    def __init__(self, scenario, options, base):
        self.scenario, self.options, self.base = scenario, options, base
        self.total = self.wall = 0.0
        self.measure()

    def measure(self):
        """Under load the same work takes up to a third more processor time: what counts is the dearest run."""
        scenario, work = self.scenario, f"{self.base}/reference"
        os.mkdir(work)
        scenario.prepare(work)
        session = Session(scenario, self.options, work)
        try:
            session.start()
            scenario.advance(session, 1, self) if not scenario.cpu_bound else None
            scenario.complete(session)
            session.finish(self.options.timeout)
        finally:
            session.close()
        judge_end(scenario, session)
        self.total, self.wall = max(self.total, session.lives[-1]), max(self.wall, session.wall)
        self.result = scenario.result(work)
        shutil.rmtree(work)

    def less_than_whole(self, cpu):
        """Is that clearly less than a whole run? 0.3 s are the least that is charged for starting and ending."""
        return cpu <= 0.85 * self.total + 0.3


def judge_end(scenario, session):
    scenario.check_nonce(session.work)
    scenario.check(session.work)
    if scenario.exit_status is not None and session.status is not None and session.status != scenario.exit_status:
        raise Failure(f"exit status {session.status}, {scenario.exit_status} expected")


def judge(scenario, session, reference):
    judge_end(scenario, session)
    result = scenario.result(session.work)
    if result != reference.result:
        differ = [f"{k}: {result.get(k)}, uninterrupted {reference.result.get(k)}"
                  for k in {**result, **reference.result} if result.get(k) != reference.result.get(k)]
        raise Failure(f"{len(differ)} results differ: " + "; ".join(differ[:3]))
    left = [p for p in pids_with(TREE, session.nonce) if not is_gone(p)]
    if left:
        raise Failure(f"tasks left behind: {left}")
    if scenario.cpu_bound and not reference.less_than_whole(session.lives[-1]):
        reference.measure()     # as busy as the machine is now
        if not reference.less_than_whole(session.lives[-1]):
            raise Failure(f"{session.lives[-1]:.2f} s of processor time after the restore, {sum(session.lives):.2f} in all, "
                          f"the whole takes {reference.total:.2f}: run again?")


def live(scenario, options, mode, base, reference, spore, fractions, twice=False):
    """One run through len(fractions) saves; returns what to say of it."""
    work = f"{base}/work"
    shutil.rmtree(work, ignore_errors=True)
    os.mkdir(work)
    scenario.prepare(work)
    session = Session(scenario, options, work, spore, mode)
    images, first = [], []
    limit = 60 + 10 * reference.wall
    try:
        session.start()
        for n, fraction in enumerate(fractions):
            scenario.advance(session, fraction, reference)
            first = first or read_lines(f"{work}/started")
            images.append(f"{base}/image-{n}")
            session.save(images[-1], f"{base}/copy" if twice else None)
            session.restore(images[-1])
            if n and os.path.isdir(images[n - 1]):
                shutil.rmtree(images[n - 1])
        scenario.complete(session)
        session.finish(limit)
        if first and read_lines(f"{work}/started") != first:
            raise Failure(f"another nonce: started as {first}, now {read_lines(f'{work}/started')}")
        judge(scenario, session, reference)
        note = f"saved at {', '.join(f'{100 * f:.0f}' for f in fractions[:3])}{'…' if len(fractions) > 3 else ''} %"
        if scenario.cpu_bound:
            note += f", {session.lives[-1]:.2f} of {reference.total:.2f} s after the last restore, {sum(session.lives):.2f} s in all"
        if twice and spore:
            first = first or read_lines(f"{work}/started")
            session.reap()
            put_back(f"{base}/copy", work)
            session.lives.pop()
            session.cpu = 0.0
            session.restore(images[-1])
            scenario.complete(session)
            session.finish(limit)
            judge(scenario, session, reference)
            if read_lines(f"{work}/started") != first:
                raise Failure("the second restore has another nonce")
            note += ", and again"
        return note
    finally:
        session.close()


def live_sooner(scenario, options, mode, base, reference, spore, fractions):
    """What ended too soon is run again, and saved sooner."""
    for factor in (1, 0.85, 0.7, 0.5):
        try:
            return live(scenario, options, mode, base, reference, spore, [f * factor for f in fractions], options.twice)
        except Missed as e:
            missed = e
        except Failure as e:
            raise Failure(f"mode {mode}: {e}") from e
    raise missed


def run_scenario(scenario, options, base):
    """The whole of one scenario; returns a line, raises Failure or Skip."""
    for program, package in scenario.needs.items():
        if not shutil.which(program):
            raise Skip(f"{program} is not here: Debian package {package}")
    if scenario.instead:
        return scenario.instead(options, base)
    spore = None if options.no_spore else Spore(options.spore, f"{base}/spore.log")
    reference = Reference(scenario, options, base)
    rng = random.Random(options.seed)
    notes, moments = [], 0
    for mode in options.modes:
        if options.repeat > 1:
            lives = scenario.lives(rng, options.repeat)
        else:
            lives = [[f] for f in ([options.at] if options.at else scenario.moments(rng))]
        notes += [live_sooner(scenario, options, mode, base, reference, spore, fractions) for fractions in lives]
        moments += sum(map(len, lives))
    return notes[0] if len(notes) == 1 else f"{len(notes)} runs, {moments} moments, the last: {notes[-1]}"
