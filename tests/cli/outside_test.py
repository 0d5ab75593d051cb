# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory, files without a name and sockets that a tree shares with a process outside of it: refused by name; the tree goes on"""
import ctypes
import mmap
import os
import socket
import struct
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '../state'))
import file_systems  # noqa: E402
import harness
from harness import alive, check, check_in, scratch, spore, wait_for


def forks():
    pair = socket.socketpair()
    while pair:
        if not os.fork():
            time.sleep(0.03)
            os._exit(0)
        time.sleep(0.003)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def fork_tree(mapping, keep, does=None):
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
    if does:
        does()
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


def test_what_the_root_shares_with_its_parent():
    for flag, name in ((0x400, 'CLONE_FILES'), (0x200, 'CLONE_FS')):
        pid = ctypes.CDLL(None).syscall(56, flag | 17, 0, 0, 0, 0)
        if not pid:
            os.setsid()
            while True:
                time.sleep(1)
        r = spore('check', pid)
        check(r.returncode, 3, r.stderr)
        check_in(f'({name}): sharing with its parent, which is outside the tree', r.stderr)
        end(pid)


LIBC = ctypes.CDLL(None)
CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_PARENT = 0x100, 0x200, 0x400, 0x8000
STACKS = []


def clone(flags):
    """The child does nothing at all: with CLONE_VM it has a stack of its own."""
    stack = mmap.mmap(-1, 65536)
    STACKS.append(stack)
    top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + 65536
    return LIBC.clone(ctypes.cast(LIBC.pause, ctypes.c_void_p), ctypes.c_void_p(top), flags | 17, None)


def no_bpf():
    """As on a machine whose kernel cannot be looked into: bpf(2) is forbidden."""
    code = b''.join(struct.pack('HBBI', *i) for i in ((0x20, 0, 0, 0), (0x15, 0, 1, 321), (6, 0, 0, 0x50001), (6, 0, 0, 0x7fff0000)))
    held = ctypes.create_string_buffer(code)
    LIBC.prctl(22, 2, ctypes.c_char_p(struct.pack('HxxxxxxQ', 4, ctypes.addressof(held))), 0, 0)


def both_ways(pid, *words):
    """Refused where the kernel can be looked into and where not; the tree goes on."""
    for preexec in (None, no_bpf):
        with scratch() as d:
            for command in (('check', pid), ('checkpoint', pid, f'{d}/image')):
                r = spore(*command, preexec_fn=preexec)
                check(r.returncode, 3, r.stderr)
                for word in words:
                    check_in(word, r.stderr, preexec)
            check(os.path.exists(f'{d}/image'), False, 'nothing is left')
    check(alive(pid), True)


def test_what_the_root_shares_with_a_sibling():
    for flag, name in ((CLONE_FILES, 'CLONE_FILES'), (CLONE_FS, 'CLONE_FS'), (CLONE_VM, 'CLONE_VM')):
        before = set(harness.children(os.getpid()))
        pid = fork_tree(None, (), lambda flag=flag: clone(flag | CLONE_PARENT))
        sibling, = wait_for(lambda: set(harness.children(os.getpid())) - before - {pid}, what='sibling')
        both_ways(pid, f'what it shares with process {sibling}', f'({name}): sharing with a process outside the tree cannot be carried')
        end(sibling)
        with scratch() as d:
            r = spore('checkpoint', pid, f'{d}/image')
            check(r.returncode, 0, r.stderr)
        end(pid)


def test_what_another_process_shares():
    """With the root's parent, by way of the root, which shares it no more."""
    for flag, name in ((CLONE_FILES, 'CLONE_FILES'), (CLONE_FS, 'CLONE_FS')):
        pid = LIBC.syscall(56, flag | 17, 0, 0, 0, 0)
        if not pid:
            os.setsid()
            clone(flag)
            LIBC.unshare(flag)
            while True:
                time.sleep(1)
        child, = wait_for(lambda: harness.children(pid), what='child')
        try:
            both_ways(pid, f'({child}): what it shares with process {os.getpid()}', f'({name}): sharing with a process outside the tree')
        finally:
            os.kill(child, 9)
            end(pid)


