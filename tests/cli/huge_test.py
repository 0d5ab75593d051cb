# SPDX-License-Identifier: LGPL-2.1-or-later
"""Huge pages of hugetlbfs: with a pool for them, and with one that is too small: refused by name before anything is built"""
import contextlib
import os
import signal
import subprocess
import sys

import harness
from harness import Container, Skip, check, check_in, scratch, spore, wait_for

POOL = '/proc/sys/vm/nr_hugepages'
PAGE = 2 << 20
MAKERS = os.environ.get('MAKERS')

PROGRAM = f"""
import mmap, signal, sys
flags = {{'private': mmap.MAP_PRIVATE, 'shared': mmap.MAP_SHARED}}[sys.argv[2]]
m = mmap.mmap(-1, 4 * {PAGE}, flags=flags | mmap.MAP_ANONYMOUS | 0x40000)  # MAP_HUGETLB
m[5:9] = b'here'
open(sys.argv[1] + '/ready', 'w').close()
def tell(*_):
    with open(sys.argv[1] + '/told', 'wb') as f:
        f.write(m[5:9])
    open(sys.argv[1] + '/done', 'w').close()
signal.signal(signal.SIGUSR1, tell)
while True:
    signal.pause()
"""


def pool(pages):
    with open(POOL, 'w', encoding='ascii') as f:
        f.write(str(pages))
    with open(POOL, encoding='ascii') as f:
        return int(f.read())


@contextlib.contextmanager
def more_pages(n):
    if not os.access(POOL, os.W_OK):
        raise Skip(f'{POOL} cannot be written')
    with open(POOL, encoding='ascii') as f:
        before = int(f.read())
    try:
        with open('/proc/meminfo', encoding='ascii') as f:
            if 'Hugepagesize:       2048 kB' not in f.read():
                raise Skip('huge pages are not of 2 MiB')
        if pool(before + n) != before + n:
            raise Skip(f'no {n} huge pages can be set aside')
        yield before
    finally:
        pool(before)


def too_few(how):
    with scratch() as d, more_pages(8) as before:
        with Container('python3', '-c', PROGRAM, d, how) as container:
            wait_for(lambda: os.path.exists(f'{d}/ready'), what='program')
            r = spore('checkpoint', '--kill', container.pid, f'{d}/image')
            check(r.returncode, 0, r.stderr)
        pool(before + 3)
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 3, r.stderr)
        check_in('huge pages: it takes 4 of 2048 KiB, and there are', r.stderr)
        check_in('/proc/sys/vm/nr_hugepages', r.stderr)
        check(r.stderr.count('it takes 4'), 1)
        pool(before + 4)
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        pid = int(r.stdout)
        for p in (pid, *harness.children(pid)):
            with open(f'/proc/{p}/cmdline', encoding='ascii') as f:
                if 'MAP_HUGETLB' in f.read():
                    os.kill(p, signal.SIGUSR1)
        wait_for(lambda: os.path.exists(f'{d}/done'), what='answer')
        with open(f'{d}/told', 'rb') as f:
            check(f.read(), b'here')
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not harness.alive(pid), what='end')


def test_too_few_for_private_ones():
    too_few('private')


def test_too_few_for_shared_ones():
    too_few('shared')


def test_makers():
    """tests/state/huge.c, with a pool."""
    if not MAKERS:
        raise Skip('$MAKERS is not set')
    run = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../state/run.py')
    with more_pages(24):
        for mode in ('host', 'run'):
            r = subprocess.run([run, '--makers', MAKERS, '--spore', harness.SPORE, '--mode', mode, '--group', 'huge'],
                               capture_output=True, text=True)
            check(r.returncode, 0, r.stdout + r.stderr)
            check_in('0 failed, 0 skipped', r.stdout)


if __name__ == '__main__':
    harness.main(sys.modules[__name__])
