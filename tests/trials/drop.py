# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tests of the tests: a spore that loses one field at restore must fail one of them.

Needs a build with -Dtest_drop=true, in which SPORE_TEST_DROP=component.field makes that field read as zero at restore; image-format
--fields prints the name of each. First every maker is saved and restored as it is: the images tell which makers have which field in a
state other than zero, and no other maker can notice that it is lost. Those are then run without it, until one fails, twice.

SPORE_DROP_SURVEY=FILE keeps what the images told, and takes it from there the next time.
"""
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

from harness import Failure, Skip, all_pids, kill_all, pids_with, stat_of

# What only the command shows: containers, and streams that belong to the outside.
CLI = {"tree": ["container", "run", "save", "moved"], "external": ["save", "run"], "regular": ["files"], "namespace_file": ["files"],
       "memory": ["save"], "bpf_map": ["bpf"]}
# The maker that makes a field worth carrying, where some machines cannot: if it is skipped, the field is not judged.
NEEDS = {
    "memory.areas.name": "advice/named", "thread_attributes.io_flusher": "attributes/io-flusher", "scheduling.util_min": "limit/clamp",
    "scheduling.util_max": "limit/clamp", "ended_scheduling.util_min": "limit/clamp", "ended_scheduling.util_max": "limit/clamp", "x86.cpuid_faults": "x86/cpuid", "x86_process.of": "x86/tiles", "core_scheduling.of": "core_cookie/several", "core_scheduling.group": "core_cookie/several", "iopl.of": "x86/iopl", "iopl.level": "x86/iopl",
    "thread_attributes.store_bypass": "attributes/speculation", "thread_attributes.indirect_branch": "attributes/indirect-branch",
    "thread_attributes.l1d_flush": "attributes/l1d-flush", "x86_process.xfeatures": "x86/tiles",
    **{f"tcp.md5{name}": "tcp_md5/pair" for name in ("", ".ip", ".prefix", ".of_interface", ".key")}, "packet.down": "socket/packet-down",
}
# What no test on one machine can tell: contents of files stand in the first page file as long as they are saved by one writer; that
# a thread may run on every CPU, or a map is on a NUMA node, matters where there are others; for how long a flow label stays at least passes; which number an interface
# has matters where it is another.
UNTOLD = {"bpf_map.extents.file", "bpf_map.numa_node", "memfd.huge_page", "memfd.huge_pages", "shmem.huge_page", "shmem.huge_pages", "file.sequential", "file.noreuse", *(f"regular.layout.{name}" for name in ("xflags", "extent_size", "cow_extent_size", "project")), "memfd.extents.file", "shmem.extents.file", "regular.extents.file", "shm.extents.file", "sysv_shm.extents.file", "packet.rings.contents.file", "packet.rings.interfaces",
          "io_uring.clock", "io_uring.personalities.who.uid", "io_uring.personalities.who.suid", "io_uring.personalities.who.gid",
          "io_uring.personalities.who.sgid", "mqueue.atime_ns", "mqueue.mtime_ns", *(f"{kind}.inet.hidden.labels.expires" for kind in ("tcp", "udp", "raw")), "scheduling.any_cpu", "ended_scheduling.any_cpu"}
HERE = os.path.dirname(os.path.abspath(__file__))
MAKERS = os.path.join(HERE, "../state/run.py")
JOBS = 4
NOT_THE_FIELD = re.compile(r"could not make it|pid is taken|File exists|spore checkpoint: exit|: refused: ")
MOST = 24       # makers of other groups to try for one field
# Which groups of makers make the state of a component, where its name does not begin with theirs, nor theirs with its.
GROUPS = {
    "process": "task zombie stopped session", "thread": "registers moment signal seccomp credentials attributes", "shmem": "shared", "regular": "file nameless marked mapped", "memfd": "marked", "descriptors": "file sharing",
    "x86": "registers moment", "iopl": "x86", "memory": "shared advice mapped", "scheduling": "limit thread", "timer_slack": "attributes thread",
    "mempolicy": "limit advice", "credentials": "thread", "ended": "zombie leaderless", "thread_attributes": "attributes",
    "sigaltstack": "signal thread", "itimers": "timer", "posix_timers": "timer", "pending": "signal", "shared_pending": "signal",
    "fs": "sharing", "directory": "fs file", "dev_tty": "pty_jobs", "controlling_terminal": "pty_jobs session", "device": "file",
    "session_keyring": "keyring", "login": "credentials", "file": "nameless mapped mqueue", "continued": "stopped",
    "inotify": "watch", "fanotify": "fanotify", "watched": "watch", "namespace_file": "pseudo",
    "tcp": "every_option socket_hidden socket_bound peeked", "udp": "every_option socket_hidden socket_bound peeked",
    "raw": "every_option unread socket_hidden", "packet": "every_option socket socket_hidden", "netlink": "every_option raw socket_hidden",
    "unix": "socket_hidden socket_bound peeked",
    "io_uring": "uring_issuer uring_registered uring_memory uring_task uring_late uring_provided", "io_uring_tasks": "uring_task",
    "semaphore_undo": "sysv_sem", "ipc_limits": "sysv_msg",
    "bpf_map": "bpf_held", "bpf_btf": "bpf_held",
    "tree": "name", "core_scheduling": "core_cookie", "ended_scheduling": "zombie limit leaderless", "io_context": "sharing attributes",
}


class Drops:
    def __init__(self, trial):
        self.trial, build = trial, trial.options.build
        self.common = ["--makers", f"{build}/tests/state/spore-makers", "--spore", trial.options.spore,
                       "--oracle", trial.options.oracle or f"{build}/tests/oracle/spore-oracle"]
        self.has = {}       # field: {(mode, maker): seconds}
        self.one_cli = threading.Lock()
        self.skipped = set()    # makers of what this machine has not
        self.file = os.environ.get("SPORE_DROP_SURVEY")
        os.chmod(trial.work, 0o755)     # there are makers that are not root

    def makers(self, args, env=None):
        return subprocess.run([sys.executable, MAKERS, *self.common, *args], env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    # --- which makers have which fields ---

    def survey(self):
        runs = []
        if self.file and os.path.exists(self.file):
            with open(self.file) as f:
                runs = json.load(f)
        listed = {line.split("\t")[0] for line in subprocess.run([self.common[1], "--flags"], stdout=subprocess.PIPE, text=True).stdout.splitlines()}
        for mode in ("host", "run"):
            new = sorted(listed - {maker for m, maker, _, _ in runs if m == mode})
            if new:
                runs += self.survey_mode(mode, new)
        if self.file:
            with open(self.file, "w") as f:
                json.dump(runs, f)
        for mode, maker, seconds, fields in runs:
            if fields == ["skipped"]:
                self.skipped.add(maker)
            for field in fields:
                self.has.setdefault(field, {})[(mode, maker)] = seconds

    def survey_mode(self, mode, names):
        keep = f"{self.trial.work}/{mode}"
        os.mkdir(keep)
        p = self.makers(["--mode", mode, "--keep", "--tmp", keep, f"-j{JOBS}", *names])
        runs = []
        for status, seconds, maker, text in re.findall(r"^(pass|skip|FAIL) +([\d.]+) s  ([^\s:]+)((?:.*\n(?!pass|skip|FAIL))*.*)", p.stdout, re.M):
            kept = re.search(r"kept: (\S+)", text)
            if status == "FAIL":
                self.trial.note(f"{maker} ({mode}) fails with nothing lost, and is left out")
            image = kept and f"{kept[1]}/image"
            fields = sorted(self.fields_of(image)) if status == "pass" and image and os.path.exists(f"{image}/manifest") else []
            runs.append((mode, maker, float(seconds), ["skipped"] if status == "skip" else fields))
        shutil.rmtree(keep)
        return runs

    def fields_of(self, image):
        status, out, err = self.trial.call("inspect", "--json", image)
        found = set()
        for record in json.loads(out)["records"] if not status else []:
            add_fields(found, record["is"], {k: v for k, v in record.items() if k not in ("is", "v", "id")})
        return found

    # --- without one ---

    def candidates(self, field):
        """Makers of the component's own groups first, then some of each other group; the quick ones first."""
        component, seen, own, others = field.split(".")[0], {}, [], []
        for (mode, maker), seconds in sorted(self.has.get(field, {}).items(), key=lambda item: (item[0][0] == "run", item[1])):
            group = maker.split("/")[0]
            if component.startswith(group) or group.startswith(component) or group in GROUPS.get(component, "").split():
                own.append((mode, maker))
            else:
                seen[group] = seen.get(group, 0) + 1
                others.append((seen[group], seconds, mode, maker))
        return own, [(mode, maker) for _, _, mode, maker in sorted(others)][:MOST]

    def cli(self, name, field):
        build, mark = self.trial.options.build, os.urandom(8).hex()
        env = {**os.environ, "SPORE_TRIAL_DROP": mark, "SPORE": self.trial.options.spore, "SPORE_KEEPER": f"{build}/spore-keeper", "SPORE_TEST_DROP": field,
               "CONTAINER_MOUNTS": f"{build}/tests/cli/container_mounts", "EXAMPLE": f"{build}/examples/save-and-restore"}
        with self.one_cli:      # their containers have names
            p = subprocess.run([sys.executable, f"{HERE}/../cli/{name}_test.py"], env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=heed_interrupts)
            kill_all(pids_with("SPORE_TRIAL_DROP", mark))       # what a test that failed has left
        return {line for line in p.stdout.splitlines() if line.startswith("FAIL ")}

    def noticed(self, field, log):
        """The maker that fails without the field, twice: once may be the machine's mood."""
        own, others = self.candidates(field)
        return self.by_makers(field, own, log) or self.by_cli(field, log) or self.by_makers(field, others, log)

    def by_cli(self, field, log):
        for name in CLI.get(field.split(".")[0], []):
            failed = self.cli(name, field)
            failed = failed and failed & self.cli(name, field) - self.cli(name, "")     # "": no field is called so
            if failed:
                log(f"{field}: cli {name}: {', '.join(sorted(failed))}")
                return f"cli {name}"
        return None

    def by_makers(self, field, candidates, log):
        for mode, maker in candidates:
            outs = []
            while len(outs) < 2:
                p = self.makers(["--mode", mode, "-q", "--tmp", self.trial.work, maker], {"SPORE_TEST_DROP": field})
                if p.returncode in (0, 77) or NOT_THE_FIELD.search(p.stdout):
                    break
                outs.append(p.stdout)
            if len(outs) == 2:
                why = " ".join(outs[1].split())[:160]
                log(f"{field}: {mode} {why}")
                return maker
        return None


