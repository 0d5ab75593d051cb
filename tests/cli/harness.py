# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of the command share. Each test file is a list of functions test_*; main() runs them all."""
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

SKIP = 77


class Skip(Exception):
    pass


SPORE = os.environ.get('SPORE') or os.path.join(os.path.dirname(__file__), '../../build/spore')


def spore(*args, timeout=20, **kw):
    kw.setdefault('stdin', subprocess.DEVNULL)
    # Into files: a tree that was brought back may hold a pipe open for longer than the command lasts.
    with tempfile.TemporaryFile('w+', errors='replace') as out, tempfile.TemporaryFile('w+', errors='replace') as err:
        p = subprocess.run([SPORE, *map(str, args)], stdout=out, stderr=err, text=True, timeout=timeout, **kw)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(p.args, p.returncode, out.read(), err.read())


def check(got, want, what=''):
    if got != want:
        raise AssertionError(f'{what}: got {got!r}, want {want!r}')


def check_in(part, whole, what=''):
    if part not in whole:
        raise AssertionError(f'{what}: {part!r} is not in {whole!r}')


def wait_for(condition, seconds=10, what='condition'):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f'timed out: {what}')


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(')')[2].split()[0] not in 'ZX'
    except OSError:
        return False


def take_orphans():
    """What dies is then buried here, at once: a zombie holds its pid, which a restore may want."""
    import ctypes
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def bury():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def children(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children') as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def named(name):
    """No other test's: they run side by side, and one that failed may have left its container."""
    return f'{name}-{os.getpid()}'


class Container:
    """spore run -d, killed at the end."""

    def __init__(self, *command, options=()):
        r = spore('run', '-d', *options, '--', *command)
        check(r.returncode, 0, f'spore run: {r.stderr}')
        self.pid = int(r.stdout)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        try:
            os.kill(self.pid, 9)
        except ProcessLookupError:
            pass
        wait_for(lambda: not alive(self.pid), what='end of the container')


def scratch():
    return tempfile.TemporaryDirectory(prefix='spore-test-')


def main(module):
    if os.geteuid() != 0:
        print('needs root')
        sys.exit(SKIP)
    wanted = sys.argv[1:]
    failed = 0
    for name in set(wanted) - set(vars(module)):
        sys.exit(f'no test is called {name}')
    for name, function in list(vars(module).items()):
        if not name.startswith('test_') or (wanted and name not in wanted):
            continue
        try:
            function()
            print(f'ok   {name}')
        except Skip as why:
            print(f'skip {name}: {why}')
        except Exception:
            failed += 1
            print(f'FAIL {name}')
            traceback.print_exc(file=sys.stdout)
    sys.exit(1 if failed else 0)
