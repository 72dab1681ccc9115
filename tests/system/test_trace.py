# SPDX-License-Identifier: Apache-2.0
"""`cordon trace` says what becomes of a packet: and a real one, sent afterwards, suffers exactly that.

    web .1     db .2     lost .3 (no zone)    small .4 (one connection)    off .5    pool .6 (pickup)    out .9 (uplink)
      |          |         |                    |                            |         |                   |
    --+----------+---------+--------------------+----------------------------+---------+-------------------+--  VLAN 10

Each host's port has a second address, 100 higher, that its kernel knows nothing of, so that only the test answers.
For every row of the table the trace is asked first, and must have changed nothing; then the frame is sent by the host,
or by `cordon trace --send` in its name.
"""

import itertools
import json
import time
import types

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS,
                                ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrFragment)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.utils import PcapWriter, wrpcap

from cordon import wait_for
from host import TcpServer, run

# Neither today nor, around midnight, yesterday or tomorrow.
ANOTHER_DAY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(time.gmtime().tm_wday + 3) % 7]

POLICY = """\
zones:
  web: {match: "zone=web"}
  db: {match: "zone=db"}
  pool: {match: "zone=pool", pickup: true}
  internet: {cidrs: [0.0.0.0/0, "::/0"]}
tiers: [emergency, application]
policies:
  - id: freeze
    tier: emergency
    rules:
      - {id: go-on, from: web, to: db, service: tcp/5432, action: pass}
      - {id: over, from: web, to: db, service: tcp/5999, action: allow, expires: 2020-01-01}
      - {id: some-day, from: web, to: db, service: tcp/5998, action: allow,
         schedule: {days: [ANOTHER_DAY], from: "06:00", to: "18:00"}}
      - {id: no-finger, from: web, to: db, service: tcp/79, action: deny, label: CHG-7}
  - id: rehearsal
    tier: emergency
    mode: simulate
    rules:
      - {id: no-dns, from: web, to: db, service: udp/53, action: deny}
  - id: app
    tier: application
    rules:
      - {id: sql, from: web, to: db, service: tcp/5432, action: allow, log: session}
      - {id: moved, from: web, to: pool, service: tcp/5432, action: allow}
      - {id: dns, from: web, to: db, service: udp/53, action: allow}
      - {id: diameter, from: web, to: db, service: sctp/3868, action: allow}
      - {id: ping, from: web, to: db, service: icmp, action: allow}
      - {id: ping6, from: web, to: db, service: icmpv6, action: allow}
      - {id: no-ssh, from: web, to: db, service: tcp/22, action: reject}
      - {id: surf, from: web, to: internet, service: tcp/80, action: allow}
      - {id: few, from: web, to: db, service: udp/99, action: allow, limits: {connections: 1}}
      - {id: few6, from: web, to: db, service: udp/100, action: allow, limits: {connections: 1}}
baseline: {between_zones: deny, within_zone: allow, log: denied}
""".replace("ANOTHER_DAY", ANOTHER_DAY)

SOURCE_PORTS = itertools.count(20000)
DATA = b"a story that is told twice"


