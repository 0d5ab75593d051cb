# SPDX-License-Identifier: LGPL-2.1-or-later
"""Chromium without a screen: several pages, each in a process of its own with a worker, asked over its DevTools protocol by clients that know each answer."""
import base64
import hashlib
import http.client
import json
import os
import time

from inside import Load, Wrong, children, connect, drive, free_port, start, stop, tick

PAGES = 4
PAGE = """<script>
let ticks = 0, waiting = {};
setInterval(() => ticks++, 10);
const worker = new Worker(URL.createObjectURL(new Blob([`
  onmessage = async e => {
    let h = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(e.data)));
    postMessage([e.data, Array.from(h, b => b.toString(16).padStart(2, "0")).join("")]);
  }`])));
worker.onmessage = e => { waiting[e.data[0]](e.data[1]); delete waiting[e.data[0]]; };
const hash = text => new Promise(done => { waiting[text] = done; worker.postMessage(text); });
const after = ms => new Promise(done => setTimeout(() => done("after " + ms), ms));
const kept = (key, value) => (localStorage[key] = value, localStorage[key]);
</script>"""


class Tab:
    """One page, by a WebSocket (RFC 6455) that stays open."""

    def __init__(self, port, path):
        self.socket, self.id = connect(port), 0
        self.socket.settimeout(300)
        self.file = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        if b" 101 " not in self.file.readline():
            raise Wrong("chromium: no WebSocket")
        while self.file.readline().strip():
            pass

    def read(self):
        head = self.file.read(2)
        if len(head) < 2 or head[0] != 0x81:
            raise Wrong(f"chromium: an answer that begins with {head!r}")
        size = head[1]
        if size >= 126:
            size = int.from_bytes(self.file.read(2 if size == 126 else 8), "big")
        return json.loads(self.file.read(size))

    def call(self, method, **params):
        self.id += 1
        text = json.dumps({"id": self.id, "method": method, "params": params}).encode()
        size = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + len(text).to_bytes(2, "big")
        self.socket.sendall(b"\x81" + size + b"\0\0\0\0" + text)
        while (answer := self.read()).get("id") != self.id:
            pass
        return answer["result"]

    def ask(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True)
        if "exceptionDetails" in result:
            raise Wrong(f"chromium: {expression}: {result['exceptionDetails'].get('text')}")
        return result["result"].get("value")


def new_page(port, url):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("PUT", f"/json/new?{url}")
    page = json.loads(c.getresponse().read())
    return page["webSocketDebuggerUrl"].split(str(port), 1)[1]


def client(tab, number, rounds):
    for i in range(rounds):
        text = f"c{number}-{i}"
        for expression, want in [(f"'{text}'.toUpperCase()", text.upper()), (f"hash('{text}')", hashlib.sha256(text.encode()).hexdigest()),
                                 (f"after({i % 20})", f"after {i % 20}"), (f"kept('{number}', '{text}')", text)]:
            got = tab.ask(expression)
            if got != want:
                raise Wrong(f"chromium: {expression}: {got!r}, {want!r} expected")
        tick()


def helpers_end():
    """Some of its processes are its grandchildren, and see for themselves that it has ended."""
    end = time.monotonic() + 30
    while left := children():
        if time.monotonic() > end:
            raise Wrong(f"chromium: {len(left)} of its processes stay: {[open(f'/proc/{p}/comm').read().strip() for p in left]}")
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        time.sleep(0.02)


def main(full, times):
    port = free_port()
    with open("page.html", "w") as f:
        f.write(PAGE)
    server = start("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={os.getcwd()}/profile", "--no-first-run",
                   "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
                   f"--remote-debugging-port={port}", "--remote-allow-origins=*", "about:blank")
    connect(port, 60).close()
    url = f"file://{os.getcwd()}/page.html"
    tabs = [Tab(port, new_page(port, url)) for _ in range(PAGES)]
    for tab in tabs:
        while tab.ask("typeof kept") != "function":
            pass
    yield
    load = Load()
    for n, tab in enumerate(tabs):
        load.add(client, tab, n, 600 if full else 100 * times)
    load.wait()
    yield
    before = [tab.ask("ticks") for tab in tabs]
    if min(before) < 10 or any(tab.ask("after(100).then(() => ticks)") <= b for tab, b in zip(tabs, before)):
        raise Wrong("chromium: a page's timer does not run")
    yield "every answer right"
    stop(server)
    helpers_end()


drive(main)
