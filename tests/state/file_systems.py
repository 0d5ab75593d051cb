# SPDX-License-Identifier: LGPL-2.1-or-later
"""A directory on a file system of another kind, mounted for as long as a test runs."""

import contextlib
import os
import shutil
import subprocess
import tempfile

KINDS = ("overlay", "tmpfs", "btrfs", "bind")


class Missing(Exception):
    pass


def mount(*args):
    r = subprocess.run(["mount", *args], capture_output=True, text=True)
    if r.returncode:
        raise Missing(f"mount {' '.join(args)}: {r.stderr.strip()}")


def mount_kind(kind, work, point):
    if kind == "overlay":
        for name in ("lower", "upper", "work"):
            os.mkdir(os.path.join(work, name))
        mount("-t", "overlay", "none", "-o", f"lowerdir={work}/lower,upperdir={work}/upper,workdir={work}/work", point)
    elif kind == "tmpfs":
        mount("-t", "tmpfs", "none", point)
    elif kind == "bind":
        os.mkdir(os.path.join(work, "source"))
        mount("--bind", f"{work}/source", point)
    else:
        if not shutil.which("mkfs.btrfs"):
            raise Missing("there is no mkfs.btrfs")
        with open(f"{work}/image", "wb") as f:
            f.truncate(300 << 20)
        subprocess.run(["mkfs.btrfs", "-q", f"{work}/image"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        mount("-o", "loop", f"{work}/image", point)


@contextlib.contextmanager
def mounted(kind):
    work = tempfile.mkdtemp(prefix=f"spore-{kind}-")
    point = os.path.join(work, "on")
    os.chmod(work, 0o755)
    os.mkdir(point)
    try:
        mount_kind(kind, work, point)
        os.chmod(point, 0o777)
        yield point
    finally:
        subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL)
        shutil.rmtree(work, ignore_errors=True)