class Site:
    """The hosts by name, and frames between their silent addresses."""

    def __init__(self, switch):
        self.switch = switch
        self.hosts = {}

    def add(self, name, number, zone=None, **options):
        silent = f"10.0.0.{number}", f"fd00::{number:x}", f"10.0.0.{100 + number}", f"fd00::{100 + number:x}"
        limits = options.pop("port_options", {})
        self.hosts[name] = self.switch.host(name, number, zone=zone or name,
                                            port_options={"address": ",".join(silent), **limits}, **options)

    def silent(self, name, version):
        number = int(self.hosts[name].ipv4.rpartition(".")[2])
        return f"10.0.0.{100 + number}" if version == 4 else f"fd00::{100 + number:x}"

    def ip(self, version, source, target, **fields):
        """Ethernet and IP from one host to another; `fields` may change the addresses and MACs."""
        macs = {"src": fields.pop("mac", self.hosts[source].mac),
                "dst": fields.pop("to_mac", self.hosts[target].mac)}
        values = {"src": self.silent(source, version), "dst": self.silent(target, version), **fields}
        return Ether(**macs) / (IP(**values) if version == 4 else IPv6(**values))

    def tcp(self, version, source="web", target="db", dport=5432, payload=b"", sport=None, **fields):
        values = {"sport": sport or next(SOURCE_PORTS), "dport": dport, "flags": "S", "seq": 1000, **fields}
        return self.ip(version, source, target) / TCP(**values) / payload

    def udp(self, version, source="web", target="db", dport=53, sport=None, **fields):
        return self.ip(version, source, target, **fields) / UDP(sport=sport or next(SOURCE_PORTS), dport=dport) / DATA

    def listeners(self):
        return [(name, host) for name, host in self.hosts.items() if name != "off"]

    def drain(self):
        for _, host in self.listeners():
            host.packets.drain()

    # --- What happens ------------------------------------------------------------------------------------------

    def send(self, name, frame):
        self.hosts[name].packets.send(frame)

    def reaches(self, name, frame, seconds=10.0):
        raw = bytes(frame)
        return bool(self.hosts[name].packets.receive(lambda f: bytes(f)[:len(raw)] == raw, seconds))

    def pass_on(self, source, target, frame):
        """Sends a frame that has to arrive."""
        self.send(source, frame)
        assert self.reaches(target, frame)

    def establish(self, version, dport=5432):
        """A TCP connection from web to db, made by hand.  Returns its source port; the initiator's next sequence number
        is 1001, the responder's 9001."""
        sport = next(SOURCE_PORTS)
        ends = {"sport": sport, "dport": dport}
        back = {"source": "db", "target": "web", "sport": dport, "dport": sport}
        self.pass_on("web", "db", self.tcp(version, **ends))
        self.pass_on("db", "web", self.tcp(version, **back, flags="SA", seq=9000, ack=1001))
        self.pass_on("web", "db", self.tcp(version, **ends, flags="A", seq=1001, ack=9001))
        return sport

    def change_policy(self, document):
        """Puts a policy into force, and waits until the sweep, which looks every second, has been over what exists."""
        self.switch.policy(document)
        wait_for(lambda: self.observe()["connections"] == (time.sleep(1.5), self.observe())[1]["connections"], 20,
                 "connections that the sweep leaves alone")

    def wait_silent(self):
        """Waits until the hosts' kernels have nothing more to say: what floods is refused by the port that is down, and
        would be counted beside what a test has sent.  They report their multicast groups twice, a second apart at most."""
        def is_silent():
            before = self.switch.status()["frames"]["received"]
            time.sleep(2.5)
            return self.switch.status()["frames"]["received"] == before

        wait_for(is_silent, 60, "silence", interval=0)

    # --- What is known -----------------------------------------------------------------------------------------

    def ask(self, command):
        """What the switch answers at its control socket."""
        socket = f"{self.switch.run}/cordon-switchd.{self.switch.pid()}.ctl"
        return json.loads(run("ovs-appctl", "-t", socket, command).stdout)

    def observe(self):
        """All that a packet could change, but for times."""
        switch = self.switch
        return {
            "frames": switch.status()["frames"],
            "drops": switch.drops(),
            "limits": self.ask("limit/list"),
            "macs": sorted((row["vlan"], row["mac"], row["port"]) for row in switch.json("mac", "list")),
            "connections": {row["id"]: [row[name] for name in ("state", "verdict", "rule", "policy_revision",
                                                               "packets_forward", "packets_reverse", "out_port")]
                            for row in switch.json("conn", "list")},
        }

    def trace(self, port, frame, *options):
        return json.loads(self.switch.cordon("trace", port, "--hex", bytes(frame).hex(), "--json", *options))

    def trace_without_effect(self, port, frame):
        """The story; nothing has changed by its being told.  Asked again if somebody else sent something meanwhile, or
        a connection's time was over."""
        for _ in range(10):
            before = self.observe()
            story = self.trace(port, frame)
            after = self.observe()
            ended = set(before["connections"]) - set(after["connections"]) or \
                sum(row["connections"] for row in after["limits"]) < sum(row["connections"] for row in before["limits"])
            if before["frames"]["received"] == after["frames"]["received"] and not ended:
                assert before == after
                return story
        raise AssertionError("the network never came to rest")


@pytest.fixture(scope="module")
def site(shared):
    one = Site(shared)
    shared.add_network()
    shared.policy(POLICY)
    one.add("web", 1, mtu=3000)
    one.add("db", 2)
    one.add("lost", 3, zone="nowhere")
    one.add("small", 4, zone="web", port_options={"connection_limit": 1})
    one.add("off", 5, zone="db")
    one.add("pool", 6)
    one.hosts["out"] = shared.uplink("out", 9)
    # Its end in the namespace is down, so the one at the switch has no carrier.
    run("ip", "-netns", one.hosts["off"].namespace, "link", "set", "eth0", "down")
    shared.wait_port("off", "down")
    one.wait_silent()
    one.drain()
    return one


