# SPDX-License-Identifier: Apache-2.0
"""A guest comes to its addresses, under a policy that denies everything: real servers, clients and routers, honest
and not.  test_services.py has the same frame by frame.

    guest .1          rogue .2          server .3          outside .9 (uplink)
      |  no address     |  serves         |  serves DHCP,    |  serves both,
      |  of its own     |  nothing        |  is a router     |  as uplinks do
    --+-----------------+-----------------+------------------+--  network lan, VLAN 10

The server knows the guest by its MAC, and gives it the addresses that the guest's port is configured with. The rogue
would give it the same addresses, with itself as the router.
"""

import contextlib

import pytest

from cordon import holds_for, wait_for
from dhcp import DhcpClient, DhcpServer, LEASE_SECONDS, addresses, forget_addresses, routers, start_ipv6
from host import TcpServer

ALLOWED = "      - {id: http, from: guest, to: server, service: tcp/80, action: allow}\n"

DENYING = f"""\
zones:
  guest:    {{match: "zone=guest"}}
  rogue:    {{match: "zone=rogue"}}
  server:   {{match: "zone=server"}}
  internet: {{cidrs: [0.0.0.0/0, "::/0"]}}
policies:
  - id: site
    rules:
{ALLOWED}\
baseline: {{between_zones: deny, within_zone: deny, log: denied}}
"""

ALLOWING = DENYING.replace("deny,", "allow,")

FROM_ITS_MAC = "fd00::ff:fe00:1"  # The guest's, in the server's prefix (RFC 4862).
GUEST_OWNS = {"10.0.0.1", "fd00::1", FROM_ITS_MAC}
ROGUE_PREFIX = "fd00:bad::"


class Site:
    def __init__(self, switch, directory):
        self.switch, self.directory = switch, directory
        self.guest = switch.host("guest", 1, port_options={"address": ",".join(GUEST_OWNS)})
        self.rogue = switch.host("rogue", 2, port_options={"serves": "none"})
        self.server = switch.host("server", 3, port_options={"serves": "dhcp,router"})
        self.outside = switch.uplink("outside", 9)
        self.rogue.run("ip", "address", "add", f"{ROGUE_PREFIX}2/64", "dev", "eth0", "nodad")
        forget_addresses(self.guest)

    def dhcp(self, host, version, *options):
        """A server of the guest's addresses, with itself as the router."""
        if version == 4:
            words = [f"--dhcp-range=10.0.0.0,static,255.255.255.0,{LEASE_SECONDS}",
                     f"--dhcp-host={self.guest.mac},10.0.0.1", f"--dhcp-option=option:router,{host.ipv4}"]
        else:
            words = [f"--dhcp-range=fd00::,static,64,{LEASE_SECONDS}",
                     f"--dhcp-host=id:00:03:00:01:{self.guest.mac},[fd00::1]"]
        return DhcpServer(host, self.directory, *words, *options)

    def router(self, host, prefix="fd00::"):
        return DhcpServer(host, self.directory, "--enable-ra", f"--dhcp-range={prefix},ra-only,64,600",
                          "--ra-param=eth0,1,1800")

    @contextlib.contextmanager
    def client(self, version, more=""):
        client = DhcpClient(self.guest, self.directory, version, more)
        try:
            yield client
        finally:
            client.close()
            forget_addresses(self.guest)

    @contextlib.contextmanager
    def policy(self, document):
        self.switch.policy(document)
        try:
            yield
        finally:
            self.switch.policy(DENYING)

    @contextlib.contextmanager
    def serving(self, **services):
        """While ports serve something else than they are set up for."""
        before = {name: ",".join(self.switch.port(name)["serves"]) or "none" for name in services}
        for name, words in services.items():
            self.switch.cordon("port", "set", name, "--serves", words)
        try:
            yield
        finally:
            for name, words in before.items():
                self.switch.cordon("port", "set", name, "--serves", words)

    def link_local(self, host):
        words = host.run("ip", "-6", "-oneline", "address", "show", "dev", "eth0", "scope", "link").stdout.split()
        return words[words.index("inet6") + 1].partition("/")[0]

    def liar(self, version):
        """From which address the rogue speaks."""
        return self.rogue.ipv4 if version == 4 else self.link_local(self.rogue)


@pytest.fixture(scope="module")
def site(shared, tmp_path_factory):
    shared.add_network()
    shared.policy(DENYING)
    return Site(shared, str(tmp_path_factory.mktemp("dhcp")))


def test_a_guest_gets_its_address_and_nothing_else_is_open(site, version):
    """No rule says anything of DHCP; the guest uses the address for what a rule allows."""
    site.guest.packets.drain()
    site.rogue.packets.drain()
    with site.dhcp(site.server, version) as server, site.client(version) as client, TcpServer(site.server, 80):
        assert client.ask(), server.text()
        assert client.address() == site.guest.address(version)
        assert addresses(site.guest) == {site.guest.address(version)}
        if version == 4:
            assert client.lease()["new_routers"] == site.server.ipv4
        assert site.guest.can_connect(site.server.address(version), 80, 10)
        before = site.switch.drops()["policy"]
        assert site.guest.ping(site.server.address(version), wait=0.3) == 0
        wait_for(lambda: site.switch.drops()["policy"] > before, what="the drop by name")
    heard = site.rogue.packets.receive(lambda frame: frame.haslayer("UDP") and frame["UDP"].dport in (67, 547), 0.1)
    assert not heard, "the guest's requests are for servers"


