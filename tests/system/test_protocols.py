# SPDX-License-Identifier: Apache-2.0
"""What is no TCP: UDP, SCTP, protocols without ports and echo are connections too, opened by whoever a rule allows to;
and what a network does not work without passes whatever the rules say.

    asker .101           asked .102           other .103       the hosts' own stacks do not know these addresses
      |                    |                    |
    --+--------------------+--------------------+--  network lan, VLAN 10

The asker may open some protocols to the asked, and nobody anything else.
"""

import itertools

import pytest
from scapy.contrib.igmp import IGMP
from scapy.contrib.igmpv3 import IGMPv3, IGMPv3gr, IGMPv3mr
from scapy.layers.inet import ICMP, IP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6MLDMultAddrRec, ICMPv6MLQuery, ICMPv6MLReport,
                                ICMPv6MLReport2, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr,
                                IPv6, IPv6ExtHdrHopByHop, RouterAlert)
from scapy.layers.l2 import ARP, Ether, GRE
from scapy.layers.sctp import SCTP, SCTPChunkData, SCTPChunkInit, SCTPChunkInitAck

from host import heard_before_witness

POLICY = """\
zones:
  asker: {match: "zone=asker"}
  asked: {match: "zone=asked"}
  other: {match: "zone=other"}
policies:
  - id: p
    rules:
      - {id: some, from: asker, to: asked, action: allow,
         service: [udp/5000-5999, sctp/5000-5999, ip/47, ip/50, icmp/8, icmp/0, icmp/13, icmpv6/128, icmpv6/129]}
baseline: {between_zones: deny, within_zone: deny, log: none}
"""

NUMBERS = itertools.count(5000)  # Of ports, or of echo requests: a connection of its own for each test.


class Site:
    def __init__(self, switch, version):
        self.switch, self.version = switch, version
        self.hosts = {host.name: host for host in switch.hosts}
        self.ip = IP if version == 4 else IPv6
        self.addresses = {name: host.silent[version] for name, host in self.hosts.items()}
        self.number = next(NUMBERS)

    def between(self, sender, target, **fields):
        return Ether(src=self.hosts[sender].mac, dst=self.hosts[target].mac) / self.ip(
            src=self.addresses[sender], dst=self.addresses[target], **fields)

    def fate(self, sender, frame):
        """Who hears a frame, or by which names it was dropped."""
        raw = bytes(frame)
        for host in self.hosts.values():
            host.packets.drain()
        before = self.switch.drops()
        self.hosts[sender].packets.send(raw)
        frames = heard_before_witness(self.hosts[sender], [host for name, host in self.hosts.items() if name != sender])
        heard = {name for name, found in frames.items() if any(one[:len(raw)] == raw for one in found)}
        now = self.switch.drops()
        return heard or {name for name in now if now[name] != before[name]}


@pytest.fixture(scope="module")
def switch(shared):
    shared.add_network()
    shared.policy(POLICY)
    for number, name in enumerate(("asker", "asked", "other"), 1):
        own = [f"10.0.0.{number}", f"fd00::{number}", f"10.0.0.{100 + number}", f"fd00::{100 + number}"]
        host = shared.host(name, number, port_options={"address": ",".join(own)})
        host.silent = {4: own[2], 6: own[3]}
    for host in shared.hosts:  # So that every MAC is where it is known to be.
        host.packets.send(Ether(src=host.mac, dst="ff:ff:ff:ff:ff:ff", type=0x88b5) / bytes(46))
    return shared


@pytest.fixture
def site(switch, version):
    return Site(switch, version)


def udp(there, number):
    return UDP(sport=1000 if there else number, dport=number if there else 1000) / b"datagram"


def sctp(there, number):
    chunk = SCTPChunkInit(init_tag=1) if there else SCTPChunkInitAck(init_tag=2)
    return SCTP(sport=1000 if there else number, dport=number if there else 1000) / chunk


def gre(there, _):
    return GRE(proto=0x6558 if there else 0x0800) / bytes(20)


def esp(there, _):
    return bytes([there] * 40)


PROTOCOLS = [(udp, 17), (sctp, 132), (gre, 47), (esp, 50)]


@pytest.mark.parametrize("make, protocol", PROTOCOLS, ids=[row[0].__name__ for row in PROTOCOLS])
def test_a_connection_is_opened_from_one_side_only(site, make, protocol):
    """The answer's way is open once it was asked for, and not before; nobody else's is."""
    fields = {"proto" if site.version == 4 else "nh": protocol}
    there = site.between("asker", "asked", **fields) / make(True, site.number)
    back = site.between("asked", "asker", **fields) / make(False, site.number)
    assert site.fate("asked", back) == {"policy"}
    assert site.fate("asker", there) == {"asked"}
    assert site.fate("asked", back) == {"asker"}
    assert site.fate("asker", there) == {"asked"}
    rows = [row for row in site.switch.json("conn", "list", "--protocol", protocol, "--verdict", "allowed")
            if row["source"] == site.addresses["asker"]]
    assert [(row["policy"], row["rule"], row["packets_forward"], row["packets_reverse"])
            for row in rows] == [("p", "some", 2, 1)]
    foreign = site.between("other", "asker", **fields) / make(False, site.number)
    assert site.fate("other", foreign) == {"policy"}


