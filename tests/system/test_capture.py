# SPDX-License-Identifier: Apache-2.0
"""`cordon capture`: what was sent is in the file, with what became of it and why; and tshark reads it.

    web .1     web2 .4     db .2      app .3      out .9 (uplink, a trunk: VLAN 10 tagged)
      |          |           |          |           ||
    --+----------+-----------+----------+-----------++--  VLAN 10
"""

import contextlib
import os
import socket
import stat
import subprocess
import threading
import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether

import capturing
from capturing import Capture, blocks, read
from cordon import CORDON, SWITCHD, holds_for, process_is_alive, wait_for
from host import TcpServer, UdpServer, run

POLICY = """\
zones:
  web: {match: "zone=web"}
  db: {match: "zone=db"}
  app: {match: "zone=app"}
  internet: {cidrs: [0.0.0.0/0, "::/0"]}
tiers: [application]
policies:
  - id: shop
    tier: application
    rules:
      - {id: sql, from: web, to: db, service: tcp/5432, action: allow, log: session}
      - {id: ping, from: web, to: db, service: icmp, action: allow}
      - {id: ping6, from: web, to: db, service: icmpv6, action: allow}
      - {id: stream, from: web, to: db, service: udp/9000, action: allow}
      - {id: no-ssh, from: web, to: db, service: tcp/22, action: reject}
      - {id: surf, from: web, to: internet, action: allow}
      - {id: few, from: web, to: db, service: udp/99, action: allow, limits: {connections: 1}}
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
    one.web = shared.host("web", 1, port_options={"vm_name": "shop-web", "vm_id": "vm-17"})
    one.web2 = shared.host("web2", 4, zone="web")
    one.db = shared.host("db", 2)
    one.app = shared.host("app", 3)
    one.out = shared.uplink("out", 9, port_options={"vlan_mode": "trunk", "trunks": "10", "network": None})
    for name in ("web", "web2", "db", "app", "out"):
        shared.wait_port(name)
    hosts = (one.web, one.web2, one.db, one.app)
    for host in hosts:
        for other in hosts:
            if other is not host:
                host.knows(other)
    return one


@pytest.fixture
def path(site, request):
    return os.path.join(site.switch.directory, request.node.name.translate({ord(c): "-" for c in "[]/"}) + ".pcapng")


@pytest.fixture(autouse=True)
def none_is_left(site):
    yield
    while capturing.begun:
        capturing.begun.pop().kill()
    wait_for(lambda: not site.switch.status()["captures"], 30, "the end of all captures")
    site.switch.wait_quiet()
    assert not [name for name in os.listdir(site.switch.run) if name.startswith("capture.")]


def ip(version, source, target, **fields):
    values = {"src": source.address(version), "dst": target.address(version), **fields}
    return Ether(src=source.mac, dst=target.mac) / (IP(**values) if version == 4 else IPv6(**values))


def refused(site, version):
    """A request for a connection, sent once, whatever becomes of it."""
    return ip(version, site.web, site.db) / TCP(sport=32000 + version, dport=22, flags="S")


def words(version):
    return "ip" if version == 4 else "ip6"


def echo(version):
    return "icmp" if version == 4 else "icmp6[0] == 128 or icmp6[0] == 129"


# --- What became of it ---------------------------------------------------------------------------------------------


def test_allowed(site, version, path):
    """The connection, at both ends of the switch, with its rule."""
    capture = Capture(site.switch, "web", "-f", f"{words(version)} and tcp port 5432", "-w", path)
    with TcpServer(site.db, 5432):
        connection = site.web.connect(site.db.address(version), 5432)
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
        connection.close()
    capture.stop()
    rows = read(path)
    assert "0 lost" in capture.message and len(rows) >= 10
    for row in rows:
        assert (row["verdict"], row["rule"], row["revision"]) == ("allowed", "shop/sql in tier application", "1"), row
        assert row["zones"] == "web to db" and "reason" not in row
        assert (row["in"], row["out"]) in (("web", "db"), ("db", "web"))
    first = rows[:2]
    assert [row["where"] for row in first] == ["received from web", "sent to db"]
    assert [row["port"] for row in first] == ["web", "db"]
    assert first[0]["connection"] == first[1]["connection"]
    assert {row["where"] for row in rows} == {"received from web", "sent to db", "sent to web"}


def test_denied(site, version, path):
    """A denial has a rule too, the first time and when it is known."""
    capture = Capture(site.switch, "web", "-w", path, "--verdict", "denied")
    frame = ip(version, site.web, site.db) / TCP(sport=30000 + version, dport=80, flags="S")
    for _ in range(3):
        site.web.packets.send(frame)
    assert site.web.ping(site.db.address(version)) == 1  # Which is not asked for.
    capture.stop()
    rows = read(path, "tcp")
    assert len(rows) == 3 == len(read(path))
    for row in rows:
        assert row["where"] == "received from web" and row["out"] == "none"
        assert row["verdict"] == "denied" and row["reason"].startswith("policy (")
        assert (row["rule"], row["revision"]) == ("the baseline for web->db", "1")


def test_rejected(site, version, path):
    """The packet, and the switch's answer to it."""
    capture = Capture(site.switch, "web", "-f", f"{words(version)} and tcp port 22", "-w", path)
    site.web.packets.drain()
    site.web.packets.send(refused(site, version))
    assert site.web.packets.receive(lambda f: TCP in f and f[TCP].sport == 22, 10)
    capture.stop()
    asked, answer = read(path)
    assert asked["verdict"] == "denied" and asked["reason"].startswith("rejected (")
    assert asked["rule"] == "shop/no-ssh in tier application" and asked["bound for"] == "db"
    assert answer["where"] == "sent to web" and int(answer["flags"], 16) & 4
    assert "made by the switch, to answer a rejected packet" in answer["notes"]


