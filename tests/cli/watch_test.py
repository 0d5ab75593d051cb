# SPDX-License-Identifier: LGPL-2.1-or-later
"""spore watch: whatever has a number is whole, at any time and under any kill; the last ones stay, and older ones go"""
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

import harness
from harness import SPORE, Container, check, check_in, scratch, spore, take_orphans, wait_for
from incremental_test import CHANGING, own
from rounds import end, goes_on, is_right, start


def watch(pid, directory, *options):
    return subprocess.Popen([SPORE, 'watch', '--json', *map(str, options), str(pid), directory], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def numbers(directory):
    try:
        return sorted(n for n in os.listdir(directory) if n.isdigit())
    except FileNotFoundError:
        return []


def all_are_whole(directory):
    for n in numbers(directory):
        r = spore('verify', f'{directory}/{n}')
        check(r.returncode, 0, r.stderr)


def wait_for_number(directory, least):
    wait_for(lambda: [n for n in numbers(directory) if int(n) >= least], seconds=60, what=f'image {least}')


def finish(w, sig=None):
    """What it printed."""
    if sig:
        w.send_signal(sig)
    out, err = w.communicate(timeout=60)
    check(w.returncode, 0, err)
    return [json.loads(line) for line in out.splitlines()]


def latest(directory):
    return os.readlink(f'{directory}/latest')


def test_it_keeps_the_last():
    p = start(CHANGING, 8, 30)
    with scratch() as d:
        w = watch(p.pid, f'{d}/w', '--every', '20ms', '--keep', 4)
        for i in range(8, 17):
            wait_for_number(f'{d}/w', i)
            w.send_signal(signal.SIGSTOP)
            all_are_whole(f'{d}/w')
            w.send_signal(signal.SIGCONT)
        *images, ended = finish(w, signal.SIGTERM)
        check((ended['ended'], ended['failures'], ended['images']), ('signal', 0, len(images)))
        check([i['number'] for i in images], list(range(1, len(images) + 1)))
        check(all(i['kept'] < 8 for i in images), True, [i['kept'] for i in images])
        check(any(i['merged'] for i in images) and any(i['removed'] for i in images), True)
        check(images[-1]['pages'] < images[0]['pages'] / 2, True, images[-1])
        left = numbers(f'{d}/w')
        check(len(left) >= 4 and left[-1] == images[-1]['image'] == latest(f'{d}/w'), True, left)
        check(sorted(os.listdir(f'{d}/w')), [*left, 'latest'])
        all_are_whole(f'{d}/w')
        # Another one goes on, against what is there.
        w = watch(p.pid, f'{d}/w', '--every', '20ms', '--keep', 2)
        wait_for_number(f'{d}/w', len(images) + 2)
        again = finish(w, signal.SIGINT)
        check(again[0]['number'], len(images) + 1)
        check(again[0]['unchanged'] > 0, True, again[0])
        end(p)
        all_are_whole(f'{d}/w')
        is_right(*(f'{d}/w/{n}' for n in (*numbers(f'{d}/w')[:2], 'latest')))


def test_it_ends_with_the_tree():
    p = start(CHANGING, 8, 10)
    with scratch() as d:
        w = watch(p.pid, f'{d}/w', '--every', '30ms')
        wait_for_number(f'{d}/w', 3)
        end(p)
        check(finish(w)[-1]['ended'], 'tree')
        all_are_whole(f'{d}/w')
        is_right(f'{d}/w/latest')
        check(spore('watch', p.pid, f'{d}/w').returncode, 1)


def test_a_tree_that_is_killed_while_it_is_saved():
    """That is its end, and no failure."""
    with scratch() as d:
        for i in range(10):
            with Container(CHANGING, 4, 10) as c:
                w = watch(c.pid, f'{d}/{i}', '--every', '1ms')
                wait_for_number(f'{d}/{i}', 1)
                time.sleep(0.007 * i)
            out, err = w.communicate(timeout=60)
            ended = json.loads(out.splitlines()[-1])
            check((w.returncode, ended['ended'], ended['failures'], err), (0, 'tree', 0, ''))
            all_are_whole(f'{d}/{i}')


def test_killed_at_any_time():
    p = start(CHANGING, 8, 30)
    with scratch() as d:
        for i in range(14):
            w = watch(p.pid, f'{d}/w', '--every', '1ms', '--keep', 1 + i % 2)
            wait_for_number(f'{d}/w', max([0, *map(int, numbers(f'{d}/w'))]) + 1)
            time.sleep(0.013 * i)
            w.kill()
            w.communicate()
            all_are_whole(f'{d}/w')
            check(latest(f'{d}/w') in numbers(f'{d}/w'), True, os.listdir(f'{d}/w'))
        goes_on(p.pid)
        w = watch(p.pid, f'{d}/w', '--every', '20ms', '--keep', 3)
        wait_for_number(f'{d}/w', max(map(int, numbers(f'{d}/w'))) + 8)
        finish(w, signal.SIGTERM)
        end(p)
        check(len(numbers(f'{d}/w')) < 8, True, numbers(f'{d}/w'))
        check([n for n in os.listdir(f'{d}/w') if n.startswith('.')], [])
        is_right(*(f'{d}/w/{n}' for n in numbers(f'{d}/w')[-2:]))


def test_what_cannot_be_saved_now():
    """It says so, and goes on."""
    listener = socket.create_server(('127.0.0.1', 0))
    with scratch() as d:
        p = own(d, f'''
import socket
def wait(name):
    open(f'{{d}}/at-{{name}}', 'w').close()
    while not os.path.exists(f'{{d}}/{{name}}'):
        time.sleep(0.002)
wait('connect')
s = socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}))
wait('close')
s.close()
wait('end')
''')
        def step(name, then):
            open(f'{d}/{name}', 'w').close()
            wait_for(lambda: os.path.exists(f'{d}/at-{then}'))
        wait_for(lambda: os.path.exists(f'{d}/at-connect'))
        step('connect', 'close')
        connection, _ = listener.accept()
        r = subprocess.Popen([SPORE, 'watch', '--every', '20ms', str(p.pid), f'{d}/w'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        check(r.stdout.readline() != '', True)
        for _ in range(3):
            check(r.stdout.readline(), 'no image this time\n')
        r.terminate()
        _, err = r.communicate(timeout=30)
        check(r.returncode, 3, err)         # never
        check_in('outside of the tree', err)
        check(err.count('a TCP connection'), 1, err)
        w = watch(p.pid, f'{d}/w', '--every', '20ms')
        failed = json.loads(w.stdout.readline())
        check(failed['failed'], 3)
        check(numbers(f'{d}/w'), [])
        step('close', 'end')
        connection.close()
        wait_for_number(f'{d}/w', 2)
        p.kill()
        p.wait()
        *_, ended = finish(w)
        check(ended['failures'] > 0, True, ended)
        all_are_whole(f'{d}/w')


def test_what_was_removed_meanwhile():
    """The next one is then made without it."""
    p = start(CHANGING, 8, 10)
    with scratch() as d:
        w = watch(p.pid, f'{d}/w', '--every', '50ms', '--keep', 50)
        wait_for_number(f'{d}/w', 2)
        w.send_signal(signal.SIGSTOP)
        have = numbers(f'{d}/w')
        for n in have:
            shutil.rmtree(f'{d}/w/{n}')
        w.send_signal(signal.SIGCONT)
        wait_for_number(f'{d}/w', int(have[-1]) + 4)
        finish(w, signal.SIGTERM)
        end(p)
        all = numbers(f'{d}/w')
        check(spore('verify', f'{d}/w/{all[-1]}').returncode, 0)
        is_right(f'{d}/w/latest')


def test_two_of_them():
    p = start(CHANGING, 8, 10)
    with scratch() as d:
        w = watch(p.pid, f'{d}/w')
        wait_for_number(f'{d}/w', 1)
        r = spore('watch', p.pid, f'{d}/w')
        check(r.returncode, 1)
        check_in('another `spore watch` is at work there', r.stderr)
        finish(w, signal.SIGTERM)
        end(p)
        for wrong in (['--every', '0'], ['--every', '5x'], ['--keep', '0'], ['--keep', '-1'], ['--keep', '3x'], ['--what']):
            check(spore('watch', *wrong, p.pid, f'{d}/w').returncode, 2, wrong)


def test_on_a_terminal():
    p = start(CHANGING, 8, 10)
    with scratch() as d:
        pid, fd = pty.fork()
        if not pid:
            os.environ['LC_ALL'] = 'C.UTF-8'
            os.execv(SPORE, [SPORE, 'watch', '--every', '30ms', '--keep', '3', str(p.pid), f'{d}/w'])
        seen = b''
        deadline = time.monotonic() + 60
        while '000006'.encode() not in seen or '█'.encode() not in seen:
            check(time.monotonic() < deadline, True, seen)
            if select.select([fd], [], [], 1)[0]:
                seen += os.read(fd, 65536)
        os.write(fd, b'\x03')
        try:
            while data := os.read(fd, 65536):
                seen += data
        except OSError:
            pass
        os.close(fd)
        check(os.waitpid(pid, 0)[1], 0, seen)
        text = seen.decode()
        check(re.search(r'\x1b\[[34]A\r\x1b\[J', text) is not None, True, text)
        check_in('kept     ', text)
        check_in('0 failures', text)
        all_are_whole(f'{d}/w')
        end(p)


def test_in_a_container():
    with Container(CHANGING, 8, 10) as c, scratch() as d:
        w = watch(c.pid, f'{d}/w', '--every', '30ms', '--compress')
        wait_for_number(f'{d}/w', 3)
        finish(w, signal.SIGTERM)
        all_are_whole(f'{d}/w')


if __name__ == '__main__':
    take_orphans()
    harness.main(sys.modules[__name__])
