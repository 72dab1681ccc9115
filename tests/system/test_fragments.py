# SPDX-License-Identifier: Apache-2.0
"""Datagrams in fragments: held until they are whole, judged once, and sent as they came; or not at all.

    a .1        b .2        c .3
      |           |           |
    --+-----------+-----------+--  network lan, VLAN 10
"""

import itertools
import random
import socket

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6ND_NS, IPv6, IPv6ExtHdrFragment,
                                fragment6)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from cordon import wait_for
from database import transact
from host import UdpServer

POLICY = """\
zones:
  a: {match: "zone=a"}
  b: {match: "zone=b"}
  c: {match: "zone=c"}
policies:
  - id: allowed
    mode: enforce
    rules:
      - {id: udp, from: a, to: b, service: udp/5353, action: allow}
      - {id: tcp, from: a, to: b, service: tcp/80, action: allow}
      - {id: ping, from: a, to: b, service: icmp/8, action: allow}
      - {id: ping6, from: a, to: b, service: icmpv6/128, action: allow}
      - {id: from-c, from: c, to: b, service: udp/5353, action: allow}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

ids = itertools.count(1000)


@pytest.fixture(scope="module")
def site(shared):
    shared.add_network()
    shared.policy(POLICY)
    # Connections are still there when a story that takes long asks for them.
    transact(shared, {"op": "update", "table": "Host", "where": [],
                      "row": {"other_config": ["map", [["timeout-udp-unanswered", "3600"]]]}})
    a, b, c = shared.host("a", 1), shared.host("b", 2), shared.host("c", 3)
    for one, other in itertools.permutations((a, b, c), 2):
        one.knows(other)
    return shared, a, b, c


@pytest.fixture(scope="module")
def mute(site):
    """Two hosts in the zones of a and b whose kernels answer nothing."""
    hosts = site[0].host("mute-a", 4, zone="a"), site[0].host("mute-b", 5, zone="b")
    for host in hosts:
        host.run("ip", "address", "flush", "dev", "eth0")
    return hosts


def header(a, b, version, number):
    if version == 4:
        return IP(src=a.ipv4, dst=b.ipv4, id=number % 65536)
    return IPv6(src=a.ipv6, dst=b.ipv6) / IPv6ExtHdrFragment(id=number)


def cut(a, b, version, payload, size=1000, number=None):
    """Fragments, as a host would cut them, of what `payload` (a scapy layer) becomes in one datagram."""
    number = next(ids) if number is None else number
    whole = header(a, b, version, number) / payload
    parts = fragment(whole, fragsize=size) if version == 4 else fragment6(whole, size + 48)
    return [Ether(src=a.mac, dst=b.mac) / part for part in parts]


def udp(port=5353, size=3000, source=1234):
    return UDP(sport=source, dport=port) / (b"x" * size)


def offset_of(frame):
    return frame[IP].frag if IP in frame else frame[IPv6ExtHdrFragment].offset


def number_of(frame):
    if IP in frame:
        return frame[IP].id
    return frame[IPv6ExtHdrFragment].id if IPv6ExtHdrFragment in frame else None


def received(host, number, count, seconds=10):
    """The fragments of that datagram which reach the host."""
    return host.packets.receive(lambda f: (IP in f or IPv6 in f) and number_of(f) == number, seconds, count)


class Drops:
    """What is dropped within a `with` block, by name; `frames` are those that the switch holds now."""

    def __init__(self, switch):
        self.switch = switch

    def __enter__(self):
        wait_for(lambda: self.held() == 0, 20, "the end of what is held")
        self.before = self.switch.drops()
        return self

    def __exit__(self, *_):
        pass

    def held(self):
        return self.switch.status()["frames"]["held"]

    def send_until_held(self, send, count):
        """Calls `send` until so many frames are held at once, and all others accounted for; returns how often.  They
        are let go after three seconds, which a busy machine may take to tell of them."""
        times = 0

        def are_held():
            nonlocal times
            send()
            times += 1
            frames = self.switch.status()["frames"]
            return frames["held"] >= count and balance_of(frames) == 0

        wait_for(are_held, 30, f"{count} frames that are held")
        return times

    def none_is_left(self):
        wait_for(lambda: self.held() == 0 and balance(self.switch) == 0, 20, "the balance of all frames")

    def new(self):
        """Only what has increased."""
        return {name: n - self.before[name] for name, n in self.switch.drops().items() if n != self.before[name]}

    def expect(self, seconds=20, **reasons):
        """Waits until so many were dropped by these names (an underscore is a hyphen)."""
        wanted = {name.replace("_", "-"): n for name, n in reasons.items()}
        wait_for(lambda: all(self.new().get(name, 0) >= n for name, n in wanted.items()), seconds,
                 f"the drops {wanted}, of which there are {self.new()}")
        assert {name: self.new().get(name) for name in wanted} == wanted


def balance(switch):
    """The frames that are neither sent nor dropped nor held."""
    return balance_of(switch.status()["frames"])


def balance_of(frames):
    return (frames["received"] + frames["copied"] + frames["answered"] + frames["cut"] - frames["sent"]
            - frames["dropped"] - frames["held"])


# --- What hosts send ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3000, 20000, 65000])
def test_large_ping(site, version, size):
    _, a, b, _ = site
    assert a.ping(b.address(version), 3, size=size) == 3


def test_large_datagram_both_ways(site, version):
    _, a, b, _ = site
    with UdpServer(b, 5353):
        assert a.can_ask(b.address(version), 5353, 10, payload=random.Random(1).randbytes(60000))


def test_connection_counts_all_fragments(site, version):
    switch, a, b, _ = site
    with UdpServer(b, 5353):
        assert a.can_ask(b.address(version), 5353, 10, payload=b"y" * 4000, source_port=4321)
    (live,) = [row for row in switch.connections(source_port=4321)
               if row["source"] == a.address(version)]
    assert (live["packets_forward"], live["packets_reverse"]) == (3, 3)
    assert live["bytes_forward"] > 4000 + 3 * (14 + 20)


def test_large_datagram_to_a_denied_port_is_denied_whole(site, version):
    switch, a, b, _ = site
    with Drops(switch) as drops, UdpServer(b, 5354) as server:
        assert not a.can_ask(b.address(version), 5354, 0.5, payload=b"x" * 5000)
        assert server.received == 0
        drops.expect(policy=4)
    (record,) = switch.wait_log(kind="denied", destination_transport_port=5354, source_address=a.address(version))
    assert record["packets_forward"] == 4 and record["bytes_forward"] > 5000 + 4 * (14 + 20)


# --- Any order ---------------------------------------------------------------------------------------------------


def test_any_order_arrives_in_order(site, version):
    switch, a, b, _ = site
    b.packets.drain()
    for order in itertools.permutations(range(4)):
        number = next(ids)
        parts = cut(a, b, version, udp(), 800, number)
        assert len(parts) == 4
        a.packets.send(*[parts[i] for i in order])
        frames = received(b, number, 4)
        assert [bytes(f) for f in frames] == [bytes(part) for part in parts], f"in the order {order}, unchanged"
    wait_for(lambda: switch.status()["frames"]["held"] == 0, what="nothing is held")


def test_nothing_leaves_before_all_is_there(site, version):
    switch, a, b, _ = site
    number = next(ids)
    parts = cut(a, b, version, udp(), 800, number)
    b.packets.drain()
    with Drops(switch) as drops:
        a.packets.send(*parts[:-1])
        assert not received(b, number, 1, 0.3)
        a.packets.send(parts[-1])
        assert len(received(b, number, 4)) == 4
        drops.none_is_left()


def test_duplicates_are_dropped_and_the_datagram_passes(site, version):
    switch, a, b, _ = site
    number = next(ids)
    parts = cut(a, b, version, udp(), 800, number)
    b.packets.drain()
    with Drops(switch) as drops:
        a.packets.send(parts[0], parts[0], parts[2], parts[1], parts[2], parts[3])
        assert len(received(b, number, 4)) == 4
        drops.expect(fragment_duplicate=2)


def test_what_comes_before_its_last_fragment_leaves_a_datagram_alone(site, mute, version):
    """Packets that come in one burst with the fragment that makes a datagram whole, and that are judged before it."""
    switch, (a, b) = site[0], mute
    between = Ether(src=a.mac, dst=b.mac) / IP(src=a.ipv4, dst=b.ipv4)
    b.packets.drain()
    with Drops(switch) as drops:
        for port in range(sources := 20000 + 100 * version, sources + 100):
            parts = cut(a, b, version, udp(size=1600), 1000)
            denied = between / UDP(sport=port, dport=9) / (b"x" * 20)
            allowed = between / UDP(sport=port, dport=5353) / (b"x" * 20)
            frames = [bytes(frame) for frame in (parts[0], denied, allowed, parts[1])]
            a.packets.send(*frames)
            arrived = b.packets.receive(lambda f: b"xxxx" in bytes(f), 10, 3)
            assert sorted(bytes(frame) for frame in arrived) == sorted(frames[i] for i in (0, 2, 3))
        drops.expect(policy=100)
        drops.none_is_left()
    alone = [(row["packets_forward"], row["bytes_forward"]) for row in switch.connections(destination_port=5353)
             if sources <= row["source_port"] < sources + 100]
    assert alone == 100 * [(1, 62)]


def test_tcp_segment_in_fragments(site, mute, version):
    """The window takes the whole segment, so that what acknowledges it passes."""
    switch, (a, b) = site[0], mute

    def tcp(source, flags, seq, ack, data=b""):
        ports = {"sport": 2222, "dport": 80} if source is a else {"sport": 80, "dport": 2222}
        return TCP(flags=flags, seq=seq, ack=ack, window=65000, **ports) / Raw(data)

    def network(source, target):
        return IP(src=source.ipv4, dst=target.ipv4) if version == 4 else IPv6(src=source.ipv6, dst=target.ipv6)

    for source, target, flags, seq, ack in ((a, b, "S", 100, 0), (b, a, "SA", 900, 101), (a, b, "A", 101, 901)):
        target.packets.drain()
        source.packets.send(Ether(src=source.mac, dst=target.mac) / network(source, target)
                            / tcp(source, flags, seq, ack))
        assert target.packets.receive(lambda f: TCP in f and f[TCP].seq == seq and f[TCP].flags == flags, 10), flags
    number = next(ids)
    parts = cut(a, b, version, tcp(a, "PA", 101, 901, b"d" * 3000), 1000, number)
    b.packets.drain()
    a.packets.send(*reversed(parts))
    assert len(received(b, number, len(parts))) == len(parts)
    a.packets.drain()
    b.packets.send(Ether(src=b.mac, dst=a.mac) / network(b, a) / tcp(b, "A", 901, 3101))
    assert a.packets.receive(lambda f: TCP in f and f[TCP].ack == 3101, 10)
    with Drops(switch) as drops:  # A segment far outside the window is dropped with all its fragments.
        parts = cut(a, b, version, tcp(a, "PA", 101 + (1 << 30), 901, b"d" * 3000), 1000)
        a.packets.send(*parts)
        drops.expect(tcp_out_of_window=len(parts))


# --- What is refused ---------------------------------------------------------------------------------------------


def test_hole_is_dropped_by_name_in_time_and_without_further_traffic(site, version):
    switch, a, b, _ = site
    with Drops(switch) as drops:
        def send():
            parts = cut(a, b, version, udp(), 800)
            a.packets.send(*parts[:1], *parts[2:])

        drops.expect(fragment_timeout=3 * drops.send_until_held(send, 3))
        drops.none_is_left()


def moved(frame, by):
    """The same fragment at another offset, in units of eight bytes."""
    copy = frame.copy()
    if IP in copy:
        copy[IP].frag += by
        copy[IP].chksum = None
    else:
        copy[IPv6ExtHdrFragment].offset += by
    return Ether(bytes(copy))


@pytest.mark.parametrize("by", [-1, -50, -99])
def test_overlap_takes_the_whole_datagram(site, version, by):
    """RFC 5722, and RFC 1858's attack: the second fragment lies on the first one, by one word or nearly wholly."""
    switch, a, b, _ = site
    number = next(ids)
    parts = cut(a, b, version, udp(), 800, number)
    b.packets.drain()
    with Drops(switch) as drops:
        a.packets.send(parts[0], moved(parts[1], by), *parts[1:])
        drops.expect(fragment_overlap=5)
        assert not received(b, number, 1, 0.3)


