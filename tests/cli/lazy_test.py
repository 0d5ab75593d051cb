# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trees that run before their memory is there: it is right whatever they do meanwhile, and they never go on with memory that is not"""
import json
import os
import signal
import subprocess
import sys

import harness
from harness import alive, bury, check, check_in, children, scratch, spore, take_orphans, wait_for

LAZY = os.environ['LAZY']
MIB = 96


def comm(pid):
    with open(f'/proc/{pid}/comm') as f:
        return f.read().strip()


def save(d, way, mib=MIB):
    """The image of a tree that is dead, in d/image."""
    null = open(os.devnull, 'r+')
    p = subprocess.Popen([LAZY, str(mib), f'{d}/go', f'{d}/result', way], stdin=null, stdout=null, stderr=null, start_new_session=True)
    wait_for(lambda: comm(p.pid) == 'ready', seconds=60, what='memory that is filled')
    r = spore('checkpoint', '--kill', p.pid, f'{d}/image', timeout=60)
    check(r.returncode, 0, r.stderr)
    p.wait()


def go(d):
    open(f'{d}/go', 'w').close()


def restore(d, *options):
    """Without the image: what the tree needs of it spore holds."""
    r = spore('restore', '--json', '-d', '--lazy', *options, f'{d}/image', timeout=60)
    check(r.returncode, 0, r.stderr)
    result = json.loads(r.stdout)
    return result['pid'], result


def result(d, seconds=60):
    wait_for(lambda: os.path.exists(f'{d}/result') and os.path.getsize(f'{d}/result'), seconds=seconds, what='a result')
    with open(f'{d}/result') as f:
        return f.read().strip()


os.environ['SPORE_TEST'] = str(os.getpid())     # theirs too


def is_mine(pid):
    with open(f'/proc/{pid}/environ') as f:
        return f'SPORE_TEST={os.getpid()}' in f.read().split('\0')


def keepers():
    """Of this test: others may run beside it."""
    found = {}
    for pid in os.listdir('/proc'):
        try:
            if pid.isdigit() and comm(pid).startswith('spore-') and is_mine(pid):
                with open(f'/proc/{pid}/stat') as f:
                    if f.read().rpartition(')')[2].split()[0] not in 'ZX':
                        found[int(pid)] = comm(pid)
        except OSError:
            pass
    return found


def keeper_of(pid):
    with open(f'/proc/{pid}/status') as f:
        return int(f.read().split('PPid:')[1].split()[0])


def state(pid):
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(')')[2].split()[0]
    except OSError:
        return ''


def is_registered(pid):
    with open(f'/proc/{pid}/smaps') as f:
        return any(line.startswith('VmFlags') and ' um' in line for line in f)


def descriptors(pid):
    links = []
    for fd in os.listdir(f'/proc/{pid}/fd'):
        try:
            links.append(os.readlink(f'/proc/{pid}/fd/{fd}'))
        except OSError:
            pass
    return links


def gone(pid):
    bury()
    return not alive(pid)


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    wait_for(lambda: gone(pid), what='the end')


def ways(*names):
    for name in names:
        with scratch() as d:
            save(d, name)
            go(d)
            pid, told = restore(d)
            check(told['pages_later'] >= MIB * 256, True, f'{name}: pages that come later')
            check(result(d), 'well', name)
            wait_for(lambda: gone(pid), what=f'{name}: the end')


def test_memory_is_what_it_was():
    ways('all', 'threads', 'backwards')


def test_forks():
    ways('forks')


def test_what_was_dropped_stays_so():
    ways('dontneed', 'unmaps', 'wipes')


def test_memory_that_moves():
    ways('moves')


def test_system_calls_find_it():
    ways('calls', 'protects')


def test_guard_pages():
    ways('guards')


def test_exec():
    ways('exec')


def test_all_at_the_same_time():
    ways('storm')


def test_nothing_stays():
    """When all is in: no registration, no descriptor, no process but the one that every restored tree has; and the image may go at once."""
    with scratch() as d:
        save(d, 'all')
        before = keepers()
        pid, told = restore(d)
        subprocess.run(['rm', '-r', f'{d}/image'], check=True)
        keeper = keeper_of(pid)
        wait_for(lambda: not is_registered(pid), what='all pages')
        wait_for(lambda: len(os.listdir(f'/proc/{keeper}/task')) == 2, what='the end of its threads')
        wait_for(lambda: not any('userfaultfd' in link or d in link for link in descriptors(keeper)), what='the end of what the keeper holds')
        check(any('userfaultfd' in link for link in descriptors(pid)), False, 'what the tree holds')
        wait_for(lambda: set(keepers()) - set(before) == {keeper}, what='the end of other processes of spore')
        go(d)
        check(result(d), 'well')
        wait_for(lambda: gone(pid), what='the end')


