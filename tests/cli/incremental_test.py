# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoints against an older image: what changed is saved, what did not is left to that, and what tells the two apart is never believed too much"""
import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import harness
from harness import Container, Skip, alive, bury, check, check_in, scratch, spore, take_orphans, wait_for
from rounds import bring_back, end, end_restored, goes_on, is_right, rounds, save, start

CHANGING, MOVING, ALIKE, PINNING = (os.environ[name] for name in ('CHANGING', 'MOVING', 'ALIKE', 'PINNING'))
MIB = 24
PAGES = MIB << 8


def is_tracked(pid):
    with open(f'/proc/{pid}/smaps') as f:
        return any(line.startswith('VmFlags:') and ' uw' in line for line in f)


def holds(keeper, pid):
    for fd in os.listdir(f'/proc/{keeper}/fdinfo'):
        with open(f'/proc/{keeper}/fdinfo/{fd}') as f:
            if f'Pid:\t{pid}\n' in f.read():
                return True
    return False


def keeper_of(pid):
    for k in filter(str.isdigit, os.listdir('/proc')):
        try:
            if open(f'/proc/{k}/comm').read() == 'spore-keeper\n' and holds(k, pid):
                return int(k)
        except OSError:
            pass
    raise AssertionError(f'nobody keeps {pid}')


def needs_tracking():
    """PAGEMAP_SCAN over asynchronous write protection: Linux 6.7, and a kernel whose memory can be looked at."""
    p = start(CHANGING, 8, 1)
    with scratch() as d:
        tracked = save(p.pid, f'{d}/image', '--track')['tracked']
    end(p)
    if not tracked:
        raise Skip('processes cannot be tracked here')


def test_a_chain():
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        save(p.pid, f'{d}/0', '--track')
        for i in range(1, 8):
            result = save(p.pid, f'{d}/{i}', parent=f'{d}/{i - 1}')
            check(result['pages'] < PAGES / 4, True, result)
            check(result['pages'] + result['unchanged'] >= PAGES, True, result)
            goes_on(p.pid)
        end(p)
        is_right(f'{d}/7', f'{d}/0', f'{d}/3')
        r = spore('verify', f'{d}/7')
        check(r.returncode, 0, r.stderr)


def hashes(pid):
    """Of memory that is its own."""
    found = []
    with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as mem:
        for line in maps:
            area, prot, _, _, _, *name = line.split()
            at, to = (int(x, 16) for x in area.split('-'))
            if 'p' not in prot or 'w' not in prot or (to - at < 1 << 20 and not name):
                continue  # the kernel writes to what a thread has of its own (rseq)
            mem.seek(at)
            found.append((at, mem.read(to - at)))
    joined = hashlib.blake2b()
    for _, data in sorted(found):
        joined.update(data)
    return joined.hexdigest()


def test_it_is_equal_to_the_living():
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        save(p.pid, f'{d}/0', '--track')
        for i in range(1, 6):
            save(p.pid, f'{d}/{i}', parent=f'{d}/{i - 1}')
        os.kill(p.pid, signal.SIGSTOP)
        wait_for(lambda: open(f'/proc/{p.pid}/stat').read().rsplit(')', 1)[1].split()[0] == 'T')
        save(p.pid, f'{d}/6', parent=f'{d}/5')
        want = hashes(p.pid)
        end(p)
        pid = bring_back(f'{d}/6')
        check(hashes(pid), want)
        os.kill(pid, signal.SIGCONT)
        goes_on(pid)
        end_restored(pid)


def test_mappings_that_come_and_go():
    needs_tracking()
    for seed in range(1, 4):
        p = start(MOVING, seed)
        with scratch() as d:
            check(save(p.pid, f'{d}/0', '--track')['tracked'], 1)
            for i in range(1, 13):
                time.sleep(0.03)
                save(p.pid, f'{d}/{i}', parent=f'{d}/{i - 1}')
            goes_on(p.pid)
            end(p)
            is_right(*(f'{d}/{i}' for i in (1, 6, 11, 12)))