def test_two_first_fragments_open_nothing(site, version):
    """One for an allowed port, one for a denied one: the receiver must not get to choose."""
    switch, a, b, _ = site
    number = next(ids)
    good, evil = cut(a, b, version, udp(5353), 800, number), cut(a, b, version, udp(22), 800, number)
    b.packets.drain()
    with Drops(switch) as drops:
        a.packets.send(good[0], evil[0], *good[1:], *good)
        drops.expect(fragment_overlap=9)
        assert not received(b, number, 1, 0.3)


def test_fragment_of_an_allowed_datagram_opens_nothing_else(site, version):
    switch, a, b, _ = site
    number = next(ids)
    parts, other = cut(a, b, version, udp(size=1500), 800, number), cut(a, b, version, udp(size=1500), 800)
    b.packets.drain()
    with Drops(switch) as drops:
        a.packets.send(parts[0], *other[1:], *parts[1:])
        assert len(received(b, number, len(parts))) == len(parts)
        drops.expect(fragment_timeout=len(other) - 1)


def test_contradictions_are_refused_by_name(site):
    switch, a, b, _ = site
    with Drops(switch) as drops:
        parts = cut(a, b, 4, udp(), 800)
        parts[2][IP].flags = "MF+DF"
        a.packets.send(*parts)
        drops.expect(fragment_inconsistent=4)
        parts = cut(a, b, 4, udp(), 800)
        parts[1][IP].tos = 3
        a.packets.send(*parts)
        drops.expect(fragment_inconsistent=8)
        parts = cut(a, b, 6, udp(), 800)
        a.packets.send(parts[3], moved(parts[3], 200), *parts[:3])
        drops.expect(fragment_inconsistent=13)


