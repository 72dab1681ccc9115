# SPDX-License-Identifier: Apache-2.0
"""A guest that means no good: what it writes into its rings, and what its VMM says, hurts nobody else.

    bad .91 .. .94 (vhost)    good .1 (vhost)    web .3 (kernel port)    shut .4 (kernel port)
      |                         |                  |                       |
    --+-------------------------+------------------+-----------------------+--  network lan, VLAN 10

All but `shut` are in one zone, in which ping and port 80 are allowed.  `bad` is played by hostile.py.  Each story
begins with a frame in each direction, so that what an earlier one has left behind is noticed.  There are several such
guests, which take turns, so that a story need not wait until the switch has connected anew.
"""

import contextlib
import itertools
import os
import struct
import subprocess
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

import hostile
from cordon import cpu_seconds, wait_for
from guest import VhostGuest
from hostile import INDIRECT, MARK, NEXT, REGION_BASE, REGION_BYTES, WRITE, HostileGuest, Listener

pytestmark = pytest.mark.vhost

POLICY = """\
zones:
  all: {match: "zone=all"}
  shut: {match: "zone=shut"}
policies:
  - id: p
    mode: enforce
    rules:
      - {id: udp, from: all, to: all, service: udp/80, action: allow}
      - {id: tcp, from: all, to: all, service: tcp/80, action: allow}
      - {id: ping, from: all, to: all, service: icmp, action: allow}
baseline: {between_zones: deny, within_zone: deny, log: denied}
"""

BAD_GUESTS = 4
ARP_TYPE = b"\x08\x06"
IPV6_GROUP = b"33"  # How a MAC address of an IPv6 group begins.
END = REGION_BASE + REGION_BYTES
TWO_64 = 1 << 64


def mac_bytes(host):
    return bytes.fromhex(host.mac.replace(":", ""))


class Bad:
    """One of the ports that hostile guests are plugged into."""

    def __init__(self, switch, number):
        self.name = f"bad{number}"
        self.mac = f"02:00:00:00:00:{90 + number:02x}"
        self.ipv4 = f"10.0.0.{90 + number}"
        self.listener = Listener(os.path.join(switch.directory, f"{self.name}.sock"))
        switch.on_close(self.listener.close)
        switch.add_port(self.name, type="vhost", socket=self.listener.path, network="lan", mac=self.mac,
                        address=self.ipv4, tag="zone=all", no_wait=True)


class Site:
    """The switch with its guests."""

    def __init__(self, switch):
        self.switch = switch
        switch.add_network()
        switch.policy(POLICY)
        self.web = switch.host("web", 3, zone="all")
        self.shut = switch.host("shut", 4, zone="shut")
        self.good = VhostGuest(switch, "good", 1)
        switch.hosts.append(self.good)
        self.good.start()
        switch.add_port("good", type="vhost", socket=self.good.socket_path, network="lan", mac=self.good.mac,
                        address=f"{self.good.ipv4},{self.good.ipv6}", tag="zone=all")
        self.bad = None
        self.bads = itertools.cycle([Bad(switch, number) for number in range(1, BAD_GUESTS + 1)])
        self.good.wait_ready()
        switch.wait_port("good")
        wait_for(lambda: self.good.ping(self.web.ipv4, wait=1) == 1, 30, "a ping from good to web")
        self.pid = switch.pid()

    @contextlib.contextmanager
    def guest(self, **options):
        """The next hostile guest, its VMM listening."""
        assert self.switch.pid() == self.pid, "the switch has died before"
        self.bad = next(self.bads)
        one = HostileGuest(self.bad.listener, **options)
        try:
            yield one
        finally:
            one.close()

    @contextlib.contextmanager
    def plugged(self, **options):
        """The same, plugged in, and on its best behaviour so far."""
        with self.guest(**options) as one:
            one.plug()
            exchange(self, one)
            yield one

    def frame(self, payload=MARK * 64, destination=None, **fields):
        """What `bad` may send to `web`."""
        target = destination or self.web
        ip = {"src": self.bad.ipv4, "dst": target.ipv4}
        return bytes(Ether(src=self.bad.mac, dst=target.mac) / IP(**ip) / UDP(sport=fields.get("sport", 7), dport=80)
                     / payload)

    def frame_to_bad(self, payload=b"for bad alone"):
        return bytes(Ether(src=self.web.mac, dst=self.bad.mac) / IP(src=self.web.ipv4, dst=self.bad.ipv4)
                     / UDP(sport=9, dport=80) / payload)

    def pester(self, rounds=5):
        """Keeps the rings of `bad` in use for a while."""
        for _ in range(rounds):
            self.web.packets.send(*[self.frame_to_bad()] * 8)
            time.sleep(0.01)

    def from_bad(self):
        """The frames of `bad` that have reached `web` since it was last asked."""
        return [Ether(raw) for raw in self.web.packets.pending() if raw[6:12] == mac_bytes(self.bad)]

    def is_unharmed(self):
        """The switch lives, others talk, and nothing but what `bad` wrote has come from it."""
        assert self.switch.pid() == self.pid, "the switch has died"
        assert self.good.ping(self.web.ipv4, 3) == 3, "others go on"
        for frame in self.from_bad():
            assert IP in frame and frame[IP].src == self.bad.ipv4, frame.summary()
            assert bytes(frame[IP].payload)[8:].strip(MARK + b"\0") == b"", "a frame has what `bad` did not write"


