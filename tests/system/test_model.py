# SPDX-License-Identifier: Apache-2.0
"""Random packets, in random order, between ports of several zones: each arrives or not as a plain reference says
(reference.py), under policies that are random too.

    a1      a2      b1      c1      lost       sink
    |       |       |       |       |           |
  --+-------+-------+-------+-------+-----------+--  network lan, VLAN 10; `lost` is in no zone

Packets are sent one at a time.  Behind each goes an ARP request from the same port to `sink`, which passes always:
once it has arrived, the packet was dealt with.  The hosts' own IP stacks do not know the addresses that are used.

A run that fails prints its seed; CORDON_MODEL_SEED=N repeats it.
"""

import os
import random
import select
import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether

from cordon import wait_for
from database import transact
from reference import TIERS, WINDOW, Packet, Policy, Reference, Rule

ZONES = {"a1": "a", "a2": "a", "b1": "b", "c1": "c", "lost": None}
NAMES = list(ZONES)
PORTS = (53, 80, 443, 8080)
SERVICES = ("any", "tcp", "udp", "icmp", "icmpv6", "tcp/80", "tcp/80-443", "udp/53", "udp/1-100", "tcp/8080")
STEPS = 500
SEEDS = [int(os.environ["CORDON_MODEL_SEED"])] if "CORDON_MODEL_SEED" in os.environ else [
    1, 2, 3, "random"]


# --- What is sent ----------------------------------------------------------------------------------------------


