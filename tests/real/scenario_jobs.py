# SPDX-License-Identifier: LGPL-2.1-or-later
"""bash with job control: one job computing, one stopped by SIGSTOP, one blocked on a fifo, one of two processes."""
from harness import NONCE, Scenario

SCRIPT = "set -m; " + NONCE + r"""
mkfifo gate
count() { local i x=1; for ((i = 0; i < $1; i++)); do ((x = (x * 48271 + i) % 2147483647)); done; echo $2 $x; }
count $1 running >one &
first=$!
( kill -STOP $BASHPID; count 20000 stopped >two ) &
second=$!
( read line <gate; echo "read $line" >three; exit 3 ) &
third=$!
( count 1000 left; sleep 0.1; echo more ) | sort >four &
fourth=$!
until [ "$(jobs -s | wc -l)" = 1 ]; do sleep 0.05; done
count 1000 shell >five
wait $first
echo "first: $?"
wait $fourth
echo "fourth: $?"
jobs | sed 's/ *&$//'
[ -e two ] && echo "the stopped job has run"
kill -CONT %2
wait $second
echo "second: $?"
echo opened >gate
wait $third
echo "third: $?"
wait
jobs
echo $nonce 0 >>finished
"""


class Jobs(Scenario):
    name = "bash-jobs"
    needs = {"bash": "bash"}
    outputs = ["stdout", "one", "two", "three", "four", "five"]

    def command(self, session):
        return ["bash", "-c", SCRIPT, "bash", str(self.scale(500_000, 3_000_000))]


SCENARIOS = [Jobs]
