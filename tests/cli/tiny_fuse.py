# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file system of two files that it shows with one inode number, as one over several others may: fuse(4), the protocol itself."""
import contextlib
import ctypes
import errno
import os
import struct
import time

from harness import Skip

NAMES = {b'a': 2, b'b': 3}
INODE = 7


def attributes(node, gone):
    directory = node == 1
    return struct.pack('<6Q10I', 1 if directory else INODE, 0 if directory else 2, 0, 0, 0, 0, 0, 0, 0,
                       0o40755 if directory else 0o100644, 0 if node in gone else 1, 0, 0, 0, 4096, 0)


def answer(op, node, body, gone):
    if op == 26:  # INIT
        return struct.pack('<4I2H10I', 7, 31, 0, 0, 12, 10, 65536, 1, *[0] * 8)
    if op == 1:  # LOOKUP
        found = NAMES.get(body.rstrip(b'\0'))
        if not found or found in gone:
            return -errno.ENOENT
        return struct.pack('<4Q2I', found, 0, 0, 0, 0, 0) + attributes(found, gone)
    if op == 3:  # GETATTR
        return struct.pack('<QII', 0, 0, 0) + attributes(node, gone)
    if op in (14, 27):  # OPEN, OPENDIR
        return struct.pack('<QII', 0, 1, 0)  # FOPEN_DIRECT_IO
    if op == 15:  # READ
        offset, = struct.unpack_from('<Q', body, 8)
        return (b'A\n' if node == 2 else b'B\n')[offset:]
    if op == 10:  # UNLINK
        gone.add(NAMES[body.rstrip(b'\0')])
        return b''
    return b'' if op in (18, 25, 29, 34) else -errno.ENOSYS  # RELEASE, FLUSH, RELEASEDIR, ACCESS


def serve(device):
    gone = set()
    while True:
        try:
            request = os.read(device, 1 << 17)
        except OSError:
            os._exit(0)  # unmounted
        _, op, unique, node = struct.unpack_from('<IIQQ', request)
        if op in (2, 36, 42):  # FORGET, INTERRUPT, BATCH_FORGET
            continue
        said = answer(op, node, request[40:], gone)
        body = said if isinstance(said, bytes) else b''
        os.write(device, struct.pack('<IiQ', 16 + len(body), 0 if body is said else said, unique) + body)


@contextlib.contextmanager
def mounted(point):
    try:
        device = os.open('/dev/fuse', os.O_RDWR)
    except OSError as e:
        raise Skip(f'/dev/fuse: {e.strerror}')
    libc = ctypes.CDLL(None, use_errno=True)
    options = f'fd={device},rootmode=40000,user_id=0,group_id=0,allow_other'
    if libc.mount(b'tiny', point.encode(), b'fuse', 0, options.encode()):
        os.close(device)
        raise Skip(f'mount of fuse: {os.strerror(ctypes.get_errno())}')
    server = os.fork()
    if not server:
        os.setsid()
        serve(device)
    os.close(device)
    try:
        yield
    finally:
        libc.umount2(point.encode(), 2)  # MNT_DETACH
        time.sleep(0.05)
        os.kill(server, 9)
        os.waitpid(server, 0)