# --- The table -----------------------------------------------------------------------------------------------------

class Case(types.SimpleNamespace):
    """`frame` comes in by `port`; `reason` is None for one that leaves by `outputs`, and perhaps is refused by another
    output, `also` by name."""

    def __init__(self, frame, reason=None, outputs=("db",), port="web", also=None, **more):
        super().__init__(frame=frame, reason=reason, outputs=() if reason else outputs, port=port, also=also, **more)


CASES = {}


def case(*versions):
    """Enters a function that prepares a situation, and returns its Case, for these IP versions."""
    def enter(function):
        for version in versions:
            CASES[f"{function.__name__.replace('_', '-')}-ipv{version}"] = (function, version)
        return function
    return enter


@case(4, 6)
def allowed(site, version):
    return Case(site.tcp(version), rule=("app", "sql"))


@case(4, 6)
def allowed_udp(site, version):
    return Case(site.udp(version), rule=("app", "dns"), says=("simulated", "rehearsal/no-dns"))


@case(4, 6)
def allowed_sctp(site, version):
    frame = site.ip(version, "web", "db") / SCTP(sport=next(SOURCE_PORTS), dport=3868, tag=0) / SCTPChunkInit(
        init_tag=1, a_rwnd=65536, n_out_streams=1, n_in_streams=1, init_tsn=1)
    return Case(frame, rule=("app", "diameter"))


@case(4, 6)
def allowed_ping(site, version):
    echo = ICMP(id=next(SOURCE_PORTS)) if version == 4 else ICMPv6EchoRequest(id=next(SOURCE_PORTS))
    return Case(site.ip(version, "web", "db") / echo / DATA, rule=("app", "ping" if version == 4 else "ping6"))


@case(4, 6)
def denied_by_a_rule(site, version):
    return Case(site.tcp(version, dport=79), "policy", rule=("freeze", "no-finger"), label="CHG-7")


@case(4, 6)
def denied_by_default(site, version):
    return Case(site.udp(version, dport=54), "policy", rule=("baseline", "web->db"))


@case(4)
def rule_that_has_expired(site, version):
    return Case(site.tcp(version, dport=5999), "policy", rule=("baseline", "web->db"))


@case(4)
def rule_whose_hours_are_others(site, version):
    return Case(site.tcp(version, dport=5998), "policy", rule=("baseline", "web->db"))


@case(4, 6)
def picked_up_in_mid_stream(site, version):
    return Case(site.tcp(version, target="pool", flags="PA", ack=7, payload=DATA), outputs=("pool",),
                rule=("app", "moved"), says=("connection", "in mid-stream"))


@case(4, 6)
def rejected(site, version):
    return Case(site.tcp(version, dport=22), "rejected", rule=("app", "no-ssh"), says=("answer", "RST"))


@case(4, 6)
def quarantine(site, version):
    return Case(site.udp(version, target="lost"), "quarantine", says=("zones", "zone=nowhere"))


@case(4, 6)
def from_quarantine(site, version):
    return Case(site.udp(version, source="lost"), "quarantine", port="lost")


@case(4, 6)
def spoofed_mac(site, version):
    return Case(site.udp(version, mac="02:00:00:00:00:77"), "spoofed-mac", says=("spoof guard", "02:00:00:00:00:01"))


@case(4, 6)
def spoofed_address(site, version):
    return Case(site.udp(version, src=site.silent("lost", version)), "spoofed-address",
                says=("spoof guard", "belongs to lost"))


@case(4)
def spoofed_arp(site, _):
    web = site.hosts["web"]
    return Case(Ether(src=web.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=2, hwsrc=web.mac, psrc=site.silent("db", 4)),
                "spoofed-arp")


@case(6)
def spoofed_nd(site, version):
    frame = site.ip(version, "web", "db", hlim=255) / ICMPv6ND_NA(tgt=site.silent("db", 6), O=1) / \
        ICMPv6NDOptDstLLAddr(lladdr=site.hosts["web"].mac)
    return Case(frame, "spoofed-nd")


@case(4)
def arp(site, _):
    web = site.hosts["web"]
    return Case(Ether(src=web.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=web.mac, psrc=site.silent("web", 4),
                                                                  pdst=site.silent("db", 4)),
                outputs=("db", "small", "pool", "out"), also="output-down", says=("zones", "whatever the rules"))


