# SPDX-License-Identifier: LGPL-2.1-or-later
"""ssh-agent, which asks not to be dumped: refused by name, and it goes on as if nothing had been."""
import os
import subprocess

from harness import Failure, Scenario, Spore, bury, kill_all, wait_until


class Agent(Scenario):
    """Has no second life, so it is not run as the others are."""
    name = "ssh-agent"
    needs = {"ssh-agent": "openssh-client", "ssh-add": "openssh-client", "ssh-keygen": "openssh-client"}

    def instead(self, options, base):
        if options.no_spore:
            return "not without spore"
        spore = Spore(options.spore, f"{base}/spore.log")
        socket, key = f"{base}/socket", f"{base}/key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, stdin=subprocess.DEVNULL)
        agent = ["ssh-agent", "-D", "-a", socket]
        how = {"cwd": base, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if options.mode == "run":
            root, popen = spore.pid_from(["run", "-d", "--", "sh", "-c", f"exec {' '.join(agent)} 2>/dev/null"], base)[0], None
        else:
            popen = subprocess.Popen(agent, start_new_session=True, **how)
            root = popen.pid
        try:
            wait_until(lambda: os.path.exists(socket), 60, "ssh-agent")
            ask = lambda *words: subprocess.run(["ssh-add", *words], env={**os.environ, "SSH_AUTH_SOCK": socket}, stdin=subprocess.DEVNULL,
                                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True).stdout
            ask(key)
            keys = ask("-l")
            for args in (["check", root], ["checkpoint", "--kill", root, f"{base}/image"]):
                p = spore.call(*args, ok=(3,))
                if "ssh-agent" not in p.stdout + p.stderr or "dump" not in p.stdout + p.stderr:
                    raise Failure(f"ssh-agent: refused, but not by name: {p.stderr}")
            if os.path.exists(f"{base}/image/manifest") or ask("-l") != keys:
                raise Failure("ssh-agent: there is an image, or its keys are lost")
            return "refused by name, and has its key"
        finally:
            kill_all([root])
            popen.wait() if popen else bury([root])


SCENARIOS = [Agent]
