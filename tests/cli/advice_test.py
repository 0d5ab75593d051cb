# SPDX-License-Identifier: LGPL-2.1-or-later
"""What descriptions were told of the order of access (posix_fadvise), which nothing shows: the next checkpoint of what was restored finds it again"""
import json
import os
import sys

import harness
from harness import Container, Skip, check, scratch, spore, wait_for

TOLD = {'plain': (), 'random': (os.POSIX_FADV_RANDOM,), 'sequential': (os.POSIX_FADV_SEQUENTIAL,),
        'noreuse': (os.POSIX_FADV_NOREUSE,), 'taken-back': (os.POSIX_FADV_RANDOM, os.POSIX_FADV_NORMAL),
        'all': (os.POSIX_FADV_SEQUENTIAL, os.POSIX_FADV_RANDOM, os.POSIX_FADV_NOREUSE)}

PROGRAM = '''
import json, os, signal, sys
for name, told in json.loads(sys.argv[2]).items():
    fd = os.open(f"{sys.argv[1]}/{name}", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(fd, True)
    for advice in told:
        os.posix_fadvise(fd, 0, 0, advice)
    if name == "random":
        os.unlink(f"{sys.argv[1]}/{name}")
open(f"{sys.argv[1]}/ready", "w").close()
while True:
    signal.pause()
'''


def advice(image):
    """By path, the words of each open file."""
    r = spore('inspect', '--json', image)
    check(r.returncode, 0, r.stderr)
    records = json.loads(r.stdout)['records']
    paths = {x['id']: x['path'] for x in records if x['is'] == 'regular'}
    return {os.path.basename(paths[x['backing']]):
            tuple(word for word in ('random', 'sequential', 'noreuse') if x.get(word))
            for x in records if x['is'] == 'file' and x['backing'] in paths}


def told(pid, d, name):
    r = spore('checkpoint', '--kill', pid, f'{d}/{name}')
    check(r.returncode, 0, r.stderr)
    return advice(f'{d}/{name}')


def test_advice_comes_back():
    with scratch() as d:
        with Container('python3', '-c', PROGRAM, d, json.dumps(TOLD)) as container:
            wait_for(lambda: os.path.exists(f'{d}/ready'), what='program')
            first = told(container.pid, d, 'first')
        if not any(first.values()):
            raise Skip('the kernel cannot be looked into, or the file system takes no advice')
        check({name: first.get(name) for name in TOLD},
              {'plain': (), 'random': ('random',), 'sequential': ('sequential',), 'noreuse': ('noreuse',), 'taken-back': (),
               'all': ('random', 'sequential', 'noreuse')})
        r = spore('restore', '-d', f'{d}/first')
        check(r.returncode, 0, r.stderr)
        second = told(int(r.stdout), d, 'second')
        check({name: second.get(name) for name in TOLD}, {name: first.get(name) for name in TOLD})


if __name__ == '__main__':
    harness.main(sys.modules[__name__])