@case(6)
def neighbour_solicitation(site, version):
    return Case(site.ip(version, "web", "db", hlim=255) / ICMPv6ND_NS(tgt=site.silent("db", 6)) /
                ICMPv6NDOptSrcLLAddr(lladdr=site.hosts["web"].mac))


@case(4, 6)
def vlan_not_allowed(site, version):
    frame = site.udp(version)
    tagged = Ether(src=frame.src, dst=frame.dst) / Dot1Q(vlan=20) / frame.payload
    return Case(tagged, "vlan-not-allowed", says=("vlan", "VLAN 20"))


@case(4, 6)
def unknown_destination(site, version):
    outside = "192.0.2.7" if version == 4 else "2001:db8::7"
    frame = site.ip(version, "web", "db", dst=outside, to_mac="02:00:00:00:00:66") / TCP(
        sport=next(SOURCE_PORTS), dport=80, flags="S", seq=1)
    return Case(frame, outputs=("out",), rule=("app", "surf"), says=("forward", "is not known"))


@case(4)
def unknown_destination_that_is_denied(site, version):
    return Case(site.udp(version, dst="192.0.2.7", to_mac="02:00:00:00:00:66"), "policy", says=("zones", "prefix"))


@case(4)
def to_itself(site, version):
    return Case(site.udp(version, target="web"), "no-output")


@case(4)
def reserved_multicast(site, version):
    return Case(site.udp(version, to_mac="01:80:c2:00:00:02"), "reserved-multicast")


@case(4, 6)
def first_answer(site, version):
    sport = next(SOURCE_PORTS)
    site.pass_on("web", "db", site.tcp(version, sport=sport))
    return Case(site.tcp(version, source="db", target="web", sport=5432, dport=sport, flags="SA", seq=9000, ack=1001),
                outputs=("web",), port="db", says=("state", "SYN-RECEIVED"))


@case(4, 6)
def data_in_the_window(site, version):
    sport = site.establish(version)
    return Case(site.tcp(version, sport=sport, flags="PA", seq=1001, ack=9001, payload=DATA), rule=("app", "sql"),
                says=("state", "ESTABLISHED stays"))


@case(4, 6)
def data_outside_of_the_window(site, version):
    sport = site.establish(version)
    return Case(site.tcp(version, sport=sport, flags="PA", seq=1001 + (1 << 24), ack=9001, payload=DATA),
                "tcp-out-of-window", says=("state", "sequence 16778217"))


@case(4, 6)
def end_of_a_connection(site, version):
    sport = site.establish(version)
    return Case(site.tcp(version, sport=sport, flags="FA", seq=1001, ack=9001),
                says=("state", "ESTABLISHED becomes FIN-WAIT"))


@case(4, 6)
def reopening(site, version):
    sport = site.establish(version)
    site.pass_on("web", "db", site.tcp(version, sport=sport, flags="R", seq=1001, ack=9001))
    return Case(site.tcp(version, sport=sport, seq=5000), says=("connection", "begins anew"))


@case(4, 6)
def segment_of_no_connection(site, version):
    return Case(site.tcp(version, flags="A", ack=7), "tcp-out-of-state")


@case(4)
def impossible_flags(site, version):
    return Case(site.tcp(version, flags="SF"), "tcp-flags")


@case(4, 6)
def wrong_checksum(site, version):
    return Case(site.tcp(version, chksum=0x1234), "tcp-checksum")


@case(4)
def malformed(site, version):
    return Case(site.udp(version, chksum=0x1234), "ipv4-checksum")


@case(4, 6)
def reply_without_a_request(site, version):
    reply = ICMP(type=0, id=next(SOURCE_PORTS)) if version == 4 else ICMPv6EchoReply(id=next(SOURCE_PORTS))
    return Case(site.ip(version, "web", "db") / reply, "icmp-unrelated")


def unreachable(site, version, quoted):
    """An error from db to web that quotes a frame of web's."""
    error = ICMP(type=3, code=3) if version == 4 else ICMPv6DestUnreach(code=4)
    return site.ip(version, "db", "web") / error / bytes(quoted.payload)[:64]


@case(4, 6)
def related_error(site, version):
    quoted = site.udp(version)
    site.pass_on("web", "db", quoted)
    return Case(unreachable(site, version, quoted), outputs=("web",), port="db", says=("icmp error", "quotes"))


@case(4, 6)
def unrelated_error(site, version):
    return Case(unreachable(site, version, site.udp(version)), "icmp-unrelated", port="db")


