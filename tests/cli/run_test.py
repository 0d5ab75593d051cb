# SPDX-License-Identifier: LGPL-2.1-or-later
"""spore run and spore list"""
import json
import os
import signal
import subprocess
import sys
import time

import harness
from harness import SPORE, Container, check, check_in, named, scratch, spore, wait_for
from on_terminal import OnTerminal


def test_exit_status_is_the_commands():
    for status in (0, 1, 7, 255):
        check(spore('run', '--', 'sh', '-c', f'exit {status}').returncode, status)


def test_death_by_signal():
    check(spore('run', '--', 'sh', '-c', 'kill -9 $$').returncode, 128 + 9, 'through init')
    r = subprocess.Popen([SPORE, 'run', '--no-init', '--', 'sleep', '100'])
    root = wait_for(lambda: harness.children(r.pid), what='the root')[0]
    wait_for(lambda: open(f'/proc/{root}/comm').read() == 'sleep\n', what='exec')
    os.kill(root, 9)
    check(r.wait(10), -9, 'without init')


def test_streams_pass_through():
    r = spore('run', '--', 'cat', input='one\ntwo\n', stdin=None)
    check(r.stdout, 'one\ntwo\n')
    check(spore('run', '--', 'sh', '-c', 'echo e >&2').stderr, 'e\n')


def test_pids_and_sessions():
    r = spore('run', '--', 'sh', '-c', 'echo $$; ps -o sid= -p $$; ps -o args= -p 1')
    lines = r.stdout.split('\n')
    check(lines[0].strip(), '2')
    check(lines[1].strip(), '2')
    check(lines[2].split()[0], 'spore-init')
    check(spore('run', '--no-init', '--', 'sh', '-c', 'echo $$').stdout, '1\n')


def test_orphans_are_reaped():
    r = spore('run', '--', 'sh', '-c', '(sh -c "sleep 0.1 & exec sleep 0" &) ; sleep 0.5; ps ax -o stat= | grep -c Z')
    check(r.stdout, '0\n')


def test_namespaces():
    ours = {n: os.readlink(f'/proc/self/ns/{n}') for n in ('pid', 'mnt', 'ipc', 'uts', 'cgroup', 'time', 'net')}
    with Container('sleep', '100') as c:
        child = wait_for(lambda: harness.children(c.pid), what='the command')[0]
        for n, link in ours.items():
            check(os.readlink(f'/proc/{child}/ns/{n}') != link, n != 'net', n)
    with Container('sleep', '100', options=['--net', 'none']) as c:
        check(os.readlink(f'/proc/{c.pid}/ns/net') != ours['net'], True)


def test_mounts_are_those_that_are_known():
    probe = os.environ.get('CONTAINER_MOUNTS')
    if not probe:
        raise harness.Skip('CONTAINER_MOUNTS is not set')
    with Container('sh', '-c', 'sleep 0.1; sleep 100') as c:
        r = subprocess.run([probe, str(c.pid)], capture_output=True, text=True)
        check((r.returncode, r.stdout), (0, ''))
    with Container('sh', '-c', 'mount -t tmpfs mine /mnt; sleep 100') as c:
        r = wait_for(lambda: (lambda p: p.returncode and p)(
            subprocess.run([probe, str(c.pid)], capture_output=True, text=True)), what='refusal')
        check(r.returncode, 3)
        check_in('mount /mnt (tmpfs)', r.stdout)


def make_root(d):
    for sub in ('proc', 'dev', 'sys', 'bin'):
        os.mkdir(f'{d}/{sub}')
    for tool in ('/bin/busybox', '/usr/bin/busybox'):
        if os.path.exists(tool):
            subprocess.run(['cp', tool, f'{d}/bin/busybox'], check=True)
            return
    raise harness.Skip('needs busybox-static')


def test_root_directory():
    with scratch() as d:
        make_root(d)
        r = spore('run', '--root', d, '--', '/bin/busybox', 'sh', '-c',
                  'busybox ls /; busybox ls /dev; echo x > /dev/null; busybox head -c 3 /dev/zero | busybox wc -c; '
                  'busybox readlink /proc/1/exe')
        lines = r.stdout.split()
        for name in ('bin', 'null', 'ptmx', 'shm', 'tty', 'stdin', '/dev/.spore-init', '3'):
            check_in(name, lines, r.stderr)
        probe = os.environ.get('CONTAINER_MOUNTS')
        if probe:
            with Container('/bin/busybox', 'sleep', '100', options=['--root', d]) as c:
                r = subprocess.run([probe, str(c.pid), os.path.realpath(d)], capture_output=True, text=True)
                check((r.returncode, r.stdout), (0, ''))