def test_too_many_fragments(site, version):
    switch, a, b, _ = site
    parts = [bytes(part) for part in cut(a, b, version, udp(size=8 * 200), 8)]  # Now, so that all are sent at once.
    assert len(parts) > 128
    with Drops(switch) as drops:
        a.packets.send(*parts)
        drops.expect(fragment_too_many=len(parts))


def test_oversize(site, version):
    """The ping of death: it ends where no packet can."""
    switch, a, b, _ = site
    parts = cut(a, b, version, udp(), 800)
    with Drops(switch) as drops:
        last = moved(parts[-1], 8150 - offset_of(parts[-1]))
        a.packets.send(parts[0], last)
        drops.expect(fragment_oversize=1, fragment_timeout=1)


def test_oversize_by_the_first_header(site):
    switch, a, b, _ = site
    number = next(ids)
    first = Ether(src=a.mac, dst=b.mac) / IP(src=a.ipv4, dst=b.ipv4, id=number, flags="MF",
                                             options=[b"\x01"] * 40, proto=17) / udp(size=792)
    first[UDP].len = 65400
    last = Ether(src=a.mac, dst=b.mac) / IP(src=a.ipv4, dst=b.ipv4, id=number, frag=8185, proto=17) / (b"x" * 30)
    with Drops(switch) as drops:
        a.packets.send(first, last)
        drops.expect(fragment_oversize=2)


