# SPDX-License-Identifier: LGPL-2.1-or-later
"""BPF maps that are not the tree's alone: refused by name, carried once they are. Where bpf(2) is forbidden a restore says what it needs."""
import contextlib
import ctypes
import json
import os
import struct
import sys

import harness
from harness import Skip, alive, check, check_in, scratch, spore
from outside_test import end, fork_tree
from sockets_test import without_bpf

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
CREATE, UPDATE, OBJ_PIN, GET_FD_BY_ID = 0, 2, 6, 14
ARRAY, MMAPABLE = 2, 1 << 10


def bpf(command, attr):
    buffer = ctypes.create_string_buffer(attr, 128)
    r = LIBC.syscall(321, command, buffer, 128)
    if r < 0:
        raise Skip(f'bpf: {os.strerror(ctypes.get_errno())}')
    return r


def new_map():
    return bpf(CREATE, struct.pack('<IIIII', ARRAY, 4, 8, 512, MMAPABLE))


def id_of(fd):
    with open(f'/proc/self/fdinfo/{fd}') as f:
        return int(next(line.split()[1] for line in f if line.startswith('map_id')))


@contextlib.contextmanager
def tree_with(fd):
    pid = fork_tree(None, [fd])
    try:
        yield pid
    finally:
        end(pid)


def refused(pid, d, *words):
    r = spore('checkpoint', pid, f'{d}/image')
    check(r.returncode, 3, r.stderr)
    for word in words:
        check_in(word, r.stderr)
    check((os.path.exists(f'{d}/image'), alive(pid)), (False, True))


def carried(pid, d):
    r = spore('checkpoint', pid, f'{d}/image')
    check(r.returncode, 0, r.stderr)


def test_one_open_file_that_the_outside_has_too():
    with scratch() as d:
        fd = new_map()
        with tree_with(fd) as pid:
            refused(pid, d, f'process {os.getpid()}, which is outside the tree', 'has it open too')
            os.close(fd)
            other = new_map()  # another map of the outside's own is in nobody's way
            carried(pid, d)
            os.close(other)


def test_an_open_file_of_the_outsides_own():
    with scratch() as d:
        fd = new_map()
        other = bpf(GET_FD_BY_ID, struct.pack('<I', id_of(fd)))
        with tree_with(fd) as pid:
            os.close(fd)
            refused(pid, d, 'a BPF map that a process outside of the tree, or a pin in bpffs, has too (2 open files, 1 of the tree)')
            os.close(other)
            carried(pid, d)


def test_a_mapping_of_the_outsides():
    for own in False, True:
        with scratch() as d:
            fd = new_map()
            by = bpf(GET_FD_BY_ID, struct.pack('<I', id_of(fd))) if own else os.dup(fd)
            at = LIBC.mmap(None, 4096, 1, 1, by, 0)
            check(at not in (None, ctypes.c_void_p(-1).value), True, 'mapped')
            os.close(by)
            with tree_with(fd) as pid:
                os.close(fd)
                # The child of a fork has the mapping too; it is the tree's own then. Here alone it is the outside's.
                refused(pid, d, 'a BPF map that a process outside of the tree maps')
                check(LIBC.munmap(at, 4096), 0)
                carried(pid, d)


def test_a_pin():
    with scratch() as d:
        os.mkdir(f'{d}/bpf')
        if LIBC.mount(b'bpf', f'{d}/bpf'.encode(), b'bpf', 0, None):
            raise Skip('no bpffs')
        try:
            fd = new_map()
            path = ctypes.create_string_buffer(f'{d}/bpf/pin'.encode())
            bpf(OBJ_PIN, struct.pack('<QI', ctypes.addressof(path), fd))
            with tree_with(fd) as pid:
                os.close(fd)
                refused(pid, d, 'or a pin in bpffs, has too')
                os.unlink(f'{d}/bpf/pin')
                carried(pid, d)
        finally:
            LIBC.umount2(f'{d}/bpf'.encode(), 2)


def without(*capabilities):
    """Of this process's effective capabilities; what they were."""
    head = ctypes.create_string_buffer(struct.pack('<Ii', 0x20080522, 0))
    sets = ctypes.create_string_buffer(24)
    check(LIBC.capget(head, sets), 0)
    before = sets.raw[:24]
    words = list(struct.unpack('<6I', before))
    for n in capabilities:
        words[n // 32 * 3] &= ~(1 << n % 32)
    check(LIBC.capset(head, ctypes.create_string_buffer(struct.pack('<6I', *words))), 0)
    return before


def is_trusted(d):
    r = spore('inspect', '--json', f'{d}/image')
    check(r.returncode, 0, r.stderr)
    return [record.get('trusted', False) for record in json.loads(r.stdout)['records'] if record['is'] == 'bpf_map']


def test_who_made_it_without_a_capability_gets_no_other():
    """An array that was made without CAP_PERFMON (38) and CAP_SYS_ADMIN (21) is such a one again."""
    for dropped in (), (21, 38):
        with scratch() as d:
            before = without(*dropped)
            fd = new_map()
            check(LIBC.capset(ctypes.create_string_buffer(struct.pack('<Ii', 0x20080522, 0)), ctypes.create_string_buffer(before)), 0)
            with tree_with(fd) as pid:
                os.close(fd)
                carried(pid, d)
            check(is_trusted(d), [not dropped])
            r = spore('restore', '-d', f'{d}/image')
            check(r.returncode, 0, r.stderr)
            os.rename(f'{d}/image', f'{d}/first')
            carried(int(r.stdout.split()[-1]), d)
            check(is_trusted(d), [not dropped], 'restored')
            os.kill(int(r.stdout.split()[-1]), 9)


def test_where_bpf_is_forbidden():
    with scratch() as d:
        fd = new_map()
        with tree_with(fd) as pid:
            os.close(fd)
            r = spore('checkpoint', pid, f'{d}/image', preexec_fn=without_bpf)
            check(r.returncode, 3, r.stderr)
            check_in('the BPF map cannot be looked at', r.stderr)
            carried(pid, d)
        r = spore('restore', '-d', f'{d}/image', preexec_fn=without_bpf)
        check(r.returncode, 1, r.stderr)
        for word in 'a BPF map (array) cannot be made here: Operation not permitted', 'CAP_BPF':
            check_in(word, r.stderr)


if __name__ == '__main__':
    harness.main(sys.modules[__name__])