def test_names_and_list():
    with Container('sleep', '100', options=['--name', named('list-test')]) as c:
        found = [e for e in json.loads(spore('list', '--json').stdout) if e['name'] == named('list-test')]
        check(found, [{'name': named('list-test'), 'pid': c.pid, 'state': 'running', 'restored': False, 'last_checkpoint': None}])
        check_in(named('list-test'), spore('list').stdout)
        again = spore('run', '-d', '--name', named('list-test'), '--', 'true')
        check(again.returncode, 1)
        check_in(named('list-test'), again.stderr)
    check([e for e in json.loads(spore('list', '--json').stdout) if e['name'] == named('list-test')], [])


def test_detached_leaves_pipes_and_keeps_files():
    with scratch() as d:
        with open(f'{d}/out', 'w') as out:
            r = subprocess.run([SPORE, 'run', '-d', '--', 'sh', '-c', 'echo hello; sleep 100'], stdout=out,
                               stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=10)
        check(r.returncode, 0)
        lines = wait_for(lambda: (lambda t: t.count('\n') == 2 and t)(open(f'{d}/out').read())).split()
        pid = int([w for w in lines if w != 'hello'][0])
        check_in('hello', lines)
        os.kill(pid, 9)


def test_a_container_that_cannot_be_told_is_ended():
    for output in ('>/dev/full', '>&-'):
        r = subprocess.run(['sh', '-c', f'exec "$@" {output}', 'sh', SPORE, 'run', '-d', '--name', named('untold-test'), '--', 'sleep', '4242'],
                           stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=10)
        check(r.returncode, 1)
        check(r.stderr.count('\n'), 1, r.stderr)
        check_in('standard output: ', r.stderr)
        check([e for e in json.loads(spore('list', '--json').stdout) if e['name'] == named('untold-test')], [])
        check(subprocess.run(['pgrep', '-fx', 'sleep 4242']).returncode, 1, 'the command runs on')


def test_a_container_whose_reader_has_gone_is_ended():
    reader, writer = os.pipe()
    os.close(reader)
    r = subprocess.run([SPORE, 'run', '-d', '--', 'sleep', '4243'], stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, text=True,
                       timeout=10, restore_signals=True)
    os.close(writer)
    check(r.returncode, 1)
    check_in('standard output: ', r.stderr)
    check(subprocess.run(['pgrep', '-fx', 'sleep 4243']).returncode, 1, 'the command runs on')


def test_signals_are_passed_on():
    p = subprocess.Popen([SPORE, 'run', '--', 'sh', '-c', 'trap "echo got; exit 5" TERM; echo ready; while :; do sleep 0.05; done'],
                         stdout=subprocess.PIPE, text=True)
    check(p.stdout.readline(), 'ready\n')
    p.send_signal(signal.SIGTERM)
    check(p.stdout.readline(), 'got\n')
    check(p.wait(10), 5)


def test_usage_errors():
    for args in (['run'], ['run', '--frob', '--', 'true'], ['run', '--name', '123', '--', 'true'],
                 ['run', '--net', 'maybe', '--', 'true'], ['run', '--name'], ['frob'], [], ['help', 'frob'],
                 ['list', 'x'], ['run', '--root', '/nonexistent', '--', 'true']):
        r = spore(*args)
        check(r.returncode, 2, str(args))
        check_in('spore', r.stderr, str(args))


def test_help():
    for args in (['help'], ['--help'], ['help', 'run'], ['run', '--help'], ['--version']):
        r = spore(*args)
        check(r.returncode, 0, str(args))
        check_in('spore', r.stdout)
        check(r.stderr, '')


def test_a_command_that_is_not_there():
    for extra in ([], ['--no-init']):
        r = spore('run', *extra, '--', 'no-such-command')
        check(r.returncode, 1)
        check(r.stderr, 'spore: run: no-such-command: No such file or directory\n')


def test_terminal_is_relayed():
    import fcntl
    import struct
    import termios
    t = OnTerminal(SPORE, 'run', '--', 'bash', '--norc', '-i')
    before = termios.tcgetattr(t.fd)
    fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack('HHHH', 33, 77, 0, 0))
    t.send('PS1=; stty size; echo on-the-$((1))-tty > /dev/tty; echo shown-$((40+2))\r')
    t.expect('33 77')
    t.expect('on-the-1-tty')
    t.expect('shown-42')
    fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack('HHHH', 44, 88, 0, 0))
    t.send('sleep 0.2; stty size\r')
    t.expect('44 88')
    t.send_to_job('\x03')
    t.send('echo interrupted-$?\r')
    t.expect('interrupted-130')
    t.send_to_job('\x1a')
    t.expect('Stopped')
    t.send('jobs; kill %1; exit 9\r')
    t.send('exit 9\r')
    check(t.wait(), 9)


def test_terminal_is_given_back():
    t = OnTerminal('/bin/sh', '-c', f'stty -a > /dev/shm/spore-stty-1.$$; {SPORE} run -- true; '
                   'stty -a > /dev/shm/spore-stty-2.$$; cmp /dev/shm/spore-stty-[12].$$ && echo same-terminal; rm /dev/shm/spore-stty-[12].$$')
    t.expect('same-terminal')
    check(t.wait(), 0)


if __name__ == '__main__':
    harness.main(sys.modules[__name__])
