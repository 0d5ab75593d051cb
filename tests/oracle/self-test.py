#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The oracle itself: it repeats itself, it sees every change, and nobody sees it.

usage: self-test.py ORACLE MENAGERIE
"""

import ctypes
import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
import termios
import time

ORACLE, MENAGERIE = sys.argv[1:3]
LIBC = ctypes.CDLL(None, use_errno=True)
failures = []


def oracle(pid, *options):
    run = subprocess.run([ORACLE, *options, str(pid)], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"oracle {pid}: {run.returncode}: {run.stderr}")
    return run.stdout.splitlines()


def difference(a, b):
    return sorted(set(a) ^ set(b))


def check(what, good, detail=""):
    print("ok  " if good else "FAIL", what, detail if not good else "")
    if not good:
        failures.append(what)


def settle(pid):
    """Until every thread under pid is blocked: the call that its life ends in, or a stop."""
    deadline = time.monotonic() + 10
    calm = 0
    while calm < 3:
        states = subprocess.run(["ps", "-o", "stat=", "-L", "--pid", str(pid), "--ppid", str(pid)],
                                capture_output=True, text=True).stdout.split()
        calm = calm + 1 if states and not [s for s in states if s[0] in "RD"] else 0
        if time.monotonic() > deadline:
            raise SystemExit(f"{pid} does not come to rest")
        time.sleep(0.02)


TREE = r"""
import ctypes, fcntl, mmap, os, pty, resource, select, signal, sys, threading, time
r, w = os.pipe(); os.write(w, b"in the pipe")
epoll = select.epoll(); epoll.register(r, select.EPOLLIN | select.EPOLLET); epoll.register(w, 0)
shared = mmap.mmap(-1, 8192); shared[:6] = b"shared"
signal.signal(signal.SIGUSR1, lambda *a: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, 40])
threading.Thread(target=lambda: time.sleep(1000), daemon=True).start()
master, slave = os.openpty()
memfd = os.memfd_create("name"); os.write(memfd, b"z" * 5000)
unlinked = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); os.write(unlinked, b"unlinked"); os.unlink(sys.argv[1])
fcntl.flock(unlinked, fcntl.LOCK_SH)
# One that dies in an orphaned group with a stopped member would bring SIGHUP on all, so it dies first.
dead, tell = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os._exit(3)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    os.setpgid(0, 0)
    os.write(tell, b"x")
    time.sleep(1000)
os.read(dead, 1)
if os.fork() == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1000)
signal.setitimer(signal.ITIMER_REAL, 500, 1.5)
os.kill(os.getpid(), signal.SIGUSR2)
time.sleep(0.1)
os.write(1, b"ready\n")
while True:
    signal.sigtimedwait([signal.SIGCONT], 1000)
