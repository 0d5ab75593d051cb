# SPDX-License-Identifier: LGPL-2.1-or-later
"""System V and POSIX IPC in the host's namespace, where objects outlive the processes of a tree"""
import ctypes
import os
import sys

import harness
from harness import check, check_in, scratch, spore, wait_for
from save_test import end, kill_restored, outside

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
IPC_CREAT, IPC_EXCL, IPC_RMID = 0o1000, 0o2000, 0
KEY = 0x53500000 | os.getpid() & 0xffff

# What PostgreSQL does with its small segment: made with a key, attached, inherited by children. It adds to a number in it when told to.
SERVER = """
import ctypes, os, signal, sys, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
key = int(sys.argv[2])
segment = libc.shmget(key, 56, 0o3600)
at = libc.shmat(segment, None, 0)
number = ctypes.cast(at, ctypes.POINTER(ctypes.c_long))
sems = libc.semget(key, 2, 0o3600)
op = (ctypes.c_short * 3)(1, 5, 0o10000)
libc.semop(sems, op, 1)
queue = libc.msgget(key, 0o3600)
libc.msgsnd(queue, ctypes.create_string_buffer(bytes([1] + [0] * 7) + b"waiting"), 7, 0)
number[0] = 1000
def add(*ignored):
    number[0] += 1
    open(sys.argv[1] + "-" + str(number[0]), "w").close()
signal.signal(signal.SIGUSR1, add)
if os.fork() == 0:
    libc.prctl(1, 9, 0, 0, 0)
    time.sleep(1000)
open(sys.argv[1], "w").close()
while True:
    time.sleep(1000)
"""


def remove_all():
    for call, more, control in ((LIBC.shmget, (0, 0), LIBC.shmctl), (LIBC.msgget, (0,), LIBC.msgctl)):
        if call(KEY, *more) >= 0:
            control(call(KEY, *more), IPC_RMID, None)
    if LIBC.semget(KEY, 0, 0) >= 0:
        LIBC.semctl(LIBC.semget(KEY, 0, 0), 0, IPC_RMID)


def number():
    segment = LIBC.shmget(KEY, 0, 0)
    at = LIBC.shmat(segment, None, 0o10000)
    value = ctypes.cast(at, ctypes.POINTER(ctypes.c_long))[0]
    LIBC.shmdt(ctypes.c_void_p(at))
    return value


def semaphore(num):
    return LIBC.semctl(LIBC.semget(KEY, 0, 0), num, 12)  # GETVAL


def server(d):
    p = outside(sys.executable, '-c', SERVER, f'{d}/ready', str(KEY))
    wait_for(lambda: os.path.exists(f'{d}/ready'))
    return p


def saved(d):
    p = server(d)
    r = spore('checkpoint', p.pid, f'{d}/image')
    check(r.returncode, 0, r.stderr)
    os.kill(p.pid, 10)  # it goes on: the image is older than what is there
    wait_for(lambda: os.path.exists(f'{d}/ready-1001'))
    end(p)


def restored(d):
    r = spore('restore', '-d', f'{d}/image')
    check(r.returncode, 0, r.stderr)
    return int(r.stdout.split()[-1])


def refused(d, *says):
    r = spore('restore', '-d', f'{d}/image')
    check(r.returncode, 3, r.stderr)
    for text in says:
        check_in(text, r.stderr)


def test_twenty_times():
    with scratch() as d:
        saved(d)
        ids = LIBC.shmget(KEY, 0, 0), LIBC.semget(KEY, 0, 0), LIBC.msgget(KEY, 0)
        check(number(), 1001)
        for i in range(20):
            pid = restored(d)
            check((LIBC.shmget(KEY, 0, 0), LIBC.semget(KEY, 0, 0), LIBC.msgget(KEY, 0)), ids)
            check(number(), 1000)
            check(semaphore(1), 5)
            os.unlink(f'{d}/ready-1001')
            os.kill(pid, 10)
            wait_for(lambda: os.path.exists(f'{d}/ready-1001'))
            kill_restored(pid)
            check(semaphore(1), 0)  # adjusted at its exit
        remove_all()


def test_made_anew():
    """All is gone, as after a boot."""
    with scratch() as d:
        saved(d)
        ids = LIBC.shmget(KEY, 0, 0), LIBC.semget(KEY, 0, 0), LIBC.msgget(KEY, 0)
        remove_all()
        pid = restored(d)
        check((LIBC.shmget(KEY, 0, 0), LIBC.semget(KEY, 0, 0), LIBC.msgget(KEY, 0)), ids)
        check(number(), 1000)
        kill_restored(pid)
        remove_all()


def test_clash():
    with scratch() as d:
        saved(d)
        segment = LIBC.shmget(KEY, 0, 0)
        at = LIBC.shmat(segment, None, 0)
        refused(d, f'System V segment {segment}', 'it is in use: 1 attachments')
        LIBC.shmdt(ctypes.c_void_p(at))
        remove_all()
        other = LIBC.shmget(KEY, 56, IPC_CREAT | IPC_EXCL | 0o600)
        refused(d, f'System V segment {segment}', f'ipcrm -m {other}')
        check(LIBC.shmget(KEY, 0, 0), other)
        check(LIBC.semget(KEY, 0, 0), -1)
        remove_all()


def test_attached_outside():
    with scratch() as d:
        p = server(d)
        at = LIBC.shmat(LIBC.shmget(KEY, 0, 0), None, 0)
        r = spore('checkpoint', p.pid, f'{d}/image')
        check(r.returncode, 3, r.stderr)
        check_in('it has 3 attachments, of which 2 are the tree\'s', r.stderr)
        LIBC.shmdt(ctypes.c_void_p(at))
        end(p)
        remove_all()


def test_failed_restore_removes():
    """What it made goes, and what it found stays."""
    with scratch() as d:
        saved(d)
        segment = LIBC.shmget(KEY, 0, 0)
        LIBC.semctl(LIBC.semget(KEY, 0, 0), 0, IPC_RMID)
        LIBC.msgctl(LIBC.msgget(KEY, 0), IPC_RMID, None)
        damage(f'{d}/image')
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 1, r.stderr)
        check(LIBC.shmget(KEY, 0, 0), segment)
        check(LIBC.semget(KEY, 0, 0), -1)
        check(LIBC.msgget(KEY, 0), -1)
        remove_all()


def damage(image):
    """A byte of the last page file: it is found when the tree is being built."""
    name = max(n for n in os.listdir(image) if n.startswith('pages-') and n[6:].isdigit())
    with open(f'{image}/{name}', 'r+b') as f:
        f.seek(-1, os.SEEK_END)
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_END)
        f.write(bytes([byte ^ 1]))


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
