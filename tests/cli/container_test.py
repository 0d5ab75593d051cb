# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a container holds beside its processes: its mounts and its /dev/shm"""
import json
import os
import shutil
import subprocess
import sys
import time

import harness
from harness import Container, alive, check, check_in, named, scratch, spore, wait_for


def test_a_mount_of_its_own_is_refused():
    with scratch() as d:
        os.mkdir(f'{d}/point')
        with Container('sh', '-c', f'mount -t tmpfs x {d}/point && touch {d}/ready; sleep 100', options=['--name', named('mount-test')]) as c:
            wait_for(lambda: os.path.exists(f'{d}/ready'))
            for command in (['check', c.pid], ['checkpoint', c.pid, f'{d}/image']):
                r = spore(*command)
                check(r.returncode, 3, r.stderr)
                check_in(f'mount {d}/point (tmpfs)', r.stderr)
            check(alive(c.pid), True)


def test_a_mount_that_run_made_and_the_container_unmounted_is_refused():
    for point in ('/dev/shm', '/dev/mqueue', '/dev/ptmx', '/dev/pts'):
        if not os.path.exists(point) or os.path.islink(point):
            continue
        with scratch() as d, Container('sh', '-c', f'umount -l {point} && touch {d}/ready; sleep 100') as c:
            wait_for(lambda: os.path.exists(f'{d}/ready'))
            for command in (['check', c.pid], ['checkpoint', c.pid, f'{d}/image']):
                r = spore(*command)
                check(r.returncode, 3, r.stderr)
                check_in(f'mount {point}: the container has unmounted it', r.stderr)
            check(alive(c.pid), True)


def refused_setting(script, expected, *options):
    with scratch() as d:
        with Container('sh', '-c', f'{script} && touch {d}/ready; sleep 100', options=['--name', named('setting-test'), *options]) as c:
            wait_for(lambda: os.path.exists(f'{d}/ready'))
            r = spore('checkpoint', c.pid, f'{d}/image')
            check(r.returncode, 3 if expected else 0, r.stderr)
            for what in expected:
                check_in(what, r.stderr)
            check(alive(c.pid), True)


NETLINK = """
import socket, struct, sys
def message(kind, flags, body): return struct.pack('IHHII', 16 + len(body), kind, flags, 1, 0) + body
def attribute(kind, value): return struct.pack('HH', 4 + len(value), kind) + value + bytes(-len(value) % 4)
def ask(protocol, *messages):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    s.send(b''.join(messages))
    kind, error = struct.unpack('4xH10xi', s.recv(65536)[:20])
    sys.exit(kind != 2 or error != 0)
"""
# NFNL_MSG_BATCH_BEGIN, NFT_MSG_NEWTABLE (ip, "spore"), NFNL_MSG_BATCH_END
NFT_TABLE = NETLINK + """
ask(12, message(16, 1, struct.pack('>BBH', 0, 0, 10)), message(10 << 8, 0x405, struct.pack('BBH', 2, 0, 0) + attribute(1, b'spore\\0')),
    message(17, 1, struct.pack('>BBH', 0, 0, 10)))
"""
# RTM_NEWRULE of IPv4: priority 100, to the main table
POLICY_RULE = NETLINK + """
ask(0, message(32, 0x605, struct.pack('8BI', 2, 0, 0, 0, 254, 0, 0, 1, 0) + attribute(6, struct.pack('I', 100))))
"""
# IPT_SO_GET_INFO of "filter" makes that table
XTABLES = """
import ctypes, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
info = ctypes.create_string_buffer(b'filter', 84)
sys.exit(ctypes.CDLL(None).getsockopt(s.fileno(), 0, 64, info, ctypes.byref(ctypes.c_uint(84))) != 0)
"""

