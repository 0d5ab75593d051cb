# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trees of the host's pid namespace that cannot have their pids back there: taken, or of a session that is led from outside."""
import json
import os
import signal
import subprocess
import sys
import time

import harness
from harness import SPORE, alive, bury, check, check_in, children, scratch, spore, wait_for
from on_terminal import OnTerminal

NOTE = 'in a new one, in which alone it has its pids'

# Answers each line of its standard input's fifo with who it is, and does what the line says.
PROGRAM = '''
import os, subprocess, sys, time
child = os.fork()
if not child:
    os._exit(5)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # a zombie
stat = open("/proc/self/stat")
while True:
    with open("ask") as f:
        words = f.read().split()
    answer = [os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0), int(os.readlink("/proc/self"))]
    if words[0] == "stat":
        stat.seek(0)
        answer = [int(w) for w in stat.read().rpartition(")")[2].split()[1:4]]
    elif words[0] == "reap":
        answer = [os.waitpid(child, 0)[1]]
    elif words[0] == "orphan":  # a daemon, and an orphan that ends at once
        answer = [int(w) for w in subprocess.check_output("sleep 1000 >&- & echo $!; (true &)", shell=True).split()]
        time.sleep(0.1)
        answer.append(len([n for n in os.listdir("/proc") if n.isdigit() and open(f"/proc/{n}/stat").read().split()[2] == "Z"]))
    elif words[0] == "exit":
        os._exit(int(words[1]))
    elif words[0] == "kill":
        os.kill(os.getpid(), int(words[1]))
    with open("answer", "w") as f:
        print(*answer, file=f)
'''


class Program:
    def __init__(self, d, session):
        self.d = d
        for name in ('ask', 'answer'):
            os.mkfifo(f'{d}/{name}')
        self.process = subprocess.Popen([sys.executable, '-c', PROGRAM], cwd=d, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=session)
        self.pid = self.process.pid

    def say(self, *words):
        with open(f'{self.d}/ask', 'w') as f:
            f.write(' '.join(map(str, words)))

    def ask(self, *words):
        self.say(*words)
        with open(f'{self.d}/answer') as f:
            return [int(w) for w in f.read().split()]

    def end(self):
        self.process.kill()
        self.process.wait()
        bury()


def restore(image, moved=True):
    r = spore('restore', '-d', '--json', image)
    check(r.returncode, 0, r.stderr)
    told = json.loads(r.stdout)
    check(told['new_pid_namespace'], moved, r.stderr)
    check(NOTE in r.stderr, moved, r.stderr)
    return told['pid']


def inner_pid(pid):
    with open(f'/proc/{pid}/status') as f:
        return [line.split()[-1] for line in f if line.startswith('NSpid:')][0]


def init_of(pid):
    while inner_pid(pid) != '1':
        with open(f'/proc/{pid}/stat') as f:
            pid = int(f.read().rpartition(')')[2].split()[1])
    return pid


def mounts(pid):
    """What is mounted where, and from what."""
    with open(f'/proc/{pid}/mountinfo') as f:
        return [[*line.split()[2:6], *line.partition(' - ')[2].split()] for line in f]


def end_moved(pid):
    init = init_of(pid)
    os.kill(init, signal.SIGKILL)
    wait_for(lambda: not alive(init) and not alive(pid), what='the end of the tree with its init')
    bury()


def test_a_copy_beside_the_original():
    with scratch() as d:
        p = Program(d, session=True)
        before = p.ask('who')
        check(spore('checkpoint', p.pid, f'{d}/image').returncode, 0)
        pid = restore(f'{d}/image')
        check(alive(p.pid), True)
        p.end()  # whoever answers from here on is the copy
        check(pid != p.pid, True)
        check(inner_pid(pid), str(p.pid))
        now = p.ask('who')
        check((now[0], now[2:]), (before[0], before[2:]))
        check(p.ask('stat'), [now[1], now[2], now[3]], 'the open /proc/PID/stat is of the new /proc')
        check(p.ask('reap'), [5 << 8], 'the zombie child')
        own, host = mounts(pid), mounts('self')
        check([m for m in own if m not in host], [m for m in own if m[2] == '/proc' and m[4] == 'proc' and m not in host])
        check([m for m in host if m not in own], [])
        check(len(own), len(host) + 1, 'only /proc was added')
        found = [e for e in json.loads(spore('list', '--json').stdout) if e['pid'] == pid]
        check([e['restored'] for e in found], [True])
        end_moved(pid)