def test_spoofed(site, version, path):
    """No rule was asked: the guard is before all rules."""
    other = "10.0.0.77" if version == 4 else "fd00::77"
    capture = Capture(site.switch, "web", "-v", "denied", "-w", path)
    site.web.packets.send(ip(version, site.web, site.db, src=other) / UDP(sport=1, dport=9000))
    site.web.packets.send(Ether(src="02:00:00:00:00:66", dst=site.db.mac) / bytes(ip(version, site.web, site.db) / UDP())[14:])
    capture.stop()
    rows = read(path)
    assert [row["reason"].split()[0] for row in rows] == ["spoofed-address", "spoofed-mac"]
    assert all(row["verdict"] == "denied" and "rule" not in row and row["out"] == "none" for row in rows)


def test_dropped_for_another_reason(site, path):
    """A packet that the parser refuses is no denial, but a drop."""
    broken = bytearray(bytes(ip(4, site.web, site.db) / UDP(sport=1, dport=9000)))
    broken[24] ^= 0xff  # The IP header's checksum.
    denials, drops = (Capture(site.switch, "web", "-v", verdict, "-w", path + verdict) for verdict in ("denied", "dropped"))
    site.web.packets.send(bytes(broken))
    wait_for(lambda: site.switch.drops()["ipv4-checksum"] >= 1)
    denials.stop()
    drops.stop()
    assert read(path + "denied") == []
    row, = read(path + "dropped")
    assert row["verdict"] == "dropped" and row["reason"].startswith("ipv4-checksum (") and "rule" not in row


def test_refused_by_a_limit(site, path):
    capture = Capture(site.switch, "web", "-f", "udp port 99", "-w", path)
    for port in (7001, 7002):
        site.web.packets.send(ip(4, site.web, site.db) / UDP(sport=port, dport=99))
    capture.stop()
    first, _, second = read(path)
    assert first["verdict"] == "allowed"
    assert second["verdict"] == "denied" and second["reason"].startswith("rule-quota (")
    assert second["rule"] == first["rule"] == "shop/few in tier application"


