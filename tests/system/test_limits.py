# SPDX-License-Identifier: Apache-2.0
"""What may be opened: by a vNIC, by a zone, by a rule, and to a vNIC from outside.  And connections in mid-stream.

    client1 .1    client2 .2    server .3    other .4
       |             |             |            |
     --+-------------+-------------+------------+--  network lan, VLAN 10
                                                |
                                          outside .9, an uplink; zone `outside` by prefix
"""

import contextlib
import random
import socket
import time

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

import cordon
from cordon import wait_for
from database import transact
from host import TcpServer, UdpServer

CAPACITY = 4096
HALF_OPEN = ("SYN-SENT", "SYN-RECEIVED", "UNANSWERED", "DENIED")

POLICY = """\
zones:
  client:  {{match: "zone=client"{client}}}
  server:  {{match: "zone=server"{server}}}
  outside: {{cidrs: [10.0.0.9, 10.9.0.0/16, "fd00::9", "fd00:9::/32"]}}
policies:
{before}  - id: shop
    rules:
      - {{id: tcp, from: [client, outside], to: server, service: tcp, action: allow, log: session{tcp}}}
      - {{id: udp, from: client, to: server, service: udp, action: allow, log: session{udp}}}
      - {{id: out, from: server, to: outside, action: allow, log: session}}
baseline: {{between_zones: deny, within_zone: allow, log: denied}}
"""

BEFORE = """\
  - id: earlier
    rules:
      - {id: unused, from: outside, to: client, service: tcp/9, action: deny}
"""


def policy(client="", server="", tcp="", udp="", before=""):
    """The policy with these limits: client="limits: {connections: 3}"."""
    parts = {"client": client, "server": server, "tcp": tcp, "udp": udp}
    return POLICY.format(before=before, **{name: text and ", " + text for name, text in parts.items()})


class Site:
    """The hosts, and what the tests ask of their switch."""

    def __init__(self, switch):
        self.switch = switch
        switch.add_network()
        switch.policy(policy())
        self.client1 = switch.host("client1", 1, zone="client")
        self.client2 = switch.host("client2", 2, zone="client")
        self.server = switch.host("server", 3)
        self.other = switch.host("other", 4, zone="server")
        self.outside = switch.uplink("outside", 9)
        for one in (self.client1, self.client2, self.server, self.other, self.outside):
            for another in (self.client1, self.client2, self.server, self.other, self.outside):
                if one is not another:
                    one.knows(another)

    def use(self, kind, name):
        """What counts there: connections and half-open ones."""
        rows = [row for row in self.switch.json("limit", "list", "--all")
                if row["kind"] == kind and row["name"] == name]
        return (rows[0]["connections"], rows[0]["half_open"]) if rows else None

    def flush(self):
        """Ends all connections.  Hosts may go on trying: a denial may be there again at once."""
        self.switch.cordon("conn", "flush", "--all")
        wait_for(lambda: not self.switch.connections(verdict="allowed"), 20, "the end of all connections")

    def wait_use(self, kind, name, connections, half_open):
        """A connection is open at its ends before its last segment has passed the switch."""
        wait_for(lambda: self.use(kind, name) == (connections, half_open),
                 what=f"{connections} connections, {half_open} half-open, of {kind} {name}")

    def refused(self, reason):
        return self.switch.drops()[reason]

    def wait_refused(self, reason, count):
        """A sender may have given up before its packet is refused."""
        wait_for(lambda: self.refused(reason) >= count, what=f"{count} packets refused: {reason}")

    def counted(self, **fields):
        """The same from the list of connections."""
        rows = self.switch.connections(**fields)
        return len(rows), sum(row["state"] in HALF_OPEN for row in rows)

    def expected_counts(self):
        """What there is.  What is denied counts in its port's quota alone."""
        expected = {("zone", "client"): self.counted(source_zone="client", verdict="allowed"),
                    ("rule", "shop/tcp"): self.counted(rule="tcp", verdict="allowed"),
                    ("rule", "shop/udp"): self.counted(rule="udp", verdict="allowed")}
        for port in ("client1", "client2", "server", "other"):
            expected["port", port] = self.counted(in_port=port)
            expected["inbound", port] = self.counted(in_port="outside", out_port=port)
        return expected

    def wrong_counts(self):
        """What counts and what there is, where they differ."""
        expected = self.expected_counts()
        found = {where: self.use(*where) for where in expected}
        return [(where, found[where], there) for where, there in expected.items() if found[where] not in (None, there)]

    def wrong_counts_at_rest(self):
        """The same, between two looks at the connections that saw no difference: then none is the looks' fault."""
        for _ in range(20):
            before, wrong = self.expected_counts(), self.wrong_counts()
            if before == self.expected_counts():
                return wrong
        raise AssertionError("connections came and went all the time")

    def audit(self, when, seconds=30):
        """Connections come and go between two looks, so a difference must last to be one."""
        wrong = []
        try:
            wait_for(lambda: not wrong.clear() and not wrong.extend(self.wrong_counts()) and not wrong, seconds)
        except AssertionError as error:
            raise AssertionError(f"{when}: {wrong}") from error


