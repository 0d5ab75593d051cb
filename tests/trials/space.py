# SPDX-License-Identifier: LGPL-2.1-or-later
"""The disk is full, at every write."""
import os
import shutil
import subprocess

from faults import NoSpace
from harness import Failure
from kill import PARTS
from lib import image_is_sound, target


FALLOCATE = 285


def judge(trial, tree, image, what, status, said):
    if status != 1:
        trial.fail(f"{what}: exit {status}, 1 expected: {said.strip()[-200:]!r}")
    elif "space" not in said.lower() and "ENOSPC" not in said:
        trial.fail(f"{what}: does not name the cause: {said.strip()[-200:]!r}")
    tree.unharmed(what)
    if os.path.isdir(image) and image_is_sound(trial, image, tree, what):
        trial.fail(f"{what}: failed, yet the image looks valid")


# Its /dev/shm is its own, and so what lies there is in the image: a file with a hole, one with two names, one in a directory.
FILES = "cd /dev/shm; head -c 200000 /dev/urandom >many; truncate -s 1M many; mkdir below; echo one >below/one; ln below/one two; cd -"


def enospc(trial):
    for container in None, FILES:
        with target(trial, "mixed", name="container" if container else "host", container=container) as tree:
            tree.wait_ready(PARTS)
            where = "in a container: " if container else ""
            trial.note(where + injected(trial, tree))
            trial.note(where + small_disks(trial, tree))


def injected(trial, tree):
    """The n-th call that would take room fails; every second time, so do all after it."""
    image, log = f"{trial.work}/image", f"{trial.work}/nospace.log"
    argv = [trial.options.spore, "checkpoint", str(tree.root), image]
    whole = NoSpace(argv, image, 0, False, log)
    if whole.status:
        raise Failure(f"spore checkpoint, undisturbed: exit {whole.status}: {whole.output.strip()[-300:]}")
    if not whole.count:
        raise Failure("no write below the image directory was seen")
    times = min(trial.number(400), 2 * whole.count)
    hit = 0
    for i in range(times):
        shutil.rmtree(image, ignore_errors=True)
        n = 1 + i * whole.count // times
        run = NoSpace(argv, image, n, i % 2 == 0, log)
        trial.count += 1
        if run.hits:
            hit += 1
            if run.status == 0 and run.hits == 1 and run.failed == FALLOCATE and trial.call("verify", image)[0] == 0:
                continue    # room was not set aside in advance, and was there when it was needed
            judge(trial, tree, image, f"ENOSPC at write {n} of {whole.count}", run.status, run.output)
    shutil.rmtree(image, ignore_errors=True)
    return f"{hit} of {times} injected, {whole.count} calls that write"


def small_disks(trial, tree):
    """A tmpfs one page larger each time, until the image fits (spread out where that would be too many)."""
    disk = f"{trial.work}/disk"
    os.makedirs(disk, exist_ok=True)
    pages, step, sizes = 2, 1, 0
    while True:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pages * 4096}", "spore-trial", disk], check=True)
        try:
            status, _, err = trial.call("checkpoint", tree.root, f"{disk}/image")
            if status == 0:
                if trial.call("verify", f"{disk}/image")[0]:
                    trial.fail(f"a disk of {pages} pages: exit 0, and verify refuses the image")
                break
            trial.count += 1
            sizes += 1
            judge(trial, tree, f"{disk}/image", f"a disk of {pages} pages", status, err)
        finally:
            subprocess.run(["umount", disk], check=True)
        step = 1 if sizes < 60 else max(1, pages // 16)
        pages += step
        if pages > 1 << 16:
            raise Failure("the image does not fit in 256 MiB")
    return f"{sizes} disks too small, {pages} pages were enough"


TRIALS = {"enospc": enospc}