def test_its_end_is_told():
    for session in (True, False):
        with scratch() as d:
            p = Program(d, session)
            p.ask('who')
            r = spore('checkpoint', '--kill', p.pid, f'{d}/image')
            check(r.returncode, 0, r.stderr)  # and nobody waits for it: its pid is not free
            for words, status in ((('exit', 9), 9), (('kill', signal.SIGTERM), -signal.SIGTERM)):
                q = subprocess.Popen([SPORE, 'restore', f'{d}/image'], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                check_in(NOTE, q.stderr.readline())
                p.ask('who')
                p.say(*words)
                check(q.wait(10), status)
                q.stderr.close()
            q = subprocess.Popen([SPORE, 'restore', f'{d}/image'], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            q.stderr.readline()
            p.ask('who')
            q.send_signal(signal.SIGUSR1)
            check(q.wait(10), -signal.SIGUSR1, 'a signal is passed on')
            q.stderr.close()
            p.end()


def test_orphans_have_an_init():
    with scratch() as d:
        p = Program(d, session=False)
        p.ask('who')
        check(spore('checkpoint', '--kill', p.pid, f'{d}/image').returncode, 0)
        p.end()
        pid = restore(f'{d}/image')
        init = init_of(pid)
        daemon, zombies = p.ask('orphan')
        check(daemon > p.pid, True, 'numbers go on from those of the tree')
        check(zombies, 1, 'its own child; the orphan was reaped')
        p.say('exit', 0)
        wait_for(lambda: not alive(pid), what='the end of the root')
        time.sleep(0.2)
        left = children(init)
        check([(inner_pid(c), open(f'/proc/{c}/comm').read()) for c in left], [(str(daemon), 'sleep\n')], 'what outlives the root lives on')
        os.kill(left[0], signal.SIGKILL)
        wait_for(lambda: not alive(init), what='the end of an init that has nobody left')
        bury()


def test_led_from_outside():
    """Session and group of another, as of a program that a script starts."""
    with scratch() as d:
        p = Program(d, session=False)
        before = p.ask('who')
        check((before[2], before[3]), (os.getpgid(0), os.getsid(0)))
        r = spore('checkpoint', '--kill', p.pid, f'{d}/image')
        check((r.returncode, r.stderr), (0, ''))
        p.end()
        pid = restore(f'{d}/image')
        now = p.ask('who')
        check((now[0], now[2:]), (before[0], before[2:]))
        check(p.ask('stat'), [now[1], now[2], now[3]])
        end_moved(pid)


def test_twenty_times_in_a_row():
    with scratch() as d:
        p = Program(d, session=False)
        before, pid = p.ask('who'), p.pid
        for i in range(20):
            r = spore('checkpoint', '--kill', pid, f'{d}/image{i}')
            check(r.returncode, 0, r.stderr)
            if i == 0:
                p.end()
            wait_for(lambda: not alive(pid), what='the end of the saved tree')
            bury()
            pid = restore(f'{d}/image{i}')
            now = p.ask('who')
            check((now[0], now[2:]), (before[0], before[2:]))
        check(p.ask('reap'), [5 << 8])
        end_moved(pid)


def test_back_to_the_host():
    """Moved because its pid was taken, it comes back when that is free."""
    with scratch() as d:
        p = Program(d, session=True)
        p.ask('who')
        check(spore('checkpoint', p.pid, f'{d}/one').returncode, 0)
        pid = restore(f'{d}/one')
        p.end()
        r = spore('checkpoint', '--kill', pid, f'{d}/two')
        check(r.returncode, 0, r.stderr)
        wait_for(lambda: not alive(pid), what='the end of the saved tree')
        bury()
        check(restore(f'{d}/two', moved=False), p.pid)
        check(p.ask('stat')[1:], [p.pid, p.pid])
        check(p.ask('reap'), [5 << 8])
        p.say('exit', 0)
        wait_for(lambda: not alive(p.pid), what='its end')
        bury()


def test_a_pid_that_a_zombie_holds():
    with scratch() as d:
        p = Program(d, session=True)
        p.ask('who')
        check(spore('checkpoint', '--kill', p.pid, f'{d}/image').returncode, 0)
        # Not waited for: it stays a zombie, and its number with it.
        pid = restore(f'{d}/image')
        end_moved(pid)
        q = subprocess.Popen([SPORE, 'restore', f'{d}/image'], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.3)
        p.end()  # while it waits
        check(p.ask('who')[0], p.pid)
        check(os.readlink(f'/proc/{p.pid}/ns/pid'), os.readlink('/proc/self/ns/pid'))
        p.say('exit', 3)
        check(q.wait(10), 3)
        check(q.stderr.read(), '')
        q.stderr.close()


READER = '''
import fcntl, os, signal, struct, sys
TIOCGSID = 0x5429
signal.signal(signal.SIGINT, lambda *a: print("interrupted", flush=True))
print("ready", flush=True)
for line in iter(sys.stdin.readline, ""):
    tty = os.open("/dev/tty", os.O_RDWR)
    os.write(tty, b"told-%s-%d-%d\\n" % (line.strip().encode(), os.getpgid(0) == os.tcgetpgrp(tty), struct.unpack("i", fcntl.ioctl(tty, TIOCGSID, b"    "))[0] == os.getsid(0)))
    os.close(tty)
sys.exit(7)
'''


def shell(d):
    t = OnTerminal('/bin/bash', '--norc', '-i')
    t.send(f'PS1=; cd {d}; echo ready-$((1+1))\r')
    t.expect('ready-2')
    return t


def end_shell(t):
    """With its jobs, which would keep the terminal open."""
    for name in os.listdir('/proc'):
        try:
            if name.isdigit() and os.getsid(int(name)) == t.pid and int(name) != t.pid:
                os.kill(int(name), signal.SIGKILL)
        except ProcessLookupError:
            pass
    os.kill(t.pid, signal.SIGKILL)
    t.wait()
    os.close(t.fd)
    bury()


def works_in(pid, d):
    try:
        return os.readlink(f'/proc/{pid}/cwd') == d
    except OSError:
        return False


def moved(d):
    """Not those of another test."""
    return {e['pid'] for e in json.loads(spore('list', '--json').stdout) if e['name'].startswith('restored-') and works_in(e['pid'], d)}


def restore_on_terminal(image):
    """The command on its terminal, and the root."""
    d = os.path.dirname(image)
    before = moved(d)
    t = OnTerminal(SPORE, 'restore', image)
    pid = wait_for(lambda: moved(d) - before, what='the restored tree').pop()
    time.sleep(0.2)
    return t, pid


def reads(pid):
    with open(f'/proc/{pid}/syscall') as f:
        return f.read().startswith('0 ')


def test_started_from_a_shell():
    """In the foreground of an interactive shell; restored on another terminal, three times in a row."""
    with scratch() as d:
        with open(f'{d}/reader.py', 'w') as f:
            f.write(READER)
        t = shell(d)
        t.send(f'{sys.executable} reader.py\r')
        t.expect('ready\r')
        t.send('one\r')
        t.expect('told-one-1-1')
        pid = children(t.pid)[0]
        for i in range(3):
            r = spore('checkpoint', '--kill', pid, f'{d}/image{i}')
            check(r.returncode, 0, r.stderr)
            if i == 0:
                end_shell(t)
            else:
                check(t.wait(), -9)
                os.close(t.fd)
            bury()
            t, pid = restore_on_terminal(f'{d}/image{i}')
            t.send('two\r')
            t.expect('told-two-1-1')
            wait_for(lambda: reads(pid), what='its next read')  # a signal just before it is seen by Python after it
            t.send('\x03')
            t.expect('interrupted')
        t.send('\x04')
        check(t.wait(), 7)
        os.close(t.fd)


def test_background_jobs_of_a_shell():
    with scratch() as d:
        t = shell(d)
        t.send('sleep 1000 | cat &\r')
        wait_for(lambda: len(children(t.pid)) == 2)
        t.send('(sleep 1000 | cat) &\r')
        wait_for(lambda: len(children(t.pid)) == 3)
        wait_for(lambda: len(children(children(t.pid)[2])) == 2)
        time.sleep(0.2)
        sleeper, _, both = children(t.pid)
        for i, job in enumerate((sleeper, both)):
            r = spore('checkpoint', job, f'{d}/image{i}')
            check(r.returncode, 0, r.stderr)
            q, pid = restore_on_terminal(f'{d}/image{i}')
            check(len(children(pid)), 2 * i)
            with open(f'/proc/{pid}/stat') as f:
                state, _, group, session, tty, foreground = f.read().rpartition(')')[2].split()[:6]
            check((state, tty != '0', foreground == session, foreground != group), ('S', True, True, True), 'in the background still')
            r = spore('checkpoint', '--kill', pid, f'{d}/again{i}')
            check(r.returncode, 0, r.stderr)
            check(q.wait(), -9)
            os.close(q.fd)
            bury()
        end_shell(t)


def stops(pid):
    """Whether ^Z stops it: the kernel spares a group that nobody of its session, outside of the group, is the parent of."""
    os.kill(pid, signal.SIGTSTP)

    def state():
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(')')[2].split()[0]

    wait_for(lambda: state() in 'ST', what='the end of the stop signal')
    stopped = state() == 'T'
    os.kill(pid, signal.SIGCONT)
    return stopped


def test_stops_unless_its_group_is_orphaned():
    """A job of a living shell, and a daemon that such a shell has left behind."""
    with scratch() as d:
        t = shell(d)
        t.send('(sleep 1000 & echo $! > daemon); sleep 1000 & echo $! > job; echo done-$((1+1))\r')
        t.expect('done-2')
        for name, expected in (('job', True), ('daemon', False)):
            with open(f'{d}/{name}') as f:
                job = int(f.read())
            wait_for(lambda: os.readlink(f'/proc/{job}/exe') != os.readlink(f'/proc/{t.pid}/exe'), what='its exec')
            r = spore('checkpoint', job, f'{d}/{name}.image')
            check(r.returncode, 0, r.stderr)
            check(stops(job), expected, name)
            q, pid = restore_on_terminal(f'{d}/{name}.image')
            check(stops(pid), expected, f'{name}, restored')
            os.kill(pid, signal.SIGKILL)
            check(q.wait(), -9)
            os.close(q.fd)
            bury()
        end_shell(t)


def test_the_terminal_of_a_session_that_is_not_the_roots():
    with scratch() as d:
        t = shell(d)
        t.send(f'{sys.executable} -c "import os, time; os.fork() or os.fork() and os.setsid(); time.sleep(1000)" &\r')
        first = wait_for(lambda: [c for c in children(t.pid) if children(c)], what='the tree')[0]
        pid = wait_for(lambda: [c for c in children(first) if children(c)], what='the tree')[0]
        wait_for(lambda: os.getsid(pid) == pid, what='its session')
        r = spore('checkpoint', pid, f'{d}/image')
        check(r.returncode, 3, r.stderr)
        check_in('session', r.stderr)
        os.kill(pid, signal.SIGKILL)
        end_shell(t)


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