# All of lo, which is link 1
NEIGHBOUR = NETLINK + """
ask(0, message(28, 0x605, struct.pack('=BxxxiHBB', 2, 1, 0x80, 0, 0) + attribute(1, bytes([127, 0, 0, 9])) + attribute(2, bytes([2, 0, 0, 0, 0, 9]))))
"""
PROXY = NETLINK + """
ask(0, message(28, 0x605, struct.pack('=BxxxiHBB', 2, 1, 0, 8, 0) + attribute(1, bytes([127, 0, 0, 9]))))
"""
ROUTE_V6 = NETLINK + """
ask(0, message(24, 0x605, struct.pack('8BI', 10, 32, 0, 0, 254, 4, 0, 1, 0) + attribute(1, bytes([32, 1, 13, 184] + [0] * 12)) +
    attribute(4, struct.pack('I', 1))))
"""
ROUTE_METRIC = NETLINK + """
ask(0, message(24, 0x605, struct.pack('8BI', 2, 32, 0, 0, 255, 4, 254, 2, 0) + attribute(1, bytes([127, 0, 0, 7])) +
    attribute(4, struct.pack('I', 1)) + attribute(8, attribute(2, struct.pack('I', 1280)))))
"""
MTU = NETLINK + """
ask(0, message(19, 5, struct.pack('=BxHiII', 0, 0, 1, 0, 0) + attribute(4, struct.pack('I', 1500))))
"""
NEXTHOP = NETLINK + """
ask(0, message(104, 0x605, struct.pack('4BI', 2, 0, 4, 0, 0) + attribute(1, struct.pack('I', 7)) + attribute(4, b'')))
"""
LABEL = NETLINK + """
ask(0, message(72, 0x605, struct.pack('4BII', 10, 0, 32, 0, 0, 0) + attribute(1, bytes([32, 1, 13, 184] + [0] * 12)) + attribute(2, struct.pack('I', 77))))
"""
ACTION = NETLINK + """
ask(0, message(48, 0x605, bytes(4) + attribute(1, attribute(1, attribute(1, b'mirred\\0') + attribute(2, attribute(2, struct.pack('5IiI', 0, 0, 4, 0, 0, 1, 1)))))))
"""
IPSEC_POLICY = NETLINK + """
selector = struct.pack('=16x16x8xHBBBxxxII', 2, 0, 0, 0, 0, 0)
ask(6, message(0x13, 0x605, selector + bytes(96) + struct.pack('IIBBBBI', 0, 0, 1, 0, 0, 0, 0)))
"""
IPSEC_DEFAULT = NETLINK + """
ask(6, message(0x27, 5, bytes([2, 1, 2])))
"""
IP_SET = NETLINK + """
ask(12, message(6 << 8 | 2, 0x605, struct.pack('BBH', 2, 0, 0) + attribute(1, b'\\6') + attribute(2, b'spore\\0') + attribute(3, b'hash:ip\\0') +
    attribute(4, b'\\0') + attribute(5, b'\\2') + attribute(7 | 0x8000, b'')))
"""
MPTCP = NETLINK + """
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
s.send(message(16, 1, struct.pack('BBH', 3, 1, 0) + attribute(2, b'mptcp_pm\\0')))
answer = s.recv(65536)
family, = struct.unpack('H', answer[answer.index(struct.pack('HH', 6, 1)) + 4:][:2])
end = attribute(1, struct.pack('H', 2)) + attribute(3, bytes([127, 0, 0, 5])) + attribute(6, struct.pack('I', 1))
ask(16, message(family, 5, struct.pack('BBH', 1, 1, 0) + attribute(1 | 0x8000, end)))
"""
BPF = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
code, licence = (ctypes.create_string_buffer(b) for b in (struct.pack('BBhiBBhi', 0xb7, 0, 0, 2, 0x95, 0, 0, 0), b'GPL'))
def bpf(command, attr):
    attr = ctypes.create_string_buffer(attr, 128)
    return libc.syscall(321, command, attr, 128)
def program(kind):
    fd = bpf(5, struct.pack('IIQQ', kind, 2, ctypes.addressof(code), ctypes.addressof(licence)))
    assert fd >= 0, ctypes.get_errno()
    return fd