def test_fragments(site, version, path):
    """All but the last are held; the last one's fate is that of all."""
    packet = ip(version, site.web, site.db) / UDP(sport=7777, dport=9000) / (b"x" * 3000)
    if version == 4:
        pieces = fragment(packet, 1400)
    else:
        from scapy.layers.inet6 import IPv6ExtHdrFragment, fragment6
        whole = Ether(src=site.web.mac, dst=site.db.mac) / IPv6(src=site.web.ipv6, dst=site.db.ipv6) / \
            IPv6ExtHdrFragment(id=77) / packet[UDP]
        pieces = fragment6(whole, 1400)
    capture = Capture(site.switch, "web", "-f", words(version), "-w", path)
    site.web.packets.send(*pieces)
    capture.stop()
    rows = [row for row in read(path) if "icmp" not in row["protocols"]]
    received = [row for row in rows if row["where"] == "received from web"]
    assert [row["verdict"] for row in received] == ["held"] * (len(pieces) - 1) + ["allowed"]
    assert len([row for row in rows if row["where"] == "sent to db"]) == len(pieces)


# --- Where it is seen ----------------------------------------------------------------------------------------------


def test_points(site, version, path):
    captures = {point: Capture(site.switch, "web", "--point", point, "-f", echo(version), "-w", path + point)
                for point in ("in", "out", "both")}
    assert site.web.ping(site.db.address(version)) == 1
    seen = {}
    for point, capture in captures.items():
        capture.stop()
        seen[point] = [row["where"] for row in read(path + point)]
    assert seen["in"] == ["received from web"]
    assert seen["out"] == ["sent to db", "sent to web"]
    assert seen["both"] == ["received from web", "sent to db", "sent to web"]


def test_before_and_after_rewriting(site, version, path):
    """The tag that the trunk's frame gets is seen where it leaves, and not where it came in."""
    target = "192.0.2.1" if version == 4 else "2001:db8::1"
    capture = Capture(site.switch, "web", "-f", "udp", "-w", path)
    site.out.packets.drain()
    site.web.packets.send(Ether(src=site.web.mac, dst=site.out.mac) / (
        IP(src=site.web.ipv4, dst=target) if version == 4 else IPv6(src=site.web.ipv6, dst=target)) / UDP(sport=4000, dport=53))
    assert site.out.packets.receive(lambda f: Dot1Q in f and UDP in f and f[UDP].sport == 4000, 10)
    capture.stop()
    received, sent = [row for row in read(path) if row["port"] in ("web", "out")]
    assert received["vlan"] == "" and sent["vlan"] == "10"
    assert (received["out"].split(", "), sent["where"]) == (received["out"].split(", "), "sent to out")
    assert int(sent["bytes"]) == int(received["bytes"]) + 4


def test_frames_from_ports_that_are_not_captured(site, version, path):
    """What a captured port is sent by others says where it came from, and by which rule."""
    capture = Capture(site.switch, "db", "-f", "udp port 9000", "-w", path)
    with UdpServer(site.db, 9000):
        assert site.web.can_ask(site.db.address(version), 9000)
    capture.stop()
    rows = read(path)
    assert [row["where"] for row in rows] == ["sent to db", "received from db", "sent to web"]
    assert {row["rule"] for row in rows} == {"shop/stream in tier application"}
    assert [(row["in"], row["out"]) for row in rows] == [("web", "db"), ("db", "web"), ("db", "web")]


def test_what_never_reaches_the_port(site, version, path):
    """Also a denial that the switch knew before the capture began."""
    frame = ip(version, site.web, site.db) / TCP(sport=31000 + version, dport=81, flags="S")
    before = site.switch.drops()["policy"]
    site.web.packets.send(frame, frame)
    wait_for(lambda: site.switch.drops()["policy"] >= before + 2)
    capture = Capture(site.switch, "db", "-f", "tcp", "-w", path)
    site.web.packets.send(frame, frame)
    wait_for(lambda: site.switch.drops()["policy"] >= before + 4)
    site.app.packets.send(ip(version, site.app, site.db) / TCP(sport=5, dport=5432, flags="S"))
    wait_for(lambda: site.switch.drops()["policy"] >= before + 5)
    site.web.packets.drain()
    site.web.packets.send(refused(site, version))
    assert site.web.packets.receive(lambda f: TCP in f and f[TCP].sport == 22, 10)
    capture.stop()
    rows = read(path)
    assert [row["where"] for row in rows] == ["received from web", "received from web", "received from app", "received from web"]
    assert all(row["verdict"] == "denied" and row["bound for"] == "db" for row in rows)
    assert [row["rule"] for row in rows] == ["the baseline for web->db"] * 2 + ["the baseline for app->db", "shop/no-ssh in tier application"]