def test_a_lease_is_renewed_and_given_back(site):
    """Both go to the server's own address; of DHCPv6 they go to all servers, as the first request does."""
    with (site.dhcp(site.server, 4) as server,
          site.client(4, "supersede dhcp-renewal-time 2; supersede dhcp-rebinding-time 60;") as client):
        assert client.ask(), server.text()
        wait_for(lambda: client.told("RENEW"), 60, "the renewal")
        assert client.address() == site.guest.ipv4
        client.release()
        wait_for(lambda: server.has_done("DHCPRELEASE", site.guest.ipv4), 20, "the release")
    with site.dhcp(site.server, 6) as server, site.client(6) as client:
        assert client.ask(), server.text()
        client.release()
        wait_for(lambda: server.has_done("DHCPRELEASE"), 20, "the release")


def test_a_server_beyond_an_uplink(site, version):
    with site.dhcp(site.outside, version) as server, site.client(version) as client:
        assert client.ask(), server.text()
        assert client.address() == site.guest.address(version)
    with site.serving(outside="none", server="none"), site.dhcp(site.outside, version), site.client(version) as client:
        assert not client.ask(seconds=5)


def test_a_renewal_beyond_an_uplink_is_for_the_rules(site):
    """It goes to the server's single address; refused, the client asks all servers a little later (RFC 2131, 4.4.5)."""
    often = "supersede dhcp-renewal-time 2; supersede dhcp-rebinding-time 5;"
    rule = ALLOWED + "      - {id: renewals, from: guest, to: internet, service: udp/67, action: allow}\n"
    with site.dhcp(site.outside, 4) as server:
        for document, is_refused in ((DENYING, True), (DENYING.replace(ALLOWED, rule), False)):
            with site.policy(document), site.client(4, often) as client:
                before = site.switch.drops()["policy"]
                assert client.ask(), server.text()
                wait_for(lambda: client.told("RENEW"), 60, "the renewal")  # By either way.
                assert (site.switch.drops()["policy"] > before) == is_refused


def test_a_rogue_server_is_not_even_asked(site, version):
    """Where a port serves DHCP, not even rules that allow everything lead a request to another."""
    with (site.policy(ALLOWING), site.dhcp(site.rogue, version) as rogue, site.dhcp(site.server, version) as server,
          site.client(version) as client):
        assert client.ask(), server.text()
        assert not any(rogue.has_done(word) for word in ("DHCPDISCOVER", "DHCPREQUEST", "DHCPSOLICIT", "DHCPOFFER"))


def test_a_rogue_server_is_refused_by_name_until_it_is_trusted(site, version):
    """No port serves DHCP and the rules allow everything: it is asked, it answers, and the answer is dropped."""
    offer = "DHCPOFFER" if version == 4 else "DHCPADVERTISE"
    with (site.policy(ALLOWING), site.serving(server="none", outside="none"), site.dhcp(site.rogue, version) as rogue):
        before = site.switch.drops()["dhcp-server"]
        with site.client(version) as client:
            client.start()
            wait_for(lambda: rogue.has_done(offer), 40, "an offer")
            wait_for(lambda: site.switch.drops()["dhcp-server"] > before, 20, "the drop by name")
            holds_for(lambda: not client.lease(), 3, "that there is no lease", interval=0.2)
        assert site.switch.wait_log(kind="spoofed", reason="dhcp-server", source_address=site.liar(version))
        assert "dhcp-server" in site.switch.cordon("log", "list", "--kind", "spoofed")
        site.switch.cordon("port", "set", "rogue", "--serves", "dhcp")
        try:
            with site.client(version) as client:
                assert client.ask(), rogue.text()
                assert client.address() == site.guest.address(version)
                if version == 4:
                    assert client.lease()["new_routers"] == site.rogue.ipv4
        finally:
            site.switch.cordon("port", "set", "rogue", "--serves", "none")


def test_a_guest_believes_the_router_and_makes_its_address(site):
    with site.router(site.server), TcpServer(site.server, 80):
        start_ipv6(site.guest)
        wait_for(lambda: addresses(site.guest) == {FROM_ITS_MAC}, 40, "an address in the router's prefix")
        assert routers(site.guest) == {site.link_local(site.server)}
        assert site.guest.can_connect(site.server.ipv6, 80, 10)
        assert not site.guest.ping(site.server.ipv6, wait=0.3)
    forget_addresses(site.guest)


def test_a_rogue_router_is_refused_by_name_until_it_is_trusted(site):
    """Whatever the rules say; the real router is believed meanwhile."""
    with site.policy(ALLOWING), site.router(site.rogue, ROGUE_PREFIX), site.router(site.server):
        before = site.switch.drops()["router-advertisement"]
        start_ipv6(site.guest)
        wait_for(lambda: site.switch.drops()["router-advertisement"] >= before + 2, 40, "the rogue's drops")
        wait_for(lambda: addresses(site.guest) == {FROM_ITS_MAC}, 40, "an address in the router's prefix")
        holds_for(lambda: routers(site.guest) == {site.link_local(site.server)}, 2, "belief in the one router")
        assert site.switch.wait_log(kind="spoofed", reason="router-advertisement", source_address=site.liar(6))
        with site.serving(rogue="router"):
            start_ipv6(site.guest)
            wait_for(lambda: site.link_local(site.rogue) in routers(site.guest), 40, "belief in the other one")
            wait_for(lambda: any(address.startswith(ROGUE_PREFIX) for address in addresses(site.guest)), 40,
                     "an address in its prefix")
    forget_addresses(site.guest)


def test_a_router_beyond_an_uplink(site):
    with site.router(site.outside):
        start_ipv6(site.guest)
        wait_for(lambda: routers(site.guest) == {site.link_local(site.outside)}, 40, "belief in the router")
        with site.serving(outside="none"):
            before = site.switch.drops()["router-advertisement"]
            start_ipv6(site.guest)
            wait_for(lambda: site.switch.drops()["router-advertisement"] > before, 40, "the drop")
            assert not routers(site.guest)
    forget_addresses(site.guest)
