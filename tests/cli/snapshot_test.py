# SPDX-License-Identifier: LGPL-2.1-or-later
"""Large processes, which run on before their memory is saved: the image is of one instant, and nothing of it is to be seen in the tree"""
import os
import shutil
import signal
import subprocess
import sys
import time

import harness
from harness import SPORE, Container, Skip, alive, bury, check, check_in, children, scratch, spore, take_orphans, wait_for
from rounds import end, goes_on, is_right, rounds, save, start

INSTANT = os.environ['INSTANT']
MIB = 32


def nothing_is_left(pid):
    """No child, dead or alive."""
    for tid in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{tid}/children') as f:
            check(f.read(), '', 'children')


def test_one_instant():
    for arguments in ((MIB,), (MIB, 'dontfork', 'wipeonfork')):
        p = start(INSTANT, *arguments)
        with scratch() as d:
            for i in range(3):
                result = save(p.pid, f'{d}/{i}')
                check(result['copies'], 1)
                nothing_is_left(p.pid)
            goes_on(p.pid)
            end(p)
            for i in range(3):
                is_right(f'{d}/{i}')


def test_several_of_one_instant():
    """Each from its own copy, all of the same moment; with one that is small."""
    null = open(os.devnull, 'r+')
    p = subprocess.Popen(['sh', '-c', f'{INSTANT} {MIB} & {INSTANT} 1 & {INSTANT} {MIB // 2} dontfork & wait'], stdin=null, stdout=null, stderr=null,
                         start_new_session=True)
    wait_for(lambda: len(children(p.pid)) == 3 and all(rounds(c) > 1 for c in children(p.pid)), what='rounds')
    with scratch() as d:
        check(save(p.pid, f'{d}/image')['copies'], 2)
        for c in children(p.pid):
            nothing_is_left(c)
            goes_on(c)
        check(len(children(p.pid)), 3)
        os.killpg(p.pid, 9)
        p.wait()
        wait_for(lambda: (bury(), not subprocess.run(['pgrep', '-s', str(p.pid)], stdout=subprocess.PIPE).stdout)[1], what='the end of the tree')
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        pid = int(r.stdout)
        check(len(children(pid)), 3)
        for c in children(pid):
            goes_on(c)
        os.killpg(pid, 9)
        wait_for(lambda: not alive(pid))
        bury()


def test_small_ones_are_saved_in_the_stop():
    p = start(INSTANT, 1)
    with scratch() as d:
        check(save(p.pid, f'{d}/image')['copies'], 0)
        end(p)
        is_right(f'{d}/image')


def test_a_tree_that_is_killed_is_not_copied():
    p = start(INSTANT, MIB)
    with scratch() as d:
        check(save(p.pid, f'{d}/image', '--kill')['copies'], 0)
        p.wait()
        is_right(f'{d}/image')


def segments(pid):
    return subprocess.run(['nsenter', '-t', str(pid), '-i', 'cat', '/proc/sysvipc/shm'], capture_output=True, text=True).stdout


def test_a_segment_is_not_attached_by_the_copy():
    with Container(INSTANT, MIB, 'segment') as c, scratch() as d:
        program = wait_for(lambda: children(c.pid))[0]
        wait_for(lambda: rounds(program) > 1)
        before = segments(c.pid)
        check(len(before.splitlines()), 2, before)
        check(save(c.pid, f'{d}/image')['copies'], 1)
        check(segments(c.pid), before)
        goes_on(program)


def test_a_filter_is_no_obstacle():
    """One that forbids what the copy is made by, and what its end takes."""
    import ctypes
    kill, allow = 0x80000000, 0x7fff0000
    forbidden = (435, 61, 436, 449, 157)        # clone3, wait4, close_range, futex_waitv, prctl
    code = [(0x20, 0, 0, 0)] + [(0x15, len(forbidden) - i, 0, nr) for i, nr in enumerate(forbidden)] + [(6, 0, 0, allow), (6, 0, 0, kill)]

    class Program(ctypes.Structure):
        _fields_ = [('n', ctypes.c_ushort), ('code', ctypes.c_void_p)]

    raw = b''.join(c.to_bytes(2, 'little') + bytes((jt, jf)) + k.to_bytes(4, 'little') for c, jt, jf, k in code)
    with scratch() as d:
        source = f'{d}/filtered.py'
        with open(source, 'w') as f:
            f.write(f'''
import ctypes, time, mmap, sys
raw = ctypes.create_string_buffer({raw!r})
class Program(ctypes.Structure):
    _fields_ = [('n', ctypes.c_ushort), ('code', ctypes.c_void_p)]
memory = bytearray(16 << 20)
for i in range(0, len(memory), 4096):
    memory[i] = i // 4096 % 251
c = ctypes.CDLL(None)
c.prctl(38, 1, 0, 0, 0)
program = Program({len(code)}, ctypes.cast(raw, ctypes.c_void_p))
assert c.prctl(22, 2, ctypes.byref(program)) == 0
n = 0
while True:
    for i in range(0, len(memory), 4096):
        if memory[i] != i // 4096 % 251:
            sys.exit(3)
    n += 1
    time.sleep(0.01)
''')
        null = open(os.devnull, 'r+')
        p = subprocess.Popen([sys.executable, source], stdin=null, stdout=null, stderr=null, start_new_session=True)
        wait_for(lambda: 'Seccomp:\t2' in open(f'/proc/{p.pid}/status').read(), what='the filter')
        check(save(p.pid, f'{d}/image')['copies'], 1)
        nothing_is_left(p.pid)
        time.sleep(0.1)
        check(alive(p.pid), True)
        end(p)
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        pid = int(r.stdout)
        time.sleep(0.2)
        check(alive(pid), True)
        os.kill(pid, 9)
        wait_for(lambda: not alive(pid))
        bury()