"""
DISSECTOR = BPF + """
assert bpf(8, struct.pack('4I', 0, program(22), 17, 0)) == 0, ctypes.get_errno()
"""
XDP = NETLINK + BPF + """
ask(0, message(19, 5, struct.pack('=BxHiII', 0, 0, 1, 0, 0) + attribute(43 | 0x8000, attribute(1, struct.pack('i', program(6))))))
"""
TCX = BPF + """
assert bpf(8, struct.pack('4I', 1, program(3), 46, 0)) == 0, ctypes.get_errno()
"""
OF_NETWORK = (('nftables', NFT_TABLE), ('policy rules', POLICY_RULE), ('ip_tables_names', XTABLES), ('neighbours', NEIGHBOUR), ('neighbours', PROXY),
              ('routes', ROUTE_V6), ('routes', ROUTE_METRIC), ('links', MTU), ('nexthops', NEXTHOP), ('address labels', LABEL),
              ('actions of traffic control', ACTION), ('IPsec', IPSEC_POLICY), ('IPsec', IPSEC_DEFAULT), ('IP sets', IP_SET), ('MPTCP', MPTCP),
              ('eBPF', DISSECTOR), ('links', XDP), ('eBPF', TCX))


def supported(script):
    """Whether this kernel has such a thing: tried in a network that ends with the trial."""
    raised = 'import fcntl, socket, struct, sys; fcntl.ioctl(socket.socket(2, 2), 0x8914, struct.pack("16sH22x", b"lo", 0x49)); exec(open(sys.argv[1]).read())'
    r = subprocess.run(['unshare', '-n', sys.executable, '-c', raised, script], capture_output=True, text=True)
    if r.returncode:
        print(f'     not on this kernel: {os.path.basename(script)} {r.stderr[-200:]}')
    return r.returncode == 0


def test_settings_of_namespaces_of_its_own_are_refused():
    refused_setting('echo 5555 >/proc/sys/kernel/msgmax && echo 20 >/proc/sys/fs/mqueue/msg_max', ())  # carried
    address = 'import fcntl, socket, struct; fcntl.ioctl(socket.socket(2, 2), 0x8916, struct.pack("16sHH4s8x", b"lo:1", 2, 0, bytes([10, 9, 9, 9])))'
    refused_setting(f"{sys.executable} -c '{address}'", ('addresses of its net namespace', 'routes of its net namespace'), '--net', 'none')
    refused_setting('true', (), '--net', 'none')
    refused_setting('echo 33 >/proc/sys/net/ipv4/ip_default_ttl', ('net/ipv4/ip_default_ttl of its net namespace: it is  33',), '--net', 'none')
    refused_setting('echo 1 >/proc/sys/net/ipv4/conf/lo/forwarding', ('net/ipv4/conf/lo/forwarding of its net namespace',), '--net', 'none')


def test_what_is_set_in_a_network_of_its_own_is_refused():
    with scratch() as d:
        for words, script in OF_NETWORK:
            with open(f'{d}/{words}', 'w') as f:
                f.write(script)
            if supported(f'{d}/{words}'):
                refused_setting(f"{sys.executable} '{d}/{words}'", (f'{words} of its net namespace',), '--net', 'none')


def test_a_cgroup_that_is_not_kept_is_told():
    mounts = [line.split() for line in open('/proc/mounts')]
    group = next((m[1] + '/spore-test-elsewhere' for m in mounts if m[2] == 'cgroup2'), None)
    if not group:
        return
    os.makedirs(group, exist_ok=True)
    sleeper = subprocess.Popen(['sh', '-c', 'sleep 100 & wait'], start_new_session=True)
    try:
        with scratch() as d:
            children = f'/proc/{sleeper.pid}/task/{sleeper.pid}/children'
            wait_for(lambda: open(children).read())
            child = open(children).read().strip()
            with open(f'{group}/cgroup.procs', 'w') as f:
                f.write(child)
            r = spore('checkpoint', sleeper.pid, f'{d}/first')
            check(r.returncode, 0, r.stderr)
            check_in("spore-test-elsewhere, and will be in that of the tree's root", r.stderr)
            with open(f'{group}/cgroup.procs', 'w') as f:
                f.write(str(sleeper.pid))
            r = spore('checkpoint', sleeper.pid, f'{d}/second')
            check_in('spore-test-elsewhere, and will be in that of the restoring command', r.stderr)
            check(len(r.stderr.splitlines()), 1, r.stderr)
    finally:
        os.killpg(sleeper.pid, 9)
        sleeper.wait()
        wait_for(lambda: not open(f'{group}/cgroup.procs').read())
        os.rmdir(group)


def contents(d):
    return sorted((os.path.join(at, name), os.lstat(os.path.join(at, name)).st_mtime_ns) for at, dirs, files in os.walk(d) for name in dirs + files)


def test_check_of_an_image_names_every_obstacle():
    with scratch() as d:
        os.mkdir(f'{d}/work')
        for name in ('written', 'gone'):
            with open(f'{d}/{name}', 'w') as f:
                f.write(name)
        shutil.copy('/bin/sleep', f'{d}/program')
        script = f'cd {d}/work; exec 3<>../written 4<../gone; ../program 1000 & touch ../ready; exec nice -n -5 sleep 1000'
        with Container('sh', '-c', script) as c:
            wait_for(lambda: os.path.exists(f'{d}/ready'))
            time.sleep(0.2)
            check(spore('checkpoint', '--kill', c.pid, f'{d}/image').returncode, 0)
            wait_for(lambda: not alive(c.pid))
        r = spore('check', f'{d}/image')
        check((r.returncode, r.stderr), (0, ''), 'nothing is in the way')
        check_in('can be restored here', r.stdout)
        with open(f'{d}/written', 'w') as f:
            f.write('WRITTEN')
        with open(f'{d}/program', 'w') as f:
            f.write('another')
        os.unlink(f'{d}/gone')
        os.rmdir(f'{d}/work')
        before = contents(d)
        r = spore('check', f'{d}/image')
        check(r.returncode, 3, r.stderr)
        for name, what in (('written', 'was written since'), ('gone', 'missing'), ('work', 'working or root directory'), ('program', 'shorter')):
            check([what in line for line in r.stderr.splitlines() if f'{d}/{name}:' in line], [True], r.stderr)
        check_in('4 obstacles', r.stdout)
        check(contents(d), before, 'nothing is touched')
        check(r.stderr.replace('check:', 'restore:'), spore('restore', '-d', f'{d}/image').stderr, 'a restore says the same')
        told = json.loads(spore('check', '--json', '--changed-files', f'{d}/image').stdout)
        check((told['ok'], len(told['problems'])), (False, 3))
        if shutil.which('capsh'):
            said = subprocess.run(['capsh', '--drop=cap_sys_nice,cap_sys_admin', '--', '-c', f'{harness.SPORE} check {d}/image'],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
            check(said.returncode, 3, said.stderr)
            for what in ('capabilities: missing', 'CAP_SYS_NICE', f'{d}/gone'):
                check_in(what, said.stderr)


def test_files_are_looked_for_under_the_root_of_the_container():
    if not os.path.exists('/bin/busybox'):
        raise harness.Skip('no static program: busybox')
    with scratch() as d:
        for name in ('proc', 'dev', 'bin', 'only-here'):
            os.makedirs(f'{d}/root/{name}')
        shutil.copy('/bin/busybox', f'{d}/root/bin/busybox')
        with Container('/bin/busybox', 'sh', '-c', 'cd /only-here; exec 3>file; echo x >/dev/made; echo up >/dev/shm/up; exec /bin/busybox sleep 1000',
                       options=['--root', f'{d}/root']) as c:
            wait_for(lambda: os.path.exists(f'/proc/{c.pid}/root/dev/shm/up'))
            time.sleep(0.2)
            r = spore('checkpoint', c.pid, f'{d}/image')
            check(r.returncode, 3, r.stderr)
            check_in("/dev/made: a file that was made in the container's own /dev", r.stderr)
            os.unlink(f'/proc/{c.pid}/root/dev/made')
            r = spore('checkpoint', '--kill', c.pid, f'{d}/image')
            check(r.returncode, 0, r.stderr)
            wait_for(lambda: not alive(c.pid))
        r = spore('check', f'{d}/image')
        check((r.returncode, r.stderr), (0, ''))
        harness.bury()
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        check(open(f'/proc/{int(r.stdout)}/root/dev/shm/up').read(), 'up\n')
        end(int(r.stdout))
        os.rename(f'{d}/root/bin/busybox', f'{d}/busybox')
        check_in('/bin/busybox: the file is missing', spore('check', f'{d}/image').stderr)
        os.rmdir(f'{d}/root/proc')
        check_in('/proc: it is not under', spore('check', f'{d}/image').stderr)
        os.rename(f'{d}/root', f'{d}/elsewhere')
        r = spore('check', f'{d}/image')
        check((r.returncode, len(r.stderr.splitlines())), (3, 1), r.stderr)
        check_in('root directory is missing', r.stderr)


def save_and_restore(c, d):
    """Kills the container, and brings it back: the new pid."""
    r = spore('checkpoint', '--kill', c.pid, f'{d}/image')
    check(r.returncode, 0, r.stderr)
    wait_for(lambda: not alive(c.pid))
    harness.bury()
    r = spore('restore', '-d', f'{d}/image')
    check(r.returncode, 0, r.stderr)
    return int(r.stdout)


def end(pid):
    os.kill(pid, 9)
    harness.bury()
    wait_for(lambda: not alive(pid), what='end of the restored container')


def test_limits_and_mode_of_shm():
    script = ('mount -o remount,size=64k,nr_inodes=77 /dev/shm; chmod 0750 /dev/shm; chown 3:4 /dev/shm; '
              'cat /dev/zero > /dev/shm/full 2>/dev/null; touch {d}/ready; sleep 100')
    with scratch() as d, Container('sh', '-c', script.format(d=d)) as c:
        wait_for(lambda: os.path.exists(f'{d}/ready'))
        pid = save_and_restore(c, d)
        shm = f'/proc/{pid}/root/dev/shm'
        room, st = os.statvfs(shm), os.stat(shm)
        check((room.f_blocks * room.f_frsize, room.f_bavail, room.f_files), (65536, 0, 77))
        check((st.st_mode & 0o7777, st.st_uid, st.st_gid), (0o750, 3, 4))
        check(os.path.getsize(f'{shm}/full'), 65536)
        end(pid)


def test_shm_is_as_large_as_it_is_here_if_nobody_said():
    with scratch() as d, Container('sleep', '100') as c:
        usual = os.statvfs(f'/proc/{c.pid}/root/dev/shm')
        pid = save_and_restore(c, d)
        check('"shm_limited":false' in spore('inspect', '--json', f'{d}/image').stdout, True)
        check(os.statvfs(f'/proc/{pid}/root/dev/shm').f_blocks, usual.f_blocks)
        end(pid)


def test_a_flipped_byte_of_shm():
    with scratch() as d, Container('sh', '-c', f'head -c 100000 /dev/urandom > /dev/shm/file; cp /dev/shm/file {d}/copy; touch {d}/ready; sleep 100') as c:
        wait_for(lambda: os.path.exists(f'{d}/ready'))
        check(spore('checkpoint', '--kill', c.pid, f'{d}/image').returncode, 0)
        wait_for(lambda: not alive(c.pid))
        needle = open(f'{d}/copy', 'rb').read()[:64]
        for name in os.listdir(f'{d}/image'):
            with open(f'{d}/image/{name}', 'r+b') as f:
                at = f.read().find(needle)
                if at >= 0:
                    f.seek(at)
                    f.write(bytes([needle[0] ^ 1]))
                    break
        else:
            raise AssertionError('the contents are in no file of the image')
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 1, r.stderr)
        check_in('pages-', r.stderr)


PYTHON = """
import multiprocessing, sys, time
from multiprocessing import shared_memory