def test_tiny_first_fragment(site, version):
    """RFC 1858, RFC 7112: without its ports and flags it cannot be judged."""
    switch, a, b, _ = site
    parts = cut(a, b, version, TCP(sport=1, dport=80, flags="S") / (b"x" * 40), 16)
    with Drops(switch) as drops:
        a.packets.send(*parts)
        drops.expect(fragment_tiny=1, fragment_timeout=len(parts) - 1)


def test_wrong_checksum_of_the_whole(site, version):
    switch, a, b, _ = site
    number = next(ids)
    parts = cut(a, b, version, udp(), 800, number)
    spoiled = bytearray(bytes(parts[2]))
    spoiled[-1] ^= 1
    b.packets.drain()
    with Drops(switch) as drops:
        a.packets.send(parts[0], parts[1], bytes(spoiled), parts[3])
        drops.expect(udp_checksum=4)
        assert not received(b, number, 1, 0.3)


def test_udp_longer_than_the_whole(site, version):
    switch, a, b, _ = site
    whole = udp()
    whole.len = 4000
    parts = cut(a, b, version, whole, 800)
    with Drops(switch) as drops:
        a.packets.send(*parts)
        drops.expect(udp_length=4)


def test_icmp_that_may_not_be_in_fragments(site):
    """Neighbour discovery (RFC 6980), and errors."""
    switch, a, b, _ = site
    quoted = IPv6(src=b.ipv6, dst=a.ipv6) / UDP(sport=5353, dport=1) / (b"x" * 100)
    with Drops(switch) as drops:
        a.packets.send(*cut(a, b, 6, ICMPv6ND_NS(tgt=b.ipv6) / Raw(b"\0" * 40), 32))
        drops.expect(fragment_icmp=2)
        a.packets.send(*cut(a, b, 6, ICMPv6DestUnreach() / quoted, 80))
        drops.expect(fragment_icmp=4)
        a.packets.send(*cut(a, b, 4, ICMP(type=3, code=3) / IP(src=b.ipv4, dst=a.ipv4) / UDP() / (b"x" * 100), 80))
        drops.expect(fragment_icmp=6)


