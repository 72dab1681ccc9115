# SPDX-License-Identifier: Apache-2.0
"""Datagrams from one host to another all the time: tells to the moment when a policy began or ceased to allow them.

    with Stream(web, app, 8000) as stream:
        ...
        seconds_late = stream.ends_at(moment)

Behind each datagram goes a witness to another port, which the policy must allow all the time (STEADY).  Both take the
same way, so when the witness is there, the switch has seen the datagram as well: a machine that was busy for a while
neither hides a datagram that was refused too early, nor makes one of a datagram that is only late.
"""

import contextlib
import select
import socket
import struct
import threading
import time

from cordon import wait_for

WITNESS_PORT = 7999
STEADY = f"udp/{WITNESS_PORT}"  # What a policy has to allow.
FOREVER = float("inf")
CERTAIN = 20  # So many on either side of a change, not one by chance.
SO_RCVBUFFORCE = 33  # Which Python does not name.


class Stream:
    INTERVAL_S = 0.005

    def __init__(self, sender, receiver, port, version=4):
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        self.pairs = []
        for number in (port, WITNESS_PORT):
            receiving, sending = receiver.socket(family, socket.SOCK_DGRAM), sender.socket(family, socket.SOCK_DGRAM)
            receiving.bind(("", number))
            # The test's thread may stand still, and what comes meanwhile must not be lost.
            receiving.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
            receiving.setblocking(False)
            sending.connect((receiver.address(version), number))
            self.pairs.append((sending, receiving))
        self.sent = []  # When each was sent, by the wall clock.
        self.arrived = {}  # When the datagram came, by its number.
        self.seen = {}  # When its witness came.
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._send, self._receive)]

    def _send(self):
        while not self.stop.is_set():
            number = struct.pack("!I", len(self.sent))
            self.sent.append(time.time())
            for sending, _ in self.pairs:
                with contextlib.suppress(OSError):  # An ICMP error for an earlier one.
                    sending.send(number)
            time.sleep(self.INTERVAL_S)

    def _receive(self):
        (_, datagrams), (_, witnesses) = self.pairs
        while not self.stop.is_set():
            select.select([datagrams, witnesses], [], [], 0.05)
            come = list(self._take(witnesses))  # These first: what went before them is there then.
            self.arrived.update(self._take(datagrams))
            self.seen.update(come)

    @staticmethod
    def _take(receiving):
        with contextlib.suppress(BlockingIOError):
            while True:
                yield struct.unpack("!I", receiving.recv(100))[0], time.time()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(5)
        for one in (one for pair in self.pairs for one in pair):
            one.close()

    def switched(self, begin, end=FOREVER):
        """(How many passed, how many were refused) of those that the switch has seen within that time for sure."""
        passed = refused = 0
        for number, moment in list(self.seen.items()):
            if self.sent[number] >= begin and self.arrived.get(number, moment) <= end:
                passed += number in self.arrived
                refused += number not in self.arrived
        return passed, refused

    def flows(self):
        """True if what is sent now passes."""
        number = len(self.sent)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: any(one >= number for one in list(self.seen)), 10, "a witness", interval=0.005)
        return any(one >= number for one in list(self.arrived))

    def fates(self):
        """Of those that the switch has seen for sure: the numbers of those that passed, and of those that were refused."""
        seen = sorted(list(self.seen))
        return [number for number in seen if number in self.arrived], [number for number in seen if number not in self.arrived]

    def begins_at(self, moment):
        """Fails unless the policy allowed it from then on, and not before.  Returns how late that was, in seconds."""
        wait_for(lambda: self.switched(moment)[0] >= CERTAIN, max(0, moment - time.time()) + 20, "datagrams that pass")
        passed, refused = self.fates()
        assert self.switched(0, moment - 0.05)[0] == 0, "none passed before"
        assert not refused or refused[-1] < passed[0], "none was refused after the first that passed"
        return max(0, self.sent[refused[-1]] - moment) if refused else 0

    def ends_at(self, moment):
        """Fails unless the policy, which allows it now, did so up to then and no longer.  Returns how late that was."""
        assert self.flows(), "it is allowed now"
        wait_for(lambda: self.switched(moment)[1] >= CERTAIN, max(0, moment - time.time()) + 20, "datagrams that are refused")
        passed, refused = self.fates()
        refused = [number for number in refused if number > passed[0]]
        assert not [number for number in refused if self.seen[number] < moment - 0.05], "all passed until then"
        assert passed[-1] < refused[0], "none passed after the first that was refused"
        return max(0, self.sent[passed[-1]] - moment)


def sleep_until(moment):
    """By the wall clock."""
    time.sleep(max(0, moment - time.time()))
