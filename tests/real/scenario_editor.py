# SPDX-License-Identifier: LGPL-2.1-or-later
"""vim under script, both inside the tree with the one who types: a full-screen program on a pty whose two ends are saved."""
from harness import FINISH, NONCE, Scenario, read_lines, wait_until

# Yanked, marked and undone things of the first half are used in the second, so that vim's own memory must have come back.
KEYS = (
    ["i"]
    + [f"line {i}: the quick brown fox\r" for i in range(40)]
    + ["\x1b", "5Gyy", "10Gma", "12Gdd", "u", "Go"]
    + [f"second half {i} \x16u263a\r" for i in range(40)]
    + ["\x1b", "Gp", "'ajdd", "\x12", ":%s/brown/red/g\r", "G", ":wq\r"]
)

# Types when the first screen is there, and does not hang up before the file is written.
TYPIST = r"""
until [ -s screen ]; do sleep 0.05; done
sleep 0.3
n=0
while IFS= read -r keys; do
	printf "$keys"
	n=$((n + 1))
	echo $n >typed
	sleep PAUSE
done <keys
until [ -s text ]; do sleep 0.05; done
sleep 0.3
"""


class Editor(Scenario):
    name = "vim"
    needs = {"vim": "vim", "script": "bsdutils"}
    outputs = ["text"]
    cpu_bound = False

    def prepare(self, work):
        with open(f"{work}/keys", "w") as f:
            for keys in KEYS:
                f.write("".join(f"\\{ord(c):03o}" for c in keys) + "\n")

    def command(self, session):
        typist = TYPIST.replace("PAUSE", self.scale("0.02", "0.2"))     # 20 lives need time
        vim = "stty rows 24 cols 80; exec vim -u NONE -U NONE -i NONE --noplugin --cmd 'set nocp enc=utf-8' text"
        return ["bash", "-c", NONCE + f"( {typist} ) | script -qec \"{vim}\" typescript >screen" + FINISH]

    def advance(self, session, fraction, reference):
        if fraction >= 1:
            return
        want = int(len(KEYS) * fraction)
        wait_until(lambda: session.alive() and int((read_lines(f"{session.work}/typed") or ["0"])[0] or 0) >= want, 60, f"{want} keys typed")


SCENARIOS = [Editor]
