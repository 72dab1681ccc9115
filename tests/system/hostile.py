# SPDX-License-Identifier: Apache-2.0
"""A guest whose VMM and kernel are the test's: it listens on a vhost-user socket, shares its memory, sets up rings as a
VMM does, and then writes into them what no driver would.

    guest = HostileGuest(path)
    guest.plug()                                        # Waits for the switch, negotiates, sets up two rings.
    guest.transmit.describe(0, ADDRESS, LENGTH)         # Any descriptor, right or wrong.
    guest.transmit.offer(0)
    guest.close()

Guest-physical addresses begin at REGION_BASE; what vhost-user calls user addresses lie USER_BASE above them, so that
one taken for the other is noticed.
"""

import contextlib
import mmap
import os
import socket
import struct
import time

from cordon import wait_for

# vhost-user's requests (QEMU's docs/interop/vhost-user.rst).
GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE, SET_LOG_FD = 1, 2, 3, 4, 5, 6, 7
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE = 15, 16, 17, 18
SEND_RARP, NET_SET_MTU, SET_BACKEND_REQ_FD, IOTLB_MSG = 19, 20, 21, 22
GET_CONFIG, SET_CONFIG = 24, 25
POSTCOPY_ADVISE, POSTCOPY_LISTEN, POSTCOPY_END = 28, 29, 30
GET_INFLIGHT_FD, SET_INFLIGHT_FD = 31, 32
SET_STATUS, GET_STATUS = 39, 40

# Features (virtio 1.2, 5.1.3 and 6), and vhost-user's own bit.
CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6, MERGEABLE = 0, 1, 7, 8, 11, 12, 15
LOG_ALL, INDIRECT_DESC, EVENT_INDEX, PROTOCOL_FEATURES = 26, 28, 29, 30
VERSION_1, RING_PACKED, IN_ORDER = 32, 34, 35

NEXT, WRITE, INDIRECT = 1, 2, 4  # Flags of a descriptor.
HEADER_BYTES = 12  # The virtio header of a frame (5.1.6).
NEEDS_CHECKSUM = 1

REGION_BASE, USER_BASE = 0x100000, 0x7f0000000000
REGION_BYTES = 8 << 20
RING_PLACES = 256

MARK = b"H"  # All that a hostile guest's frames carry.
UNTOUCHED = 0xa5  # What receive buffers hold before they are offered.


def message(request, payload=b"", flags=1):
    return struct.pack("<III", request, flags, len(payload)) + payload


def virtio_header(flags=0, gso_type=0, header_bytes=0, gso_bytes=0, checksum_start=0, checksum_offset=0, buffers=0):
    return struct.pack("<BBHHHHH", flags, gso_type, header_bytes, gso_bytes, checksum_start, checksum_offset, buffers)


class Listener:
    """A socket as a VMM makes it: the switch connects to it, again and again."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(8)
        self.socket.settimeout(60)

    def accept(self):
        connection, _ = self.socket.accept()
        connection.settimeout(15)
        return connection

    def close(self):
        self.socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class Region:
    """A part of the guest's memory, in a memfd of its own."""

    def __init__(self, base, size, huge_pages=False):
        self.base = base
        self.size = size
        self.fd = os.memfd_create("guest", os.MFD_CLOEXEC | (os.MFD_HUGETLB if huge_pages else 0))
        os.ftruncate(self.fd, size)
        self.bytes = mmap.mmap(self.fd, size)

    def truncate(self, size=0):
        """What is behind must not be touched by the test any more: it would die of it."""
        os.ftruncate(self.fd, size)

    def close(self):
        self.bytes.close()
        os.close(self.fd)


class Ring:
    """A split virtqueue (virtio 1.2, 2.7), at `base` in the guest's memory, with its buffers behind it."""

    AVAILABLE, USED, BUFFERS = 0x80000, 0x90000, 0x100000

    def __init__(self, guest, number, base, places=RING_PLACES):
        self.guest = guest
        self.number = number
        self.base = base
        self.places = places
        self.available = 0  # Chains offered so far.
        self.kick, self.call = (os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2))

    @property
    def buffers(self):
        """The guest-physical address of memory that belongs to this ring's buffers; 2 MiB of it."""
        return self.base + self.BUFFERS

    def buffer(self, index):
        return self.buffers + 4096 * index

    def describe(self, place, address, length, flags=0, following=0):
        self.guest.write(self.base + 16 * place, descriptor(address, length, flags, following))

    def set_index(self, index, flags=0):
        self.guest.write(self.base + self.AVAILABLE, struct.pack("<HH", flags, index & 0xffff))

    def put_head(self, place, head):
        self.guest.write(self.base + self.AVAILABLE + 4 + 2 * (place % self.places), struct.pack("<H", head))

    def offer(self, *heads):
        """Makes chains available, and kicks."""
        for head in heads:
            self.put_head(self.available, head)
            self.available += 1
        self.set_index(self.available)
        self.notify()

    def notify(self):
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self.kick, 1)

    def used(self):
        """How many chains the switch has given back, modulo 65,536."""
        return struct.unpack("<H", self.guest.read(self.base + self.USED + 2, 2))[0]

    def used_entry(self, index):
        """(head, bytes written)"""
        return struct.unpack("<II", self.guest.read(self.base + self.USED + 4 + 8 * (index % self.places), 8))

    def used_entries(self):
        return [self.used_entry(index) for index in range(min(self.used(), self.places))]

    def wait_used(self, count, seconds=20):
        wait_for(lambda: self.used() == count & 0xffff, seconds, f"{count} chains of ring {self.number} used", 0.0005)

    def close(self):
        os.close(self.kick)
        os.close(self.call)


def descriptor(address, length, flags=0, following=0):
    return struct.pack("<QIHH", address & 0xffffffffffffffff, length, flags, following)


