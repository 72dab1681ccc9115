# SPDX-License-Identifier: Apache-2.0
"""Every malformation has a name.  Each frame of the table is sent by `sender`; it must reach nobody and be counted
under its name, and the switch must go on.

    sender .1      receiver .2
      |               |
    --+---------------+--  network lan, VLAN 10; one zone
"""

import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit

from cordon import wait_for

POLICY = """\
zones:
  all: {match: "zone=all"}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


class Site:
    pass


def host_with_a_silent_address(switch, name, number):
    """Its number and 100 more: the vNIC's too, but unknown to the host's own IP stack, so that nobody but a test
    answers at it."""
    own = [f"10.0.0.{number}", f"fd00::{number}", f"10.0.0.{100 + number}", f"fd00::{100 + number}"]
    host = switch.host(name, number, zone="all", port_options={"address": ",".join(own)})
    host.silent = {4: own[2], 6: own[3]}
    return host


@pytest.fixture(scope="module")
def site(shared):
    one = Site()
    one.switch = shared
    shared.add_network()
    shared.policy(POLICY)
    one.sender = host_with_a_silent_address(shared, "sender", 1)
    one.receiver = host_with_a_silent_address(shared, "receiver", 2)
    return one


def ether(site):
    return Ether(src=site.sender.mac, dst=site.receiver.mac)


def ip4(site, **fields):
    return ether(site) / IP(src=site.sender.ipv4, dst=site.receiver.ipv4, **fields)


def ip6(site, **fields):
    return ether(site) / IPv6(src=site.sender.ipv6, dst=site.receiver.ipv6, **fields)


def cut(frame, n):
    """The frame without its last bytes."""
    return bytes(frame)[:-n]


def patched(frame, offset, value):
    raw = bytearray(bytes(frame))
    raw[offset: offset + len(value)] = value
    return bytes(raw)


def checksummed(frame):
    """Fills in the IPv4 header's checksum again."""
    raw = bytearray(frame)
    n = (raw[14] & 15) * 4
    raw[24:26] = b"\0\0"
    total = sum(struct.unpack(f"!{n // 2}H", raw[14: 14 + n]))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    raw[24:26] = struct.pack("!H", ~total & 0xffff)
    return bytes(raw)


UDP_PACKET = UDP(sport=1, dport=2) / (b"x" * 32)

