# SPDX-License-Identifier: Apache-2.0
"""What is written of the traffic, and what becomes of it when it cannot be written.

    web .1 (VM id-web)     app .2 (VM id-app)     db .3
      |                      |                      |
    --+----------------------+----------------------+--  network lan, VLAN 10
"""

import os
import subprocess
import time

import pytest

from cordon import wait_for
from host import TcpServer, UdpServer

POLICY = """\
zones:
  web: {match: "zone=web"}
  app: {match: "zone=app"}
  db: {match: "zone=db"}
tiers: [application]
policies:
  - id: shop
    tier: application
    mode: enforce
    rules:
      - {id: web-to-app, from: web, to: app, service: tcp/80, action: allow, log: session, label: CHG-1}
      - {id: web-dns, from: web, to: app, service: udp/53, action: allow, log: session}
      - {id: silent, from: web, to: app, service: tcp/81, action: allow, log: none}
      - {id: ping, from: web, to: app, service: icmp/8, action: allow, log: session}
      - {id: no-db, from: web, to: db, action: deny, log: denied, label: CHG-2}
      - {id: no-db-silent, from: app, to: db, action: deny, log: none}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


def prepare(switch):
    switch.add_network()
    switch.policy(POLICY)
    return [switch.host(name, number) for number, name in enumerate(("web", "app", "db"), 1)]


@pytest.fixture(scope="module")
def site(shared):
    return shared, *prepare(shared)


def test_session_has_a_start_and_an_end_with_all_fields(site, version):
    switch, web, app, _ = site
    with TcpServer(app, 80):
        connection = web.connect(app.address(version), 80)
        connection.sendall(b"x" * 1000)
        left = 1000
        while left:
            left -= len(connection.recv(1000))
        port = connection.getsockname()[1]
        connection.close()
        # Another story may have drawn the same port.
        session = {"source_address": web.address(version), "source_transport_port": port, "protocol": "tcp"}
        start = switch.wait_log(kind="start", **session)[0]
        wait_for(lambda: switch.connections(source_port=port, state="TIME-WAIT"), 20, "both FINs")
    switch.cordon("conn", "flush", "--port", "web")
    end = switch.wait_log(kind="end", **session)[0]
    for record in (start, end):
        assert record["source_mac"] == web.mac and record["destination_mac"] == app.mac
        assert record["destination_transport_port"] == 80
        assert (record["source_port"], record["destination_port"]) == ("web", "app")
        assert (record["source_vm_id"], record["source_vm_name"]) == ("id-web", "web")
        assert (record["destination_vm_id"], record["destination_vm_name"]) == ("id-app", "app")
        assert (record["source_zone"], record["destination_zone"]) == ("web", "app")
        assert record["source_tags"] == "zone=web"
        assert record["vlan"] == 10
        assert record["verdict"] == "allowed"
        assert (record["tier"], record["policy"], record["rule"]) == ("application", "shop", "web-to-app")
        assert record["label"] == "CHG-1"
        assert record["policy_revision"] == 1
        assert record["host"]
    if version == 4:
        assert (start["source_address"], start["destination_address"]) == (web.ipv4, app.ipv4)
    assert end["bytes_forward"] > 1000 and end["bytes_reverse"] > 1000
    assert end["packets_forward"] >= 3 and end["packets_reverse"] >= 3
    assert end["time_ns"] >= start["time_ns"] and end["start_ns"] <= start["time_ns"] + 10**9
    assert end["reason"] in ("fin", "flushed")
    assert end["tcp_flags"] & 0x13 == 0x13, "SYN, FIN and ACK were seen"
    assert end["sequence"] > start["sequence"]


def test_connection_is_logged_from_when_its_rule_says_so(switch):
    """A policy that begins to log a rule writes a start for connections that it finds, and so an end."""
    web, app, _ = prepare(switch)
    with TcpServer(app, 81):
        connection = web.connect(app.ipv4, 81)
        port = connection.getsockname()[1]
        assert not switch.log(source_transport_port=port)
        switch.policy(POLICY.replace("log: none", "log: session", 1))
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        start = switch.wait_log(kind="start", source_transport_port=port)[0]
        assert (start["source_port"], start["destination_port"], start["rule"]) == ("web", "app", "silent")
        switch.cordon("conn", "flush", "--port", "web")
        switch.wait_log(kind="end", reason="flushed", source_transport_port=port)
        assert len(switch.log(kind="start", source_transport_port=port)) == 1
        connection.close()


def test_denial_is_written_with_its_rule(site, version):
    switch, web, _, db = site
    assert not web.can_connect(db.address(version), 1111 + version, 0.3)
    record = switch.wait_log(kind="denied", destination_transport_port=1111 + version)[0]
    assert (record["verdict"], record["reason"]) == ("denied", "policy")
    assert (record["policy"], record["rule"], record["label"]) == ("shop", "no-db", "CHG-2")
    assert (record["source_zone"], record["destination_zone"]) == ("web", "db")


def test_default_of_a_pair_is_named(site, version):
    switch, _, app, _ = site
    web = site[1]
    assert not app.can_connect(web.address(version), 2222 + version, 0.3)
    record = switch.wait_log(kind="denied", destination_transport_port=2222 + version)[0]
    assert (record["policy"], record["rule"]) == ("baseline", "app->web")


def test_silent_rules_write_nothing(site, version):
    switch, web, app, db = site
    with TcpServer(app, 81), UdpServer(app, 53):
        web.connect(app.address(version), 81).close()
        assert not app.can_connect(db.address(version), 3333, 0.3)
        # A record that is written after them, to know when to look.
        assert web.can_ask(app.address(version), 53)
        switch.wait_log(kind="start", source_address=web.address(version), destination_transport_port=53)
        time.sleep(0.3)
    assert not switch.log(destination_transport_port=81)
    assert not switch.log(destination_transport_port=3333)


def test_ping_is_logged_with_its_type(site):
    switch, web, app, _ = site
    assert web.ping(app.ipv4, 2) == 2
    record = switch.wait_log(kind="start", protocol="icmp")[0]
    assert (record["icmp_type"], record["icmp_code"], record["rule"]) == (8, 0, "ping")


def test_denials_are_capped_and_the_suppressed_are_counted(site):
    """A scan does not fill the log, and yet no denial is lost from the count."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    switch, web, _, db = site
    before = switch.log(kind="denied", rule="no-db")
    drops = switch.drops()["policy"]
    total = 3000
    switch.send(web, *[Ether(src=web.mac, dst=db.mac) / IP(src=web.ipv4, dst=db.ipv4) / UDP(sport=5, dport=port)
                       for port in range(10000, 10000 + total)])
    assert switch.drops()["policy"] >= drops + total

    def told():
        rows = switch.log(kind="denied", rule="no-db")[len(before):]
        return sum(1 + row["suppressed"] for row in rows), len(rows)

    def complete():
        web.packets.send(Ether(src=web.mac, dst=db.mac) / IP(src=web.ipv4, dst=db.ipv4) / UDP(sport=5, dport=9))
        return told()[0] >= total and told()

    _, records = wait_for(complete, 20, "a record that counts the suppressed ones", interval=0.5)
    assert records < total / 2


