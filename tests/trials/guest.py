# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other kernels: Debian's, in a virtual machine that has this one's file system and runs the makers (tests/state) and random graphs.

Nothing is installed: the kernel is unpacked below the trial's directory, and QEMU emulates (it needs no KVM). The guest's root is the host's,
read-only over 9p, with a tmpfs wherever something is written; what it says comes over its second serial line.
"""
import collections
import glob
import lzma
import os
import re
import shutil
import subprocess
import sys
import threading

from harness import Skip

HERE = os.path.dirname(os.path.abspath(__file__))
BACKPORTS = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main\n"
KERNELS = {"6.1": ("linux-image-6.1.0-*-amd64", None), "6.12": ("linux-image-6.12.*+deb12-amd64", BACKPORTS)}
MODULES = ["9p", "9pnet_virtio", "virtio_pci"]  # with which the guest sees its root
HOURS = 6
INIT = """#!/bin/busybox sh
/bin/busybox modprobe -a {modules}
/bin/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /root
exec /bin/busybox switch_root /root {python} {inside} {work} {build} {graphs} {makers}
"""


# --- what it runs ------------------------------------------------------------------------------------------------


class Apt:
    """apt-get with lists of its own, so that the host's are as they were."""

    def __init__(self, work, source):
        for name in "lists/partial", "archives/partial", "debs":
            os.makedirs(f"{work}/apt/{name}", exist_ok=True)
        self.debs, self.options = f"{work}/apt/debs", []
        if source:
            with open(f"{work}/apt/sources.list", "w") as f:
                f.write(source)
            for name, value in ("Etc::sourcelist", f"{work}/apt/sources.list"), ("Etc::sourceparts", "-"), ("State::lists", f"{work}/apt/lists"), \
                    ("Cache", f"{work}/apt"):
                self.options += ["-o", f"Dir::{name}={value}"]
            self.run("apt-get", "update")

    def run(self, command, *args):
        p = subprocess.run([command, *self.options, *args], cwd=self.debs, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if p.returncode:
            raise Skip(f"{command} {' '.join(args)}: {p.stderr.strip()[-200:]}")
        return p.stdout

    def unpack(self, pattern, where):
        """The newest package of that name."""
        names = [n for n in self.run("apt-cache", "pkgnames").split() if re.fullmatch(pattern.replace("+", r"\+").replace("*", "[0-9.]+"), n)]
        if not names:
            raise Skip(f"apt knows no {pattern}")
        newest = max(names, key=lambda n: [int(d) for d in re.findall(r"\d+", n)])
        self.run("apt-get", "-o", "APT::Sandbox::User=root", "download", newest)
        subprocess.run(["dpkg-deb", "-x", *glob.glob(f"{self.debs}/{newest}_*.deb"), where], check=True)


def unpack(work, kernel):
    root, (pattern, source) = f"{work}/kernel", KERNELS[kernel]
    Apt(work, source).unpack(pattern, root)
    Apt(work, None).unpack("busybox-static", root)
    release, = os.listdir(f"{root}/lib/modules")
    for path in glob.glob(f"{root}/lib/modules/{release}/**/*.ko.xz", recursive=True):
        with lzma.open(path) as packed, open(path[:-3], "wb") as f:
            shutil.copyfileobj(packed, f)
        os.unlink(path)
    subprocess.run([f"{root}/bin/busybox", "depmod", "-b", root, release], check=True)
    with open(f"{work}/modprobe", "w") as f:  # of the guest's kernel, see guest_inside.py
        f.write(f'#!/bin/sh\nexec chroot {root} /bin/busybox modprobe "$@"\n')
    os.chmod(f"{work}/modprobe", 0o755)
    os.mkdir(f"{root}/proc")
    return root, release


def initramfs(work, root, release, **words):
    """Enough to see the root."""
    modules, early = f"lib/modules/{release}", f"{work}/early"
    with open(f"{root}/{modules}/modules.dep") as f:
        needs = {os.path.basename(path).removesuffix(".ko"): [path, *more.split()] for path, more in (line.split(":") for line in f)}
    files = {"bin/busybox", f"{modules}/modules.dep", *(f"{modules}/{path}" for name in MODULES for path in needs.get(name, []))}
    for path in files:
        os.makedirs(os.path.dirname(f"{early}/{path}"), exist_ok=True)
        shutil.copy(f"{root}/{path}", f"{early}/{path}")
    with open(f"{early}/init", "w") as f:
        f.write(INIT.format(modules=" ".join(MODULES), work=work, **words))
    os.chmod(f"{early}/init", 0o755)
    subprocess.run(f"find . | {root}/bin/busybox cpio -o -H newc >../initramfs", shell=True, cwd=early, check=True, stderr=subprocess.DEVNULL)


# --- running it --------------------------------------------------------------------------------------------------


def boot(work, root, release):
    """What it says, line by line."""
    p = subprocess.Popen(["nice", "-n", "10", "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "6G", "-nodefaults", "-display", "none",
                          "-no-reboot", "-kernel", f"{root}/boot/vmlinuz-{release}", "-initrd", f"{work}/initramfs",
                          "-append", "console=ttyS0 loglevel=4 panic=-1", "-serial", f"file:{work}/console", "-serial", "stdio",
                          "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
    limit = threading.Timer(HOURS * 3600, p.kill)
    limit.start()
    try:
        for line in p.stdout:
            yield line.rstrip()
    finally:
        limit.cancel()
        p.kill()
        p.wait()


# --- what is made of it ------------------------------------------------------------------------------------------


class Section:
    """One call of tests/state/run.py."""

    def __init__(self, title):
        self.title, self.results, self.complete, self.lines = title, {}, False, []

    def add(self, line):
        self.lines.append(line)
        if m := re.match(r"(pass|FAIL|skip) +[\d.]+ s  (\S+?)(?:: (.*))?$", line):
            self.results[m[2]] = (m[1], m[3] or "")
        elif re.match(r"\d+ passed, \d+ failed, \d+ skipped$", line):
            self.complete = True
        elif line.strip() and self.results:
            name, (status, text) = next(reversed(self.results.items()))
            self.results[name] = (status, f"{text} | {line.strip()}")

    def named(self, *statuses):
        return {name: text for name, (status, text) in self.results.items() if status in statuses}


def judge(trial, kernel, sections):
    """Of each maker: carried, or refused by name. What fails twice is a failure, unless the kernel does not do without spore either what the maker expects."""
    first = again = None
    for s in [s for s in sections if s.title.startswith("cli ")]:
        passed = sum(line.startswith("ok ") for line in s.lines)
        trial.count += passed
        trial.note(f"{kernel}: {s.title}: {passed} passed; {' | '.join(line for line in s.lines if line.startswith('skip'))}")
        if "exit 0" not in s.lines and "exit 77" not in s.lines:
            trial.fail(f"{kernel}: {s.title}: {' | '.join(s.lines)[-1500:]}")
    for s in [s for s in sections if not s.title.startswith("cli ")]:
        if not s.complete:
            trial.fail(f"{kernel}: {s.title}: not all were run")
        if "-j3" in s.title:
            first, again = s, None
            trial.count += len(s.results)
            refused = collections.Counter(re.sub(r"^refused: spore: checkpoint: |\(\d+\)|\bthread \d+|\[\d+\]|/tmp/[^ )]*|[0-9a-f]{8,}-?", "", t).replace(" : ", ": ")
                                          for t in s.named("pass").values() if t.startswith("refused: "))
            trial.note(f"{kernel}: {s.title}: {len(s.named('pass')) - refused.total()} carried, {refused.total()} refused by name, {len(s.named('FAIL'))} failed at first, "
                       f"{len(s.named('skip'))} that this kernel has not, of {len(s.results)}")
            for text, n in sorted(refused.items()):
                trial.note(f"    refused {n} times: {text[:240]}")
        elif "-j1" in s.title:
            again = s
            trial.note(f"    only at first: {' '.join(sorted(set(first.named('FAIL')) - set(s.named('FAIL'))))}")
        else:
            trial.note(f"    without spore, too: {' '.join(sorted(s.named('FAIL', 'skip')))}")
            for name in s.named("pass"):
                trial.fail(f"{kernel}: {again.title}: {name}: {again.results[name][1][:600]}")


def guest(trial):
    """The words behind -- are kernels (all, if none is named), makers, and tests of the command (cli:incremental), with which alone no makers are run."""
    for program in "qemu-system-x86_64", "apt-get", "dpkg-deb":
        if not shutil.which(program):
            raise Skip(f"there is no {program}")
    words, number = trial.options.names, trial.number(20)
    for kernel in [w for w in words if w in KERNELS] or KERNELS:
        work, sections = f"{trial.work}/{kernel}", []
        root, release = unpack(work, kernel)
        first = (trial.options.seed - 1) * number + 1
        initramfs(work, root, release, python=sys.executable, inside=os.path.join(HERE, "guest_inside.py"), build=trial.options.build,
                  graphs=f"{first}-{first + number - 1}", makers=" ".join(f"'{w}'" for w in words if w not in KERNELS))
        lines = []
        for line in boot(work, root, release):
            lines.append(line)
            if trial.options.verbose:
                print("   ", line, flush=True)
            if line.startswith(("$ state/", "$ graph/", "$ cli ")):
                sections.append(Section(line[2:]))
            elif sections:
                sections[-1].add(line)
        with open(f"{work}/console", encoding="utf-8", errors="replace") as f:
            trouble = [line for line in f if re.search(r"BUG:|Oops|WARNING:|panic|hung_task", line)]
        if not lines or lines[-1] != "$ end" or trouble:
            trial.fail(f"{kernel}: it ended early, or the kernel is unwell: {' | '.join(lines[-5:] + trouble[:5])}")
        judge(trial, release, sections)


TRIALS = {"guest": guest}