def heed_interrupts():
    """Who was started in the background ignores them, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def bury_orphans(done):
    """What failed tests leave becomes ours (adopt), and hundreds of zombies make every look through /proc slow. Our own children are all python3."""
    while not done.wait(1):
        for pid in all_pids():
            stat = stat_of(pid)
            with contextlib.suppress(OSError):
                if stat and stat[0] == b"Z" and int(stat[1]) == os.getpid() and not open_text(f"/proc/{pid}/comm").startswith("python"):
                    os.waitpid(pid, os.WNOHANG)


def open_text(path):
    with open(path) as f:
        return f.read()


def add_fields(found, path, value):
    """The paths of what is not zero, empty or none."""
    if isinstance(value, dict):
        for key, v in value.items():
            add_fields(found, f"{path}.{key}", v)
    elif isinstance(value, list):
        if value:
            found.add(path)
        for v in value:
            if isinstance(v, dict):
                add_fields(found, path, v)
    elif value:
        found.add(path)


def drop_field(trial):
    lister = f"{trial.options.build}/tools/image-format"
    fields = subprocess.run([lister, "--fields"], stdout=subprocess.PIPE, text=True).stdout.split() if os.path.exists(lister) else []
    with open(f"{trial.options.build}/meson-info/intro-buildoptions.json") as f:
        able = any(o["name"] == "test_drop" and o["value"] for o in json.load(f))
    if not fields or not able:
        raise Skip("needs a build with -Dtest_drop=true: --build DIR")
    drops = Drops(trial)
    drops.survey()
    if trial.options.names:
        fields = [f for f in fields if f in trial.options.names or f.split(".")[0] in trial.options.names]
    if trial.options.count:
        fields = trial.rng.sample(fields, min(len(fields), trial.options.count))
    if not fields:
        raise Failure("no such field")
    survivors, absent, lock = [], [], threading.Lock()

    def log(text):
        if trial.options.verbose:
            with lock:
                print("   ", text, flush=True)

    def one(field):
        maker = drops.noticed(field, log)
        with lock:
            trial.count += 1
            if not maker and (field in UNTOLD or NEEDS.get(field) in drops.skipped):
                absent.append(field)
            elif not maker:
                n = len(drops.has.get(field, {}))
                survivors.append(field)
                trial.fail(f"survives: {field}: " + (f"in {n} makers, none of which notices" if n else "in no maker"))

    done = threading.Event()
    burial = threading.Thread(target=bury_orphans, args=(done,))
    burial.start()
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(one, fields))
    done.set()
    burial.join()
    trial.note(f"{len(fields)} fields, survivors: {', '.join(sorted(survivors)) or 'none'}")
    if absent:
        trial.note(f"cannot be told on this machine: {', '.join(sorted(absent))}")


TRIALS = {"drop-field": drop_field}
