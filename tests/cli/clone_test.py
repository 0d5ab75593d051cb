# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several trees of one image: each like the one that was saved, all there or none, and one memory until they write"""
import difflib
import json
import os
import re
import signal
import subprocess
import sys
import time

import harness
from harness import alive, bury, check, check_in, children, scratch, spore, wait_for

CLONED = os.environ['CLONED']
ORACLE = os.environ['ORACLE']
ROLES = ['first', 'forked', 'executed', 'grandchild']


def tree_of(pid):
    found = [pid]
    for p in found:
        found += children(p)
    return found


def shm(pid, name):
    return f'/proc/{pid}/root/dev/shm/{name}'


def ask(pid, what, n, roles=ROLES):
    """What each process says of its memory."""
    with open(shm(pid, f'{what}.{n}'), 'w'):
        pass
    answers = [shm(pid, f'{what}.{n}.{role}') for role in roles]
    wait_for(lambda: all(os.path.exists(a) and os.path.getsize(a) for a in answers), 60, f'{what}.{n} of {pid}')
    for role, answer in zip(roles, answers):
        with open(answer) as f:
            check(f.read(), 'right', f'memory of {role} in {pid} after {what}.{n}')


def facts(pid):
    """Of all but that a process had called exec, which nobody can tell of one that shares memory."""
    r = subprocess.run([ORACLE, str(pid)], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace', timeout=60)
    check(r.returncode, 0, r.stderr)
    return re.sub(r'^(.*forked, no exec|tree/mount): .*\n', '', r.stdout, flags=re.MULTILINE)


def seen_twice(pid):
    """Its processes look for files now and then, and sleep in between: all of them asleep."""
    before = facts(pid)
    for _ in range(20):
        last, before = before, facts(pid)
        if last == before:
            break
    return before


def is_like(pid, before):
    for _ in range(20):
        after = facts(pid)
        if after == before:
            return
    check(list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm='')), [], 'the oracle')


def save(d, name, *arguments, see=False):
    r = spore('run', '-d', '--name', name, '--net', 'none', '--', CLONED, *arguments, cwd='/', stdin=subprocess.DEVNULL)
    check(r.returncode, 0, r.stderr)
    pid = int(r.stdout)
    wait_for(lambda: all(os.path.exists(shm(pid, f'READY.{role}')) for role in ROLES), 60, 'the tree')
    time.sleep(0.1)
    before = seen_twice(pid) if see else None
    r = spore('checkpoint', '--kill', pid, f'{d}/image', timeout=60)
    check(r.returncode, 0, r.stderr)
    wait_for(lambda: gone([pid]), what='its end')
    return before


def gone(pids):
    bury()
    return not any(alive(p) for p in pids)


def end(pids):
    everyone = [p for pid in pids for p in tree_of(pid)]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_for(lambda: gone(everyone), what='the end of the clones')


def clone(d, n, *options):
    r = spore('restore', '-d', '--clone', n, *options, f'{d}/image', timeout=100)
    check(r.returncode, 0, r.stderr)
    pids = [int(p) for p in r.stdout.split()]
    check(len(set(pids)), n, r.stdout)
    return pids


def memory_of(pids):
    """Bytes: each process's share of its pages, and its page tables."""
    total = 0
    for pid in (p for root in pids for p in tree_of(root)):
        with open(f'/proc/{pid}/smaps_rollup') as f:
            total += int(re.search(r'^Pss: +(\d+)', f.read(), re.MULTILINE)[1])
        with open(f'/proc/{pid}/status') as f:
            total += int(re.search(r'^VmPTE:\s+(\d+)', f.read(), re.MULTILINE)[1])
    return total << 10


def named(name):
    return [line.split()[:3] for line in spore('list').stdout.splitlines() if line.split()[0].startswith(name)]


def test_each_is_like_the_saved_one():
    name = harness.named('cloned')
    with scratch() as d:
        before = save(d, name, 24, see=True)
        pids = clone(d, 3)
        check(sorted(named(name)), sorted([n, str(p), 'running'] for n, p in zip([name, f'{name}-2', f'{name}-3'], pids)), 'names')
        for pid in pids:
            is_like(pid, before)
        for pid in pids:
            ask(pid, 'CHECK', 0)
        ask(pids[1], 'WRITE', 1)
        for pid in (pids[0], pids[2]):
            ask(pid, 'CHECK', 1)
        end([pids[0]])
        ask(pids[2], 'WRITE', 2)
        ask(pids[1], 'CHECK', 2)
        with open(shm(pids[1], 'QUIT'), 'w'):
            pass
        wait_for(lambda: gone([pids[1]]), what='the end of the one that was told')
        ask(pids[2], 'CHECK', 3)
        end([pids[2]])


