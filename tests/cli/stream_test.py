# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images as streams: through pipes, slow ones, ones that are cut off, and ones whose other end dies"""
import json
import os
import subprocess
import sys
import tempfile
import time

import harness
import rounds
from harness import SPORE, alive, bury, check, check_in, children, scratch, spore, take_orphans, wait_for
from rounds import goes_on

INSTANT = os.environ['INSTANT']
MIB = 1 << 20


def start(mib):
    return rounds.start(INSTANT, mib)


def end(pid):
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass
    wait_for(lambda: bury() or not os.path.exists(f'/proc/{pid}'), what='its end')


class Checkpoint:
    """A checkpoint whose stream nobody reads yet."""

    def __init__(self, pid, *options):
        self.err = tempfile.TemporaryFile('w+')
        self.p = subprocess.Popen([SPORE, 'checkpoint', '--json', *options, str(pid), '-'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=self.err)
        self.out = self.p.stdout

    def wait(self):
        status = self.p.wait(20)
        self.err.seek(0)
        return status, self.err.read()

    def keeper(self):
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/comm') as f:
                    if f.read().strip() != 'spore-keeper':
                        continue
                mine = os.stat(f'/proc/self/fd/{self.out.fileno()}').st_ino
                fds = [os.stat(f'/proc/{pid}/fd/{fd}').st_ino for fd in os.listdir(f'/proc/{pid}/fd')]
            except OSError:
                continue
            if mine in fds:
                return int(pid)
        return None


def save(pid, *options):
    c = Checkpoint(pid, *options)
    stream = c.out.read()
    status, err = c.wait()
    check(status, 0, err)
    return stream


def restore(stream, *options, **kw):
    """From a pipe: as much of it as is wanted."""
    feed = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, err = tempfile.TemporaryFile('w+'), tempfile.TemporaryFile('w+')
    p = subprocess.Popen([SPORE, 'restore', '-d', *options, '-'], stdin=feed.stdout, stdout=out, stderr=err, text=True, **kw)
    feed.stdout.close()
    try:
        feed.stdin.write(stream)
        feed.stdin.close()
    except BrokenPipeError:
        pass
    status = p.wait(60)
    feed.kill()
    feed.wait()
    out.seek(0), err.seek(0)
    return status, out.read(), err.read()


def processes():
    return {p for p in os.listdir('/proc') if p.isdigit()}


def test_pipe():
    """Straight from one to the other. The tree still has its pids when they are looked at: it gets them in a pid namespace of its own."""
    p = start(16)
    saving = subprocess.Popen([SPORE, 'checkpoint', '--kill', str(p.pid), '-'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    r = spore('restore', '-d', '-', stdin=saving.stdout)
    saving.stdout.close()
    check(saving.wait(20), 0, 'the checkpoint')
    check(r.returncode, 0, r.stderr)
    check_in(f'{p.pid} is taken', r.stderr)
    check(p.wait(10), -9, 'the tree that was to be ended')
    goes_on(int(r.stdout))
    end(int(r.stdout))


def test_instant():
    """Whatever reads it slowly: the tree runs meanwhile, and what is saved is of one instant"""
    p = start(64)
    c = Checkpoint(p.pid)
    wait_for(lambda: c.out.peek(1), what='the beginning of the stream')
    goes_on(p.pid)  # nobody takes what the pipe cannot hold
    stream = c.out.read()
    status, err = c.wait()
    check(status, 0, err)
    result = json.loads(err)
    check(result['copies'] > 0, True, 'it was not saved from a copy')
    check(result['bytes'], len(stream), 'what was written')
    check(children(p.pid), [], 'the copy')
    p.kill(), p.wait()
    status, out, err = restore(stream)
    check(status, 0, err)
    goes_on(int(out))
    end(int(out))


def test_killed():
    """With --kill the tree stays stopped while it is written, and is ended when it was"""
    p = start(32)
    stream = save(p.pid, '--kill')
    check(p.wait(10), -9, 'the tree')
    status, out, err = restore(stream)
    check(status, 0, err)
    goes_on(int(out))
    end(int(out))


def test_cuts_and_flips():
    """Nothing is left of a tree whose stream is not whole, and it is said"""
    p = start(4)
    stream = save(p.pid, '--kill')
    p.wait()
    bury()
    before = processes()
    for i in range(25):
        cut = len(stream) * i // 25 if i < 20 else len(stream) - 1 - (i - 20) * 40
        status, out, err = restore(stream[:cut])
        check(status, 1, f'cut at {cut}: {out}')
        check_in('cut off: it ends before its end' if cut else 'it is empty', err, f'cut at {cut}')
        check(alive(p.pid), False, f'cut at {cut}: the tree')
    for i in range(25):
        at = len(stream) * (2 * i + 1) // 50
        status, out, err = restore(stream[:at] + bytes([stream[at] ^ 0x10]) + stream[at + 1:])
        check(status, 1, f'flipped at {at}: {out}')
        check_in('the stream', err, f'flipped at {at}')
        check(alive(p.pid), False, f'flipped at {at}: the tree')
    status, out, err = restore(stream)
    check(status, 0, err)
    goes_on(p.pid)
    end(p.pid)


def test_reader_dies():
    """The checkpoint fails and says so, and the tree goes on"""
    p = start(32)
    for options in [], ['--kill']:
        c = Checkpoint(p.pid, *options)
        c.out.read(100000)
        c.out.close()
        status, err = c.wait()
        check(status, 1, err)
        check_in('nobody reads it any more', err)
        goes_on(p.pid)
        check(children(p.pid), [], 'what is left in the tree')
    p.kill(), p.wait()


def test_writer_dies():
    """The client, while the pipe is full: the tree goes on, and the stream has no end"""
    p = start(32)
    for options in [], ['--kill']:
        c = Checkpoint(p.pid, *options)
        wait_for(lambda: c.out.peek(1), what='the beginning of the stream')
        c.p.kill()
        stream = c.out.read()
        c.p.wait()
        goes_on(p.pid)
        wait_for(lambda: not children(p.pid), what='the end of the copy')
        status, out, err = restore(stream)
        check(status, 1, out)
        check_in('cut off', err)
    p.kill(), p.wait()


FORKED = '''
import mmap, os, sys, time
m = mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(0, len(m), 4096):
    m[i:i + 8] = i.to_bytes(8, 'little')
own = os.fork() and os.fork() and b'p' or b'c'
m[8 << 20] = own[0]
while True:
    time.sleep(0.05)
    for i in range(0, len(m), 4096):
        assert m[i + 1:i + 8] == i.to_bytes(8, 'little')[1:] and m[8 << 20] == own[0]
'''


def private(pid):
    with open(f'/proc/{pid}/smaps_rollup') as f:
        return sum(int(line.split()[1]) for line in f if line.startswith('Private_Dirty'))


def test_forked():
    """What processes share since a fork comes before they are forked, and they share it again"""
    null = open(os.devnull, 'r+')
    p = subprocess.Popen([sys.executable, '-c', FORKED], stdin=null, stdout=null, stderr=null, start_new_session=True)
    wait_for(lambda: len(children(p.pid)) == 2, what='children')
    time.sleep(0.3)
    tree = [p.pid, *children(p.pid)]
    before = [private(t) for t in tree]
    stream = save(p.pid, '--kill')
    check(len(stream) < 40 * MIB, True, f'{len(stream)} bytes: it was saved more than once')
    p.wait()
    wait_for(lambda: bury() or not any(os.path.exists(f'/proc/{t}') for t in tree), what='the end of all of it')
    status, out, err = restore(stream)
    check(status, 0, err)
    check(sorted(children(p.pid)), sorted(tree[1:]), 'the children')
    for t, was in zip(tree, before):
        check(private(t) < was + 8192, True, f'{private(t)} KiB of {t} are its own, and were {was}')
    time.sleep(0.3)
    check([alive(t) for t in tree], [True] * 3, 'what they found in their memory')
    for t in tree:
        os.kill(t, 9)
    end(p.pid)


def high_water(pid):
    with open(f'/proc/{pid}/status') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmHWM'))


HELD = '''
import mmap, os, time
m = mmap.mmap(-1, 320 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(0, len(m), 1 << 20):
    m[i:i + (1 << 20)] = os.urandom(4096) * 256
open('/proc/self/comm', 'w').write('ready')
while True:
    time.sleep(0.1)
'''


def test_memory():
    """Neither end keeps what goes through"""
    null = open(os.devnull, 'r+')
    p = subprocess.Popen([sys.executable, '-c', HELD], stdin=null, stdout=null, stderr=null, start_new_session=True)
    wait_for(lambda: open(f'/proc/{p.pid}/comm').read() == 'ready\n', seconds=20, what='its memory')
    c = Checkpoint(p.pid)
    c.out.peek(1)
    keeper = wait_for(c.keeper, what='the keeper')
    with tempfile.TemporaryFile(dir='/dev/shm') as f:
        for _ in range(300):
            f.write(c.out.read(MIB))
        most = high_water(keeper)
        f.write(c.out.read())
        status, err = c.wait()
        check(status, 0, err)
        check(most < 96 * 1024, True, f'{most} KiB are kept by the checkpoint')
        p.kill(), p.wait()
        f.seek(0)
        r = spore('restore', '-d', '-', stdin=f, timeout=60)
    check(r.returncode, 0, r.stderr)
    keeper = int(next(line.split()[1] for line in open(f'/proc/{r.stdout.strip()}/status') if line.startswith('PPid')))
    most = high_water(keeper)
    check(most < 64 * 1024, True, f'{most} KiB are kept by the restore')
    end(int(r.stdout))


def test_shared_and_unlinked():
    """What comes before the tree can be built: in memory, and written"""
    code = '''
import mmap, os, tempfile, time
f = tempfile.TemporaryFile()
f.write(bytes(range(256)) * 40960)
f.flush()
s = mmap.mmap(-1, 6 << 20)
s[5 << 20:(5 << 20) + 5] = b'hello'
while True:
    time.sleep(0.05)
    assert os.pread(f.fileno(), 256, 256 * 40959) == bytes(range(256)) and s[5 << 20:(5 << 20) + 5] == b'hello'
'''
    null = open(os.devnull, 'r+')
    p = subprocess.Popen([sys.executable, '-c', code], stdin=null, stdout=null, stderr=null, start_new_session=True)
    time.sleep(0.5)
    stream = save(p.pid)
    p.kill(), p.wait()
    status, out, err = restore(stream)
    check(status, 0, err)
    time.sleep(0.2)
    check(alive(p.pid), True, 'what it found')
    end(p.pid)


def test_receive():
    p = start(16)
    stream = save(p.pid, '--kill')
    p.wait()
    with scratch() as d:
        image = os.path.join(d, 'image')
        for size in 0, 1000, len(stream) // 2, len(stream) - 1:
            r = subprocess.run([SPORE, 'receive', image], input=stream[:size], stderr=subprocess.PIPE)
            check(r.returncode, 1, f'cut at {size}')
            check(os.path.exists(image), False, f'cut at {size}: the directory')
        r = subprocess.run([SPORE, 'receive', image], input=stream, stderr=subprocess.PIPE)
        check(r.returncode, 0, r.stderr)
        check(os.stat(image).st_mode & 0o777, 0o700)
        r = spore('verify', image)
        check(r.returncode, 0, r.stderr)
        r = subprocess.run([SPORE, 'receive', image], input=stream, stderr=subprocess.PIPE)
        check(r.returncode, 1)
        check_in(b'holds an image already', r.stderr)
        r = subprocess.run([SPORE, 'receive', '--force', image], input=stream, stderr=subprocess.PIPE)
        check(r.returncode, 0, r.stderr)
        r = spore('restore', '-d', image)
        check(r.returncode, 0, r.stderr)
        goes_on(p.pid)
        end(p.pid)


def test_standard_input():
    """The stream is not the tree's: where there is no terminal it has /dev/null"""
    r, w = os.pipe()
    null = open(os.devnull, 'r+')
    p = subprocess.Popen(['sleep', '1000'], stdin=r, stdout=null, stderr=null, start_new_session=True)
    stream = save(p.pid, '--kill')
    p.wait()
    os.close(r), os.close(w)
    status, out, err = restore(stream, start_new_session=True)
    check(status, 0, err)
    check(os.readlink(f'/proc/{p.pid}/fd/0'), '/dev/null')
    end(p.pid)


def test_refusals():
    """By name, before anything is stopped or built"""
    import pty
    master, slave = pty.openpty()
    p = subprocess.Popen(['sleep', '1000'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with scratch() as d:
        for arguments, word in ((['checkpoint', p.pid, '-'], 'terminal'), (['restore', '-'], 'terminal'), (['receive', d], 'terminal'),
                                (['checkpoint', '--parent', d, p.pid, '-'], '--parent'), (['checkpoint', '--track', p.pid, '-'], '--track'),
                                (['checkpoint', '--compress', p.pid, '-'], '--compress'), (['restore', '--lazy', '-'], '--lazy')):
            on = {'stdin': slave, 'stdout': slave} if word == 'terminal' else {'stdin': subprocess.DEVNULL, 'stdout': subprocess.DEVNULL}
            r = subprocess.run([SPORE, *map(str, arguments)], stderr=subprocess.PIPE, text=True, timeout=20, **on)
            check(r.returncode, 2, f'{arguments}: {r.stderr}')
            check_in(word, r.stderr)
    p.kill(), p.wait()
    os.close(master), os.close(slave)


if __name__ == '__main__':
    take_orphans()
    harness.main(sys.modules[__name__])
