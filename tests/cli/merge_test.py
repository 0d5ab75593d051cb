# SPDX-License-Identifier: LGPL-2.1-or-later
"""spore merge: one image of a chain, equal to it, and nothing where it fails"""
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import harness
from harness import SPORE, alive, bury, check, scratch, spore, take_orphans, wait_for
from incremental_test import CHANGING, MIB, MOVING, PAGES, a_chain, hashes, needs_tracking, own, refused
from rounds import bring_back, end, end_restored, goes_on, is_right, save, start


def merge(directory, out, *options):
    r = spore('merge', '--json', *options, directory, out)
    check(r.returncode, 0, r.stderr)
    return json.loads(r.stdout)


def stop(p):
    os.kill(p.pid, signal.SIGSTOP)
    wait_for(lambda: open(f'/proc/{p.pid}/stat').read().rsplit(')', 1)[1].split()[0] == 'T')


def flip(path, at):
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 1]))


def largest_page_file(image):
    return max((f'{image}/{n}' for n in os.listdir(image) if n.startswith('pages-')), key=os.path.getsize)


def is_whole(image):
    r = spore('verify', image)
    check(r.returncode, 0, r.stderr)


def test_it_is_equal_to_the_chain():
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        save(p.pid, f'{d}/0', '--track')
        for i in range(1, 7):
            save(p.pid, f'{d}/{i}', parent=f'{d}/{i - 1}')
        stop(p)
        last = save(p.pid, f'{d}/7', parent=f'{d}/6')
        want = hashes(p.pid)
        end(p)
        merged = merge(f'{d}/7', f'{d}/one')
        check(merged['pages'], last['pages'] + last['unchanged'])
        check(merged['older'], last['unchanged'])
        check(os.path.getsize(f'{d}/one/memory.cbor') < os.path.getsize(f'{d}/7/memory.cbor'), True)
        pid = bring_back(f'{d}/7')
        check(hashes(pid), want)
        end_restored(pid)
        for i in range(8):
            shutil.rmtree(f'{d}/{i}')
        is_whole(f'{d}/one')
        check('ancestor.cbor' in os.listdir(f'{d}/one'), False)
        pid = bring_back(f'{d}/one')
        check(hashes(pid), want)
        os.kill(pid, signal.SIGCONT)
        goes_on(pid)
        end_restored(pid)


def test_mappings_that_come_and_go():
    p = start(MOVING, 5)
    with scratch() as d:
        save(p.pid, f'{d}/0', '--track')
        for i in range(1, 9):
            time.sleep(0.03)
            save(p.pid, f'{d}/{i}', parent=f'{d}/{i - 1}')
        end(p)
        for i in (4, 8):
            merge(f'{d}/{i}', f'{d}/one{i}')
        is_right(f'{d}/8')
        for i in range(9):
            shutil.rmtree(f'{d}/{i}')
        is_right(f'{d}/one4', f'{d}/one8')


def test_one_without_a_parent():
    p = start(CHANGING, 8, 10)
    with scratch() as d:
        saved = save(p.pid, f'{d}/0')
        end(p)
        os.mkdir(f'{d}/one', 0o700)
        merged = merge(f'{d}/0', f'{d}/one')
        check((merged['pages'], merged['older']), (saved['pages'], 0))
        again = merge(f'{d}/one', f'{d}/two')
        check(again['pages'], saved['pages'])
        shutil.rmtree(f'{d}/0')
        is_right(f'{d}/one', f'{d}/two')