def test_several_processes():
    """Each with memory of its own, one stopped, one that shares its memory with its parent since a fork, which is there at once."""
    with scratch() as d:
        null = open(os.devnull, 'r+')
        p = subprocess.Popen(['sh', '-c', f'for i in 1 2 3; do {LAZY} 24 {d}/go {d}/result$i all & done; wait'], stdin=null, stdout=null, stderr=null,
                             start_new_session=True)
        wait_for(lambda: len(children(p.pid)) == 3 and all(comm(c) == 'ready' for c in children(p.pid)), seconds=60, what='memory')
        os.kill(children(p.pid)[0], signal.SIGSTOP)
        r = spore('checkpoint', '--kill', p.pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        p.wait()
        wait_for(lambda: (bury(), not subprocess.run(['pgrep', '-s', str(p.pid)], stdout=subprocess.PIPE).stdout)[1], what='the end of the tree')
        go(d)
        pid, told = restore(d)
        check(told['pages_later'] >= 3 * 24 * 256, True, 'pages')
        stopped, = [c for c in children(pid) if state(c) == 'T']
        for i in (2, 3):
            wait_for(lambda: os.path.exists(f'{d}/result{i}') and os.path.getsize(f'{d}/result{i}'), what='a result')
        os.kill(stopped, signal.SIGCONT)
        wait_for(lambda: os.path.exists(f'{d}/result1') and os.path.getsize(f'{d}/result1'), what='a result')
        for i in (1, 2, 3):
            with open(f'{d}/result{i}') as f:
                check(f.read(), 'well\n')
        wait_for(lambda: gone(pid), what='the end')


def test_a_pid_namespace():
    with scratch() as d:
        with harness.Container('sh', '-c', f'{LAZY} {MIB} {d}/go {d}/result forks; sleep 100') as c:
            find = lambda: [p for p in descendants(c.pid) if comm(p) == 'ready']
            wait_for(find, seconds=60, what='memory')
            r = spore('checkpoint', '--kill', c.pid, f'{d}/image')
            check(r.returncode, 0, r.stderr)
        go(d)
        pid, told = restore(d)
        check(told['pages_later'] >= MIB * 256, True, 'pages')
        check(result(d), 'well')
        end(pid)


def descendants(pid):
    found = children(pid)
    for p in found:
        found.extend(children(p))
    return found


def test_isolated():
    with scratch() as d:
        save(d, 'backwards')
        go(d)
        pid, told = restore(d, '--isolated')
        check(os.path.exists(f'{d}/result'), False)
        wait_for(lambda: not is_registered(pid), what='all pages')
        r = spore('unisolate', pid)
        check(r.returncode, 0, r.stderr)
        check(result(d), 'well')
        wait_for(lambda: gone(pid), what='the end')


def test_a_checkpoint_waits_for_the_pages():
    with scratch() as d:
        save(d, 'all', mib=512)
        pid, told = restore(d)
        r = spore('checkpoint', '--kill', pid, f'{d}/again', timeout=60)
        check(r.returncode, 0, r.stderr)
        wait_for(lambda: gone(pid), what='the end')
        go(d)
        r = spore('restore', '-d', f'{d}/again', timeout=60)
        check(r.returncode, 0, r.stderr)
        check(result(d), 'well')
        wait_for(lambda: gone(int(r.stdout)), what='the end')


def test_a_part_of_it_is_refused():
    """Nobody can be asked to wait there."""
    with scratch() as d:
        null = open(os.devnull, 'r+')
        p = subprocess.Popen(['sh', '-c', f'{LAZY} 1024 {d}/go {d}/result all; :'], stdin=null, stdout=null, stderr=null, start_new_session=True)
        wait_for(lambda: [c for c in children(p.pid) if comm(c) == 'ready'], seconds=60, what='memory that is filled')
        r = spore('checkpoint', '--kill', p.pid, f'{d}/image', timeout=60)
        check(r.returncode, 0, r.stderr)
        p.wait()
        wait_for(lambda: not in_session(p.pid), what='the end of the tree')
        pid, told = restore(d)
        part, = children(pid)
        r = spore('checkpoint', part, f'{d}/part', timeout=60)
        check(r.returncode, 3, r.stderr)
        check_in('userfaultfd', r.stderr)
        go(d)
        check(result(d), 'well')
        wait_for(lambda: gone(pid), what='the end')


def test_a_chain_of_images():
    with scratch() as d:
        null = open(os.devnull, 'r+')
        p = subprocess.Popen([LAZY, str(MIB), f'{d}/go', f'{d}/result', 'backwards'], stdin=null, stdout=null, stderr=null, start_new_session=True)
        wait_for(lambda: comm(p.pid) == 'ready', seconds=60, what='memory that is filled')
        for options in (['--track'], ['--kill', '--parent', f'{d}/old']):
            r = spore('checkpoint', *options, p.pid, f'{d}/image' if '--kill' in options else f'{d}/old', timeout=60)
            check(r.returncode, 0, r.stderr)
        p.wait()
        go(d)
        pid, told = restore(d)
        check(told['pages_later'] >= MIB * 256, True, 'pages that come later')
        subprocess.run(['rm', '-r', f'{d}/image', f'{d}/old'], check=True)
        check(result(d), 'well')
        wait_for(lambda: gone(pid), what='the end')


def spoil(d, damage):
    """The page file's last blocks, after the restore has opened it."""
    name = max((f'{d}/image/{n}' for n in os.listdir(f'{d}/image') if n.startswith('pages-')), key=os.path.getsize)
    with open(name, 'r+b') as f:
        damage(f, os.path.getsize(name))


def flip(f, size):
    for at in range(size // 2, size * 3 // 4, 1 << 20):  # those at the ends are read at once
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 1]))


