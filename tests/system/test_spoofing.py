# SPDX-License-Identifier: Apache-2.0
"""A vNIC may speak only for itself: its MAC, its addresses, in ARP and in neighbour discovery too.

    liar .1       victim .2      peer .3        outside .9 (uplink)
      |             |              |               |
    --+-------------+--------------+---------------+--  network lan, VLAN 10; all of one zone

Every frame of the table is sent by `liar` (or by `outside`) and must reach nobody, be counted under its name, and be
written to the log as spoofed.
"""

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_Redirect, ICMPv6NDOptDstLLAddr,
                                ICMPv6NDOptSrcLLAddr, IPv6)
from scapy.layers.l2 import ARP, Dot1Q, Ether

from cordon import wait_for

POLICY = """\
zones:
  all: {match: "zone=all"}
  internet: {cidrs: [0.0.0.0/0, "::/0"]}
policies:
  - id: open
    mode: enforce
    rules:
      - {id: in, from: internet, to: all, action: allow}
      - {id: out, from: all, to: internet, action: allow}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

MARK = b"spoofing-story"


class Site:
    pass


@pytest.fixture(scope="module")
def site(shared):
    one = Site()
    one.switch = shared
    shared.add_network()
    shared.policy(POLICY)
    for name, number in (("liar", 1), ("victim", 2), ("peer", 3)):
        setattr(one, name, shared.host(name, number, zone="all"))
    one.outside = shared.uplink("outside", 9)
    for host in (one.liar, one.victim, one.peer, one.outside):
        host.packets.drain()
    return one


def udp(source, target, mac=None, **addresses):
    """A datagram from `source` to `target`, but for what is given otherwise."""
    version = 6 if "src6" in addresses else 4
    if version == 6:
        ip = IPv6(src=addresses["src6"], dst=target.ipv6)
    else:
        ip = IP(src=addresses.get("src", source.ipv4), dst=target.ipv4)
    return Ether(src=mac or source.mac, dst=target.mac) / ip / UDP(sport=1000, dport=2000) / MARK


def arp(site, **fields):
    values = {"op": 2, "hwsrc": site.liar.mac, "psrc": site.liar.ipv4, "hwdst": site.peer.mac, "pdst": site.peer.ipv4}
    values.update(fields)
    return Ether(src=site.liar.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(**values)


def nd(site, message, source=None, mac=None):
    return Ether(src=mac or site.liar.mac, dst=site.peer.mac) / IPv6(src=source or site.liar.ipv6,
                                                                   dst=site.peer.ipv6, hlim=255) / message


FROM_THE_VNIC = [
    ("mac", "spoofed-mac", lambda s: udp(s.liar, s.peer, mac="02:00:00:00:00:77")),
    ("mac-of-the-victim", "spoofed-mac", lambda s: udp(s.liar, s.peer, mac=s.victim.mac)),
    ("ipv4-of-the-victim", "spoofed-address", lambda s: udp(s.liar, s.peer, src=s.victim.ipv4)),
    ("ipv4-of-nobody", "spoofed-address", lambda s: udp(s.liar, s.peer, src="192.0.2.1")),
    ("ipv6-of-the-victim", "spoofed-address", lambda s: udp(s.liar, s.peer, src6=s.victim.ipv6)),
    ("ipv6-of-nobody", "spoofed-address", lambda s: udp(s.liar, s.peer, src6="2001:db8::1")),
    ("ipv6-link-local-of-the-victim", "spoofed-address", lambda s: udp(s.liar, s.peer, src6="fe80::ff:fe00:2")),
    ("arp-reply-for-the-victim", "spoofed-arp", lambda s: arp(s, psrc=s.victim.ipv4)),
    ("arp-request-for-the-victim", "spoofed-arp", lambda s: arp(s, op=1, psrc=s.victim.ipv4)),
    ("gratuitous-arp", "spoofed-arp", lambda s: arp(s, op=1, psrc=s.victim.ipv4, pdst=s.victim.ipv4)),
    ("arp-with-another-mac", "spoofed-arp", lambda s: arp(s, hwsrc=s.victim.mac)),
    ("arp-probe-for-the-victim", "spoofed-arp", lambda s: arp(s, op=1, psrc="0.0.0.0", pdst=s.victim.ipv4)),
    ("nd-advertisement-for-the-victim", "spoofed-nd",
     lambda s: nd(s, ICMPv6ND_NA(tgt=s.victim.ipv6, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=s.liar.mac))),
    ("nd-advertisement-with-another-mac", "spoofed-nd",
     lambda s: nd(s, ICMPv6ND_NA(tgt=s.liar.ipv6, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=s.victim.mac))),
    ("nd-solicitation-with-another-mac", "spoofed-nd",
     lambda s: nd(s, ICMPv6ND_NS(tgt=s.peer.ipv6) / ICMPv6NDOptSrcLLAddr(lladdr=s.victim.mac))),
    ("router-advertisement", "router-advertisement",
     lambda s: nd(s, ICMPv6ND_RA() / ICMPv6NDOptSrcLLAddr(lladdr=s.liar.mac), source="fe80::ff:fe00:1")),
    ("nd-redirect", "spoofed-nd", lambda s: nd(s, ICMPv6ND_Redirect(tgt=s.liar.ipv6, dst=s.victim.ipv6))),
    ("icmp-redirect", "spoofed-nd",
     lambda s: Ether(src=s.liar.mac, dst=s.peer.mac) / IP(src=s.liar.ipv4, dst=s.peer.ipv4)
     / ICMP(type=5, code=1, gw=s.liar.ipv4) / IP(src=s.peer.ipv4, dst="192.0.2.1") / UDP(sport=1, dport=2)),
    ("tagged-frame-on-an-access-port", "vlan-not-allowed",
     lambda s: Ether(src=s.liar.mac, dst=s.peer.mac) / Dot1Q(vlan=10) / IP(src=s.liar.ipv4, dst=s.peer.ipv4)
     / UDP(sport=1000, dport=2000) / MARK),
]


@pytest.mark.parametrize("reason, make", [row[1:] for row in FROM_THE_VNIC], ids=[row[0] for row in FROM_THE_VNIC])
def test_lie_is_dropped_by_name_and_reaches_nobody(site, reason, make):
    frame = make(site)
    raw = bytes(frame)
    before = site.switch.drops()[reason]
    site.peer.packets.drain()
    site.liar.packets.send(frame)
    wait_for(lambda: site.switch.drops()[reason] >= before + 1, 20, f"a drop for {reason}")
    assert site.switch.drops()[reason] == before + 1
    assert not site.peer.packets.receive(lambda f: bytes(f)[: len(raw)] == raw, 0.15)


def test_lies_are_written_to_the_log(site):
    for _ in range(3):
        site.liar.packets.send(udp(site.liar, site.peer, src=site.victim.ipv4))
    rows = site.switch.wait_log(kind="spoofed", reason="spoofed-address", source_address=site.victim.ipv4)
    record = rows[-1]
    assert record["source_port"] == "liar", "the vNIC that spoke, whatever it said"
    assert record["source_vm_name"] == "liar"


def test_truth_passes(site, version):
    assert site.liar.ping(site.peer.address(version), 2) == 2


def test_outside_may_not_speak_for_a_vnic(site):
    for make in (lambda: udp(site.outside, site.peer, src=site.victim.ipv4),
                 lambda: udp(site.outside, site.peer, src6=site.victim.ipv6)):
        before = site.switch.drops()["spoofed-address"]
        site.outside.packets.send(make())
        wait_for(lambda: site.switch.drops()["spoofed-address"] == before + 1, 20, "the drop")


def test_outside_may_not_take_the_mac_of_a_vnic(site):
    before = site.switch.drops()["spoofed-mac"]
    site.outside.packets.send(udp(site.outside, site.peer, mac=site.victim.mac))
    wait_for(lambda: site.switch.drops()["spoofed-mac"] == before + 1, 20, "the drop")
    assert site.peer.ping(site.victim.ipv4) == 1, "the victim's frames still find it"


def test_outside_may_come_from_any_other_address(site):
    site.peer.packets.drain()
    site.outside.packets.send(udp(site.outside, site.peer, src="203.0.113.5"))
    assert site.peer.packets.receive(lambda f: UDP in f and f[IP].src == "203.0.113.5")


def test_spoof_guard_can_be_switched_off_for_one_vnic(site):
    site.switch.cordon("port", "set", "liar", "--spoof-guard", "off")
    try:
        def passes():
            site.liar.packets.send(udp(site.liar, site.peer, src="192.0.2.77"))
            return site.peer.packets.receive(lambda f: UDP in f and f[IP].src == "192.0.2.77", 0.3)

        wait_for(passes, 20, "a frame from another address")
    finally:
        site.switch.cordon("port", "set", "liar", "--spoof-guard", "on")