def test_atomic_fragment_is_alone(site):
    """RFC 6946: it has nothing to do with others of its number."""
    switch, a, b, _ = site
    number = next(ids)
    parts = cut(a, b, 6, udp(), 800, number)
    atomic = Ether(src=a.mac, dst=b.mac) / header(a, b, 6, number) / udp(size=10)
    b.packets.drain()
    a.packets.send(parts[0], atomic, *parts[1:])
    frames = received(b, number, 5)
    assert [bytes(f) for f in frames] == [bytes(f) for f in (atomic, *parts)]


def test_other_macs_and_tags_are_other_datagrams(site):
    switch, a, b, c = site
    number = next(ids)
    parts = cut(a, b, 4, udp(), 800, number)
    parts[3][Ether].dst = c.mac
    b.packets.drain()
    with Drops(switch) as drops:
        a.packets.send(*parts)
        drops.expect(fragment_timeout=4)
        tagged = cut(a, b, 4, udp(), 800)
        tagged[1] = Ether(src=a.mac, dst=b.mac) / Dot1Q(vlan=11) / tagged[1][IP]
        a.packets.send(*tagged)
        drops.expect(vlan_not_allowed=1, fragment_timeout=7)
    assert not received(b, number, 1, 0.1)


def test_spoofed_datagram_in_fragments(site, version):
    switch, a, b, c = site
    number = next(ids)
    parts = cut(c, b, version, udp(), 800, number)
    for part in parts:
        part[Ether].src = a.mac
    b.packets.drain()
    with Drops(switch) as drops:
        a.packets.send(*parts)
        drops.expect(spoofed_address=4)
        assert not received(b, number, 1, 0.1)


