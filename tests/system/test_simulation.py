# SPDX-License-Identifier: Apache-2.0
"""Policies under simulation: they drop nothing, and the log says what they would have done.

    web .1        app .2        db .3
      |             |             |
    --+-------------+-------------+--  network lan, VLAN 10
"""

import contextlib
import fcntl
import os
import pty
import socket
import struct
import subprocess
import termios
import time

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from cordon import CORDON, wait_for
from host import Packets, TcpServer, UdpServer

POLICY = """\
zones:
  web: {match: "zone=web"}
  app: {match: "zone=app"}
  db: {match: "zone=db"}
policies:
  - id: shop
    rules:
      - {id: echo, from: web, to: app, service: udp/7, action: allow, log: session}
      - {id: browse, from: web, to: app, service: tcp/80, action: allow, log: none}
      - {id: other, from: web, to: app, service: udp/9, action: allow, log: session}
      - {id: news, from: web, to: app, service: udp/5000, action: allow}
      - {id: no-db, from: web, to: db, service: udp/7, action: deny}
"""

AUDIT = """\
  - id: audit
    tier: emergency
    mode: simulate
    rules:
      - {id: no-echo, from: web, to: app, service: udp/7, action: deny}
      - {id: no-browsing, from: web, to: app, service: tcp/80, action: reject}
      - {id: no-news, from: web, to: app, service: udp/5000, action: deny}
      - {id: open-db, from: web, to: db, service: udp/7, action: allow}
      - {id: unlogged, from: web, to: app, service: udp/11, action: deny, log: none}
"""

BASELINE = "baseline: {between_zones: deny, within_zone: allow, log: denied}\n"


def simulated(row):
    return row["simulated_verdict"], row["simulated_policy"], row["simulated_rule"]