class Generator:
    """Draws packets, most of them close to what the reference's connections are about to see."""

    def __init__(self, seed, reference):
        self.dice = random.Random(seed)
        self.reference = reference
        self.sent = []
        self.cut = set()  # Connections that a policy has ended: whose answers are nobody's business any more.

    def policy(self):
        def zones():
            return "any" if self.dice.random() < 0.3 else self.dice.sample("abc", self.dice.randrange(1, 3))

        rules = [Rule(self.dice.choice(TIERS), zones(), zones(), self.dice.choice(SERVICES),
                      self.dice.choice(("allow", "allow", "deny", "reject", "pass"))) for _ in range(8)]
        return Policy(rules, self.dice.choice(("allow", "deny", "reject")), self.dice.choice(("allow", "allow", "deny")))

    def packet(self):
        draw = self.dice.choices((self.first, self.tcp, self.answer, self.error, self.stray), (3, 8, 2, 1, 1))[0]
        packet = draw()
        if packet is None or self.is_about_cut(packet):
            packet = self.first()
        packet.spoofed = packet.kind != "error" and self.dice.random() < 0.02
        self.sent.append(packet)
        return packet

    def is_about_cut(self, packet):
        """True if nobody can say what becomes of the packet, since it depends on whether the sweep has been there.  An
        error about what the policy denies now passes in no case."""
        about = packet.quoted or packet
        cut = self.cut & {about.names(), about.answers()}
        if packet.quoted:
            return any(self.reference.allows(names) for names in cut)
        return bool(cut)

    def first(self):
        """Of a new connection, or of one that is there."""
        source, destination = self.dice.sample(NAMES, 2)
        packet = Packet(self.dice.choice((4, 6)), self.dice.choice(("tcp", "tcp", "udp", "echo")), source, destination)
        if packet.kind == "echo":
            packet.identifier = self.dice.randrange(1000, 1006)
        else:
            packet.source_port, packet.destination_port = self.dice.randrange(1000, 1010), self.dice.choice(PORTS)
        if packet.kind == "tcp":
            packet.flags, packet.sequence = "S", self.dice.randrange(2**32)
        if packet.names() in self.reference.connections and packet.kind == "tcp":
            return self.tcp() or packet
        return packet

    def stray(self):
        """What fits no connection."""
        packet = self.first()
        if packet.kind == "tcp":
            packet.flags = self.dice.choice(("A", "SA", "FA", "R", "RA", "SF", "", "PA"))
            packet.acknowledgment = self.dice.randrange(2**32)
            packet.source_port += 100
        elif packet.kind == "echo":
            packet.reply, packet.identifier = True, packet.identifier + 100
        return packet

    def answer(self):
        known = [names for names, state in self.reference.connections.items() if state is True]
        if not known:
            return None
        version, kind, source, destination, port, service = self.dice.choice(known)
        packet = Packet(version, kind, destination, source, source_port=service, destination_port=port)
        if kind == "echo":
            packet.source_port = packet.destination_port = 0
            packet.identifier, packet.reply = port, True
        return packet

    def error(self):
        """About a packet that was sent, from the host that it was for; or from another, or to another."""
        quoted = self.dice.choice(self.sent[-20:]) if self.sent else None
        if quoted is None or quoted.kind == "error" or quoted.spoofed or quoted.source == quoted.destination:
            return None
        source, destination = quoted.destination, quoted.source
        if self.dice.random() < 0.3:
            source = self.dice.choice(NAMES)
        if source == destination:
            return None
        return Packet(quoted.version, "error", source, destination, quoted=quoted)

    def tcp(self):
        """The next segment of a connection, or one that is off by a little or by much."""
        known = [(names, state) for names, state in self.reference.connections.items() if state is not True]
        if not known:
            return None
        names, state = self.dice.choice(known)
        sender = self.dice.randrange(2)
        mine, its = state.sides[sender], state.sides[not sender]
        version, _, source, destination, port, service = names
        if sender == 1:
            source, destination, port, service = destination, source, service, port
        packet = Packet(version, "tcp", source, destination, source_port=port, destination_port=service)
        if state.is_over() and sender == 1:
            return None  # What the answers to a connection that is over may do is the next one's matter.
        self.fill(packet, mine, its, sender)
        if self.dice.random() < 0.15:
            self.spoil(packet)
        if self.is_open(packet, mine, its, sender):
            return None
        return packet

    def fill(self, packet, mine, its, sender):
        if mine.first is None:
            packet.flags = self.dice.choice(("SA", "SA", "SA", "RA", "A", "PA"))
            packet.sequence = self.dice.randrange(2**32)
        elif sender == 1 and not mine.open and not its.open:
            packet.flags, packet.sequence = self.dice.choice(("SA", "R")), mine.first
            if packet.flags == "R":
                packet.sequence = mine.next
        else:
            packet.flags = self.dice.choice(("A", "A", "A", "PA", "PA", "FA", "S", "R"))
            packet.sequence = mine.next
        if packet.flags == "PA":
            packet.payload = self.dice.randrange(1, 30)
        if packet.flags == "S":
            packet.sequence = mine.first if self.dice.random() < 0.5 else self.dice.randrange(2**32)
        if "A" in packet.flags and its.next is not None:
            packet.acknowledgment = its.next

    def spoil(self, packet):
        """Far away: half of all numbers are neither in the window nor near it."""
        distance = self.dice.randrange(2**29, 2**31)
        if "A" in packet.flags and self.dice.random() < 0.5:
            packet.acknowledgment = (packet.acknowledgment + distance) % 2**32
        elif packet.flags not in ("S", "SA"):
            packet.sequence = (packet.sequence + distance) % 2**32
        else:
            packet.flags = self.dice.choice(("SF", "SR", "SFA"))

    @staticmethod
    def is_open(packet, mine, its, sender):
        """What the reference leaves open."""
        if sender == 0 and its.first is None and packet.flags == "R":
            return True  # A RST for a connection that the other side remembers.
        if packet.flags == "SA" and (sender == 0 or mine.open):
            return True
        return packet.flags == "S" and sender == 1


# --- The wire --------------------------------------------------------------------------------------------------


