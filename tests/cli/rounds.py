# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that look at all of their memory in rounds, count them in their names, and end when a page is not as it must be (instant.c, changing.c, moving.c, alike.c)"""
import json
import os
import subprocess

from harness import alive, bury, check, spore, wait_for


def start(*command, preexec=None):
    null = open(os.devnull, 'r+')
    p = subprocess.Popen([*map(str, command)], stdin=null, stdout=null, stderr=null, start_new_session=True, preexec_fn=preexec)
    wait_for(lambda: rounds(p.pid) > 1, what='a round')
    return p


def rounds(pid):
    try:
        with open(f'/proc/{pid}/comm') as f:
            text = f.read().strip()
    except OSError:
        return -1
    return int(text) if text.isdigit() else 0


def goes_on(pid):
    """More than one whole round: each page was looked at."""
    before = rounds(pid)
    check(before >= 0, True, f'process {pid} is gone')
    wait_for(lambda: rounds(pid) >= before + 3 or not alive(pid), seconds=20, what='rounds')
    check(alive(pid), True, 'what it found was not of one instant')


def save(pid, directory, *options, parent=None):
    options = [*options, *(['--parent', parent] if parent else [])]
    r = spore('checkpoint', '--json', *options, pid, directory)
    check(r.returncode, 0, r.stderr)
    return json.loads(r.stdout)


def end(p):
    p.kill()
    p.wait()


def bring_back(directory):
    """It is left running: its number."""
    r = spore('restore', '-d', directory)
    check(r.returncode, 0, r.stderr)
    return int(r.stdout)


def end_restored(pid):
    os.kill(pid, 9)
    wait_for(lambda: not alive(pid))
    bury()


def is_right(*directories):
    for d in directories:
        pid = bring_back(d)
        goes_on(pid)
        end_restored(pid)