def test_reading_memory_is_no_sharing():
    """Who reads a process's memory is counted as its user meanwhile."""
    pid = fork_tree(None, ())
    readers = []
    for _ in range(3):
        reader = os.fork()
        if not reader:
            while True:
                with open(f'/proc/{pid}/smaps', 'rb') as f:
                    f.read()
        readers.append(reader)
    try:
        with scratch() as d:
            for _ in range(5):
                r = spore('checkpoint', '--force', pid, f'{d}/image')
                check(r.returncode, 0, r.stderr)
    finally:
        for child in readers + [pid]:
            end(child)


def test_an_eventfd():
    with scratch() as d:
        fd = os.eventfd(0)
        pid = fork_tree(None, [fd])
        refused(pid, d, '[eventfd]')
        os.close(fd)
        r = spore('checkpoint', pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        end(pid)


def test_what_has_no_number():
    """All epolls are one inode, all timers too: the same one is refused, another of the outside's own is not."""
    for name, make in (('eventpoll', lambda: LIBC.epoll_create1(0)), ('timerfd', lambda: LIBC.timerfd_create(1, 0)),
                       ('inotify', lambda: LIBC.inotify_init1(0))):
        with scratch() as d:
            fd = make()
            pid = fork_tree(None, [fd])
            refused(pid, d, name)
            os.close(fd)
            own = make()
            r = spore('checkpoint', pid, f'{d}/image')
            check(r.returncode, 0, r.stderr)
            os.close(own)
            end(pid)


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


def test_mapped_here_and_open_there():
    """Where maps show another device than stat does of a descriptor (btrfs, overlayfs)."""
    for kind in ('btrfs', 'overlay', 'tmpfs'):
        try:
            with file_systems.mounted(kind) as on, scratch() as d:
                fd = nameless(on)
                reader = os.open(f'{on}/nameless', os.O_RDONLY)
                os.unlink(f'{on}/nameless')
                shared = mmap.mmap(reader, 4096, mmap.MAP_SHARED, mmap.PROT_READ)
                os.close(reader)
                pid = fork_tree(None, ())
                shared.close()
                refused(pid, d, 'mapping ', 'nameless', 'has it open too')
                os.close(fd)
                r = spore('checkpoint', pid, f'{d}/image')
                check(r.returncode, 0, r.stderr)
                end(pid)
        except file_systems.Missing as why:
            print(f'part {kind}: {why}')


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


def shared_socket(*kept):
    """The first is looked for; the tree has all."""
    with scratch() as d:
        pid = fork_tree(None, [s.fileno() for s in kept])
        refused(pid, d, f'fd {kept[0].fileno()} (socket:[', 'has it open too')
        r = spore('check', pid)
        check(r.returncode, 3, r.stderr)
        for s in kept:
            s.close()
        r = spore('checkpoint', pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        end(pid)


def test_listener():
    s = socket.socket()
    s.bind(('127.0.0.1', 0))
    s.listen()
    shared_socket(s)


def test_udp():
    shared_socket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


def test_netlink():
    shared_socket(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))


def test_one_end_of_a_pair():
    a, b = socket.socketpair()
    with scratch() as d:
        pid = fork_tree(None, (a.fileno(), b.fileno()))
        b.close()
        refused(pid, d, f'fd {a.fileno()} (socket:[', 'has it open too')
        a.close()
        r = spore('checkpoint', pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        end(pid)


def in_flight(*sent):
    """The tree has them in a queue alone."""
    a, b = socket.socketpair()
    socket.send_fds(a, [b'with it'], [s.fileno() for s in sent])
    with scratch() as d:
        pid = fork_tree(None, (a.fileno(), b.fileno()))
        a.close()
        b.close()
        refused(pid, d, 'has it open too')
        for s in sent:
            s.close()
        r = spore('checkpoint', pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        end(pid)


def test_a_socket_in_flight():
    in_flight(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))


def test_a_pipe_in_flight():
    r, w = os.pipe()
    in_flight(open(r, 'rb'), open(w, 'wb'))


def test_a_pipe():
    r, w = os.pipe()
    with scratch() as d:
        pid = fork_tree(None, (r, w))
        os.close(w)
        refused(pid, d, ' (pipe:[', 'has it open too')
        os.close(r)
        r = spore('checkpoint', pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        end(pid)


def test_births_just_after_are_the_trees_own():
    """It gives birth all the time; whoever is born once it runs again has its sockets too."""
    with scratch() as d:
        pid = fork_tree(None, (), forks)
        for _ in range(10):
            r = spore('checkpoint', '--force', pid, f'{d}/image')
            check(r.returncode, 0, r.stderr)
        end(pid)


if __name__ == '__main__':
    harness.main(sys.modules[__name__])