def test_a_frame_sent_in_a_ports_name(site, path):
    capture = Capture(site.switch, "web", "-f", "udp port 9000", "-w", path)
    sent = site.switch.json("trace", "web", "--to", site.db.ipv4, "--udp", "9000", "--send", "--wait", "0")["sent"]
    assert sent["result"] == "forwarded" and sent["as_foretold"]
    assert [one["port"] for one in sent["outputs"]] == ["db"]
    capture.stop()
    assert [row["where"] for row in read(path)][:2] == ["received from web", "sent to db"]


# --- Who is meant --------------------------------------------------------------------------------------------------


def test_by_vm_and_zone(site, path):
    captures = [(name, Capture(site.switch, name, "--point", "in", "-f", "icmp", "-w", f"{path}{i}"))
                for i, name in enumerate(("shop-web", "vm:vm-17", "zone:web", "port:web2"))]
    assert site.web.ping(site.db.ipv4) == 1 and site.web2.ping(site.db.ipv4) == 1
    seen = []
    for i, (_, capture) in enumerate(captures):
        capture.stop()
        seen.append([row["port"] for row in read(f"{path}{i}")])
    assert seen == [["web"], ["web"], ["web", "web2"], ["web2"]]


def is_denied(site, source, target):
    """Once this has returned: what the policy is later does not matter."""
    before = site.switch.drops()["policy"]
    assert source.ping(target.ipv4, wait=0.2) == 0
    wait_for(lambda: site.switch.drops()["policy"] > before, what="the drop by name")


def captured_ports(site):
    return {name for one in site.switch.status()["captures"] for name in one["ports"]}


def test_a_zone_is_followed(site, path):
    """A port that comes into it is captured from then on, and one that leaves it is not."""
    capture = Capture(site.switch, "zone:web", "--point", "in", "-f", "icmp", "-w", path)
    is_denied(site, site.app, site.web)
    site.switch.cordon("port", "set", "app", "--tag", "zone=web")
    site.switch.cordon("port", "set", "web2", "--tag", "zone=app")
    try:
        wait_for(lambda: captured_ports(site) == {"web", "app"})
        assert site.app.ping(site.db.ipv4) == 1
        is_denied(site, site.web2, site.db)
    finally:
        site.switch.cordon("port", "set", "app", "--tag", "zone=app")
        site.switch.cordon("port", "set", "web2", "--tag", "zone=web")
    capture.stop()
    rows = [row for row in read(path) if row["where"] == "received from app"]
    assert [row["verdict"] for row in rows] == ["denied", "allowed"]
    assert not [row for row in read(path) if row["port"] == "web2"]


def test_a_port_that_goes_and_comes(site, path):
    """The capture goes on without it, and with it again; a port of another name is another interface."""
    capture = Capture(site.switch, "guest", "other", "--point", "in", "-f", "icmp", "-w", path)
    assert capture.process.wait(30) == 1  # There is neither yet.
    guest = site.switch.host("guest", 20, zone="web")
    site.switch.wait_port("guest")
    capture = Capture(site.switch, "zone:web", "--point", "in", "-f", "icmp", "-w", path)
    wait_for(lambda: captured_ports(site) == {"web", "web2", "guest"})
    assert guest.ping(site.db.ipv4) == 1
    site.switch.cordon("port", "del", "guest")
    assert site.web.ping(site.db.ipv4) == 1
    site.switch.add_port("renamed", type="kernel", device=guest.device, role="vnic", network="lan", mac=guest.mac,
                         address=guest.ipv4, tag="zone=web")
    site.switch.wait_port("renamed")
    wait_for(lambda: captured_ports(site) == {"web", "web2", "renamed"})
    assert guest.ping(site.db.ipv4) == 1
    site.switch.cordon("port", "del", "renamed")
    capture.stop()
    assert [row["port"] for row in read(path)] == ["guest", "web", "renamed"]