class HostileGuest:
    """One connection of such a guest.  `receive` and `transmit` are as the guest sees them."""

    def __init__(self, listener, regions=((REGION_BASE, REGION_BYTES),), features=(), places=RING_PLACES,
                 huge_pages=False):
        self.listener = listener
        self.regions = [Region(base, size, huge_pages) for base, size in regions]
        self.features = 1 << VERSION_1 | 1 << PROTOCOL_FEATURES | sum(1 << bit for bit in features)
        self.offered = 0
        self.receive = Ring(self, 0, self.regions[0].base, places)
        self.transmit = Ring(self, 1, self.regions[0].base + (4 << 20), places)
        self.connection = None

    # --- Memory ----------------------------------------------------------------------------------------------

    def _region(self, address):
        for region in self.regions:
            if region.base <= address < region.base + region.size:
                return region
        raise AssertionError(f"{address:#x} is not in the guest's memory")

    def write(self, address, data):
        """Into one region."""
        region = self._region(address)
        region.bytes[address - region.base:address - region.base + len(data)] = data

    def read(self, address, length):
        region = self._region(address)
        return region.bytes[address - region.base:address - region.base + length]

    # --- The protocol ----------------------------------------------------------------------------------------

    def send(self, request, payload=b"", descriptors=(), flags=1):
        socket.send_fds(self.connection, [message(request, payload, flags)], list(descriptors))

    def ask(self, request, payload=b"", descriptors=()):
        """The payload of the answer."""
        self.send(request, payload, descriptors)
        header = self._receive(12)
        return self._receive(struct.unpack("<III", header)[2])

    def _receive(self, length):
        data = b""
        while len(data) < length:
            part = self.connection.recv(length - len(data))
            if not part:
                raise ConnectionError("the switch has closed the connection")
            data += part
        return data

    def is_refused(self, seconds=20):
        """True when the switch closes the connection."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            try:
                if not self.connection.recv(4096):
                    return True
            except TimeoutError:
                pass
            except OSError:
                return True
        return False

    def connect(self):
        self.connection = self.listener.accept()

    def negotiate(self):
        self.offered = struct.unpack("<Q", self.ask(GET_FEATURES))[0]
        self.send(SET_OWNER)
        self.send(SET_FEATURES, struct.pack("<Q", self.features & self.offered))

    def share_memory(self, regions=None, sizes=None):
        """Also again and again.  `sizes` says something else than is true."""
        regions = self.regions if regions is None else regions
        sizes = sizes or [region.size for region in regions]
        payload = struct.pack("<II", len(regions), 0) + b"".join(
            struct.pack("<QQQQ", region.base, size, region.base + USER_BASE, 0)
            for region, size in zip(regions, sizes))
        self.send(SET_MEM_TABLE, payload, [region.fd for region in regions])

    def place_ring(self, ring, places=None, base=0, **addresses):
        """Tells where the ring is, or something else."""
        self.send(SET_VRING_NUM, struct.pack("<II", ring.number, ring.places if places is None else places))
        self.send(SET_VRING_BASE, struct.pack("<II", ring.number, base))
        self.set_addresses(ring, **addresses)

    def set_addresses(self, ring, table=None, available=None, used=None, flags=0):
        start = ring.base + USER_BASE
        self.send(SET_VRING_ADDR, struct.pack(
            "<IIQQQQ", ring.number, flags, start if table is None else table,
            start + ring.USED if used is None else used, start + ring.AVAILABLE if available is None else available, 0))

    def start_ring(self, ring):
        self.send(SET_VRING_CALL, struct.pack("<Q", ring.number), [ring.call])
        self.send(SET_VRING_KICK, struct.pack("<Q", ring.number), [ring.kick])
        self.enable(ring)

    def enable(self, ring, on=1):
        self.send(SET_VRING_ENABLE, struct.pack("<II", ring.number, on))

    def stop_ring(self, ring):
        """Returns how many chains the switch has taken."""
        return struct.unpack("<II", self.ask(GET_VRING_BASE, struct.pack("<II", ring.number, 0)))[1]

    def plug(self):
        """All of it, in order."""
        self.connect()
        self.negotiate()
        self.share_memory()
        for ring in (self.receive, self.transmit):
            self.place_ring(ring)
            self.start_ring(ring)

    # --- Frames ----------------------------------------------------------------------------------------------

    def lay(self, ring, index, frame, header=None):
        """Writes a frame with its header into a buffer; returns the buffer's address and length."""
        data = (virtio_header() if header is None else header) + frame
        self.write(ring.buffer(index), data)
        return ring.buffer(index), len(data)

    def say(self, frame, header=None, place=0):
        """Sends a frame, as a driver does."""
        self.transmit.describe(place, *self.lay(self.transmit, place, frame, header))
        self.transmit.offer(place)

    def listen(self, count=32, length=2048):
        """Offers buffers for what comes in."""
        for place in range(count):
            self.write(self.receive.buffer(place), bytes([UNTOUCHED]) * 4096)
            self.receive.describe(place, self.receive.buffer(place), length, WRITE)
        self.receive.offer(*range(count))

    def heard(self):
        """What has come in since listen(): (header, frame, all bytes of the buffer behind it)."""
        found = []
        for place, length in self.receive.used_entries():
            data = self.read(self.receive.buffer(place), 4096)
            found.append((data[:HEADER_BYTES], data[HEADER_BYTES:length], data[length:]))
        return found

    def unplug(self):
        """As when the VMM is killed."""
        if self.connection:
            self.connection.close()
            self.connection = None

    def close(self):
        self.unplug()
        for ring in (self.receive, self.transmit):
            ring.close()
        for region in self.regions:
            region.close()