def test_small_processes_beside_large_ones():
    """What is read in the stop is compared itself, and not what another process had, which is saved by the same worker"""
    p = start(ALIKE)
    with scratch() as d:
        save(p.pid, f'{d}/0', '--track')
        for i in range(1, 4):
            os.kill(p.pid, signal.SIGUSR1)
            time.sleep(0.2)
            save(p.pid, f'{d}/{i}', parent=f'{d}/{i - 1}')
        goes_on(p.pid)
        end(p)
        is_right(*(f'{d}/{i}' for i in range(4)))


def test_without_a_tracker_it_is_compared():
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        check(save(p.pid, f'{d}/0')['tracked'], 0)
        check(is_tracked(p.pid), False)
        result = save(p.pid, f'{d}/1', parent=f'{d}/0')
        check(result['unchanged'] > PAGES / 2, True, result)
        # The tracker is relative to that one: against an older one pages are compared again.
        save(p.pid, f'{d}/2', parent=f'{d}/1')
        result = save(p.pid, f'{d}/3', parent=f'{d}/0')
        check(result['unchanged'] > PAGES / 4, True, result)
        end(p)
        is_right(f'{d}/1', f'{d}/2', f'{d}/3')
        shutil.rmtree(f'{d}/1')
        is_right(f'{d}/3')


