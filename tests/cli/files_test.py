# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that have changed between a checkpoint and its restore"""
import os
import shutil
import subprocess
import sys

import harness
from harness import check, check_in, scratch, spore, wait_for
from save_test import end, kill_restored, outside

MAPS = """
import mmap, os, sys, time
f = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(f, 0, prot=mmap.PROT_READ)
os.close(f)
open(sys.argv[2], "w").close()
time.sleep(1000)
"""
OPENS = """
import os, sys, time
f = os.open(sys.argv[1], int(sys.argv[3]))
open(sys.argv[2], "w").close()
time.sleep(1000)
"""


def saved(d, *command):
    """A tree that says when it is ready, saved and killed."""
    p = outside(*command)
    wait_for(lambda: os.path.exists(f'{d}/ready'))
    r = spore('checkpoint', p.pid, f'{d}/image')
    check(r.returncode, 0, r.stderr)
    end(p)


def saved_program(d):
    """One that runs a copy of sleep, whose build has an id."""
    shutil.copy('/bin/sleep', f'{d}/prog')
    p = outside(f'{d}/prog', '1000')
    wait_for(lambda: os.readlink(f'/proc/{p.pid}/exe') == f'{d}/prog')
    r = spore('checkpoint', p.pid, f'{d}/image')
    check(r.returncode, 0, r.stderr)
    end(p)


def restores(d, says=''):
    r = spore('restore', '-d', f'{d}/image')
    check(r.returncode, 0, r.stderr)
    check_in(says, r.stderr)
    kill_restored(int(r.stdout.split()[-1]))


def refuses(d, *says):
    r = spore('restore', '-d', f'{d}/image')
    check(r.returncode, 3, r.stderr)
    for text in says:
        check_in(text, r.stderr)


def flip_last_byte(path):
    with open(path, 'r+b') as f:
        f.seek(-1, os.SEEK_END)
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_END)
        f.write(bytes([byte ^ 1]))


def data(d):
    with open(f'{d}/data', 'wb') as f:
        f.write(os.urandom(20000))
    return f'{d}/data'


def test_mapped_and_touched():
    """Another time, the same contents: no obstacle."""
    with scratch() as d:
        path = data(d)
        saved(d, sys.executable, '-c', MAPS, path, f'{d}/ready')
        os.utime(path, (1, 1))
        restores(d)


def test_mapped_and_changed():
    with scratch() as d:
        path = data(d)
        saved(d, sys.executable, '-c', MAPS, path, f'{d}/ready')
        flip_last_byte(path)
        refuses(d, path, 'contents may differ')


def test_same_build():
    """A program file that differs outside of what its build-id stands for: strip(1) and the like keep that."""
    with scratch() as d:
        saved_program(d)
        flip_last_byte(f'{d}/prog')
        restores(d)


def test_other_build():
    with scratch() as d:
        saved_program(d)
        size = os.path.getsize(f'{d}/prog')
        os.unlink(f'{d}/prog')
        shutil.copy('/bin/bash', f'{d}/prog')
        check(os.path.getsize(f'{d}/prog') > size, True)
        refuses(d, f'{d}/prog', 'another build')


def test_written_since():
    with scratch() as d:
        path = data(d)
        saved(d, sys.executable, '-c', OPENS, path, f'{d}/ready', str(os.O_RDWR))
        flip_last_byte(path)
        refuses(d, path)


def test_log_that_has_grown():
    with scratch() as d:
        path = data(d)
        saved(d, sys.executable, '-c', OPENS, path, f'{d}/ready', str(os.O_WRONLY | os.O_APPEND))
        with open(path, 'ab') as f:
            f.write(b'more')
        restores(d)


def test_read_and_changed():
    with scratch() as d:
        path = data(d)
        saved(d, sys.executable, '-c', OPENS, path, f'{d}/ready', str(os.O_RDONLY))
        flip_last_byte(path)
        restores(d, 'modified since')


def holders(link):
    """Processes whose standard input it is."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            if os.readlink(f'/proc/{pid}/fd/0') == link and os.readlink(f'/proc/{pid}/exe').endswith('/sleep'):
                found.append(int(pid))
        except OSError:
            pass
    return found


def test_namespace_of_the_host():
    """A container whose standard input is a namespace that is not its own."""
    with scratch() as d, open('/proc/self/ns/uts') as ns:
        link = os.readlink('/proc/self/ns/uts')
        p = subprocess.Popen([harness.SPORE, 'run', '--no-init', '--', 'sleep', '1000'], stdin=ns, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        pid, = wait_for(lambda: holders(link))
        r = spore('checkpoint', pid, f'{d}/image')
        os.kill(pid, 9)
        p.wait()
        check(r.returncode, 0, r.stderr)
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        pid = int(r.stdout.split()[-1])
        check(os.readlink(f'/proc/{pid}/fd/0'), link, 'after the restore')
        kill_restored(pid)


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
