#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Few seeds that leave no cell of the histogram empty, for meson.build: cover.py build/tests/graph/spore-graph [FIRST-LAST]

Any change to what the steps draw makes other graphs of the same seeds: the test graph-count then asks for a new list.
"""
import subprocess
import sys


def cells(program, seed):
    """(row, column) of those that this graph fills."""
    out = subprocess.run([program, "--count"], env={"GRAPH_SEEDS": str(seed)}, stdout=subprocess.PIPE, text=True).stdout
    table = out.split("\n\n")[0].splitlines()[2:]
    return {(row, column) for row, line in enumerate(table) for column, text in enumerate(line[17:].split()) if text not in "-0"}


def cover(filled):
    """Greedy: the seed that fills most of what is left."""
    left, chosen = set().union(*filled.values()), []
    while left:
        chosen.append(max(filled, key=lambda seed: len(filled[seed] & left)))
        left -= filled[chosen[-1]]
    return chosen


first, last = map(int, (sys.argv[2] if len(sys.argv) > 2 else "1-2000").split("-"))
seeds = cover({seed: cells(sys.argv[1], seed) for seed in range(first, last + 1)})
half = (len(seeds) + 1) // 2
for mode, some in ("host", seeds[:half]), ("run", seeds[half:]):
    print(f"'{mode}': '{','.join(map(str, sorted(some)))}'")
