# SPDX-License-Identifier: Apache-2.0
"""What each rule has decided: counted exactly, over restarts, kills, and policies whose rules move and change names.

    web .1        app .2        db .3
      |             |             |
    --+-------------+-------------+--  network lan, VLAN 10
"""

import itertools
import os
import socket
import time

import pytest

from cordon import CommandFailed, wait_for
from host import TcpServer, UdpServer

ZONES = """\
zones:
  web: {match: "zone=web"}
  app: {match: "zone=app"}
  db: {match: "zone=db"}
"""

POLICY = ZONES + """\
policies:
  - id: shop
    rules:
      - {id: echo, from: web, to: app, service: udp/7, action: allow, log: session}
      - {id: web-to-app, from: web, to: app, service: tcp/80, action: allow, log: session}
      - {id: silent, from: web, to: db, service: udp/7, action: deny}
      - {id: loud, from: web, to: db, service: udp/9, action: reject}
      - {id: leave, from: db, to: web, service: tcp/1, action: pass}
      - {id: never, from: db, to: web, action: allow}
  - id: idle
    mode: "off"
    rules:
      - {id: off, from: db, to: app, action: allow}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

# The same, in another order, with one name changed and one rule more.
MOVED = ZONES + """\
policies:
  - id: first
    rules:
      - {id: added, from: db, to: app, service: udp/1, action: deny}
  - id: shop
    rules:
      - {id: never, from: db, to: web, action: allow}
      - {id: loud, from: web, to: db, service: udp/9, action: reject}
      - {id: silent, from: web, to: db, service: udp/7, action: deny}
      - {id: browse, from: web, to: app, service: tcp/80, action: allow, log: session}
      - {id: echo, from: web, to: app, service: udp/7, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

SOURCE_PORTS = itertools.count(10000)  # The kernel might give one out again.

FRAME = {4: 14 + 20 + 8, 6: 14 + 40 + 8}  # Of a datagram, without its payload.


@pytest.fixture
def site(switch):
    switch.add_network()
    switch.policy(POLICY)
    hosts = [switch.host(name, number) for number, name in enumerate(("web", "app", "db"), 1)]
    for one in hosts:
        for other in hosts:
            if one is not other:
                one.knows(other)
    with UdpServer(hosts[1], 7), TcpServer(hosts[1], 80):
        yield switch, *hosts


def hits(switch):
    """The rows of `cordon rule list` by name."""
    return {"/".join(filter(None, (row["policy"], row["rule"]))): row for row in switch.json("rule", "list")}


def wait_hits(switch, name, seconds=20, **fields):
    """Waits until the rule has these counts; they must then stay so."""
    def has():
        row = hits(switch).get(name)
        return row and all(row[key] == value for key, value in fields.items()) and row
    wait_for(has, seconds, f"{name} with {fields}; last {hits(switch).get(name)}", interval=0.2)
    return has()


def shout(host, address, port, payload=b"ping"):
    """One datagram from a port of its own, to whom no answer is expected."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.socket(family, socket.SOCK_DGRAM) as sender:
        sender.bind(("", next(SOURCE_PORTS)))
        sender.sendto(payload, (address, port))


def ask_many(host, address, n):
    for _ in range(n):
        assert host.can_ask(address, 7, source_port=next(SOURCE_PORTS))


def counts(row):
    return {key: row[key] for key in ("packets", "bytes", "connections", "taken_over", "refused")}


def test_counts_are_exact(site, version):
    switch, web, app, db = site
    before = time.time_ns()
    ask_many(web, app.address(version), 7)
    for _ in range(5):
        shout(web, db.address(version), 7)
        shout(web, db.address(version), 9)
    for _ in range(3):
        shout(db, app.address(version), 5)
    frame = FRAME[version] + 4
    echo = wait_hits(switch, "shop/echo", connections=7, packets=14, bytes=14 * frame)
    wait_hits(switch, "shop/silent", connections=5, packets=5, bytes=5 * frame)
    wait_hits(switch, "shop/loud", connections=5, packets=5, bytes=5 * frame)
    default = wait_hits(switch, "baseline/db->app", connections=3, packets=3, bytes=3 * frame)
    assert (default["kind"], default["action"]) == ("default", "deny")
    assert before - 2e9 < echo["first_ns"] <= echo["last_ns"] < time.time_ns() + 2e9
    rows = hits(switch)
    assert (rows["shop/never"]["packets"], rows["shop/never"]["last_ns"]) == (0, 0)
    assert rows["shop/never"]["since_ns"] > 0
    assert not rows["idle/off"]["in_force"]
    # What began or was denied is in the log, record for record.
    records = switch.wait_log(count=7, kind="start")
    assert len(records) == 7
    denied = sum(1 + row["suppressed"] for row in switch.wait_log(count=13, kind="denied"))
    assert denied == 13
    assert sum(row["connections"] for row in rows.values()) == 7 + 13


def test_a_cached_denial_is_one_connection_with_many_packets(site, version):
    switch, web, _, db = site
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with web.socket(family, socket.SOCK_DGRAM) as sender:
        for _ in range(20):
            sender.sendto(b"x", (db.address(version), 7))
    wait_hits(switch, "shop/silent", connections=1, packets=20)


def test_unused_rules_and_the_table(site):
    switch, web, app, _ = site
    ask_many(web, app.ipv4, 2)
    wait_hits(switch, "shop/echo", connections=2)
    unused = {row["rule"] for row in switch.json("rule", "list", "--unused")}
    assert unused == {"web-to-app", "silent", "loud", "never"}, "neither what was hit, nor what is off or passes"
    assert switch.json("rule", "list", "--unused-for", "1h") == [], "none is known for so long"
    assert {row["policy"] for row in switch.json("rule", "list", "--policy", "idle")} == {"idle"}
    first = switch.json("rule", "list", "--sort", "packets")[0]
    assert (first["policy"], first["rule"]) == ("shop", "echo")
    table = switch.cordon("rule", "list").splitlines()
    assert table[0].split() == ["RULE", "ACTION", "STATE", "CONNECTIONS", "PACKETS", "BYTES", "LAST"]
    assert max(map(len, table)) <= 100
    assert any("shop/never" in line and "never" in line.split()[-1] for line in table)
    assert "counted since" in switch.cordon("rule", "show", "shop/echo")
    assert switch.json("rule", "show", "echo")["connections"] == 2
    assert set(switch.cordon("--complete", "rule", "show", "shop/e").split()) == {"shop/echo"}
    assert "1" in switch.cordon("--complete", "policy", "rollback", "").split()
    with pytest.raises(CommandFailed) as failure:
        switch.cordon("rule", "show", "shop/ecko")
    assert failure.value.status == 3 and "shop/echo" in failure.value.message


def test_counts_survive_a_policy_whose_rules_move_and_a_rollback(site, version):
    switch, web, app, db = site
    with web.connect(app.address(version), 80) as connection:
        for _ in range(10):
            connection.sendall(b"a")
            assert connection.recv(10) == b"a"
        ask_many(web, app.address(version), 3)
        shout(web, db.address(version), 9)
        live = wait_hits(switch, "shop/web-to-app", connections=1, packets=hits_of(switch, connection))
        wait_hits(switch, "shop/loud", connections=1)

        switch.policy(MOVED)
        # The idle connection goes over by itself: its packets stay with the rule that let them pass.
        wait_hits(switch, "shop/browse", connections=0, taken_over=1, packets=0)
        gone = wait_hits(switch, "shop/web-to-app", kind="gone", in_force=False)
        assert counts(gone) == counts(live)
        ask_many(web, app.address(version), 2)
        connection.sendall(b"b")
        assert connection.recv(10) == b"b"
        wait_for(lambda: hits(switch)["shop/browse"]["packets"] >= 2, 20, "packets for the new name")
        wait_hits(switch, "shop/echo", connections=5, packets=10, kind="rule")
        wait_hits(switch, "shop/loud", connections=1)
        assert hits(switch)["first/added"]["packets"] == 0
        now = hits_of(switch, connection)
        wait_hits(switch, "shop/browse", packets=now - live["packets"])

        switch.policy(POLICY)
        wait_hits(switch, "shop/web-to-app", kind="rule", taken_over=1, connections=1, packets=live["packets"])
        wait_hits(switch, "shop/browse", kind="gone", packets=now - live["packets"])
    ask_many(web, app.address(version), 1)
    wait_hits(switch, "shop/echo", connections=6, packets=12)


def hits_of(switch, connection):
    """The packets of a live TCP connection so far, once it is quiet."""
    port = connection.getsockname()[1]

    def packets():
        row = switch.connections(source_port=port)[0]
        return row["packets_forward"] + row["packets_reverse"]

    def unchanged():
        """Over the time of a delayed acknowledgement."""
        before = packets()
        time.sleep(0.2)
        switch.wait_quiet()
        return packets() == before and before

    return wait_for(unchanged, 20, "a quiet connection", interval=0)


def test_a_kill_loses_nothing(site, version):
    switch, web, app, db = site
    with web.connect(app.address(version), 80) as connection:
        ask_many(web, app.address(version), 5)
        for _ in range(4):
            shout(web, db.address(version), 9)
        packets = hits_of(switch, connection)
        # At once: most of it no pass has seen yet.
        switch.kill("cordon-switchd")
        switch.up()
        wait_hits(switch, "shop/echo", connections=5, packets=10)
        wait_hits(switch, "shop/loud", connections=4, packets=4)
        row = wait_hits(switch, "shop/web-to-app", connections=1, packets=packets)
        assert row["taken_over"] == 0
        for turn in range(3):  # Again and again, with and without an end in between.
            connection.sendall(b"x")
            assert connection.recv(10) == b"x"
            packets = hits_of(switch, connection)
            if turn == 1:
                switch.cordon("conn", "flush", "--protocol", "udp")
            switch.kill("cordon-switchd")
            switch.up()
            wait_hits(switch, "shop/web-to-app", connections=1, packets=packets)
        wait_hits(switch, "shop/echo", connections=5, packets=10)
    assert not [text for text in switch.status()["warnings"] if "rule hits" in text]


def test_a_policy_that_changes_while_the_switch_is_dead(site, version):
    switch, web, app, _ = site
    ask_many(web, app.address(version), 5)
    wait_hits(switch, "shop/echo", connections=5)
    switch.kill("cordon-switchd")
    path = os.path.join(switch.directory, "moved.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(MOVED)
    switch.try_cordon("policy", "apply", path, "-m", "while it is dead", "--timeout", "1")
    switch.up()
    wait_for(lambda: "shop/browse" in hits(switch), 20, "the new policy")
    wait_hits(switch, "shop/echo", connections=5, packets=10)
    switch.cordon("conn", "flush", "--all")
    wait_hits(switch, "shop/echo", connections=5, packets=10)


def test_a_reboot_keeps_what_was_there_at_the_end(site, version):
    switch, web, app, _ = site
    ask_many(web, app.address(version), 5)
    switch.cordon("down")
    os.unlink(os.path.join(switch.run, "rule-hits"))  # It lies on a file system that a reboot empties.
    switch.up_again()
    row = wait_hits(switch, "shop/echo", connections=5, packets=10)
    assert row["first_ns"] <= row["last_ns"]
    ask_many(web, app.address(version), 1)
    wait_hits(switch, "shop/echo", connections=6, packets=12)


def test_damaged_files_are_named_and_begun_anew(site):
    switch, web, app, _ = site
    ask_many(web, app.ipv4, 5)
    switch.cordon("down")
    ledger, snapshot = (os.path.join(folder, "rule-hits") for folder in (switch.run, switch.state))
    with open(ledger, "r+b") as file:
        file.write(b"something of somebody else")
    switch.up()
    wait_hits(switch, "shop/echo", connections=5)
    assert [text for text in switch.status()["warnings"] if ledger in text]
    switch.cordon("down")
    os.unlink(ledger)
    with open(snapshot, "a", encoding="ascii") as file:
        file.write("more than there was\n")
    switch.up_again()
    assert [text for text in switch.status()["warnings"] if snapshot + ".damaged" in text]
    assert os.path.exists(snapshot + ".damaged")
    ask_many(web, app.ipv4, 1)
    wait_for(lambda: hits(switch)["shop/echo"]["connections"] >= 1, 20, "counting goes on")


def test_rules_keep_their_names_through_many_revisions(site, version):
    """More revisions within a moment than are kept in any case: an end still names its rule."""
    switch, web, app, _ = site
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with web.connect(app.address(version), 80) as connection, web.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(b"x", (app.address(version), 7))
        assert client.recv(10) == b"x"
        for turn in range(12):
            switch.policy((MOVED if turn % 2 else POLICY) + f"# {turn}\n")
        switch.cordon("conn", "flush", "--all")
        ends = switch.wait_log(count=2, kind="end", reason="flushed")
        names = {(row["policy"], row["rule"]) for row in ends}
        assert names <= {("shop", "browse"), ("shop", "web-to-app"), ("shop", "echo")}, "by when it was judged last"
        assert {row["source_zone"] for row in ends} == {"web"}
        connection.close()
    wait_hits(switch, "shop/echo", connections=1, packets=2)
    rows = hits(switch)
    assert "rules no longer known" not in rows
