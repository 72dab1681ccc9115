# SPDX-License-Identifier: Apache-2.0
"""The log of a fleet in PostgreSQL: a real server, real traffic, and questions in SQL.

    web .1                 app .2
      |                      |
    --+----------------------+--  network lan, VLAN 10
"""

import datetime
import signal
import subprocess

import pytest

from cordon import COMMAND_SECONDS, CORDON, Switch, wait_for
from host import TcpServer
from postgresql import PostgresqlServer
from test_sink_json import ask_often, prepare, wait_listed, wait_state


@pytest.fixture
def server():
    one = PostgresqlServer()
    try:
        one.start()
        yield one
    finally:
        one.close()


def add_sink(switch, server):
    switch.cordon("sink", "add", "fleet", "postgresql", f"connection={server.connection}")
    wait_state(switch, "fleet", "ok")  # There are no tables before.


def starts(server):
    """The source ports of the sessions of rule web-dns, as they were stored."""
    return [row["source_transport_port"] for row in server.rows(
        "SELECT source_transport_port FROM cordon.traffic WHERE kind = 'start' AND rule = 'web-dns' ORDER BY sequence")]


def milliseconds(text):
    """PostgreSQL writes no zeros at the end of a time, and the command does; either may have none."""
    return datetime.datetime.fromisoformat(text).timestamp() * 1000 // 1 if text else None


def test_rows_are_those_of_the_command(switch, server):
    """What `cordon log list --json` says of a record is what its row says, column by column."""
    web, app = prepare(switch)
    add_sink(switch, server)
    with TcpServer(app, 80):
        assert web.can_connect(app.ipv6, 80)
    assert not web.can_connect(app.ipv4, 81, 0.5)
    ask_often(web, app, 20000, 3)
    switch.cordon("conn", "flush", "--all")
    rows = wait_for(lambda: (rows := server.rows("SELECT * FROM cordon.traffic ORDER BY sequence")) and
                    sum(row["kind"] == "end" for row in rows) >= 4 and rows, 20, "the ends of four connections")
    listed = wait_listed(switch, rows)
    for row in rows:
        other = listed[row["sequence"]]
        for name, value in row.items():
            if name in ("time", "start"):
                assert milliseconds(value) == milliseconds(other[name]), name
            else:
                assert (value if value is not None else "") == other[name], name
    denied, = server.rows("SELECT * FROM cordon.traffic_denied WHERE destination_transport_port = 81 LIMIT 1")
    assert (denied["source"], denied["destination"]) == ("web", "app")
    assert denied["rule"] == "web->app"
    assert server.sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'cordon.traffic'::regclass") in ("2", "3"), "today's, tomorrow's"


@pytest.mark.parametrize("sig", [signal.SIGQUIT, signal.SIGKILL])
def test_a_server_that_goes_away(switch, server, sig):
    """Records wait, other sinks go on, and when it is back everything is there, once."""
    web, app = prepare(switch)
    add_sink(switch, server)
    ask_often(web, app, 20000, 20)
    wait_for(lambda: len(starts(server)) == 20, 20, "twenty rows")
    server.stop(sig)
    ask_often(web, app, 21000, 20)
    sink = wait_state(switch, "fleet", "error")
    assert "PostgreSQL" in sink["error"]
    switch.wait_log(rule="web-dns", kind="start", source_transport_port=21019)
    wait_for(lambda: switch.json("sink", "show", "fleet")["waiting"] >= 20, 20, "records that wait")
    wait_for(lambda: try_start(server), 20, "a server that starts again")
    wait_for(lambda: len(starts(server)) >= 40, 120, "the rows that waited")
    assert starts(server) == [*range(20000, 20020), *range(21000, 21020)]
    assert wait_state(switch, "fleet", "ok")["lost"] == 0
    assert server.sql("SELECT count(*) FROM cordon.traffic WHERE kind = 'gap'") == "0"
    assert server.sql("SELECT count(*) - count(DISTINCT sequence) FROM cordon.traffic") == "0"


def try_start(server):
    """What is left of a server that was killed may be in the way for a moment."""
    try:
        server.start()
        return True
    except AssertionError:
        server.stop()
        return False