MALFORMED = [
    ("ethernet-source-multicast", lambda s: Ether(src="03:00:00:00:00:01", dst=s.receiver.mac) / IP() / UDP_PACKET),
    ("vlan-short", lambda s: bytes(ether(s)[Ether])[:12] + b"\x81\x00\x00"),
    ("vlan-depth", lambda s: ether(s) / Dot1Q(vlan=0) / Dot1Q(vlan=1) / Dot1Q(vlan=2) / IP() / UDP_PACKET),
    ("vlan-priority", lambda s: ether(s) / Dot1Q(vlan=0) / Dot1Q(vlan=5) / IP() / UDP_PACKET),
    ("arp-short", lambda s: cut(ether(s) / ARP(), 4)),
    ("arp-format", lambda s: patched(ether(s) / ARP(), 14, b"\0\6")),
    ("arp-sender", lambda s: ether(s) / ARP(op=2, hwsrc=s.sender.mac, psrc="224.0.0.1")),
    ("ipv4-short", lambda s: bytes(ip4(s))[:30]),
    ("ipv4-version", lambda s: patched(ip4(s) / UDP_PACKET, 14, b"\x55")),
    ("ipv4-header-length", lambda s: checksummed(patched(ip4(s) / UDP_PACKET, 14, b"\x44"))),
    ("ipv4-total-length", lambda s: ip4(s, len=2000) / UDP_PACKET),
    ("ipv4-checksum", lambda s: ip4(s, chksum=0x1234) / UDP_PACKET),
    ("ipv4-options", lambda s: ip4(s, options=[IPOption(b"\x83\x07\x04\x0a\x00\x00\x09\x00")]) / UDP_PACKET),
    ("ipv4-source", lambda s: ether(s) / IP(src="224.0.0.1", dst=s.receiver.ipv4) / UDP_PACKET),
    ("ipv4-source", lambda s: ether(s) / IP(src="127.0.0.1", dst=s.receiver.ipv4) / UDP_PACKET),
    ("ipv4-destination", lambda s: ether(s) / IP(src=s.sender.ipv4, dst="127.0.0.1") / UDP_PACKET),
    ("ipv4-destination", lambda s: ether(s) / IP(src=s.sender.ipv4, dst="0.0.0.0") / UDP_PACKET),
    ("ipv6-short", lambda s: bytes(ip6(s))[:50]),
    ("ipv6-version", lambda s: patched(ip6(s) / UDP_PACKET, 14, b"\x50")),
    ("ipv6-payload-length", lambda s: ip6(s, plen=2000) / UDP_PACKET),
    ("ipv6-jumbogram", lambda s: patched(ip6(s, nh=0) / b"\x11\0\xc2\x04\0\1\0\0" / UDP_PACKET, 18, b"\0\0")),
    ("ipv6-routing", lambda s: ip6(s, nh=43) / (b"\x11\x02\0\x01" + bytes(20)) / UDP_PACKET),
    ("ipv6-extension", lambda s: ip6(s, nh=60) / b"\x11\x08\x01\x04\0\0\0\0"),
    ("ipv6-extension-depth",
     lambda s: bytes(ip6(s, nh=60, plen=9 * 8 + 40)) + b"\x3c\0\x01\x04\0\0\0\0" * 8
     + b"\x11\0\x01\x04\0\0\0\0" + bytes(UDP_PACKET)),
    ("ipv6-source", lambda s: ether(s) / IPv6(src="ff02::1", dst=s.receiver.ipv6) / UDP_PACKET),
    ("ipv6-source", lambda s: ether(s) / IPv6(src="::1", dst=s.receiver.ipv6) / UDP_PACKET),
    ("ipv6-destination", lambda s: ether(s) / IPv6(src=s.sender.ipv6, dst="::1") / UDP_PACKET),
    ("tcp-short", lambda s: ip4(s, proto=6, len=32) / bytes(TCP())[:12]),
    ("tcp-short", lambda s: ip6(s, nh=6, plen=12) / bytes(TCP())[:12]),
    ("tcp-data-offset", lambda s: ip4(s) / TCP(dport=80, flags="S", dataofs=4)),
    ("tcp-data-offset", lambda s: ip4(s) / TCP(dport=80, flags="S", dataofs=15)),
    ("tcp-flags", lambda s: ip4(s) / TCP(dport=80, flags="SF")),
    ("tcp-flags", lambda s: ip4(s) / TCP(dport=80, flags="")),
    ("tcp-flags", lambda s: ip6(s) / TCP(dport=80, flags="SR")),
    ("udp-short", lambda s: ip4(s, proto=17) / b"\0\1\0\2"),
    ("udp-length", lambda s: ip4(s) / UDP(sport=1, dport=2, len=400) / b"x"),
    ("udp-length", lambda s: ip6(s) / UDP(sport=1, dport=2, len=4) / b"x"),
    ("icmp-short", lambda s: ip4(s, proto=1) / b"\x08\0\0"),
    ("icmp-short", lambda s: ip6(s, nh=58) / b"\x80\0\0"),
    ("sctp-short", lambda s: ip4(s, proto=132) / bytes(SCTP())[:6]),
    ("tcp-checksum", lambda s: ip4(s) / TCP(sport=7, dport=80, flags="S", chksum=0x1234)),
    ("tcp-checksum", lambda s: ip6(s) / TCP(sport=7, dport=80, flags="S", chksum=0x1234)),
    ("udp-checksum", lambda s: ip4(s) / UDP(sport=7, dport=2, chksum=0x1234) / (b"x" * 31)),
    ("udp-checksum", lambda s: ip6(s) / UDP(sport=7, dport=2, chksum=0x1234) / (b"x" * 1200)),
    ("icmp-checksum", lambda s: ip4(s) / ICMP(id=7, chksum=0x1234) / b"x"),
    ("icmp-checksum", lambda s: ip6(s) / ICMPv6EchoRequest(id=7, cksum=0x1234, data=b"x")),
    ("icmp-checksum", lambda s: ip4(s) / ICMP(type=3, code=1, chksum=0x1234)
     / IP(src=s.receiver.ipv4, dst=s.sender.ipv4) / UDP(sport=77, dport=78)),
    ("sctp-checksum", lambda s: patched(ip4(s) / SCTP(sport=1, dport=9) / SCTPChunkInit(), 14 + 20 + 8, b"\1\2\3\4")),
    ("fragment-tiny", lambda s: ip4(s, proto=6, flags="MF") / b"\0\x50\0\x50\0\0\0\1"),
    ("fragment-length", lambda s: ip4(s, flags="MF", frag=10, proto=17) / (b"x" * 13)),
    ("fragment-oversize", lambda s: ip4(s, frag=8191, proto=17) / (b"x" * 64)),
    ("fragment-timeout", lambda s: ip4(s, frag=100, id=77, proto=17) / (b"x" * 64)),
    ("reserved-multicast", lambda s: Ether(src=s.sender.mac, dst="01:80:c2:00:00:00") / (b"\x42\x42\x03" + b"\0" * 43)),
    ("tcp-out-of-state", lambda s: ip4(s) / TCP(sport=5, dport=80, flags="A", seq=1, ack=1)),
    ("tcp-out-of-state", lambda s: ip6(s) / TCP(sport=5, dport=80, flags="FA", seq=1, ack=1)),
    ("icmp-unrelated", lambda s: ip4(s) / ICMP(type=3, code=1) / IP(src=s.receiver.ipv4, dst=s.sender.ipv4)
     / UDP(sport=77, dport=78)),
]