@pytest.mark.parametrize("arguments, status, says", [
    (("nobody",), 1, "no port, VM or zone of this host is called nobody"),
    (("web", "-f", "tcp prot 80"), 2, "--filter 'tcp prot 80'"),
    (("web", "-f", "ip6 protochain 6"), 1, "it has a loop"),
    (("web", "--bytes", "many"), 2, "--bytes 'many'"),
    (("web", "--bytes", "0"), 2, "--bytes '0'"),
    (("web", "--seconds", "0"), 2, "seconds"),
    (("web", "--snaplen", "262145"), 2, "snaplen"),
    (("web", "--verdict", "maybe"), 2, "allowed|denied|dropped"),
    (("web", "-w", "/nowhere/file"), 1, "/nowhere/file cannot be written"),
    (("web", "-w", "/dev/full"), 1, "No space left"),
])
def test_what_cannot_be(site, arguments, status, says):
    result = site.switch.try_cordon("capture", *arguments)
    assert result.returncode == status and says in result.stderr, result.stderr


# --- Its limits ----------------------------------------------------------------------------------------------------


def flood(site, n, size=100):
    site.web.packets.send(*[bytes(ip(4, site.web, site.db) / UDP(sport=2000, dport=9000) / (b"x" * size))] * n)


def grow(site, over):
    size = 0
    while not over.is_set():
        flood(site, 1, size % 1400)
        size += 1
        time.sleep(0.05)


def test_packets(site, path):
    capture = Capture(site.switch, "web", "-f", "udp", "--packets", "7", "-w", path)
    flood(site, 50)
    capture.wait()
    assert len(read(path)) == 7 and "7 packets" in capture.message and "as many packets as asked for" in capture.message