"""


def start(program, *arguments):
    child = subprocess.Popen([sys.executable, "-c", program, *arguments], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    if child.stdout.readline() != b"ready\n":
        raise SystemExit("the target did not start")
    settle(child.pid)
    return child


def end(child):
    for pid in members(child.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    child.wait()
    child.stdout.close()


def members(root):
    """The tree under root, by its own reading of /proc."""
    found, at = [root], 0
    while at < len(found):
        try:
            with open(f"/proc/{found[at]}/task/{found[at]}/children", encoding="ascii") as f:
                found += [int(p) for p in f.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
        at += 1
    return found


def repeats_itself(directory):
    child = start(TREE, directory + "/file")
    first = oracle(child.pid)
    for i in range(3):
        again = oracle(child.pid)
        check(f"run {i + 2} equals the first", first == again, difference(first, again)[:10])
    check("without ptrace as well", oracle(child.pid, "--outside") == oracle(child.pid, "--outside"))
    check("with all there is", oracle(child.pid, "--still", "--sharing", "--strict") ==
          oracle(child.pid, "--still", "--sharing", "--strict"))
    text = "\n".join(first)
    for word in ("zombie", "exit code: 0x300", "state: stopped", "contents: 11 bytes", "memfd:name",
                 "FLOCK", "pending shared 0: 12", "itimer real: interval 1.500000000 armed", "pty:", "watches"):
        check(f"tells of '{word}'", word in text)
    check("everything inside was asked", "not asked" not in text)
    end(child)


def one_of_everything():
    """Alone in namespaces of its own, at fixed addresses, with terminals that nobody else numbers."""
    shell = subprocess.Popen(["env", "-i", "setarch", "-R", "unshare", "-pmuif", "--mount-proc", "/bin/sh", "-c",
                              'mount -t devpts -o ptmxmode=0666 own /dev/pts && exec "$0"', MENAGERIE],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while len(members(shell.pid)) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        root = members(shell.pid)[1]
        settle(root)
        return oracle(root, "--no-memory")
    finally:
        for pid in members(shell.pid)[::-1]:
            os.kill(pid, signal.SIGKILL)
        shell.wait()


def draws_nothing():
    # When a file in memory was made and read is no number drawn, but cannot be the same twice.
    first, second = ([re.sub("(modified|accessed): .*", "", line) for line in one_of_everything()] for _ in range(2))
    check("two trees with the same past are told alike", first == second, difference(first, second)[:20])
    check("and by their own pids", "1/ppid: outside" in first and "3/ppid: 1" in first)  # 2 was mount


def set_affinity(pid):
    os.sched_setaffinity(pid, {min(os.sched_getaffinity(pid))})


def set_limit(pid):
    subprocess.run(["prlimit", f"--pid={pid}", "--core=4096:8192"], check=True)


def set_text(name, value):
    def change(pid):
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as f:
            f.write(value)
    return change


def poke(pid):
    """One byte of the stack, as the program itself might."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
        stack = [line for line in f if "[stack]" in line][0]
    at = int(stack.split("-")[1].split()[0], 16) - 100
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as mem:
        mem.seek(at)
        byte = mem.read(1)
        mem.seek(at)
        mem.write(bytes([byte[0] ^ 1]))


def borrowed(name, change):
    """Through the file that one of the descriptors leads to."""
    def apply(pid):
        pidfd = os.pidfd_open(pid)
        for number in os.listdir(f"/proc/{pid}/fd"):
            if name in os.readlink(f"/proc/{pid}/fd/{number}"):
                fd = LIBC.syscall(438, pidfd, int(number), 0)
                change(fd)
                os.close(fd)
                break
        os.close(pidfd)
    return apply


def change_terminal(fd):
    settings = termios.tcgetattr(fd)
    settings[3] ^= termios.ECHO
    termios.tcsetattr(fd, termios.TCSANOW, settings)


CHANGES = {
    "nice": lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 5),
    "affinity": set_affinity,
    "a limit": set_limit,
    "scheduling policy": lambda pid: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0)),
    "I/O priority": lambda pid: subprocess.run(["ionice", "-c2", "-n3", "-p", str(pid)], check=True),
    "oom_score_adj": set_text("oom_score_adj", "100"),
    "coredump_filter": set_text("coredump_filter", "7"),
    "timer slack": set_text("timerslack_ns", "70000"),
    "memory": poke,
    "SIGSTOP": lambda pid: os.kill(pid, signal.SIGSTOP),
    "SIGCONT": lambda pid: os.kill(pid, signal.SIGCONT),
    "a pending signal": lambda pid: os.kill(pid, 40),
    "file position": borrowed("memfd", lambda fd: os.lseek(fd, 7, os.SEEK_SET)),
    "memfd contents": borrowed("memfd", lambda fd: os.pwrite(fd, b"y", 9)),
    "file flags": borrowed("pipe", lambda fd: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)),
    "file owner": borrowed("memfd", lambda fd: fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())),
    "terminal settings": borrowed("/pts/", change_terminal),
    "an unlinked file": borrowed("/file (deleted)", lambda fd: os.pwrite(fd, b"x", 3)),
}


