# SPDX-License-Identifier: Apache-2.0
"""Guests on vhost-user sockets: played by testpmd's virtio_user, with a real IP stack behind it (see guest.py).

    g1 .1 (vhost)     g2 .2 (vhost)      web .3 (kernel port)
      |                 |                  |
    --+-----------------+------------------+--  network lan, VLAN 10; one zone
"""

import contextlib
import os
import socket
import struct
import threading
import time

import pytest

from capturing import Capture, read
from cordon import wait_for
from guest import VhostGuest
from host import TcpServer, UdpServer

pytestmark = pytest.mark.vhost

POLICY = """\
zones:
  all: {match: "zone=all"}
  shut: {match: "zone=shut"}
policies:
  - id: p
    mode: enforce
    rules:
      - {id: in, from: all, to: all, service: tcp/80, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


class Site:
    pass


def plug(switch, name, number, zone="all", mtu=1500, queues=1, **options):
    guest = VhostGuest(switch, name, number, mtu=mtu, queues=queues, **options)
    switch.hosts.append(guest)
    guest.start()
    switch.add_port(name, type="vhost", socket=guest.socket_path, role="vnic", network="lan", mac=guest.mac,
                    address=f"{guest.ipv4},{guest.ipv6}", tag=f"zone={zone}", vm_name=name, vm_id=f"id-{name}", option=f"mtu={mtu}",
                    queues=queues)
    guest.wait_ready()
    return guest


@pytest.fixture(scope="module")
def site(shared):
    one = Site()
    one.switch = shared
    shared.add_network()
    shared.policy(POLICY)
    one.g1 = plug(shared, "g1", 1)
    one.g2 = plug(shared, "g2", 2)
    one.web = shared.host("web", 3, zone="all")
    for name in ("g1", "g2"):
        shared.wait_port(name)
    return one


def talk(one, other, version=4):
    wait_for(lambda: one.ping(other.address(version), wait=0.5) == 1, 30, f"a ping from {one.name} to {other.name}")


def send_in_fragments(site, one, other):
    """By IPv6 only: testpmd's af_packet device has the kernel put IPv4's fragments together before it takes them."""
    talk(one, other, 6)
    with UdpServer(other, 5353):
        for size in (2000, 20000, 60000):
            assert one.can_ask(other.ipv6, 5353, payload=os.urandom(size)), size
    assert one.ping(other.ipv6, 3, size=30000) == 3
    assert site.switch.status()["frames"]["held"] == 0


def test_frames_that_are_sent_in_a_guests_name(site, version):
    """They are switched between what the guest itself sends, and their answers come back to it."""
    talk(site.g1, site.g2, version)
    with TcpServer(site.web, 80):
        for target in (site.g2, site.web):
            for _ in range(20):
                sent = site.switch.json("trace", "g1", "--to", target.address(version), "--send", "--wait", 20)["sent"]
                assert sent["as_foretold"] and sent["answer"]["came"], sent
                assert site.g1.ping(target.address(version)) == 1
    assert site.switch.port("g1")["link"] == "up"


def test_datagrams_in_fragments_between_guests(site):
    send_in_fragments(site, site.g1, site.g2)


def test_large_fragments_are_held_beyond_the_guests_buffers(site):
    """Of frames of 9000 bytes the tails lie in the guest's memory, which it has back long before the last one comes."""
    guests = [plug(site.switch, name, number, mtu=9000) for name, number in (("g8", 8), ("g9", 9))]
    for guest in guests:
        site.switch.wait_port(guest.name)
    send_in_fragments(site, *guests)
    live = site.switch.connections(destination=guests[1].ipv6, protocol="udp")
    assert sum(row["packets_forward"] for row in live) == 1 + 3 + 7


def test_guest_to_guest(site, version):
    talk(site.g1, site.g2, version)
    assert site.g1.ping(site.g2.address(version), 5) == 5
    with TcpServer(site.g2, 80):
        connection = site.g1.connect(site.g2.address(version), 80, 10)
        connection.sendall(b"x" * 100000)
        left = 100000
        while left:
            left -= len(connection.recv(65536))
        connection.close()
    assert site.switch.wait_log(kind="start", source_vm_name="g1", destination_vm_name="g2")


def test_guest_to_kernel_port_and_back(site, version):
    """Two kinds of port, with unfilled checksums on one side only."""
    talk(site.g1, site.web, version)
    for one, other in ((site.g1, site.web), (site.web, site.g1)):
        with TcpServer(other, 80):
            connection = one.connect(other.address(version), 80, 10)
            connection.sendall(b"y" * 300000)
            left = 300000
            while left:
                left -= len(connection.recv(65536))
            connection.close()


