# SPDX-License-Identifier: Apache-2.0
"""Who may play a DHCP server or a router, and whom DHCP clients reach: the policy denies everything, and DHCP works.

    client .1    other .2     server .3 (serves dhcp)   router .4 (serves router)   lost .5    outside .9 (uplink)
      |            |              |                       |                           |           |
    --+------------+--------------+-----------------------+---------------------------+-----------+--  lan, VLAN 10

`lost` is in no zone, so in quarantine.
"""

import contextlib

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Advertise, DHCP6_Solicit
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (ICMPv6ND_RA, ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,
                                ICMPv6ND_Redirect, PadN)
from scapy.layers.l2 import Ether

from cordon import wait_for
from host import heard_before_witness

POLICY = """\
zones:
  client: {match: "zone=client"}
  server: {match: "zone=server"}
  internet: {cidrs: [0.0.0.0/0, "::/0"]}
baseline: {between_zones: deny, within_zone: deny, log: none}
"""

ALLOWING = POLICY.replace("deny", "allow")

REASONS = ("fragment-tiny", "fragment-icmp", "policy", "dhcp-server", "router-advertisement", "spoofed-nd", "spoofed-address")


class Site:
    def __init__(self, switch):
        self.switch = switch
        self.hosts = {}
        for name, number, zone, serves in (("client", 1, "client", None), ("other", 2, "client", None),
                                           ("server", 3, "server", "dhcp"), ("router", 4, "server", "router"),
                                           ("lost", 5, "nowhere", None)):
            self.hosts[name] = switch.host(name, number, zone=zone, port_options={"serves": serves})
        self.hosts["outside"] = switch.uplink("outside", 9)
        for host in self.hosts.values():
            host.silence()

    def __getattr__(self, name):
        return self.hosts[name]

    def heard_by(self, sender, *frames):
        """Who received the last of the frames that `sender` sent, and for which reason it was dropped, if it was."""
        raw = bytes(frames[-1])
        for host in self.hosts.values():
            host.packets.drain()
        before = self.switch.drops()
        self.switch.send(sender, *frames)
        received = {"lost": list(self.lost.packets.pending())}
        if sender is not self.lost:  # Nothing of whom is heard.
            received.update(heard_before_witness(sender, [
                host for host in self.hosts.values() if host not in (sender, self.lost)]))
        heard = {name for name, found in received.items() if any(one[:len(raw)] == raw for one in found)}
        now = self.switch.drops()
        return heard, set() if heard else {name for name in REASONS if now[name] != before[name]}

    @contextlib.contextmanager
    def serving(self, name, services):
        """While the port serves something else than it is set up for."""
        before = ",".join(self.switch.port(name)["serves"]) or "none"
        self.switch.cordon("port", "set", name, "--serves", services)
        try:
            yield
        finally:
            self.switch.cordon("port", "set", name, "--serves", before)


@pytest.fixture(scope="module")
def site(shared):
    shared.add_network()
    shared.policy(POLICY)
    return Site(shared)


def link_local(host):
    return f"fe80::ff:fe00:{int(host.mac[-2:], 16):x}"


def discover(host, **ip):
    source = ip.get("src", "0.0.0.0")
    return (Ether(src=host.mac, dst=ip.get("mac", "ff:ff:ff:ff:ff:ff")) / IP(src=source, dst=ip.get("dst", "255.255.255.255"))
            / UDP(sport=68, dport=67) / BOOTP(chaddr=bytes.fromhex(host.mac.replace(":", "")), xid=7)
            / DHCP(options=[("message-type", "discover"), "end"]))


def offer(host, client, source_port=67):
    return (Ether(src=host.mac, dst=client.mac) / IP(src=host.ipv4, dst=client.ipv4) / UDP(sport=source_port, dport=68)
            / BOOTP(op=2, yiaddr=client.ipv4, xid=7) / DHCP(options=[("message-type", "offer"), "end"]))


def solicit(host):
    return (Ether(src=host.mac, dst="33:33:00:01:00:02") / IPv6(src=link_local(host), dst="ff02::1:2", hlim=1)
            / UDP(sport=546, dport=547) / DHCP6_Solicit(trid=7))