@pytest.mark.parametrize("reason, make", MALFORMED, ids=[f"{i}-{row[0]}" for i, row in enumerate(MALFORMED)])
def test_malformed_frame_is_dropped_by_name(site, reason, make):
    raw = bytes(make(site))
    before = site.switch.drops()
    site.receiver.packets.drain()
    site.sender.packets.send(raw)

    def counted():
        now = site.switch.drops()
        return {name: now[name] - before[name] for name in now if now[name] != before[name]}

    assert wait_for(counted, 20, f"a drop for {reason}") == {reason: 1}
    assert not site.receiver.packets.receive(lambda f: bytes(f)[12: len(raw)] == raw[12:], 0.1)


def test_every_malformation_has_a_frame_here(site):
    """The switch's list is in the order of the packet path: malformed frames come before the ports' reasons."""
    names = [row["reason"] for row in site.switch.json("drops", "--all")]
    malformations = set(names[: names.index("guest-descriptor")])
    # A network device does not send so short a frame; packet_parse's unit test has it.
    assert malformations - {row[0] for row in MALFORMED} == {"ethernet-short"}


WELL_FORMED = [
    ("ipv4-options", lambda s: ip4(s, options=[IPOption(b"\x94\x04\0\0")]) / UDP(sport=1, dport=3) / b"fine"),
    ("ipv6-extensions", lambda s: ip6(s) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(sport=1, dport=3) / b"fine"),
    ("sctp", lambda s: ip4(s) / SCTP(sport=1, dport=2) / (b"\1\0\0\x14fine" + bytes(12))),
    ("udp-without-checksum", lambda s: ip4(s) / UDP(sport=1, dport=4, chksum=0) / b"fine"),
    ("udp-without-checksum-ipv6", lambda s: ip6(s) / UDP(sport=1, dport=4, chksum=0) / b"fine"),
    ("priority-tag", lambda s: ether(s) / Dot1Q(vlan=0, prio=5) / IP(src=s.sender.ipv4, dst=s.receiver.ipv4)
     / UDP(sport=1, dport=3) / b"fine"),
    ("unknown-ethertype", lambda s: Ether(src=s.sender.mac, dst=s.receiver.mac, type=0x88b5) / (b"fine" + bytes(60))),
    ("padding", lambda s: ip4(s) / UDP(sport=1, dport=3) / b"fine" / (b"\0" * 20)),
    ("icmpv6-echo", lambda s: ip6(s) / ICMPv6EchoRequest(id=1, data=b"fine")),
]