@pytest.fixture(scope="module")
def module_site():
    switch = cordon.Switch("limits")
    try:
        switch.up("--max-connections", CAPACITY)
        # However long a flood takes, nothing of it is over before it is looked at.
        options = [[f"timeout-{name}", "86400"] for name in ("tcp-syn-sent", "udp-unanswered")]
        transact(switch, {"op": "update", "table": "Host", "where": [], "row": {"other_config": ["map", options]}})
        yield Site(switch)
    finally:
        switch.close()


@pytest.fixture
def site(module_site):
    yield module_site
    module_site.switch.policy(policy())
    module_site.flush()


def ip(source, destination, version, **fields):
    layer = IP if version == 4 else IPv6
    return layer(src=fields.get("src", source.address(version)), dst=destination.address(version))


def datagrams(source, destination, version, ports):
    """UDP from these ports, which nobody answers."""
    return [Ether(src=source.mac, dst=destination.mac) / ip(source, destination, version)
            / UDP(sport=port, dport=9999) / b"x" for port in ports]


def send_unanswered(source, destination, version, ports):
    source.packets.send(*datagrams(source, destination, version, ports))


# --- each limit of each kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["zone", "rule", "port"])
def test_connections_at_one_time(site, version, where):
    """Three are held open; the fourth is refused by name, and comes through when one has ended."""
    if where == "port":
        site.switch.cordon("port", "set", "client1", "--connection-limit", 3)
    else:
        site.switch.policy(policy(**{"client" if where == "zone" else "tcp": "limits: {connections: 3}"}))
    reason = {"zone": "zone-quota", "rule": "rule-quota", "port": "port-quota"}[where]
    name = {"zone": "client", "rule": "shop/tcp", "port": "client1"}[where]
    # A vNIC's limit is its own; a zone's and a rule's hold for all who are in it, together.
    fourth = site.client1 if where == "port" else site.client2
    before = site.refused(reason)
    try:
        with TcpServer(site.server, 80), contextlib.ExitStack() as stack:
            held = [stack.enter_context(site.client1.connect(site.server.address(version), 80)) for _ in range(3)]
            site.wait_use(where, name, 3, 0)
            assert not fourth.can_connect(site.server.address(version), 80, 0.3)
            site.wait_refused(reason, before + 1)
            record = site.switch.wait_log(kind="limit", reason=reason)[-1]
            assert record["verdict"] == "denied" and record["source_zone"] == "client"
            assert record["rule"] == "tcp"
            held[0].sendall(b"on")
            assert held[0].recv(10) == b"on", "what is open goes on"
            port = held[0].getsockname()[1]
            site.switch.cordon("conn", "flush", "--address", site.client1.address(version))
            wait_for(lambda: not site.switch.connections(source_port=port), 20, "its end")
            assert fourth.can_connect(site.server.address(version), 80)
    finally:
        if where == "port":
            site.switch.cordon("port", "set", "client1", "--connection-limit", "default")


@pytest.mark.parametrize("where", ["zone", "rule", "port"])
def test_half_open(site, version, where):
    if where == "port":
        site.switch.cordon("port", "set", "client1", "--half-open-limit", 4)
    else:
        site.switch.policy(policy(**{"client" if where == "zone" else "udp": "limits: {half_open: 4}"}))
    reason = {"zone": "zone-half-open", "rule": "rule-half-open", "port": "half-open-quota"}[where]
    name = {"zone": "client", "rule": "shop/udp", "port": "client1"}[where]
    before = site.refused(reason)
    try:
        with UdpServer(site.server, 53):
            for port in range(3000, 3010):  # Those that are answered do not count.
                assert site.client1.can_ask(site.server.address(version), 53, source_port=port)
            site.wait_use(where, name, 10, 0)
            send_unanswered(site.client1, site.server, version, range(4000, 4010))
            site.wait_refused(reason, before + 6)
            site.wait_use(where, name, 14, 4)
            assert not site.client1.can_ask(site.server.address(version), 53, 0.3, source_port=3100)
            assert site.client1.can_ask(site.server.address(version), 53, source_port=3000), "what is open goes on"
            assert site.switch.wait_log(kind="limit", reason=reason)
    finally:
        if where == "port":
            site.switch.cordon("port", "set", "client1", "--half-open-limit", "default")