# --- Bounds ------------------------------------------------------------------------------------------------------


def test_flood_of_parts_is_bounded_and_hurts_nobody_else(site):
    """More parts than may be held: the flooder loses his own, others' datagrams pass, and so do his whole ones."""
    switch, a, b, c = site
    with Drops(switch) as drops, UdpServer(b, 5353):
        part = bytearray(bytes(cut(a, b, 6, udp(size=1400), 1400)[0]))
        numbers = itertools.count()

        def flooded():
            """What the switch says of itself then.  Those that it has no time for are lost before it."""
            for i in itertools.islice(numbers, 6000):
                part[58:62] = i.to_bytes(4, "big")  # The identification.
                a.packets.send(bytes(part))
            status = switch.status()
            return drops.new().get("fragment-table-full", 0) > 1000 and status["frames"]["held"] > 0 and status

        status = wait_for(flooded, 60, "a flood of parts that do not fit", interval=0)
        total = status["buffers"]["total"]
        assert status["frames"]["held"] <= total / 16, "no port has more than half of an eighth"
        assert status["buffers"]["free"] > total / 2
        switch.wait_quiet()
        wait_for(lambda: balance(switch) == 0, what="the balance of all frames")
        for version in (4, 6):
            assert c.can_ask(b.address(version), 5353, 10, payload=b"z" * 20000), "another port's datagram"
            assert a.can_ask(b.address(version), 5353, 10, payload=b"z" * 20000), "the flooder's own"
        drops.none_is_left()


def test_random_fragments_balance(site, version):
    """Anything at all: each frame is sent or dropped in the end."""
    switch, a, b, _ = site
    chance = random.Random(version)
    for _ in range(60):
        parts = cut(a, b, version, udp(size=chance.randrange(100, 4000)), 8 * chance.randrange(2, 150))
        parts = [moved(p, chance.choice((0, 0, 0, 0, 1))) for p in parts[:100]]
        parts += chance.choices(parts, k=chance.randrange(3))
        chance.shuffle(parts)
        a.packets.send(*parts)
    switch.wait_quiet()
    with Drops(switch) as drops:
        drops.none_is_left()
    assert a.ping(b.address(version), 2, size=8000) == 2


def test_held_fragments_of_a_port_that_is_removed(site):
    """They are counted, and the switch goes on."""
    switch, a, b, _ = site
    with Drops(switch) as drops:
        extra = switch.host("extra", 9, zone="a")
        switch.wait_port("extra")
        times = drops.send_until_held(lambda: extra.packets.send(*cut(extra, b, 4, udp(), 800)[:2]), 2)
        switch.cordon("port", "del", "extra")
        drops.expect(fragment_timeout=2 * times)
        drops.none_is_left()
    assert a.ping(b.ipv4, 2, size=3000) == 2


def test_largest_payload_that_a_socket_takes(site):
    _, a, b, _ = site
    with UdpServer(b, 5353), a.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(b"m" * 65507, (b.ipv4, 5353))
        assert len(client.recv(65535)) == 65507


def test_echo_in_fragments_by_scapy(site):
    """A checksum over an odd number of bytes, in pieces."""
    _, a, b, _ = site
    a.packets.drain()
    a.packets.send(*reversed(cut(a, b, 4, ICMP(id=77) / Raw(b"o" * 1999), 640)))
    assert a.packets.receive(lambda f: ICMP in f and f[ICMP].type == 0 and f[ICMP].id == 77, 10)
    a.packets.send(*reversed(cut(a, b, 6, ICMPv6EchoRequest(id=78, data=b"o" * 1999), 640)))
    assert a.packets.receive(lambda f: IPv6 in f and f[IPv6].nh == 44 and f[IPv6].src == b.ipv6, 10)