def test_command_shows_what_the_files_hold(site):
    switch, web, app, db = site
    assert not web.can_connect(db.ipv4, 4444, 0.3)
    switch.wait_log(kind="denied", destination_transport_port=4444)
    rows = switch.json_lines("log", "list", "--verdict", "denied", "--zone", "db")
    assert any("no-db" in str(row) and row["destination_transport_port"] == 4444 for row in rows)
    assert not any(row["destination_transport_port"] == 4444
                   for row in switch.json_lines("log", "list", "--verdict", "allowed"))
    assert any("no-db" in str(row) for row in switch.json("log", "summary"))
    table = switch.cordon("log", "list")
    assert "no-db" in table and "web-to-app" in table


def test_follow_shows_records_as_they_come(site, tmp_path):
    switch, web, _, db = site
    output = tmp_path / "follow"
    with open(output, "wb") as file:
        follower = subprocess.Popen([__import__("cordon").CORDON, "log", "follow", "--json"], stdout=file,
                                    env=switch.environment())
    try:
        def seen():
            web.can_connect(db.ipv4, 5555, 0.2)
            return "5555" in output.read_text()

        wait_for(seen, 20, "the record in `cordon log follow`")
    finally:
        follower.terminate()
        follower.wait(20)


# --- When it cannot be written -------------------------------------------------------------------------------------


def test_unwritable_log_directory_costs_time_and_no_packet(new_switch):
    """The store's directory is a file.  Traffic passes; once it is a directory again, the records are all there."""
    switch = new_switch("unwritable", up=False)
    os.makedirs(switch.state)
    blocker = os.path.join(switch.state, "log")
    with open(blocker, "w", encoding="ascii"):
        pass
    switch.up()
    web, app, _ = prepare(switch)
    with TcpServer(app, 80):
        for _ in range(5):
            assert web.can_connect(app.ipv4, 80)
        status = wait_for(lambda: switch.status()["log"]["error"], 20, "the status says what is wrong")
        assert blocker in status, "and where"
        sink, = switch.json("sink", "list")
        assert sink["state"] == "error" and sink["lost"] == 0
        wait_for(lambda: switch.json("sink", "show", "default")["waiting"] >= 5, 20, "records that wait")
        os.unlink(blocker)
        assert wait_for(lambda: len(switch.log(kind="start", rule="web-to-app")) == 5, 40, "the records")
        assert not switch.log(kind="gap") and switch.status()["log"]["lost"] == 0
        assert wait_for(lambda: switch.json("sink", "show", "default")["state"] == "ok", 20, "all is well")


def test_full_disk_costs_records_and_no_packet(new_switch):
    switch = new_switch("full", up=False)
    log = os.path.join(switch.state, "log")
    os.makedirs(log)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "cordon-test", log], check=True)
    switch.on_close(lambda: subprocess.run(["umount", "-l", log], check=False))
    with open(os.path.join(log, "ballast"), "wb") as file:
        file.write(b"x" * (60 << 10))
    switch.up()
    switch.cordon("sink", "set", "default", "backlog-bytes=1048576")
    web, app, _ = prepare(switch)

    def empty_table():
        switch.cordon("conn", "flush", "--all")
        wait_for(lambda: switch.status()["connections"]["count"] == 0, 20, "an empty table")

    with UdpServer(app, 53):
        def lost():
            for port in range(20000, 20300):
                assert web.can_ask(app.ipv4, 53, source_port=port)
            empty_table()
            return switch.status()["log"]["lost"]

        wait_for(lost, 120, "records lost to the full disk", interval=0)
        assert web.can_ask(app.ipv4, 53), "packets go on"
        # Room again: what was lost is told.
        subprocess.run(["mount", "-o", "remount,size=16m", log], check=True)

        def gap():
            assert web.can_ask(app.ipv4, 53)
            empty_table()
            return switch.log(kind="gap")

        assert wait_for(gap, 20, "the gap record", interval=0.5)[0]["packets_forward"] > 0
