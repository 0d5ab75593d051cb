# SPDX-License-Identifier: LGPL-2.1-or-later
"""Servers in languages that bring a runtime of their own: Python's asyncio, Node.js, the JVM, Go, Chromium."""
from servers import Server


class Pool(Server):
    """asyncio, a pool of processes, a pool of threads."""
    name = "asyncio"
    driver = "pool"


class Node(Server):
    name = "node"
    needs = {"node": "nodejs"}


class Jvm(Server):
    name = "jvm"
    needs = {"java": "default-jre-headless", "javac": "default-jdk-headless"}


class Etcd(Server):
    """Go, with HTTP/2 between it and its many short-lived clients."""
    name = "etcd"
    needs = {"etcd": "etcd-server", "etcdctl": "etcd-client"}


class Chromium(Server):
    """A browser without a screen: processes and threads by the dozen, terabytes of reserved addresses."""
    name = "chromium"
    needs = {"chromium": "chromium"}


SCENARIOS = [Pool, Node, Jvm, Etcd, Chromium]
