# SPDX-License-Identifier: Apache-2.0
"""Datagrams in fragments: they belong to the connection of their first fragment.

    a .1        b .2
      |           |
    --+-----------+--  network lan, VLAN 10
"""

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Ether

from cordon import wait_for
from host import UdpServer

POLICY = """\
zones:
  a: {match: "zone=a"}
  b: {match: "zone=b"}
policies:
  - id: allowed
    mode: enforce
    rules:
      - {id: udp, from: a, to: b, service: udp/5353, action: allow}
      - {id: ping, from: a, to: b, service: icmp/8, action: allow}
      - {id: ping6, from: a, to: b, service: icmpv6/128, action: allow}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


@pytest.fixture(scope="module")
def site(shared):
    shared.add_network()
    shared.policy(POLICY)
    a, b = shared.host("a", 1), shared.host("b", 2)
    return shared, a, b


def test_large_ping(site, version):
    switch, a, b = site
    assert a.ping(b.address(version), 3, size=4000) == 3


def test_large_datagram_both_ways(site, version):
    _, a, b = site
    with UdpServer(b, 5353):
        assert a.can_ask(b.address(version), 5353, 2, payload=bytes(range(256)) * 30)


def test_large_datagram_to_a_denied_port_is_denied_whole(site, version):
    switch, a, b = site
    before = switch.drops()
    with UdpServer(b, 5354) as server:
        assert not a.can_ask(b.address(version), 5354, 0.5, payload=b"x" * 5000)
        assert server.received == 0
    after = switch.drops()
    assert after["policy"] > before["policy"], "its first fragment"
    assert sum(after.values()) - sum(before.values()) >= 4, "and the others with it"


def test_other_fragments_before_the_first_are_dropped_by_name(site):
    switch, a, b = site
    whole = IP(src=a.ipv4, dst=b.ipv4, id=4242) / UDP(sport=1, dport=5353) / (b"x" * 3000)
    parts = fragment(whole, fragsize=1000)
    before = switch.drops()["fragment-no-first"]
    a.packets.send(*[Ether(src=a.mac, dst=b.mac) / part for part in parts[1:]])
    wait_for(lambda: switch.drops()["fragment-no-first"] == before + len(parts) - 1, 5, "the drops")


def test_fragment_of_an_allowed_datagram_opens_nothing_else(site):
    """A first fragment that is allowed lets its own datagram pass, not one of another id."""
    switch, a, b = site
    whole = IP(src=a.ipv4, dst=b.ipv4, id=1111) / UDP(sport=1, dport=5353) / (b"y" * 2000)
    parts = fragment(whole, fragsize=1000)
    foreign = parts[1].copy()
    foreign.id = 2222
    foreign.chksum = None
    before = switch.drops()["fragment-no-first"]
    b.packets.drain()
    a.packets.send(*[Ether(src=a.mac, dst=b.mac) / part for part in (parts[0], parts[1], foreign)])
    assert len(b.packets.receive(lambda f: IP in f and f[IP].id == 1111, 2, count=2)) == 2
    wait_for(lambda: switch.drops()["fragment-no-first"] == before + 1, 5, "the drop")


def test_fragment_that_would_overwrite_the_ports_is_dropped_by_name(site):
    """Its first fragment is allowed; the second one lies upon it (RFC 1858)."""
    switch, a, b = site
    parts = fragment(IP(src=a.ipv4, dst=b.ipv4, id=3333) / UDP(sport=1, dport=5353) / (b"z" * 2000), fragsize=1000)
    parts[1].frag = 1
    parts[1].chksum = None
    before = switch.drops()["fragment-overlap"]
    a.packets.send(*[Ether(src=a.mac, dst=b.mac) / part for part in parts[:2]])
    wait_for(lambda: switch.drops()["fragment-overlap"] == before + 1, 5, "the drop")