@pytest.fixture(scope="module")
def site(shared):
    return Site(shared)


def exchange(site, guest):
    """A frame in each direction, as between honest guests."""
    site.from_bad()
    guest.say(site.frame())
    wait_for(site.from_bad, 20, "a frame from bad to web")
    guest.listen()
    wait_for(lambda: site.web.packets.send(site.frame_to_bad()) or guest.heard(), 20, "a frame from web to bad")
    for header, frame, rest in guest.heard():
        assert header[:10] == bytes(10), "nothing is left for the guest to finish"
        assert b"for bad alone" in frame or frame[12:14] == ARP_TYPE or frame[:2] == IPV6_GROUP
        assert rest == bytes([hostile.UNTOUCHED]) * len(rest), "the switch wrote behind the frame"


@pytest.fixture
def guest(site):
    with site.plugged() as one:
        yield one


def rings(guest):
    """Each ring with the flag that its buffers have, rightly."""
    return ((guest.receive, WRITE), (guest.transmit, 0))


# --- Descriptors --------------------------------------------------------------------------------------------------
# Name: descriptors from place 0 on, (address, length, flags, next), given the ring.
# WRITE stands for the wrong direction.

TABLES = {
    "address outside of memory": lambda r: [(0xdead00000000, 100, 0, 0)],
    "address of null": lambda r: [(0, 100, 0, 0)],
    "address just past the end": lambda r: [(END, 64, 0, 0)],
    "address just before the beginning": lambda r: [(REGION_BASE - 1, 64, 0, 0)],
    "user address for a physical one": lambda r: [(r.buffer(0) + hostile.USER_BASE, 64, 0, 0)],
    "one byte past the end": lambda r: [(END - 99, 100, 0, 0)],
    "wrapping around 2^64": lambda r: [(TWO_64 - 50, 100, 0, 0)],
    "wrapping into memory": lambda r: [(TWO_64 - 4096, REGION_BASE + 8192, 0, 0)],
    "length of 0": lambda r: [(r.buffer(0), 0, 0, 0)],
    "length of 1": lambda r: [(r.buffer(0), 1, 0, 0)],
    "length of a header less one": lambda r: [(r.buffer(0), 11, 0, 0)],
    "length of a header": lambda r: [(r.buffer(0), 12, 0, 0)],
    "length of half an Ethernet header": lambda r: [(r.buffer(0), 12 + 7, 0, 0)],
    "length of 1 GiB": lambda r: [(r.buffer(0), 1 << 30, 0, 0)],
    "length of 4 GiB": lambda r: [(r.buffer(0), 0xffffffff, 0, 0)],
    "lengths that add up to 4 GiB": lambda r: [(r.buffer(0), 0x80000000, NEXT, 1), (r.buffer(0), 0x80000000, 0, 0)],
    "chain of nothing": lambda r: [(r.buffer(0), 0, NEXT, i + 1) for i in range(200)] + [(r.buffer(0), 0, 0, 0)],
    "chain in a loop of one": lambda r: [(r.buffer(0), 64, NEXT, 0)],
    "chain in a loop of two": lambda r: [(r.buffer(0), 64, NEXT, 1), (r.buffer(1), 64, NEXT, 0)],
    "loop at the end of a chain": lambda r: [(r.buffer(i), 64, NEXT, i + 1) for i in range(9)]
                                            + [(r.buffer(9), 64, NEXT, 5)],
    "next out of the ring by one": lambda r: [(r.buffer(0), 64, NEXT, 256)],
    "next far out of the ring": lambda r: [(r.buffer(0), 64, NEXT, 0xffff)],
    "second buffer outside of memory": lambda r: [(r.buffer(0), 64, NEXT, 1), (0xdead00000000, 64, 0, 0)],
    "wrong way": lambda r: [(r.buffer(0), 512, WRITE, 0)],
    "wrong way in the middle": lambda r: [(r.buffer(0), 64, NEXT, 1),
                                          (r.buffer(1), 512, WRITE, 0)],
    "over its own ring": lambda r: [(r.base, 4096, 0, 0)],
    "over its used ring": lambda r: [(r.base + r.USED, 2048, 0, 0)],
    "frame of 64 KiB": lambda r: [(r.buffers, 65536 + 12, 0, 0)],
    "frame of 1 MiB": lambda r: [(r.buffers, 1 << 20, 0, 0)],
    "frame in pieces of one byte": lambda r: [(r.buffers + i, 1, NEXT, i + 1) for i in range(255)]
                                             + [(r.buffers + 255, 1, 0, 0)],
    "indirect table outside of memory": lambda r: [(0xdead00000000, 4096, INDIRECT, 0)],
    "indirect table past the end": lambda r: [(END - 16, 32, INDIRECT, 0)],
    "indirect table at an odd address": lambda r: [(r.buffers + 3, 64, INDIRECT, 0)],
    "indirect table of odd length": lambda r: [(r.buffers, 17, INDIRECT, 0)],
    "indirect table of no length": lambda r: [(r.buffers, 0, INDIRECT, 0)],
    "indirect table of 4 GiB": lambda r: [(r.buffers, 0xfffffff0, INDIRECT, 0)],
    "indirect table with a next": lambda r: [(r.buffers, 64, INDIRECT | NEXT, 1), (r.buffer(1), 64, 0, 0)],
    "indirect table that is the ring": lambda r: [(r.base, 4096, INDIRECT, 0)],
}