def test_spoofing_guest_is_stopped(site):
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    talk(site.g1, site.web)
    before = site.switch.drops()["spoofed-address"]
    site.g1.packets.send(Ether(src=site.g1.mac, dst=site.web.mac) / IP(src=site.g2.ipv4, dst=site.web.ipv4)
                         / UDP(sport=1, dport=2) / b"lie")
    wait_for(lambda: site.switch.drops()["spoofed-address"] == before + 1, 10, "the drop")


def test_killed_guest_comes_back(site):
    talk(site.g1, site.web)
    site.g2.kill()
    wait_for(lambda: site.switch.port("g2")["link"] != "up", 20, "the link seen down")
    assert site.g1.ping(site.web.ipv4, 3) == 3, "the others go on"
    site.g2.start()
    site.g2.wait_ready()
    site.switch.wait_port("g2")
    talk(site.g1, site.g2)


def test_killed_switch_is_joined_again_by_its_guests(site):
    """The guests are not restarted: the switch, being the client of their sockets, connects anew."""
    talk(site.g1, site.g2)
    with TcpServer(site.g2, 80) as server:
        connection = site.g1.connect(site.g2.ipv4, 80, 20)
        connection.sendall(b"before")
        assert connection.recv(100) == b"before"
        site.switch.kill("cordon-switchd")
        site.switch.up()
        connection.sendall(b"after")
        assert connection.recv(100) == b"after"
        assert server.accepted == 1
        connection.close()


def test_guests_of_every_virtio_flavour(site):
    """Packed rings (which are not offered), no mergeable buffers, several queues: whatever a guest asks for."""
    for i, (options, queues) in enumerate((("packed_vq=1,mrg_rxbuf=1", 1), ("mrg_rxbuf=0", 1),
                                           ("in_order=0,mrg_rxbuf=1", 2))):
        guest = plug(site.switch, f"flavour{i}", 20 + i, device_options=options, queues=queues)
        talk(guest, site.web)
        assert guest.ping(site.web.ipv4, 3, size=1400) == 3, options
        site.switch.cordon("port", "del", guest.name)
        site.switch.hosts.remove(guest)
        guest.close()


def test_captures_of_guests(site, version):
    """Frames that lie in a guest's memory, and large ones whose checksums are left to the switch."""
    guest = plug(site.switch, "cap", 31, offloads=True)
    talk(guest, site.web, version)
    path = os.path.join(site.switch.directory, f"cap{version}.pcapng")
    capture = Capture(site.switch, "cap", "--filter", "tcp port 80", "--bytes", "20M", "-w", path)
    data = bytes(range(256)) * 1024
    with TcpServer(site.web, 80) as server:
        connection = guest.connect(site.web.address(version), 80, 10)
        connection.sendall(data)
        wait_for(lambda: server.received == len(data), 20, "every byte")
        connection.close()
    capture.stop()
    rows = read(path)
    large = [row for row in rows if row["where"] == "received from cap" and int(row["bytes"]) > 2000]
    assert large and all(row["captured"] == row["bytes"] and row["rule"].startswith("p/in ") for row in large)
    assert all("the transport checksum is not filled in yet" in row["notes"] and
               any(note.startswith("a large frame, to be cut into segments of") for note in row["notes"]) for row in large)
    assert {row["where"] for row in rows} == {"received from cap", "sent to web", "sent to cap"}
    site.switch.cordon("port", "del", "cap")
    site.switch.hosts.remove(guest)
    guest.close()


def test_capture_between_guests(site, version):
    path = os.path.join(site.switch.directory, f"between{version}.pcapng")
    capture = Capture(site.switch, "g2", "--filter", "icmp or icmp6", "-w", path)
    talk(site.g1, site.g2, version)
    for _ in range(3):  # One after the other.
        assert site.g1.ping(site.g2.address(version), size=1000) == 1
    capture.stop()
    rows = [row for row in read(path) if int(row["bytes"]) > 1000]
    assert [row["where"] for row in rows] == ["sent to g2", "received from g2", "sent to g1"] * 3
    assert {(row["in"], row["out"]) for row in rows} == {("g1", "g2"), ("g2", "g1")}
    assert {row["rule"] for row in rows} == {"the baseline for all->all"}


def test_guest_that_leaves_checksums_and_segmentation_to_the_switch(site, version):
    """Large frames with open checksums come out of the guest; a port that cannot take them gets them cut."""
    guest = plug(site.switch, "tso", 30, offloads=True)
    talk(guest, site.web, version)
    data = bytes(range(256)) * 8192
    with TcpServer(site.web, 80, sink=True) as server:
        connection = guest.connect(site.web.address(version), 80, 10)
        connection.sendall(data)
        wait_for(lambda: server.received == len(data), 20, "every byte")
        live = site.switch.connections(source=guest.address(version), destination_port=80)[0]
        assert live["bytes_forward"] / live["packets_forward"] > 2000, "frames were large when they came in"
        connection.close()
    site.switch.cordon("port", "del", "tso")
    site.switch.hosts.remove(guest)
    guest.close()