def test_a_clone_is_saved_and_cloned_again():
    name = harness.named('again')
    with scratch() as d:
        save(d, name, 8)
        pids = clone(d, 2)
        ask(pids[1], 'WRITE', 0)
        r = spore('checkpoint', '--kill', pids[1], f'{d}/image-2', timeout=60)
        check(r.returncode, 0, r.stderr)
        end([pids[0]])
        wait_for(lambda: gone([pids[1]]), what='its end')
        os.rename(f'{d}/image-2', f'{d}/image-1')
        os.rename(f'{d}/image', f'{d}/image-0')
        os.rename(f'{d}/image-1', f'{d}/image')
        again = clone(d, 3)
        for pid in again:
            ask(pid, 'CHECK', 1)
        end(again)


def test_memory_is_one_until_they_write():
    name = harness.named('shared')
    with scratch() as d:
        save(d, name, 64)
        r = spore('restore', '-d', f'{d}/image', timeout=60)
        check(r.returncode, 0, r.stderr)
        only = [int(r.stdout)]
        one = memory_of(only)
        end(only)
        r = spore('restore', '-d', '--json', '--clone', 10, f'{d}/image', timeout=100)
        check(r.returncode, 0, r.stderr)
        told = json.loads(r.stdout)
        pids = [c['pid'] for c in told['clones']]
        check(len(set(pids)), 10, told)
        check(told['pid'], pids[0])
        shared = told['clones'][0]['pages_shared']
        ten = memory_of(pids)
        # Of each the forked child's changed pages, an eighth or so of a half of the whole, are its own.
        own = (told['pages'] - shared) * 4096
        if not ten <= 1.15 * one + 9 * own:
            raise AssertionError(f'{ten >> 20} MiB are ten times what takes {one >> 20}; {shared} pages of {told["pages"]} are shared')
        if not shared * 4096 > 0.8 * one:
            raise AssertionError(f'{shared} pages are shared, and one has {one >> 12}')
        end(pids)


def ours(marker):
    """Processes of that tree, and keepers of clones that are this test's."""
    found = []
    for pid in os.listdir('/proc'):
        try:
            if not pid.isdigit():
                continue
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                line = f.read().split(b'\0')
            if marker.encode() in line and line[0] != harness.SPORE.encode() and alive(pid):
                found.append(int(pid))
        except OSError:
            pass
    return found


def keepers():
    return [p for p in tree_of(os.getpid())[1:] if is_clones_keeper(p)]


def is_clones_keeper(pid):
    try:
        with open(f'/proc/{pid}/cmdline', 'rb') as f:
            return f.read().split(b'\0')[2:3] == [b'clones'] and alive(pid)
    except OSError:
        return False


def nothing_left(d, name):
    wait_for(lambda: gone([]) or True)
    wait_for(lambda: not ours(f'{d}/lock') and not keepers(), 20, 'the end of all that there was')
    check(named(name), [], 'what is listed')


def test_one_that_cannot_be_made_leaves_none():
    name = harness.named('locked')
    with scratch() as d:
        save(d, name, 4, f'{d}/lock')
        r = spore('restore', '-d', '--clone', 4, f'{d}/image', timeout=60)
        check(r.returncode, 1, r.stdout)
        check(r.stdout, '')
        check_in('flock', r.stderr)
        nothing_left(d, name)
        only = clone(d, 1)
        ask(only[0], 'CHECK', 0)
        end(only)


def kill_soon(p, whom, after):
    """Kills one of the processes at work, when so many keepers have been seen, or a while later."""
    end_at = time.monotonic() + 30
    while len(keepers()) < whom and p.poll() is None and time.monotonic() < end_at:
        time.sleep(0.0005)
    time.sleep(after)
    found = sorted(keepers())
    victim = p.pid if whom == 0 else found[min(whom, len(found)) - 1] if found else p.pid
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        pass


