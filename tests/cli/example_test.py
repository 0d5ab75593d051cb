# SPDX-License-Identifier: LGPL-2.1-or-later
"""examples/save-and-restore.c"""
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


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