@pytest.mark.parametrize("name", TABLES)
def test_descriptors(site, guest, name):
    for ring, direction in rings(guest):
        for place, (address, length, flags, following) in enumerate(TABLES[name](ring)):
            ring.describe(place, address, length, flags ^ direction, following)
        ring.offer(*[0] * 16)
    site.pester()
    site.is_unharmed()


def test_refused_chains_are_counted_by_name(site, guest):
    def refused():
        return site.switch.drops()["guest-descriptor"]

    before = refused()
    guest.transmit.describe(0, 0xdead00000000, 100, 0, 0)
    guest.transmit.offer(*[0] * 16)
    wait_for(lambda: refused() == before + 16, what="the 16 chains among the drops")


# Name: the content of an indirect table of four, given the ring.
INDIRECT_TABLES = {
    "nested": lambda r: [(r.buffers, 64, INDIRECT, 0)],
    "in a loop": lambda r: [(r.buffer(1), 64, NEXT, 0)],
    "next out of the table": lambda r: [(r.buffer(1), 64, NEXT, 4)],
    "next far out of the table": lambda r: [(r.buffer(1), 64, NEXT, 0xffff)],
    "address outside of memory": lambda r: [(r.buffer(1), 64, NEXT, 1), (0xdead00000000, 64, 0, 0)],
    "loop of nothing": lambda r: [(r.buffer(1), 0, NEXT, 0)],
}


