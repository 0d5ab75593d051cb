# SPDX-License-Identifier: LGPL-2.1-or-later
"""nginx (a master, two workers, one more server behind it as a proxy's upstream) under wrk; bytes and requests are counted on both sides."""
import os
import re
import signal
import time

from inside import Load, Wrong, connect, drive, free_port, note, run, start, stop, tick

CONF = """
daemon off;
worker_processes 2;
error_log error.log warn;
pid nginx.pid;
events {{ worker_connections 512; }}
http {{
    log_format sizes '$server_port $status $request_uri $body_bytes_sent $bytes_sent';
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    sendfile on; tcp_nopush on; keepalive_requests 100000000;
    upstream back {{ server unix:{work}/back.sock; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port} reuseport; root {work}/www;
        access_log access.log sizes;
        location / {{ add_header X-Name $uri; }}
        location /back/ {{ proxy_pass http://back/; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
    server {{ listen unix:{work}/back.sock; root {work}/www; add_header X-Name $uri; }}
}}
"""

# Requests each file in turn, and compares each answer with the file byte for byte. What is counted is what was answered in full.
LUA = """
local names, at, threads = {{{names}}}, 0, {{}}
function setup(thread) table.insert(threads, thread) end
function init(args)
  answers, bytes, wrong, contents = 0, 0, 0, {{}}
  for _, name in ipairs(names) do contents["/" .. name] = io.open("www/" .. name, "rb"):read("*a") end
end
function request()
  at = at % (2 * #names) + 1
  return wrk.format("GET", at > #names and "/back/" .. names[at - #names] or "/" .. names[at])
end
function response(status, headers, body)
  if status ~= 200 or body ~= contents[headers["X-Name"]] then wrong = wrong + 1 end
  answers, bytes = answers + 1, bytes + #body
end
function done(summary, latency, requests)
  local a, b, w, e = 0, 0, 0, summary.errors
  for _, t in ipairs(threads) do a, b, w = a + t:get("answers"), b + t:get("bytes"), w + t:get("wrong") end
  print(string.format("\\nCOUNTS %d %d %d %d", a, b, w, e.connect + e.read + e.write + e.status + e.timeout))
end
"""
CONNECTIONS = 16
SIZES = {"empty": 0, "small": 300, "page": 20_000, "large": 700_000}


def prepare(port):
    work = os.getcwd()
    os.chmod(work, 0o755)
    os.makedirs("www", exist_ok=True)
    os.makedirs("tmp", exist_ok=True)
    for name, size in SIZES.items():
        with open(f"www/{name}", "wb") as f:
            f.write(os.urandom(size))
    with open("nginx.conf", "w") as f:
        f.write(CONF.format(port=port, work=work))
    with open("load.lua", "w") as f:
        f.write(LUA.format(names=", ".join(f'"{n}"' for n in SIZES)))


def load(port, seconds):
    """One round of wrk: how many answers and bytes it got."""
    out = run("wrk", "-t", "2", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "--timeout", "300s", "-s", "load.lua", f"http://127.0.0.1:{port}/")
    answers, size, wrong, errors = map(int, re.search(r"COUNTS (.*)", out)[1].split())
    if wrong or errors or not answers or "Socket errors" in out:
        raise Wrong(f"wrk: {wrong} wrong answers, {errors} errors, {answers} answers: {out}")
    return answers, size


def measure(steps):
    """wrk goes by the time of day, which passes while the tree is not there: there are as many rounds as it takes."""
    for _ in range(steps):
        time.sleep(0.03)
        tick()


def logged():
    """What nginx says that it sent in full: answers and bytes."""
    sizes = [SIZES[line.split()[2].rpartition("/")[2]] for line in open("access.log")
             if line.split()[1] == "200" and int(line.split()[3]) == SIZES[line.split()[2].rpartition("/")[2]]]
    return len(sizes), sum(sizes)


def main(full, times):
    seconds, steps = (5, 500) if full else (2, 100 * times)
    port = free_port()
    prepare(port)
    server = start("nginx", "-p", os.getcwd(), "-c", "nginx.conf")
    connect(port).close()
    yield
    clock, answers, size, rounds = Load(), 0, 0, 0
    clock.add(measure, steps)
    while clock.running():
        more, more_size = load(port, seconds)
        answers, size, rounds = answers + more, size + more_size, rounds + 1
    clock.wait()
    yield
    # before the end, in which one worker closes idle connections that another still proxies wrk's last requests through
    with open("error.log") as f:
        if errors := [line for line in f if "[warn]" not in line]:
            raise Wrong(f"nginx: {errors[:3]}")
    stop(server, signal.SIGQUIT)
    sent, sent_size = logged()
    # wrk goes while its last requests are under way: they are in the log, and nowhere else
    flying = rounds * CONNECTIONS
    if not answers <= sent <= answers + flying or not size <= sent_size <= size + flying * max(SIZES.values()):
        raise Wrong(f"nginx has sent {sent} answers, {sent_size} bytes; wrk got {answers}, {size}")
    note("counts", f"{answers} answers, {size} bytes\n")
    yield "every answer right, and as many as were sent"


drive(main)
