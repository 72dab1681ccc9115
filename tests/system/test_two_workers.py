# SPDX-License-Identifier: Apache-2.0
"""Two workers, and everything that may happen beside them at once.  What it is for shows under ThreadSanitizer
(make check SANITIZE=thread); in other builds it shows that nobody comes to harm.

    left .1     right .2     outside (any MAC)     a .11 (vhost, two queues)     b .12      others come and go
      |            |             |                   |                             |
    --+------------+-------------+-------------------+-----------------------------+--  network lan, VLAN 10

left, right and outside are files of frames that are repeated without end.  One worker polls left, the other one
right, so that both open, step, renew and end the same connections.
"""

import json
import os
import socket
import threading
import time

import pytest

from capturing import Capture
from cordon import process_is_alive, wait_for
from guest import VhostGuest
from host import TcpServer

ROUNDS = 4
UP_OPTIONS = ("--no-huge", "--workers", "2", "--max-connections", "4096")

POLICY = """\
zones:
  left: {{match: "zone=left"}}
  right: {{match: "zone=right"}}
  lan: {{match: "zone=lan"}}
  outside: {{cidrs: [0.0.0.0/0, "::/0"]}}
policies:
  - id: p
    mode: enforce
    rules:
      - {{id: there, from: left, to: right, action: {there}, log: all}}
      - {{id: back, from: right, to: left, action: {back}, log: session}}
      - {{id: in, from: outside, to: left, action: {back}, log: all}}
baseline: {{between_zones: deny, within_zone: allow, log: denied}}
"""

# What is in force in turn.
VERDICTS = (("allow", "allow"), ("deny", "allow"), ("reject", "deny"), ("allow", "reject"))

MACS = {"left": "02:00:00:00:00:01", "right": "02:00:00:00:00:02"}


def exchange(source, destination, macs, addresses):
    """What one side says: UDP, a TCP connection's whole life, echo requests and replies, a datagram in fragments."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import ARP, Ether

    low = source < destination
    link = Ether(src=macs[source], dst=macs[destination])
    ip4 = link / IP(src=addresses[source][0], dst=addresses[destination][0])
    ip6 = link / IPv6(src=addresses[source][1], dst=addresses[destination][1])
    frames = [link / ARP(psrc=addresses[source][0], pdst=addresses[destination][0], hwsrc=macs[source])]
    for ip in (ip4, ip6):
        frames += [ip / UDP(sport=1000 + i if low else 53, dport=53 if low else 1000 + i) / (b"x" * 20)
                   for i in range(100)]
    for i in range(20):
        ports = {"sport": 2000 + i, "dport": 80} if low else {"sport": 80, "dport": 2000 + i}
        mine, other = (1000, 5000) if low else (5000, 1000)
        frames += [ip4 / TCP(**ports, flags="S" if low else "SA", seq=mine, ack=0 if low else other + 1),
                   ip4 / TCP(**ports, flags="A", seq=mine + 1, ack=other + 1),
                   ip4 / TCP(**ports, flags="PA", seq=mine + 1, ack=other + 1) / b"request",
                   ip4 / TCP(**ports, flags="FA" if i % 2 else "R", seq=mine + 8, ack=other + 8)]
    frames += [ip4 / ICMP(type=8 if low else 0, id=7, seq=i) for i in range(4)]
    frames += fragment(IP(src=addresses[source][0], dst=addresses[destination][0], id=9) / UDP(sport=9, dport=9)
                       / (b"y" * 3000), fragsize=1400)
    return [frame if Ether in frame else link / frame for frame in frames]


def from_outside(macs, addresses):
    """Stations that come and go: their MACs are learned, what they send to nobody floods."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    stations = [f"02:01:00:00:00:{i:02x}" for i in range(64)]
    frames = [Ether(src=mac, dst=macs["left"]) / IP(src=f"192.0.2.{i + 1}", dst=addresses["left"][0])
              / UDP(sport=i, dport=1) for i, mac in enumerate(stations)]
    frames += [Ether(src=mac, dst="02:02:00:00:00:01") / IP(src="192.0.2.1", dst="192.0.2.250") / UDP(dport=2)
               for mac in stations]
    frames.append(Ether(src="02:00:00:00:00:02", dst=macs["left"]) / IP(src="10.0.0.2", dst="10.0.0.1") / UDP(dport=3))
    return frames


def be_patient(switch):
    """With two workers that never rest on as many CPUs, and a sanitizer in them, a command may take its time."""
    at_once = switch.try_cordon
    switch.try_cordon = lambda *words, text=None, seconds=0: at_once(
        *words, "--timeout", "60", text=text, seconds=max(seconds, 90))


