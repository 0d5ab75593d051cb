# SPDX-License-Identifier: LGPL-2.1-or-later
"""spore checkpoint, restore, isolate, unisolate, check, inspect, verify"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import harness
from harness import SPORE, Container, alive, check, check_in, named, scratch, spore, wait_for

COUNTER = 'i=0; while :; do i=$((i+1)); echo $i >> {d}/count; sleep 0.02; done'


def outside(*command, **kw):
    """A tree that spore did not start."""
    kw.setdefault('stdin', subprocess.DEVNULL)
    kw.setdefault('stdout', subprocess.DEVNULL)
    kw.setdefault('stderr', subprocess.DEVNULL)
    return subprocess.Popen(command, start_new_session=True, **kw)


def end(p):
    p.kill()
    p.wait()
    time.sleep(0.1)
    harness.bury()


def kill_restored(pid):
    os.kill(pid, 9)
    harness.bury()
    wait_for(lambda: not alive(pid), what='end of the restored tree')


def count(d):
    """The last number written; appended, so that a kill never leaves an empty file."""
    try:
        return int((open(f'{d}/count').read().split() or [0])[-1])
    except FileNotFoundError:
        return 0


def test_save_kill_restore():
    with scratch() as d:
        p = outside('sh', '-c', COUNTER.format(d=d))
        wait_for(lambda: count(d) > 5)
        r = spore('checkpoint', '--json', p.pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        told = json.loads(r.stdout)
        check(told['pid'], p.pid)
        for key in ('stop_us', 'total_us', 'pages', 'bytes', 'tasks'):
            check(told[key] > 0, True, key)
        check(told['stop_us'] <= told['total_us'], True, 'the stop is a part of it')
        check(os.stat(f'{d}/image').st_mode & 0o7777, 0o700)
        before = count(d)
        wait_for(lambda: count(d) > before, what='the tree goes on')
        end(p)
        r = spore('restore', '-d', '--json', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        pid = json.loads(r.stdout)['pid']
        check(pid, p.pid)
        os.unlink(f'{d}/count')
        wait_for(lambda: count(d) >= before, what='the restored tree goes on')
        kill_restored(pid)


def test_foreground_exits_as_the_root_does():
    with scratch() as d:
        p = outside('sh', '-c', 'while [ ! -e go ]; do sleep 0.02; done; exit 9', cwd=d)
        check(spore('checkpoint', '--kill', p.pid, f'{d}/image').returncode, 0)
        check(p.wait(10), -9)
        time.sleep(0.1)
        harness.bury()
        q = subprocess.Popen([SPORE, 'restore', f'{d}/image'], stdin=subprocess.DEVNULL)
        time.sleep(0.3)
        check(q.poll(), None, 'it waits')
        open(f'{d}/go', 'w').close()
        check(q.wait(10), 9)
        os.unlink(f'{d}/go')
        q = subprocess.Popen([SPORE, 'restore', f'{d}/image'], stdin=subprocess.DEVNULL)
        wait_for(lambda: alive(p.pid), what='the tree')
        time.sleep(0.2)
        q.send_signal(signal.SIGTERM)
        check(q.wait(10), -15, 'a signal is passed on')
        check(alive(p.pid), False)


def test_streams_are_those_of_the_restoring_command():
    with scratch() as d:
        p = subprocess.Popen(['sh', '-c', 'read a; echo first $a; read b; echo second $b; echo bye >&2'], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        p.stdin.write('one\n')
        p.stdin.flush()
        check(p.stdout.readline(), 'first one\n')
        time.sleep(0.1)
        r = spore('checkpoint', '--kill', p.pid, f'{d}/image')
        check(r.returncode, 0, r.stderr)
        p.wait()
        records = json.loads(spore('inspect', '--json', f'{d}/image').stdout)['records']
        check([e['name'][:5] for e in records if e['is'] == 'external'], ['pipe:'] * 3)
        saved_at = [e['realtime_ns'] / 1e9 for e in records if e['is'] == 'tree'][0]
        check(abs(saved_at - time.time()) < 60, True, 'when it was saved')
        r = spore('restore', f'{d}/image', input='two\n', stdin=None)
        check((r.returncode, r.stdout, r.stderr), (0, 'second two\n', 'bye\n'))


SHARING = """
import mmap, os, time
m = mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
m.write(b'x' * (16 << 20))
if os.fork() and os.fork():
    m[:8 << 20] = b'y' * (8 << 20)
    open('ready', 'w').close()
