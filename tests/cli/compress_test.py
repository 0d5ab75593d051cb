# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compressed images: the same memory comes back, from chains that mix them with others too; what is damaged in them is found, and never reaches a tree"""
import json
import os
import re
import subprocess
import sys

import harness
from harness import alive, bury, check, check_in, scratch, spore, take_orphans, wait_for

# Memory of several kinds, in two processes that share some of it since their fork; each tells again and again what is in it.
PROGRAM = '''
import hashlib, mmap, os, random, sys, time
noise = random.Random(7)
changing = bytearray(noise.randbytes(6 << 20))
text = bytearray(b"one page is much like another " * 200000)
objects = [{"number": i, "name": "object %d" % i} for i in range(20000)]
shared = mmap.mmap(-1, 5 << 20)
for i in range(0, 5 << 20, 4096):
    shared[i:i + 64] = noise.randbytes(64)
memfd = os.memfd_create("contents")
os.write(memfd, b"contents of a file without a name " * 40000 + noise.randbytes(300000))
unlinked = os.open("unlinked", os.O_RDWR | os.O_CREAT)
os.write(unlinked, b"".join(b"line %d\\n" % i for i in range(100000)))
os.unlink("unlinked")
who = "parent" if os.fork() else "child"
text[:6] = who[:5].encode() + b"!"
rounds = 0
def look():
    h = hashlib.blake2b(repr(objects).encode())
    for part in text, memoryview(changing)[4096:], shared, os.pread(memfd, 1 << 22, 0), os.pread(unlinked, 1 << 22, 0):
        h.update(part)
    return h.hexdigest()
while True:
    digest = look()
    rounds += 1
    changing[0:8] = rounds.to_bytes(8, "little")
    with open(who + ".new", "w") as f:
        f.write("%d %s" % (rounds, digest))
    os.rename(who + ".new", who)
    time.sleep(0.02)
'''


def start(d):
    with open(f'{d}/program.py', 'w') as f:
        f.write(PROGRAM)
    null = open(os.devnull, 'r+')
    p = subprocess.Popen([sys.executable, 'program.py'], cwd=d, stdin=null, stdout=null, stderr=null, start_new_session=True)
    return p, wait_for(lambda: told(d), seconds=60, what='the first look')


def told(d):
    """What each says of its memory; None: not yet."""
    found = {}
    for who in 'parent', 'child':
        try:
            with open(f'{d}/{who}') as f:
                rounds, found[who] = f.read().split()
        except (OSError, ValueError):
            return None
    return found


def forget(d):
    for who in 'parent', 'child':
        if os.path.exists(f'{d}/{who}'):
            os.unlink(f'{d}/{who}')


def save(pid, image, *options):
    r = spore('checkpoint', '--json', *options, pid, image, timeout=60)
    check(r.returncode, 0, r.stderr)
    return json.loads(r.stdout)


def end(pid):
    os.killpg(pid, 9)
    wait_for(lambda: not alive(pid))
    bury()


def bring_back(d, image, *options):
    forget(d)
    r = spore('restore', '-d', *options, image, timeout=60)
    check(r.returncode, 0, r.stderr)
    return int(r.stdout)


def is_right(d, want, image, *options):
    pid = bring_back(d, image, *options)
    check(wait_for(lambda: told(d), seconds=60, what=f'a look after {image}'), want, f'{image} {options}')
    end(pid)


def size_of_pages(image):
    return sum(os.path.getsize(f'{image}/{f}') for f in os.listdir(image) if f.startswith('pages-'))


