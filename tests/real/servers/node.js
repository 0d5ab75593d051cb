// SPDX-License-Identifier: LGPL-2.1-or-later
// A server of Node.js: HTTP, timers, worker threads, files read and written, timers that count; its clients are in node.py and here.
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const zlib = require('zlib');

function work(text, rounds) {
  let value = text;
  for (let i = 0; i < rounds; i++) value = crypto.createHash('sha256').update(value).digest('hex');
  return value;
}

function thread() {
  parentPort.on('message', ({ id, text, rounds }) => parentPort.postMessage({ id, value: work(text, rounds), thread: workerData }));
}

function server(port) {
  const waiting = new Map();
  const workers = [0, 1].map((n) => new Worker(__filename, { workerData: n }));
  let next = 0, ticks = 0, ended = false;
  const ticker = setInterval(() => ticks++, 5);
  for (const w of workers) {
    w.on('message', (m) => { waiting.get(m.id)(m); waiting.delete(m.id); });
    w.on('error', (e) => { throw e; });
    w.on('exit', () => { if (!ended) throw new Error('a worker has ended'); });
  }
  const inThread = (text, rounds) => new Promise((resolve) => {
    const id = next++;
    waiting.set(id, resolve);
    workers[id % workers.length].postMessage({ id, text, rounds });
  });
  const answer = async (url) => {
    const [, kind, text, rounds] = url.split('/');
    if (kind === 'thread') { const m = await inThread(text, Number(rounds)); return m.value; }
    if (kind === 'timer') return new Promise((resolve) => setTimeout(() => resolve(`after ${rounds}`), Number(rounds)));
    if (kind === 'file') {
      await fs.promises.writeFile(`file-${text}`, url);
      return fs.promises.readFile(`file-${text}`, 'utf8');
    }
    if (kind === 'zip') return new Promise((resolve, reject) => zlib.gzip(text.repeat(Number(rounds)),
      (e, z) => e ? reject(e) : zlib.gunzip(z, (e2, b) => e2 ? reject(e2) : resolve(crypto.createHash('sha256').update(b).digest('hex')))));
    if (kind === 'ticks') return String(ticks);
    return url;
  };
  const s = http.createServer((request, response) => {
    answer(request.url).then((text) => response.end(text), (e) => { response.statusCode = 500; response.end(String(e)); });
  });
  s.keepAliveTimeout = 600000;
  s.listen(port, '127.0.0.1');
  process.on('SIGTERM', () => {
    ended = true;
    clearInterval(ticker);
    s.close();
    s.closeAllConnections();
    for (const w of workers) w.terminate();
  });
}

if (isMainThread) server(Number(process.argv[2])); else thread();