def cgroup2():
    for place in ('/sys/fs/cgroup', '/sys/fs/cgroup/unified'):
        if os.path.exists(f'{place}/cgroup.controllers'):
            return place
    raise Skip('no cgroup v2')


def limited_group():
    """A control group of 48 MiB, of whichever version has the memory controller; and the file to enter it by."""
    name = f'spore-snapshot-{os.getpid()}'
    v2 = cgroup2() if os.path.exists('/sys/fs/cgroup/unified/cgroup.controllers') or os.path.exists('/sys/fs/cgroup/cgroup.controllers') else None
    if v2 and 'memory' in open(f'{v2}/cgroup.controllers').read().split():
        with open(f'{v2}/cgroup.subtree_control', 'w') as f:
            f.write('+memory')
        group, limit = f'{v2}/{name}', 'memory.max'
    elif os.path.isdir('/sys/fs/cgroup/memory'):
        group, limit = f'/sys/fs/cgroup/memory/{name}', 'memory.limit_in_bytes'
    else:
        raise Skip('no memory controller')
    os.mkdir(group)
    with open(f'{group}/{limit}', 'w') as f:
        f.write(str(48 << 20))
    return group


def test_no_copy_where_the_group_has_no_room():
    group = limited_group()
    try:
        def enter():
            with open(f'{group}/cgroup.procs', 'w') as f:
                f.write(str(os.getpid()))
        p = start(INSTANT, MIB, preexec=enter)
        with scratch() as d:
            check(save(p.pid, f'{d}/image')['copies'], 0)
            goes_on(p.pid)
            end(p)
            is_right(f'{d}/image')
    finally:
        wait_for(lambda: not open(f'{group}/cgroup.procs').read())
        os.rmdir(group)


def begin_large(d, mib=256):
    """A checkpoint of a process that takes a while, when its copies are being saved."""
    p = start(INSTANT, mib)
    return p, until_copies(d, p.pid)