@pytest.mark.parametrize("make", [row[1] for row in WELL_FORMED], ids=[row[0] for row in WELL_FORMED])
def test_unusual_but_well_formed_frame_passes(site, make):
    frame = make(site)
    site.receiver.packets.drain()
    site.sender.packets.send(frame)
    assert site.receiver.packets.receive(lambda f: b"fine" in bytes(f)), site.switch.drops()


def test_sctp_checksum_that_is_left_to_the_network_card_is_filled_in(site):
    """Linux leaves zero where it believes that the device does the rest."""
    frame = patched(ip4(site) / SCTP(sport=3, dport=9) / SCTPChunkInit(init_tag=0x66696e65), 14 + 20 + 8, bytes(4))
    site.receiver.packets.drain()
    site.sender.packets.send(frame)
    arrived = site.receiver.packets.receive(lambda f: b"fine" in bytes(f))
    assert arrived, site.switch.drops()
    right = bytes(ip4(site) / SCTP(sport=3, dport=9) / SCTPChunkInit(init_tag=0x66696e65))
    assert bytes(arrived[0])[34: 34 + 12] == right[34: 34 + 12]


def test_damaged_segments_neither_open_nor_end_a_connection(site, version):
    """Of an open connection, only what would change its state is verified: data is the receiver's to check."""
    ip = IP if version == 4 else IPv6
    here, far = site.sender.silent[version], site.receiver.silent[version]
    there = ether(site) / ip(src=here, dst=far)
    back = Ether(src=site.receiver.mac, dst=site.sender.mac) / ip(src=far, dst=here)

    def reaches(source, target, frame):
        target.packets.drain()
        before = site.switch.drops()["tcp-checksum"]
        source.packets.send(frame)
        arrived = wait_for(lambda: target.packets.receive(lambda f: bytes(f) == bytes(frame), 0.05)
                           or site.switch.drops()["tcp-checksum"] > before, 20, "the frame or its drop")
        return arrived is not True

    def out(**fields):
        return there / TCP(sport=4000 + version, dport=81, **fields)

    def answer(**fields):
        return back / TCP(sport=81, dport=4000 + version, **fields)

    assert not reaches(site.sender, site.receiver, out(flags="S", seq=100, chksum=1))
    assert reaches(site.sender, site.receiver, out(flags="S", seq=100))
    assert not reaches(site.receiver, site.sender, answer(flags="SA", seq=500, ack=101, chksum=1))
    assert reaches(site.receiver, site.sender, answer(flags="SA", seq=500, ack=101))
    assert not reaches(site.sender, site.receiver, out(flags="A", seq=101, ack=501, chksum=1))
    assert reaches(site.sender, site.receiver, out(flags="A", seq=101, ack=501))
    assert reaches(site.sender, site.receiver, out(flags="PA", seq=101, ack=501, chksum=1) / b"data")
    assert not reaches(site.receiver, site.sender, answer(flags="R", seq=501, chksum=1))
    assert not reaches(site.sender, site.receiver, out(flags="FA", seq=105, ack=501, chksum=1))
    assert site.switch.connections(source=here, destination_port=81)[0]["state"] == "ESTABLISHED"


def test_noise_hurts_nobody(site):
    """Two thousand frames of random bytes behind a right Ethernet header, then real traffic."""
    import random

    dice = random.Random(4711)
    header = bytes.fromhex((site.receiver.mac + site.sender.mac).replace(":", ""))
    frames = []
    for _ in range(2000):
        kind = dice.choice([b"\x08\0", b"\x86\xdd", b"\x08\x06", b"\x81\0\0\x0a\x08\0", dice.randbytes(2)])
        body = bytearray(dice.randbytes(dice.randrange(0, 200)))
        if body and kind in (b"\x08\0", b"\x86\xdd"):
            body[0] = 0x45 if kind == b"\x08\0" else 0x60
        frames.append(header + kind + bytes(body))
    site.switch.send(site.sender, *frames)
    assert site.sender.ping(site.receiver.ipv4, 3) == 3
    assert site.sender.ping(site.receiver.ipv6, 3) == 3
