# SPDX-License-Identifier: Apache-2.0
"""Frames between two guests of cordon-vmm, sent and counted by their native payload (tests/guest).

    guest a ==vhost-user== device under test ==vhost-user== guest b
    (core 1)                  (core 0)                      (core 1)

The guests share a core and take turns on it: a sends windows of frames, and sleeps until b has said that it has had
one.  So the figure has the guests' exits, interrupts and changes of process in it, which the other cases leave out.
"""

import contextlib
import os
import re
import tempfile

from case import CORDON, TESTPMD_IO, Case, Figure, Round
from cordon import wait_for
from devices import DEVICES, SIDES, Needs
from machine import GENERATOR_CORE, Watch, on_core
from measure import Failed
from vmm import KVM, Vmm

QUEUE = 1024
WINDOW = 256
FRAMES_A_SECOND = 800000  # About as many are sent: a round takes as long as it is to.
SENT = re.compile(r"flood: sent (\d+) in (\d+) ms, gave up (\d+) windows")


class Pair:
    """Two guests, and a device between them."""

    def __init__(self, device_name):
        if not KVM:
            raise Failed("guests run in KVM, and there is no /dev/kvm here")
        self.directory = tempfile.TemporaryDirectory(prefix="cordon-bench-", dir="/tmp")
        self.sockets = {side: os.path.join(self.directory.name, side + ".sock") for side in "ab"}
        self.guests, self.device = {}, None
        try:
            for side in "ab":
                self.guests[side] = self._guest(side)
            self.device = DEVICES[device_name](self.sockets, Needs())
            self._wait_connected()
        except (AssertionError, RuntimeError) as error:
            self.close()
            raise Failed(f"the guests do not start: {error}") from error
        except BaseException:
            self.close()
            raise

    def _guest(self, side):
        ipv4, ipv6 = SIDES[side]["address"].split(",")
        net = f"socket={self.sockets[side]},mac={SIDES[side]['mac']},queue-size={QUEUE}"
        guest = Vmm(self.directory.name, side, command_line=f"ip={ipv4} six={ipv6} queue={QUEUE}", options=["--net", net])
        with on_core(GENERATOR_CORE):
            guest.start()
        return guest

    def _wait_connected(self):
        address = SIDES["b"]["address"].partition(",")[0]
        wait_for(lambda: "1 of 1" in self.guests["a"].command(f"ping {address} 1"), 20, "a ping between the guests")

    def flood(self, frames, size):
        """Frames per second that arrived, and what a guest says of them."""
        before, address = self._received(), SIDES["b"]["address"].partition(",")[0]
        answer = self.guests["a"].command(f"flood {address} {frames} {size} {WINDOW}", 60)
        found = SENT.fullmatch(answer)
        if not found:
            raise Failed(f"the guest says: {answer}")
        received = self._received() - before
        return 1000 * received / int(found[2]), {"sent": int(found[1]), "received": received, "ms": int(found[2]),
                                    "windows_given_up": int(found[3])}

    def _received(self):
        return int(re.search(r"discarded (\d+)", self.guests["b"].command("stats"))[1])

    def close(self):
        for guest in self.guests.values():
            guest.close()
        if self.device:
            self.device.close()
        self.directory.cleanup()


class Guests(Case):
    """UDP from one guest to the other, in one connection."""

    name = "guests"
    SIZES = {"guests": 64, "guests.1514": 1514}
    figures = (
        Figure("guests", "Mpps", "64-byte frames from one guest of cordon-vmm to another"),
        Figure("guests.1514", "Mpps", "1,514-byte frames from one guest of cordon-vmm to another"),
    )
    devices = (TESTPMD_IO, CORDON)

    def measure(self, bench, turn):
        values, details = {}, {}
        with contextlib.closing(Pair(turn.device)) as pair:
            pair.flood(FRAMES_A_SECOND // 4, 64)
            watch = Watch(pair.device.pid())
            for key, size in self.SIZES.items():
                rate, details[key] = pair.flood(FRAMES_A_SECOND * bench.settings.seconds, size)
                values[key] = rate / 1e6
            waited = watch.look()
        return Round(values, waited, details)


CASES = [Guests()]