def sees_changes(directory):
    child = start(TREE, directory + "/file")
    try:
        before = oracle(child.pid)
        for what, change in CHANGES.items():
            change(child.pid)
            settle(child.pid)
            after = oracle(child.pid)
            check(f"sees {what}", before != after)
            again = oracle(child.pid)
            check("and nothing more", after == again, difference(after, again)[:10])
            before = again
    finally:
        end(child)


# Blocked in every way that a stop could disturb; each round reports how the call ended and after how long.
BLOCKED = r"""
import ctypes, os, select, signal, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
r, w = os.pipe()
silent, _ = os.pipe()
results = []
def timed(name, seconds, call):
    start = time.monotonic()
    rc, error = call()
    results.append((name, seconds, time.monotonic() - start, rc, error))
def c(function, *arguments):
    def call():
        ctypes.set_errno(0)
        return function(*arguments), ctypes.get_errno()
    return call
class timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]
class pollfd(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]
class sembuf(ctypes.Structure):
    _fields_ = [("num", ctypes.c_ushort), ("op", ctypes.c_short), ("flg", ctypes.c_short)]
T = float(sys.argv[1])
ts = timespec(int(T), int((T % 1) * 1e9))
epfd = libc.epoll_create1(0)
events = ctypes.create_string_buffer(64)
mask = ctypes.create_string_buffer(128); libc.sigaddset(mask, 10)
empty = ctypes.create_string_buffer(128)
sem = libc.semget(0, 1, 0o1600)
op = sembuf(0, -1, 0)
word = ctypes.c_int(0)
buf = ctypes.create_string_buffer(8)
calls = {
    "nanosleep": c(libc.nanosleep, ctypes.byref(ts), None),
    "clock_nanosleep": c(libc.clock_nanosleep, 1, 0, ctypes.byref(ts), None),
    "poll": c(libc.poll, ctypes.byref(pollfd(silent, 1, 0)), 1, int(T * 1000)),
    "ppoll": c(libc.ppoll, ctypes.byref(pollfd(silent, 1, 0)), 1, ctypes.byref(ts), None),
    "select": c(libc.select, 0, None, None, None, ctypes.byref(timespec(int(T), int((T % 1) * 1e6)))),
    "futex": c(libc.syscall, 202, ctypes.byref(word), 0, 0, ctypes.byref(ts), None, 0),
    "read": c(libc.read, r, buf, 1),
    "wait4": c(libc.wait4, -1, None, 0, None),
}
# These return EINTR on any stop, and start their whole time again when wound back.
restarted = {
    "epoll_wait": c(libc.epoll_wait, epfd, events, 4, int(T * 1000)),
    "epoll_pwait": c(libc.epoll_pwait, epfd, events, 4, int(T * 1000), empty),
    "sigtimedwait": c(libc.sigtimedwait, mask, None, ctypes.byref(ts)),
    "semtimedop": c(libc.semtimedop, sem, ctypes.byref(op), 1, ctypes.byref(ts)),
}
signal.pthread_sigmask(signal.SIG_BLOCK, [10])
if os.fork() == 0:
    time.sleep(T)
    os._exit(0)
threads = [threading.Thread(target=timed, args=(n, T, f)) for n, f in {**calls, **restarted}.items()]
for t in threads: t.start()
os.write(1, b"ready\n")
time.sleep(T + 1)      # well after the timeouts, also of a thread that began late
os.write(w, b"x")
for t in threads: t.join()
libc.semctl(sem, 0, 0)
for name, seconds, took, rc, error in results:
    os.write(1, f"{name} {took:.3f} {rc} {error} {'r' if name in restarted else '-'}\n".encode())
"""

T = 1.2
EXPECTED = {"futex": ("-1", "110"), "sigtimedwait": ("-1", "11"), "semtimedop": ("-1", "11"), "read": ("1", "0")}


