# SPDX-License-Identifier: LGPL-2.1-or-later
"""make -j2 of a C program of 200 files, saved at random moments: short-lived processes, vfork, a jobserver's pipe."""
import os
import random

from harness import Failure, Scenario, read_lines

MAKEFILE = r"""
NONCE := $(shell od -An -N8 -tx8 /dev/urandom | tr -d ' ')
$(shell echo $(NONCE) >>started)
OBJECTS := $(patsubst %.c,%.o,$(wildcard f*.c)) main.o
all: program
	./program >result
	echo $(NONCE) 0 >>finished
program: $(OBJECTS)
	gcc -o $@ $(sort $(OBJECTS))
%.o: %.c all.h
	gcc -O1 -c -o $@ $<
	echo $@ >>compiled
"""


class Build(Scenario):
    name = "make"
    needs = {"make": "make", "gcc": "gcc"}
    outputs = ["result", "program"]
    files = 200

    def prepare(self, work):
        rng = random.Random(self.seed)
        os.mkdir(f"{work}/tmp")
        with open(f"{work}/Makefile", "w") as f:
            f.write(MAKEFILE)
        with open(f"{work}/all.h", "w") as f:
            f.write("".join(f"unsigned f{i}(unsigned x);\n" for i in range(self.files)))
        with open(f"{work}/main.c", "w") as f:
            calls = "".join(f"\tx = f{i}(x);\n\tprintf(\"%u\\n\", x);\n" for i in range(self.files))
            f.write(f'#include <stdio.h>\n#include "all.h"\nint main(void)\n{{\n\tunsigned x = 1;\n{calls}\treturn 0;\n}}\n')
        for i in range(self.files):
            body = "".join(f"\tfor (i = 0; i < {rng.randint(2, 9)}; i++)\n\t\tx = x * {rng.getrandbits(16) | 1}u + (i ^ {rng.getrandbits(30)}u);\n"
                           for _ in range(rng.randint(3, 12)))
            with open(f"{work}/f{i}.c", "w") as f:
                f.write(f'#include "all.h"\nunsigned f{i}(unsigned x)\n{{\n\tunsigned i;\n{body}\treturn x;\n}}\n')

    def command(self, session):
        # the compiler's own files are the program's too, and are put back with the others
        return ["env", f"TMPDIR={session.work}/tmp", "make", "-j2", "--no-print-directory"]

    def moments(self, rng):
        return [rng.uniform(0.35, 0.85) for _ in range(self.scale(2, 20))]

    def check(self, work):
        compiled = read_lines(f"{work}/compiled")
        wanted = sorted([f"f{i}.o" for i in range(self.files)] + ["main.o"])
        if sorted(compiled) != wanted:
            raise Failure(f"make: {len(compiled)} compilations, {len(set(compiled))} different, {len(wanted)} expected")

    def result(self, work):
        self.outputs = ["result", "program"] + sorted(n for n in os.listdir(work) if n.endswith(".o"))
        return super().result(work)


SCENARIOS = [Build]
