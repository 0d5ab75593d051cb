# SPDX-License-Identifier: LGPL-2.1-or-later
"""examples/"""
import os
import subprocess
import sys
import time

import harness
from harness import alive, check, scratch, wait_for


def test_save_and_restore():
    with scratch() as d:
        os.mkdir(f'{d}/image')
        log = f'{d}/log'
        p = subprocess.Popen([sys.executable, '-c', f'import time\nwhile True: open("{log}", "a").write("tick\\n"); time.sleep(0.02)'],
                             start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(log) and os.path.getsize(log) > 50)
        middle = subprocess.Popen([os.environ['EXAMPLE'], str(p.pid), f'{d}/image'], stdout=subprocess.PIPE, text=True)
        wait_for(lambda: p.poll() is not None or middle.poll() is not None, what='the tree is killed')
        check(middle.stdout.read(), f'{p.pid}: saved, killed and restored\n')
        check(middle.wait(10), 0)
        size = os.path.getsize(log)
        wait_for(lambda: os.path.getsize(log) > size, what='the restored tree goes on')
        os.kill(p.pid, 9)
        wait_for(lambda: not alive(p.pid))


def newest(directory):
    return max([0, *(int(n) for n in os.listdir(directory) if n.isdigit())])


def test_resume():
    """Killed twice, it has counted on."""
    script = os.path.join(os.path.dirname(__file__), '../../examples/resume.sh')
    with scratch() as d:
        log = f'{d}/log'
        program = ('import os, sys, time\nn = 0\n'
                   f'while True: n += 1; fd = os.open("{log}", os.O_WRONLY | os.O_CREAT | os.O_APPEND); os.write(fd, b"%d\\n" % n); os.close(fd); time.sleep(0.01)')
        said = []
        for i in range(3):
            w = subprocess.Popen([script, f'{d}/images', sys.executable, '-c', program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                 env={**os.environ, 'SPORE': harness.SPORE, 'EVERY': '50ms'})
            pid = int(w.stdout.readline().split()[0])      # what it watches
            wait_for(lambda: os.path.exists(log) and os.path.getsize(log) > 50)
            before = newest(f'{d}/images')
            wait_for(lambda: newest(f'{d}/images') > before + 1)
            os.kill(pid, 9)
            said.append(w.communicate(timeout=30)[0])
            check(w.returncode, 0, said)
            wait_for(lambda: not alive(pid))
        counted = [int(n) for n in open(log).read().split()]
        check(counted.count(1), 1, (said, counted))                         # it was started once
        check(sum(b <= a for a, b in zip(counted, counted[1:])) <= 2, True)    # and went back a little twice, at most
        check(max(counted) > 10, True)


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
