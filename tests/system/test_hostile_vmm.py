# SPDX-License-Identifier: Apache-2.0
"""A VMM that means no good: what it says on the vhost-user socket, or leaves unsaid, hurts nobody else.

The same guests as in test_hostile.py, which is about what lies in the rings.  Here the process that made the socket is
itself the attacker: it has broken out of its guest, and speaks the protocol as it likes.
"""

import contextlib
import os
import select
import socket
import struct

import pytest

import hostile
from cordon import wait_for
from test_hostile import BAD_GUESTS, Site, exchange

pytestmark = pytest.mark.vhost


@pytest.fixture(scope="module")
def site(shared):
    return Site(shared)


def others_can_come_and_go(site):
    """librte_vhost has one thread for all sockets: another guest is greeted, and a port is added and removed."""
    with site.plugged():
        pass
    path = os.path.join(site.switch.directory, "late.sock")
    site.switch.add_port("late", type="vhost", socket=path, network="lan", tag="zone=all", no_wait=True)
    site.switch.cordon("port", "del", "late", seconds=30)
    site.is_unharmed()


# --- Messages that no network card needs --------------------------------------------------------------------------

INFLIGHT = struct.pack("<QQHH", 4096, 0, 256, 32768)  # 4 KiB for 256 rings of 32,768 places.