class Wire:
    """The switch, and the hosts at its ports."""

    def __init__(self, switch):
        self.switch = switch
        self.hosts = {}
        self.count = 0
        for number, name in enumerate([*NAMES, "sink"], 1):
            own = [f"10.0.0.{number}", f"fd00::{number}", f"10.0.0.{100 + number}", f"fd00::{100 + number}"]
            zone = ZONES.get(name, "a") or "nowhere"
            host = switch.host(name, number, zone=zone, port_options={"address": ",".join(own)})
            host.silent = {4: own[2], 6: own[3]}
            self.hosts[name] = host

    def ip(self, packet, number):
        source = "sink" if packet.spoofed else packet.source
        addresses = dict(src=self.hosts[source].silent[packet.version],
                         dst=self.hosts[packet.destination].silent[packet.version])
        ip = IP(id=number & 0xffff, **addresses) if packet.version == 4 else IPv6(fl=number, **addresses)
        if packet.kind == "tcp":
            return ip / TCP(sport=packet.source_port, dport=packet.destination_port, flags=packet.flags,
                            seq=packet.sequence, ack=packet.acknowledgment, window=WINDOW) / bytes(packet.payload)
        if packet.kind == "udp":
            return ip / UDP(sport=packet.source_port, dport=packet.destination_port) / b"model"
        if packet.kind == "echo" and packet.version == 4:
            return ip / ICMP(type=0 if packet.reply else 8, id=packet.identifier) / b"model"
        if packet.kind == "echo":
            return ip / (ICMPv6EchoReply if packet.reply else ICMPv6EchoRequest)(id=packet.identifier, data=b"model")
        quoted = bytes(self.ip(packet.quoted, 0))
        return ip / (ICMP(type=3, code=1) / quoted[:28] if packet.version == 4 else ICMPv6DestUnreach() / quoted[:48])

    def frame(self, packet):
        self.count += 1
        return bytes(Ether(src=self.hosts[packet.source].mac, dst=self.hosts[packet.destination].mac)
                     / self.ip(packet, self.count))

    def barrier(self, name):
        """Waits until the switch has dealt with what `name` has sent."""
        self.count += 1
        host, sink = self.hosts[name], self.hosts["sink"]
        frame = bytes(Ether(src=host.mac, dst=sink.mac)
                      / ARP(op=2, hwsrc=host.mac, psrc=host.ipv4, hwdst=sink.mac, pdst=f"10.9.{self.count >> 8 & 255}."
                                                                                    f"{self.count & 255}"))
        host.packets.send(frame)
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            select.select([sink.packets.socket], [], [], 0.5)
            if any(one[:42] == frame for one in sink.packets.pending()):
                return
        raise AssertionError("the switch does not answer")

    def heard(self, name, frame, seconds):
        """True if the host hears the frame in time; what else there is, is forgotten."""
        limit = time.monotonic() + seconds
        while True:
            if any(one[:len(frame)] == frame for one in self.hosts[name].packets.pending()):
                return True
            if (left := limit - time.monotonic()) <= 0:
                return False
            select.select([self.hosts[name].packets.socket], [], [], left)

    def arrives(self, packet, expected):
        frame = self.frame(packet)
        self.hosts[packet.source].packets.send(frame)
        if packet.source != "lost":  # From whom not even ARP passes: nothing is expected of it.
            self.barrier(packet.source)
        return self.heard(packet.destination, frame, 20 if expected else 0.0005)


@pytest.fixture(scope="module")
def wire(shared):
    shared.add_network()
    # What nobody speaks of for a while is not to be forgotten: the reference knows no time.
    options = [[f"timeout-{name}", "86400"] for name in (
        "tcp-syn-sent", "tcp-syn-received", "tcp-fin-wait", "tcp-closing", "tcp-time-wait", "tcp-closed",
        "udp-unanswered", "udp", "icmp")]
    transact(shared, {"op": "update", "table": "Host", "where": [], "row": {"other_config": ["map", options]}})
    one = Wire(shared)
    for host in one.hosts.values():
        host.packets.drain()
    return one


@pytest.mark.parametrize("seed", SEEDS)
def test_the_switch_does_as_the_reference_says(wire, seed):
    if seed == "random":
        seed = random.SystemRandom().randrange(4, 2**32)
    reference = Reference(ZONES)
    generator = Generator(seed, reference)
    wire.switch.cordon("conn", "flush", "--all")
    wait_for(lambda: not wire.switch.connections(), 20, "the end of the last run's connections")
    story, arrived = [], 0
    for step in range(STEPS):
        if step % 100 == 0:
            reference.policy = generator.policy()
            wire.switch.policy(reference.policy.document())
            generator.cut |= {names for names in reference.connections if not reference.allows(names)}
        packet = generator.packet()
        expected = reference.passes(packet)
        story.append(f"{step}: {packet} {'arrives' if expected else 'is dropped'}")
        real = wire.arrives(packet, expected)
        assert real == expected, (f"seed {seed}, step {step}: {packet} {'arrived' if real else 'did not arrive'}\n"
                                  + reference.policy.document() + "\n".join(story[-40:]))
        arrived += real
    assert STEPS / 10 < arrived < STEPS * 9 / 10, f"seed {seed}: {arrived} of {STEPS} arrived, which tells little"