def test_contents_that_no_file_has():
    """A memfd, a file without a name, what processes share since a fork."""
    with scratch() as d:
        p = own(d, '''
import hashlib
mem, gone = os.memfd_create('some'), os.open(f'{d}/gone', os.O_RDWR | os.O_CREAT)
os.unlink(f'{d}/gone')
for fd, n in (mem, 700), (gone, 300):
    os.pwrite(fd, os.urandom(n * 4096 + 5), 4096 * 11)
shared = mmap.mmap(-1, 1 << 20)
shared[:] = os.urandom(1 << 20)
own = bytearray(os.urandom(6 << 20))
def sums():
    return [hashlib.blake2b(x).digest() for x in (os.pread(mem, 1 << 24, 0), os.pread(gone, 1 << 24, 0), shared[:], own)]
want = sums()
pid = os.fork()
open(f'{d}/ready{pid == 0}', 'w').close()
while sums() == want:
    time.sleep(0.01)
    if pid and os.path.exists(f'{d}/answer'):
        os.rename(f'{d}/answer', f'{d}/answered')
    if not pid and os.path.exists(f'{d}/answer2'):
        os.rename(f'{d}/answer2', f'{d}/answered2')
''')
        wait_for(lambda: os.path.exists(f'{d}/readyTrue') and os.path.exists(f'{d}/readyFalse'))
        time.sleep(0.1)
        save(p.pid, f'{d}/0', '--track')
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        os.killpg(p.pid, 9)
        p.wait()
        bury()
        merge(f'{d}/1', f'{d}/one')
        shutil.rmtree(f'{d}/0')
        shutil.rmtree(f'{d}/1')
        pid = bring_back(f'{d}/one')
        for name in ('answer', 'answer2'):
            open(f'{d}/{name}', 'w').close()
        wait_for(lambda: os.path.exists(f'{d}/answered') and os.path.exists(f'{d}/answered2'), what='both processes')
        os.killpg(pid, 9)
        wait_for(lambda: not alive(pid))
        bury()


def test_some_of_them_compressed():
    """It is if the last one is."""
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        for i, options in enumerate([['--compress', '--track'], [], ['--compress'], []]):
            save(p.pid, f'{d}/{i}', *options, parent=f'{d}/{i - 1}' if i else None)
        end(p)
        for i in 2, 3:
            merge(f'{d}/{i}', f'{d}/one{i}')
        for i in range(4):
            shutil.rmtree(f'{d}/{i}')
        for i, compressed in (2, True), (3, False):
            is_whole(f'{d}/one{i}')
            check('compressed' in spore('inspect', f'{d}/one{i}').stdout.split('tree #')[0], compressed)
        is_right(f'{d}/one2', f'{d}/one3')


def test_as_a_parent_of_what_is_tracked():
    """Of what was not written since, nothing is read: a page that is wrong there is found when it is restored, and not before."""
    needs_tracking()
    p = start(CHANGING, MIB, 0)
    with scratch() as d:
        save(p.pid, f'{d}/0', '--track')
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        merge(f'{d}/1', f'{d}/one')
        merge(f'{d}/one', f'{d}/two')
        shutil.rmtree(f'{d}/0')
        shutil.rmtree(f'{d}/1')
        result = save(p.pid, f'{d}/2', parent=f'{d}/two')
        check(result['unchanged'] > PAGES / 2, True, result)
        is_right_beside(f'{d}/2')
        # The tracker is relative to that one now. Compared with, the wrong pages would be saved.
        merge(f'{d}/2', f'{d}/three')
        for i in range(1000):
            flip(largest_page_file(f'{d}/three'), 4096 * (1000 + i) + 5)
        result = save(p.pid, f'{d}/3', parent=f'{d}/three')
        check((result['tracked'], result['pages'] < 500), (1, True), result)
        end(p)
        refused('restore', f'{d}/3', says='do not have the checksum')


def is_right_beside(image):
    """While its pid is taken."""
    pid = bring_back(image)
    goes_on(pid)
    end_restored(pid)


def test_what_was_made_against_the_other_needs_it():
    with scratch() as d:
        a_chain(d, 4)
        merge(f'{d}/1', f'{d}/one')
        is_whole(f'{d}/3')
        shutil.rmtree(f'{d}/1')
        refused('verify', f'{d}/3', says='the older image that some of its pages lie in')
        is_whole(f'{d}/one')


def nothing_is_left(out):
    check(os.path.exists(out), False, os.listdir(out) if os.path.exists(out) else '')


def test_a_damaged_page_of_an_ancestor():
    with scratch() as d:
        a_chain(d)
        name = largest_page_file(f'{d}/0')
        flip(name, 4096 * 1000 + 5)
        refused('merge', f'{d}/2', f'{d}/one', says='do not have the checksum')
        nothing_is_left(f'{d}/one')
        os.mkdir(f'{d}/one')
        refused('merge', f'{d}/2', f'{d}/one', says=os.path.basename(name))
        check(os.listdir(f'{d}/one'), [])
        # An image that stands there is not given up for one that is damaged.
        flip(name, 4096 * 1000 + 5)
        merge(f'{d}/1', f'{d}/one')
        flip(name, 4096 * 1000 + 5)
        refused('merge', '--force', f'{d}/2', f'{d}/one', says='do not have the checksum')
        is_whole(f'{d}/one')
        is_right(f'{d}/one')