def test_another_port_is_another_connection(site):
    assert site.fate("asker", site.between("asker", "asked") / udp(True, site.number)) == {"asked"}
    for sport, dport in ((site.number, 1001), (site.number + 1, 1000), (1000, site.number)):
        assert site.fate("asked", site.between("asked", "asker") / UDP(sport=sport, dport=dport)) == {"policy"}


def test_echo(site):
    """A reply answers a request that was seen, by its number; a request of the other side's is its own affair."""
    def request(sender, target, number):
        message = ICMP(type=8, id=number) / b"x" if site.version == 4 else ICMPv6EchoRequest(id=number, data=b"x")
        return site.between(sender, target) / message

    def reply(sender, target, number):
        message = ICMP(type=0, id=number) / b"x" if site.version == 4 else ICMPv6EchoReply(id=number, data=b"x")
        return site.between(sender, target) / message

    assert site.fate("asked", reply("asked", "asker", site.number)) == {"policy"}
    assert site.fate("asker", request("asker", "asked", site.number)) == {"asked"}
    assert site.fate("asked", reply("asked", "asker", site.number)) == {"asker"}
    assert site.fate("asked", reply("asked", "asker", site.number + 1000)) == {"policy"}
    assert site.fate("other", reply("other", "asker", site.number)) == {"policy"}
    assert site.fate("asked", request("asked", "asker", site.number)) == {"policy"}
    # The rule would have it, but there is nothing that it answers.
    assert site.fate("asker", reply("asker", "asked", site.number)) == {"icmp-unrelated"}


def test_other_questions_of_icmp_are_one_way(switch):
    """Echo is what is answered by the way that was asked: a timestamp's answer needs a rule of its own."""
    site = Site(switch, 4)
    assert site.fate("asker", site.between("asker", "asked") / ICMP(type=13, id=site.number)) == {"asked"}
    assert site.fate("asked", site.between("asked", "asker") / ICMP(type=14, id=site.number)) == {"policy"}


def group(address):
    if ":" in address:
        return "33:33:" + ":".join(f"{int(byte, 16):02x}" for byte in ("0", "0", "0", address.rpartition(":")[2]))
    return "01:00:5e:" + ":".join(f"{int(byte):02x}" for byte in address.split(".")[1:])


def report(site, target, message, **fields):
    """A report of membership as its RFC demands, but for the fields that are given."""
    host = site.hosts["asked"]
    if site.version == 4:
        ip = IP(src=site.addresses["asked"], dst=target, options=[IPOption_Router_Alert()], **{"ttl": 1, **fields})
        return Ether(src=host.mac, dst=group(target)) / ip / message
    ip = IPv6(src=f"fe80::ff:fe00:{int(host.mac[-2:], 16):x}", dst=target, **{"hlim": 1, **fields})
    return Ether(src=host.mac, dst=group(target)) / ip / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / message


REPORTS = {
    4: [("224.0.0.9", IGMP(type=0x16, gaddr="224.0.0.9")),
        ("224.0.0.2", IGMP(type=0x17, gaddr="224.0.0.9")),
        ("224.0.0.1", IGMP(type=0x11, gaddr="0.0.0.0")),
        ("224.0.0.22", IGMPv3(type=0x22) / IGMPv3mr(records=[IGMPv3gr(maddr="224.0.0.9")]))],
    6: [("ff02::9", ICMPv6MLReport(mladdr="ff02::9")),
        ("ff02::1", ICMPv6MLQuery()),
        ("ff02::16", ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(dst="ff02::9")]))],
}


def test_multicast_membership_needs_no_rule(site):
    for target, message in REPORTS[site.version]:
        assert site.fate("asked", report(site, target, message)) == {"asker", "other"}, message.summary()
        assert not site.switch.connections(destination=target), "the next one may say something else"


def test_what_only_looks_like_it_is_for_the_rules(site):
    """From another link, or to a single host: a report never is."""
    target, message = REPORTS[site.version][0]
    hops = "ttl" if site.version == 4 else "hlim"
    assert site.fate("asked", report(site, target, message, **{hops: 2})) == {"policy"}
    alone = site.between("asked", "other", **{hops: 1}) / message
    assert site.fate("asked", alone) == {"policy"}


def test_neighbours_are_found_without_a_rule(site):
    asked, asker = site.hosts["asked"], site.hosts["asker"]
    if site.version == 4:
        question = Ether(src=asked.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
            op=1, hwsrc=asked.mac, psrc=site.addresses["asked"], pdst=site.addresses["asker"])
        answer = Ether(src=asker.mac, dst=asked.mac) / ARP(
            op=2, hwsrc=asker.mac, psrc=site.addresses["asker"], hwdst=asked.mac, pdst=site.addresses["asked"])
    else:
        question = Ether(src=asked.mac, dst="33:33:ff:00:01:01") / IPv6(
            src=site.addresses["asked"], dst="ff02::1:ff00:101", hlim=255) / ICMPv6ND_NS(
            tgt=site.addresses["asker"]) / ICMPv6NDOptSrcLLAddr(lladdr=asked.mac)
        answer = site.between("asker", "asked", hlim=255) / ICMPv6ND_NA(
            tgt=site.addresses["asker"]) / ICMPv6NDOptDstLLAddr(lladdr=asker.mac)
    assert site.fate("asked", question) == {"asker", "other"}
    assert site.fate("asker", answer) == {"asked"}
