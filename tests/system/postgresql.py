# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of the test's own: Debian's, in a directory of its own, on a UNIX socket, as an unprivileged user.

    server = PostgresqlServer()
    server.start()
    server.rows("SELECT ...")
    server.close()
"""

import glob
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

from cordon import wait_for


class PostgresqlServer:
    """initdb to the end of its directory."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="cordon-pg-", dir="/tmp")
        self.programs = max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))
        self.process = None
        self.user = pwd.getpwnam("postgres")
        os.chown(self.directory, self.user.pw_uid, self.user.pw_gid)
        os.chmod(self.directory, 0o755)
        self._run("initdb", "-D", "data", "-U", "admin", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")

    def _words(self, program, *words):
        return [os.path.join(self.programs, program), *words]

    def _options(self):
        return {"cwd": self.directory, "user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": [],
                "stdin": subprocess.DEVNULL}

    def _run(self, program, *words):
        subprocess.run(self._words(program, *words), check=True, capture_output=True, **self._options())

    @property
    def connection(self):
        return f"host={self.directory} user=admin dbname=postgres"

    def start(self):
        """Waits until it answers."""
        with open(os.path.join(self.directory, "output"), "ab") as output:
            self.process = subprocess.Popen(
                self._words("postgres", "-D", "data", "-k", self.directory, "-h", "", "-c", "fsync=off",
                            "-c", "shared_buffers=16MB"), stdout=output, stderr=output, **self._options())
        wait_for(lambda: self._psql("SELECT 1").returncode == 0, 60, "an answer from PostgreSQL")

    def stop(self, sig=signal.SIGQUIT):
        """SIGQUIT is what `pg_ctl stop -m immediate` sends: all that is under way is broken off."""
        if self.process:
            self.process.send_signal(sig)
            self.process.wait(60)
            self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _psql(self, sql):
        return subprocess.run(["psql", "-AtXq", "-d", self.connection, "-c", sql], text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=60, check=False)

    def sql(self, sql):
        """What psql prints for it."""
        result = self._psql(sql)
        assert result.returncode == 0, result.stderr
        return result.stdout.rstrip("\n")

    def rows(self, query):
        """A dictionary for each row of a SELECT."""
        return [json.loads(line) for line in self.sql(f"SELECT row_to_json(x) FROM ({query}) AS x").splitlines()]