def advertise(host, client, source_port=547):
    return (Ether(src=host.mac, dst=client.mac) / IPv6(src=link_local(host), dst=link_local(client), hlim=64)
            / UDP(sport=source_port, dport=546) / DHCP6_Advertise(trid=7))


def router_advertisement(host, *hidden, hlim=255):
    frame = Ether(src=host.mac, dst="33:33:00:00:00:01") / IPv6(src=link_local(host), dst="ff02::1", hlim=hlim)
    for header in hidden:
        frame = frame / header
    return frame / ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptSrcLLAddr(lladdr=host.mac)


def in_fragments(host, n_extensions):
    """An advertisement in two fragments, behind extension headers in the part that is cut (RFC 7113, 2)."""
    whole = bytes(router_advertisement(host))
    checksummed, padding = whole[14 + 40:], b"\x3c\0\1\4\0\0\0\0"
    part = padding * (n_extensions - 1) + b"\x3a" + padding[1:] + checksummed

    def fragment(offset, more, data):
        return (Ether(src=host.mac, dst="33:33:00:00:00:01") / IPv6(src=link_local(host), dst="ff02::1", hlim=255)
                / IPv6ExtHdrFragment(nh=60, offset=offset // 8, m=more, id=n_extensions) / data)

    cut = len(part) // 16 * 8 + 8
    return fragment(0, 1, part[:cut]), fragment(cut, 0, part[cut:])


@pytest.mark.parametrize("ask", [discover, solicit], ids=["ipv4", "ipv6"])
def test_a_request_is_heard_by_servers_only_whatever_the_rules(site, ask):
    assert site.heard_by(site.client, ask(site.client)) == ({"server", "outside"}, set())
    assert site.heard_by(site.outside, ask(site.outside)) == ({"server"}, set())


@pytest.mark.parametrize("answer", [offer, advertise], ids=["ipv4", "ipv6"])
def test_an_answer_comes_from_servers_only_whatever_the_rules(site, answer):
    assert site.heard_by(site.server, answer(site.server, site.client)) == ({"client"}, set())
    assert site.heard_by(site.outside, answer(site.outside, site.client)) == ({"client"}, set())
    site.switch.policy(ALLOWING)
    try:
        for liar in (site.other, site.router):
            assert site.heard_by(liar, answer(liar, site.client)) == (set(), {"dhcp-server"})
            assert site.heard_by(liar, answer(liar, site.client, source_port=4000)) == (set(), {"dhcp-server"})
    finally:
        site.switch.policy(POLICY)


def test_an_answer_to_a_client_that_asked_a_guest_is_no_hit_either(site):
    """The rules let the request to anybody; the answer's flow must not be made ready past the guard."""
    site.switch.policy(ALLOWING)
    try:
        question = discover(site.client, src=site.client.ipv4, dst=site.other.ipv4, mac=site.other.mac)
        assert site.heard_by(site.client, question)[0] == {"other"}
        assert site.heard_by(site.other, offer(site.other, site.client)) == (set(), {"dhcp-server"})
    finally:
        site.switch.policy(POLICY)


def test_quarantine_neither_asks_nor_hears(site):
    before = site.switch.drops()["quarantine"]
    assert site.heard_by(site.lost, discover(site.lost)) == (set(), set())
    assert site.heard_by(site.server, offer(site.server, site.lost)) == (set(), set())
    assert site.switch.drops()["quarantine"] >= before + 2


def test_a_renewal_goes_to_the_server_itself(site):
    """To an endpoint that serves; beyond an uplink, a single address is for the rules to allow."""
    renewal = discover(site.client, src=site.client.ipv4, dst=site.server.ipv4, mac=site.server.mac)
    assert site.heard_by(site.client, renewal) == ({"server"}, set())
    for address, mac in ((site.outside.ipv4, site.outside.mac), ("192.0.2.1", site.outside.mac),
                         ("192.0.2.1", site.server.mac), (site.other.ipv4, site.other.mac)):
        frame = discover(site.client, src=site.client.ipv4, dst=address, mac=mac)
        assert site.heard_by(site.client, frame) == (set(), {"policy"}), (address, mac)


def test_what_a_relay_sends_is_for_the_rules(site):
    """From a server's port to a server's, whomever it is sent to."""
    question = discover(site.client, src=site.client.ipv4, dst=site.server.ipv4, mac=site.server.mac)
    question[UDP].sport = 67
    assert site.heard_by(site.client, question) == (set(), {"policy"})
    question = discover(site.client, src=site.client.ipv4)
    question[UDP].sport = 67
    assert site.heard_by(site.client, question) == (set(), {"policy"})


def test_without_a_server_the_rules_decide(site):
    with site.serving("server", "none"), site.serving("outside", "none"):
        assert site.heard_by(site.client, discover(site.client)) == (set(), {"policy"})
        assert site.heard_by(site.outside, offer(site.outside, site.client)) == (set(), {"dhcp-server"})
        site.switch.policy(ALLOWING)
        try:
            assert site.heard_by(site.client, solicit(site.client))[0] == {"other", "server", "router", "outside"}
        finally:
            site.switch.policy(POLICY)


def test_router_advertisements_come_from_routers_only(site):
    everybody = {"client", "other", "server", "outside"}
    assert site.heard_by(site.router, router_advertisement(site.router)) == (everybody, set())
    assert site.heard_by(site.outside, router_advertisement(site.outside))[0] == (everybody | {"router"}) - {"outside"}
    padding = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0\0\0")])
    for hidden in ((), (padding,), (padding,) * 7, (IPv6ExtHdrFragment(id=1),)):
        frame = router_advertisement(site.other, *hidden)
        assert site.heard_by(site.other, frame) == (set(), {"router-advertisement"}), hidden
    assert site.heard_by(site.other, *in_fragments(site.other, 1)) == (set(), {"fragment-icmp"})
    assert site.heard_by(site.other, *in_fragments(site.other, 5)) == (set(), {"fragment-tiny"})  # RFC 7112.
    assert site.heard_by(site.router, *in_fragments(site.router, 1)) == (set(), {"fragment-icmp"})  # RFC 6980.
    assert site.heard_by(site.other, router_advertisement(site.other, hlim=1)) == (set(), {"router-advertisement"})
    assert site.heard_by(site.server, router_advertisement(site.server)) == (set(), {"router-advertisement"})


def test_redirects_come_from_routers_only(site, version):
    def redirect(host):
        frame = Ether(src=host.mac, dst=site.client.mac)
        if version == 4:
            return (frame / IP(src=host.ipv4, dst=site.client.ipv4) / ICMP(type=5, code=1, gw=host.ipv4)
                    / IP(src=site.client.ipv4, dst="192.0.2.1") / UDP(sport=1, dport=2))
        return frame / IPv6(src=link_local(host), dst=site.client.ipv6, hlim=255) / ICMPv6ND_Redirect(
            tgt=link_local(host), dst="2001:db8::1")

    assert site.heard_by(site.other, redirect(site.other)) == (set(), {"spoofed-nd"})
    heard, why = site.heard_by(site.router, redirect(site.router))
    # ICMPv6's is neighbour discovery; ICMP's is a message that a rule must allow.
    assert (heard, why) == (({"client"}, set()) if version == 6 else (set(), {"policy"}))


def test_what_a_port_serves_is_shown_and_set(site):
    assert site.switch.port("outside")["serves"] == ["dhcp", "router"]
    assert site.switch.port("server")["serves"] == ["dhcp"]
    assert site.switch.port("client")["serves"] == []
    site.switch.cordon("port", "set", "other", "--serves", "dhcp", "--serves", "router")
    assert site.heard_by(site.other, offer(site.other, site.client))[0] == {"client"}
    site.switch.cordon("port", "set", "other", "--serves", "none")
    wait_for(lambda: site.heard_by(site.other, offer(site.other, site.client))[1] == {"dhcp-server"}, 20, "the drop")
    result = site.switch.try_cordon("port", "set", "other", "--serves", "dns")
    assert result.returncode != 0 and "dns" in result.stderr


def test_a_forged_answer_is_in_the_log(site):
    site.heard_by(site.other, offer(site.other, site.client))
    assert site.switch.wait_log(kind="spoofed", reason="dhcp-server", source_address=site.other.ipv4)