def test_a_damaged_record():
    with scratch() as d:
        a_chain(d)
        for name in ('memory.cbor', 'thread.cbor', 'manifest'):
            flip(f'{d}/2/{name}', 30)
            refused('merge', f'{d}/2', f'{d}/one', says=name)
            flip(f'{d}/2/{name}', 30)
            nothing_is_left(f'{d}/one')
        os.rename(f'{d}/0', f'{d}/.away')
        refused('merge', f'{d}/2', f'{d}/one', says='the older image that some of its pages lie in')
        nothing_is_left(f'{d}/one')


def test_where_it_may_not_be():
    with scratch() as d:
        a_chain(d)
        for i in range(3):
            refused('merge', f'{d}/2', f'{d}/{i}', says='holds an image already')
            refused('merge', '--force', f'{d}/2', f'{d}/{i}', says='one that it is made of')
        os.mkdir(f'{d}/full')
        open(f'{d}/full/other', 'w').close()
        refused('merge', '--force', f'{d}/2', f'{d}/full', says='holds no image')
        refused('merge', f'{d}/none', f'{d}/one', says='none')
        refused('merge', f'{d}/full', f'{d}/one', says='holds no image')
        nothing_is_left(f'{d}/one')
        check(spore('merge', f'{d}/2').returncode, 2)
        merge(f'{d}/1', f'{d}/one')
        merge(f'{d}/2', f'{d}/one', '--force')
        is_right(f'{d}/2', f'{d}/one')


def test_a_full_disk():
    libc = ctypes.CDLL(None, use_errno=True)
    with scratch() as d:
        a_chain(d)
        os.mkdir(f'{d}/small')
        check(libc.mount(b'none', f'{d}/small'.encode(), b'tmpfs', 0, b'size=5m'), 0)
        try:
            refused('merge', f'{d}/2', f'{d}/small/one', says='No space left')
            check(os.listdir(f'{d}/small'), [])
        finally:
            libc.umount2(f'{d}/small'.encode(), 2)
        is_right(f'{d}/2')


def test_killed():
    """Whoever is: there is a whole image, or nothing."""
    p = start(CHANGING, 64, 100)
    with scratch() as d:
        save(p.pid, f'{d}/0')
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        end(p)
        undone = 0
        for i in range(12):
            out = f'{d}/one'
            m = subprocess.Popen([SPORE, 'merge', f'{d}/1', out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            wait_for(lambda: os.path.exists(f'{out}/head.cbor') or m.poll() is not None)
            time.sleep(0.004 * i)
            m.send_signal((signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[i % 3])
            m.wait()
            wait_for(lambda: not os.path.exists(out) or os.path.exists(f'{out}/manifest'), what=f'the removal of {os.listdir(d)}')
            if os.path.exists(out):
                is_whole(out)
                shutil.rmtree(out)
            else:
                undone += 1
        check(undone > 0, True, 'none was killed in the midst')


def test_how_much_memory_it_needs():
    """A part of what it copies."""
    p = start(CHANGING, 256, 100)
    with scratch() as d:
        save(p.pid, f'{d}/0')
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        end(p)
        with open(f'{d}/keeper', 'w') as f:
            f.write(f"""#!{sys.executable}
import os, resource, sys
pid = os.fork()
if not pid:
    os.execv({os.environ.get('SPORE_KEEPER') or os.path.join(os.path.dirname(SPORE), 'spore-keeper')!r}, sys.argv)
os.waitpid(pid, 0)
open({d!r} + '/peak.new', 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
os.rename({d!r} + '/peak.new', {d!r} + '/peak')
""")
        os.chmod(f'{d}/keeper', 0o755)
        r = spore('merge', f'{d}/1', f'{d}/one', env={**os.environ, 'SPORE_KEEPER': f'{d}/keeper'})
        check(r.returncode, 0, r.stderr)
        wait_for(lambda: os.path.exists(f'{d}/peak'))
        peak = int(open(f'{d}/peak').read())
        with open(SPORE, 'rb') as f:
            sanitized = b'__asan_init' in f.read()
        if not sanitized:
            check(peak < 96 << 10, True, f'{peak} KiB')
        is_whole(f'{d}/one')


if __name__ == '__main__':
    take_orphans()
    harness.main(sys.modules[__name__])
