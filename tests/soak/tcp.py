# SPDX-License-Identifier: Apache-2.0
"""Two hosts with IP stacks of their own, which open TCP connections all the while."""

import contextlib
import threading
import time

from host import TcpServer

PORT = 80
PAUSE_SECONDS = 0.1


class Tcp:
    """One thread opens a connection, sends what says whose it is, reads it back, closes, and begins anew."""

    def __init__(self, switch):
        self.client = switch.host("h0", 200, "lan10", zone="tcp")
        self.server = switch.host("h1", 201, "lan10", zone="tcp")
        self.opened = []  # (when, IP version, source port) of each connection that was answered.
        self.exchanged = self.failed = self.mixed_up = 0
        self.going = threading.Event()
        self.end = threading.Event()
        self.resting = threading.Event()
        self.listener = TcpServer(self.server, PORT)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.listener.__enter__()
        self.thread.start()

    def close(self):
        self.end.set()
        self.going.set()
        if self.thread.is_alive():
            self.thread.join(20)
            self.listener.__exit__()

    def rest(self):
        """Returns when no connection is being opened or used."""
        self.going.clear()
        self.resting.wait(20)

    def go(self):
        self.resting.clear()
        self.going.set()

    def _run(self):
        number = 0
        while not self.end.is_set():
            if not self.going.is_set():
                self.resting.set()
                self.going.wait()
                continue
            number += 1
            self._exchange(number, 4 if number % 2 else 6)
            time.sleep(PAUSE_SECONDS)

    def _exchange(self, number, version):
        text = f"connection {number} from h0 to h1 by IPv{version}. ".encode() * (1 + number % 50)
        try:
            connection = self.client.connect(self.server.address(version), PORT, seconds=3)
        except OSError:
            self.failed += 1
            return
        with contextlib.closing(connection):
            self.opened.append((time.monotonic(), version, connection.getsockname()[1]))
            try:
                connection.sendall(text)
                received = b""
                while len(received) < len(text) and (part := connection.recv(65536)):
                    received += part
            except OSError:
                self.failed += 1
                return
        if received == text:
            self.exchanged += 1
        elif not text.startswith(received):
            self.mixed_up += 1
        else:
            self.failed += 1
