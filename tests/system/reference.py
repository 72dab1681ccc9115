# SPDX-License-Identifier: Apache-2.0
"""What the switch is to do, said again as plainly as can be: rules tried one by one, connections in a dictionary, TCP
by what each side has sent.  test_model.py holds the switch to it, packet by packet.

Nothing here is fast or knows the switch's code.  What it leaves open (numbers that are neither next nor far away,
time-outs, fragments) is not asked of it.
"""

import dataclasses

TIERS = ("first", "second", "third")
WINDOW = 8000


@dataclasses.dataclass
class Rule:
    tier: str
    source: object  # A list of zones, or "any".
    destination: object
    service: str
    action: str


@dataclasses.dataclass
class Policy:
    rules: list  # Of a tier, in this order.
    between: str
    within: str

    def document(self):
        """As docs/zones.md has it: a policy for each rule, so that their order within a tier matters too."""
        zones = "".join(f"  {zone}: {{match: \"zone={zone}\"}}\n" for zone in ("a", "b", "c"))
        policies = "".join(
            f"  - id: p{at}\n    tier: {rule.tier}\n    rules:\n      - {{id: r, from: {text(rule.source)},"
            f" to: {text(rule.destination)}, service: {rule.service}, action: {rule.action}}}\n"
            for at, rule in enumerate(self.rules))
        return (f"zones:\n{zones}tiers: [{', '.join(TIERS)}]\npolicies:\n{policies}"
                f"baseline: {{between_zones: {self.between}, within_zone: {self.within}, log: none}}\n")

    def allows(self, source, destination, packet):
        """The verdict on the first packet of a connection.  None stands for quarantine."""
        if source is None or destination is None:
            return False
        for tier in TIERS:
            for rule in self.rules:
                if (rule.tier == tier and takes(rule.source, source) and takes(rule.destination, destination)
                        and is_service(rule.service, packet)):
                    if rule.action == "pass":
                        break  # On to the next tier.
                    return rule.action == "allow"
        return (self.within if source == destination else self.between) == "allow"


def text(zones):
    return zones if zones == "any" else "[" + ", ".join(zones) + "]"


def takes(zones, zone):
    return zones == "any" or zone in zones


def is_service(service, packet):
    protocol, _, port = service.partition("/")
    if service == "any":
        return True
    if protocol in ("icmp", "icmpv6"):
        return packet.kind == "echo" and (protocol == "icmp") == (packet.version == 4)
    if protocol != packet.kind:
        return False
    first, _, last = port.partition("-")
    return not port or int(first) <= packet.destination_port <= int(last or first)


@dataclasses.dataclass
class Packet:
    """One packet between two of the hosts, which are known by name."""
    version: int
    kind: str  # "tcp", "udp", "echo" (a request, or a reply), "error"
    source: str
    destination: str
    spoofed: bool = False  # With another host's address.
    source_port: int = 0
    destination_port: int = 0
    flags: str = ""
    sequence: int = 0
    acknowledgment: int = 0
    payload: int = 0
    identifier: int = 0
    reply: bool = False
    quoted: object = None  # The Packet that an error is about.

    def names(self):
        """The connection that it begins, if it begins one."""
        if self.kind == "echo":
            return (self.version, "echo", self.source, self.destination, self.identifier, 0)
        return (self.version, self.kind, self.source, self.destination, self.source_port, self.destination_port)

    def answers(self):
        """The connection that it answers, if it answers one."""
        if self.kind == "echo":
            return (self.version, "echo", self.destination, self.source, self.identifier, 0)
        return (self.version, self.kind, self.destination, self.source, self.destination_port, self.source_port)


class Side:
    """One side of a TCP connection."""

    def __init__(self):
        self.first = None  # Its initial sequence number.
        self.next = None  # Behind all that it has sent.
        self.oldest = None  # What it may wait for begins here: a keepalive is one before what is acknowledged.
        self.open = False  # It has sent something behind its SYN.
        self.fin = False
        self.fin_acked = False
        self.reset = False


def near(number, other, distance=WINDOW):
    """Sequence numbers that are no further apart, on a circle."""
    return min((number - other) % 2**32, (other - number) % 2**32) <= distance


