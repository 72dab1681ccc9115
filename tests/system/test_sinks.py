# SPDX-License-Identifier: Apache-2.0
"""Where the traffic log is written: several places at once, each with a filter, a queue and an account of its own.

    web .1                 app .2
      |                      |
    --+----------------------+--  network lan, VLAN 10
"""

import json
import os
import socket
import time

import pytest

import database
from cordon import wait_for
from host import TcpServer, UdpServer

POLICY = """\
zones:
  web: {match: "zone=web"}
  app: {match: "zone=app"}
tiers: [application]
policies:
  - id: shop
    tier: application
    mode: enforce
    rules:
      - {id: web-to-app, from: web, to: app, service: tcp/80, action: allow, log: session}
      - {id: web-dns, from: web, to: app, service: udp/53, action: allow, log: session}
      - {id: no-web, from: web, to: app, action: deny, log: denied}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


def prepare(switch):
    switch.add_network()
    switch.policy(POLICY)
    return [switch.host(name, number) for number, name in enumerate(("web", "app"), 1)]


@pytest.fixture
def site(new_switch):
    switch = new_switch("sinks")
    return switch, *prepare(switch)


def lines(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]  # The last one may be under way.


def sink(switch, name):
    return switch.json("sink", "show", name)


def test_several_sinks_with_filters(site, version, tmp_path):
    """All get the same records, with the same numbers, of those that their filter lets through."""
    switch, web, app = site
    everything, denials = tmp_path / "all.json", tmp_path / "denied.json"
    switch.cordon("sink", "add", "all", "json", f"path={everything}")
    switch.cordon("sink", "add", "denials", "json", f"path={denials}", "filter=kind=denied zone=web")
    wait_for(lambda: all(row["state"] == "ok" for row in switch.json("sink", "list")), 20, "three sinks at work")
    with TcpServer(app, 80):
        assert web.can_connect(app.address(version), 80)
    assert not web.can_connect(app.address(version), 81, 0.3)
    switch.wait_log(kind="denied")
    switch.cordon("conn", "flush", "--all")
    switch.wait_log(kind="end")

    def kinds(rows):
        return {row["sequence"]: row["kind"] for row in rows}

    # Each writes when it comes to it, and counts when it has written.
    wait_for(lambda: kinds(lines(everything)) == kinds(switch.log()), 20, "the same records in both")
    wait_for(lambda: sink(switch, "all")["delivered"] == len(lines(everything)) >= 3, 20, "the count of them")
    wait_for(lambda: lines(denials), 20, "the denial")
    assert len(lines(denials)) == len(switch.log(kind="denied", source_zone="web"))
    assert lines(denials) and {row["kind"] for row in lines(denials)} == {"denied"}
    table = switch.cordon("sink", "list")
    assert "denials" in table and "filter=kind=denied zone=web" in table
    assert sink(switch, "all")["lost"] == 0


def test_dead_sink_holds_up_nobody(site, tmp_path):
    """A place that cannot be made: its records wait, the others' are written; then it is there, and gets all."""
    switch, web, app = site
    path = tmp_path / "missing" / "log.json"
    switch.cordon("sink", "add", "late", "json", f"path={path}")
    wait_for(lambda: sink(switch, "late")["state"] == "error", 20, "the error")
    assert str(path) in sink(switch, "late")["error"]
    assert any("late" in text for text in switch.status()["warnings"])
    with TcpServer(app, 80):
        for _ in range(5):
            assert web.can_connect(app.ipv4, 80)
        switch.wait_log(kind="start", count=5)
        assert not lines(path)
        path.parent.mkdir()
        wait_for(lambda: len([row for row in lines(path) if row["kind"] == "start"]) == 5, 40, "the late records")
    assert sink(switch, "late")["lost"] == 0 and not [row for row in lines(path) if row["kind"] == "gap"]
    wait_for(lambda: sink(switch, "late")["state"] == "ok", 20, "all is well again")
    assert not any("late" in text for text in switch.status()["warnings"])


