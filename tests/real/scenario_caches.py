# SPDX-License-Identifier: LGPL-2.1-or-later
"""redis-server and memcached, with clients that know every answer."""
from servers import Server


class Redis(Server):
    """A million keys in the trials; DEBUG DIGEST is that of the uninterrupted run."""
    name = "redis"
    needs = {"redis-benchmark": "redis-tools"}


class Memcached(Server):
    name = "memcached"
    needs = {"memcached": "memcached"}


SCENARIOS = [Redis, Memcached]
