# SPDX-License-Identifier: Apache-2.0
"""VLANs, learning, and the limits on both.

    red1 .1   red2 .2      blue1 .1   blue2 .2       router (trunk: 10 and 20)    left  right (uplinks, VLAN 10)
      |         |            |          |                    ||                     |     |
    --+---------+-- VLAN 10  +----------+-- VLAN 20 ---------++---------------------+-----+--

Red and blue have different MACs and addresses (10.0.1.x and 10.0.2.x); everything is one zone, so that only the VLANs
separate them.
"""

import time

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from cordon import wait_for
from host import run

POLICY = """\
zones:
  all: {match: "zone=all"}
  internet: {cidrs: [0.0.0.0/0, "::/0"]}
policies:
  - id: open
    mode: enforce
    rules:
      - {id: in, from: internet, to: all, action: allow}
      - {id: out, from: all, to: internet, action: allow}
baseline: {between_zones: deny, within_zone: allow, log: none}
"""

BROADCAST = "ff:ff:ff:ff:ff:ff"


class Site:
    pass


@pytest.fixture(scope="module")
def site(shared):
    one = Site()
    one.switch = shared
    shared.add_network("red", 10)
    shared.add_network("blue", 20)
    shared.add_network("green", 30)
    shared.policy(POLICY)
    one.red1 = shared.host("red1", 1, "red", "all", net=1)
    one.red2 = shared.host("red2", 2, "red", "all", net=1)
    one.blue1 = shared.host("blue1", 1, "blue", "all", net=2)
    one.blue2 = shared.host("blue2", 2, "blue", "all", net=2)
    one.left = shared.uplink("left", 8, "red", net=1)
    one.right = shared.uplink("right", 9, "red", net=1)
    return one


def frame(source, target_mac, vlan=None, src=None, payload=b"vlan-story"):
    tag = Dot1Q(vlan=vlan) if vlan is not None else None
    inner = IP(src=src or source.ipv4, dst="10.0.1.200") / UDP(sport=7, dport=7) / payload
    ethernet = Ether(src=source.mac, dst=target_mac)
    return ethernet / tag / inner if tag else ethernet / inner


def test_one_vlan_is_one_network(site, version):
    assert site.red1.ping(site.red2.address(version), 2) == 2
    assert site.blue1.ping(site.blue2.address(version), 2) == 2


def test_broadcasts_stay_in_their_vlan(site):
    for host in (site.red2, site.blue1, site.blue2):
        host.packets.drain()
    site.red1.packets.send(Ether(src=site.red1.mac, dst=BROADCAST)
                           / ARP(op=1, hwsrc=site.red1.mac, psrc=site.red1.ipv4, pdst="10.0.1.77"))
    wanted = lambda f: ARP in f and f[ARP].pdst == "10.0.1.77"
    seen = site.red2.packets.receive(wanted)
    assert seen and Dot1Q not in seen[0], "an access port gets no tag"
    assert not site.blue1.packets.receive(wanted, 0.2)


def test_unicast_to_a_mac_of_another_vlan_does_not_cross(site):
    site.blue1.packets.drain()
    site.red1.packets.send(frame(site.red1, site.blue1.mac))
    assert not site.blue1.packets.receive(lambda f: b"vlan-story" in bytes(f), 0.3)