def test_full_backlog_is_a_gap_of_that_sink_alone(site, tmp_path):
    switch, web, app = site
    path = tmp_path / "missing" / "log.json"
    switch.cordon("sink", "add", "late", "json", f"path={path}", "backlog-bytes=1048576")
    with UdpServer(app, 53):
        def lost():
            for port in range(20000, 20300):
                assert web.can_ask(app.ipv4, 53, source_port=port)
            switch.cordon("conn", "flush", "--all")
            wait_for(lambda: switch.status()["connections"]["count"] == 0, 20, "an empty table")
            return sink(switch, "late")["lost"]

        wait_for(lost, 180, "records lost for want of room", interval=0)
    path.parent.mkdir()
    wait_for(lambda: sink(switch, "late")["waiting"] == 0 and sink(switch, "late")["state"] == "ok", 60, "an empty queue")
    gaps = [row for row in lines(path) if row["kind"] == "gap"]
    assert gaps and {row["reason"] for row in gaps} == {"backlog-full"}
    assert sum(row["packets_forward"] for row in gaps) == sink(switch, "late")["lost"]
    assert not switch.log(kind="gap") and sink(switch, "default")["lost"] == 0
    numbers = [row["sequence"] for row in lines(path)]
    assert numbers == sorted(set(numbers))


def test_killed_switch_tells_each_sink_what_it_lost(site, tmp_path):
    """The default sink has everything; the other one owes all of it to a process that is no more."""
    switch, web, app = site
    path = tmp_path / "missing" / "log.json"
    with TcpServer(app, 80):
        assert web.can_connect(app.ipv4, 80)
        switch.wait_log(kind="start")
        switch.cordon("sink", "add", "late", "json", f"path={path}")
        wait_for(lambda: sink(switch, "late")["state"] == "error", 20, "the error")
        for _ in range(7):
            assert web.can_connect(app.ipv4, 80)
        wait_for(lambda: sink(switch, "late")["waiting"] >= 7, 20, "records that wait")
        switch.wait_log(kind="start", count=8)
        waiting = sink(switch, "late")["waiting"]
        switch.kill()
        path.parent.mkdir()
        switch.up()
        wait_for(lambda: [row for row in lines(path) if row["kind"] == "gap"], 20, "the gap record")
        gap = lines(path)[0]
        assert gap["kind"] == "gap" and gap["reason"] == "process-ended"
        assert waiting <= gap["packets_forward"] <= waiting + 7, "ends may have come since"
        wait_for(lambda: web.can_connect(app.ipv4, 80), 20, "a connection through the new process")
        switch.wait_log(kind="start", count=9)
        wait_for(lambda: [row for row in lines(path) if row["kind"] == "start"], 20, "new records")
    assert gap["sequence"] < min(row["sequence"] for row in lines(path) if row["kind"] == "start")
    numbers = [row["sequence"] for row in switch.log()]
    assert numbers == sorted(set(numbers)), "no number is given twice"


def refused(switch, *words):
    result = switch.try_cordon("sink", *words)
    assert result.returncode != 0
    return result.stderr


def test_sinks_are_set_up_in_words(site, tmp_path):
    switch, _, _ = site
    assert "sink types" in refused(switch, "add", "x", "pigeon", "to=home")
    assert "path" in refused(switch, "add", "x", "json")
    assert "exists" in refused(switch, "add", "default", "sqlite")
    assert "would-deny" in refused(switch, "add", "x", "json", f"path={tmp_path}/a", "filter=kind=refused")
    assert "sink list" in refused(switch, "set", "nobody", "filter=kind=denied")
    assert "KEY=VALUE" in refused(switch, "set", "default", "retention-days")
    switch.cordon("sink", "set", "default", "retention-days=90")
    assert sink(switch, "default")["options"] == {"retention-days": "90"}
    switch.cordon("sink", "set", "default", "retention-days=")
    assert sink(switch, "default")["options"] == {}
    assert "retention-days" in switch.cordon("sink", "types", "sqlite")
    assert "retention-days=" in switch.cordon("--complete", "sink", "set", "default", "retention-").split()
    assert switch.cordon("--complete", "sink", "show", "").split() == ["default"]
    assert switch.cordon("--complete", "sink", "add", "x", "i").split() == ["ipfix"]
    assert switch.cordon("--complete", "sink", "add", "x", "ipfix", "transport=").split() == \
        ["transport=udp", "transport=tcp"]
    switch.cordon("sink", "del", "default")
    assert switch.json("sink", "list") == []
    assert "written nowhere" in switch.cordon("sink", "list")


def set_options(switch, name, options):
    database.transact(switch, {"op": "update", "table": "Log_Sink", "where": [["name", "==", name]],
                               "row": {"options": ["map", [list(pair) for pair in options.items()]]}})