@case(4, 6)
def quota_reached(site, version):
    rows = site.switch.connections(in_port="small")
    if not rows:
        site.pass_on("small", "db", site.udp(version, source="small"))
    return Case(site.udp(version, source="small"), "port-quota", port="small", says=("limits", "has opened 1"))


@case(4, 6)
def limit_of_a_rule_reached(site, version):
    dport = 99 if version == 4 else 100
    if not [row for row in site.switch.connections(in_port="web") if row["destination_port"] == dport]:
        site.pass_on("web", "db", site.udp(version, dport=dport))
    return Case(site.udp(version, dport=dport), "rule-quota", says=("limits", "has 1 connection"))


@case(4, 6)
def larger_than_the_mtu(site, version):
    frame = site.udp(version)
    frame[UDP].remove_payload()
    return Case(frame / (b"m" * 1600), "output-mtu", says=("output", "MTU is 1500"))


@case(4, 6)
def output_that_is_down(site, version):
    return Case(site.udp(version, target="off"), "output-down", says=("output", "off refuses it"))


# --- The stories ---------------------------------------------------------------------------------------------------

def check_story(story, one):
    assert story["result"] == ("dropped" if one.reason else "forwarded"), story
    assert story.get("reason") == one.reason, story
    assert sorted(story["outputs"]) == sorted(one.outputs), story
    if hasattr(one, "rule"):
        assert (story["verdict"]["policy"], story["verdict"]["rule"]) == one.rule, story
        assert story["verdict"]["revision"] == story["policy_revision"]
    if hasattr(one, "label"):
        assert story["verdict"]["label"] == one.label
    if hasattr(one, "says"):
        stage, words = one.says
        assert any(step["stage"] == stage and words in step["text"] + " ".join(step.get("details", []))
                   for step in story["steps"]), story
    marks = [step["mark"] for step in story["steps"] if step["stage"] != "output"]
    assert one.reason or len(one.outputs) > 1 or "drop" not in marks, story


def check_fate(site, one, before):
    """What really became of the frame, which has just been sent."""
    for name in one.outputs:
        assert site.reaches(name, one.frame), f"{name} did not get it"
    if one.reason:
        wait_for(lambda: site.switch.drops()[one.reason] > before[one.reason], 10, f"a drop for {one.reason}")
    after = site.switch.drops()
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == (
        {reason: 1 for reason in (one.reason, one.also) if reason})
    for name, host in site.listeners():
        if name not in one.outputs and name != one.port:
            assert not host.packets.receive(lambda f: bytes(f) == bytes(one.frame), 0.02), f"{name} got it"


def identity_holds(site):
    def is_so():
        frames = site.switch.status()["frames"]
        return frames["received"] + frames["copied"] + frames["answered"] + frames["cut"] == \
            frames["sent"] + frames["dropped"] + frames["held"]
    wait_for(is_so, 10, "received + copied + answered + cut = sent + dropped + held")


@pytest.mark.parametrize("name", CASES)
def test_real_frame_suffers_what_was_foretold(site, name):
    function, version = CASES[name]
    one = function(site, version)
    check_story(site.trace_without_effect(one.port, one.frame), one)
    site.drain()
    before = site.switch.drops()
    site.send(one.port, one.frame)
    check_fate(site, one, before)


@pytest.mark.parametrize("name", CASES)
def test_frame_that_is_sent_in_a_ports_name_suffers_it_too(site, name):
    function, version = CASES[name]
    one = function(site, version)
    site.drain()
    before = site.observe()
    story = site.trace(one.port, one.frame, "--send", "--wait", "0")
    check_story(story, one)
    sent = story["sent"]
    assert sent["as_foretold"], story
    assert [drop["reason"] for drop in sent["drops"]] == [reason for reason in (one.reason, one.also) if reason]
    if "output-down" not in (one.reason, one.also) and one.reason != "output-mtu":
        assert sent["result"] == story["result"], sent
        assert sorted(output["port"] for output in sent["outputs"]) == sorted(one.outputs)
    check_fate(site, one, before["drops"])
    identity_holds(site)