def attempt(d, name, whom, after):
    p = subprocess.Popen([harness.SPORE, 'restore', '-d', '--clone', '3', f'{d}/image'], cwd='/', stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kill_soon(p, whom, after)
    p.wait()
    wait_for(lambda: gone([]) or True)

    def settled():
        bury()
        n = len(named(name))
        return n in (0, 3) and len(ours('cloned-marker')) == 3 * n and (n or not keepers())

    wait_for(settled, 20, f'none or all, after the death of {"spore" if not whom else "a keeper"}')
    pids = [int(line[1]) for line in named(name)]
    for pid in pids:
        ask(pid, 'CHECK', 0)
    end(pids)
    return len(pids)


def test_whoever_dies_all_or_none():
    """The client at any moment; that which begins them all; the keeper of one as soon as it is there."""
    name = harness.named('killed')
    seen = set()
    with scratch() as d:
        save(d, name, 4, f'/dev/shm/lock', 'cloned-marker')
        for i in range(10):
            seen.add(attempt(d, name, 0, 0.02 * i))
            seen.add(attempt(d, name, 1, 0.01 * i))
        for whom in (2, 3, 4):
            seen.add(attempt(d, name, whom, 0))
    check_in(0, seen, 'how many there were')


def test_in_the_foreground():
    name = harness.named('stays')
    with scratch() as d:
        save(d, name, 2)
        for how, status in (('QUIT', 0), ('signal', 128 + signal.SIGTERM)):
            p = subprocess.Popen([harness.SPORE, 'restore', '--clone', '2', f'{d}/image'], cwd='/', stdin=subprocess.DEVNULL)
            wait_for(lambda: len(named(name)) == 2, 30, 'both')
            pids = [int(line[1]) for line in named(name)]
            wait_for(lambda: all(line[2] == 'running' for line in named(name)), 30, 'both running')
            if how == 'QUIT':
                for pid in pids:
                    check(p.poll(), None, 'it waits for both')
                    with open(shm(pid, 'QUIT'), 'w'):
                        pass
                    wait_for(lambda: gone([pid]), what='the end of one')
            else:
                with open(shm(pids[0], 'QUIT'), 'w'):
                    pass
                wait_for(lambda: gone([pids[0]]), what='the end of one')
                p.send_signal(signal.SIGTERM)
            check(p.wait(30), status, how)


def test_isolated():
    name = harness.named('held')

    def states():
        return {int(line[1]): line[2] for line in named(name)}

    with scratch() as d:
        save(d, name, 2)
        pids = clone(d, 2, '--isolated')
        check(states(), {pids[0]: 'isolated', pids[1]: 'isolated'})
        check(spore('unisolate', pids[1]).returncode, 0)
        ask(pids[1], 'CHECK', 0)
        check(states(), {pids[0]: 'isolated', pids[1]: 'running'})
        check(spore('unisolate', f'{name}').returncode, 0)
        ask(pids[0], 'CHECK', 0)
        end(pids)


def test_refusals():
    name = harness.named('refused')
    with scratch() as d:
        save(d, name, 1)
        r = spore('restore', '-d', '--lazy', '--clone', 2, f'{d}/image')
        check(r.returncode, 3)
        check_in('--lazy', r.stderr)
        for number in ('0', '-1', 'two', '1001', '2x'):
            r = spore('restore', '-d', '--clone', number, f'{d}/image')
            check(r.returncode, 2, number)
            check_in('--clone', r.stderr)
        with open(f'{d}/image/manifest', 'r+b') as f:
            f.seek(40)
            f.write(b'damage')
        r = spore('restore', '-d', '--clone', 2, f'{d}/image')
        check(r.returncode, 1)
        check_in('damaged', r.stderr)
        check(named(name), [])


def test_a_wrong_page():
    """All of the image is checked before anything is built."""
    name = harness.named('wrong')
    with scratch() as d:
        save(d, name, 4)
        pages = [n for n in os.listdir(f'{d}/image') if n.startswith('pages-')]
        with open(f'{d}/image/{sorted(pages)[-1]}', 'r+b') as f:
            f.seek(4096 * 100 + 7)
            byte = f.read(1)
            f.seek(4096 * 100 + 7)
            f.write(bytes([byte[0] ^ 1]))
        r = spore('restore', '-d', '--clone', 3, f'{d}/image')
        check(r.returncode, 1, r.stdout)
        check_in('checksum', r.stderr)
        check(named(name), [])


def test_a_tree_of_the_host_is_refused():
    with scratch() as d:
        null = open(os.devnull, 'r+')
        p = subprocess.Popen(['sleep', '1000'], stdin=null, stdout=null, stderr=null, start_new_session=True, cwd='/')
        r = spore('checkpoint', '--kill', p.pid, f'{d}/image', timeout=60)
        check(r.returncode, 0, r.stderr)
        p.wait()
        r = spore('restore', '-d', '--clone', 2, f'{d}/image')
        check(r.returncode, 3, r.stdout)
        check_in('pid namespace', r.stderr)
        check_in('spore run', r.stderr)


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
