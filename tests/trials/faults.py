# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two ways to make a command fail at its n-th system call without tracing it: it traces others itself, and a task has one tracer.

KillAt is a BPF program at the entry of every system call that counts those of the processes called spore* in one cgroup, and sends
SIGKILL at the n-th. NoSpace answers ENOSPC to the n-th call that writes below a directory, through a seccomp listener.
"""
import contextlib
import ctypes
import errno
import os
import signal
import struct
import time

from harness import Freezer, Skip, kill_all
from listener import Listener, memory_of, syscall

# --- KillAt ------------------------------------------------------------------------------------------------------

SYS_BPF = 321
MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, PROG_LOAD, RAW_TRACEPOINT_OPEN = 0, 1, 2, 5, 17
LOOKUP, GET_PID_TGID, GET_COMM, GET_CGROUP_ID, SEND_SIGNAL = 1, 14, 16, 80, 109
PROBE_READ_USER, PROBE_READ_KERNEL = 112, 113
SYS_SENDMSG, RSI, TEXT = 46, 104, 16   # RSI: the second argument, in struct pt_regs


def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


def load64(dst, value, src=0):
    low, high = value & 0xffffffff, value >> 32
    return insn(0x18, dst, src, 0, low - (1 << 32) if low >> 31 else low) + insn(0, 0, 0, 0, high - (1 << 32) if high >> 31 else high)


def bpf(command, attr):
    buffer = ctypes.create_string_buffer(attr.ljust(128, b"\0"), 128)
    return syscall(SYS_BPF, command, buffer, 128)


def read(helper, size):
    """What r3 points to, to the stack at -32."""
    return [insn(0xbf, 1, 10), insn(0x07, 1, imm=-32), insn(0xb7, 2, imm=size), insn(0x85, imm=helper)]


def assemble(parts):
    """Conditional jumps are tuples: code, registers, value, label; labels are strings."""
    labels, at, code = {}, 0, b""
    for part in parts:
        if isinstance(part, str):
            labels[part] = at
        else:
            at += 1 if isinstance(part, tuple) else len(part) // 8
    for part in parts:
        if isinstance(part, tuple):
            opcode, dst, src, imm, label = part
            part = insn(opcode, dst, src, labels[label] - len(code) // 8 - 1, imm)
        code += b"" if isinstance(part, str) else part
    return code + insn(0xb7, 0, imm=0) + insn(0x95)


class KillAt:
    """A cgroup in which the n-th system call of spore is its last, counted from the start or from the moment at which a phase is announced.

    The keeper announces it in a message to its client (struct reply, src/api/protocol.h): the text begins at byte TEXT.
    """
    VALUE = struct.Struct("<QQQ8sQQ8s8s")     # calls, calls counted, the fatal one, phase awaited, is it here, who was killed, in which phase; the phase now
    CALLS, COUNTED, FATAL, AWAITED, HERE, KILLED, KILLED_IN, PHASE = range(0, 64, 8)

    def __init__(self, name):
        self.group = Freezer(name)
        if not self.group.path:
            raise Skip("no cgroup v2 to make a cgroup in")
        try:
            self.map = bpf(MAP_CREATE, struct.pack("<IIII", 2, 4, self.VALUE.size, 1))
            code = self.program(os.stat(self.group.path).st_ino)
            text, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
            log = ctypes.create_string_buffer(65536)
            prog = bpf(PROG_LOAD, struct.pack("<IIQQIIQ", 17, len(code) // 8, ctypes.addressof(text), ctypes.addressof(licence),
                                              1, len(log), ctypes.addressof(log)))
            event = ctypes.create_string_buffer(b"sys_enter")
            self.link = bpf(RAW_TRACEPOINT_OPEN, struct.pack("<QI", ctypes.addressof(event), prog))
            os.close(prog)
        except OSError as e:
            self.group.remove()
            raise Skip(f"no BPF program on sys_enter here: {e.strerror}") from None

    def program(self, cgroup):
        """At the entry of each system call; a tuple is a conditional jump to the label at its end, a string a label."""
        return assemble([
            insn(0xbf, 7, 1),
            insn(0x85, imm=GET_CGROUP_ID), load64(1, cgroup), (0x5d, 0, 1, 0, "end"),
            insn(0xbf, 1, 10), insn(0x07, 1, imm=-16), insn(0xb7, 2, imm=16), insn(0x85, imm=GET_COMM),
            insn(0x61, 1, 10, -16), (0x55, 1, 0, int.from_bytes(b"spor", "little"), "end"),
            insn(0x71, 1, 10, -12), (0x55, 1, 0, ord("e"), "end"),
            insn(0x62, 10, off=-20, imm=0), load64(1, self.map, src=1), insn(0xbf, 2, 10), insn(0x07, 2, imm=-20),
            insn(0x85, imm=LOOKUP), (0x15, 0, 0, 0, "end"),
            insn(0xbf, 6, 0), insn(0xb7, 1, imm=1), insn(0xdb, 6, 1, self.CALLS, 1),
            insn(0x79, 1, 7, 8), (0x55, 1, 0, SYS_SENDMSG, "count"),
            # msghdr.msg_iov[0].iov_base, in which the text begins at TEXT
            insn(0x79, 3, 7, 0), insn(0x07, 3, imm=RSI), *read(PROBE_READ_KERNEL, 8),
            insn(0x79, 3, 10, -32), insn(0x07, 3, imm=16), *read(PROBE_READ_USER, 8),
            insn(0x79, 3, 10, -32), *read(PROBE_READ_USER, 8),
            insn(0x79, 8, 10, -32), insn(0xbf, 3, 8), insn(0x07, 3, imm=TEXT), *read(PROBE_READ_USER, 8),
            insn(0x61, 1, 10, -32), (0x55, 1, 0, int.from_bytes(b"phas", "little"), "count"),
            insn(0xbf, 1, 6), insn(0x07, 1, imm=self.PHASE), insn(0xb7, 2, imm=8), insn(0xbf, 3, 8), insn(0x07, 3, imm=TEXT + len("phase: ")),
            insn(0x85, imm=PROBE_READ_USER),
            insn(0x79, 1, 6, self.PHASE), insn(0x79, 2, 6, self.AWAITED), (0x5d, 1, 2, 0, "count"),
            insn(0x7a, 6, off=self.HERE, imm=1),
            "count",
            insn(0x79, 1, 6, self.HERE), (0x15, 1, 0, 0, "end"),
            insn(0xb7, 1, imm=1), insn(0xdb, 6, 1, self.COUNTED, 1), insn(0x07, 1, imm=1),
            insn(0x79, 2, 6, self.FATAL), (0x5d, 1, 2, 0, "end"),
            insn(0x79, 1, 6, self.PHASE), insn(0x7b, 6, 1, self.KILLED_IN),
            insn(0x85, imm=GET_PID_TGID), insn(0x7b, 6, 0, self.KILLED), insn(0xb7, 1, imm=9), insn(0x85, imm=SEND_SIGNAL),
            "end",
        ])

    def arm(self, n, phase=None):
        """SIGKILL at the n-th call from now, or from the start of that phase; 0: only count."""
        value = self.VALUE.pack(0, 0, n, (phase or "").encode(), not phase, 0, b"", b"")
        key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(value, len(value))
        bpf(MAP_UPDATE, struct.pack("<I4xQQQ", self.map, ctypes.addressof(key), ctypes.addressof(value), 0))

    def state(self):
        """Calls so far, the process that was killed (0: none), the phase in which it was."""
        key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(self.VALUE.size)
        bpf(MAP_LOOKUP, struct.pack("<I4xQQQ", self.map, ctypes.addressof(key), ctypes.addressof(value), 0))
        calls, _, _, _, _, killed, phase, _ = self.VALUE.unpack(value.raw)
        return calls, killed >> 32, phase.rstrip(b"\0").decode() or "begin"

    def pids(self):
        with open(f"{self.group.path}/cgroup.procs") as f:
            return [int(x) for x in f.read().split()]

    def close(self):
        for _ in range(100):
            kill_all(self.pids())
            if not self.pids():
                break
            time.sleep(0.05)
        os.close(self.link)
        os.close(self.map)
        self.group.remove()


# --- NoSpace -----------------------------------------------------------------------------------------------------

# calls that take room on a disk, and which argument is the descriptor that says where
WRITES = {1: 0, 18: 0, 20: 0, 296: 0, 328: 0, 77: 0, 285: 0, 74: 0, 75: 0, 40: 0, 326: 2, 275: 2, 257: 0, 258: 0, 264: 2, 316: 2}
OPENAT, O_CREAT = 257, 0o100


class NoSpace(Listener):
    """Runs a command whose n-th write below a directory, or every one from there, finds the disk full."""

    def __init__(self, argv, below, n, sticky, log, env=None):
        self.below, self.n, self.sticky, self.count, self.hits, self.failed = os.path.realpath(below), n, sticky, 0, 0, None
        super().__init__(WRITES, argv, log, env)

    def answer(self, pid, nr, args):
        if not self.concerns(pid, nr, args):
            return 0
        self.count += 1
        if not self.n or not (self.count == self.n or self.sticky and self.count > self.n):
            return 0
        self.hits += 1
        self.failed = nr
        return errno.ENOSPC

    def concerns(self, pid, nr, args):
        if nr == OPENAT and not args[2] & O_CREAT:
            return False
        fd = ctypes.c_int32(args[WRITES[nr]] & 0xffffffff).value
        try:
            if nr in (OPENAT, 258, 264, 316):
                path = memory_of(pid, args[3 if nr in (264, 316) else 1], 256).split(b"\0")[0].decode(errors="replace")
                base = os.readlink(f"/proc/{pid}/cwd" if fd == -100 else f"/proc/{pid}/fd/{fd}") if not path.startswith("/") else "/"
                where = os.path.normpath(os.path.join(base, path))
            else:
                where = os.readlink(f"/proc/{pid}/fd/{fd}")
        except (OSError, ValueError):
            return False
        return where == self.below or where.startswith(self.below + "/")