@pytest.mark.parametrize("name", INDIRECT_TABLES)
def test_indirect_tables(site, name):
    with site.plugged(features=(hostile.INDIRECT_DESC,)) as guest:
        for ring, direction in rings(guest):
            table = [hostile.descriptor(address, length, flags | direction, following)
                     for address, length, flags, following in INDIRECT_TABLES[name](ring)]
            guest.write(ring.buffers, b"".join(table).ljust(64, b"\0"))
            ring.describe(0, ring.buffers, 64, INDIRECT)
            ring.offer(*[0] * 16)
        site.pester()
        site.is_unharmed()


# --- Indexes ------------------------------------------------------------------------------------------------------

INDEXES = {
    "one more than the ring has": lambda r: r.set_index(r.used() + 257),
    "half way round": lambda r: r.set_index(r.used() + 32768),
    "backwards": lambda r: r.set_index(r.used() - 1),
    "to and fro": lambda r: [r.set_index(r.used() + n) for n in (300, 0, 60000, 1, 257)],
    "head out of the ring by one": lambda r: r.offer(256),
    "head far out of the ring": lambda r: r.offer(0xffff),
    "head out of the ring behind good ones": lambda r: r.offer(1, 2, 3, 0x8000),
    "the same head 200 times": lambda r: r.offer(*[5] * 200),
}


@pytest.mark.parametrize("name", INDEXES)
def test_indexes(site, guest, name):
    for ring, _ in rings(guest):
        INDEXES[name](ring)
        ring.notify()
    site.pester()
    site.is_unharmed()


def test_broken_ring_is_told_of_until_the_guest_leaves(site):
    def status():
        return site.switch.port(site.bad.name)["status"]

    with site.plugged() as guest:
        assert "broken" not in status()
        guest.transmit.offer(256)
        wait_for(lambda: "a ring of the guest is broken" in status(), what="the broken ring in the port's status")
    wait_for(lambda: "broken" not in status(), what="an end of that when the guest leaves")


# --- Long chains --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 4096], ids=["of nothing", "of bytes", "of pages"])
def test_chains_of_all_places_of_a_ring_of_32768(site, length):
    """What such a ring costs is bounded: the others' ping does not wait for it."""
    with site.plugged(places=32768) as guest:
        for ring, direction in rings(guest):
            table = [hostile.descriptor(ring.buffers, length, direction | NEXT, place + 1) for place in range(32767)]
            guest.write(ring.base, b"".join(table) + hostile.descriptor(ring.buffers, length, direction))
        limit = time.monotonic() + 1
        while time.monotonic() < limit:
            for ring, _ in rings(guest):
                ring.offer(*[0] * 64)
            site.pester(1)
        site.is_unharmed()


LONG_TABLES = 10000
LONG_TABLES_CPU_SECONDS = 4


