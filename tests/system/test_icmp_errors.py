# SPDX-License-Identifier: Apache-2.0
"""An ICMP error passes if it is about a packet that its receiver has sent, not long ago, by the port by which that
packet left; and whatever the rules say of ICMP, nothing else does.

    client .1, .101     server .2, .102     other .3           outside .9 (uplink), a router before 192.0.2.0/24
      |                   |                   |                   |
    --+-------------------+-------------------+-------------------+--  network lan, VLAN 10

Connections are played frame by frame, between addresses that the hosts' own stacks do not know.
"""

import itertools
import socket

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import Ether

from cordon import wait_for

PORTS = itertools.count(2000)  # A connection of its own for each test.

POLICY = """\
zones:
  all: {match: "zone=all"}
  internet: {cidrs: [0.0.0.0/0, "::/0"]}
policies:
  - id: open
    rules:
      - {id: out, from: all, to: internet, service: [tcp, udp], action: allow}
      - {id: refused, from: all, to: all, service: udp/99, action: deny}
baseline: {between_zones: deny, within_zone: allow, log: none}
"""


class Site:
    """The hosts, and how frames between them are made, in one IP version."""

    def __init__(self, switch, version, port):
        self.switch, self.version, self.port = switch, version, port
        self.hosts = {host.name: host for host in switch.hosts}
        self.ip = IP if version == 4 else IPv6
        self.client = self.silent(1)
        self.server = self.silent(2)
        self.far = "192.0.2.1" if version == 4 else "2001:db8::1"
        self.router = "192.0.2.254" if version == 4 else "2001:db8::fe"

    def silent(self, number):
        return f"10.0.0.{100 + number}" if self.version == 4 else f"fd00::{100 + number}"

    def frame(self, sender, target, source, destination):
        return Ether(src=self.hosts[sender].mac, dst=self.hosts[target].mac) / self.ip(src=source, dst=destination)

    def passes(self, sender, target, frame):
        """True if it arrives, False if it is dropped as related to nothing."""
        self.hosts[target].packets.drain()
        before = self.switch.drops()["icmp-unrelated"]
        raw = bytes(frame)
        self.hosts[sender].packets.send(raw)
        return wait_for(lambda: self.hosts[target].packets.receive(lambda f: bytes(f)[:len(raw)] == raw, 0.05)
                        or self.switch.drops()["icmp-unrelated"] > before, 30, "the frame or its drop") is not True

    def error(self, quoted, sender="outside", source=None, kind="unreachable", mtu=1400):
        """An error to the client about a packet of it, or of whoever `quoted` is from."""
        frame = self.frame(sender, "client", source or self.router, self.client)
        if self.version == 4:
            icmp = {"unreachable": ICMP(type=3, code=1), "exceeded": ICMP(type=11),
                    "too big": ICMP(type=3, code=4, nexthopmtu=mtu)}[kind]
            return frame / icmp / bytes(quoted)[:28]
        icmp = {"unreachable": ICMPv6DestUnreach(code=0), "exceeded": ICMPv6TimeExceeded(),
                "too big": ICMPv6PacketTooBig(mtu=mtu)}[kind]
        return frame / icmp / bytes(quoted)[:60]

    def open(self, target, address):
        """A TCP connection from the client, from 1001 and 5001 on; the client has sent 3000 bytes, of which 1000 are
        acknowledged."""
        def there(**fields):
            return self.frame("client", target, self.client, address) / TCP(sport=self.port, dport=80, window=8000, **fields)

        def back(**fields):
            return self.frame(target, "client", address, self.client) / TCP(sport=80, dport=self.port, window=8000, **fields)

        assert self.passes("client", target, there(flags="S", seq=1000))
        assert self.passes(target, "client", back(flags="SA", seq=5000, ack=1001))
        for at in (1001, 2001, 3001):
            assert self.passes("client", target, there(flags="A", seq=at, ack=5001) / bytes(1000))
        assert self.passes(target, "client", back(flags="A", seq=5001, ack=2001))
        return back

    def segment(self, address, sequence):
        return self.ip(src=self.client, dst=address) / TCP(sport=self.port, dport=80, flags="A", seq=sequence, ack=5001)


@pytest.fixture(scope="module")
def switch(shared):
    shared.add_network()
    shared.policy(POLICY)
    for name, number in (("client", 1), ("server", 2), ("other", 3)):
        own = [f"10.0.0.{number}", f"fd00::{number}", f"10.0.0.{100 + number}", f"fd00::{100 + number}"]
        shared.host(name, number, zone="all", port_options={"address": ",".join(own)})
    shared.uplink("outside", 9)
    for host in shared.hosts:  # So that every MAC is where it is known to be.
        host.packets.send(Ether(src=host.mac, dst="ff:ff:ff:ff:ff:ff", type=0x88b5) / bytes(46))
    return shared


@pytest.fixture
def site(switch, version):
    return Site(switch, version, next(PORTS))


@pytest.mark.parametrize("kind", ["unreachable", "exceeded", "too big"])
def test_an_error_about_what_is_on_its_way_passes(site, kind):
    site.open("outside", site.far)
    assert site.passes("outside", "client", site.error(site.segment(site.far, 2001), kind=kind))
    assert site.passes("outside", "client", site.error(site.segment(site.far, 4001), kind=kind))