class Tcp:
    """A TCP connection, seen from the middle.  The sides: 0 opened it."""

    def __init__(self, syn):
        self.sides = [Side(), Side()]
        self.sides[0].first = syn.sequence
        self.sides[0].next = (syn.sequence + 1) % 2**32
        self.sides[0].oldest = syn.sequence

    def is_over(self):
        return any(side.reset for side in self.sides) or all(side.fin and side.fin_acked for side in self.sides)

    def passes(self, packet, sender):
        mine, its = self.sides[sender], self.sides[not sender]
        flags = set(packet.flags)
        if not any(flags & {"S", "R", "F", "A"} == set(good) for good in ("S", "SA", "A", "FA", "R", "RA")):
            return False
        if "R" in flags:
            return self.reset(packet, mine, its)
        if "S" in flags:
            return self.synchronise(packet, mine, its, sender, "A" in flags)
        if mine.first is None:  # In place of a SYN-ACK, from one who remembers another connection: without data.
            return not its.reset and its.first is not None and not its.open and not packet.payload and "F" not in flags
        if its.first is None or mine.reset or (its.reset and not mine.open):
            return False
        return self.acknowledge(packet, mine, its, "F" in flags)

    def synchronise(self, packet, mine, its, sender, acknowledges):
        if not acknowledges:
            if sender == 1:
                return False  # It would be another connection (a simultaneous open is not asked of this model).
            if its.first is None:
                mine.first, mine.next = packet.sequence, (packet.sequence + 1) % 2**32
                mine.oldest = mine.first
            return True  # On an open connection the other side asks back.
        if sender == 0 or mine.open or mine.reset or its.reset:
            return False
        if its.open:
            return packet.sequence == mine.first and near(packet.acknowledgment, its.next)
        if packet.acknowledgment != its.next:
            return False
        mine.first, mine.next = packet.sequence, (packet.sequence + 1) % 2**32
        mine.oldest = mine.first
        return True

    def acknowledge(self, packet, mine, its, fin):
        if not mine.open and its.first is not None and not its.open and packet.acknowledgment != its.next:
            return False  # The handshake's must be exact.
        end = (packet.sequence + packet.payload + fin) % 2**32
        if not near(packet.sequence, mine.next) or not near(packet.acknowledgment, its.next):
            return False
        if (its.next - packet.acknowledgment) % 2**32 > WINDOW:
            return False  # Of what was never sent.
        ahead = (end - mine.next) % 2**32
        if ahead <= WINDOW and ahead > 0:
            if mine.fin:
                return False  # Nothing follows a FIN.
            mine.next = end
        mine.open = True
        its.oldest = (packet.acknowledgment - 1) % 2**32
        mine.fin |= fin
        its.fin_acked |= its.fin and packet.acknowledgment == its.next
        return True

    def reset(self, packet, mine, its):
        if mine.first is None:
            if "A" not in packet.flags or packet.acknowledgment != its.next or its.reset:
                return False
            mine.reset = True
            return True
        if packet.sequence == mine.next:
            mine.reset = True
            return True
        return near(packet.sequence, mine.next)


class Reference:
    """The switch, in slow motion."""

    def __init__(self, zones):
        self.zones = zones  # By host; None: in quarantine.
        self.policy = None
        self.connections = {}  # By its first packet's names(): a Tcp, or True.

    def allows(self, names):
        version, kind, source, destination, _, port = names
        packet = Packet(version, kind, source, destination, destination_port=port)
        return self.policy.allows(self.zones[source], self.zones[destination], packet)

    def passes(self, packet):
        """True if the packet is to arrive."""
        if packet.spoofed:
            return False
        if packet.kind == "error":
            return self.error_passes(packet)
        for sender, names in ((0, packet.names()), (1, packet.answers())):
            if packet.kind == "echo" and packet.reply != bool(sender):
                continue
            if names in self.connections:
                if not self.allows(names):
                    del self.connections[names]  # Cut by a policy that came later.
                    return False
                known = self.connections[names]
                if known is True:
                    return True
                if not (packet.flags == "S" and known.is_over()):
                    return known.passes(packet, sender)
                if sender == 1:
                    return False
        return self.begins(packet)

    def begins(self, packet):
        if packet.kind == "tcp" and packet.flags != "S" or packet.kind == "echo" and packet.reply:
            return False
        if not self.allows(packet.names()):
            return False
        self.connections[packet.names()] = Tcp(packet) if packet.kind == "tcp" else True
        return True

    def error_passes(self, packet):
        """It comes from the other end of a connection to who sent the packet that it quotes, in the window."""
        quoted = packet.quoted
        if quoted.source != packet.destination or quoted.destination != packet.source or quoted.kind == "error":
            return False
        for sender, names in ((0, quoted.names()), (1, quoted.answers())):
            if quoted.kind == "echo" and quoted.reply != bool(sender):
                continue
            known = self.connections.get(names)
            if known is None:
                continue
            if not self.allows(names):
                return False
            if known is True:
                return True
            mine = known.sides[sender]
            return (mine.next is not None and not any(side.reset for side in known.sides)
                    and (quoted.sequence - mine.oldest) % 2**32 <= (mine.next - mine.oldest) % 2**32)
        return False
