# SPDX-License-Identifier: Apache-2.0
"""Who may talk to whom: the policy, as the hosts on the wire see it, in IPv4 and IPv6 alike.

    web .1   web2 .2   app .3   db .4   db2 .5   stray .6   outside .9 (uplink)
      |         |        |        |       |         |          |
    --+---------+--------+--------+-------+---------+----------+--  network lan, VLAN 10

    web -> app        allowed: tcp/80, udp/53, ping
    app -> db         rejected: tcp/5432, udp/5432       allowed: tcp/3306
    web -> db         no rule: the default of the pair, deny
    db <-> db2        same zone, intra: deny
    web <-> web2      same zone, allowed by the baseline
    stray             its tag matches no zone: quarantine
    web -> outside    allowed, zone by prefix; db -> outside denied; outside -> web denied
"""

import contextlib

import pytest

from cordon import wait_for
from host import TcpServer, UdpServer

POLICY = """\
zones:
  web: {match: "zone=web"}
  app: {match: "zone=app"}
  db: {match: "zone=db", intra: deny}
  internet: {cidrs: [0.0.0.0/0, "::/0"]}
services:
  http: tcp/80
  dns: udp/53
  mysql: tcp/3306
tiers: [environment, application]
policies:
  - id: edge
    tier: environment
    mode: enforce
    rules:
      - {id: web-out, from: web, to: internet, action: allow, log: session}
      - {id: db-out, from: db, to: internet, action: deny, log: all}
  - id: shop
    tier: application
    mode: enforce
    rules:
      - {id: web-to-app, from: web, to: app, service: http, action: allow, log: session}
      - {id: web-dns, from: web, to: app, service: dns, action: allow}
      - {id: web-54, from: web, to: app, service: udp/54, action: allow}
      - {id: web-ping, from: web, to: app, service: icmp/8, action: allow}
      - {id: web-ping6, from: web, to: app, service: icmpv6/128, action: allow}
      - {id: app-mysql, from: app, to: db, service: mysql, action: allow}
      - {id: app-postgres, from: app, to: db, service: tcp/5432, action: reject, log: denied}
      - {id: app-postgres-udp, from: app, to: db, service: udp/5432, action: reject, log: denied}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

HOSTS = [("web", 1, "web"), ("web2", 2, "web"), ("app", 3, "app"), ("db", 4, "db"), ("db2", 5, "db"),
         ("stray", 6, "nowhere")]


class Site:
    pass


@pytest.fixture(scope="module")
def site(shared):
    one = Site()
    one.switch = shared
    shared.add_network()
    shared.policy(POLICY)
    for name, number, zone in HOSTS:
        setattr(one, name, shared.host(name, number, zone=zone))
    one.outside = shared.uplink("outside", 9)
    with contextlib.ExitStack() as servers:
        for name in ("web", "app", "db", "db2", "web2", "stray", "outside"):
            for port in (80, 3306, 5432):
                servers.enter_context(TcpServer(getattr(one, name), port))
            for port in (53, 5432):
                servers.enter_context(UdpServer(getattr(one, name), port))
        yield one


def test_allowed_tcp_passes(site, version):
    connection = site.web.connect(site.app.address(version), 80)
    connection.sendall(b"hello")
    assert connection.recv(100) == b"hello"
    connection.close()


def test_allowed_udp_passes(site, version):
    assert site.web.can_ask(site.app.address(version), 53)


def test_allowed_ping_passes(site, version):
    assert site.web.ping(site.app.address(version), 3) == 3


def test_other_services_of_the_pair_are_denied(site, version):
    assert not site.web.can_connect(site.app.address(version), 3306, 0.5)
    assert not site.web.can_ask(site.app.address(version), 5432, 0.3)


def test_pair_without_a_rule_is_denied(site, version):
    before = site.switch.drops()["policy"]
    with pytest.raises(TimeoutError):
        site.web.connect(site.db.address(version), 80, 0.5)
    assert not site.web.can_ask(site.db.address(version), 53, 0.3)
    assert site.web.ping(site.db.address(version), 1, wait=0.3) == 0
    wait_for(lambda: site.switch.drops()["policy"] >= before + 3, 10, "three drops")


def test_replies_pass_but_the_other_direction_does_not_open(site, version):
    assert site.web.can_ask(site.app.address(version), 53), "the reply passes against app -> web"
    with pytest.raises(TimeoutError):
        site.app.connect(site.web.address(version), 80, 0.5)
    assert site.app.ping(site.web.address(version), 1, wait=0.3) == 0


def test_denied_attempt_does_not_stand_in_the_way_of_the_allowed_direction(site, version):
    """app may not open a connection to web; web may, between the very same addresses and ports."""
    import socket

    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    web, app = site.web, site.app
    with web.socket(family, socket.SOCK_DGRAM) as client:
        client.bind(("", 6000 + version))
        client.settimeout(10)
        with app.socket(family, socket.SOCK_DGRAM) as intruder:
            intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            intruder.bind((app.address(version), 54))
            before = site.switch.drops()["policy"]
            intruder.sendto(b"not allowed", (web.address(version), 6000 + version))
            wait_for(lambda: site.switch.drops()["policy"] > before, 10, "the denial")
            # The same ports, the other way round: an allowed service.
            client.connect((app.address(version), 54))
            client.send(b"allowed")
            intruder.settimeout(10)
            assert intruder.recv(100) == b"allowed"
            intruder.sendto(b"the reply", (web.address(version), 6000 + version))
            assert client.recv(100) == b"the reply"


def test_reject_answers_tcp_with_a_reset(site, version):
    before = site.switch.drops()["rejected"]
    with pytest.raises(ConnectionRefusedError):
        site.app.connect(site.db.address(version), 5432)
    wait_for(lambda: site.switch.drops()["rejected"] > before, 10, "the drop")
    assert site.app.can_connect(site.db.address(version), 3306), "the rule beside it still allows"


def test_reject_answers_udp_with_an_icmp_error(site, version):
    import socket

    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with site.app.socket(family, socket.SOCK_DGRAM) as client:
        client.connect((site.db.address(version), 5432))
        client.settimeout(10)
        with pytest.raises(OSError) as error:
            client.send(b"ping")
            client.recv(100)
        assert not isinstance(error.value, TimeoutError), "an ICMP error ends the wait"


def test_quarantine_lets_nothing_pass(site, version):
    before = site.switch.drops()["quarantine"]
    assert site.stray.ping(site.web.address(version), 1, wait=0.3) == 0
    assert site.web.ping(site.stray.address(version), 1, wait=0.3) == 0
    # With the neighbours known there is no ARP to fail at: it is the packet itself that is refused.
    site.stray.knows(site.web)
    site.web.knows(site.stray)
    assert not site.stray.can_connect(site.web.address(version), 80, 0.3)
    assert not site.web.can_connect(site.stray.address(version), 80, 0.3)
    wait_for(lambda: site.switch.drops()["quarantine"] >= before + 2, 10, "two drops")


def test_intra_deny_separates_members_of_one_zone(site, version):
    assert not site.db.can_connect(site.db2.address(version), 80, 0.5)
    assert site.db2.ping(site.db.address(version), 1, wait=0.3) == 0


def test_members_of_one_zone_talk_by_the_baseline(site, version):
    assert site.web.can_connect(site.web2.address(version), 80)
    assert site.web2.ping(site.web.address(version), 2) == 2


def test_outside_is_a_zone_by_prefix(site, version):
    assert site.web.can_connect(site.outside.address(version), 80)
    assert not site.db.can_connect(site.outside.address(version), 80, 0.5)
    assert not site.outside.can_connect(site.web.address(version), 80, 0.5)


def test_zone_list_says_who_is_where(site):
    zones = {row["zone"]: row for row in site.switch.json("zone", "list")}
    assert {"web", "app", "db", "internet", "quarantine"} <= set(zones)
    assert "stray" in str(zones["quarantine"]["endpoints"])
    assert "db2" in str(zones["db"]["endpoints"])


def test_connection_names_its_rule(site, version):
    connection = site.web.connect(site.app.address(version), 80)
    try:
        rows = wait_for(lambda: site.switch.connections(source=site.web.address(version), destination_port=80,
                                                        destination=site.app.address(version), state="ESTABLISHED"),
                        10, "the connection in the list")
        assert rows[0]["rule"] == "web-to-app"
        assert rows[0]["policy"] == "shop"
        assert (rows[0]["source_zone"], rows[0]["destination_zone"]) == ("web", "app")
        assert (rows[0]["in_port"], rows[0]["out_port"]) == ("web", "app")
    finally:
        connection.close()


def test_flushed_connections_are_judged_anew(site, version):
    connection = site.web.connect(site.app.address(version), 80)
    try:
        assert site.switch.json("conn", "flush", "--port", "web")["flushed"] >= 1
        wait_for(lambda: not site.switch.connections(source=site.web.address(version), destination_port=80,
                                                     state="ESTABLISHED"), 10, "the end of the flushed connection")
        assert site.web.can_connect(site.app.address(version), 80), "a new one opens"
    finally:
        connection.close()
