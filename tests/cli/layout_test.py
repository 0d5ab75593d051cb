# SPDX-License-Identifier: LGPL-2.1-or-later
"""The project of a file without a name, which counts for its quota, and the size of its extents (FS_IOC_FSSETXATTR), as XFS has them"""
import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys

import harness
from harness import Container, Skip, check, scratch, spore, wait_for

GET = 0x801C581F  # FS_IOC_FSGETXATTR
EXTENT, PROJECT = 1 << 20, 4242


def layout(fd):
    flags, size, _, project = struct.unpack_from('<4I', fcntl.ioctl(fd, GET, bytes(28)))
    return flags & 0x800, size, project


@contextlib.contextmanager
def xfs(d):
    if not shutil.which('mkfs.xfs'):
        raise Skip('there is no mkfs.xfs')
    os.mkdir(f'{d}/on')
    with open(f'{d}/disk', 'wb') as f:
        f.truncate(400 << 20)
    r = subprocess.run(['mkfs.xfs', '-q', f'{d}/disk'], capture_output=True, text=True)
    if not r.returncode:
        r = subprocess.run(['mount', '-o', 'loop', f'{d}/disk', f'{d}/on'], capture_output=True, text=True)
    if r.returncode:
        raise Skip(f'XFS: {r.stderr.strip()}')
    try:
        yield f'{d}/on'
    finally:
        subprocess.run(['umount', '-l', f'{d}/on'])


PROGRAM = """
import fcntl, os, signal, struct, sys
fd = os.open(sys.argv[1] + '/gone', os.O_RDWR | os.O_CREAT)
flags, size, n, project, cow, pad = struct.unpack('<5I8s', fcntl.ioctl(fd, 0x801C581F, bytes(28)))
fcntl.ioctl(fd, 0x401C5820, struct.pack('<5I8s', flags | 0x800, 1 << 20, n, 4242, cow, pad))  # FS_XFLAG_EXTSIZE
os.write(fd, b'contents')
os.unlink(sys.argv[1] + '/gone')
os.dup2(fd, 50)
open(sys.argv[1] + '/ready', 'w').close()
while True:
    signal.pause()
"""


def held(pid):
    """The descriptor 50 of the python below that container."""
    for p in (pid, *harness.children(pid)):
        with contextlib.suppress(OSError):
            return os.open(f'/proc/{p}/fd/50', os.O_RDONLY)
    return None


def test_project_and_extents():
    with scratch() as d, xfs(d) as on:
        with Container('python3', '-c', PROGRAM, on) as container:
            wait_for(lambda: os.path.exists(f'{on}/ready'), what='program')
            fd = held(container.pid)
            check(layout(fd), (0x800, EXTENT, PROJECT))
            os.close(fd)
            r = spore('checkpoint', '--kill', container.pid, f'{d}/image')
            check(r.returncode, 0, r.stderr)
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        pid = int(r.stdout)
        fd = held(pid)
        check((layout(fd), os.read(fd, 20)), ((0x800, EXTENT, PROJECT), b'contents'))
        os.close(fd)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not harness.alive(pid), what='end')


if __name__ == '__main__':
    harness.main(sys.modules[__name__])