def work(name, lock, turns):
    block = shared_memory.SharedMemory(name=name)
    for i in range(turns):
        with lock:
            n = int.from_bytes(block.buf[:8], 'little')
            time.sleep(0.001)
            block.buf[:8] = (n + 1).to_bytes(8, 'little')
    block.close()

if __name__ == '__main__':
    d = sys.argv[1]
    block = shared_memory.SharedMemory(create=True, size=1 << 20)
    block.buf[8:16] = b'sentinel'
    lock, done = multiprocessing.Lock(), multiprocessing.Semaphore(0)
    workers = [multiprocessing.Process(target=work, args=(block.name, lock, 500)) for _ in range(3)]
    for w in workers:
        w.start()
    open(d + '/ready', 'w').close()
    for w in workers:
        w.join()
    late = multiprocessing.Process(target=work, args=(block.name, lock, 10))  # opens it by name after the restore
    late.start()
    late.join()
    n = int.from_bytes(block.buf[:8], 'little')
    text = bytes(block.buf[8:16]).decode()
    block.close()
    block.unlink()
    open(d + '/result', 'w').write(f'{n} {text} {[w.exitcode for w in workers]}')
"""


def test_python_shared_memory():
    with scratch() as d:
        with open(f'{d}/program.py', 'w') as f:
            f.write(PYTHON)
        with Container(sys.executable, f'{d}/program.py', d) as c:
            wait_for(lambda: os.path.exists(f'{d}/ready'))
            time.sleep(0.3)
            check(os.path.exists(f'{d}/result'), False, 'it is half-way')
            pid = save_and_restore(c, d)
            wait_for(lambda: os.path.exists(f'{d}/result') and os.path.getsize(f'{d}/result'), 30, 'result')
            check(open(f'{d}/result').read(), '1510 sentinel [0, 0, 0]')
            wait_for(lambda: not alive(pid), what='its end')
            harness.bury()


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