def until_copies(d, pid):
    c = subprocess.Popen([SPORE, 'checkpoint', str(pid), f'{d}/image'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True, env={**os.environ, 'SPORE_DEBUG': '1'})
    for line in c.stderr:
        if line.strip() == 'phase: copies':
            return c
    raise AssertionError('there were no copies')


def begin_own(d, body, before=''):
    """The same, of a program: `before` is run before it has its memory, `body` when it is told to go on, by a file; meanwhile it waits."""
    source = f'{d}/program.py'
    with open(source, 'w') as f:
        f.write(f'import fcntl, mmap, os, sys, time\nd = {d!r}\n{before}\nbig = bytearray(os.urandom(1 << 20)) * 256\nopen(f"{{d}}/ready", "w").close()\n'
                f'while not os.path.exists(f"{{d}}/go"):\n    time.sleep(0.002)\n{body}\n')
    null = open(os.devnull, 'r+')
    p = subprocess.Popen([sys.executable, source], stdin=null, stdout=null, stderr=null, start_new_session=True)
    wait_for(lambda: os.path.exists(f'{d}/ready'), what='its memory')
    return p, until_copies(d, p.pid)


def keeper_of(client):
    """It is nobody's child here: the one that has the image's directory open."""
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            if open(f'/proc/{pid}/comm').read().startswith('spore-keeper') and any(
                    os.readlink(f'/proc/{pid}/fd/{fd}').startswith(client) for fd in os.listdir(f'/proc/{pid}/fd')):
                yield int(pid)
        except OSError:
            pass


def test_a_command_that_is_killed_leaves_nothing():
    with scratch() as d:
        p, c = begin_large(d)
        c.kill()
        c.wait()
        wait_for(lambda: not os.path.exists(f'{d}/image'), what='the end of what was written')
        wait_for(lambda: not list(keeper_of(d)), what='the end of the keeper')
        nothing_is_left(p.pid)
        goes_on(p.pid)
        save(p.pid, f'{d}/again')
        end(p)
        is_right(f'{d}/again')


def test_a_larger_tree_is_told_of_the_other_spore():
    null = open(os.devnull, 'r+')
    parent = subprocess.Popen(['sh', '-c', f'{INSTANT} 256 & wait'], stdin=null, stdout=null, stderr=null, start_new_session=True)
    program = wait_for(lambda: children(parent.pid))[0]
    wait_for(lambda: rounds(program) > 1, what='a round')
    with scratch() as d:
        c = until_copies(d, program)
        r = spore('checkpoint', parent.pid, f'{d}/larger')
        check(r.returncode, 1, r.stderr)
        check_in('another spore is at work', r.stderr)
        check(c.wait(), 0)
        goes_on(program)
        nothing_is_left(program)
        save(parent.pid, f'{d}/larger')
        os.killpg(parent.pid, 9)
        parent.wait()


def test_the_next_one_takes_away_what_a_killed_keeper_left():
    with scratch() as d:
        p, c = begin_large(d)
        for pid in keeper_of(d):
            os.kill(pid, signal.SIGKILL)
        c.wait()
        check(c.returncode != 0, True)
        goes_on(p.pid)
        left = children(p.pid)
        check(len(left), 1)
        check(open(f'/proc/{left[0]}/comm').read(), 'spore-copy\n')
        wait_for(lambda: not alive(left[0]))
        check(save(p.pid, f'{d}/again')['tasks'], 2)
        nothing_is_left(p.pid)
        end(p)
        shutil.rmtree(f'{d}/image', ignore_errors=True)
        is_right(f'{d}/again')


def test_a_file_that_is_truncated_meanwhile():
    """It takes the pages that a program has written over it away from all mappings, those of a copy too."""
    size = 4 << 20
    with scratch() as d:
        p, c = begin_own(d, f"""
while not os.path.exists(f'{{d}}/look'):
    time.sleep(0.01)
bad = sum(m[i] != 65 for i in range(0, {size}, 4096))
with open(f'{{d}}/result~', 'w') as f:
    f.write(str(bad))
os.rename(f'{{d}}/result~', f'{{d}}/result')
""", before=f"""
fd = os.memfd_create('data', 0)
os.write(fd, b'F' * {size})
m = mmap.mmap(fd, {size}, flags=mmap.MAP_PRIVATE, prot=3)
for i in range(0, {size}, 4096):
    m[i] = 65
with open(f'{{d}}/fd', 'w') as f:
    f.write(str(fd))
""")
        with open(f'{d}/fd') as f:
            data = f'/proc/{p.pid}/fd/{f.read()}'
        os.truncate(data, 0)
        os.truncate(data, size)
        c.communicate()
        check(c.returncode, 0)
        end(p)
        open(f'{d}/go', 'w').close()
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        open(f'{d}/look', 'w').close()
        wait_for(lambda: os.path.exists(f'{d}/result'), what='its look')
        check(open(f'{d}/result').read(), '0', 'pages that were lost')
        wait_for(lambda: not alive(int(r.stdout)))
        bury()


def test_a_program_that_goes_on_as_one_of_32_bit():
    """No call is made in it, for it would be another."""
    with scratch() as d:
        with open(f'{d}/small.s', 'w') as f:
            f.write('.globl _start\n_start:\n\tpause\n\tjmp _start\n\t.byte 0x0f, 0x05, 0xc3\n')
        if subprocess.run(f'cd {d} && as --32 small.s -o small.o && ld -m elf_i386 small.o -o small && chmod +x small', shell=True, capture_output=True).returncode:
            raise Skip('no assembler for 32 bit')
        p, c = begin_own(d, "os.execv(f'{d}/small', ['small'])")
        open(f'{d}/go', 'w').close()
        try:
            wait_for(lambda: os.readlink(f'/proc/{p.pid}/exe') == f'{d}/small', what='the exec')
        except AssertionError:
            end(p)
            c.communicate()
            raise Skip('no 32-bit programs here') from None
        err = c.communicate()[1]
        check(c.returncode, 0, err)
        check_in('32-bit code', err)
        check(p.poll(), None)
        end(p)


def test_what_is_unmapped_is_not_in_use():
    """Nor is its group, and no signal to that is the copy's."""
    with scratch() as d:
        p, c = begin_own(d, """
m.close()
fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
open(f'{d}/sealed', 'w').close()
time.sleep(60)
""", before="""
fd = os.memfd_create('data', os.MFD_ALLOW_SEALING)
os.ftruncate(fd, 4096)
m = mmap.mmap(fd, 4096)
""")
        copy = children(p.pid)
        check(len(copy), 1)
        os.kill(c.pid, signal.SIGSTOP)
        open(f'{d}/go', 'w').close()
        wait_for(lambda: os.path.exists(f'{d}/sealed') or p.poll() is not None, what='the seal')
        check(p.poll(), None)
        check(os.getpgid(copy[0]) != p.pid, True)
        os.kill(c.pid, signal.SIGCONT)
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        err = c.communicate()[1]
        check(c.returncode, 0, err)


def test_a_copy_that_is_killed_is_no_memory_of_zeros():
    with scratch() as d:
        p, c = begin_large(d)
        os.kill(children(p.pid)[0], signal.SIGKILL)
        err = c.communicate()[1]
        check(c.returncode != 0, True)
        check_in('its pages cannot be saved', err)
        nothing_is_left(p.pid)
        goes_on(p.pid)
        end(p)
        check(os.path.exists(f'{d}/image/manifest'), False)


if __name__ == '__main__':
    take_orphans()
    harness.main(sys.modules[__name__])
