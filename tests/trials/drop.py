# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tests of the tests: a spore that drops one field at restore must fail one of them.

Needs a build with -Dtest_drop=true, in which SPORE_TEST_DROP=component.field leaves that field at its default at restore, and
`spore inspect --fields`, which prints every component.field. Most drops fail the makers of the component's own group; only what
survives those is tried against all of them.
"""
import os
import subprocess
import sys

from harness import Failure, Skip

# component: the groups of makers to try first; without an entry, the component's own name if it is one
GROUPS = {}
MAKERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../state/run.py")


def makers(trial, env, *args):
    """One run of the makers: did something fail?"""
    p = subprocess.run([sys.executable, MAKERS, "--makers", f"{trial.options.build}/tests/state/spore-makers", "--spore", trial.options.spore,
                        "--oracle", trial.options.oracle or f"{trial.options.build}/tests/oracle/spore-oracle", "-q", "-j2", *args],
                       env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return p.returncode not in (0, 77), p.stdout


def known_groups(trial):
    p = subprocess.run([sys.executable, MAKERS, "--makers", f"{trial.options.build}/tests/state/spore-makers", "--no-spore", "--list"],
                       stdout=subprocess.PIPE, text=True)
    return {line.split()[0].split("/")[0] for line in p.stdout.splitlines() if line.split() and "/" in line.split()[0]}


def drop_field(trial):
    status, out, err = trial.call("inspect", "--fields")
    fields = [f for f in out.split() if "." in f]
    if status or not fields:
        raise Skip(f"spore inspect --fields: exit {status}; needs a build with -Dtest_drop=true")
    groups = known_groups(trial)
    status, out = makers(trial, {})
    if status:
        raise Failure(f"the makers fail without any drop: {out.strip()[-300:]}")
    if trial.options.count:
        fields = trial.rng.sample(fields, min(len(fields), trial.options.count))
    if trial.options.names:
        fields = [f for f in fields if f in trial.options.names or f.split(".")[0] in trial.options.names]
    survivors = []
    for field in fields:
        component, env = field.split(".")[0], {"SPORE_TEST_DROP": field}
        own = [g for g in GROUPS.get(component, [component]) if g in groups]
        if not (own and makers(trial, env, "--group", ",".join(own))[0]) and not makers(trial, env)[0]:
            survivors.append(field)
            trial.fail(f"survives: {field}")
        trial.count += 1
    trial.note(f"{len(fields)} fields, survivors: {', '.join(survivors) or 'none'}")


TRIALS = {"drop-field": drop_field}