def test_an_error_about_another_number_does_not(site):
    """It takes more to know than addresses and ports (RFC 5927)."""
    site.open("outside", site.far)
    for sequence in (1001, 1999, 4002, 100000, 0, 2**31 + 3000):
        assert not site.passes("outside", "client", site.error(site.segment(site.far, sequence))), sequence


def test_no_path_has_such_an_mtu(site):
    site.open("outside", site.far)
    good, bad = ((68, 576, 1500), (67, 1)) if site.version == 4 else ((1280, 1500), (1279, 0, 68))
    for mtu in good:
        assert site.passes("outside", "client", site.error(site.segment(site.far, 2001), kind="too big", mtu=mtu)), mtu
    for mtu in bad:
        assert not site.passes("outside", "client", site.error(site.segment(site.far, 2001), kind="too big", mtu=mtu)), mtu


def test_it_comes_by_the_port_by_which_the_packet_left(site):
    site.open("server", site.server)
    quoted = site.segment(site.server, 2001)
    assert site.passes("server", "client", site.error(quoted, "server", site.server))
    assert not site.passes("other", "client", site.error(quoted, "other", site.silent(3)))
    assert not site.passes("outside", "client", site.error(quoted))


def test_it_goes_to_who_sent_the_packet(site):
    """Neither to the other end, nor to a third."""
    site.open("outside", site.far)
    answer = site.ip(src=site.far, dst=site.client) / TCP(sport=80, dport=site.port, flags="A", seq=5001, ack=2001)
    assert not site.passes("outside", "client", site.error(answer))
    third = site.error(site.segment(site.far, 2001))
    third[site.ip].dst = site.silent(3)
    third[Ether].dst = site.hosts["other"].mac
    assert not site.passes("outside", "other", third)


def test_nothing_is_said_of_an_error(site):
    site.open("outside", site.far)
    inner = site.ip(src=site.client, dst=site.far) / (ICMP(type=3, code=1) if site.version == 4 else ICMPv6DestUnreach())
    assert not site.passes("outside", "client", site.error(inner / bytes(site.segment(site.far, 2001))))


def test_a_connection_that_was_reset_is_not_live(site):
    back = site.open("outside", site.far)
    assert site.passes("outside", "client", back(flags="R", seq=5001))
    assert not site.passes("outside", "client", site.error(site.segment(site.far, 2001)))


def test_udp(site):
    datagram = site.frame("client", "outside", site.client, site.far) / UDP(sport=site.port, dport=53) / bytes(20)
    assert not site.passes("outside", "client", site.error(datagram[site.ip]))
    assert site.passes("client", "outside", datagram)
    assert site.passes("outside", "client", site.error(datagram[site.ip]))
    assert not site.passes("other", "client", site.error(datagram[site.ip], "other", site.silent(3)))


def test_about_what_was_denied(site):
    datagram = site.ip(src=site.client, dst=site.server) / UDP(sport=site.port, dport=99) / bytes(20)
    site.hosts["client"].packets.send(
        Ether(src=site.hosts["client"].mac, dst=site.hosts["server"].mac) / datagram)
    assert not site.passes("server", "client", site.error(datagram, "server", site.server))


@pytest.fixture
def restored(switch):
    yield
    switch.policy(POLICY)


def test_about_what_a_new_policy_denies(site, restored):
    """The connection's next packet, or the sweep, will end it; an error does not come before them.  Several times, for
    the sweep is quick."""
    denying = POLICY.replace("service: [tcp, udp]", "service: tcp/1").replace("within_zone: allow", "within_zone: deny")
    for turn in range(4):
        site.switch.policy(POLICY + f"# turn {turn}\n")
        quoted = []
        for target, address, source in (("outside", site.far, None), ("server", site.server, site.server)):
            site.port = next(PORTS)
            site.open(target, address)
            quoted.append((site.segment(address, 2001), target, source))
        for each in quoted:
            assert site.passes(each[1], "client", site.error(*each)), "before"
        site.switch.policy(denying + f"# turn {turn}\n")
        for each in quoted:
            assert not site.passes(each[1], "client", site.error(*each)), f"after, in turn {turn}, about {each[1]}"


def test_about_what_a_new_policy_still_allows(site, restored):
    """And so to who was asked, about his answers."""
    site.open("server", site.server)
    answer = site.ip(src=site.server, dst=site.client) / TCP(sport=80, dport=site.port, flags="A", seq=5001, ack=2001)
    back = site.frame("client", "server", site.client, site.server)
    back /= (ICMP(type=3, code=1) if site.version == 4 else ICMPv6DestUnreach(code=0)) / bytes(answer)[:60]
    site.switch.policy(POLICY + "# the same again\n")
    assert site.passes("server", "client", site.error(site.segment(site.server, 2001), "server", site.server))
    assert site.passes("client", "server", back)


def test_a_real_hosts_refusal_reaches_who_asked(site):
    """Nobody listens there; the host says so, and the asker's kernel tells its program."""
    client, server = site.hosts["client"], site.hosts["server"]
    with client.socket(socket.AF_INET if site.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as asker:
        asker.settimeout(20)
        asker.connect((server.address(site.version), site.port))
        asker.send(b"is anybody there?")
        with pytest.raises(ConnectionRefusedError):
            asker.recv(100)
