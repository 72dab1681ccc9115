# SPDX-License-Identifier: Apache-2.0
"""The connection table: what ends connections, and what happens when there is no room for more.

    client .1      server .2
      |               |
    --+---------------+--  network lan, VLAN 10; a table of 1024 connections
"""

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

import cordon
from cordon import wait_for
from database import transact
from host import TcpServer, UdpServer

POLICY = """\
zones:
  client: {match: "zone=client"}
  server: {match: "zone=server"}
policies:
  - id: p
    mode: enforce
    rules:
      - {id: all, from: client, to: server, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

CAPACITY = 1024


class Site:
    pass


@pytest.fixture(scope="module")
def site():
    one = Site()
    one.switch = cordon.Switch("table")
    try:
        one.switch.up("--max-connections", CAPACITY)
        one.switch.add_network()
        one.switch.policy(POLICY)
        one.client = one.switch.host("client", 1)
        one.server = one.switch.host("server", 2)
        yield one
    finally:
        one.switch.close()


def setting(site, key, value):
    """As docs/operations.md has it; it is in force."""
    mutations = [["other_config", "delete", ["set", [key]]], ["other_config", "insert", ["map", [[key, str(value)]]]]]
    answer = transact(site.switch, {"op": "mutate", "table": "Host", "where": [], "mutations": mutations})
    assert answer == [{"count": 1}]
    site.switch.wait_in_force()


def flush(site):
    site.switch.cordon("conn", "flush", "--all")
    # Hosts that still hold the other end of one may try again meanwhile.
    wait_for(lambda: site.switch.status()["connections"]["count"] < 20, 20, "an empty table")


def test_idle_connections_end_by_their_timeouts(site, version):
    for key in ("timeout-udp", "timeout-icmp", "timeout-tcp-established"):
        setting(site, key, 2)
    try:
        with UdpServer(site.server, 53), TcpServer(site.server, 80):
            assert site.client.can_ask(site.server.address(version), 53, source_port=4000 + version)
            assert site.client.ping(site.server.address(version)) == 1
            connection = site.client.connect(site.server.address(version), 80)
            port = connection.getsockname()[1]
            wait_for(lambda: not site.switch.connections(source=site.client.address(version)), 20, "their end")
            ends = site.switch.wait_log(kind="end", source_transport_port=4000 + version)
            assert ends[-1]["reason"] == "timeout"
            assert site.switch.wait_log(kind="end", source_transport_port=port)[-1]["reason"] == "timeout"
            connection.close()
    finally:
        for key, value in (("timeout-udp", 300), ("timeout-icmp", 60), ("timeout-tcp-established", 7440)):
            setting(site, key, value)


def test_unanswered_connection_ends_sooner_than_an_answered_one(site):
    flush(site)
    try:
        with UdpServer(site.server, 53):
            assert site.client.can_ask(site.server.ipv4, 53, source_port=4100)
            setting(site, "timeout-udp-unanswered", 1)
            # A port where nobody answers, and whose ICMP error is not waited for.
            site.client.packets.send(Ether(src=site.client.mac, dst=site.server.mac)
                                     / IP(src=site.client.ipv4, dst="10.0.0.2") / UDP(sport=4101, dport=9999) / b"x")
            wait_for(lambda: not site.switch.connections(source_port=4101), 10, "the end of the unanswered one")
            assert site.switch.connections(source_port=4100, state="ANSWERED")
            assert site.switch.wait_log(kind="end", source_transport_port=4101)[-1]["reason"] == "unanswered"
    finally:
        setting(site, "timeout-udp-unanswered", 30)


def test_full_table_refuses_new_connections_by_name_and_keeps_the_old(site):
    flush(site)
    site.client.knows(site.server)
    site.server.knows(site.client)
    # A full table lets go of what was never answered after a tenth of that.
    setting(site, "timeout-udp-unanswered", 600)
    try:
        fill_the_table(site)
    finally:
        setting(site, "timeout-udp-unanswered", 30)


def fill_the_table(site):
    with TcpServer(site.server, 80):
        connection = site.client.connect(site.server.ipv4, 80)
        connection.sendall(b"before")
        assert connection.recv(100) == b"before"
        before = site.switch.drops()
        site.switch.set_port("client", "--half-open-limit", 10 * CAPACITY)
        flood = [Ether(src=site.client.mac, dst=site.server.mac) / IP(src=site.client.ipv4, dst=site.server.ipv4)
                 / UDP(sport=10000 + i, dport=7) for i in range(2 * CAPACITY)]

        def refused():
            """Once more, as long as no room is left for some: a switch that stands still loses what comes meanwhile."""
            site.client.packets.send(*flood)
            return site.switch.drops()["table-full"] > before["table-full"]

        wait_for(refused, 20, "a refusal")
        assert site.switch.status()["connections"]["count"] <= CAPACITY
        with pytest.raises(OSError):
            site.client.connect(site.server.ipv4, 80, 0.3)
        connection.sendall(b"after")
        assert connection.recv(100) == b"after", "an established connection goes on"
        assert site.switch.wait_log(kind="limit", reason="table-full")
        flush(site)
        assert site.client.can_connect(site.server.ipv4, 80), "room again"
        connection.close()


def test_scan_of_denied_ports_leaves_room(site):
    """Denied connections are remembered for a moment only, and never keep allowed ones out for longer."""
    flush(site)
    site.server.packets.send(*[Ether(src=site.server.mac, dst=site.client.mac)
                               / IP(src=site.server.ipv4, dst=site.client.ipv4) / UDP(sport=5, dport=port)
                               for port in range(20000, 20000 + 3 * CAPACITY)])
    with TcpServer(site.server, 80):
        wait_for(lambda: site.client.can_connect(site.server.ipv4, 80, 0.3), 30, "room for an allowed connection")