def is_not_seen():
    child = start(BLOCKED, str(T))
    began = time.monotonic()
    runs = 0
    while runs < 20:
        oracle(child.pid, "--no-memory")
        runs += 1
    spent = time.monotonic() - began
    out, _ = child.communicate(timeout=60)
    lines = out.decode().splitlines()
    check("all calls came back", len(lines) == 12, lines)
    for line in lines:
        name, took, rc, error, restarted = line.split()
        want = EXPECTED.get(name, ("0", "0"))
        if name == "wait4":
            good = int(rc) > 0
        else:
            good = (rc, error) == want
        check(f"{name} ends as it would have", good, line)
        # Those have the whole time again from the last stop on, and these what was left of it after each.
        stretched = restarted == "r" or name in ("ppoll", "select")
        latest = T + 1 + (spent if stretched else 0) + 1
        earliest = 0 if name == "wait4" else T - 0.01      # the child it waits for may have begun long before it
        check(f"{name} ends in time", earliest <= float(took) <= latest, f"{line}, {spent:.2f} s of {runs} runs")


STOPPED = r"""
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
pid = os.fork()
if pid == 0:
    time.sleep(1000)
os.kill(pid, signal.SIGSTOP)
os.waitid(os.P_PID, pid, os.WSTOPPED)
os.write(1, b"ready\n")
time.sleep(0.5)
# A stop or a continuation that the oracle caused would be waiting here.
seen = os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WCONTINUED | os.WEXITED | os.WNOHANG)
os.write(1, b"nothing\n" if seen is None else repr(seen).encode() + b"\n")
os.kill(pid, signal.SIGCONT)
seen = os.waitid(os.P_PID, pid, os.WCONTINUED)
os.write(1, b"continued\n" if seen and seen.si_code == os.CLD_CONTINUED else b"lost\n")
os.kill(pid, signal.SIGKILL)
"""


def leaves_stops_alone():
    child = start(STOPPED)
    for _ in range(5):
        oracle(child.pid)
    out, _ = child.communicate(timeout=20)
    check("a stopped child stays stopped, and its parent hears nothing", out == b"nothing\ncontinued\n", out)


FILTERED = r"""
import ctypes, os, struct, time
libc = ctypes.CDLL(None, use_errno=True)
class prog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
# Kills for rt_sigaction and getitimer, which the oracle asks inside
code = [(0x20, 0, 0, 0), (0x15, 2, 0, 13), (0x15, 1, 0, 36), (0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x80000000)]
text = b"".join(struct.pack("HBBI", *i) for i in code)
assert libc.prctl(38, 1, 0, 0, 0) == 0
os.write(1, b"ready\n")
assert libc.prctl(22, 2, ctypes.byref(prog(len(code), text)), 0, 0) == 0
time.sleep(2)
os.write(1, b"alive\n")
"""


def passes_filters():
    child = start(FILTERED)
    time.sleep(0.1)
    first = oracle(child.pid)
    second = oracle(child.pid)
    out, _ = child.communicate(timeout=20)
    check("a seccomp filter is shown", any("seccomp filter 0: 5 instructions" in line for line in first), first[:0])
    check("and equally again", first == second, difference(first, second)[:10])
    check("and does its program no harm", out == b"alive\n", out)


def tells_nobody():
    run = subprocess.run([ORACLE, "999999999"], capture_output=True, text=True)
    check("a process that is not there is an error", run.returncode == 1 and "no process" in run.stderr)
    check("wrong usage is 2", subprocess.run([ORACLE], capture_output=True).returncode == 2)


def main():
    if os.geteuid():
        print("skipped: asking other processes needs root")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as directory:
        repeats_itself(directory)
        sees_changes(directory)
    draws_nothing()
    is_not_seen()
    leaves_stops_alone()
    passes_filters()
    tells_nobody()
    if failures:
        print(len(failures), "failed:", ", ".join(failures))
        sys.exit(1)


main()
