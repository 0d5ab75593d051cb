# SPDX-License-Identifier: LGPL-2.1-or-later
"""A command on a terminal of its own."""
import os
import pty
import select
import termios
import time


class OnTerminal:
    """A command on a terminal of its own."""

    def __init__(self, *argv):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.closerange(3, 1024)
            os.execv(argv[0], argv)
        self.seen = ''

    def expect(self, text, seconds=10):
        end = time.monotonic() + seconds
        while text not in self.seen:
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f'{text!r} did not come: {self.seen!r}')
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.seen += os.read(self.fd, 4096).decode()
                except OSError:
                    raise AssertionError(f'{text!r} did not come: {self.seen!r}')
        self.seen = self.seen.partition(text)[2]

    def send(self, text):
        os.write(self.fd, text.encode())

    def until_relayed(self, seconds=10):
        """Until the command has made the terminal raw; what was sent before that might be discarded."""
        end = time.monotonic() + seconds
        while termios.tcgetattr(self.fd)[3] & termios.ECHO:
            if time.monotonic() > end:
                raise AssertionError('the terminal is not relayed')
            time.sleep(0.01)

    def send_to_job(self, key):
        """To a job of the shell's, once that has the terminal."""
        self.send("sh -c 'echo begun-$((40+2)); exec sleep 100'\r")
        self.expect('begun-42')
        self.send(key)

    def wait(self):
        while True:  # a terminal must be read empty before its writer can end
            try:
                if not os.read(self.fd, 4096):
                    break
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