def test_seconds(site, path):
    """Of frames that come all the time, each a byte longer than the one before, it has those of that time."""
    begin = time.monotonic()
    over = threading.Event()
    thread = threading.Thread(target=grow, args=(site, over))
    thread.start()
    try:
        capture = Capture(site.switch, "web", "-f", "udp", "--seconds", "2", "-w", path)
        capture.wait()
    finally:
        over.set()
        thread.join()
    assert time.monotonic() - begin > 1.5 and "the time is over" in capture.message
    rows = read(path)
    first = int(rows[0]["bytes"])
    assert [int(row["bytes"]) for row in rows] == [first + i // 2 for i in range(len(rows))]
    assert [row["where"] for row in rows] == (["received from web", "sent to db"] * len(rows))[:len(rows)]
    assert blocks(path)[0][-1] == 5  # It ends with statistics.


def test_bytes(site, path):
    capture = Capture(site.switch, "web", "-f", "udp", "--bytes", "64K", "-w", path)
    flood(site, 400, 1000)
    capture.wait()
    assert 60 << 10 < os.path.getsize(path) <= 64 << 10 and "--bytes" in capture.message
    assert blocks(path)[0][-1] == 5 and len(read(path)) > 40


def test_not_even_one_packet_within_the_bytes(site, path):
    """What is not written is not described either."""
    capture = Capture(site.switch, "web", "-f", "udp", "--bytes", "1K", "-w", path)
    flood(site, 1, 1200)
    capture.wait()
    assert read(path) == [] and blocks(path) == ([0x0a0d0d0a], [])


def test_snaplen(site, path):
    capture = Capture(site.switch, "web", "-f", "udp", "--snaplen", "60", "-w", path)
    flood(site, 1, 1000)
    capture.stop()
    rows = read(path)
    assert [(row["bytes"], row["captured"]) for row in rows] == [("1042", "60")] * 2


def test_a_disk_that_fills(site, path):
    """On a small file system of its own: the message says it, and the file is whole up to there."""
    script = ("mount -t tmpfs -o size=64k none $1 && shift && trap '' INT && \"$@\"; status=$?; cp $OUT $KEEP; exit $status")
    small = os.path.join(site.switch.directory, "small")
    os.mkdir(small)
    full = os.path.join(small, "full.pcapng")
    wrap = ("unshare", "--mount", "env", f"OUT={full}", f"KEEP={path}", "sh", "-c", script, "sh", small)
    capture = Capture(site.switch, "web", "-f", "udp", "-w", full, wrap=wrap)
    for _ in range(20):
        flood(site, 20, 1000)
        time.sleep(0.02)
    capture.wait(status=1)
    assert "No space left" in capture.message and "whole up to there" in capture.message
    rows = read(path)
    assert len(rows) > 30 and f"with {len(rows)} packets" in capture.message
    blocks(path)


def test_a_reader_that_is_slow(site, path):
    """What finds no room is lost, counted, and told in the file; what is forwarded does not suffer."""
    read_end, write_end = os.pipe()
    capture = Capture(site.switch, "web", "-f", "tcp port 5432", "-w", "-", stdout=write_end)
    os.close(write_end)
    sent = 24 << 20
    with TcpServer(site.db, 5432, sink=True) as server:
        connection = site.web.connect(site.db.ipv4, 5432, seconds=120)
        connection.sendall(bytes(sent))
        connection.shutdown(socket.SHUT_WR)
        wait_for(lambda: server.received == sent, 120)
        connection.close()
    capture.process.send_signal(2)
    with open(path, "wb") as file, open(read_end, "rb") as pipe:
        while data := pipe.read(1 << 16):
            file.write(data)
    capture.wait()
    lost = int(capture.message.split(" lost")[0].split()[-1].replace(",", ""))
    types, statistics = blocks(path)
    assert lost > 100 and sum(one[5] for one in statistics) == lost, capture.message
    assert sum(one[8] for one in statistics) == types.count(6)
    assert f"{lost:,} lost" in capture.message and f"{types.count(6):,} packets" in capture.message


# --- Clients -------------------------------------------------------------------------------------------------------


def test_a_client_that_is_killed(site, path):
    capture = Capture(site.switch, "web", "-f", "udp", "-w", path)
    flood(site, 5)
    capture.kill()
    wait_for(lambda: not site.switch.status()["captures"], 30, "the end of the capture")
    assert site.web.ping(site.db.ipv4, 3) == 3
    wait_for(lambda: "has ended" in site.switch.log_file(), what="a line in the switch's log")


def test_two_at_once(site, path):
    """Each sees what it has asked for."""
    tcp = Capture(site.switch, "web", "-f", "tcp", "-w", path + "tcp")
    udp = Capture(site.switch, "web", "db", "-f", "udp", "-w", path + "udp")
    assert {one["filter"] for one in site.switch.status()["captures"]} == {"tcp", "udp"}
    assert "captures" in site.switch.cordon("status")
    with TcpServer(site.db, 5432):
        site.web.connect(site.db.ipv4, 5432).close()
    flood(site, 4)
    udp.stop()
    with TcpServer(site.db, 5432):
        site.web.connect(site.db.ipv6, 5432).close()
    tcp.stop()
    assert len(read(path + "udp")) == 8 == len(read(path + "udp", "udp"))
    assert read(path + "tcp", "tcp and ip") and read(path + "tcp", "tcp and ipv6") and not read(path + "tcp", "udp")


def test_no_more_than_there_may_be(site, path):
    captures = [Capture(site.switch, "web", "-f", "tcp port 1", "-w", f"{path}{i}") for i in range(8)]
    result = site.switch.try_cordon("capture", "web", "-w", path)
    assert result.returncode == 1 and "8 captures are under way already" in result.stderr
    for capture in captures:
        capture.stop()


def test_tshark_at_the_other_end_of_a_pipe(site):
    capture = Capture(site.switch, "web", "-f", "udp", "-w", "-")
    with subprocess.Popen(["tshark", "-n", "-l", "-c", "4", "-r", "-", "-T", "fields", "-e", "frame.comment"],
                          stdin=capture.process.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        capture.process.stdout.close()
        capture.process.stdout = None
        flood(site, 3)
        output, _ = reader.communicate(timeout=60)
    assert len(output.splitlines()) == 4 and "shop/stream" in output
    capture.wait()
    assert "nobody reads any more" in capture.message


def test_on_the_terminal(site, version):
    capture = Capture(site.switch, "web", "-f", echo(version), "--packets", "3")
    assert site.web.ping(site.db.address(version)) == 1
    lines = capture.wait().splitlines()
    assert len(lines) >= 4 and "VERDICT" in lines[0]
    assert "from web" in lines[1] and "echo request" in lines[1] and "allowed" in lines[1]
    assert f"shop/ping{'6' if version == 6 else ''} in tier application" in lines[1]


def test_as_json(site):
    capture = Capture(site.switch, "web", "--json", "-f", "tcp port 82", "--packets", "1")
    site.web.packets.send(ip(4, site.web, site.db) / TCP(sport=3, dport=82, flags="S"))
    capture.wait()
    row, = capture.rows()
    assert row["verdict"] == "denied" and row["reason"] == "policy" and row["bound_for"] == "db"
    assert row["rule"] == "the baseline for web->db" and row["policy_revision"] == 1
    assert row["packet"].startswith("TCP 10.0.0.1:3 > 10.0.0.2:82 [SYN]") and row["port"] == "web" and row["point"] == "in"


def test_nobody_else_may_read_it(site, path):
    """Neither the file, nor what is on its way; and no link leads the file elsewhere."""
    with open(path, "w", encoding="ascii") as file:
        file.write("an older one")
    os.chmod(path, 0o644)
    os.symlink(path, path + ".link")
    assert site.switch.try_cordon("capture", "web", "-w", path + ".link", "--seconds", "1").returncode == 1
    with open(path, encoding="ascii") as file:
        assert file.read() == "an older one"
    capture = Capture(site.switch, "web", "-f", "udp", "-w", path)
    capture.stop()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert read(path) == []


def test_the_socket_is_the_owners(site):
    """It is there only until the client has come; one that does not come is not waited for."""
    control, = [name for name in os.listdir(site.switch.run) if name.startswith("cordon-switchd.") and name.endswith(".ctl")]
    order = ('{"names":["web"],"filter":"","who":"a test","point":"in","verdict":"all","format":"json","snaplen":100,'
             '"seconds":60,"packets":0,"bytes":0}')
    answer = run("ovs-appctl", "-t", os.path.join(site.switch.run, control), "capture/begin", order).stdout
    sockets = [name for name in os.listdir(site.switch.run) if name.startswith("capture.")]
    assert len(sockets) == 1 and sockets[0] in answer
    assert stat.S_IMODE(os.stat(os.path.join(site.switch.run, sockets[0])).st_mode) == 0o600


@pytest.mark.parametrize("order", [
    "", "[]", "{}", '{"names": []}', '{"names": ["web"], "filter": 1}',
    '{"names":["web"],"filter":"","who":"","point":"in","verdict":"all","format":"json","snaplen":100,"seconds":1,'
    '"packets":0,"bytes":0,"program":[[65535,0,0,0],[6,0,0,1]]}',
    '{"names":["web"],"filter":"","who":"","point":"in","verdict":"all","format":"json","snaplen":100,"seconds":1,'
    '"packets":0,"bytes":0,"program":[[5,0,0,4294967295],[6,0,0,1]]}',
    '{"names":["web"],"filter":"","who":"","point":"in","verdict":"all","format":"json","snaplen":100,"seconds":1,'
    '"packets":0,"bytes":0,"program":[]}',
])
def test_orders_that_make_no_sense(site, order):
    control, = [name for name in os.listdir(site.switch.run) if name.startswith("cordon-switchd.") and name.endswith(".ctl")]
    result = run("ovs-appctl", "-t", os.path.join(site.switch.run, control), "capture/begin", order, check=False)
    assert result.returncode != 0 and "capture that is asked for" in result.stderr, result
    assert site.web.ping(site.db.ipv4) == 1


def test_the_switch_ends(new_switch, tmp_path):
    switch = new_switch("ends")
    switch.add_network()
    switch.policy(POLICY)
    web = switch.host("web", 1)
    switch.wait_port("web")
    files = [tmp_path / "down.pcapng", tmp_path / "killed.pcapng"]
    capture = Capture(switch, "web", "-w", files[0])
    web.packets.send(ip(4, web, web) / UDP())
    switch.wait_quiet()
    switch.cordon("down")
    capture.wait()
    assert "the switch has ended" in capture.message
    switch.up_again()
    capture = Capture(switch, "web", "-w", files[1])
    web.packets.send(ip(4, web, web) / UDP() / b"the last words")
    wait_for(lambda: b"the last words" in files[1].read_bytes(), 30, "the frame in the file")
    switch.kill()
    capture.wait(status=4)
    assert "the switch is gone" in capture.message
    for file in files:
        assert len(read(file, "udp")) >= 1