@pytest.mark.parametrize("where", ["zone", "rule", "port"])
def test_new_ones_per_second(site, version, where):
    if where == "port":
        site.switch.cordon("port", "set", "client1", "--new-connection-limit", 5)
    else:
        site.switch.policy(policy(**{"client" if where == "zone" else "udp": "limits: {new_per_second: 5}"}))
    reason = where + "-rate"
    before = site.refused(reason)
    try:
        with UdpServer(site.server, 53):
            frames = [bytes(frame) for frame in datagrams(site.client1, site.server, version, range(5000, 5040))]
            began = time.monotonic()
            site.client1.packets.send(*frames)
            wait_for(lambda: site.refused(reason) - before + len(site.switch.connections(
                destination_port=9999)) >= 40, 20, "the treatment of all")
            seconds = time.monotonic() - began
            assert 5 <= len(site.switch.connections(destination_port=9999)) <= 5 + 5 * seconds
            wait_for(lambda: site.client1.can_ask(site.server.address(version), 53, 0.3), 20, "tokens again")
            assert site.switch.wait_log(kind="limit", reason=reason)
    finally:
        if where == "port":
            site.switch.cordon("port", "set", "client1", "--new-connection-limit", "default")


def test_limits_of_a_port_go_back_to_their_defaults(site):
    site.switch.cordon("port", "set", "client1", "--connection-limit", 7, "--half-open-limit", 0)
    assert site.switch.port("client1")["limits"] == {"connections": 7, "half-open": 0}
    site.switch.cordon("port", "set", "client1", "--connection-limit", "default", "--half-open-limit", "default")
    assert site.switch.port("client1")["limits"] == {}
    result = site.switch.try_cordon("port", "set", "client1", "--connection-limit", "none")
    assert result.returncode != 0 and "connection-limit" in result.stderr


# --- counts -----------------------------------------------------------------------------------------------------


def make_traffic(site, rng, stack):
    """Connections of all sorts: held open, closed, reset, unanswered, from inside and outside.  Returns the addresses
    and ports from which some are held open."""
    held = set()
    for _ in range(30):
        version = rng.choice((4, 6))
        source, destination = rng.choice([(site.client1, site.server), (site.client2, site.server),
                                          (site.client1, site.other), (site.outside, site.server)])
        what = rng.choice(("hold", "close", "reset", "unanswered", "ask"))
        address = destination.address(version)
        if what == "unanswered" and source is not site.outside:
            send_unanswered(source, destination, version, [rng.randrange(20000, 30000)])
        elif what == "ask" and source is not site.outside:
            source.can_ask(address, 53, 0.5)
        elif what in ("hold", "close", "reset"):
            connection = source.connect(address, 80)
            if what == "hold":
                stack.enter_context(connection)
                held.add(connection.getsockname()[:2])
                continue
            if what == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
    return held


def test_counts_are_exact_over_policies_kills_and_many_connections(site):
    """They are compared with the list of connections, after each of many changes; at the end all are 0."""
    limits = {"client": "limits: {connections: 1000, half_open: 500}", "tcp": "limits: {connections: 900}",
              "udp": "limits: {connections: 800, new_per_second: 10000}"}
    rng = random.Random(7)
    site.switch.policy(policy(**limits))
    with TcpServer(site.server, 80), TcpServer(site.other, 80), UdpServer(site.server, 53), \
            UdpServer(site.other, 53), contextlib.ExitStack() as stack:
        held = make_traffic(site, rng, stack)
        site.audit("counts that are those of the connections")
        assert site.use("zone", "client")[0] > 10 and site.use("rule", "shop/tcp")[0] > 10

        # Other numbers for the same names, and other limits: the counts stay, and so does every open connection.
        def open_ones():
            """Those that are held, with their numbers in the table."""
            return {(row["id"], row["source_port"]) for row in site.switch.connections(rule="tcp", state="ESTABLISHED")
                    if (row["source"], row["source_port"]) in held}

        before = wait_for(lambda: len(found := open_ones()) == len(held) > 1 and found, what="all that are held")
        site.switch.policy(policy(before=BEFORE, **dict(limits, tcp="limits: {connections: 1}")))
        site.audit("the same counts under other numbers")
        wait_for(lambda: site.use("rule", "shop/tcp")[0] == len(site.switch.connections(rule="tcp")) > 1, 20,
                 "the count of what there is")
        assert open_ones() == before, "nobody is cut by a limit that shrank"
        assert not site.client2.can_connect(site.server.ipv4, 80, 0.3)

        # Without limits nothing counts; with them again, what exists does.
        site.switch.policy(policy())
        make_traffic(site, rng, stack)
        site.switch.policy(policy(**limits))
        site.audit("counts of what was opened without limits")

        for _ in range(2):
            site.switch.kill()
            site.switch.up("--max-connections", CAPACITY)
            wait_for(lambda: site.use("zone", "client") is not None, 20, "the policy")
            assert not site.wrong_counts_at_rest(), "right from the start"
            site.switch.wait_polled()
            make_traffic(site, rng, stack)
            site.audit("the counts after a restart")

        # A new policy while the switch was away: judged anew.
        site.switch.policy(policy(before=BEFORE, **limits))
        site.audit("the counts under the next revision")
    site.flush()
    for kind, name in (("zone", "client"), ("rule", "shop/tcp"), ("rule", "shop/udp"), ("port", "client1"),
                       ("port", "client2"), ("port", "outside"), ("inbound", "server"), ("inbound", "other")):
        site.wait_use(kind, name, 0, 0)