def test_indirect_table_of_half_a_million_empty_buffers(site):
    """As long as the guest's memory has room for; each descriptor costs the guest nothing, and the switch does not look
    at all of them: it would take many seconds of a CPU's time."""
    with site.plugged(features=(hostile.INDIRECT_DESC,), regions=(
        (REGION_BASE, REGION_BYTES), (1 << 32, 8 << 20))) as guest:
        places = (8 << 20) // 16
        # `next` has 16 bits: a table of more is walked round and round.
        table = b"".join(hostile.descriptor(1 << 32, 0, NEXT, (place + 1) & 0xffff) for place in range(65536))
        for chunk in range(places // 65536):
            guest.write((1 << 32) + len(table) * chunk, table)
        guest.transmit.describe(0, 1 << 32, 8 << 20, INDIRECT)
        before = cpu_seconds(site.pid)
        for _ in range(LONG_TABLES // 250):
            guest.transmit.offer(*[0] * 250)
            assert site.good.ping(site.web.ipv4) == 1
            guest.transmit.wait_used(guest.transmit.available)
        assert cpu_seconds(site.pid) - before < LONG_TABLES_CPU_SECONDS, "a guest's long table stalls the others"
        site.is_unharmed()


# --- What a frame asks for ----------------------------------------------------------------------------------------

HEADERS = {
    "unknown segmentation": {"gso_type": 77, "gso_bytes": 100},
    "segments of nothing": {"gso_type": 1, "gso_bytes": 0, "flags": 1},
    "segments of one byte": {"gso_type": 1, "gso_bytes": 1, "flags": 1},
    "segments of 64 KiB": {"gso_type": 1, "gso_bytes": 65535, "flags": 1},
    "IPv6 segments of an IPv4 frame": {"gso_type": 4, "gso_bytes": 100, "flags": 1},
    "UDP segmentation": {"gso_type": 3, "gso_bytes": 100, "flags": 1},
    "segmentation without checksum": {"gso_type": 1, "gso_bytes": 100},
    "checksum behind the frame": {"flags": 1, "checksum_start": 60000, "checksum_offset": 16},
    "checksum at the last byte": {"flags": 1, "checksum_start": 105, "checksum_offset": 0},
    "checksum in the Ethernet header": {"flags": 1, "checksum_start": 0, "checksum_offset": 0},
    "checksum offset behind the frame": {"flags": 1, "checksum_start": 34, "checksum_offset": 65535},
    "sum of both is beyond 16 bits": {"flags": 1, "checksum_start": 65535, "checksum_offset": 65535},
    "header length of 64 KiB": {"flags": 1, "gso_type": 1, "header_bytes": 65535, "gso_bytes": 100,
                                "checksum_start": 34, "checksum_offset": 16},
    "buffers of 64 Ki": {"buffers": 65535},
    "everything": {"flags": 255, "gso_type": 255, "header_bytes": 65535, "gso_bytes": 65535,
                   "checksum_start": 65535, "checksum_offset": 65535, "buffers": 65535},
}

OFFLOADS = (hostile.CSUM, hostile.HOST_TSO4, hostile.HOST_TSO6, hostile.GUEST_CSUM, hostile.GUEST_TSO4,
            hostile.GUEST_TSO6, hostile.MERGEABLE)


@pytest.mark.parametrize("features", [OFFLOADS, ()], ids=["negotiated", "not negotiated"])
@pytest.mark.parametrize("name", HEADERS)
def test_virtio_headers(site, name, features):
    from scapy.layers.inet import TCP

    with site.plugged(features=features) as guest:
        header = hostile.virtio_header(**HEADERS[name])
        large = bytes(Ether(src=site.bad.mac, dst=site.web.mac) / IP(src=site.bad.ipv4, dst=site.web.ipv4)
                      / TCP(sport=7, dport=80, flags="S") / (MARK * 3000))
        for place, frame in enumerate((site.frame(), large, site.frame()[:14], site.frame()[:20], b"", b"H")):
            guest.say(frame, header, place=place)
        site.pester()
        site.switch.wait_quiet()
        assert site.switch.pid() == site.pid
        site.web.packets.drain()  # TCP's headers are not what is_unharmed() looks for.
        site.is_unharmed()


@pytest.mark.parametrize("bytes_there", range(0, 43, 3))
def test_frames_cut_short(site, guest, bytes_there):
    """Nothing of what an earlier frame left in a buffer is taken for this one's."""
    for place in range(8):
        guest.say(site.frame()[:bytes_there], place=place)
    site.pester(2)
    site.switch.wait_quiet()
    assert not site.from_bad(), "a frame without its headers has passed"
    site.is_unharmed()


# --- Rings and memory that change in mid-traffic ------------------------------------------------------------------


def traffic(site, guest, places=64):
    """Frames from `bad`, small and large in turns, offered and not waited for; and some for it."""
    for place in range(places):
        frame = site.frame(MARK * (1400 if place % 2 else 64))
        guest.transmit.describe(place, *guest.lay(guest.transmit, place, frame))
    guest.transmit.offer(*range(places))
    site.web.packets.send(*[site.frame_to_bad()] * 16)


def test_rings_disabled_and_enabled_in_traffic(site, guest):
    for _ in range(100):
        traffic(site, guest, 32)
        for ring, _ in rings(guest):
            guest.enable(ring, 0)
            guest.enable(ring, 1)
    site.is_unharmed()


def test_rings_stopped_and_started_in_traffic(site, guest):
    for _ in range(30):
        traffic(site, guest, 32)
        for ring, _ in rings(guest):
            guest.place_ring(ring, base=guest.stop_ring(ring))
            guest.start_ring(ring)
    site.is_unharmed()


def test_rings_moved_in_traffic(site, guest):
    """Without stopping them, which no VMM does."""
    for step in range(50):
        traffic(site, guest, 32)
        for ring, _ in rings(guest):
            shift = 0x1000 * (step % 2)
            guest.set_addresses(ring, used=ring.base + hostile.USER_BASE + ring.USED + shift)
    site.is_unharmed()


def test_memory_shared_anew_in_traffic(site, guest):
    """Other memory at the same addresses: what was mapped before is gone at once."""
    for _ in range(30):
        traffic(site, guest)
        old = guest.regions
        guest.regions = [hostile.Region(old[0].base, old[0].size)]
        guest.regions[0].bytes[:] = old[0].bytes[:]
        guest.share_memory()
        old[0].close()
    site.is_unharmed()


def test_memory_moved_away_from_its_rings_in_traffic(site, guest):
    traffic(site, guest)
    other = hostile.Region(1 << 40, 4 << 20)
    guest.share_memory([other])
    for _ in range(5):
        traffic(site, guest)
        time.sleep(0.02)
    other.close()
    site.is_unharmed()


def test_vmm_gone_in_mid_burst(site):
    for _ in range(5):
        with site.guest() as guest:
            guest.plug()
            guest.listen()
            traffic(site, guest, 200)
        assert site.good.ping(site.web.ipv4, 1) == 1
    site.is_unharmed()


# --- A buffer in two regions --------------------------------------------------------------------------------------


def test_buffer_in_two_regions(site):
    """In order for a guest, and not for code that takes a guest's memory for one: the frame is whole or not there."""
    first, second = (REGION_BASE, REGION_BYTES), (END, 1 << 20)
    with site.plugged(regions=(first, second)) as guest:
        data = hostile.virtio_header() + site.frame()
        for cut in (1, 11, 12, 13, 30, 60, len(data) - 1):
            guest.write(END - cut, data[:cut])
            guest.write(END, data[cut:])
            guest.transmit.describe(0, END - cut, len(data))
            guest.transmit.offer(0)
            site.pester(1)
            guest.transmit.wait_used(guest.transmit.available)  # What it has not read must not change yet.
            for frame in site.from_bad():
                assert bytes(frame)[:len(site.frame())] == site.frame()
        guest.transmit.describe(0, END + (1 << 20) - 20, 100)
        guest.transmit.offer(0)
        site.pester()
        site.is_unharmed()


# --- What a VMM says ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def bare(site):
    """A guest that has been greeted, and has shared its memory.  It may be hung up on."""
    with site.guest() as guest:
        guest.connect()
        guest.negotiate()
        guest.share_memory()
        with contextlib.suppress(OSError):
            yield guest


PLACES = {
    "table outside of memory": {"table": 0xdead0000},
    "table at physical addresses": {"table": REGION_BASE},
    "table past the end": {"table": END + hostile.USER_BASE - 256 * 16 + 16},
    "available ring past the end": {"available": END + hostile.USER_BASE - 100},
    "used ring past the end": {"used": END + hostile.USER_BASE - 100},
    "used ring that wraps around": {"used": TWO_64 - 64},
    "table at an odd address": {"table": REGION_BASE + hostile.USER_BASE + 1},
    "available ring at an odd address": {"available": REGION_BASE + hostile.USER_BASE + 0x80001},
    "used ring at an odd address": {"used": REGION_BASE + hostile.USER_BASE + 0x90003},
    "one over the other": {"available": REGION_BASE + hostile.USER_BASE, "used": REGION_BASE + hostile.USER_BASE},
    "of no places": {"places": 0},
    "of 3 places": {"places": 3},
    "of 64 Ki places": {"places": 65536},
}


@pytest.mark.parametrize("name", PLACES)
def test_rings_in_wrong_places(site, name):
    with bare(site) as guest:
        for ring in (guest.receive, guest.transmit):
            guest.place_ring(ring, **PLACES[name])
            guest.start_ring(ring)
            ring.offer(0, 1, 2)
        site.pester()
    site.is_unharmed()


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_ring_that_grows_after_its_place_was_checked(site, running):
    """Its end is then outside of what was found to be memory."""
    with bare(site) as guest:
        for ring in (guest.receive, guest.transmit):
            ring.base, ring.AVAILABLE, ring.USED = END - 0x1000 * (3 + 3 * ring.number), 0x800, 0x1000
            guest.place_ring(ring, places=64)
            if running:
                guest.start_ring(ring)
            else:
                guest.send(hostile.SET_VRING_KICK, struct.pack("<Q", ring.number), [ring.kick])
        for ring in (guest.receive, guest.transmit):
            guest.send(hostile.SET_VRING_NUM, struct.pack("<II", ring.number, 32768))
            guest.start_ring(ring)
            ring.set_index(32768)
            ring.notify()
        site.pester(20)
    site.is_unharmed()


REGIONS = {
    "of no bytes": [(REGION_BASE, 0)],
    "of all addresses": [(0, TWO_64 - 1)],
    "wrapping around": [(TWO_64 - 4096, 8192)],
    "twice the same": [(REGION_BASE, REGION_BYTES)] * 2,
    "one over the other": [(REGION_BASE, REGION_BYTES), (REGION_BASE + 4096, REGION_BYTES)],
}


@pytest.mark.parametrize("name", REGIONS)
def test_regions(site, name):
    with site.guest() as guest, contextlib.suppress(OSError):
        guest.connect()
        guest.negotiate()
        payload = struct.pack("<II", len(REGIONS[name]), 0) + b"".join(
            struct.pack("<QQQQ", base, size, (base + hostile.USER_BASE) % TWO_64, 0) for base, size in REGIONS[name])
        guest.send(hostile.SET_MEM_TABLE, payload, [guest.regions[0].fd] * len(REGIONS[name]))
        for ring in (guest.receive, guest.transmit):
            guest.place_ring(ring)
            guest.start_ring(ring)
            ring.describe(0, TWO_64 - 4096, 8192)
            ring.offer(0, 0, 0)
        site.pester()
    site.is_unharmed()


# --- Races --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def racer(shared):
    """ring_racer, built here: it rewrites a guest's memory as another CPU of it does."""
    program = os.path.join(shared.directory, "ring_racer")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ring_racer.c")
    subprocess.run(["gcc", "-O2", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    return program


class Race:
    """Words of the guest's memory that change all the time: (address, bytes, value, value)."""

    def __init__(self, racer, guest, words, seconds=120):
        region = guest.regions[0]
        arguments = [f"{address - region.base:#x}:{size}:{one:#x}:{other:#x}" for address, size, one, other in words]
        self.process = subprocess.Popen([racer, str(region.fd), str(seconds), *arguments], pass_fds=[region.fd])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(30) in (0, -15)


def little(data):
    return int.from_bytes(data, "little")


def send_all_the_time(guest, seconds):
    """Sends the frames of 64 places over and over."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        guest.transmit.offer(*range(64))
        guest.transmit.wait_used(guest.transmit.available)


def race_words(guest, frame, other, place):
    """The words in which two frames differ, 4 bytes each, where `frame` lies in its buffer."""
    start = guest.transmit.buffer(place) + hostile.HEADER_BYTES
    return [(start + at, 2, little(frame[at:at + 2]), little(other[at:at + 2]))
            for at in range(0, len(frame), 2) if frame[at:at + 2] != other[at:at + 2]]


FORBIDDEN = {
    "destination MAC of a denied host": lambda f, s: mac_bytes(s.shut) + f[6:],
    "destination port that is denied": lambda f, s: f[:36] + (22).to_bytes(2, "big") + f[38:],
    # The same sum in both halves, so that IPv4's checksum holds for both.
    "source address of another": lambda f, s: f[:26] + bytes((10, 1, 0, 98)) + f[30:],
    "source MAC of another": lambda f, s: f[:6] + mac_bytes(s.good) + f[12:],
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_frame_that_changes_while_it_is_judged(site, guest, racer, name):
    """What reaches anybody is what was judged, whatever the guest's other CPU writes meanwhile."""
    frame = site.frame()
    frame = frame[:40] + b"\0\0" + frame[42:]  # No UDP checksum, so that nothing else need change with it.
    other = FORBIDDEN[name](frame, site)
    guest.say(other)
    site.pester(2)
    site.switch.wait_quiet()
    assert not site.from_bad(), "the other frame is denied when nobody races"
    for place in range(64):
        guest.transmit.describe(place, *guest.lay(guest.transmit, place, frame))
    words = [word for place in range(64) for word in race_words(guest, frame, other, place)]
    site.shut.packets.drain()
    site.web.packets.drain()
    before = sum(site.switch.drops().values())
    arrived = []

    def both_are_seen():
        send_all_the_time(guest, 2)
        arrived.extend(raw for raw in site.web.packets.pending() if MARK * 20 in raw)
        return guest.transmit.available > 1000 and arrived and sum(site.switch.drops().values()) > before

    with Race(racer, guest, words):
        wait_for(both_are_seen, 60, "frames that are allowed, and drops of the others,", interval=0)
    site.switch.wait_quiet()
    arrived.extend(raw for raw in site.web.packets.pending() if MARK * 20 in raw)
    for one in arrived:
        assert one[:len(frame)] == frame, "a frame has passed that was not the one judged"
    assert not site.shut.packets.receive(lambda f: f.src == site.bad.mac or MARK * 20 in bytes(f), seconds=0.2)
    site.is_unharmed()


def racing_words(guest, name):
    """(address, bytes, one value, another) in the transmit and receive rings."""
    words = []
    for ring, direction in rings(guest):
        for place in range(16):
            at = ring.base + 16 * place
            words += {
                "addresses": [(at, 8, ring.buffer(place), 0xdead00000000)],
                "addresses at the end": [(at, 8, ring.buffer(place), END - 8)],
                "lengths": [(at + 8, 4, 100, 0xffffffff)],
                "flags and next": [(at + 12, 4, direction, direction | NEXT | 0xffff << 16)],
                "indirect or not": [(at + 12, 4, direction, INDIRECT)],
                "heads": [(ring.base + ring.AVAILABLE + 4 + 2 * place, 2, place, 0xffff)],
                "used entries": [(ring.base + ring.USED + 4 + 8 * place, 8, 0, 0xffffffffffffffff)],
            }.get(name, [])
        if name == "available index":
            words.append((ring.base + ring.AVAILABLE + 2, 2, ring.available, (ring.available + 20000) & 0xffff))
        if name == "used index":
            words.append((ring.base + ring.USED + 2, 2, 0, 0xffff))
    return words


@pytest.mark.parametrize("name", ["addresses", "addresses at the end", "lengths", "flags and next", "indirect or not",
                                  "heads", "used entries", "available index", "used index"])
def test_ring_that_changes_while_it_is_read(site, racer, name):
    with site.plugged(features=(hostile.INDIRECT_DESC,)) as guest:
        for place in range(16):
            guest.transmit.describe(place, *guest.lay(guest.transmit, place, site.frame()))
        with Race(racer, guest, racing_words(guest, name)):
            limit = time.monotonic() + 1
            while time.monotonic() < limit:
                for ring, _ in rings(guest):
                    ring.offer(*range(16))
                site.pester(1)
        site.is_unharmed()


def test_honest_guests_on_the_same_sockets_at_the_end(site):
    """Nothing of all that has stuck to the ports."""
    for _ in range(BAD_GUESTS):
        with site.plugged():
            site.is_unharmed()