def test_round_trip():
    with scratch() as d:
        p, want = start(d)
        plain = save(p.pid, f'{d}/plain')
        small = save(p.pid, f'{d}/small', '--compress')
        killed = save(p.pid, f'{d}/killed', '--compress=zstd', '--kill')
        p.wait()
        wait_for(lambda: not alive(p.pid))
        check(plain['stored_bytes'], plain['bytes'])
        for told_of, image in (small, 'small'), (killed, 'killed'):
            check(told_of['stored_bytes'] < told_of['bytes'] * 3 // 4, True, told_of)
            check(abs(told_of['bytes'] - plain['bytes']) < plain['bytes'] // 4, True, told_of)
            on_disk = sum(os.path.getsize(f'{d}/{image}/{f}') for f in os.listdir(f'{d}/{image}'))
            check(told_of['stored_bytes'], on_disk)
            r = spore('verify', f'{d}/{image}')
            check((r.returncode, 'is whole' in r.stdout), (0, True), r.stderr)
            r = spore('check', f'{d}/{image}')
            check(r.returncode, 0, r.stdout + r.stderr)
            is_right(d, want, f'{d}/{image}')
            is_right(d, want, f'{d}/{image}', '--lazy')


def test_chain():
    """Whatever is compressed of a chain: its images mix."""
    with scratch() as d:
        p, want = start(d)
        save(p.pid, f'{d}/a', '--compress', '--track')
        save(p.pid, f'{d}/b', '--parent', f'{d}/a')
        save(p.pid, f'{d}/c', '--parent', f'{d}/b', '--compress')
        last = save(p.pid, f'{d}/d', '--parent', f'{d}/a', '--compress')  # compared, since it is not the last one
        end(p.pid)
        check(last['unchanged'] > last['pages'], True, last)
        check(size_of_pages(f'{d}/d') < size_of_pages(f'{d}/a') // 2, True)
        for image in 'abcd':
            r = spore('verify', f'{d}/{image}')
            check(r.returncode, 0, image + r.stderr)
            is_right(d, want, f'{d}/{image}')
        is_right(d, want, f'{d}/c', '--lazy')


def test_inspect():
    with scratch() as d:
        p, _ = start(d)
        save(p.pid, f'{d}/plain')
        save(p.pid, f'{d}/small', '--compress')
        end(p.pid)
        check('compressed' in spore('inspect', f'{d}/plain').stdout.split('tree #')[0], False)
        line = spore('inspect', f'{d}/small').stdout.splitlines()[1]
        check(bool(re.fullmatch(r'\d+ pages of its own: [\d.]+ MiB, compressed by zstd to [\d.]+ MiB \([\d.]+ to 1\)', line)), True, line)
        files = json.loads(spore('inspect', '--json', f'{d}/small').stdout)['page_files']
        check({f['compression'] for f in files}, {'zstd'})
        check(sum(f['stored_bytes'] for f in files), size_of_pages(f'{d}/small'))
        check(all(f['bytes'] == f['pages'] * 4096 >= f['stored_bytes'] for f in files), True, files)
        files = json.loads(spore('inspect', '--json', f'{d}/plain').stdout)['page_files']
        check({f['compression'] for f in files}, {None})


def test_damage():
    """A byte of each page file, in the midst of what is compressed."""
    with scratch() as d:
        p, want = start(d)
        save(p.pid, f'{d}/image', '--compress')
        end(p.pid)
        forget(d)
        for name in sorted(os.listdir(f'{d}/image')):
            size = os.path.getsize(f'{d}/image/{name}')
            if not name.startswith('pages-') or not size:
                continue
            with open(f'{d}/image/{name}', 'r+b') as f:
                for at in 0, size // 3, size - 1:
                    f.seek(at)
                    byte = f.read(1)[0]
                    f.seek(at)
                    f.write(bytes([byte ^ 64]))
                    f.flush()
                    is_refused(d, name, at)
                    f.seek(at)
                    f.write(bytes([byte]))
                    f.flush()
        is_right(d, want, f'{d}/image')


def is_refused(d, name, at):
    for command in ['verify'], ['restore', '-d'], ['check']:
        r = spore(*command, f'{d}/image', timeout=60)
        check(r.returncode, 1, f'{command} of {name}, byte {at}')
        check_in('do not have the checksum', r.stderr, name)
        bury()
    r = spore('restore', '--lazy', f'{d}/image', timeout=60)
    check(r.returncode != 0, True, f'{name}, byte {at}')
    check_in('do not have the checksum', r.stderr, name)
    bury()
    check(told(d), None, f'{name}, byte {at}: something ran')


def test_usage():
    with scratch() as d:
        r = spore('checkpoint', '--compress=lz4', os.getpid(), f'{d}/image')
        check((r.returncode, 'zstd' in r.stderr), (2, True), r.stderr)
        check(os.path.exists(f'{d}/image'), False)


def is_there():
    with scratch() as d:
        p = subprocess.Popen(['sleep', '1000'], stdin=subprocess.DEVNULL, start_new_session=True)
        r = spore('checkpoint', '--compress', '--kill', p.pid, f'{d}/image')
        if r.returncode:
            check_in('this build of spore cannot compress', r.stderr)
            check(os.path.exists(f'{d}/image'), False)
        p.kill()
        p.wait()
        return r.returncode == 0


if __name__ == '__main__':
    take_orphans()
    if os.geteuid() == 0 and not is_there():
        print('a build without zstd, which says so')
        sys.exit(harness.SKIP)
    harness.main(sys.modules[__name__])