REFUSED = {
    "memory in flight, smaller than its rings": (hostile.SET_INFLIGHT_FD, INFLIGHT, 1),
    "memory in flight for all rings": (hostile.GET_INFLIGHT_FD, INFLIGHT, 0),
    "log that begins behind its mapping": (hostile.SET_LOG_BASE, struct.pack("<QQ", 4096, 4096), 1),
    "post-copy": (hostile.POSTCOPY_ADVISE, b"", 0),
    "end of post-copy": (hostile.POSTCOPY_END, b"", 0),
    "IOMMU update": (hostile.IOTLB_MSG, struct.pack("<QQQBB", 0, 1 << 40, 0xdead0000, 3, 2), 0),
    "configuration space": (hostile.GET_CONFIG, struct.pack("<III", 0, 256, 0) + bytes(256), 0),
    "a request without its payload": (hostile.SET_VRING_NUM, b"", 0),
    "addresses that are cut off": (hostile.SET_VRING_ADDR, bytes(20), 0),
    "more regions than it lists": (hostile.SET_MEM_TABLE, struct.pack("<IIQQQQ", 8, 0, 0, 4096, 0, 0), 8),
    "more regions than there can be": (hostile.SET_MEM_TABLE, struct.pack("<II", 9, 0) + bytes(9 * 32), 8),
    "a region that wraps around": (hostile.SET_MEM_TABLE, struct.pack("<IIQQQQ", 1, 0, (1 << 64) - 4096, 8192, 0, 0), 1),
    "an unknown request": (4711, bytes(8), 0),
    "request 0": (0, b"", 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_message_ends_the_connection(site, name):
    request, payload, descriptors = REFUSED[name]
    with site.plugged() as guest:
        file = os.memfd_create("any")
        os.ftruncate(file, 8192)
        guest.send(request, payload, [file] * descriptors)
        os.close(file)
        assert guest.is_refused(), "the switch goes on talking"
    site.is_unharmed()


def test_features_of_refused_messages_are_not_offered(site):
    with site.guest() as guest:
        guest.connect()
        guest.negotiate()
        offered = struct.unpack("<Q", guest.ask(hostile.GET_PROTOCOL_FEATURES))[0]
        assert offered & 1, "several queues are"
        for bit, name in ((7, "crypto session"), (8, "page faults"), (9, "configuration"), (12, "memory in flight")):
            assert not offered & 1 << bit, name


@pytest.mark.parametrize("queues", (1, 3))
def test_only_queues_that_are_looked_at_are_offered(site, queues):
    """One for each worker, unless the port says otherwise."""
    listener = hostile.Listener(os.path.join(site.switch.directory, "queues.sock"))
    options = {"queues": queues} if queues > 1 else {}
    site.switch.add_port("queues", type="vhost", socket=listener.path, network="lan", tag="zone=all", no_wait=True, **options)
    guest = hostile.HostileGuest(listener)
    try:
        guest.connect()
        guest.negotiate()
        assert struct.unpack("<Q", guest.ask(hostile.GET_QUEUE_NUM))[0] == queues
    finally:
        guest.close()
        site.switch.cordon("port", "del", "queues")
        listener.close()


# --- A VMM that keeps others waiting ------------------------------------------------------------------------------


def test_half_a_message(site):
    """The rest never comes, and the connection stays open."""
    with contextlib.ExitStack() as stack:
        for _ in range(BAD_GUESTS - 1):
            guest = stack.enter_context(site.guest())
            guest.connect()
            guest.connection.sendall(struct.pack("<III", hostile.SET_FEATURES, 1, 8))
        others_can_come_and_go(site)


def test_answers_that_are_not_read(site):
    with site.guest() as guest:
        guest.connect()
        guest.connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                guest.connection.sendall(hostile.message(hostile.GET_FEATURES))
        others_can_come_and_go(site)


# --- Descriptors that are not what they should be -------------------------------------------------------------------

EVENTFD_FULL = 0xfffffffffffffffe  # One more is waited for.


def pipe_that_is_full():
    """(the end to hand over, what else to close, what to do when the switch has it)"""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(65536))
    os.set_blocking(writing, True)
    return writing, [reading], lambda: None


def eventfd_that_is_full():
    descriptor = os.eventfd(0)
    os.eventfd_write(descriptor, EVENTFD_FULL)
    return descriptor, [], lambda: None


def eventfd_that_fills_up():
    descriptor = os.eventfd(0)

    def fill():
        while True:
            assert select.select([descriptor], [], [], 20)[0], "the switch has not interrupted its guest"
            os.eventfd_read(descriptor)
            with contextlib.suppress(BlockingIOError):
                return os.eventfd_write(descriptor, EVENTFD_FULL)

    return descriptor, [], fill


def socket_that_is_closed():
    one, other = socket.socketpair()
    other.close()
    return one.detach(), [], lambda: None


@pytest.mark.parametrize("make", [pipe_that_is_full, eventfd_that_is_full, eventfd_that_fills_up,
                                  socket_that_is_closed])
def test_interrupt_that_cannot_be_delivered(site, make):
    """Nobody who interrupts this guest waits until it takes the interrupt."""
    with site.plugged() as guest:
        call, rest, when_taken = make()
        for ring in (guest.receive, guest.transmit):
            guest.send(hostile.SET_VRING_CALL, struct.pack("<Q", ring.number), [call])
        for place in range(3):
            guest.say(site.frame(), place=place)
        site.pester()
        when_taken()
        guest.receive.offer(*range(32))
        for place in range(3):
            guest.say(site.frame(), place=place)
            site.pester(1)
        others_can_come_and_go(site)
        for one in [call, *rest]:
            os.close(one)


def test_kick_that_is_a_file(site):
    with site.plugged() as guest:
        file = os.memfd_create("kick")
        for ring in (guest.receive, guest.transmit):
            guest.send(hostile.SET_VRING_KICK, struct.pack("<Q", ring.number), [file])
        guest.say(site.frame())
        site.pester()
        os.close(file)
    others_can_come_and_go(site)


def test_connections_that_come_and_go(site):
    """Each is a device of the library's, which has room for 1,024: they are given back."""
    for _ in range(40):
        with site.guest() as guest:
            guest.connect()
            guest.negotiate()
    assert site.good.ping(site.web.ipv4, wait=20) == 1
    with site.guest() as guest:
        guest.plug()
        exchange(site, guest)
    site.is_unharmed()
