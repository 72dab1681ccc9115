# SPDX-License-Identifier: Apache-2.0
"""Datagrams from one host to another all the time, and when by the wall clock each arrived: tells to the moment when a
policy began or ceased to allow them.

    with Stream(web, app, 8000) as stream:
        ...
    stream.arrived_after(moment)
"""

import contextlib
import socket
import threading
import time


class Stream:
    INTERVAL_S = 0.005

    def __init__(self, sender, receiver, port, version=4):
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        self.receiving = receiver.socket(family, socket.SOCK_DGRAM)
        self.receiving.bind(("", port))
        self.receiving.settimeout(0.05)
        self.sending = sender.socket(family, socket.SOCK_DGRAM)
        self.sending.connect((receiver.address(version), port))
        self.arrivals = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._send, self._receive)]

    def _send(self):
        while not self.stop.is_set():
            with contextlib.suppress(OSError):  # An ICMP error for an earlier one.
                self.sending.send(b"x" * 32)
            time.sleep(self.INTERVAL_S)

    def _receive(self):
        while not self.stop.is_set():
            with contextlib.suppress(TimeoutError):
                self.receiving.recv(100)
                self.arrivals.append(time.time())

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(5)
        self.sending.close()
        self.receiving.close()

    def first(self):
        return self.arrivals[0]

    def last(self):
        return self.arrivals[-1]

    def between(self, begin, end):
        """How many arrived in that time."""
        return sum(begin <= moment < end for moment in self.arrivals)

    def flows(self):
        """True if one arrived just now."""
        return bool(self.arrivals) and time.time() - self.arrivals[-1] < 0.2

    def longest_gap(self, begin, end):
        """Seconds without an arrival, at most, within that time."""
        inside = [begin, *(moment for moment in list(self.arrivals) if begin < moment < end), end]
        return max(b - a for a, b in zip(inside, inside[1:]))


def sleep_until(moment):
    """By the wall clock."""
    time.sleep(max(0, moment - time.time()))