def truncate(f, size):
    f.truncate(size // 2)


def test_wrong_pages_end_the_tree():
    """They never reach it; in the foreground it is said why."""
    with scratch() as d:
        save(d, 'backwards')
        spoil(d, flip)
        before = keepers()
        go(d)
        r = spore('restore', '--lazy', f'{d}/image', timeout=60)
        check(r.returncode, -signal.SIGKILL, r.stderr)
        check_in('checksum', r.stderr)
        check_in('was ended', r.stderr)
        check(os.path.exists(f'{d}/result'), False, 'a result')
        wait_for(lambda: set(keepers()) <= set(before), what='the end of its keeper')


def again(d):
    if os.path.exists(f'{d}/result'):
        os.unlink(f'{d}/result')
    pid, _ = restore(d)
    check(result(d), 'well')
    wait_for(lambda: gone(pid), what='the end')


def test_what_it_waited_for_is_noted():
    with scratch() as d:
        save(d, 'backwards')
        go(d)
        touched = f'{d}/image/touched.cbor'
        again(d)
        wait_for(lambda: os.path.exists(touched), what='the note')
        again(d)
        check(spore('verify', f'{d}/image').returncode, 0)
        with open(touched, 'r+b') as f:     # whatever stands there
            f.write(os.urandom(os.path.getsize(touched)))
        again(d)
        subprocess.run(['mount', '--bind', f'{d}/image', f'{d}/image'], check=True)
        try:
            subprocess.run(['mount', '-o', 'remount,bind,ro', f'{d}/image'], check=True)
            again(d)
        finally:
            subprocess.run(['umount', '-l', f'{d}/image'], check=True)
        again(d)


def test_a_truncated_image_ends_the_tree():
    with scratch() as d:
        save(d, 'backwards', mib=768)
        go(d)
        pid, told = restore(d)
        spoil(d, truncate)
        wait_for(lambda: gone(pid), what='the end')
        check(os.path.exists(f'{d}/result'), False, 'a result')


def test_children_end_too():
    """Of a tree that goes on with forks: whatever of it is found."""
    with scratch() as d:
        save(d, 'forks', mib=256)
        spoil(d, flip)
        go(d)
        pid, told = restore(d)
        wait_for(lambda: gone(pid) and not in_session(pid), what='the end')
        check(os.path.exists(f'{d}/result'), False, 'a result')


def in_session(sid):
    found = []
    for pid in os.listdir('/proc'):
        try:
            if pid.isdigit() and os.getsid(int(pid)) == sid and alive(int(pid)):
                found.append(int(pid))
        except OSError:
            pass
    return found


def kill_keeper(way, how):
    with scratch() as d:
        save(d, way, mib=768)
        go(d)
        pid, told = restore(d)
        keeper = keeper_of(pid)
        os.kill(keeper, signal.SIGSTOP)
        check(is_registered(pid), True, 'pages are missing')
        survivor, = wait_for(lambda: [p for p, name in keepers().items() if name == 'spore-survivor' and keeper_of(p) == keeper], what='its name')
        victims = {0: [keeper], 1: [keeper, survivor], 2: [survivor, keeper]}[how]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        wait_for(lambda: gone(pid) and not in_session(pid), what='the end of the tree')
        wait_for(lambda: gone(survivor), what='the end of what held it')
        check(os.path.exists(f'{d}/result'), False, 'a result')


def test_the_keepers_death_ends_the_tree():
    kill_keeper('lives', 0)
    kill_keeper('forks', 0)


def test_so_does_the_death_of_both():
    for how in (1, 2, 1, 2):
        kill_keeper('backwards', how)


def test_where_it_cannot_be():
    """All of it at once, and said so."""
    with scratch() as d:
        save(d, 'all', mib=8)
        go(d)
        r = subprocess.run([os.environ['BLIND'], '-u', harness.SPORE, 'restore', '--json', '-d', '--lazy', f'{d}/image'], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        check(r.returncode, 0, r.stderr)
        check(json.loads(r.stdout)['pages_later'], 0)
        check_in('restored at once', r.stderr)
        check(result(d), 'well')


take_orphans()
if __name__ == '__main__':
    harness.main(sys.modules[__name__])
