# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a container holds beside its processes: its mounts and its /dev/shm"""
import os
import sys

import harness
from harness import Container, alive, check, check_in, scratch, spore, wait_for


def test_a_mount_of_its_own_is_refused():
    with scratch() as d:
        os.mkdir(f'{d}/point')
        with Container('sh', '-c', f'mount -t tmpfs x {d}/point && touch {d}/ready; sleep 100', options=['--name', 'mount-test']) as c:
            wait_for(lambda: os.path.exists(f'{d}/ready'))
            for command in (['check', c.pid], ['checkpoint', c.pid, f'{d}/image']):
                r = spore(*command)
                check(r.returncode, 3, r.stderr)
                check_in(f'mount {d}/point (tmpfs)', r.stderr)
            check(alive(c.pid), True)


if __name__ == '__main__':
    harness.take_orphans()
    harness.main(sys.modules[__name__])