while True:
    time.sleep(60)
"""


def private_kib(pid):
    with open(f'/proc/{pid}/smaps_rollup') as f:
        return sum(int(line.split()[1]) for line in f if line.startswith('Private_Dirty:'))


def test_what_is_shared_since_a_fork_stays_shared():
    """With the parent, and between its children alone: a checkpoint gives nobody pages of its own, and finds the same the next time."""
    with scratch() as d:
        p = outside(sys.executable, '-c', SHARING, cwd=d)
        wait_for(lambda: os.path.exists(f'{d}/ready'))
        tree = [p.pid] + harness.children(p.pid)
        check(len(tree), 3)
        before, pages = [private_kib(pid) for pid in tree], []
        for image in 'one', 'two':
            r = spore('checkpoint', '--json', p.pid, f'{d}/{image}')
            check(r.returncode, 0, r.stderr)
            pages.append(json.loads(r.stdout)['pages'])
            for pid, kib in zip(tree, before):
                check(private_kib(pid) - kib < 1024, True, f'{kib} KiB of {pid} its own before, {private_kib(pid)} after')
        check(abs(pages[0] - pages[1]) < 64, True, f'pages saved: {pages}')
        for pid in tree[1:]:
            os.kill(pid, 9)
        end(p)


def test_container_by_name():
    with scratch() as d:
        with Container('sh', '-c', COUNTER.format(d=d), options=['--name', named('save-test')]):
            wait_for(lambda: count(d) > 2)
            r = spore('checkpoint', named('save-test'), f'{d}/image')
            check(r.returncode, 0, r.stderr)
            found = [e for e in json.loads(spore('list', '--json').stdout) if e['name'] == named('save-test')]
            check(found[0]['last_checkpoint'] is not None, True)
        r = spore('restore', '-d', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        pid = int(r.stdout)
        found = [e for e in json.loads(spore('list', '--json').stdout) if e['name'] == named('save-test')]
        check([(e['pid'], e['restored']) for e in found], [(pid, True)])
        before = count(d)
        wait_for(lambda: count(d) > before, what='the restored container goes on')
        kill_restored(pid)


def test_network_and_pids_of_a_container():
    """Its own network, without a name, is made again; and that its pids count in a namespace of its own is told."""
    with scratch() as d:
        with Container('sh', '-c', COUNTER.format(d=d), options=['--name', named('save-net'), '--net', 'none']):
            wait_for(lambda: count(d) > 2)
            r = spore('checkpoint', named('save-net'), f'{d}/image')
            check(r.returncode, 0, r.stderr)
        r = spore('restore', '-d', '--json', f'{d}/image')
        check(r.returncode, 0, r.stderr)
        told = json.loads(r.stdout)
        check(told['new_pid_namespace'], True)
        check(os.readlink(f'/proc/{told["pid"]}/ns/net') != os.readlink('/proc/self/ns/net'), True)
        kill_restored(told['pid'])


def test_isolation():
    with scratch() as d:
        with Container('sh', '-c', COUNTER.format(d=d), options=['--name', named('isolate-test')]):
            wait_for(lambda: count(d) > 2)
            check(spore('isolate', named('isolate-test')).returncode, 0)
            check_in('isolated', [e['state'] for e in json.loads(spore('list', '--json').stdout)
                                  if e['name'] == named('isolate-test')])
            before = count(d)
            r = spore('isolate', named('isolate-test'))
            check(r.returncode, 1)
            check_in('isolated already', r.stderr)
            check(spore('checkpoint', named('isolate-test'), f'{d}/one').returncode, 0)
            check(spore('checkpoint', named('isolate-test'), f'{d}/two').returncode, 0)
            check(count(d), before)
            check(spore('unisolate', named('isolate-test')).returncode, 0)
            wait_for(lambda: count(d) > before)
            r = spore('unisolate', named('isolate-test'))
            check(r.returncode, 1)
            check_in('not isolated', r.stderr)
        r = spore('restore', '-d', '--isolated', f'{d}/one')
        check(r.returncode, 0, r.stderr)
        pid = int(r.stdout)
        time.sleep(0.2)
        check(count(d) >= before, True)
        stuck = count(d)
        time.sleep(0.2)
        check(count(d), stuck)
        check(spore('unisolate', pid).returncode, 0)
        wait_for(lambda: count(d) != stuck, what='goes on')
        kill_restored(pid)


CHURN = 'for i in 1 2 3; do (while :; do (:); (:) & /bin/true; wait; done) & done; wait'


def test_short_lived_processes():
    """Births and deaths between any two steps of finding and stopping a tree are no obstacle."""
    with scratch() as d:
        p = outside('sh', '-c', CHURN)
        try:
            for _ in range(25):
                r = spore('checkpoint', '--force', p.pid, f'{d}/image')
                check(r.returncode, 0, r.stderr)
                check(spore('verify', f'{d}/image').returncode, 0)
        finally:
            os.killpg(p.pid, 9)
            p.wait()


THREADS = """import os, threading, time
for _ in range(3):
    threading.Thread(target=time.sleep, args=(600,)).start()