def test_show(site):
    site.switch.policy(policy(client="limits: {connections: 1000}, pickup: true", udp="limits: {half_open: 5}"))
    send_unanswered(site.client1, site.server, 4, range(6000, 6003))
    wait_for(lambda: site.use("rule", "shop/udp") == (3, 3), 20, "three connections")
    assert "3 of 1,000" in site.switch.cordon("limit", "list")
    assert "1,000" in site.switch.cordon("zone", "show", "client")
    zone = site.switch.json("zone", "show", "client")
    assert zone["limits"]["max_connections"] == 1000 and zone["limits"]["connections"] == 3 and zone["pickup"]
    assert "limits" not in site.switch.json("zone", "show", "server")
    rules = site.switch.json("limit", "list", "--kind", "rule")
    assert [(row["name"], row["half_open"], row["max_half_open"]) for row in rules] == [("shop/udp", 3, 5)]


# --- floods -----------------------------------------------------------------------------------------------------


def syns(site, target, version, n, source=None):
    """SYNs to its port 80 from as many addresses outside."""
    frames = []
    for i in range(n):
        address = f"10.9.{i // 250}.{i % 250 + 1}" if version == 4 else f"fd00:9::{i + 1:x}"
        frames.append(Ether(src=(source or site.outside).mac, dst=target.mac)
                      / (IP if version == 4 else IPv6)(src=address, dst=target.address(version))
                      / TCP(sport=1024 + i, dport=80, flags="S", seq=i))
    return frames


def test_flood_from_outside_hurts_its_target_only(site, version):
    """3000 SYNs from as many addresses at one server: it gets a quarter of the table half-open, and all else goes on."""
    with TcpServer(site.server, 80), TcpServer(site.other, 80), TcpServer(site.outside, 80):
        kept = site.outside.connect(site.server.address(version), 80)
        before = site.refused("inbound-half-open")
        told = len(site.switch.log(kind="limit", reason="inbound-half-open"))  # Of the story's other version.
        began = time.monotonic()
        site.switch.send(site.outside, *syns(site, site.server, version, 3000))
        site.wait_refused("inbound-half-open", before + 1000)
        connections, half_open = site.use("inbound", "server")
        assert 1000 <= half_open <= CAPACITY // 4 and connections == half_open + 1
        site.wait_use("inbound", "other", 0, 0)

        assert not site.outside.can_connect(site.server.address(version), 80, 0.3), "the target suffers"
        assert site.outside.can_connect(site.other.address(version), 80), "another's new connections from outside"
        assert site.client1.can_connect(site.server.address(version), 80), "its neighbours' to the target"
        assert site.server.can_connect(site.outside.address(version), 80), "what the target opens itself"
        kept.sendall(b"still here")
        assert kept.recv(100) == b"still here"
        kept.close()
        records = site.switch.wait_log(kind="limit", reason="inbound-half-open")
        assert {record["destination_port"] for record in records} == {"server"}
        seconds = time.monotonic() - began
        assert len(records) - told < 20 + 12 * seconds, "the log is not flooded by addresses that anybody can make up"


def test_flood_by_a_guest_hurts_that_guest_only(site, version):
    with TcpServer(site.server, 80), UdpServer(site.server, 53):
        before = site.refused("half-open-quota")
        site.switch.send(site.client1, *datagrams(site.client1, site.server, version, range(10000, 13000)))
        site.wait_refused("half-open-quota", before + 1000)
        assert site.use("port", "client1")[1] <= CAPACITY // 4
        assert not site.client1.can_connect(site.server.address(version), 80, 0.3)
        assert site.client2.can_connect(site.server.address(version), 80), "another's, to the same victim"
        assert site.outside.can_connect(site.server.address(version), 80), "and from outside"