def on_terminal(switch, columns, *words):
    """What a command prints on a terminal of that width, line by line."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(primary, "rb", 0) as terminal:
        with subprocess.Popen([CORDON, *words, "--color", "never"], stdout=secondary, env=switch.environment()):
            os.close(secondary)
            text = b""
            with contextlib.suppress(OSError):  # The end of a terminal.
                while part := terminal.read(65536):
                    text += part
    return text.decode().replace("\r", "").rstrip("\n").split("\n")


@pytest.fixture
def site(switch):
    switch.add_network()
    switch.policy(POLICY + BASELINE)
    hosts = [switch.host(name, number) for number, name in enumerate(("web", "app", "db"), 1)]
    for one in hosts:
        for other in hosts:
            if one is not other:
                one.knows(other)
    with UdpServer(hosts[1], 7), UdpServer(hosts[1], 9), TcpServer(hosts[1], 80):
        yield switch, *hosts


def test_new_connections_pass_and_are_noted(site, version):
    switch, web, app, db = site
    switch.policy(POLICY + AUDIT + BASELINE)
    before = switch.drops()
    assert web.can_ask(app.address(version), 7), "nothing is dropped by a simulation"
    assert web.can_ask(app.address(version), 9)
    assert web.can_connect(app.address(version), 80)
    assert not web.can_ask(db.address(version), 7, seconds=0.3), "nor allowed by it"
    wait_for(lambda: switch.drops()["policy"] == before["policy"] + 1, what="what the policy denies")
    assert switch.drops()["rejected"] == before["rejected"]

    start = switch.wait_log(kind="start", rule="echo")[0]
    assert (start["verdict"], *simulated(start)) == ("allowed", "denied", "audit", "no-echo")
    other = switch.wait_log(kind="start", rule="other")[0]
    assert simulated(other) == ("allowed", "shop", "other"), "what would not change is said as well"
    denied = switch.wait_log(kind="denied", rule="no-db")[0]
    assert (denied["verdict"], *simulated(denied)) == ("denied", "allowed", "audit", "open-db")
    would = {row["simulated_rule"]: row for row in switch.wait_log(count=2, kind="would-deny")}
    assert set(would) == {"no-echo", "no-browsing"}, "also of a rule that logs nothing of its own"
    browsing = would["no-browsing"]
    assert (browsing["verdict"], browsing["policy"], browsing["rule"]) == ("allowed", "shop", "browse")
    assert (browsing["simulated_verdict"], browsing["reason"]) == ("rejected", "rejected")
    assert (browsing["source_zone"], browsing["destination_zone"]) == ("web", "app")
    assert browsing["source_vm_name"] == "web" and browsing["destination_transport_port"] == 80
    assert browsing["destination_address"] == app.address(version)

    switch.cordon("conn", "flush", "--all")
    end = switch.wait_log(kind="end", rule="echo")[0]
    assert simulated(end) == ("denied", "audit", "no-echo")
    assert len(switch.log(kind="would-deny")) == 2


def test_live_connections_are_told_of_soon_and_once(site, version):
    switch, web, app, _ = site
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(web.connect(app.address(version), 80))
        idle = stack.enter_context(web.socket(family, socket.SOCK_DGRAM))
        idle.settimeout(10)
        idle.sendto(b"x", (app.address(version), 7))
        assert idle.recv(10) == b"x"
        assert not switch.log(kind="would-deny")
        switch.policy(POLICY + AUDIT + BASELINE)
        tcp.sendall(b"a")  # One has a packet, the other is found by the sweep.
        assert tcp.recv(10) == b"a"
        rows = switch.wait_log(count=2, kind="would-deny", seconds=10)
        assert {row["simulated_rule"] for row in rows} == {"no-echo", "no-browsing"}
        assert {row["policy_revision"] for row in rows} == {2}
        for _ in range(5):
            tcp.sendall(b"b")
            assert tcp.recv(10) == b"b"
            idle.sendto(b"y", (app.address(version), 7))
            assert idle.recv(10) == b"y"
            time.sleep(0.5)
        switch.kill("cordon-switchd")
        switch.up()
        tcp.sendall(b"c")
        assert tcp.recv(10) == b"c"
        time.sleep(2)
        assert len(switch.log(kind="would-deny")) == 2, "once for each connection and revision"
        switch.policy(POLICY + AUDIT + BASELINE + "# again\n")
        rows = switch.wait_log(count=4, kind="would-deny", seconds=10)
        assert sorted(row["policy_revision"] for row in rows) == [2, 2, 3, 3]
        tcp.sendall(b"d")
        assert tcp.recv(10) == b"d", "they live"


def test_what_would_change_in_one_command(site):
    switch, web, app, db = site
    switch.policy(POLICY + AUDIT + BASELINE)
    for port in range(20000, 20003):  # The kernel might give one out again.
        assert web.can_ask(app.ipv4, 7, source_port=port)
        assert web.can_ask(app.ipv4, 9, source_port=port)
    assert web.can_connect(app.ipv4, 80)
    web.can_ask(db.ipv4, 7, seconds=0.3)
    switch.wait_log(count=4, kind="would-deny")
    switch.wait_log(kind="denied")
    rows = {row["simulated_rule"]: row for row in switch.json("log", "simulated")}
    assert {name: (row["verdict"], row["simulated_verdict"], row["times"]) for name, row in rows.items()} == {
        "no-echo": ("allowed", "denied", 3),
        "no-browsing": ("allowed", "rejected", 1),
        "open-db": ("denied", "allowed", 1),
    }
    table = switch.cordon("log", "simulated")
    assert table.split("\n")[0].split("  ")[0] == "ZONES" and "WOULD BE" in table and "audit/no-echo" in table
    listed = switch.json_lines("log", "list", "--simulated", "rejected")
    assert {(row["kind"], row["simulated_rule"]) for row in listed} == {("would-deny", "no-browsing")}
    assert {row["rule"] for row in switch.json_lines("log", "list", "--simulated", "allowed")} == {"other", "no-db"}
    assert "would be denied by audit/no-echo" in switch.cordon("log", "list", "--kind", "would-deny")
    # An ordinary summary counts each connection once.
    ordinary = {row["rule"]: row["connections"] for row in switch.json("log", "summary")}
    assert ordinary["echo"] == 3


def test_without_simulation_nothing_is_said(site):
    switch, web, app, _ = site
    assert web.can_ask(app.ipv4, 7)
    start = switch.wait_log(kind="start")[0]
    assert simulated(start) == ("", "", "")
    assert switch.json("log", "simulated") == []
    switch.policy(POLICY + AUDIT.replace("mode: simulate", "mode: \"off\"") + BASELINE)
    assert web.can_ask(app.ipv4, 7)
    assert simulated(switch.wait_log(count=2, kind="start")[-1]) == ("", "", "")
    assert not switch.log(kind="would-deny")


def test_a_rule_that_would_log_nothing_is_silent(site):
    switch, web, app, _ = site
    switch.policy(POLICY.replace("udp/9", "udp/9-11") + AUDIT + BASELINE)
    assert not web.can_ask(app.ipv4, 11, seconds=0.3)
    assert simulated(switch.wait_log(kind="start", destination_transport_port=11)[0]) == ("denied", "audit", "unlogged")
    time.sleep(0.5)
    assert not switch.log(kind="would-deny")


def test_many_are_capped_and_counted(site):
    switch, web, app, _ = site
    switch.policy(POLICY + AUDIT + BASELINE)
    switch.send(web, *[Ether(src=web.mac, dst=app.mac) / IP(src=web.ipv4, dst=app.ipv4) / UDP(sport=port, dport=7) / b"x"
                       for port in range(20000, 20060)])

    def told():
        rows = switch.log(kind="would-deny")
        return sum((row["packets_forward"] > 0) + row["suppressed"] for row in rows), len(rows)
    wait_for(lambda: told()[0] >= 60, 20, "all of them counted")
    total, n = told()
    assert total == 60 and n < 60
    assert {row["simulated_rule"] for row in switch.log(kind="would-deny")} == {"no-echo"}
    rows = switch.json("log", "simulated")
    assert {row["simulated_rule"] for row in rows} == {"no-echo"} and sum(row["times"] for row in rows) == 60


def test_frames_to_groups_are_noted(site, version):
    """They make no connections; the record is of the first port that they would not reach."""
    switch, web, app, _ = site
    switch.policy(POLICY + AUDIT + BASELINE)
    if version == 4:
        group = Ether(src=web.mac, dst="01:00:5e:01:01:01") / IP(src=web.ipv4, dst="239.1.1.1")
    else:
        group = Ether(src=web.mac, dst="33:33:00:00:00:99") / IPv6(src=web.ipv6, dst="ff05::99")
    frame = group / UDP(sport=5000, dport=5000) / b"news"
    with contextlib.closing(Packets(app)) as heard, contextlib.closing(Packets(web)) as sender:
        sender.send(frame)
        heard.receive(lambda one: UDP in one and one[UDP].dport == 5000)
    row = switch.wait_log(kind="would-deny")[0]
    assert (row["verdict"], row["policy"], row["rule"]) == ("allowed", "shop", "news")
    assert simulated(row) == ("denied", "audit", "no-news")
    assert (row["source_vm_name"], row["destination_vm_name"]) == ("web", "app")
    assert (row["source_zone"], row["destination_zone"]) == ("web", "app")


def test_what_moves_into_a_zone_is_noted(site, version):
    """Not the policy changes, but who is where."""
    switch, web, app, db = site
    document = (POLICY + AUDIT + BASELINE).replace('db: {match', 'dmz: {match: "zone=dmz"}\n  db: {match').replace(
        "      - {id: other", "      - {id: from-dmz, from: dmz, to: app, service: udp/7, action: allow, log: session}\n"
        "      - {id: other")
    switch.cordon("port", "set", "web", "--tag", "zone=dmz")
    switch.policy(document)
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with web.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(b"x", (app.address(version), 7))
        assert client.recv(10) == b"x"
        assert simulated(switch.wait_log(kind="start", rule="from-dmz")[0]) == ("allowed", "shop", "from-dmz")
        assert not switch.log(kind="would-deny")
        switch.cordon("port", "set", "web", "--tag", "zone=web")
        row = switch.wait_log(kind="would-deny", seconds=10)[0]
        assert (row["source_zone"], *simulated(row)) == ("web", "denied", "audit", "no-echo")
        client.sendto(b"y", (app.address(version), 7))
        assert client.recv(10) == b"y"
        time.sleep(1)
        assert len(switch.log(kind="would-deny")) == 1


def test_what_is_held_back_would_be_rejected_if_that_is_the_rule(site):
    switch, web, app, _ = site
    switch.policy(POLICY + AUDIT + BASELINE)

    # At once: within a second, more than are told.
    switch.send(web, *[Ether(src=web.mac, dst=app.mac) / IP(src=web.ipv4, dst=app.ipv4) / TCP(sport=port, dport=80, flags="S")
                       for port in range(20000, 20060)])
    row = wait_for(lambda: [row for row in switch.log(kind="would-deny") if not row["packets_forward"]],
                   what="a record of what was held back")[0]
    assert simulated(row) == ("rejected", "audit", "no-browsing") and row["suppressed"]
    assert (row["verdict"], row["policy"], row["rule"], row["source_zone"]) == ("allowed", "", "", "")
    assert {one["simulated_verdict"] for one in switch.json("log", "simulated")} == {"rejected"}
    found = switch.json_lines("log", "list", "--rule", "audit/no-browsing", "--limit", "0")
    assert {one["kind"] for one in found} == {"would-deny"} and row["sequence"] in {one["sequence"] for one in found}


def test_dhcp_is_not_for_simulated_rules_to_say(site):
    """What no rule decides, no rule under simulation is asked about."""
    switch, web, _, _ = site
    switch.cordon("port", "set", "app", "--serves", "dhcp")
    switch.policy(POLICY + AUDIT.replace("from: web, to: app, service: udp/11", "from: web, to: any, service: udp/67")
                  .replace(", log: none", "") + BASELINE)
    with contextlib.closing(Packets(web)) as sender:
        sender.send(Ether(src=web.mac, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
                    / UDP(sport=68, dport=67) / (b"\x01\x01\x06" + b"\0" * 297))
    assert web.can_ask(site[2].ipv4, 7)
    assert [row["simulated_rule"] for row in switch.wait_log(kind="would-deny")] == ["no-echo"]


def test_the_table_fits_a_terminal(site):
    switch, web, app, _ = site
    switch.policy(POLICY + AUDIT + BASELINE)
    assert web.can_ask(app.ipv4, 7) and web.can_connect(app.ipv4, 80)
    switch.wait_log(count=2, kind="would-deny")
    for words in (("log", "simulated"), ("log", "list"), ("log", "list", "--kind", "would-deny")):
        lines = on_terminal(switch, 80, *words)
        assert len(lines) >= 3 and max(map(len, lines)) <= 80, lines
        assert words == ("log", "list") or any("denied" in line and "audit/no-echo" in line for line in lines), lines
