# SPDX-License-Identifier: LGPL-2.1-or-later
"""A number that is free when a restore is planned, and taken when the task is to be born. Every clone3 of the restore waits until the test has done that."""
import ctypes
import errno
import json
import os
import signal
import struct
import subprocess
import sys

import harness
from harness import SPORE, alive, bury, check, check_in, scratch, spore, wait_for
from moved_test import NOTE, end_moved

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../trials'))
from listener import Listener, memory_of, syscall  # noqa: E402

SYS_CLONE3 = 435
CLONE_NEWPID = 0x20000000

# A process with a child and a second thread, and a group whose leader is dead; says who they are.
PROGRAM = '''
import os, signal, threading
end, keep = os.pipe()
def child():
    pid = os.fork()
    if not pid:
        os.close(keep)
        os.read(end, 1)  # until the root has ended
        os._exit(0)
    return pid
middle, group, member = child(), child(), child()
os.setpgid(group, group)
os.setpgid(member, group)
os.kill(group, signal.SIGKILL)
os.waitpid(group, 0)
t = threading.Thread(target=threading.Event().wait)
t.start()
while True:
    with open("ask") as f:
        f.read()
    with open("answer", "w") as f:
        print(os.getpid(), middle, t.native_id, os.getpgid(member), member, file=f)
'''
ROOT, CHILD, THREAD, GROUP = range(4)


class Program:
    def __init__(self, d):
        self.d = d
        for name in ('ask', 'answer'):
            os.mkfifo(f'{d}/{name}')
        self.process = subprocess.Popen([sys.executable, '-c', PROGRAM], cwd=d, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True)
        self.numbers = self.ask()

    def ask(self):
        with open(f'{self.d}/ask', 'w') as f:
            f.write('who')
        with open(f'{self.d}/answer') as f:
            return [int(w) for w in f.read().split()]

    def save(self):
        r = spore('checkpoint', '--kill', self.process.pid, f'{self.d}/image')
        self.process.kill()
        self.process.wait()
        check(r.returncode, 0, r.stderr)
        wait_for(lambda: bury() or not any(os.path.exists(f'/proc/{n}') for n in self.numbers), what='the end of what was saved')


def process_with(number):
    """A process of the test's that has the number; it waits to be killed."""
    cell = ctypes.c_int32(number)
    args = struct.pack('<10Q', 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(cell), 1)
    pid = syscall(SYS_CLONE3, ctypes.create_string_buffer(args, len(args)), len(args))
    if pid == 0:
        while True:
            signal.pause()
    return pid


class Racer(Listener):
    """Takes the number just before its first birth; a dead holder is reaped at the third try."""

    linger = 0

    def __init__(self, program, number, dead=False, no_namespace=False):
        self.number, self.dead, self.no_namespace, self.holder, self.tries = number, dead, no_namespace, None, 0
        super().__init__([SYS_CLONE3], [SPORE, 'restore', '-d', '--json', f'{program.d}/image'], f'{program.d}/log')
        self.told = [json.loads(line) for line in self.output.splitlines() if line.startswith('{')]

    def wanted(self, pid, args):
        try:
            fields = struct.unpack('<10Q', memory_of(pid, args[0], 80))
            if fields[0] & CLONE_NEWPID:
                return 'namespace'
            return struct.unpack('<i', memory_of(pid, fields[8], 4))[0] if fields[8] and fields[9] == 1 else None
        except (OSError, struct.error):
            return None

    def answer(self, pid, nr, args):
        wanted = self.wanted(pid, args)
        if wanted == 'namespace' and self.no_namespace:
            return errno.ENOSPC
        if wanted != self.number or self.is_elsewhere(pid):
            return 0
        self.tries += 1
        if self.tries == 1:
            self.holder = process_with(self.number)
            if self.dead:
                os.kill(self.holder, signal.SIGKILL)
                os.waitid(os.P_PID, self.holder, os.WEXITED | os.WNOWAIT)
        elif self.dead and self.tries == 3:
            self.end_holder()
        return 0

    @staticmethod
    def is_elsewhere(pid):
        return os.readlink(f'/proc/{pid}/ns/pid') != os.readlink('/proc/self/ns/pid')

    def end_holder(self):
        if self.holder:
            os.kill(self.holder, signal.SIGKILL)
            os.waitpid(self.holder, 0)
        self.holder = None


def restored(which, **how):
    d = scratch()
    program = Program(d.name)
    program.save()
    racer = Racer(program, program.numbers[which], **how)
    racer.scratch = d   # removed with it
    return racer, program


def test_taken_for_good_it_moves():
    for which in (ROOT, CHILD, THREAD, GROUP):
        racer, program = restored(which)
        check(racer.status, 0, racer.output)
        check(racer.tries, 1, 'a number that is taken for good is not asked for again')
        check(racer.told[-1]['new_pid_namespace'], True)
        check_in(f'{NOTE}: {racer.number} is taken here (python3', racer.output)
        check(len(racer.told[-1]['problems']), 1, racer.output)
        check(program.ask(), program.numbers)
        racer.end_holder()
        pid = racer.told[-1]['pid']
        # Nothing is left of the first attempt.
        check([n for n in program.numbers if os.path.exists(f'/proc/{n}') and not bury() and alive(n)], [])
        end_moved(pid)


def test_held_by_the_dead_it_waits():
    for which in (ROOT, CHILD, THREAD, GROUP):
        racer, program = restored(which, dead=True)
        check(racer.status, 0, racer.output)
        check(racer.tries > 2, True, 'it was asked for again')
        check(racer.told[-1]['new_pid_namespace'], False, racer.output)
        check(NOTE in racer.output, False, racer.output)
        check(racer.told[-1]['pid'], program.numbers[ROOT])
        check(program.ask(), program.numbers)
        os.kill(program.numbers[ROOT], signal.SIGKILL)
        wait_for(lambda: bury() or not any(os.path.exists(f'/proc/{n}') for n in program.numbers), what='its end')


def test_without_a_new_namespace_it_says_who():
    for which in (ROOT, CHILD):
        racer, program = restored(which, no_namespace=True)
        check(racer.status, 1, racer.output)
        check_in(f'{racer.number} is taken here (python3', racer.output)
        check_in('No space left on device', racer.output)
        racer.end_holder()
        wait_for(lambda: bury() or not any(os.path.exists(f'/proc/{n}') for n in program.numbers), what='the end of all that was built')


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