# --- Guests that mean no good ----------------------------------------------------------------------------------


class FakeGuest:
    """Listens on a socket as a VMM does and speaks the vhost-user protocol, or does not."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(8)
        self.listener.settimeout(30)

    def accept(self):
        connection, _ = self.listener.accept()
        connection.settimeout(30)
        return connection

    def close(self):
        self.listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def message(request, payload=b"", flags=1):
    return struct.pack("<III", request, flags, len(payload)) + payload


GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL = 8, 9, 10, 12, 13
SET_VRING_ENABLE = 18
VIRTIO_F_VERSION_1, PROTOCOL_FEATURES = 1 << 32, 1 << 30

GARBAGE = [
    ("noise", [bytes(range(256)) * 4]),
    ("huge-length", [struct.pack("<III", GET_FEATURES, 1, 0xffffffff) + b"x" * 100]),
    ("unknown-request", [message(999, b"12345678")]),
    ("half-a-header", [b"\x01\x00\x00"]),
    ("rings-before-memory", [message(SET_OWNER), message(SET_VRING_NUM, struct.pack("<II", 0, 256)),
                             message(SET_VRING_ADDR, struct.pack("<IIQQQQ", 0, 0, 1 << 40, 2 << 40, 3 << 40, 0)),
                             message(SET_VRING_ENABLE, struct.pack("<II", 0, 1))]),
    ("ring-number-out-of-range", [message(SET_OWNER), message(SET_VRING_NUM, struct.pack("<II", 60000, 256)),
                                  message(SET_VRING_BASE, struct.pack("<II", 60000, 0))]),
    ("memory-table-without-descriptors", [message(SET_OWNER), message(SET_MEM_TABLE, struct.pack(
        "<IIQQQQ", 8, 0, 0, 1 << 30, 0x7f0000000000, 0))]),
    ("ring-of-no-power-of-two", [message(SET_OWNER), message(SET_VRING_NUM, struct.pack("<II", 0, 255))]),
]


@pytest.mark.parametrize("messages", [row[1] for row in GARBAGE], ids=[row[0] for row in GARBAGE])
def test_garbage_on_the_socket_hurts_nobody_else(site, messages):
    talk(site.g1, site.web)
    path = os.path.join(site.switch.directory, "fake.sock")
    fake = FakeGuest(path)
    try:
        site.switch.add_port("fake", type="vhost", socket=path, network="lan", tag="zone=all", no_wait=True)
        for _ in range(2):
            with fake.accept() as connection:
                for one in messages:
                    with contextlib.suppress(OSError):
                        connection.sendall(one)
                time.sleep(0.1)
        assert site.g1.ping(site.web.ipv4, 3) == 3
    finally:
        site.switch.cordon("port", "del", "fake")
        fake.close()


class RingGuest:
    """Speaks the protocol well enough to have live rings, whose content is then the test's."""

    MEMORY = 4 << 20

    def __init__(self, connection):
        self.connection = connection
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, self.MEMORY)
        self.eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]

    def send(self, request, payload, descriptors=()):
        socket.send_fds(self.connection, [message(request, payload)], list(descriptors))

    def ask_features(self):
        self.connection.sendall(message(GET_FEATURES))
        return struct.unpack("<Q", self.connection.recv(100)[12:20])[0]

    def start(self):
        """Guest-physical and user addresses are both offsets into the memory, plus a base."""
        features = self.ask_features() & (VIRTIO_F_VERSION_1 | PROTOCOL_FEATURES)
        self.send(SET_OWNER, b"")
        self.send(SET_FEATURES, struct.pack("<Q", features))
        self.send(SET_MEM_TABLE, struct.pack("<IIQQQQ", 1, 0, 0x100000, self.MEMORY, 0x100000, 0), [self.fd])
        for ring in range(2):
            base = 0x100000 + ring * 0x100000
            self.send(SET_VRING_NUM, struct.pack("<II", ring, 256))
            self.send(SET_VRING_BASE, struct.pack("<II", ring, 0))
            self.send(SET_VRING_ADDR, struct.pack("<IIQQQQ", ring, 0, base, base + 0x8000, base + 0x4000, 0))
            self.send(SET_VRING_CALL, struct.pack("<Q", ring), [self.eventfds[2 * ring]])
            self.send(SET_VRING_KICK, struct.pack("<Q", ring), [self.eventfds[2 * ring + 1]])
            self.send(SET_VRING_ENABLE, struct.pack("<II", ring, 1))

    def write(self, ring, offset, data):
        os.pwrite(self.fd, data, ring * 0x100000 + offset)

    def kick(self):
        for fd in self.eventfds[1::2]:
            os.eventfd_write(fd, 1)

    def close(self):
        self.connection.close()
        os.close(self.fd)
        for fd in self.eventfds:
            os.close(fd)


