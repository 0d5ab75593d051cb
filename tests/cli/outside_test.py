# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory and files without a name that a tree shares with a process outside of it: refused by name; the tree goes on"""
import mmap
import os
import sys
import time

import harness
from harness import alive, check, check_in, scratch, spore, wait_for


def fork_tree(mapping, keep):
    """A child in a session of its own, the tree, which counts in the mapping if it can; its pid."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        os.read(ready, 1)       # its end: all but `keep` is closed
        os.close(ready)
        return pid
    os.setsid()
    null = os.open('/dev/null', os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    keep = [fd for fd in keep if fd > 2]
    at = 3
    for fd in sorted(keep):
        os.closerange(at, fd)
        at = fd + 1
    os.closerange(at, 1024)
    while True:
        if mapping:
            mapping[0] = (mapping[0] + 1) % 256
        time.sleep(0.01)


def refused(pid, d, *words):
    r = spore('checkpoint', pid, f'{d}/image')
    check(r.returncode, 3, r.stderr)
    for word in words + (f'process {os.getpid()}, which is outside the tree', 'name a tree that holds that process too'):
        check_in(word, r.stderr)
    check(os.path.exists(f'{d}/image'), False, 'nothing is left')
    check(alive(pid), True)


def end(pid):
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def nameless(d):
    fd = os.open(f'{d}/nameless', os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(fd, 4096)
    return fd


def test_shared_anonymous():
    with scratch() as d:
        shared = mmap.mmap(-1, 4096)
        pid = fork_tree(shared, ())
        refused(pid, d, 'mapping ', '(/dev/zero)', 'maps it too')
        before = shared[0]
        wait_for(lambda: shared[0] != before, what='tree that goes on in the memory')
        shared.close()
        r = spore('checkpoint', pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        end(pid)


def test_memfd():
    with scratch() as d:
        fd = os.memfd_create('both')
        pid = fork_tree(None, (fd,))
        refused(pid, d, f'fd {fd} (/memfd:both', 'has it open too')
        os.close(fd)
        r = spore('checkpoint', pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        end(pid)


def test_unlinked_file_mapped():
    with scratch() as d:
        fd = nameless(d)
        os.unlink(f'{d}/nameless')
        shared = mmap.mmap(fd, 4096)
        os.close(fd)
        pid = fork_tree(shared, ())
        refused(pid, d, 'mapping ', 'nameless', 'it too')
        shared.close()
        end(pid)


def test_only_the_outside_writes():
    with scratch() as d:
        fd = nameless(d)
        reader = os.open(f'{d}/nameless', os.O_RDONLY)
        os.unlink(f'{d}/nameless')
        pid = fork_tree(None, (reader,))
        refused(pid, d, f'fd {reader} ', 'has it open too')
        os.close(fd)
        end(pid)


def test_nobody_writes():
    with scratch() as d:
        os.close(nameless(d))
        reader = os.open(f'{d}/nameless', os.O_RDONLY)
        os.unlink(f'{d}/nameless')
        pid = fork_tree(None, (reader,))
        r = spore('checkpoint', pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        os.close(reader)
        end(pid)


if __name__ == '__main__':
    harness.main(sys.modules[__name__])