def test_floods_at_several_leave_room_for_all_others(site):
    """However many are flooded at once, what is free in the table is shared, and others find room."""
    def flood():
        for target in (site.server, site.other):
            site.outside.packets.send(*syns(site, target, 4, 2500))
        site.client1.packets.send(*datagrams(site.client1, site.server, 4, range(10000, 12500)))
        site.client2.packets.send(*datagrams(site.client2, site.server, 6, range(10000, 12500)))
        return all(site.use(*where)[1] >= 300 for where in (
            ("inbound", "server"), ("inbound", "other"), ("port", "client1"), ("port", "client2")))

    wait_for(flood, 90, "four floods")
    assert site.switch.status()["connections"]["count"] < CAPACITY * 0.9
    with TcpServer(site.outside, 80):
        assert site.server.can_connect(site.outside.ipv4, 80)
        assert site.other.can_connect(site.outside.ipv6, 80)


def test_an_uplink_is_held_to_what_is_set_for_it(site, version):
    site.switch.cordon("port", "set", "outside", "--connection-limit", 2)
    try:
        with TcpServer(site.server, 80), TcpServer(site.other, 80), contextlib.ExitStack() as stack:
            stack.enter_context(site.outside.connect(site.server.address(version), 80))
            stack.enter_context(site.outside.connect(site.other.address(version), 80))
            before = site.refused("port-quota")
            assert not site.outside.can_connect(site.other.address(version), 80, 0.3)
            site.wait_refused("port-quota", before + 1)
            assert site.client1.can_connect(site.other.address(version), 80)
    finally:
        site.switch.cordon("port", "set", "outside", "--connection-limit", "default")


# --- connections in mid-stream ----------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["client", "server"])
def test_pickup_takes_up_what_the_switch_does_not_know(site, version, zone):
    """As when a guest comes from another host: its connections go on, and the log says how they began."""
    site.switch.policy(policy(**{zone: "pickup: true"}))
    with TcpServer(site.server, 80):
        connection = site.client1.connect(site.server.address(version), 80)
        port = connection.getsockname()[1]
        connection.sendall(b"before")
        assert connection.recv(100) == b"before"
        site.flush()
        connection.sendall(b"after")
        assert connection.recv(100) == b"after"
        rows = site.switch.connections(source_port=port)
        assert [row["state"] for row in rows] == ["ESTABLISHED"]
        # Another story may have drawn the same port.
        wait_for(lambda: [record["reason"] for record in site.switch.log(kind="start", source_transport_port=port)][-2:]
                 == ["", "pickup"], 20, "how it began, both times")
        site.wait_use("port", "client1", 1, 0)  # Answered, so no longer half-open.
        connection.close()


def test_without_pickup_it_must_be_opened_anew(site, version):
    with TcpServer(site.server, 80):
        connection = site.client1.connect(site.server.address(version), 80)
        site.flush()
        before = site.refused("tcp-out-of-state")
        connection.settimeout(0.5)
        connection.sendall(b"lost")
        with pytest.raises(OSError):
            connection.recv(100)
        site.wait_refused("tcp-out-of-state", before + 1)
        assert not site.switch.connections(in_port="client1", verdict="allowed")
        connection.close()


def test_pickup_is_no_way_around_the_rules(site, version):
    """A rule must allow it; a segment that ends something takes nothing up; what is unanswered stays half-open."""
    site.switch.policy(policy(client="pickup: true", server="pickup: true"))

    def segment(source, destination, flags, port):
        return (Ether(src=source.mac, dst=destination.mac) / ip(source, destination, version)
                / TCP(sport=port, dport=81, flags=flags, seq=1000, ack=2000))

    site.server.packets.send(segment(site.server, site.client1, "A", 7000))
    wait_for(lambda: site.switch.connections(source_port=7000, verdict="denied"), 20, "the denial")
    before = site.refused("tcp-out-of-state")
    for flags in ("R", "RA", "FA", "SA"):
        site.client1.packets.send(segment(site.client1, site.server, flags, 7001))
    site.wait_refused("tcp-out-of-state", before + 4)
    # The answer to a segment of no connection is a RST, which ends what was taken up.
    site.client1.packets.send(*[segment(site.client1, site.server, "A", port) for port in range(7100, 7110)])
    wait_for(lambda: len(site.switch.connections(destination_port=81, verdict="allowed")) >= 10, 20, "ten taken up")
    site.audit("what was taken up and not answered")
