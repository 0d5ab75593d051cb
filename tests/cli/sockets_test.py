# SPDX-License-Identifier: LGPL-2.1-or-later
"""Unix sockets between a tree and the outside, places of sockets that are taken at the restore, and where the kernel cannot be read"""
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import sys

import harness
from files_test import refuses, restores
from harness import check, check_in, scratch, spore, wait_for
from save_test import end, kill_restored, outside

DIALS = """
import socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.connect(sys.argv[1])
open(sys.argv[2], "w").close()
time.sleep(1000)
"""
LISTENS = """
import socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.bind(sys.argv[1] if sys.argv[1][0] == "/" else chr(0) + sys.argv[1])
s.listen()
open(sys.argv[2], "w").close()
time.sleep(1000)
"""


def listener(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.bind(path)
    s.listen()
    return s


def started(d, script, name):
    p = outside(sys.executable, '-c', script, name, f'{d}/ready')
    wait_for(lambda: os.path.exists(f'{d}/ready'))
    return p


def test_a_peer_outside_is_told_and_strictly_refused():
    with scratch() as d:
        server = listener(f'{d}/server')
        p = started(d, DIALS, f'{d}/server')
        for command in (('check', '--strict', p.pid), ('checkpoint', '--strict', p.pid, f'{d}/image')):
            r = spore(*command)
            check(r.returncode, 3, r.stderr)
            check_in('its peer is outside the tree', r.stderr)
        r = spore('check', p.pid)
        check(r.returncode, 0, r.stderr)
        check_in('its peer is outside the tree', r.stderr)
        r = spore('checkpoint', p.pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        check_in('its peer is outside the tree', r.stderr)
        end(p)
        check_in('was outside the tree', spore('check', f'{d}/image').stderr)
        restores(d, 'was outside the tree')
        server.close()


ASKS = """
import socket, struct, sys, time
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.send(struct.pack('IHHII', 32, 18, 0x301, 1, 0) + bytes(16))
open(sys.argv[1], "w").close()
time.sleep(1000)
"""


def test_unread_answers_of_the_kernel_are_told_to_be_lost_and_strictly_refused():
    with scratch() as d:
        p = started(d, ASKS, f'{d}/ready')
        for command in (('check', '--strict', p.pid), ('checkpoint', '--strict', p.pid, f'{d}/image')):
            r = spore(*command)
            check(r.returncode, 3, r.stderr)
            check_in('messages of the kernel that have not been read', r.stderr)
        r = spore('checkpoint', p.pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        check_in('messages of the kernel (notifications or answers) that it has not read are lost: it will be told so (ENOBUFS)', r.stderr)
        end(p)


def test_where_the_kernel_cannot_be_read_what_sockets_hide_is_said_to_be_lost():
    if not shutil.which('capsh'):
        return
    with scratch() as d:
        p = started(d, LISTENS, f'{d}/socket')
        lost = 'sockets: note: what no interface shows of them cannot be read here'
        r = spore('check', p.pid)
        check((r.returncode, lost in r.stderr), (0, False), r.stderr)
        r = subprocess.run(['capsh', '--drop=cap_bpf,cap_perfmon,cap_sys_admin', '--', '-c', f'{harness.SPORE} check {p.pid}'],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        check_in(lost, r.stderr)
        end(p)


COUNTS = """
import fcntl, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
t.bind(("127.0.0.1", 0))
try:
    fcntl.ioctl(t, 0x8906, bytearray(16))  # SIOCGSTAMP: from now on it is kept
except OSError:
    pass
time.sleep(0.1)
t.sendto(b"x", t.getsockname())
t.recv(1)
s.setsockopt(socket.SOL_SOCKET, 37, 1 << 7 | 1 << 1)  # SO_TIMESTAMPING: OPT_ID, TX_SOFTWARE
s.setsockopt(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY
s.sendto(b"x", 0x4000000, s.getsockname())  # MSG_ZEROCOPY
s.recv(1)
time.sleep(0.1)
try:
    while True:
        s.recvmsg(100, 1000, 0x2000 | socket.MSG_DONTWAIT)  # MSG_ERRQUEUE
except BlockingIOError:
    pass
open(sys.argv[2], "w").close()
time.sleep(1000)
"""


def test_what_a_socket_counts_and_nobody_can_set_is_said_to_begin_anew():
    with scratch() as d:
        p = started(d, COUNTS, '-')
        r = spore('check', p.pid)
        check(r.returncode, 0, r.stderr)
        for what in ('SOF_TIMESTAMPING_OPT_ID', 'MSG_ZEROCOPY', 'SIOCGSTAMP'):
            check_in(what, r.stderr)
        end(p)


# A connection whose one end was closed with megabytes unsent. Answers by and by: what the other end is like, and how much has come to it, to the end.
CLOSED = """
import socket, sys, time, os
l = socket.create_server(("127.0.0.1", 0))
a = socket.create_connection(l.getsockname())
b = l.accept()[0]
l.close()
a.setblocking(False)
sent = idle = 0
while idle < 20:
    try:
        sent += a.send(bytes(100000))
        idle = 0
    except BlockingIOError:
        idle += 1
        time.sleep(0.01)
a.close()
def options():
    return [b.getsockopt(*o) for o in ((socket.IPPROTO_TCP, 10), (socket.SOL_SOCKET, socket.SO_RCVBUF), (socket.SOL_SOCKET, 72))]
at_first = options()
open(sys.argv[2], "w").close()
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
same = options() == at_first
b.settimeout(10)
while some := len(b.recv(1 << 16)):
    sent -= some
with open(sys.argv[1] + ".said", "w") as f:
    f.write(f"{same} {sent}\\n")
time.sleep(1000)
"""


def without_bpf():
    """From here on bpf() answers EPERM."""
    statements = ((0x20, 0, 0, 0), (0x15, 0, 1, 321), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000))
    code = ctypes.create_string_buffer(b''.join(struct.pack('<HBBI', *s) for s in statements))
    program = ctypes.create_string_buffer(struct.pack('<HxxxxxxQ', len(statements), ctypes.addressof(code)))
    if ctypes.CDLL(None).prctl(22, 2, ctypes.c_ulong(ctypes.addressof(program)), 0, 0):
        raise OSError('no seccomp')


def reads_to_the_end(d, name):
    open(f'{d}/{name}', 'w').close()
    wait_for(lambda: os.path.exists(f'{d}/{name}.said') and open(f'{d}/{name}.said').read().endswith('\n'))
    said = open(f'{d}/{name}.said').read()
    os.unlink(f'{d}/{name}')
    os.unlink(f'{d}/{name}.said')
    return said


def test_what_a_closed_peer_had_still_to_send_comes_also_where_the_kernel_cannot_be_read():
    for how in (None, without_bpf):
        with scratch() as d:
            p = started(d, CLOSED, f'{d}/go')
            r = spore('checkpoint', p.pid, f'{d}/image', preexec_fn=how)
            check((r.returncode, 'has come to it at once' in r.stderr), (0, how is not None), r.stderr)
            check(reads_to_the_end(d, 'go'), 'True 0\n', 'of the tree that went on')
            end(p)
            r = spore('restore', '-d', f'{d}/image')
            check(r.returncode, 0, r.stderr)
            check(reads_to_the_end(d, 'go'), 'True 0\n', 'of the restored one')
            kill_restored(int(r.stdout.split()[-1]))


# A root whose first thread ends: what it goes on with are a TCP connection to itself, and a group on the loopback.
LEADERLESS = """
import ctypes, os, socket, struct, sys, threading, time
l = socket.create_server(("127.0.0.1", 0))
a = socket.create_connection(l.getsockname())
b = l.accept()[0]
m = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group = socket.inet_aton("239.9.8.7") + socket.inet_aton("127.0.0.1")
m.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
def goes_on():
    while open(f"/proc/{os.getpid()}/stat").read().rsplit(")")[-1].split()[0] != "Z":
        time.sleep(0.02)
    open(sys.argv[2], "w").close()
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.02)
    a.send(b"x")
    said = b.recv(1)
    m.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, group)
    with open(sys.argv[1] + ".said", "w") as f:
        f.write(f"{said}\\n")
    time.sleep(1000)
threading.Thread(target=goes_on).start()
ctypes.CDLL(None).syscall(60, 0)
"""


def test_sockets_of_a_tree_whose_root_has_no_first_thread_any_more():
    with scratch() as d:
        p = started(d, LEADERLESS, f'{d}/go')
        r = spore('checkpoint', p.pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        end(p)
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        check(reads_to_the_end(d, 'go'), "b'x'\n")
        kill_restored(int(r.stdout.split()[-1]))


# A raw socket that has overheard a datagram to that port, and none to others.
OVERHEARS = """
import ctypes, socket, struct, sys, time
port = int(sys.argv[1])
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
statements = ((0x28, 0, 0, 22), (0x15, 0, 1, port), (0x06, 0, 0, 0xffff), (0x06, 0, 0, 0))
code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *x) for x in statements))
s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("<HxxxxxxQ", len(statements), ctypes.addressof(code)))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
s.recv(100, socket.MSG_PEEK)
open(sys.argv[2], "w").close()
time.sleep(1000)
"""


def test_what_was_overheard_is_sent_again_to_nobody_else():
    with scratch() as d, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(('127.0.0.1', 0))
        here = s.getsockname()
        p = started(d, OVERHEARS, str(here[1]))
        s.recv(100)
        r = spore('checkpoint', p.pid, f'{d}/image')
        check(r.returncode, 3, r.stderr)
        check_in('somebody outside of the tree', r.stderr)
        s.close()
        r = spore('checkpoint', p.pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        end(p)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(here)
            r = spore('restore', '-d', f'{d}/image')
            check(r.returncode, 1, r.stderr)
            check_in('somebody who has its port', r.stderr)
            other.setblocking(False)
            try:
                raise AssertionError(f'somebody else has got {other.recv(100)}')
            except BlockingIOError:
                pass
        restores(d)


def saved_listener(d, name):
    p = started(d, LISTENS, name)
    r = spore('checkpoint', p.pid, f'{d}/image')
    check(r.returncode, 0, r.stderr)
    end(p)


def test_a_path_is_taken_back_from_its_dead_socket_and_from_no_other():
    with scratch() as d:
        path = f'{d}/socket'
        saved_listener(d, path)
        before = os.lstat(path)
        restores(d)
        check(os.listdir(d).count('socket'), 1)
        check([n for n in os.listdir(d) if n.startswith('.spore')], [])
        check(os.lstat(path).st_ino != before.st_ino, True)
        os.unlink(path)
        other = listener(path)
        refuses(d, path, 'another socket is bound to this path')
        check(other.fileno() >= 0 and os.path.exists(path), True)
        other.close()
        os.unlink(path)
        open(path, 'w').close()
        refuses(d, path, 'another kind of file')
        os.unlink(path)
        restores(d)
        check(os.path.exists(path), True)


def test_a_directory_that_is_missing_is_named():
    with scratch() as d:
        os.mkdir(f'{d}/dir')
        saved_listener(d, f'{d}/dir/socket')
        os.unlink(f'{d}/dir/socket')
        os.rmdir(f'{d}/dir')
        refuses(d, f'{d}/dir/socket', 'directory of this socket is missing')


def test_an_abstract_name_that_is_taken_is_named():
    with scratch() as d:
        name = f'spore-test-{os.getpid()}'
        saved_listener(d, name)
        other = listener(f'\0{name}')
        refuses(d, f'@{name}', 'another socket is bound to this abstract name')
        other.close()
        restores(d)


def test_a_tree_saved_twice_gives_equal_sockets():
    with scratch() as d:
        saved_listener(d, f'{d}/socket')
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        pid = int(r.stdout.split()[-1])
        r = spore('checkpoint', pid, f'{d}/again')
        check(r.returncode, 0, r.stderr)
        first, again = (records(f'{d}/{name}') for name in ('image', 'again'))
        check(again, first)
        kill_restored(pid)


def records(image):
    text = spore('inspect', image).stdout
    at = text.index('\nunix #')
    lines = text[at + 1:].split('\n')[1:]
    return [line for line in lines[:next(i for i, line in enumerate(lines) if line[:1] not in ' ')]]


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
