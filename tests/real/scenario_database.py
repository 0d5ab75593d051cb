# SPDX-License-Identifier: LGPL-2.1-or-later
"""sqlite3 in the midst of a transaction: on a file (journal, POSIX locks), and in memory."""
from harness import Failure, Scenario, read_lines

# The program draws its own nonce, shows it first, and again at the end.
SCRIPT = """.output started
CREATE TEMP TABLE nonce(v TEXT);
INSERT INTO nonce SELECT lower(hex(randomblob(8)));
SELECT v FROM nonce;
.output stdout
BEGIN;
CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, body TEXT);
CREATE INDEX tk ON t(k);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
  INSERT INTO t SELECT i, (i * 7919) % 1000003, printf('%0*d', {width}, (i * 1103515245 + 12345) % 2147483648) FROM n;
UPDATE t SET body = substr(body, 1, length(body) - 8) || printf('%08x', k) WHERE id % 3 = 0;
SELECT count(*), sum(k), sum(length(body)) FROM t;
DELETE FROM t WHERE k % 11 = 5;
COMMIT;
SELECT count(*), sum(k), max(body), min(body) FROM t;
SELECT k, substr(body, -12) FROM t ORDER BY k LIMIT 1000;
PRAGMA integrity_check;
.output finished
SELECT v || ' 0' FROM nonce;
"""


class Database(Scenario):
    name = "sqlite-file"
    needs = {"sqlite3": "sqlite3"}
    outputs = ["stdout", "data.db"]
    file = "data.db"

    def rows(self):
        return self.scale(400_000, 2_000_000), 40

    def prepare(self, work):
        rows, width = self.rows()
        with open(f"{work}/script.sql", "w") as f:
            f.write(SCRIPT.format(rows=rows, width=width))

    def command(self, session):
        return ["sh", "-c", f"exec sqlite3 -bail {self.file} <script.sql"]

    def check(self, work):
        if "ok" not in read_lines(f"{work}/stdout"):
            raise Failure("sqlite3: integrity_check is not ok")


class Memory(Database):
    """A database in memory: 40 MB, or 200 in the trials."""
    name = "sqlite-memory"
    outputs = ["stdout"]
    file = ":memory:"

    def rows(self):
        return self.scale(300_000, 1_500_000), 100


SCENARIOS = [Database, Memory]
