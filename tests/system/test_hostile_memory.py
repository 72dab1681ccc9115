# SPDX-License-Identifier: Apache-2.0
"""A VMM that takes its guest's memory away: the switch lives on, others talk, and the port says why it stands still.

Every access to a shared file's mapping behind the file's end raises SIGBUS.  The guests are those of test_hostile.py,
and the VMM is the attacker, as in test_hostile_vmm.py.
"""

import contextlib
import errno
import os
import re
import struct
import threading

import pytest

import hostile
from cordon import wait_for
from hostile import REGION_BASE, REGION_BYTES, WRITE, HostileGuest
from test_hostile import Site, exchange

pytestmark = pytest.mark.vhost

PAGE, HUGE_PAGE = 4096, 2 << 20
LOG_BYTES = 16 * PAGE  # Of the log of writes: a bit for each page up to 2 GiB.


@pytest.fixture(scope="module")
def site(shared):
    return Site(shared)


def status(site):
    return site.switch.port(site.bad.name)["status"]


def says_so(site):
    wait_for(lambda: "memory was truncated by its VMM" in status(site), 30, "the port to say what is wrong")


def times(site):
    """How often it has been so; None if it is not so now."""
    found = re.search(r"\((\d+) times? so far\)", status(site))
    return int(found[1]) if found else None


def works_again(site):
    """With a VMM that keeps its memory."""
    guest = HostileGuest(site.bad.listener)
    with contextlib.closing(guest):
        guest.plug()
        exchange(site, guest)
        wait_for(lambda: "guest connected" in status(site), 20, "the port to say that all is well")


@contextlib.contextmanager
def traffic(site, guest):
    """In both directions, for as long as this goes on; what the guest sends is all there from the beginning."""
    done = threading.Event()

    def pester():
        while not done.is_set():
            site.pester(1)

    for place in range(hostile.RING_PLACES):
        guest.receive.describe(place, guest.receive.buffer(place), 2048, WRITE)
        frame = site.frame(hostile.MARK * (1400 if place % 2 else 64))
        guest.transmit.describe(place, *guest.lay(guest.transmit, place, frame))
    guest.receive.offer(*range(64))
    thread = threading.Thread(target=pester)
    thread.start()
    try:
        guest.transmit.offer(*range(hostile.RING_PLACES - 1))
        yield
    finally:
        done.set()
        thread.join()