def test_an_image_of_another_tree():
    p, q = start(CHANGING, MIB, 10), start(CHANGING, MIB // 2, 0)
    with scratch() as d:
        save(q.pid, f'{d}/other', '--track')
        save(p.pid, f'{d}/image', parent=f'{d}/other')
        end(p)
        end(q)
        is_right(f'{d}/image', f'{d}/other')


def test_a_tracker_that_was_lost():
    needs_tracking()
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        save(p.pid, f'{d}/0', '--track')
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        check(is_tracked(p.pid), True)
        keeper = keeper_of(p.pid)
        os.kill(keeper, 9)
        wait_for(lambda: not is_tracked(p.pid))
        goes_on(p.pid)
        check(save(p.pid, f'{d}/2', parent=f'{d}/1')['tracked'], 1)
        save(p.pid, f'{d}/3', parent=f'{d}/2')
        end(p)
        is_right(f'{d}/2', f'{d}/3')


def test_it_ends():
    needs_tracking()
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        save(p.pid, f'{d}/0', '--track')
        keeper = keeper_of(p.pid)
        save(p.pid, f'{d}/1')
        wait_for(lambda: not is_tracked(p.pid))
        wait_for(lambda: not alive(keeper))
        save(p.pid, f'{d}/2', '--track')
        keeper = keeper_of(p.pid)
        end(p)
        wait_for(lambda: not alive(keeper))


def test_the_last_one():
    """With --kill what is tracked is still of use, and over."""
    needs_tracking()
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        save(p.pid, f'{d}/0', '--track')
        keeper = keeper_of(p.pid)
        os.mkdir(f'{d}/1')
        open(f'{d}/1/other', 'w').close()
        check(spore('checkpoint', '--kill', '--parent', f'{d}/0', p.pid, f'{d}/1').returncode, 1)
        goes_on(p.pid)
        result = save(p.pid, f'{d}/2', '--kill', parent=f'{d}/0')
        check((result['pages'] < PAGES / 2, result['tracked']), (True, 0), result)
        p.wait()
        wait_for(lambda: not alive(keeper))
        is_right(f'{d}/2')


def test_while_it_is_isolated():
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        save(p.pid, f'{d}/0', '--track')
        check(spore('isolate', p.pid).returncode, 0)
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        save(p.pid, f'{d}/2', parent=f'{d}/1')
        check(spore('unisolate', p.pid).returncode, 0)
        goes_on(p.pid)
        result = save(p.pid, f'{d}/3', parent=f'{d}/2')
        check(result['pages'] < PAGES / 2, True, result)
        end(p)
        is_right(f'{d}/1', f'{d}/2', f'{d}/3')


def test_tracking_that_ends_while_it_is_isolated():
    needs_tracking()
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        check(spore('isolate', p.pid).returncode, 0)
        check(save(p.pid, f'{d}/0', '--track')['tracked'], 1)
        check(save(p.pid, f'{d}/1')['tracked'], 0)
        check(save(p.pid, f'{d}/2', parent=f'{d}/1')['tracked'], 1)
        check(spore('unisolate', p.pid).returncode, 0)
        check(is_tracked(p.pid), True)
        goes_on(p.pid)
        result = save(p.pid, f'{d}/3', parent=f'{d}/2')
        check(result['pages'] < PAGES / 2, True, result)
        end(p)
        is_right(f'{d}/2', f'{d}/3')


def test_a_first_checkpoint_that_fails():
    """It leaves the tree as it was"""
    libc = ctypes.CDLL(None, use_errno=True)
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        os.mkdir(f'{d}/small')
        check(libc.mount(b'none', f'{d}/small'.encode(), b'tmpfs', 0, b'size=256k'), 0)
        try:
            r = spore('checkpoint', '--track', p.pid, f'{d}/small/image')
            check(r.returncode, 1, r.stdout)
            wait_for(lambda: not is_tracked(p.pid))
            goes_on(p.pid)
            end(p)
        finally:
            libc.umount2(f'{d}/small'.encode(), 2)


def own(d, body):
    with open(f'{d}/program.py', 'w') as f:
        f.write(f'import ctypes, mmap, os, sys, time\nd = {d!r}\n' + body)
    return subprocess.Popen([sys.executable, f'{d}/program.py'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            start_new_session=True)


def test_another_program_by_the_same_number():
    with scratch() as d:
        p = own(d, f'''
big = bytearray(os.urandom(1 << 20)) * 16
open(f'{{d}}/ready', 'w').close()
while not os.path.exists(f'{{d}}/go'):
    time.sleep(0.002)
os.execv({CHANGING!r}, ['changing', '{MIB}', '10'])
''')
        wait_for(lambda: os.path.exists(f'{d}/ready'))
        save(p.pid, f'{d}/0', '--track')
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        open(f'{d}/go', 'w').close()
        wait_for(lambda: rounds(p.pid) > 1)
        tracked = save(p.pid, f'{d}/2', parent=f'{d}/1')['tracked']
        result = save(p.pid, f'{d}/3', parent=f'{d}/2')
        check(result['pages'] < PAGES / 2, True, result)  # tracked anew, or compared
        check(result['tracked'], tracked)
        end(p)
        is_right(f'{d}/2', f'{d}/3')


def test_children_of_what_is_tracked():
    with scratch() as d:
        p = own(d, '''
big = bytearray(os.urandom(1 << 20)) * 16
n = 0
def check(x):
    if any(big[i] != x for i in range(0, len(big), 4096)):
        sys.exit(3)
def put(x):
    for i in range(0, len(big), 4096):
        big[i] = x
put(7)
open(f'{d}/ready', 'w').close()
while not os.path.exists(f'{d}/go'):
    time.sleep(0.002)
pid = os.fork()
if not pid:
    put(9)
    open(f'{d}/forked', 'w').close()
    while True:
        check(9)
        time.sleep(0.01)
while True:
    check(7)
    if os.waitpid(pid, os.WNOHANG)[0]:
        sys.exit(4)
    time.sleep(0.01)
''')
        wait_for(lambda: os.path.exists(f'{d}/ready'))
        save(p.pid, f'{d}/0', '--track')
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        open(f'{d}/go', 'w').close()
        wait_for(lambda: os.path.exists(f'{d}/forked'))
        save(p.pid, f'{d}/2', parent=f'{d}/1')
        save(p.pid, f'{d}/3', parent=f'{d}/2')
        os.killpg(p.pid, 9)
        p.wait()
        bury()
        pid = bring_back(f'{d}/3')
        time.sleep(0.3)
        check(alive(pid), True)
        os.killpg(pid, 9)
        wait_for(lambda: not alive(pid))
        bury()


def digest_of(pid, at, size):
    with open(f'/proc/{pid}/mem', 'rb') as f:
        f.seek(at)
        return hashlib.sha256(f.read(size)).hexdigest()


def pin(pid, address):
    p = subprocess.Popen([PINNING, str(pid), str(address)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if p.stdout.readline() != b'ready\n':
        p.wait()
        raise Skip('no page can be held here')
    return p


def test_a_large_one_beside_small_ones():
    """What is saved before the stop, in it and after it: into the same page files, compressed or not."""
    for options in [], ['--compress']:
        with scratch() as d:
            small = f'{CHANGING} 3 100 & ' * 3
            p = start('sh', '-c', f'{small} exec {CHANGING} {MIB} 200')
            save(p.pid, f'{d}/0', '--track', *options)
            for i in range(1, 4):
                save(p.pid, f'{d}/{i}', *options, parent=f'{d}/{i - 1}')
                check(spore('verify', f'{d}/{i}').returncode, 0)
            os.killpg(p.pid, 9)
            p.wait()
            bury()
            pid = bring_back(f'{d}/3')
            tree = [pid, *harness.children(pid)]
            check(len(tree), 4)
            for each in tree:
                goes_on(each)
            os.killpg(pid, 9)
            wait_for(lambda: not any(map(alive, tree)))
            bury()


def test_a_page_that_an_outsider_holds():
    held_page('')


def test_a_huge_page_that_an_outsider_holds():
    held_page('area.madvise(mmap.MADV_HUGEPAGE)')


def held_page(advice):
    """What was pinned is written past the page table, and so past its protection, also after an image that found it unwritten."""
    if not os.path.exists('/sys/kernel/btf/vmlinux'):
        raise Skip('nobody can tell who holds a page')
    with scratch() as d:
        p = own(d, f'''
area = mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
{advice}
area.write(os.urandom(16 << 20))
with open(d + '/at', 'w') as f:
    f.write(str(ctypes.addressof(ctypes.c_char.from_buffer(area))))
os.rename(d + '/at', d + '/address')
while True:
    time.sleep(1)
''')
        wait_for(lambda: os.path.exists(f'{d}/address'))
        at, size = int(open(f'{d}/address').read()), 16 << 20
        save(p.pid, f'{d}/0', '--track')
        holder = pin(p.pid, at + (5 << 20))
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        result = save(p.pid, f'{d}/2', parent=f'{d}/1')
        holder.communicate(b'x')
        check(holder.returncode, 0)
        save(p.pid, f'{d}/3', parent=f'{d}/2')
        check(result['pages'] < size >> 14, True, result)  # it was told by the writes, not saved whole
        want = digest_of(p.pid, at, size)
        end(p)
        pid = bring_back(f'{d}/3')
        got = digest_of(pid, at, size)
        end_restored(pid)
        check(got, want)


def test_a_neighbour_of_what_was_moved():
    """A mapping that comes back to where it was cut off takes the tracking from its other half, whose pages stay marked as if nothing had been written."""
    needs_tracking()
    with scratch() as d:
        p = own(d, '''
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
half = 4 << 20
def done(name):
    open(f'{d}/{name}', 'w').close()
def wait(name):
    while not os.path.exists(f'{d}/{name}'):
        time.sleep(0.002)
def move(a, b):
    if libc.mremap(ctypes.c_void_p(a), ctypes.c_size_t(half), ctypes.c_size_t(half), 3, ctypes.c_void_p(b)) != b:
        sys.exit(5)
base = libc.mmap(None, ctypes.c_size_t(4 * half), 3, 0x22, -1, 0)
libc.munmap(ctypes.c_void_p(base + 2 * half), ctypes.c_size_t(2 * half))
other = base + 3 * half
for i in range(0, 2 * half, 4096):
    ctypes.memset(base + i, 1 + i // 4096 % 200, 4096)
done('ready')
wait('move')
move(base + half, other)
done('moved')
wait('back')
move(other, base + half)
done('came')
wait('write')
ctypes.memset(base, 255, half // 2)
done('wrote')
while True:
    for i in range(0, 2 * half, 4096):
        want = 255 if i < half // 2 else 1 + i // 4096 % 200
        if ctypes.string_at(base + i, 4096) != bytes([want]) * 4096:
            sys.exit(3)
    time.sleep(0.01)
''')
        def step(go, done):
            open(f'{d}/{go}', 'w').close()
            wait_for(lambda: os.path.exists(f'{d}/{done}'), what=done)
        wait_for(lambda: os.path.exists(f'{d}/ready'))
        save(p.pid, f'{d}/0', '--track')
        step('move', 'moved')
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        save(p.pid, f'{d}/2', parent=f'{d}/1')
        step('back', 'came')
        step('write', 'wrote')
        save(p.pid, f'{d}/3', parent=f'{d}/2')
        save(p.pid, f'{d}/4', parent=f'{d}/3')
        end(p)
        for i in (3, 4):
            pid = bring_back(f'{d}/{i}')
            time.sleep(0.3)
            check(alive(pid), True, f'image {i} has what was before')
            end_restored(pid)


def test_what_uses_userfaultfd_is_not_tracked():
    """It would find its own memory taken."""
    with scratch() as d:
        p = own(d, '''
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.syscall(323, 1 | os.O_CLOEXEC)
big = bytearray(os.urandom(1 << 20)) * 16
open(f'{d}/ready', 'w').write(str(fd))
while True:
    time.sleep(0.01)
''')
        fd = wait_for(lambda: os.path.exists(f'{d}/ready') and open(f'{d}/ready').read())
        if int(fd) < 0:
            end(p)
            raise Skip('no userfaultfd')
        r = spore('checkpoint', '--json', '--track', p.pid, f'{d}/0')
        end(p)
        if r.returncode:
            raise Skip('the kernel cannot be looked at')
        check(json.loads(r.stdout)['tracked'], 0)


def test_a_userfaultfd_that_is_made_later():
    """What the program is told of its own writes stays as it is."""
    needs_tracking()
    with scratch() as d:
        p = own(d, '''
import fcntl, struct
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
size = 8 << 20
big = bytearray(os.urandom(1 << 20)) * 16
open(f'{d}/ready', 'w').close()
while not os.path.exists(f'{d}/go'):
    time.sleep(0.002)
fd = libc.syscall(323, 1 | os.O_CLOEXEC)
fcntl.ioctl(fd, 0xc018aa3f, struct.pack('QQQ', 0xaa, 1 << 15, 0))
a = libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, 0)
ctypes.memset(a, 1, size)
fcntl.ioctl(fd, 0xc020aa00, struct.pack('QQQQ', a, size, 2, 0))
scan = open('/proc/self/pagemap', 'rb')
def written(protect):
    vec = ctypes.create_string_buffer(24 * 8192)
    arg = struct.pack('12Q', 96, 3 if protect else 2, a, a + size, 0, ctypes.addressof(vec), 8192, 0, 0, 2, 24, 2)
    n = libc.ioctl(scan.fileno(), ctypes.c_ulong(0xc0606610), arg)
    return sum(e - s for s, e, _ in struct.iter_unpack('QQQ', vec.raw[:24 * n])) // 4096
written(True)
ctypes.memset(a, 2, 100 * 4096)
open(f'{d}/made', 'w').close()
while not os.path.exists(f'{d}/look'):
    time.sleep(0.002)
open(f'{d}/found', 'w').write(str(written(False)))
time.sleep(100)
''')
        wait_for(lambda: os.path.exists(f'{d}/ready'))
        check(save(p.pid, f'{d}/0', '--track')['tracked'], 1)
        open(f'{d}/go', 'w').close()
        wait_for(lambda: os.path.exists(f'{d}/made'))
        r = spore('checkpoint', '--parent', f'{d}/0', p.pid, f'{d}/1')
        check(r.returncode, 3, r.stderr)      # memory under a userfaultfd
        open(f'{d}/look', 'w').close()
        wait_for(lambda: os.path.exists(f'{d}/found') and open(f'{d}/found').read())
        end(p)
        check(open(f'{d}/found').read(), '100')


def test_a_checkpoint_that_fails_in_between():
    needs_tracking()
    libc = ctypes.CDLL(None, use_errno=True)
    p = start(CHANGING, MIB, 10)
    with scratch() as d:
        os.mkdir(f'{d}/small')
        check(libc.mount(b'none', f'{d}/small'.encode(), b'tmpfs', 0, b'size=256k'), 0)
        try:
            save(p.pid, f'{d}/0', '--track')
            save(p.pid, f'{d}/1', parent=f'{d}/0')
            for _ in range(2):
                time.sleep(0.1)
                r = spore('checkpoint', '--parent', f'{d}/1', p.pid, f'{d}/small/image')
                check(r.returncode, 1, r.stdout)
                check_in('No space left', r.stderr)
                goes_on(p.pid)
            result = save(p.pid, f'{d}/2', parent=f'{d}/1')
            check(result['pages'] < PAGES, True, result)
            end(p)
            is_right(f'{d}/2')
        finally:
            libc.umount2(f'{d}/small'.encode(), 2)


def a_chain(d, n=3):
    p = start(CHANGING, 8, 10)
    save(p.pid, f'{d}/0')
    for i in range(1, n):
        save(p.pid, f'{d}/{i}', parent=f'{d}/{i - 1}')
    end(p)


def refused(*command, says):
    r = spore(*command)
    check(r.returncode, 1, r.stdout)
    check_in(says, r.stderr)


def test_a_parent_that_is_gone_or_another():
    with scratch() as d:
        a_chain(d)
        # By its contents, not by its name alone.
        os.rename(f'{d}/0', f'{d}/elsewhere')
        check(spore('verify', f'{d}/2').returncode, 0)
        is_right(f'{d}/2')
        os.mkdir(f'{d}/away')
        os.rename(f'{d}/elsewhere', f'{d}/away/0')
        refused('verify', f'{d}/2', says='the older image that some of its pages lie in')
        refused('restore', f'{d}/2', says='the older image that some of its pages lie in')
        # The whole store may be moved.
        os.rename(f'{d}/away/0', f'{d}/0')
        os.mkdir(f'{d}/store')
        for i in range(3):
            os.rename(f'{d}/{i}', f'{d}/store/{i}')
        is_right(f'{d}/store/2')
        with open(f'{d}/store/0/manifest', 'r+b') as f:
            f.seek(20)
            byte = f.read(1)
            f.seek(20)
            f.write(bytes([byte[0] ^ 1]))
        refused('restore', f'{d}/store/2', says='another has taken its place')


def test_a_damaged_page_of_the_parent():
    with scratch() as d:
        a_chain(d)
        name = max((f'{d}/0/{n}' for n in os.listdir(f'{d}/0') if n.startswith('pages-')), key=os.path.getsize)
        with open(name, 'r+b') as f:
            f.seek(4096 * 1000 + 5)
            byte = f.read(1)
            f.seek(4096 * 1000 + 5)
            f.write(bytes([byte[0] ^ 1]))
        refused('verify', f'{d}/2', says='do not have the checksum')
        refused('restore', f'{d}/2', says='do not have the checksum')


def test_a_parent_is_not_overwritten():
    p = start(CHANGING, 8, 1)
    with scratch() as d:
        save(p.pid, f'{d}/0')
        save(p.pid, f'{d}/1', parent=f'{d}/0')
        for i in (0, 1):
            refused('checkpoint', '--force', '--parent', f'{d}/1', p.pid, f'{d}/{i}', says='one that it is made against')
        goes_on(p.pid)
        refused('checkpoint', '--parent', f'{d}/none', p.pid, f'{d}/2', says='--parent')
        os.mkdir(f'{d}/empty')
        refused('checkpoint', '--parent', f'{d}/empty', p.pid, f'{d}/2', says='holds no image')
        end(p)
        is_right(f'{d}/1')


def test_in_a_container():
    with Container(CHANGING, MIB, 10) as c, scratch() as d:
        wait_for(lambda: rounds(harness.children(c.pid)[0]) > 1 if harness.children(c.pid) else False)
        save(c.pid, f'{d}/0', '--track')
        result = save(c.pid, f'{d}/1', parent=f'{d}/0')
        check(result['pages'] < PAGES, True, result)
        goes_on(harness.children(c.pid)[0])


if __name__ == '__main__':
    take_orphans()
    harness.main(sys.modules[__name__])
