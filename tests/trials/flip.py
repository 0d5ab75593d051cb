# SPDX-License-Identifier: LGPL-2.1-or-later
"""A flipped byte anywhere in an image, and a cut at every record's edge: a clear error, no crash, and nothing of the program runs."""
import os
import shutil
import subprocess

from harness import Failure, Skip, kill_all, wait_until
from lib import image_files, record_edges, target


def flip(trial, *how):
    with target(trial, "marker") as tree:
        tree.wait_ready()
        image = f"{trial.work}/image"
        trial.spore.call("checkpoint", "--kill", *how, tree.root, image)
        tree.reap()
        if trial.call("verify", image)[0]:
            raise Failure("verify refuses the undamaged image")
        marker = f"{tree.dir}/marker"
        files = [f for f in image_files(image) if os.path.getsize(f"{image}/{f}")]
        flips(trial, tree, image, files, marker)
        cuts(trial, tree, image, files, marker)
        missing(trial, tree, image, marker)
        # the control: undamaged, it runs, and the marker would have told
        size = os.path.getsize(marker)
        status, _, err = trial.restore(image)
        if status:
            raise Failure(f"spore restore of the undamaged image: exit {status}: {err[-300:]}")
        wait_until(lambda: os.path.getsize(marker) > size, 10, "progress after an undamaged restore")


def judge(trial, tree, image, marker, what):
    size = os.path.getsize(marker)
    status, _, err = trial.call("verify", image)
    if status != 1:
        trial.fail(f"{what}: verify exits {status}")
    elif not err.strip():
        trial.fail(f"{what}: verify says nothing")
    status, pid, err = trial.restore(image)
    tree.reap()     # so that the next restore finds the pids free
    if status != 1:
        trial.fail(f"{what}: restore exits {status}: {err.strip()[-200:]!r}")
    elif not err.strip():
        trial.fail(f"{what}: restore says nothing")
    elif "keeper died" in err:      # which has no standard error for a sanitizer to write to
        trial.fail(f"{what}: restore: a crash: {err.strip()[-200:]!r}")
    elif "pid is taken" in err and "damaged" not in err:
        trial.fail(f"{what}: restore did not come as far as the damage: {err.strip()[-200:]!r}")
    if tree.pids():
        trial.fail(f"{what}: tasks of the tree are left")
        kill_all(tree.pids() + ([pid] if pid else []))
    if os.path.getsize(marker) != size:
        trial.fail(f"{what}: the program has run")
    trial.count += 1


def flipped(trial, image, files, times):
    """Half of the offsets over all bytes alike, half over all files alike, so that small files are not missed. Yields what was done."""
    sizes = [os.path.getsize(f"{image}/{f}") for f in files]
    for i in range(times):
        name = trial.rng.choices(files, sizes)[0] if i % 2 else trial.rng.choice(files)
        path = f"{image}/{name}"
        at, mask = trial.rng.randrange(os.path.getsize(path)), trial.rng.randrange(1, 256)
        with open(path, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ mask]))
        yield f"{name}, byte {at} of {os.path.getsize(path)} {byte:02x} → {byte ^ mask:02x}"
        with open(path, "r+b") as f:
            f.seek(at)
            f.write(bytes([byte]))


def flips(trial, tree, image, files, marker):
    for what in flipped(trial, image, files, trial.number(1000)):
        judge(trial, tree, image, marker, what)
    trial.note(f"{trial.count} flips over {len(files)} files")


def cuts(trial, tree, image, files, marker):
    done = 0
    for name in files:
        path = f"{image}/{name}"
        edges = record_edges(path)
        if trial.options.count:
            edges = trial.rng.sample(edges, min(len(edges), trial.options.count))
        with open(path, "rb") as f:
            whole = f.read()
        for edge in edges:
            os.truncate(path, edge)
            judge(trial, tree, image, marker, f"{name} cut at {edge} of {len(whole)}")
            with open(path, "r+b") as f:
                f.write(whole)
            done += 1
    trial.note(f"{done} cuts")


def missing(trial, tree, image, marker):
    for name in image_files(image):
        aside = f"{trial.work}/aside"
        shutil.move(f"{image}/{name}", aside)
        judge(trial, tree, image, marker, f"{name} missing")
        shutil.move(aside, f"{image}/{name}")


def flip_compressed(trial):
    flip(trial, "--compress")


def valgrind(trial, *how):
    """What reads images, under valgrind: one that is whole, and damaged ones."""
    if not shutil.which("valgrind"):
        raise Skip("no valgrind here")
    with target(trial, "marker") as tree:
        tree.wait_ready()
        image = f"{trial.work}/image"
        trial.spore.call("checkpoint", "--kill", *how, tree.root, image)
        tree.reap()
    under_valgrind(trial, image, "undamaged", 0)
    files = [f for f in image_files(image) if os.path.getsize(f"{image}/{f}")]
    for what in flipped(trial, image, files, trial.number(50)):
        under_valgrind(trial, image, what, 1)


def valgrind_compressed(trial):
    valgrind(trial, "--compress")


def under_valgrind(trial, image, what, wanted):
    """verify has to answer so; inspect, which believes more, only to do nothing wrong."""
    for args in ["verify", image], ["inspect", image], ["inspect", "--json", image]:
        p = subprocess.run(["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite",
                            trial.options.spore, *args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if p.returncode not in (0, 1) or (args[0] == "verify" and p.returncode != wanted):
            trial.fail(f"{what}: {args[0]} exits {p.returncode}: {p.stderr[-600:]}")
    trial.count += 1


TRIALS = {"flip": flip, "flip-compressed": flip_compressed, "valgrind": valgrind, "valgrind-compressed": valgrind_compressed}