def descriptor(address, length, flags=0, following=0):
    return struct.pack("<QIHH", address, length, flags, following)


NEXT, WRITE, INDIRECT = 1, 2, 4
AVAILABLE = struct.pack("<HHH", 0, 1, 0)  # One chain, which begins at descriptor 0.

BAD_RINGS = [
    ("address-outside-memory", descriptor(0xdead00000000, 100)),
    ("length-past-the-end", descriptor(0x100000 + (4 << 20) - 10, 0xffffffff)),
    ("chain-in-a-loop", descriptor(0x180000, 64, NEXT, 0)),
    ("next-out-of-range", descriptor(0x180000, 64, NEXT, 0xffff)),
    ("indirect-outside-memory", descriptor(0xdead00000000, 4096, INDIRECT)),
    ("indirect-of-odd-length", descriptor(0x180000, 17, INDIRECT)),
    ("zero-length", descriptor(0x180000, 0)),
    ("shorter-than-the-header", descriptor(0x180000, 5)),
]


@pytest.mark.parametrize("table", [row[1] for row in BAD_RINGS], ids=[row[0] for row in BAD_RINGS])
def test_garbled_ring_hurts_nobody_else(site, table):
    talk(site.g1, site.web)
    path = os.path.join(site.switch.directory, "ring.sock")
    fake = FakeGuest(path)
    ring = None
    try:
        site.switch.add_port("ring", type="vhost", socket=path, network="lan", tag="zone=all", no_wait=True)
        ring = RingGuest(fake.accept())
        for number in range(2):
            ring.write(number, 0, table)
            ring.write(number, 0x4000, AVAILABLE)
        ring.start()
        wait_for(lambda: site.switch.port("ring")["link"] == "up", 20, "live rings")
        for _ in range(5):
            ring.kick()
            time.sleep(0.02)
        # An index that jumps, and memory that is torn away under the device.
        ring.write(1, 0x4000, struct.pack("<HHH", 0, 60000, 0xffff))
        ring.kick()
        time.sleep(0.05)
        assert site.g1.ping(site.web.ipv4, 3) == 3
        ring.connection.close()
        assert site.g1.ping(site.web.ipv4, 3) == 3
    finally:
        site.switch.cordon("port", "del", "ring")
        if ring:
            ring.close()
        fake.close()


def test_guest_that_stops_reading_its_ring_stops_only_itself(site):
    """Frames to a guest that takes none are dropped by name; nobody waits for it."""
    path = os.path.join(site.switch.directory, "full.sock")
    fake = FakeGuest(path)
    ring = None
    try:
        site.switch.add_port("full", type="vhost", socket=path, network="lan", mac="02:00:00:00:00:63",
                             address="10.0.0.99", tag="zone=all", no_wait=True)
        ring = RingGuest(fake.accept())
        ring.start()
        wait_for(lambda: site.switch.port("full")["link"] == "up", 20, "live rings")
        from scapy.layers.inet import IP, UDP
        from scapy.layers.l2 import Ether

        before = site.switch.drops()["output-full"]
        frame = bytes(Ether(src=site.web.mac, dst="02:00:00:00:00:63") / IP(src=site.web.ipv4, dst="10.0.0.99")
                      / UDP(sport=1, dport=2) / b"unread")
        # No more at once than the queue of the kernel's port takes while the switch stands still.
        for sent in range(50, 501, 50):
            site.web.packets.send(*[frame] * 50)
            wait_for(lambda n=sent: site.switch.drops()["output-full"] >= before + n, 10, "the drops")
        assert site.g1.ping(site.web.ipv4, 3) == 3
    finally:
        site.switch.cordon("port", "del", "full")
        if ring:
            ring.close()
        fake.close()


def test_socket_that_is_closed_again_and_again(site):
    path = os.path.join(site.switch.directory, "flap.sock")
    fake = FakeGuest(path)
    try:
        site.switch.add_port("flap", type="vhost", socket=path, network="lan", tag="zone=all", no_wait=True)
        stop = threading.Event()

        def slam():
            fake.listener.settimeout(0.3)
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    fake.listener.accept()[0].close()

        thread = threading.Thread(target=slam, daemon=True)
        thread.start()
        assert site.g1.ping(site.web.ipv4, 20) == 20
        stop.set()
        thread.join(5)
    finally:
        site.switch.cordon("port", "del", "flap")
        fake.close()
