# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Python asyncio server that hands its work to a pool of processes; its clients are asyncio too, in a process of their own."""
import asyncio
import concurrent.futures
import hashlib
import multiprocessing
import os
import sys

from inside import Wrong, connect, drive, free_port, start, stop, tick

CLIENTS = 12


def work(text, rounds):
    """What a pool's process does: a chain of hashes; who did it is told, to see that all of them work."""
    value = text.encode()
    for _ in range(rounds):
        value = hashlib.sha256(value).digest()
    return value.hex(), os.getpid()


async def serve(port):
    loop, context = asyncio.get_running_loop(), multiprocessing.get_context("fork")
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    with concurrent.futures.ProcessPoolExecutor(3, context) as pool, concurrent.futures.ThreadPoolExecutor(2) as threads:
        async def client(reader, writer):
            while line := await reader.readline():
                kind, text, rounds = line.decode().split()
                value, pid = await loop.run_in_executor(threads if kind == "thread" else pool, work, text, int(rounds))
                writer.write(f"{text} {value} {pid} {ticks}\n".encode())
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(client, "127.0.0.1", port, limit=1 << 20)
        ticker = asyncio.create_task(tick())
        end = asyncio.Event()
        loop.add_signal_handler(15, end.set)
        await end.wait()
        ticker.cancel()
        server.close()


async def ask(port, number, rounds, pids):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    chain = hashlib.sha256()
    for i in range(rounds):
        text, n = f"{number}-{i}-" + "x" * (i % 7 * 1000), 200 + i % 13 * 100
        writer.write(f"{'thread' if i % 5 == 0 else 'process'} {text} {n}\n".encode())
        line = await asyncio.wait_for(reader.readline(), 300)
        if not line.endswith(b"\n"):
            raise Wrong(f"pool: client {number}: the connection ended")
        got, value, pid, ticks = line.decode().split()
        if got != text or value != work(text, n)[0]:
            raise Wrong(f"pool: client {number}: a wrong answer to {i}")
        pids.add(pid)
        chain.update(line.split()[1])
        tick()
    writer.close()
    return chain.hexdigest()


async def clients(port, rounds):
    pids = set()
    chains = await asyncio.gather(*(ask(port, n, rounds, pids) for n in range(CLIENTS)))
    return f"{len(pids)} processes, {hashlib.sha256(' '.join(chains).encode()).hexdigest()}"


def main(full, times):
    port = free_port()
    server = start(sys.executable, __file__, "serve", str(port), name="pool")
    connect(port).close()
    yield
    verdict = asyncio.run(clients(port, 2000 if full else 80 * times))
    yield
    yield verdict
    stop(server)


if sys.argv[1] == "serve":
    asyncio.run(serve(int(sys.argv[2])))
else:
    drive(main)