def test_row_that_is_wrong_leaves_its_sink_as_it_was(site, tmp_path):
    """Whoever writes nonsense into the database, past `cordon sink set`, loses no records by it."""
    switch, web, app = site
    path = tmp_path / "log.json"
    switch.cordon("sink", "add", "lines", "json", f"path={path}")
    wait_for(lambda: sink(switch, "lines")["state"] == "ok", 20, "the sink at work")
    set_options(switch, "lines", {"path": "nowhere"})
    wait_for(lambda: "absolute" in sink(switch, "lines")["error"], 20, "what is wrong with the row")
    with TcpServer(app, 80):
        assert web.can_connect(app.ipv4, 80)
        wait_for(lambda: [row for row in lines(path) if row["kind"] == "start"], 20, "its records, as before")
    assert "memory" not in switch.log_file()
    set_options(switch, "lines", {"path": str(path)})
    wait_for(lambda: sink(switch, "lines")["state"] == "ok", 20, "all is well again")


def test_no_number_twice_after_a_reboot(site):
    """The run directory is empty, and the place that knows the numbers of before comes back late: its records wait, and
    go on where those of before have ended."""
    switch, web, app = site
    with TcpServer(app, 80):
        for _ in range(3):
            assert web.can_connect(app.ipv4, 80)
        switch.wait_log(kind="start", count=3)
        switch.cordon("conn", "flush", "--all")
        switch.wait_log(kind="end", count=3)
        switch.cordon("down")
        before = [row["sequence"] for row in switch.log()]
        os.unlink(f"{switch.run}/log-account")
        os.rename(f"{switch.state}/log", f"{switch.state}/log-later")
        with open(f"{switch.state}/log", "w", encoding="ascii") as file:
            file.write("the disk is not mounted yet")
        switch.up()
        wait_for(lambda: sink(switch, "default")["state"] == "error", 20, "the error")
        wait_for(lambda: web.can_connect(app.ipv4, 80), 20, "a connection after the reboot")
        wait_for(lambda: sink(switch, "default")["waiting"], 20, "a record that waits")
        os.unlink(f"{switch.state}/log")
        os.rename(f"{switch.state}/log-later", f"{switch.state}/log")
        wait_for(lambda: len(switch.log(kind="start")) >= 4, 60, "the record that has waited")
    numbers = [row["sequence"] for row in switch.log()]
    assert numbers[:len(before)] == before and numbers[len(before)] == before[-1] + 1
    assert sink(switch, "default")["lost"] == 0 and not switch.log(kind="gap")


def test_dead_places_do_not_hold_up_an_upgrade(site):
    """A database that accepts and says nothing, a collector whose host drops everything, one that never reads."""
    switch, web, app = site
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent, \
            socket.create_server(("127.0.0.1", 0), backlog=0) as full, TcpServer(app, 80):
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        switch.cordon("sink", "add", "fleet", "postgresql",
                      f"connection=host=127.0.0.1 port={silent.getsockname()[1]} dbname=fleet")
        for name, type_, key in (("flows", "ipfix", "collector"), ("alarms", "syslog", "server")):
            switch.cordon("sink", "add", name, type_, f"{key}=127.0.0.1:{full.getsockname()[1]}", "transport=tcp")
        wait_for(lambda: len(switch.json("sink", "list")) == 4, 20, "four sinks")
        assert web.can_connect(app.ipv4, 80)
        switch.wait_log(kind="start")
        for delay in (0.1, 1, 2.5):
            time.sleep(delay)
            began = time.monotonic()
            switch.cordon("down", "--keep-connections")
            assert time.monotonic() - began < 10
            switch.up()
        for one in crowd:
            one.close()
        wait_for(lambda: web.can_connect(app.ipv4, 80), 20, "a connection after that")


def test_long_connections_give_updates(site, version):
    """Only while they have traffic, and with what they have carried until then."""
    switch, web, app = site
    database.transact(switch, {"op": "update", "table": "Host", "where": [],
                               "row": {"other_config": ["map", [["log-update", "2"]]]}})
    with TcpServer(app, 80):
        with web.connect(app.address(version), 80) as connection:
            def updates():
                connection.sendall(b"x" * 100)
                return len(switch.log(kind="update")) >= 2 and switch.log(kind="update")

            first, second = wait_for(updates, 30, "two update records", interval=0.3)[:2]
            assert first["start"] == second["start"] and first["rule"] == "web-to-app"
            assert 0 < first["bytes_forward"] < second["bytes_forward"]
            seen = len(switch.log(kind="update"))
        switch.cordon("conn", "flush", "--all")
        switch.wait_log(kind="end")
    assert len(switch.log(kind="update")) <= seen + 2
