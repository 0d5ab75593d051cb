# SPDX-License-Identifier: LGPL-2.1-or-later
"""PostgreSQL as Debian starts it (pg_ctlcluster: a daemon of the user postgres), under pgbench; its balances and amcheck at the end."""
import glob
import os
import pwd
import re
import subprocess
import time

from inside import Load, Wrong, drive, free_port, note, run, start, tick

VERSION = max((p.split("/")[4] for p in glob.glob("/usr/lib/postgresql/*/bin/postgres")), key=int)
CLUSTER = [VERSION, "test"]


def psql(sql):
    return run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", "bench", "-c", sql).strip()


def make(work, port):
    """A cluster of its own, beside those that the machine may have."""
    owner = pwd.getpwnam("postgres")
    os.environ.update(PG_CLUSTER_CONF_ROOT=f"{work}/etc", PGHOST=f"{work}/socket", PGPORT=str(port), PGUSER="postgres")
    os.mkdir("etc")
    os.mkdir("socket", 0o777)
    os.chmod("socket", 0o777)
    os.mkdir("log")
    os.chown("log", owner.pw_uid, owner.pw_gid)
    run("pg_createcluster", "-d", f"{work}/data", "-s", f"{work}/socket", "-l", f"{work}/log/server", "-p", str(port), *CLUSTER,
        "--", "--auth=trust", "--no-sync")


def count(out, what):
    return int(re.search(rf"{what}: (\d+)", out)[1])


def pgbench(transactions, clients, *how):
    out = run("pgbench", "-n", "-c", str(clients), "-j", "2", "-t", str(transactions), *how, "bench")
    if count(out, "number of transactions actually processed") != clients * transactions or count(out, "number of failed transactions"):
        raise Wrong(f"pgbench: {out[-400:]}")


def parallel(rounds):
    """Queries by parallel workers, which come and go and share memory; a cursor that stays open."""
    for i in range(rounds):
        got = psql("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; "
                   "SELECT count(*) FROM pgbench_accounts WHERE aid % 3 = 1")
        if got != str(-(-psql_rows // 3)):
            raise Wrong(f"psql: {got!r} of {psql_rows} rows in round {i}")
        tick()


def listen(messages):
    """NOTIFY from other backends to one that waits, and stays until it has been told everything."""
    listener = start("psql", "-qAtX", "-d", "bench", name="listener", stdin=subprocess.PIPE)
    listener.stdin.write(b"LISTEN news;\n")
    listener.stdin.flush()
    while not int(psql("SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN news;' AND state = 'idle'")):
        time.sleep(0.05)
    for i in range(messages):
        psql(f"NOTIFY news, '{i}'")
    listener.communicate(b"SELECT 'heard';\n", timeout=300)
    with open("listener.log") as f:
        heard = re.findall(r'notification "news" with payload "(\d+)"', f.read())
    if listener.returncode or heard != [str(i) for i in range(messages)]:
        raise Wrong(f"psql: the listener ended with {listener.returncode}, and heard {len(heard)} of {messages}")


def check(transactions, clients):
    sums = psql("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), "
                "(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)").split("|")
    rows = int(psql("SELECT count(*) FROM pgbench_history"))
    if len(set(sums)) != 1 or rows != transactions * clients:
        raise Wrong(f"pgbench: sums {sums}, {rows} rows of {transactions * clients}")
    run(f"/usr/lib/postgresql/{VERSION}/bin/pg_amcheck", "--install-missing", "--heapallindexed", "--parent-check", "bench")
    return f"the sums agree, {rows} transactions, amcheck has no complaint"


def main(full, times):
    global psql_rows
    scale, transactions, clients = (5, 4000, 8) if full else (1, 150 * times, 6)
    work, port = os.getcwd(), free_port()
    make(work, port)
    psql_rows = scale * 100_000
    run("pg_ctlcluster", "--skip-systemctl-redirect", *CLUSTER, "start", "--", "-o", "-c fsync=off" if not full else "-c fsync=on")
    run("createdb", "bench")
    run("pgbench", "-i", "-q", "-s", str(scale), "bench")
    note("address", f"{work}/socket {port}")
    yield
    load = Load()
    load.add(pgbench, transactions, clients)
    load.add(pgbench, transactions * 4, 4, "-S", "-M", "prepared", "-h", "127.0.0.1")
    load.add(parallel, transactions // 5)
    load.add(listen, transactions // 20)
    load.wait()
    yield
    verdict = check(transactions, clients)
    with open("log/server") as f:
        if bad := [line for line in f if re.search(r"ERROR|FATAL|PANIC|WARNING", line)]:
            raise Wrong(f"postgres: {bad[:3]}")
    yield verdict
    run("pg_ctlcluster", "--skip-systemctl-redirect", *CLUSTER, "stop", "-m", "fast")


drive(main)