open('ready', 'w').close()
"""


def test_killed_while_isolated():
    """A process with threads, killed from outside: its parent learns of it at once, and nothing is isolated any more."""
    with scratch() as d:
        p = subprocess.Popen([sys.executable, '-c', THREADS], cwd=d, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(f'{d}/ready'), what='start')
        check(spore('isolate', p.pid).returncode, 0, 'isolate')
        p.kill()
        check(p.wait(10), -9, 'status')
        wait_for(lambda: spore('unisolate', p.pid).returncode == 1, what='end of the isolation')


def test_directories():
    with scratch() as d:
        p = outside('sleep', '100')
        check(spore('checkpoint', p.pid, f'{d}/image').returncode, 0)
        r = spore('checkpoint', p.pid, f'{d}/image')
        check(r.returncode, 1)
        check_in('--force', r.stderr)
        check_in(f'{d}/image: the directory holds an image already', r.stderr)
        check(spore('checkpoint', '--force', p.pid, f'{d}/image').returncode, 0)
        check(spore('checkpoint', p.pid, f'{d}/no/such').returncode, 1)
        check(spore('restore', f'{d}/nothing').returncode, 1)
        os.mkdir(f'{d}/empty')
        for command in ('restore', 'verify', 'inspect'):
            r = spore(command, f'{d}/empty')
            check(r.returncode, 1, command)
            check(r.stderr.count('\n'), 1, r.stderr)
            check_in(f'{d}/empty: the directory holds no image', r.stderr)
            check_in('; name the directory of a checkpoint', spore(command, f'{d}/nothing').stderr)
        r = spore('run', '--net', f'{d}/nothing', '--', 'true')
        check(r.returncode, 1)
        check_in(f'--net {d}/nothing: No such file', r.stderr)
        os.kill(p.pid, 9)
        os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)
        check_in('(a zombie); name its parent', spore('checkpoint', p.pid, f'{d}/zombie').stderr)
        end(p)


def link_of(path):
    try:
        return os.readlink(path)
    except OSError:
        return None


def test_a_tree_that_ends_as_soon_as_it_runs():
    """While some of its threads are let go, one that runs already ends them all."""
    with scratch() as d:
        p = outside(os.environ['LEAVING'], f'{d}/go')
        wait_for(lambda: open(f'/proc/{p.pid}/comm').read().strip().isdigit(), what='a round')
        check(spore('checkpoint', p.pid, f'{d}/image').returncode, 0)
        p.send_signal(signal.SIGSTOP)  # it keeps its number: those that are restored move
        open(f'{d}/go', 'w').close()
        for _ in range(4):
            check(spore('restore', f'{d}/image').returncode, 3)
        end(p)
        for _ in range(4):
            check(spore('restore', f'{d}/image').returncode, 3)


def test_refusal():
    with scratch() as d:
        p = outside(sys.executable, '-c', 'import time; m = open("/proc/self/mem", "rb"); d = open("/dev/null"); time.sleep(100)')
        wait_for(lambda: link_of(f'/proc/{p.pid}/fd/4') == '/dev/null')
        for args in (['check', p.pid], ['checkpoint', p.pid, f'{d}/image']):
            r = spore(*args)
            check(r.returncode, 3, r.stderr)
            check_in(f'({p.pid}): fd ', r.stderr)
            check_in('/mem)', r.stderr)
        check(os.path.exists(f'{d}/image'), False, 'nothing is left')
        check(alive(p.pid), True)
        end(p)


def test_a_refused_checkpoint_leaves_the_older_image():
    script = ('import sys, time\nprint("ready", flush=True); sys.stdin.readline()\n'
              'm = open("/proc/self/mem", "rb")\nprint("open", flush=True); time.sleep(100)')
    with scratch() as d:
        p = outside(sys.executable, '-c', script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        p.stdout.readline()
        check(spore('checkpoint', p.pid, f'{d}/image').returncode, 0)
        p.stdin.write('\n')
        p.stdin.flush()
        p.stdout.readline()
        r = spore('checkpoint', '--force', p.pid, f'{d}/image')
        check(r.returncode, 3, r.stderr)
        check(r.stderr.count('the memory of a process'), 1, r.stderr)
        check(spore('verify', f'{d}/image').returncode, 0)
        end(p)


def test_check_lists_what_only_a_stop_shows():
    script = ('import ctypes, time; a, b = (open(f"/proc/self/{name}", "rb") for name in ("mem", "pagemap")); '
              'ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print("ready", flush=True); time.sleep(100)')     # PR_SET_DUMPABLE
    with scratch() as d:
        p = outside(sys.executable, '-c', script, stdout=subprocess.PIPE)
        p.stdout.readline()
        r = spore('check', p.pid)
        check(r.returncode, 3, r.stderr)
        check_in('the memory of a process', r.stderr)
        check_in('dumped', r.stderr)
        check(r.stderr.count('the memory of a process'), 2, r.stderr)
        check(open(f'/proc/{p.pid}/status').read().count('TracerPid:\t0\n'), 1)
        check(alive(p.pid), True)
        end(p)


DIRECTION = '''
import mmap, os, sys, ctypes
c = ctypes.CDLL(None); c.mmap.restype = ctypes.c_void_p
def place(): return c.mmap(None, ctypes.c_size_t(mmap.PAGESIZE), 1, 0x22, -1, ctypes.c_long(0))
while os.path.exists('go') or not os.path.exists('end'):
    if os.path.exists('go'):
        one, two = place(), place()
        open('said.new', 'w').write('up' if one < two else 'down')
        os.rename('said.new', 'said'); os.unlink('go')
    __import__('time').sleep(0.02)
'''


def direction(d):
    open(f'{d}/go', 'w').close()
    wait_for(lambda: not os.path.exists(f'{d}/go'), what='answer')
    return open(f'{d}/said').read()


def test_mappings_go_where_they_went():
    """Up from the lowest free place, or down from the highest, as was decided at exec; in a child that called exec, and one that did not"""
    for prefix, way in ((['setarch', '-L'], 'up'), ([], 'down')):
        for shell in ([], ['sh', '-c', '"$@"; :', 'sh']):
            with scratch() as d:
                p = outside(*prefix, *shell, sys.executable, '-c', DIRECTION, cwd=d)
                check(direction(d), way)
                check(spore('checkpoint', '--kill', p.pid, f'{d}/image').returncode, 0)
                p.wait()
                harness.bury()
                r = spore('restore', '-d', f'{d}/image')
                check(r.returncode, 0, r.stderr)
                check(direction(d), way)
                open(f'{d}/end', 'w').close()
                wait_for(lambda: not alive(int(r.stdout)), what='end')


def test_a_timer_of_tai_is_named():
    script = ('import ctypes, time; c = ctypes.CDLL(None, use_errno=True); t = ctypes.c_void_p(); '
              'assert not c.timer_create(11, (ctypes.c_int * 16)(0, 0, 23), ctypes.byref(t)); '
              'assert not c.timer_settime(t, 1, (ctypes.c_long * 4)(0, 0, int(time.time()) + 1000, 0), None); '
              'print("ready", flush=True); time.sleep(100)')
    p = outside(sys.executable, '-c', script, stdout=subprocess.PIPE)
    check(p.stdout.readline(), b'ready\n')
    r = spore('check', p.pid)
    check_in('TIMER_ABSTIME of CLOCK_TAI', r.stdout + r.stderr)
    end(p)


def test_check_inspect_verify():
    check(spore('check').returncode, 0)
    check(json.loads(spore('check', '--json').stdout)['ok'], True)
    with scratch() as d:
        p = outside('sleep', '100')
        check(spore('check', p.pid).returncode, 0)
        check(json.loads(spore('check', '--json', p.pid).stdout)['ok'], True)
        check(spore('checkpoint', '--kill', p.pid, f'{d}/image').returncode, 0)
        p.wait()
        check_in('name: "sleep"', spore('inspect', f'{d}/image').stdout)
        check(len(json.loads(spore('inspect', '--json', f'{d}/image').stdout)['records']) > 10, True)
        for command in ('verify', 'check'):
            check(spore(command, f'{d}/image').returncode, 0)
            check(json.loads(spore(command, '--json', f'{d}/image').stdout)['ok'], True)
        name = max(os.listdir(f'{d}/image'), key=lambda n: os.path.getsize(f'{d}/image/{n}'))
        with open(f'{d}/image/{name}', 'r+b') as f:
            f.seek(os.path.getsize(f.name) // 2)
            byte = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([byte[0] ^ 1]))
        for command in ('verify', 'check', 'restore'):
            r = spore(command, f'{d}/image')
            check(r.returncode, 1, command)
            check(r.stderr.startswith(f'spore: {command}: '), True, r.stderr)
        check(alive(p.pid), False)


def sleep_notes():
    own = os.stat('/proc/self/ns/pid').st_ino
    return {name for name in os.listdir('/run/spore') if name.startswith(f'sleeps-{own}-')}


def test_notes_of_sleeps_go_with_their_processes():
    with scratch() as d:
        p = outside('sleep', '1000')
        time.sleep(0.2)
        r = spore('checkpoint', '--kill', '--json', p.pid, f'{d}/image')
        told = json.loads(r.stdout)
        check(0 < told['stop_us'] <= told['total_us'], True, 'it was stopped until it was killed')
        p.wait()
        pid = int(spore('restore', '-d', f'{d}/image').stdout)
        start = open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[19]
        note = next(n for n in sleep_notes() if n.endswith(f'-{pid}-{start}'))
        own = note.rpartition('-')[0]
        stale = [f'{own}-{int(start) + 1}', f'{own}-{int(start) + 1}~', 'sleeps-1-1-1']  # the last is of another namespace
        for name in stale:
            open(f'/run/spore/{name}', 'w').close()
        q = outside('sleep', '1000')
        check(spore('check', q.pid).returncode, 0)
        end(q)
        wait_for(lambda: not any(os.path.exists(f'/run/spore/{n}') for n in stale), what='the sweep')
        check(note in sleep_notes(), True, 'those of the living stay')
        kill_restored(pid)
        wait_for(lambda: note not in sleep_notes(), what='the end of its note')


def unshared(script, *options):
    r = subprocess.run(['unshare', '-f', '-p', *options, 'sh', '-c', script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    return r.returncode, r.stderr


def test_in_a_pid_namespace_of_another():
    with scratch() as d:
        script = (f'setsid sleep 100 </dev/null >/dev/null 2>&1 & sleep 0.2; {SPORE} checkpoint $! {d}/image && kill -9 $! && wait; '
                  f'{SPORE} restore -d {d}/image && {SPORE} checkpoint $! {d}/again')
        status, said = unshared(script, '-m', '--mount-proc')
        check(status, 0, said)
        for command in ('check 1', 'isolate 1', f'checkpoint 1 {d}/own'):
            status, said = unshared(f'{SPORE} {command}; exit $?', '-m', '--mount-proc')
            check(status, 3, said)
            check_in('spore itself', said)
        for command in ('check 1', 'run true', f'checkpoint 1 {d}/own', f'restore {d}/image'):
            status, said = unshared(f'{SPORE} {command}; exit $?')
            check(status, 1, said)
            check_in('/proc shows the processes of another pid namespace; mount', said)


def numbers_in_namespaces(pid):
    with open(f'/proc/{pid}/status') as f:
        return [int(n) for n in re.search(r'^NSpid:(.*)', f.read(), re.M)[1].split()]


def test_a_pid_namespace_without_a_container():
    with scratch() as d:
        script = f'sleep 1000 & echo $! > {d}/kid; wait'
        p = subprocess.Popen(['unshare', '-f', '-p', 'sh', '-c', script], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)
        kid = int(wait_for(lambda: os.path.exists(f'{d}/kid') and open(f'{d}/kid').read(), what='the child'))
        pid = int(open(f'/proc/{p.pid}/task/{p.pid}/children').read())
        for turn in range(2):
            r = spore('checkpoint', '--kill', pid, f'{d}/{turn}')
            check(r.returncode, 0, r.stderr)
            r = spore('restore', '-d', f'{d}/{turn}')
            check(r.returncode, 0, r.stderr)
            pid = int(r.stdout)
            check(numbers_in_namespaces(pid), [pid, 1])
            below = int(open(f'/proc/{pid}/task/{pid}/children').read())
            check(numbers_in_namespaces(below), [below, kid])
        kill_restored(pid)
        p.wait()


def test_a_kernel_thread_is_refused():
    if not os.path.exists('/proc/2/comm') or open('/proc/2/comm').read() != 'kthreadd\n':
        return
    with scratch() as d:
        for command in (['check', 2], ['isolate', 2], ['checkpoint', 2, f'{d}/image']):
            r = spore(*command)
            check(r.returncode, 3, r.stderr)
            check(r.stderr.count('\n'), 1, 'one line, not one for each of its children')
            check_in('kernel thread', r.stderr)
        check(os.listdir(d), [])


def test_usage_errors():
    for args in (['checkpoint'], ['checkpoint', '1'], ['restore'], ['restore', 'a', 'b'], ['isolate'], ['unisolate', '1', '2'],
                 ['inspect'], ['verify'], ['check', '1', '2'], ['checkpoint', '--parent'], ['restore', '-x', 'a']):
        r = spore(*args)
        check(r.returncode, 2, str(args))
        check(r.stderr.count('\n'), 1, r.stderr)
    with scratch() as d:
        for args in (['checkpoint', '4194303', f'{d}/image'], ['isolate', 'no-such-name'], ['check', '/no/such/cgroup']):
            r = spore(*args)
            check(r.returncode, 1, str(args))
        check(os.listdir(d), [])


def test_a_killed_checkpoint_leaves_the_tree_running():
    with scratch() as d:
        p = outside('sh', '-c', COUNTER.format(d=d))
        wait_for(lambda: count(d) > 2)
        for i in range(10):
            q = subprocess.Popen([SPORE, 'checkpoint', str(p.pid), f'{d}/image{i}'], stdout=subprocess.DEVNULL)
            time.sleep(0.001 * i)
            q.kill()
            q.wait()
            before = count(d)
            wait_for(lambda: count(d) > before + 1, what='the tree goes on')
            r = spore('verify', f'{d}/image{i}')
            check(r.returncode, 0 if os.path.exists(f'{d}/image{i}/manifest') else 1, r.stderr)
            check(open(f'/proc/{p.pid}/status').read().count('TracerPid:\t0\n'), 1)
        end(p)


LARGE = "b = bytearray(b'spore' * 41943040); print('ready', flush=True); import time; time.sleep(600)"


def interrupt(signum, p, image, *options):
    """A checkpoint, ended by a signal while it writes pages; when the one before, which may have copies to end, is gone."""
    wait_for(lambda: spore('check', p.pid).returncode == 0, what='end of what was interrupted before')
    q = subprocess.Popen([SPORE, 'checkpoint', *options, str(p.pid), image], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: (lambda names: 'pages-0' in names and 'manifest' not in names)(os.listdir(image) if os.path.isdir(image) else []), what='pages')
    q.send_signal(signum)
    check(q.wait(10), -signum)


def save_when_free(p, image):
    """Whoever comes at once is told to wait, and nothing else."""
    def saved():
        r = spore('checkpoint', p.pid, image)
        if r.returncode:
            check(r.returncode, 1, r.stderr)
            check_in('wait for', r.stderr)
        return r.returncode == 0
    wait_for(saved, what='end of the interrupted checkpoint')
    check(spore('verify', image).returncode, 0)


def test_an_interrupted_checkpoint_leaves_nothing():
    with scratch() as d:
        p = outside(sys.executable, '-c', LARGE, stdout=subprocess.PIPE)
        p.stdout.readline()
        for signum in (signal.SIGINT, signal.SIGKILL):
            interrupt(signum, p, f'{d}/new')
            wait_for(lambda: not os.path.exists(f'{d}/new'), what='removal of what it made')
            os.mkdir(f'{d}/empty')
            interrupt(signum, p, f'{d}/empty')
            wait_for(lambda: not os.listdir(f'{d}/empty'), what='removal of what it wrote')
            os.rmdir(f'{d}/empty')
        check(open(f'/proc/{p.pid}/status').read().count('TracerPid:\t0\n'), 1)
        for i in range(5):
            interrupt(signal.SIGINT, p, f'{d}/again')
            save_when_free(p, f'{d}/again')
            shutil.rmtree(f'{d}/again')
            interrupt(signal.SIGINT, p, f'{d}/one')
            save_when_free(p, f'{d}/other')
            shutil.rmtree(f'{d}/other')
        end(p)


def test_an_interrupted_checkpoint_touches_no_image():
    """What stood there before: kept while the new one has not begun to replace it, never mixed with it, and what was refused is not removed."""
    with scratch() as d:
        p = outside(sys.executable, '-c', LARGE, stdout=subprocess.PIPE)
        p.stdout.readline()
        os.mkdir(f'{d}/image')
        save_when_free(p, f'{d}/image')
        for i in range(12):
            q = subprocess.Popen([SPORE, 'checkpoint', *(['--force'] if i % 2 else []), str(p.pid), f'{d}/image'], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
            time.sleep(0.004 * i)
            q.send_signal(signal.SIGINT)
            q.wait()
            wait_for(lambda: spore('check', p.pid).returncode == 0, what='end of the interrupted checkpoint')
            if os.listdir(f'{d}/image'):
                check(spore('verify', f'{d}/image').returncode, 0)
            else:
                check(i % 2, 1, 'removed without --force')
                save_when_free(p, f'{d}/image')
        interrupt(signal.SIGINT, p, f'{d}/image', '--force')
        wait_for(lambda: not os.listdir(f'{d}/image'), what='removal of what it wrote')
        end(p)


def test_a_restore_that_cannot_be_told_leaves_nothing():
    with scratch() as d:
        p = outside('sh', '-c', COUNTER.format(d=d))
        wait_for(lambda: count(d) > 2)
        check(spore('checkpoint', '--kill', p.pid, f'{d}/image').returncode, 0)
        p.wait()
        harness.bury()
        before = count(d)
        for options in (['-d'], ['-d', '--json'], ['--json'], ['-d', '--isolated']):
            for output in ('>/dev/full', '>&-'):
                r = subprocess.run(['sh', '-c', f'exec "$@" {output}', 'sh', SPORE, 'restore', *options, f'{d}/image'], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True, timeout=20)
                check(r.returncode, 1, r.stderr)
                # (it may have moved: what a failed restore ended is not buried at once)
                check(len([line for line in r.stderr.splitlines() if ': note: ' not in line]), 1, r.stderr)
                check_in('standard output: ', r.stderr)
                check(alive(p.pid), False, f'{options} {output}: the tree runs on')
                wait_for(lambda: harness.bury() or not os.path.exists(f'/proc/{p.pid}'), what='burial')
        check(count(d), before, 'it never ran')
        kill_restored(int(spore('restore', '-d', f'{d}/image').stdout))


def test_output_that_cannot_be_written_is_a_failure():
    with open('/dev/full', 'w') as full:
        for args in (['help'], ['help', 'run'], ['--version'], ['list'], ['check']):
            r = subprocess.run([SPORE, *args], stdout=full, stderr=subprocess.PIPE, text=True)
            check(r.returncode, 1, str(args))
            check_in('standard output: No space left', r.stderr)


def test_terminal_moves():
    from on_terminal import OnTerminal
    with scratch() as d:
        one = OnTerminal(SPORE, 'run', '--name', named('terminal-test'), '--', 'bash', '--norc', '-i')
        one.send('PS1=; x=kept; echo ready-$((1+1))\r')
        one.expect('ready-2')
        r = spore('checkpoint', '--kill', named('terminal-test'), f'{d}/image')
        check(r.returncode, 0, r.stderr)
        one.wait()
        two = OnTerminal(SPORE, 'restore', f'{d}/image')
        two.until_relayed()
        two.send('echo $x-$((40+2))\r')
        two.expect('kept-42')
        two.send_to_job('\x03')
        two.send('echo after-$?\r')
        two.expect('after-130')
        two.send('exit 6\r')
        check(two.wait(), 6)


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
