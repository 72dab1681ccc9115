#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What Cordon costs when it does nothing, and when it is killed.

    tests/bench/figures.py [--rounds 5] [--huge]

    sender .1      receiver .2          namespaces on kernel ports, or guests on vhost-user sockets
      |               |
    --+---------------+--  cordon-switchd, one worker

- idle CPU: the share of one CPU that a switch with ports, but without traffic, uses
- restart gap: a datagram every half millisecond while the switch is killed (-9) and started again at once; the longest
  time in which none arrived, and how many were lost
- bytes of memory per connection, everything counted

Needs root.  Prints a table, and writes build/bench/figures.json.
"""

import argparse
import json
import os
import socket
import statistics
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PORT = 9000
IDLE_SECONDS = 10
INTERVAL_S = 0.0005

POLICY = """\
zones:
  all: {match: "zone=all"}
policies:
  - id: bench
    mode: enforce
    rules:
      - {id: all, from: all, to: all, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


class Stream:
    """Datagrams from one host to another, and when they arrived."""

    def __init__(self, sender, receiver):
        self.receiving = receiver.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiving.bind(("", PORT))
        self.receiving.settimeout(0.2)
        self.sending = sender.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sending.connect((receiver.ipv4, PORT))
        self.arrivals = []
        self.sent = 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self._send, self._receive)]

    def _send(self):
        following = time.monotonic()
        while not self.stop.is_set():
            try:
                self.sending.send(b"x" * 32)
                self.sent += 1
            except OSError:
                pass  # The device may be away for a moment.
            following += INTERVAL_S
            time.sleep(max(0, following - time.monotonic()))

    def _receive(self):
        while not self.stop.is_set():
            try:
                self.receiving.recv(100)
                self.arrivals.append(time.monotonic())
            except TimeoutError:
                pass

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

    def longest_gap_ms(self):
        return max(b - a for a, b in zip(self.arrivals, self.arrivals[1:])) * 1000


def restart_gap(switch, sender, receiver):
    from cordon import wait_for

    with Stream(sender, receiver) as stream:
        wait_for(lambda: len(stream.arrivals) > 200, 10, "the stream")
        switch.kill("cordon-switchd")
        switch.up()
        arrived = len(stream.arrivals)
        wait_for(lambda: len(stream.arrivals) > arrived + 200, 30, "the stream after the restart")
        time.sleep(0.3)
    return {"gap_ms": stream.longest_gap_ms(), "lost": stream.sent - len(stream.arrivals)}


def idle_share(switch):
    from cordon import cpu_seconds

    time.sleep(2)
    pid = switch.pid()
    before, start = cpu_seconds(pid), time.monotonic()
    time.sleep(IDLE_SECONDS)
    return (cpu_seconds(pid) - before) / (time.monotonic() - start)


def plug(switch, kind):
    from guest import VhostGuest

    if kind == "kernel":
        return switch.host("sender", 1, zone="all"), switch.host("receiver", 2, zone="all")
    guests = []
    for number, name in enumerate(("sender", "receiver"), 1):
        guest = VhostGuest(switch, name, number)
        switch.hosts.append(guest)
        guest.start()
        switch.add_port(name, type="vhost", socket=guest.socket_path, role="vnic", network="lan", mac=guest.mac,
                        address=guest.ipv4, tag="zone=all")
        switch.wait_port(name)
        guests.append(guest)
    return guests


def measure(kind, arguments):
    from cordon import Switch

    switch = Switch("figures", ["--workers", "1"] + ([] if arguments.huge else ["--no-huge"]))
    try:
        switch.up()
        switch.add_network()
        switch.policy(POLICY)
        sender, receiver = plug(switch, kind)
        sender.knows(receiver)
        figures = {"ports": kind, "idle_cpu": idle_share(switch), "huge_pages": switch.status()["huge_pages"],
                   "bytes_per_connection": switch.status()["connections"]["bytes_each"]}
        rounds = [restart_gap(switch, sender, receiver) for _ in range(arguments.rounds)]
        return dict(figures, rounds=rounds, gap_ms=statistics.median(one["gap_ms"] for one in rounds),
                    lost=statistics.median(one["lost"] for one in rounds))
    except BaseException:
        print(switch.report(), file=sys.stderr)
        raise
    finally:
        switch.close()


def main():
    parser = argparse.ArgumentParser(description="Idle CPU, restart gap, memory of a connection.")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="where the programs are")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--huge", action="store_true", help="with hugepages")
    arguments = parser.parse_args()
    os.environ["CORDON_BUILD"] = build = os.path.abspath(arguments.build)
    sys.path.insert(0, os.path.join(ROOT, "tests", "system"))
    results = [measure(kind, arguments) for kind in ("kernel", "vhost")]
    print(f"{'ports':<8}{'idle CPU':>10}{'restart gap':>14}{'lost of 2000/s':>16}{'bytes/connection':>18}")
    for row in results:
        print(f"{row['ports']:<8}{row['idle_cpu']:>10.1%}{row['gap_ms']:>11.0f} ms{row['lost']:>16.0f}"
              f"{row['bytes_per_connection']:>18.0f}")
    os.makedirs(os.path.join(build, "bench"), exist_ok=True)
    with open(os.path.join(build, "bench", "figures.json"), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
