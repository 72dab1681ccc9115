# SPDX-License-Identifier: Apache-2.0
"""Ports come, go, change and fail, and the others do not notice.

    a .1      b .2         further ports come and go beside them
      |         |
    --+---------+--  network lan, VLAN 10; one zone
"""

import os
import threading
import time

import pytest

from cordon import CommandFailed, cpu_seconds, unique, wait_for
from host import Host, TcpServer, inside, ip_batch, run

POLICY = """\
zones:
  all: {match: "zone=all"}
  other: {match: "zone=other"}
policies:
  - id: p
    mode: enforce
    rules:
      - {id: r, from: other, to: all, service: icmp/8, action: allow}
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
    one.a = shared.host("a", 1, zone="all")
    one.b = shared.host("b", 2, zone="all")
    return one


UNOPENABLE = [
    ("no-such-device", {"type": "kernel", "device": "nosuchdevice0"}, "nosuchdevice0"),
    ("bad-devargs", {"type": "dpdk", "devargs": "net_nosuchdriver0"}, "net_nosuchdriver0"),
    ("socket-path-too-long", {"type": "vhost", "socket": "/tmp/" + "x" * 150}, "socket"),
    ("unknown-option", {"type": "kernel", "device": "lo", "option": "colour=red"}, "colour"),
]


@pytest.mark.parametrize("options, word", [row[1:] for row in UNOPENABLE], ids=[row[0] for row in UNOPENABLE])
def test_port_that_cannot_open_says_why_and_others_go_on(site, options, word):
    try:
        with pytest.raises(CommandFailed) as failure:
            site.switch.add_port("broken", network="lan", tag="zone=all", **options)
        assert word in failure.value.message
        assert site.a.ping(site.b.ipv4) == 1
        if any(row["name"] == "broken" for row in site.switch.json("port", "list")):
            assert word in site.switch.port("broken")["error"], "the error stays to be read"
    finally:
        site.switch.try_cordon("port", "del", "broken")


def test_port_whose_device_appears_later_is_opened_then(site):
    late = Host("late", 30)
    site.switch.hosts.append(late)
    name = unique("cdl")
    result = site.switch.try_cordon("port", "add", "late", "--type", "kernel", "--device", name, "--network", "lan",
                                    "--mac", late.mac, "--address", f"{late.ipv4},{late.ipv6}", "--tag", "zone=all")
    assert result.returncode != 0 and name in result.stderr
    ip_batch([f"link set {late.device} down", f"link set {late.device} name {name}", f"link set {name} up"])
    late.device = name
    wait_for(lambda: late.ping(site.a.ipv4, wait=0.5) == 1, 20, "a ping once the device is there")
    site.switch.cordon("port", "del", "late")


def test_device_that_goes_and_comes_back_is_taken_again(site):
    site.switch.host("flap", 31, zone="all")
    flap = site.switch.hosts.pop()
    assert flap.ping(site.a.ipv4) == 1
    name = flap.device
    flap.close()
    wait_for(lambda: site.switch.port("flap")["link"] != "up", 20, "the link seen down")
    assert site.a.ping(site.b.ipv4) == 1, "the others go on"
    again = Host("flap", 31)
    site.switch.hosts.append(again)
    ip_batch([f"link set {again.device} down", f"link set {again.device} name {name}", f"link set {name} up"])
    again.device = name
    wait_for(lambda: again.ping(site.a.ipv4, wait=0.5) == 1, 20, "a ping once the device is back")
    site.switch.cordon("port", "del", "flap")


def test_ports_come_and_go_under_traffic(site):
    """A stream between two ports loses nothing while ten others are added and removed."""
    received = []
    with TcpServer(site.b, 6000, sink=True) as server:
        connection = site.a.connect(site.b.ipv4, 6000, seconds=20)
        stop = threading.Event()

        def stream():
            while not stop.is_set():
                connection.sendall(b"z" * 10000)
                received.append(10000)
                time.sleep(0.002)

        thread = threading.Thread(target=stream, daemon=True)
        thread.start()
        for i in range(5):
            guest = site.switch.host(f"guest{i}", 40 + i, zone="all")
            assert guest.ping(site.a.ipv4) == 1
            site.switch.add_port(f"null{i}", type="dpdk", devargs=f"net_null{i}", role="uplink", network="lan")
            site.switch.cordon("port", "del", f"null{i}")
            site.switch.cordon("port", "del", f"guest{i}")
            site.switch.hosts.remove(guest)
            guest.close()
        stop.set()
        thread.join(10)
        wait_for(lambda: server.received == sum(received), 20, "every byte")
        assert server.accepted == 1
        connection.close()


def test_end_of_a_port_ends_its_connections(site):
    guest = site.switch.host("leaver", 50, zone="all")
    with TcpServer(site.a, 6001):
        connection = guest.connect(site.a.ipv4, 6001)
        # The client knows that before its last segment has passed the switch.
        wait_for(lambda: site.switch.connections(in_port="leaver", state="ESTABLISHED"), 20, "the connection")
        site.switch.cordon("port", "del", "leaver")
        wait_for(lambda: not site.switch.connections(source=guest.ipv4), 20, "no connection of a port that is gone")
        connection.close()


def test_change_of_tags_changes_the_zone_of_a_live_port(site):
    guest = site.switch.host("mover", 51, zone="all")
    assert guest.ping(site.a.ipv4) == 1 and site.a.ping(guest.ipv4) == 1
    site.switch.cordon("port", "set", "mover", "--tag", "zone=other")
    wait_for(lambda: site.switch.port("mover")["zone"] == "other", 20, "the new zone")
    wait_for(lambda: site.a.ping(guest.ipv4, wait=0.3) == 0, 20, "what the new zone denies")
    assert guest.ping(site.a.ipv4) == 1, "what it allows"
    site.switch.cordon("port", "set", "mover", "--tag", "zone=nowhere")
    wait_for(lambda: guest.ping(site.a.ipv4, wait=0.3) == 0, 20, "quarantine")
    wait_for(lambda: site.switch.port("mover")["zone"] == "quarantine", what="quarantine that is shown")
    site.switch.cordon("port", "del", "mover")


def test_change_of_addresses_is_in_force_at_once(site):
    guest = site.switch.host("renumbered", 52, zone="all")
    run("ip", "-netns", guest.namespace, "address", "del", guest.ipv4 + "/24", "dev", "eth0")
    run("ip", "-netns", guest.namespace, "address", "add", "10.0.0.152/24", "dev", "eth0")
    assert guest.ping(site.a.ipv4, wait=0.3) == 0, "not its address yet"
    site.switch.cordon("port", "set", "renumbered", "--address", f"10.0.0.152,{guest.ipv6}")
    wait_for(lambda: guest.ping(site.a.ipv4, wait=0.5) == 1, 20, "a ping from the new address")
    site.switch.cordon("port", "del", "renumbered")


def test_connection_limit_refuses_by_name_and_leaves_the_open_ones(site):
    guest = site.switch.host("greedy", 53, zone="all", port_options={"connection_limit": 10})
    guest.knows(site.a)
    site.a.knows(guest)
    with TcpServer(site.a, 6002):
        before = site.switch.drops()["port-quota"]
        held = [guest.connect(site.a.ipv4, 6002) for _ in range(10)]
        for _ in range(5):
            assert not guest.can_connect(site.a.ipv4, 6002, 0.3)
        wait_for(lambda: site.switch.drops()["port-quota"] >= before + 5, what="refusals")
        for connection in held:
            connection.sendall(b"open")
            assert connection.recv(10) == b"open"
            connection.close()
    site.switch.wait_log(kind="limit", source_port="greedy")
    site.switch.cordon("port", "del", "greedy")


def test_half_open_limit_stops_a_syn_flood_of_one_port(site):
    from scapy.layers.inet import IP, TCP
    from scapy.layers.l2 import Ether

    flooder = site.switch.host("flooder", 54, zone="all", port_options={"half_open_limit": 100})
    # At an address of the vNIC's that its host does not know, nobody answers with a RST.
    site.switch.cordon("port", "set", "a", "--address", f"{site.a.ipv4},{site.a.ipv6},10.0.0.101")
    before = site.switch.drops()["half-open-quota"]
    site.switch.send(flooder, *[Ether(src=flooder.mac, dst=site.a.mac) / IP(src=flooder.ipv4, dst="10.0.0.101")
                                / TCP(sport=1024 + i, dport=7777, flags="S", seq=i) for i in range(1000)])
    wait_for(lambda: site.switch.drops()["half-open-quota"] >= before + 900, what="the limit")
    assert len(site.switch.connections(in_port="flooder", state="SYN-SENT")) <= 100
    with TcpServer(site.b, 6003):
        assert site.a.can_connect(site.b.ipv4, 6003), "other ports open connections as before"
    site.switch.cordon("port", "del", "flooder")
    site.switch.cordon("port", "set", "a", "--address", f"{site.a.ipv4},{site.a.ipv6}")


def test_internal_port_puts_the_host_on_the_switch(new_switch, version, request):
    """A tap whose other end is the host's own stack: the host is a namespace, in which the switch runs."""
    a = Host("a", 1, outside=unique("cdn-"))
    request.addfinalizer(a.close)
    with inside(a.outside):
        switch = new_switch("internal")
    switch.add_network()
    switch.policy(POLICY)
    switch.add_port("a", type="kernel", device=a.device, network="lan", mac=a.mac, address=f"{a.ipv4},{a.ipv6}", tag="zone=all")
    name, mac, address = unique("cdi"), "02:00:00:00:00:3c", {4: "10.0.0.60", 6: "fd00::3c"}
    switch.add_port(name, type="internal", role="internal", network="lan", mac=mac, address="10.0.0.60,fd00::3c",
                    tag="zone=all")
    ip_batch([f"link set {name} address {mac}", f"link set {name} up", f"address add 10.0.0.60/24 dev {name}",
              f"address add fd00::3c/64 dev {name} nodad"], a.outside)
    wait_for(lambda: a.ping(address[version], wait=0.5) == 1, what="an answer of the host")
    with TcpServer(a, 6004):
        script = ("import socket,sys; c=socket.create_connection((sys.argv[1],6004),20); c.sendall(b'x'*200000);"
                  "n=0\nwhile n<200000: n+=len(c.recv(65536))\nprint(n)")
        result = run("ip", "netns", "exec", a.outside, "/usr/bin/python3", "-c", script, a.address(version), check=False)
        counted = [run("ip", "netns", "exec", a.outside, *words, check=False).stdout
                   for words in (("ip", "-statistics", "link", "show", name), ("ip", "neighbour"), ("nstat",))]
        assert result.stdout.strip() == "200000", "\n".join([result.stderr, *counted])


