# SPDX-License-Identifier: LGPL-2.1-or-later
"""Servers in languages that bring a runtime of their own: Python's asyncio, Node.js, the JVM."""
from servers import Server


class Pool(Server):
    """asyncio, a pool of processes, a pool of threads."""
    name = "asyncio"
    driver = "pool"


class Node(Server):
    name = "node"
    needs = {"node": "nodejs"}


SCENARIOS = [Pool, Node]