@pytest.fixture
def site(new_switch):
    from scapy.utils import wrpcap

    switch = new_switch("two-workers", up=False, up_options=UP_OPTIONS)
    be_patient(switch)
    switch.up()
    switch.add_network()
    switch.policy(POLICY.format(there="allow", back="allow"))
    addresses = {"left": ("10.0.0.1", "fd00::1"), "right": ("10.0.0.2", "fd00::2")}
    files = {
        "left": exchange("left", "right", MACS, addresses),
        "right": exchange("right", "left", MACS, addresses),
        "outside": from_outside(MACS, addresses),
    }
    for name, frames in files.items():
        wrpcap(os.path.join(switch.directory, f"{name}.pcap"), frames)
    for name in ("left", "right"):
        plug(switch, name, mac=MACS[name], address=",".join(addresses[name]), tag=f"zone={name}")
    plug(switch, "outside", role="uplink")
    guest = VhostGuest(switch, "a", 11, queues=2)
    switch.hosts.append(guest)
    guest.start()
    switch.add_port("a", type="vhost", socket=guest.socket_path, network="lan", mac=guest.mac, queues=2, tag="zone=lan",
                    address=f"{guest.ipv4},{guest.ipv6}")
    guest.wait_ready()
    return switch, guest, switch.host("b", 12, zone="lan")


def plug(switch, name, **options):
    path = os.path.join(switch.directory, f"{name}.pcap")
    switch.add_port(name, type="dpdk", network="lan", devargs=f"net_pcap_{name},rx_pcap={path},infinite_rx=1",
                    **{"role": "vnic", **options})


def pollers(switch, port):
    return {worker["worker"] for worker in switch.json("worker", "list")
            if any(queue["port"] == port for queue in worker["queues"])}


class Talk(threading.Thread):
    """Two hosts with real IP stacks: short TCP connections one after the other, and datagrams."""

    def __init__(self, one, other):
        super().__init__(daemon=True)
        self.one, self.other = one, other
        self.over = threading.Event()
        self.opened = 0

    def run(self):
        with TcpServer(self.other, 80), self.one.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            while not self.over.is_set():
                for port in range(3000, 3050):
                    datagrams.sendto(b"z" * 100, (self.other.ipv4, port))
                try:
                    with self.one.connect(self.other.ipv4, 80, seconds=2) as connection:
                        connection.sendall(b"q" * 20000)
                        connection.recv(1)
                    self.opened += 1
                except OSError:
                    pass  # The switch may be away just now.

    def stop(self):
        self.over.set()
        self.join(20)


def churn(switch, turn):
    """One of everything that the control plane can do."""
    there, back = VERDICTS[turn % len(VERDICTS)]
    captures = [Capture(switch, *words, "-w", "/dev/null", "--bytes", "1T")
                for words in (("zone:left", "zone:lan"), ("right", "--verdict", "denied", "--filter", "udp"))]
    switch.policy(POLICY.format(there=there, back=back))
    guest = switch.host(f"guest{turn}", 40 + turn, zone="lan")
    planned = switch.try_cordon("policy", "plan", "-", "--json", text=POLICY.format(there=back, back=there))
    assert planned.returncode == 0 and json.loads(planned.stdout)["live"]["error"] == ""
    switch.cordon("conn", "flush", "--port", "left")
    switch.cordon("port", "set", "right", "--tag", "zone=left" if turn % 2 else "zone=right")
    switch.cordon("port", "set", "outside", "--storm-limit", 1000 * (turn % 2), "--connection-limit", 50)
    for words in (("conn", "list"), ("mac", "list"), ("worker", "list"), ("drops", "--all"), ("port", "list"),
                  ("status",)):
        switch.json(*words)
    switch.cordon("port", "del", "right")
    switch.cordon("conn", "flush", "--all")
    plug(switch, "right", mac=MACS["right"], address="10.0.0.2,fd00::2", tag="zone=right")
    for capture in captures:
        capture.stop(quiet=False)
    switch.cordon("port", "del", f"guest{turn}")
    switch.hosts.remove(guest)
    guest.close()


@pytest.mark.vhost
def test_two_workers_agree_while_everything_changes(site):
    switch, a, b = site
    assert pollers(switch, "left") != pollers(switch, "right"), "two workers see the two directions"
    wait_for(lambda: len(pollers(switch, "a")) == 2, 20, "both workers at the guest's queues")
    talk = Talk(a, b)
    talk.start()
    try:
        for turn in range(ROUNDS):
            pid = switch.pid()
            churn(switch, turn)
            assert process_is_alive(pid) and switch.pid() == pid
            if turn == ROUNDS // 2:
                switch.kill("cordon-switchd")
                switch.up()
                time.sleep(0.5)
    finally:
        talk.stop()
    assert talk.opened > 0
    for name in ("left", "right", "outside"):
        switch.cordon("port", "del", name)
    assert wait_for(lambda: a.ping(b.ipv4, wait=0.5), 30, "a ping when all is quiet again")
    switch.wait_log(kind="end", source_port="left", seconds=20)
    assert switch.down().returncode == 0