def fragments(site, version, dport):
    """A datagram from web to db in three parts."""
    sport = next(SOURCE_PORTS)
    if version == 4:
        udp = UDP(sport=sport, dport=dport) / (b"f" * 2500)
        return fragment(site.ip(4, "web", "db", id=sport) / udp, fragsize=1000)
    whole = bytes((site.ip(6, "web", "db") / UDP(sport=sport, dport=dport) / (b"f" * 2500))[UDP])
    return [site.ip(6, "web", "db") / IPv6ExtHdrFragment(id=sport, offset=at // 8, m=int(at + 1000 < len(whole)), nh=17)
            / whole[at:at + 1000] for at in range(0, len(whole), 1000)]


def test_fragments_wait(site, version):
    """For the first, which has the ports, it is told what becomes of the datagram."""
    parts = fragments(site, version, 53)
    first, second, third = (site.trace_without_effect("web", part) for part in parts)
    assert first["result"] == second["result"] == third["result"] == "waits"
    assert (first["then"], first["outputs"], first["verdict"]["rule"]) == ("forwarded", ["db"], "dns")
    assert "then" not in second and "verdict" not in second
    site.drain()
    for part in parts:
        site.send("web", part)
    raw = {bytes(part) for part in parts}
    assert len(site.hosts["db"].packets.receive(lambda f: bytes(f) in raw, count=3)) == 3


def test_fragments_of_a_denied_datagram(site, version):
    parts = fragments(site, version, 54)
    first = site.trace_without_effect("web", parts[0])
    assert (first["result"], first["then"], first["reason"]) == ("waits", "dropped", "policy")
    before = site.switch.drops()["policy"]
    for part in parts:
        site.send("web", part)
    wait_for(lambda: site.switch.drops()["policy"] == before + 3, 10, "three drops")


def test_fragments_that_are_sent_in_a_ports_name(site, version):
    parts = fragments(site, version, 53)
    sent = [site.trace("web", part, "--send", "--wait", "0")["sent"] for part in parts]
    assert [one["result"] for one in sent] == ["waits", "waits", "forwarded"]
    assert sent[2]["outputs"] == [{"port": "db", "frames": 3}] and all(one["as_foretold"] for one in sent)
    identity_holds(site)


def test_policy_that_cuts_a_connection(site, version):
    """The trace sees the new revision, as the next packet does."""
    sport = site.establish(version)
    frame = site.tcp(version, sport=sport, flags="PA", seq=1001, ack=9001, payload=DATA)
    try:
        site.change_policy(POLICY.replace("service: tcp/5432, action: pass", "service: tcp/5432, action: deny"))
        one = Case(frame, "policy", rule=("freeze", "go-on"), says=("rule", "deny, by freeze/go-on"))
        check_story(site.trace_without_effect("web", frame), one)
        before = site.switch.drops()
        site.send("web", frame)
        check_fate(site, one, before)
    finally:
        site.change_policy(POLICY)


def test_policy_that_keeps_a_connection(site, version):
    sport = site.establish(version)
    site.change_policy(POLICY + "# Another revision.\n")
    one = Case(site.tcp(version, sport=sport, flags="PA", seq=1001, ack=9001, payload=DATA), rule=("app", "sql"),
               says=("connection", "has changed since it was judged"))
    check_story(site.trace_without_effect("web", one.frame), one)
    before = site.switch.drops()
    site.send("web", one.frame)
    check_fate(site, one, before)


def test_asking_writes_no_record(site):
    quiet, loud = site.udp(4, dport=54), site.udp(4, dport=54)
    for _ in range(20):
        assert site.trace("web", quiet)["reason"] == "policy"
    site.send("web", loud)
    site.switch.wait_log(kind="denied", source_transport_port=loud[UDP].sport)
    assert not site.switch.log(source_transport_port=quiet[UDP].sport)


def test_asking_counts_no_hit(site):
    """The rules' hits are gathered from connections every second, so they are looked at when all have been."""
    def hits_at_rest():
        before = site.ask("cordon/rule-hits")
        time.sleep(2.5)
        return before == site.ask("cordon/rule-hits") and before

    def ask_at_rest():
        """The hosts' own kernels may say something meanwhile: then once more."""
        before = hits_at_rest()
        for version in (4, 6):
            for dport in (5432, 79, 22):
                site.trace("web", site.tcp(version, dport=dport))
            site.trace("web", site.udp(version))
        return before and hits_at_rest() == before

    wait_for(ask_at_rest, 60, "hits that stay as they are")


def test_sending_makes_a_real_connection(site, version):
    web, db = site.hosts["web"], site.hosts["db"]
    sport = next(SOURCE_PORTS)
    with TcpServer(db, 5432):
        # The answer must find a port that is listened at, or web's own kernel would reset the connection at once.
        story = site.switch.json("trace", "web", "--to", db.address(version), "--tcp", 5432, "--source-port", sport,
                                 "--send", "--wait", 20)
    sent = story["sent"]
    assert story["result"] == sent["result"] == "forwarded" and sent["as_foretold"]
    assert sent["outputs"] == [{"port": "db", "frames": 1}]
    assert sent["connection_is_new"] and sent["answer"]["came"], sent
    rows = site.switch.connections(id=sent["connection"])
    assert rows and rows[0]["source_port"] == sport and rows[0]["source"] == web.address(version)
    site.switch.wait_log(kind="start", source_transport_port=sport)
    assert "in the name of port web, as uid 0" in site.switch.log_file()
    site.wait_silent()  # The two have asked for each other's MACs.


def test_completion_knows_addresses(site):
    offered = sorted(site.switch.cordon("--complete", "trace", "web", "--to", "10.0.0.1").split())
    assert offered == ["10.0.0.1", "10.0.0.101", "10.0.0.102", "10.0.0.103", "10.0.0.104", "10.0.0.105", "10.0.0.106"]


def test_any_worker_sends(new_switch):
    """The frame is switched by the worker whose queue it would have come by."""
    switch = new_switch("workers", up_options=("--no-huge", "--workers", "2"))
    switch.add_network()
    switch.policy(POLICY)
    hosts = [switch.host(f"w{number}", number, zone="web") for number in (1, 2, 3, 4)]
    polled = [{queue["port"] for queue in worker["queues"]} for worker in switch.json("worker", "list")]
    assert all(polled), "each worker has a port"
    for host in hosts:
        other = hosts[0] if host is not hosts[0] else hosts[1]
        before = [worker["packets"] for worker in switch.json("worker", "list")]
        sent = switch.json("trace", host.name, "--to", other.ipv4, "--send", "--wait", 20)["sent"]
        assert sent["as_foretold"] and sent["answer"]["came"], sent
        after = [worker["packets"] for worker in switch.json("worker", "list")]
        index = next(i for i, ports in enumerate(polled) if host.name in ports)
        assert after[index] > before[index]


def test_silence_is_no_answer(site):
    story = site.switch.json("trace", "web", "--from", site.silent("web", 4), "--to", site.silent("db", 4), "--udp", 53,
                             "--source-port", next(SOURCE_PORTS), "--send", "--wait", "0.3")
    assert story["sent"]["result"] == "forwarded"
    assert not story["sent"]["answer"]["came"] and story["sent"]["answer"]["after_ms"] >= 300


# --- Words and mistakes --------------------------------------------------------------------------------------------

WORDS = [
    (4, ["--tcp", "5432"], "TCP 10.0.0.1:40000 > 10.0.0.2:5432 [SYN], 54 bytes", "forwarded"),
    (6, ["--tcp", "5432"], "TCP [fd00::1]:40000 > [fd00::2]:5432 [SYN], 74 bytes", "forwarded"),
    (4, ["--tcp", "5432", "--flags", "fin,ack"], "TCP 10.0.0.1:40000 > 10.0.0.2:5432 [FIN ACK], 54 bytes", "dropped"),
    (4, ["--udp", "53", "--source-port", "7", "--payload", "8"], "UDP 10.0.0.1:7 > 10.0.0.2:53, 50 bytes", "forwarded"),
    (6, ["--sctp", "3868"], "SCTP [fd00::1]:40000 > [fd00::2]:3868, 86 bytes", "forwarded"),
    (4, [], "ICMP 10.0.0.1 > 10.0.0.2 echo request, 42 bytes", "forwarded"),
    (6, ["--icmp", "echo"], "ICMPv6 fd00::1 > fd00::2 echo request, 62 bytes", "forwarded"),
    (4, ["--icmp", "13"], "ICMP 10.0.0.1 > 10.0.0.2 type 13, 42 bytes", "forwarded"),
    (4, ["--arp"], "ARP request from 10.0.0.1 for 10.0.0.2, 42 bytes", "forwarded"),
    (6, ["--nd"], "ICMPv6 fd00::1 > ff02::1:ff00:2 neighbour solicitation, 86 bytes", "forwarded"),
    (4, ["--protocol", "47"], "IP protocol 47 10.0.0.1 > 10.0.0.2, 34 bytes", "dropped"),
    (4, ["--vlan", "10"], "ICMP 10.0.0.1 > 10.0.0.2 echo request, 46 bytes", "dropped"),
]


@pytest.mark.parametrize("version, words, packet, result", WORDS, ids=[" ".join(row[1]) or "ping" for row in WORDS])
def test_words(site, version, words, packet, result):
    story = site.switch.json("trace", "web", "--to", site.hosts["db"].address(version), *words)
    assert (story["packet"], story["result"]) == (packet, result)
    assert site.switch.cordon("trace", "web", "--to", site.hosts["db"].address(version), *words).startswith(packet)


MISTAKES = [
    (["nobody", "--to", "10.0.0.2"], 3, "there is no port 'nobody'"),
    (["nobody", "--hex", "00"], 1, "there is no port nobody"),
    (["web", "--to", "10.0.0.300"], 2, "--to '10.0.0.300': give an address"),
    (["web", "--to", "192.0.2.1"], 2, "say with --mac-to"),
    (["web", "--to", "10.0.0.2", "--tcp", "1", "--udp", "2"], 2, "contradict"),
    (["web", "--to", "10.0.0.2", "--tcp", "70000"], 2, "--tcp '70000'"),
    (["web", "--to", "10.0.0.2", "--tcp", "1", "--flags", "sin"], 2, "--flags 'sin'"),
    (["web", "--to", "10.0.0.2", "--from", "fd00::1"], 2, "two families"),
    (["web", "--to", "fd00::2", "--arp"], 2, "IPv4"),
    (["web", "--to", "10.0.0.2", "--nd"], 2, "IPv6"),
    (["web", "--to", "10.0.0.2", "--icmp", "ping"], 2, "--icmp 'ping'"),
    (["web", "--to", "10.0.0.2", "--mac-to", "2"], 2, "--mac-to '2'"),
    (["web", "--to", "10.0.0.2", "--payload", "65535"], 2, "too long"),
    (["web", "--to", "10.0.0.2", "--wait", "soon"], 2, "--wait 'soon'"),
    (["out", "--to", "10.0.0.2"], 2, "say with --from"),
    (["out", "--to", "10.0.0.2", "--from", "192.0.2.1"], 2, "say with --mac-from"),
    (["off", "--to", "10.0.0.2", "--send"], 1, "is down"),
    (["web", "--pcap", "/nowhere"], 3, "cannot be read"),
]


@pytest.mark.parametrize("words, status, message", MISTAKES, ids=[" ".join(row[0]) for row in MISTAKES])
def test_mistakes(site, words, status, message):
    result = site.switch.try_cordon("trace", *words)
    assert result.returncode == status, result.stderr
    assert message in result.stderr


def test_port_that_is_down_is_told_of(site):
    story = site.switch.json("trace", "off", "--to", "10.0.0.2")
    assert story["steps"][0]["mark"] == "note" and "link down" in story["steps"][0]["text"]


def test_frames_of_a_capture(site, tmp_path):
    frames = [site.tcp(4), site.tcp(4, dport=79), site.udp(6)]
    path = tmp_path / "some.pcap"
    wrpcap(str(path), frames)
    results = [site.switch.json("trace", "web", "--pcap", path, "--frame", number)["result"] for number in (1, 2, 3)]
    assert results == ["forwarded", "dropped", "forwarded"]
    assert site.switch.try_cordon("trace", "web", "--pcap", path, "--frame", 4).returncode == 3


def test_capture_of_another_link_type(site, tmp_path):
    path = tmp_path / "any.pcap"
    with PcapWriter(str(path), linktype=113) as file:
        file.write(bytes(site.tcp(4)))
    result = site.switch.try_cordon("trace", "web", "--pcap", path)
    assert result.returncode == 6 and "LINUX_SLL" in result.stderr


def test_frames_of_any_size(site):
    """From nothing much to more than a buffer holds."""
    for n in (1, 13, 14, 60, 2048, 9000, 65535):
        story = site.trace("web", b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x12\x34".ljust(n, b"\0")[:n])
        assert story["result"] == "dropped", "not even a rule for it"
    frame = site.udp(4)
    frame[UDP].remove_payload()
    sent = site.trace("web", frame / (b"l" * 9000), "--send", "--wait", "0")["sent"]
    assert sent["as_foretold"] and [drop["reason"] for drop in sent["drops"]] == ["output-mtu"]
    identity_holds(site)


def test_uplinks_too(site):
    story = site.switch.json("trace", "out", "--from", "192.0.2.1", "--mac-from", "02:00:00:00:00:09",
                             "--to", "10.0.0.2", "--tcp", 5432)
    assert story["reason"] == "policy" and story["verdict"]["rule"] == "internet->db"