def test_trunk_carries_its_vlans_tagged(site):
    """The router speaks with tags, in its two VLANs as one who is at home in both, and in no third."""
    router = site.switch.uplink("router", 5, network=None, net=1, port_options={"vlan_mode": "trunk", "trunks": "10,20"})
    # Its own stack would say something without a tag now and then, which is in no VLAN.
    router.run("sysctl", "-q", "-w", "net.ipv6.conf.eth0.disable_ipv6=1")
    for vlan, host, address in ((10, site.red1, "10.0.1.5"), (20, site.blue1, "10.0.2.5")):
        run("ip", "-netns", host.namespace, "neighbour", "replace", address, "lladdr", router.mac, "dev", "eth0")
        router.packets.drain()
        router.packets.send(Ether(src=router.mac, dst=host.mac) / Dot1Q(vlan=vlan) / IP(src=address, dst=host.ipv4)
                            / ICMP(type=8, id=7, seq=vlan) / b"to the host")
        replies = router.packets.receive(lambda f: ICMP in f and f[ICMP].type == 0)
        assert replies, f"an answer from VLAN {vlan}"
        assert replies[0][Dot1Q].vlan == vlan and replies[0][IP].src == host.ipv4
        # The other network's host is not to be reached under this tag.
        other = site.blue1 if host is site.red1 else site.red1
        other.packets.drain()
        router.packets.send(Ether(src=router.mac, dst=other.mac) / Dot1Q(vlan=vlan) / IP(src=address, dst=other.ipv4)
                            / UDP(sport=1, dport=1) / b"wrong tag")
        assert not other.packets.receive(lambda f: b"wrong tag" in bytes(f), 0.2)
    before = site.switch.drops()["vlan-not-allowed"]
    router.packets.send(frame(router, BROADCAST, vlan=30), frame(router, BROADCAST, vlan=4000))
    wait_for(lambda: site.switch.drops()["vlan-not-allowed"] == before + 2, 10, "the drops")
    site.switch.cordon("port", "del", "router")


def test_network_of_a_trunk_is_its_untagged_vlan(site):
    native = site.switch.uplink("native", 6, "red", net=1, port_options={"vlan_mode": "trunk", "trunks": "20"})
    assert native.ping(site.red1.ipv4, 2) == 2, "untagged: red"
    native.packets.drain()
    site.blue1.packets.send(Ether(src=site.blue1.mac, dst=BROADCAST)
                            / ARP(op=1, hwsrc=site.blue1.mac, psrc=site.blue1.ipv4, pdst="10.0.2.77"))
    seen = native.packets.receive(lambda f: ARP in f and f[ARP].pdst == "10.0.2.77")
    assert seen and seen[0][Dot1Q].vlan == 20, "tagged: blue"
    site.switch.cordon("port", "del", "native")


def macs(site, **fields):
    return [row for row in site.switch.json("mac", "list") if all(row.get(k) == v for k, v in fields.items())]


def test_unknown_destination_floods_and_a_learned_one_does_not(site):
    stranger = "02:00:00:00:99:01"
    for host in (site.left, site.right, site.red2):
        host.packets.drain()
    probe = frame(site.red1, stranger, payload=b"where-are-you")
    wanted = lambda f: b"where-are-you" in bytes(f)
    site.red1.packets.send(probe)
    assert site.left.packets.receive(wanted) and site.right.packets.receive(wanted), "unknown: to all that learn"
    assert not site.red2.packets.receive(wanted, 0.2), "not to a vNIC whose MACs are known"
    site.left.packets.send(Ether(src=stranger, dst=site.red1.mac) / IP(src="10.0.1.200", dst=site.red1.ipv4)
                           / UDP(sport=9, dport=9) / b"here")
    wait_for(lambda: macs(site, mac=stranger, port="left"), 10, "the MAC learned")
    site.right.packets.drain()
    site.red1.packets.send(probe)
    assert site.left.packets.receive(wanted)
    assert not site.right.packets.receive(wanted, 0.2)


def test_mac_that_moves_takes_its_traffic_along(site):
    roamer = "02:00:00:00:99:02"
    hello = Ether(src=roamer, dst=site.red1.mac) / IP(src="10.0.1.201", dst=site.red1.ipv4) / UDP(sport=9, dport=9) / b"x"
    there = Ether(src=site.red1.mac, dst=roamer) / IP(src=site.red1.ipv4, dst="10.0.1.201") / UDP(sport=9, dport=9) / b"roam"
    wanted = lambda f: b"roam" in bytes(f)
    for turn in range(3):
        for new, old in ((site.left, site.right), (site.right, site.left)):
            new.packets.send(hello)
            wait_for(lambda: macs(site, mac=roamer, port=new.name), 10, f"the move to {new.name}")
            new.packets.drain()
            old.packets.drain()
            site.red1.packets.send(there, there)
            assert len(new.packets.receive(wanted, count=2)) == 2, f"turn {turn}: found at {new.name}"
            assert not old.packets.receive(wanted, 0.1)