ALL_BUT_BUFFERS = "all but the buffers of one ring"
SIZES = {"nothing": 0, "a page": PAGE, "half": REGION_BYTES // 2, ALL_BUT_BUFFERS: REGION_BYTES * 5 // 8}


@pytest.mark.parametrize("left", SIZES)
def test_memory_is_truncated_under_traffic(site, left):
    with site.plugged() as guest:
        with traffic(site, guest):
            guest.regions[0].truncate(SIZES[left])
            if left == ALL_BUT_BUFFERS:
                guest.transmit.offer(0)  # All that was offered may have been sent before; the rings are still there.
            says_so(site)
        site.is_unharmed()
        assert "memory was truncated by its VMM" in status(site), "until it connects anew"
        assert site.switch.port(site.bad.name)["link"] != "up"
        guest.unplug()
        works_again(site)
    assert "truncated by its VMM" in site.switch.log_file()


@pytest.mark.parametrize("left", [0, HUGE_PAGE, REGION_BYTES // 2])
def test_memory_of_huge_pages_is_truncated(site, left):
    with contextlib.ExitStack() as stack:
        try:
            guest = stack.enter_context(site.plugged(huge_pages=True))
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            pytest.skip("no huge pages are free")
        with traffic(site, guest):
            guest.regions[0].truncate(left)
            says_so(site)
        site.is_unharmed()
        guest.unplug()
        works_again(site)


def test_the_second_region_is_truncated(site):
    """Of two, in files of their own: what is left of the memory is stopped as well."""
    with site.plugged(regions=((REGION_BASE, REGION_BYTES), (1 << 32, REGION_BYTES))) as guest:
        guest.transmit.describe(0, 1 << 32, 500)
        guest.regions[1].truncate()
        guest.transmit.offer(0)
        says_so(site)
        site.is_unharmed()


def test_again_and_again(site):
    """Connecting anew is no way to keep the switch busy: it is put off a little."""
    with site.plugged() as guest:
        guest.regions[0].truncate()
        site.pester()
        says_so(site)
        guest.unplug()
        before = times(site)
        for turn in range(3):
            with contextlib.closing(HostileGuest(site.bad.listener)) as other:
                other.plug()
                exchange(site, other)
                other.regions[0].truncate()
                site.pester()
                # What it says of the last time may still be there.
                wait_for(lambda: times(site) == before + turn + 1, 30, "the port to say so again")  # pylint: disable=cell-var-from-loop
                other.unplug()
        assert times(site) == before + 3
        site.is_unharmed()
        works_again(site)


# --- While the library obeys a message ----------------------------------------------------------------------------


def test_memory_that_was_never_there(site):
    """The library reads a ring's index when the ring is started."""
    with site.guest() as guest:
        guest.connect()
        guest.negotiate()
        guest.regions[0].truncate()
        guest.share_memory()
        guest.place_ring(guest.receive)
        with contextlib.suppress(ConnectionError):
            guest.start_ring(guest.receive)
        assert guest.is_refused()
        says_so(site)
        site.is_unharmed()
        guest.unplug()
        works_again(site)


def test_file_that_is_shorter_than_it_is_said_to_be(site):
    with site.guest() as guest:
        guest.connect()
        guest.negotiate()
        guest.regions[0].truncate(PAGE)
        guest.share_memory(sizes=[REGION_BYTES])
        guest.place_ring(guest.transmit)
        with contextlib.suppress(ConnectionError):
            guest.start_ring(guest.transmit)
        assert guest.is_refused()
        says_so(site)
        site.is_unharmed()


@pytest.mark.parametrize("left", [0, REGION_BYTES // 2])
def test_other_memory_for_rings_in_use(site, left):
    """The library maps it and reads the rings in it, within one message."""
    with site.plugged() as guest:
        other = hostile.Region(REGION_BASE, REGION_BYTES)
        other.truncate(left)
        with traffic(site, guest):
            guest.share_memory(regions=[other], sizes=[REGION_BYTES - PAGE])  # Another size, or it keeps what it has.
            assert guest.is_refused()
        says_so(site)
        site.is_unharmed()
        other.close()
        guest.unplug()
        works_again(site)


# --- The log of writes, for migration -----------------------------------------------------------------------------


@contextlib.contextmanager
def migrating(site):
    """A guest whose VMM has shared a log; yields both.  The log's bits are all clear."""
    log = os.memfd_create("log")
    os.ftruncate(log, LOG_BYTES)
    try:
        with site.guest(features=(hostile.LOG_ALL,)) as guest:
            guest.connect()
            guest.negotiate()
            guest.ask(hostile.SET_LOG_BASE, struct.pack("<QQ", LOG_BYTES, 0), [log])
            plug_in(guest)
            yield guest, log
    finally:
        os.close(log)


def plug_in(guest):
    guest.share_memory()
    for ring in (guest.receive, guest.transmit):
        guest.place_ring(ring)
        guest.start_ring(ring)


def bits_set(log):
    return sum(byte.bit_count() for byte in os.pread(log, LOG_BYTES, 0))


def test_log_of_writes_is_truncated(site):
    with migrating(site) as (guest, log):
        exchange(site, guest)
        wait_for(lambda: bits_set(log) > 0, what="writes in the log")
        os.ftruncate(log, 0)
        guest.receive.offer(*range(32, 64))
        site.pester()
        says_so(site)
        site.is_unharmed()
        guest.unplug()
        works_again(site)


def test_log_that_was_unmapped_is_not_written_to(site):
    """RESET_OWNER unmaps it, and the library remembers where it was."""
    with migrating(site) as (guest, log):
        exchange(site, guest)
        guest.send(hostile.RESET_OWNER)
        os.ftruncate(log, 0)
        os.ftruncate(log, LOG_BYTES)
        guest.negotiate()
        for ring in (guest.receive, guest.transmit):
            guest.write(ring.base, bytes(ring.BUFFERS))
            ring.available = 0
        plug_in(guest)
        exchange(site, guest)
        assert bits_set(log) == 0
        site.is_unharmed()
