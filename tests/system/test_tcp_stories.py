# SPDX-License-Identifier: Apache-2.0
"""TCP on the wire, segment by segment, as tests/unit/tcp_state_test.c has it of the state machine alone: what passes,
what is dropped by which name, and the state that the connection is in.

    opener .101          responder .102       the hosts' own stacks do not know these addresses
      |                     |
    --+---------------------+--  network lan, VLAN 10; the opener's zone may open tcp/80 to the other, and nothing else

Each line: who sends, flags, number, acknowledgment, bytes, window; "" if it passes, or why it is dropped; the state
behind it; the window scale that is offered. The opener's numbers begin at 1000, the responder's at 5000.
"""

import itertools

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from cordon import wait_for

POLICY = """\
zones:
  opener: {match: "zone=opener"}
  responder: {match: "zone=responder"}
policies:
  - id: p
    rules:
      - {id: web, from: opener, to: responder, service: tcp/80, action: allow}
baseline: {between_zones: deny, within_zone: deny, log: none}
"""

PORTS = itertools.count(3000)  # A connection of its own for each story.

O, R = "opener", "responder"
WINDOW, STATE = "tcp-out-of-window", "tcp-out-of-state"
SENT, RECEIVED, OPEN, FIN, CLOSING, TIME, CLOSED = (
    "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT", "CLOSING", "TIME-WAIT", "CLOSED")
ANY = ...  # The sweep is at it.

HANDSHAKE = [
    (O, "S", 1000, 0, 0, 8000, "", SENT),
    (R, "SA", 5000, 1001, 0, 8000, "", RECEIVED),
    (O, "A", 1001, 5001, 0, 8000, "", OPEN),
]

CLOSED_BY_BOTH = [
    (O, "FA", 1001, 5001, 0, 8000, "", FIN),
    (R, "FA", 5001, 1002, 0, 8000, "", CLOSING),
    (O, "A", 1002, 5002, 0, 8000, "", TIME),
]

