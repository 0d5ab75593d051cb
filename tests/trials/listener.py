# SPDX-License-Identifier: LGPL-2.1-or-later
"""A command under a seccomp listener: chosen system calls of it, and of all that it starts, wait until the test has answered."""
import contextlib
import ctypes
import fcntl
import os
import select
import signal
import struct
import time

libc = ctypes.CDLL(None, use_errno=True)

SYS_SECCOMP, SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 317, 434, 438
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101


def syscall(number, *args):
    r = libc.syscall(ctypes.c_long(number), *args)
    if r < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return r


def install_listener(calls):
    jumps = b"".join(struct.pack("<HBBI", 0x15, len(calls) - i, 0, n) for i, n in enumerate(calls))
    code = struct.pack("<HBBI", 0x20, 0, 0, 0) + jumps + struct.pack("<HBBI", 6, 0, 0, 0x7fff0000) + struct.pack("<HBBI", 6, 0, 0, 0x7fc00000)
    text = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("<H6xQ", len(code) // 8, ctypes.addressof(text)))
    syscall(SYS_SECCOMP, 1, 8, program)     # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER


def memory_of(pid, address, size):
    with open(f"/proc/{pid}/mem", "rb") as f:
        f.seek(address)
        return f.read(size)


class Listener:
    """Runs argv with its output in the file `log`; answer() decides on each of `calls`."""

    def __init__(self, calls, argv, log, env=None, timeout=60):
        go_rd, go_wr = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(go_wr)
                out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                os.dup2(out, 1)
                os.dup2(out, 2)
                install_listener(calls)
                os.read(go_rd, 1)           # until the parent has the listener
                os.execve(argv[0], argv, env or os.environ)
            finally:
                os._exit(127)
        os.close(go_rd)
        listener = self.take_listener()
        os.close(go_wr)
        self.status = self.serve(listener, timeout)
        with open(log, errors="replace") as f:
            self.output = f.read()

    def take_listener(self):
        """The listener that the process has just made, wherever its number is."""
        pidfd = syscall(SYS_PIDFD_OPEN, self.pid, 0)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                for fd in os.listdir(f"/proc/{self.pid}/fd"):
                    if "seccomp notify" in os.readlink(f"/proc/{self.pid}/fd/{fd}"):
                        listener = syscall(SYS_PIDFD_GETFD, pidfd, int(fd), 0)
                        os.close(pidfd)
                        return listener
            time.sleep(0.001)
        raise AssertionError("no seccomp listener")

    def serve(self, listener, timeout):
        """The command's exit status. What it leaves behind may live on without being heard."""
        status, end = None, time.monotonic() + timeout
        poller = select.poll()
        poller.register(listener, select.POLLIN)
        while time.monotonic() < end:
            for _, event in poller.poll(50):
                if event & select.POLLIN:
                    self.reply(listener)
                elif event & select.POLLHUP:        # nobody is left under the filter
                    status = status if status is not None else os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
                    end = 0
            if status is None:
                done, status_now = os.waitpid(self.pid, os.WNOHANG)
                if done:
                    status = os.waitstatus_to_exitcode(status_now)
                    end = min(end, time.monotonic() + self.linger)
        os.close(listener)
        if status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise AssertionError("the command hangs")
        return status

    linger = 5      # seconds in which what outlives the command is heard

    def reply(self, listener):
        buffer = bytearray(80)
        try:
            fcntl.ioctl(listener, NOTIF_RECV, buffer)
        except OSError:
            return          # it died meanwhile
        ident, pid, _, nr, _, _, *args = struct.unpack("<QIIiIQ6Q", buffer)
        error = self.answer(pid, nr, args)
        with contextlib.suppress(OSError):
            fcntl.ioctl(listener, NOTIF_SEND, struct.pack("<QqiI", ident, 0, -error, 0 if error else 1))

    def answer(self, pid, nr, args):
        """The errno with which the call fails; 0: it goes on. It happens after this returns."""
        raise NotImplementedError
