# SPDX-License-Identifier: LGPL-2.1-or-later
"""nginx under wrk."""
from servers import Server


class Nginx(Server):
    """Every answer is compared with the file, and wrk's counts with nginx's log."""
    name = "nginx"
    needs = {"nginx": "nginx-light", "wrk": "wrk"}


SCENARIOS = [Nginx]