STORIES = {
    "half-close": HANDSHAKE + [
        (O, "FA", 1001, 5001, 20, 8000, "", FIN),
        (R, "A", 5001, 1022, 1400, 8000, "", FIN),
        (O, "A", 1022, 6401, 0, 8000, "", FIN),
        (R, "PA", 6401, 1022, 1400, 8000, "", FIN),
        (O, "PA", 1022, 7801, 10, 8000, WINDOW, FIN),  # Nothing follows a FIN.
        (O, "A", 1022, 7801, 0, 8000, "", FIN),
        (R, "FA", 7801, 1022, 0, 8000, "", CLOSING),
        (O, "A", 1022, 7802, 0, 8000, "", TIME),
    ],
    "both-close-at-once": HANDSHAKE + [
        (O, "FA", 1001, 5001, 0, 8000, "", FIN),
        (R, "FA", 5001, 1001, 0, 8000, "", CLOSING),
        (O, "A", 1002, 5002, 0, 8000, "", CLOSING),
        (R, "A", 5002, 1002, 0, 8000, "", TIME),
    ],
    "simultaneous-open": [  # RFC 9293, 3.5, figure 7.
        (O, "S", 1000, 0, 0, 8000, "", SENT, 2),
        (R, "S", 5000, 0, 0, 8000, "", RECEIVED, 3),
        (R, "SA", 5000, 1000, 0, 8000, WINDOW, RECEIVED),
        (O, "SA", 1000, 5001, 0, 8000, "", RECEIVED, 2),
        (R, "SA", 5000, 1001, 0, 8000, "", OPEN, 3),
        (O, "PA", 1001, 5001, 500, 8000, "", OPEN),
        (R, "A", 5001, 1501, 0, 8000, "", OPEN),
    ],
    "handshake-sent-again": [
        (O, "S", 1000, 0, 0, 8000, "", SENT),
        (O, "S", 1000, 0, 0, 8000, "", SENT),
        (R, "SA", 5000, 1001, 0, 8000, "", RECEIVED),
        (O, "S", 1000, 0, 0, 8000, "", RECEIVED),
        (R, "SA", 5000, 1001, 0, 8000, "", RECEIVED),
        (O, "A", 1001, 5001, 0, 8000, "", OPEN),
        (R, "SA", 5000, 1001, 0, 8000, "", OPEN),
        (O, "A", 1001, 5001, 0, 8000, "", OPEN),
    ],
    "answers-that-answer-nothing": [
        (O, "S", 1000, 0, 0, 8000, "", SENT),
        (R, "SA", 5000, 1000, 0, 8000, WINDOW, SENT),
        (R, "SA", 5000, 1002, 0, 8000, WINDOW, SENT),
        (R, "RA", 0, 1002, 0, 0, WINDOW, SENT),
        (R, "PA", 5001, 1001, 9, 8000, STATE, SENT),
        (O, "A", 1001, 5001, 0, 8000, STATE, SENT),
        (O, "S", 3000, 0, 0, 8000, "", SENT),  # Another SYN takes the first one's place.
        (R, "SA", 5000, 1001, 0, 8000, WINDOW, SENT),
        (R, "SA", 5000, 3001, 0, 8000, "", RECEIVED),
        (O, "A", 3001, 5002, 0, 8000, WINDOW, RECEIVED),
        (O, "A", 3001, 5001, 0, 8000, "", OPEN),
    ],
    "refused": [
        (O, "S", 1000, 0, 0, 8000, "", SENT),
        (R, "RA", 0, 1001, 0, 0, "", CLOSED),
        (O, "PA", 1001, 1, 9, 8000, STATE, CLOSED),
        (O, "S", 9000, 0, 0, 8000, "", SENT),
    ],
    "window": HANDSHAKE + [
        (O, "A", 9003, 5001, 0, 8000, WINDOW, OPEN),
        (O, "PA", 9000, 5001, 100, 8000, WINDOW, OPEN),
        (O, "PA", 1001, 5002, 100, 8000, WINDOW, OPEN),  # Of what was never sent.
        (O, "PA", 7601, 5001, 1400, 8000, "", OPEN),  # In the window, in disorder.
        (O, "PA", 1001, 5001, 1400, 8000, "", OPEN),
        (R, "A", 5001, 2401, 0, 8000, "", OPEN),
        (R, "A", 5001, 9002, 0, 8000, WINDOW, OPEN),
    ],
    "scaled-by-both": [
        (O, "S", 1000, 0, 0, 8000, "", SENT, 4),
        (R, "SA", 5000, 1001, 0, 8000, "", RECEIVED, 7),
        (O, "A", 1001, 5001, 0, 8000, "", OPEN),
        (R, "A", 5001, 1001, 0, 1000, "", OPEN),  # 1000 << 7.
        (O, "PA", 128000, 5001, 1000, 8000, "", OPEN),
        (O, "PA", 129001, 5001, 1000, 8000, WINDOW, OPEN),
        (R, "PA", 132000, 1001, 1000, 1000, "", OPEN),  # 8000 << 4.
        (R, "PA", 133001, 1001, 1000, 1000, WINDOW, OPEN),
    ],
    "scaled-by-one-only": [
        (O, "S", 1000, 0, 0, 8000, "", SENT, 4),
        (R, "SA", 5000, 1001, 0, 8000, "", RECEIVED),
        (O, "A", 1001, 5001, 0, 8000, "", OPEN),
        (R, "PA", 13000, 1001, 1000, 8000, WINDOW, OPEN),
        (R, "PA", 12001, 1001, 1000, 8000, "", OPEN),
    ],
    "reset-in-the-window": HANDSHAKE + [  # RFC 5961, 3: the receiver asks back; only the exact number ends.
        (O, "PA", 1001, 5001, 100, 8000, "", OPEN),
        (R, "A", 5001, 1101, 0, 8000, "", OPEN),
        (O, "R", 1102, 0, 0, 0, "", OPEN),
        (R, "A", 5001, 1101, 0, 8000, "", OPEN),  # The challenge ACK.
        (O, "R", 9102, 0, 0, 0, WINDOW, OPEN),
        (R, "R", 90000, 0, 0, 0, WINDOW, OPEN),
        (O, "PA", 1101, 5001, 100, 8000, "", OPEN),
        (R, "A", 5001, 1201, 0, 8000, "", OPEN),
        (O, "R", 1201, 0, 0, 0, "", CLOSED),
        (O, "A", 1201, 5001, 0, 8000, STATE, CLOSED),
    ],
    "syn-in-the-window": HANDSHAKE + [  # RFC 5961, 4: an opener that has forgotten, or somebody who guesses.
        (O, "PA", 1001, 5001, 100, 8000, "", OPEN),
        (O, "S", 77000, 0, 0, 8000, "", OPEN),
        (R, "A", 5001, 1101, 0, 8000, "", OPEN),  # The challenge ACK.
        (R, "S", 5001, 0, 0, 8000, STATE, OPEN),  # The other side may not open.
        (R, "SA", 90000, 1101, 0, 8000, WINDOW, OPEN),
        (O, "PA", 1101, 5001, 100, 8000, "", OPEN),
        (R, "A", 5001, 1201, 0, 8000, "", OPEN),
        (O, "R", 1201, 0, 0, 0, "", CLOSED),  # It had forgotten.
        (O, "S", 77000, 0, 0, 8000, "", SENT),
    ],
    "reuse-after-time-wait": HANDSHAKE + CLOSED_BY_BOTH + [
        (R, "FA", 5001, 1002, 0, 8000, "", TIME),  # The last ACK was lost.
        (O, "A", 1002, 5002, 0, 8000, "", TIME),
        (O, "S", 70000, 0, 0, 8000, "", SENT),
        (R, "SA", 80000, 1001, 0, 8000, WINDOW, SENT),
        (R, "SA", 80000, 70001, 0, 8000, "", RECEIVED),
        (O, "A", 70001, 80001, 0, 8000, "", OPEN),
    ],
    "the-responder-may-not-reuse-it": HANDSHAKE + CLOSED_BY_BOTH + [
        # It would be another connection: the next one finds the old one gone, and is for the rules to judge.
        (R, "S", 70000, 0, 0, 8000, STATE, ANY),
    ],
    "no-pick-up": [
        (O, "A", 1001, 5001, 0, 8000, STATE, None),
        (O, "PA", 1001, 5001, 10, 8000, STATE, None),
        (O, "SA", 1000, 5001, 0, 8000, STATE, None),
        (O, "FA", 1001, 5001, 0, 8000, STATE, None),
        (O, "R", 1001, 0, 0, 0, STATE, None),
        (R, "SA", 5000, 1001, 0, 8000, "policy", None),
        (O, "", 1001, 0, 0, 8000, "tcp-flags", None),
        (O, "FPU", 1001, 0, 0, 8000, "tcp-flags", None),
        (O, "SF", 1000, 0, 0, 8000, "tcp-flags", None),
        (O, "S", 1000, 0, 0, 8000, "", SENT),
    ],
    "flags-in-a-connection": HANDSHAKE + [
        (O, "", 1001, 5001, 0, 8000, "tcp-flags", OPEN),
        (R, "FPU", 5001, 1001, 0, 8000, "tcp-flags", OPEN),
        (O, "SRA", 1001, 5001, 0, 8000, "tcp-flags", OPEN),
        (O, "PUA", 1001, 5001, 5, 8000, "", OPEN),
    ],
}