def test_internal_port_in_another_namespace(site, version, request):
    """A tap that was moved into a container's namespace: the switch cannot see it there, but reaches it still, and it
    goes with the port."""
    name, mac, address = unique("cdi"), "02:00:00:00:00:3c", {4: "10.0.0.60", 6: "fd00::3c"}
    namespace = unique("cdn-")
    # Not before the report of a failure, which is to show them.
    request.addfinalizer(lambda: run("ip", "netns", "delete", namespace, check=False))
    request.addfinalizer(lambda: site.switch.try_cordon("port", "del", name))
    site.switch.add_port(name, type="internal", role="internal", network="lan", mac=mac, address="10.0.0.60,fd00::3c",
                         tag="zone=all")
    ip_batch([f"netns add {namespace}", f"link set {name} netns {namespace}"])
    ip_batch([f"link set {name} address {mac}", f"link set {name} up", f"address add 10.0.0.60/24 dev {name}",
              f"address add fd00::3c/64 dev {name} nodad"], namespace)
    wait_for(lambda: "namespace" in site.switch.port(name)["status"], what="the switch's notice of the move")
    assert site.switch.port(name)["link"] == "up"
    wait_for(lambda: site.a.ping(address[version], wait=0.5) == 1, what="an answer from there")
    # Back again, it is seen again; and from wherever it is, it goes with its port.
    run("ip", "-netns", namespace, "link", "set", name, "netns", str(os.getpid()))
    wait_for(lambda: "MTU" in site.switch.port(name)["status"], what="the tap back")
    assert site.switch.port(name)["link"] == "down", "the move has set it down"
    run("ip", "link", "set", name, "netns", namespace)
    site.switch.cordon("port", "del", name)
    left = run("ip", "-netns", namespace, "link", "show", name, check=False)
    assert left.returncode != 0, left.stdout