def test_same_mac_in_two_vlans_is_two_hosts(site):
    site.switch.uplink("left20", 8, "blue", net=2)
    twin = "02:00:00:00:99:03"
    left20 = next(host for host in site.switch.hosts if host.name == "left20")
    left20.packets.send(Ether(src=twin, dst=BROADCAST) / ARP(op=1, hwsrc=twin, psrc="10.0.2.99", pdst="10.0.2.98"))
    site.right.packets.send(Ether(src=twin, dst=BROADCAST) / ARP(op=1, hwsrc=twin, psrc="10.0.1.99", pdst="10.0.1.98"))
    wait_for(lambda: {(row["vlan"], row["port"]) for row in macs(site, mac=twin)} == {(20, "left20"), (10, "right")}, 10,
             "both")
    site.switch.cordon("port", "del", "left20")


def test_configured_macs_are_listed_as_such(site):
    assert macs(site, mac=site.red1.mac, vlan=10, port="red1", static=True)


def test_mac_limit_refuses_further_macs_by_name(site):
    site.switch.set_port("right", "--mac-limit", "5")
    before = site.switch.drops()["mac-limit"]
    known = len([row for row in macs(site, port="right") if not row.get("static")])
    for i in range(20):
        mac = f"02:00:00:00:aa:{i:02x}"
        site.right.packets.send(Ether(src=mac, dst=site.red1.mac) / IP(src=f"10.0.1.{210 + i}", dst=site.red1.ipv4)
                                / UDP(sport=9, dport=9) / b"x")
    wait_for(lambda: site.switch.drops()["mac-limit"] >= before + 20 - max(0, 5 - known), 10, "the refusals")
    assert len([row for row in macs(site, port="right") if not row.get("static")]) <= max(5, known)
    assert site.left.ping(site.red1.ipv4) == 1, "other ports learn as before"
    site.switch.set_port("right", "--mac-limit", "0")


def test_storm_limit_bounds_broadcasts_and_not_unicasts(site):
    limit = 200
    site.switch.set_port("left", "--storm-limit", limit)
    before = site.switch.drops()["storm"]
    site.red2.packets.drain()
    storm = Ether(src=site.left.mac, dst=BROADCAST) / ARP(op=1, hwsrc=site.left.mac, psrc=site.left.ipv4, pdst="10.0.1.66")
    start = time.monotonic()
    sent = 4000
    site.left.packets.send(*[bytes(storm)] * sent)
    wait_for(lambda: site.switch.drops()["storm"] > before, 10, "a drop")
    site.switch.wait_quiet()
    took = time.monotonic() - start
    passed = len(site.red2.packets.receive(lambda f: ARP in f and f[ARP].pdst == "10.0.1.66", 1.0, count=sent))
    # A bucket of one second's worth, and what flows in until all are switched.
    assert passed <= limit * (took + 1), f"{passed} passed in {took:.2f} s"
    assert passed >= limit / 2
    site.switch.set_port("left", "--storm-limit", "0")
    assert wait_for(lambda: site.left.ping(site.red1.ipv4, wait=0.5) == 1, 20, "a ping after the storm")


def test_rate_limit_bounds_what_a_guest_sends(site):
    """1 Mbit/s, offered several times that: the share that arrives is a small part, and drops say why."""
    site.switch.set_port("red1", "--ingress-kbps", "1000")
    before = site.switch.drops()["rate-limit"]
    site.red2.packets.drain()
    big = bytes(frame(site.red1, site.red2.mac, payload=b"r" * 1000))
    for _ in range(20):
        site.red1.packets.send(*[big] * 100)
    wait_for(lambda: site.switch.drops()["rate-limit"] > before, 10, "a drop")
    passed = len(site.red2.packets.receive(lambda f: b"rrrr" in bytes(f), 1.0, count=2000))
    assert 0 < passed < 1500
    site.switch.set_port("red1", "--ingress-kbps", "0")
    assert wait_for(lambda: site.red1.ping(site.red2.ipv4, wait=0.5) == 1, 20, "a ping without the limit")