def test_what_is_wrong_is_said(switch, server):
    prepare(switch)
    switch.cordon("sink", "add", "fleet", "postgresql", f"connection=host={server.directory} user=admin dbname=nowhere")
    assert 'database "nowhere" does not exist' in wait_state(switch, "fleet", "error")["error"]
    switch.cordon("sink", "set", "fleet", f"connection={server.connection}")
    wait_state(switch, "fleet", "ok")
    refused = switch.try_cordon("sink", "set", "fleet", "table=Not a name")
    assert refused.returncode != 0 and "small letters" in refused.stderr


@pytest.mark.parametrize("connection", [
    "host={directory} user=admin dbname=nowhere password=s3cret sslpassword='s3 cret'",
    "host={directory} user=admin dbname=nowhere password=my s3cret",
    "postgresql://admin:s3cret@/nowhere?host={directory}",
    "postgresql://admin:s3cret%@/nowhere?host={directory}",
    "postgresql://admin:my@s3cret@/nowhere?host={directory}",
], ids=["words", "words-bad", "uri", "uri-bad", "uri-ambiguous"])
def test_a_password_is_shown_to_nobody(switch, server, connection):
    switch.cordon("sink", "add", "fleet", "postgresql", "connection=" + connection.format(directory=server.directory))
    wait_state(switch, "fleet", "error")
    for words in (("show", "fleet"), ("list",), ("show", "fleet", "--json"), ("list", "--json")):
        shown = switch.cordon("sink", *words)
        assert "cret" not in shown and "fleet" in shown, shown
    assert "***" in switch.cordon("sink", "show", "fleet")
    assert "cret" not in switch.cordon("status") + switch.cordon("status", "--json") + switch.log_file()
    refused = switch.try_cordon("sink", "set", "fleet", connection.format(directory="/tmp"))
    assert refused.returncode != 0 and "cret" not in refused.stderr


def test_a_switch_that_is_killed_goes_on(switch, server):
    """Its numbers go on, and what died with it is told in the database too."""
    web, app = prepare(switch)
    add_sink(switch, server)
    ask_often(web, app, 20000, 10)
    wait_for(lambda: len(starts(server)) == 10, 20, "ten rows")
    switch.kill()
    switch.up_again()
    wait_state(switch, "fleet", "ok")
    ask_often(web, app, 21000, 10)
    wait_for(lambda: len(starts(server)) == 20, 20, "twenty rows")
    assert starts(server) == [*range(20000, 20010), *range(21000, 21010)]
    assert server.sql("SELECT count(*) - count(DISTINCT sequence) FROM cordon.traffic WHERE kind <> 'gap'") == "0"


class NamedSwitch(Switch):
    """In a UTS namespace of its own, where the host has another name."""

    def __init__(self, name):
        super().__init__(name)
        self.name = name

    def try_cordon(self, *words, text=None, seconds=COMMAND_SECONDS):
        return subprocess.run(
            ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name, CORDON, *map(str, words)],
            env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds,
            check=False)


@pytest.fixture
def two_hosts():
    switches = [NamedSwitch(name) for name in ("host-a", "host-b")]
    try:
        for switch in switches:
            switch.up()
        yield switches
    finally:
        for switch in switches:
            switch.close()


def test_two_hosts_in_one_database(two_hosts, server):
    for number, switch in enumerate(two_hosts):
        web, app = prepare(switch)
        add_sink(switch, server)
        ask_often(web, app, 20000 + 1000 * number, 5)
    wait_for(lambda: len(starts(server)) == 10, 20, "ten rows")
    rows = server.rows("SELECT host, count(*) AS n, count(DISTINCT sequence) AS different FROM cordon.traffic"
                       " WHERE kind = 'start' AND rule = 'web-dns' GROUP BY host ORDER BY host")
    assert rows == [{"host": "host-a", "n": 5, "different": 5}, {"host": "host-b", "n": 5, "different": 5}]
    assert [row["host"] for row in server.rows("SELECT host FROM cordon.traffic_writers ORDER BY host")] == [
        "host-a", "host-b"]