def test_dpdk_port_is_any_dpdk_device(site, tmp_path):
    """net_pcap plays a physical card: what is sent to it lies in a file."""
    from scapy.layers.l2 import ARP  # Also for the reader, which does not know Ethernet without it.
    from scapy.utils import rdpcap

    path = tmp_path / "out.pcap"
    site.switch.add_port("pcap0", type="dpdk", role="uplink", network="lan",
                         devargs=f"net_pcap0,tx_pcap={path}")
    site.a.run("arping", "-c", "1", "-w", "1", "10.0.0.99", check=False)
    site.a.ping("10.0.0.99", wait=0.3)
    site.switch.wait_quiet()
    site.switch.cordon("port", "del", "pcap0")
    frames = rdpcap(str(path))
    assert any(ARP in frame and frame[ARP].pdst == "10.0.0.99" for frame in frames)


def test_network_in_use_is_not_removed(site):
    with pytest.raises(CommandFailed):
        site.switch.cordon("network", "del", "lan")
    assert site.a.ping(site.b.ipv4) == 1


def test_names_that_are_taken_or_unknown_are_errors_that_name_them(site):
    for words, word in ((("port", "add", "a", "--type", "internal"), "a"), (("port", "del", "nosuch"), "nosuch"),
                        (("port", "set", "nosuch", "--tag", "x"), "nosuch"), (("port", "show", "nosuch"), "nosuch"),
                        (("network", "add", "lan", "--vlan", "11"), "lan"), (("network", "del", "nosuch"), "nosuch"),
                        (("port", "add", "x1", "--type", "kernel", "--network", "nosuch"), "nosuch"),
                        (("port", "set", "a", "--mac", "02:00"), "02:00"),
                        (("port", "set", "a", "--address", "10.0.0.256"), "10.0.0.256")):
        result = site.switch.try_cordon(*words)
        assert result.returncode not in (0, 1), words
        assert word in result.stderr, words
    assert site.a.ping(site.b.ipv4) == 1


