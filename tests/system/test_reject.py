# SPDX-License-Identifier: Apache-2.0
"""What a sender is told whose packet a rule rejects, field by field, and what is never answered.

    asker .1, .101     asked .2, .102      everything from asker to asked is rejected
      |                  |
    --+------------------+--  network lan, VLAN 10

The addresses from .101 on are unknown to the hosts' own stacks: whatever comes back is the switch's.
"""

import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, UDPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6Unknown, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit

from cordon import wait_for

POLICY = """\
zones:
  asker: {match: "zone=asker"}
  asked: {match: "zone=asked"}
policies:
  - id: p
    rules:
      - {id: no, from: asker, to: asked, action: reject, log: none}
baseline: {between_zones: deny, within_zone: deny, log: none}
"""


class Site:
    def __init__(self, switch, version):
        self.switch, self.version = switch, version
        self.asker, self.asked = (next(h for h in switch.hosts if h.name == name) for name in ("asker", "asked"))
        self.here, self.there = self.silent(1), self.silent(2)
        self.ip = IP if version == 4 else IPv6

    def silent(self, number):
        return f"10.0.0.{100 + number}" if self.version == 4 else f"fd00::{100 + number}"

    def frame(self, **fields):
        return Ether(src=self.asker.mac, dst=fields.pop("mac", self.asked.mac)) / self.ip(
            **{"src": self.here, "dst": self.there, **fields})

    def answers(self, frame, count=1, seconds=0.2):
        """What comes back to the silent address, once the frame was rejected."""
        before = self.switch.drops()["rejected"]
        self.asker.packets.drain()
        self.asker.packets.send(frame)
        wait_for(lambda: self.switch.drops()["rejected"] > before, 20, "the rejection")
        return self.asker.packets.receive(
            lambda f: self.ip in f and f[self.ip].dst == self.here and f[Ether].src == self.asked.mac, seconds, count)

    def one_answer(self, frame):
        found = self.answers(frame, seconds=20)
        assert len(found) == 1
        raw = bytes(found[0])
        again = Ether(raw)
        for layer, field in ((IP, "chksum"), (TCP, "chksum"), (ICMP, "chksum"), (ICMPv6DestUnreach, "cksum")):
            if layer in again:
                delattr(again[layer], field)
        assert bytes(again) == raw, "its checksums are right"
        return found[0]


@pytest.fixture(scope="module")
def switch(shared):
    shared.add_network()
    shared.policy(POLICY)
    for name, number in (("asker", 1), ("asked", 2)):
        own = [f"10.0.0.{number}", f"fd00::{number}", f"10.0.0.{100 + number}", f"fd00::{100 + number}"]
        shared.host(name, number, port_options={"address": ",".join(own)})
    return shared


@pytest.fixture
def site(switch, version):
    return Site(switch, version)


# RFC 9293, 3.10.7.1: what was sent, and the flags, number and acknowledgment of the answer.
RESETS = [
    ("syn", dict(flags="S", seq=1000), 0, "RA", 0, 1001),
    ("syn-with-data", dict(flags="S", seq=1000), 500, "RA", 0, 1501),
    ("syn-at-the-turn", dict(flags="S", seq=0xffffffff), 1, "RA", 0, 1),
    ("ack", dict(flags="A", seq=1000, ack=7000), 0, "R", 7000, 0),
    ("data", dict(flags="PA", seq=1000, ack=7000), 50, "R", 7000, 0),
    ("fin", dict(flags="FA", seq=1000, ack=0xffffffff), 0, "R", 0xffffffff, 0),
    ("syn-ack", dict(flags="SA", seq=1000, ack=7000), 0, "R", 7000, 0),
]


@pytest.mark.parametrize("fields, bytes_, flags, sequence, acknowledgment", [row[1:] for row in RESETS],
                         ids=[row[0] for row in RESETS])
def test_tcp_is_answered_by_a_reset(site, fields, bytes_, flags, sequence, acknowledgment):
    answer = site.one_answer(site.frame() / TCP(sport=4000, dport=80, options=[("MSS", 1460)], **fields) / bytes(bytes_))
    tcp = answer[TCP]
    assert (answer[Ether].dst, answer[site.ip].src) == (site.asker.mac, site.there)
    assert (tcp.sport, tcp.dport, str(tcp.flags), tcp.seq, tcp.ack) == (80, 4000, flags, sequence, acknowledgment)
    assert tcp.dataofs == 5 and not tcp.payload


def test_udp_is_answered_by_an_error_that_quotes_it(site):
    frame = site.frame() / UDP(sport=4000, dport=53) / (b"0123456789" * 100)
    answer = site.one_answer(frame)
    assert (answer[Ether].dst, answer[site.ip].src) == (site.asker.mac, site.there)
    if site.version == 4:
        assert (answer[ICMP].type, answer[ICMP].code) == (3, 13)
        assert answer[UDPerror].dport == 53 and len(answer) <= 14 + 576
        quoted = bytes(answer[ICMP])[8:]
    else:
        assert answer[ICMPv6DestUnreach].code == 1
        assert len(answer) <= 14 + 1280
        quoted = bytes(answer[ICMPv6DestUnreach])[8:]
    assert len(quoted) >= 28 and bytes(frame[site.ip]).startswith(quoted)


def test_other_protocols_are_answered_by_an_error(site):
    echo = ICMP(id=7) if site.version == 4 else ICMPv6EchoRequest(id=7)
    for packet in (echo / b"ping", SCTP(sport=1, dport=2) / SCTPChunkInit()):
        answer = site.one_answer(site.frame() / packet)
        assert ICMP in answer if site.version == 4 else ICMPv6DestUnreach in answer


def test_what_is_never_answered(site):
    if site.version == 4:
        inner = IP(src=site.there, dst=site.here) / UDP(sport=1, dport=2)
        silent = [
            site.frame() / TCP(sport=1, dport=80, flags="R", seq=5),
            site.frame() / TCP(sport=1, dport=80, flags="RA", seq=5, ack=6),
            site.frame() / ICMP(type=4) / inner,
            site.frame(mac="ff:ff:ff:ff:ff:ff") / UDP(sport=1, dport=7),
            site.frame(mac="01:00:5e:00:00:05", dst="224.0.0.5") / UDP(sport=1, dport=7),
            site.frame(dst="224.0.0.5") / UDP(sport=1, dport=8),
        ]
    else:
        silent = [
            site.frame() / TCP(sport=1, dport=80, flags="R", seq=5),
            site.frame() / ICMPv6Unknown(type=100, code=0, msgbody=bytes(40)),
            site.frame(mac="33:33:00:00:00:05", dst="ff02::5") / UDP(sport=1, dport=7),
            site.frame(dst="ff02::5") / UDP(sport=1, dport=8),
        ]
    for frame in silent:
        assert not site.answers(frame), frame.summary()


def test_answers_are_limited(site):
    """A burst of them, and then as many a second: nobody is flooded by way of the switch."""
    frames = [bytes(site.frame() / UDP(sport=port, dport=9)) for port in range(1000, 7000)]
    before = site.switch.drops()["rejected"]
    time.sleep(1.1)
    site.asker.packets.drain()
    start = time.monotonic()
    site.switch.wait_quiet()  # A worker goes by a clock that it has read since then.
    site.switch.send(site.asker, *frames)
    assert site.switch.drops()["rejected"] >= before + len(frames)
    seconds = time.monotonic() - start
    answers = site.asker.packets.receive(
        lambda f: site.ip in f and f[site.ip].dst == site.here, 1, count=len(frames))
    assert 900 <= len(answers) <= 1000 * (1 + seconds) + 50, (len(answers), seconds)
