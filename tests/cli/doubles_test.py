# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two files without a name that their file system shows with one device and inode: refused by name, never taken for one; the tree goes on"""
import os
import signal
import sys

import harness
import tiny_fuse
from harness import alive, check, check_in, scratch, spore

BLIND = os.environ.get('BLIND')


def tree(*paths):
    """A process of its own session that has these open and unlinks them."""
    ready, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.setsid()
        fds = [os.open(path, os.O_RDONLY) for path in paths]
        for path in set(paths):
            os.unlink(path)
        null = os.open('/dev/null', os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.close(tell)
        os.close(ready)
        kept = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
        os.closerange(3, 100)
        os.closerange(100 + len(kept), 1024)
        while True:
            signal.pause()
    os.close(tell)
    os.read(ready, 1)
    os.close(ready)
    return pid


def end(pid):
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def checkpoint(blind, pid, d):
    if not blind:
        return spore('checkpoint', pid, f'{d}/image')
    seen, harness.SPORE = harness.SPORE, BLIND
    try:
        return spore(seen, 'checkpoint', pid, f'{d}/image')
    finally:
        harness.SPORE = seen


def both_ways(names, judge):
    for blind in (False, True) if BLIND else (False,):
        with scratch() as d:
            os.mkdir(f'{d}/on')
            with tiny_fuse.mounted(f'{d}/on'):
                pid = tree(*(f'{d}/on/{name}' for name in names))
                try:
                    judge(checkpoint(blind, pid, d), pid, d)
                finally:
                    end(pid)


def test_two_of_one_number():
    def judge(r, pid, d):
        check(r.returncode, 3, r.stderr)
        check_in('another file that the tree has open shows the same device and inode number', r.stderr)
        check_in('/on/b (deleted)', r.stderr)
        check(os.path.exists(f'{d}/image'), False, 'nothing is left')
        check(alive(pid), True)
        with open(f'/proc/{pid}/fd/100', 'rb', 0) as a, open(f'/proc/{pid}/fd/101', 'rb', 0) as b:
            check((a.read(9), b.read(9)), (b'A\n', b'B\n'))
    both_ways(('a', 'b'), judge)


def test_one_opened_twice():
    def judge(r, pid, d):
        check(r.returncode, 0, r.stderr)
    both_ways(('a', 'a'), judge)


if __name__ == '__main__':
    harness.main(sys.modules[__name__])