def test_two_switches_at_once_do_not_touch(site, new_switch):
    second = new_switch("second")
    second.add_network()
    second.policy(POLICY)
    c, d = second.host("c", 3, zone="all"), second.host("d", 4, zone="all")
    assert c.ping(d.ipv4) == 1 and site.a.ping(site.b.ipv4) == 1
    assert c.ping(site.a.ipv4, wait=0.3) == 0
    second.kill("cordon-switchd")
    assert site.a.ping(site.b.ipv4) == 1


def test_idle_switch_uses_almost_no_cpu(site):
    """With ports, but no traffic: a few percent of one CPU at most, measured over some seconds."""
    time.sleep(1.5)
    pid, window = site.switch.pid(), 4.0
    before, start = cpu_seconds(pid), time.monotonic()
    time.sleep(window)
    share = (cpu_seconds(pid) - before) / (time.monotonic() - start)
    assert share <= 0.05, f"{share:.1%} of one CPU"


def test_sleeping_switch_wakes_for_the_first_packet(site):
    """The time of a ping after idleness is of the same order as of one in a row of pings."""
    def wakes():
        """A machine that is busy just then may keep it from that."""
        time.sleep(0.5)
        return site.a.ping(site.b.ipv4, wait=0.1) == 1

    for _ in range(3):
        wait_for(wakes, 20, "an answer at once")
