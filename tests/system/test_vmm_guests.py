# SPDX-License-Identifier: Apache-2.0
"""Guests of cordon-vmm on a switch: they reach whom they may, by both versions of IP, and nobody else.

    g1 .1   g2 .2 (zone app)   g3 .3 (zone db)     web .9 (a namespace, zone app)
      |       |                  |                   |
    --+-------+------------------+-------------------+--  network lan, VLAN 10
"""

import pytest

from cordon import wait_for
from host import TcpServer, UdpServer
from vmm import plug

pytestmark = pytest.mark.kvm

POLICY = """\
zones:
  app: {match: "zone=app"}
  db: {match: "zone=db"}
policies:
  - id: p
    mode: enforce
    rules:
      - {id: sql, from: app, to: db, service: tcp/7, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


class Site:
    pass


@pytest.fixture(scope="module")
def site(shared):
    one = Site()
    one.switch = shared
    shared.add_network()
    shared.policy(POLICY)
    one.web = shared.host("web", 9, zone="app")
    one.g1 = plug(shared, "g1", 1, zone="app")
    one.g2 = plug(shared, "g2", 2, zone="app")
    one.g3 = plug(shared, "g3", 3, zone="db")
    return one


def test_a_namespace_and_a_guest_ping_each_other(site, version):
    wait_for(lambda: site.web.ping(site.g1.address(version)) == 1, 10, "the first ping")
    assert site.web.ping(site.g1.address(version), 5) == 5
    assert site.g1.ping(site.web.address(version), 5) == 5


def test_guests_ping_each_other(site, version):
    assert site.g1.ping(site.g2.address(version), 3) == 3
    assert site.g2.ping(site.g1.address(version), 3) == 3


def test_another_zone_is_out_of_reach(site, version):
    before = site.switch.drops()["policy"]
    assert site.g1.ping(site.g3.address(version), 2) == 0
    assert site.switch.drops()["policy"] >= before + 2
    assert site.switch.wait_log(kind="denied", source_vm_name="g1", destination_vm_name="g3")


def test_a_rule_lets_in_what_it_names_and_nothing_else(site, version):
    assert site.g1.command(f"tcp {site.g3.address(version)} 7 hello") == "tcp: echoed, closed"
    assert site.g1.command(f"udp {site.g3.address(version)} 7 hello") == "udp: silent"
    assert site.g3.command(f"tcp {site.g1.address(version)} 7 hello") == "tcp: silent"
    assert site.switch.wait_log(kind="start", rule="sql", source_vm_name="g1", destination_vm_name="g3")


def test_datagrams_and_connections_to_a_real_stack(site, version):
    with UdpServer(site.web, 53):
        assert site.g1.command(f"udp {site.web.address(version)} 53 hello") == "udp: answered"
    with TcpServer(site.web, 80):
        assert site.g1.command(f"tcp {site.web.address(version)} 80 hello") == "tcp: echoed, closed"
    assert site.g1.command(f"tcp {site.web.address(version)} 81 hello") == "tcp: refused"


def test_a_real_stack_connects_to_a_guest(site, version):
    with site.web.connect(site.g2.address(version), 7) as connection:
        for _ in range(10):
            connection.sendall(b"hello")
            assert connection.recv(100) == b"hello"
    assert site.web.can_ask(site.g2.address(version), 7)


def test_commands_come_by_the_network_too(site, version):
    assert site.g1.from_network(site.web, "say hello", version=version) == "hello"