class Stage:
    """One connection, between silent addresses."""

    def __init__(self, switch, version):
        self.switch, self.port = switch, next(PORTS)
        self.hosts = {host.name: host for host in switch.hosts}
        self.ip = IP if version == 4 else IPv6
        self.addresses = {name: host.silent[version] for name, host in self.hosts.items()}

    def frame(self, sender, flags, sequence, acknowledgment, n, window, scale):
        target = R if sender == O else O
        ports = (self.port, 80) if sender == O else (80, self.port)
        options = [("MSS", 1460), ("WScale", scale)] if scale is not None else []
        return bytes(Ether(src=self.hosts[sender].mac, dst=self.hosts[target].mac)
                     / self.ip(src=self.addresses[sender], dst=self.addresses[target])
                     / TCP(sport=ports[0], dport=ports[1], flags=flags, seq=sequence, ack=acknowledgment, window=window,
                           options=options) / bytes(n)), self.hosts[target]

    def fate(self, frame, sender, target):
        """"" if the frame arrives, else the name under which it was dropped."""
        target.packets.drain()
        before = self.switch.drops()
        self.hosts[sender].packets.send(frame)

        def known():
            if target.packets.receive(lambda one: bytes(one)[:len(frame)] == frame, 0.02):
                return [""]
            now = self.switch.drops()
            return [name for name in now if now[name] != before[name]]

        return wait_for(known, 10, "the frame or its drop", interval=0)

    def state(self):
        """Of the live connection that is allowed, or None."""
        rows = self.switch.connections(source=self.addresses[O], source_port=self.port, verdict="allowed")
        return rows[0]["state"] if rows else None


@pytest.fixture(scope="module")
def switch(shared):
    shared.add_network()
    shared.policy(POLICY)
    for name, number in ((O, 1), (R, 2)):
        own = [f"10.0.0.{number}", f"fd00::{number}", f"10.0.0.{100 + number}", f"fd00::{100 + number}"]
        host = shared.host(name, number, port_options={"address": ",".join(own)})
        host.silent = {4: own[2], 6: own[3]}
    for host in shared.hosts:  # So that every MAC is where it is known to be.
        host.packets.send(Ether(src=host.mac, dst="ff:ff:ff:ff:ff:ff", type=0x88b5) / bytes(46))
    return shared


@pytest.mark.parametrize("name", STORIES)
def test_story(switch, version, name):
    stage = Stage(switch, version)
    for at, (sender, flags, sequence, acknowledgment, n, window, fate, state, *scale) in enumerate(STORIES[name]):
        frame, target = stage.frame(sender, flags, sequence, acknowledgment, n, window, scale[0] if scale else None)
        line = f"line {at}: {sender} {flags} {sequence} {acknowledgment}"
        assert stage.fate(frame, sender, target) == [fate], line
        assert state is ANY or stage.state() == state, line
