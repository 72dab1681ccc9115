# SPDX-License-Identifier: Apache-2.0
"""A guest is inside its zone before its first packet.

     m0..m2, one vNIC each              cordon-switchd, VLAN 10           peer (zone secret), a raw socket
     zone open: may talk to secret  --- m0.0 ... m2.0 -------- peer ----  sees each frame that reaches it
     zone shut: may not

Guests send from their first moment on (`shout`, tests/guest/), to a port whose number says in which zone they are: what
arrives at 40000 and above was let through by zone `open`, and nothing may ever arrive at 20000 and above.  Tags, command
line and start are changed in one transaction, which is how a controller would do it, and leaves least time.
"""

import os
import signal
import threading
import time

import pytest

from cordon import BUILD, Switch, holds_for, wait_for
from database import transact

GUEST = os.path.join(BUILD, "tests", "guest", "guest.elf")
OPEN_PORT, SHUT_PORT = 40000, 20000
FRAMES = 300

POLICY = """
tiers: [application]
zones: {open: {match: "zone=open"}, shut: {match: "zone=shut"}, secret: {match: "zone=secret"}, other: {match: "zone=other"}}
policies:
  - id: gate
    tier: application
    rules:
      - {id: open-talks, from: open, to: secret, action: allow, log: all}
      - {id: shut-does-not, from: shut, to: secret, action: deny, log: all}
baseline: {between_zones: deny, within_zone: deny, log: denied}
"""


def missing():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm cannot be used here"
    return None if os.path.exists(GUEST) else f"{GUEST} is missing; `make` builds it for the tests"


pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


class Gate:
    def __init__(self, name):
        self.switch = Switch(name)
        try:
            self.switch.up()
            self.switch.on_close(lambda: self.switch.try_cordon("down", "--guests-only", "--timeout", "20"))
            self.switch.add_network()
            self.switch.policy(POLICY)
            self.peer = self.switch.host("peer", 200, zone="secret")
            self.switch.wait_port("peer")
            self.peer.packets.drain()
        except BaseException:
            self.switch.close()
            raise
        self.seen = {}

    def create(self, name, number):
        self.switch.cordon("vm", "create", name, "--kernel", GUEST, "--memory", "64M", "--nic",
                           f"network=lan,mac=52:54:00:00:00:{number:02x},address=10.0.0.{number},tag=zone=shut")
        wait_for(lambda: self.row(name)["state"] == "stopped", what=f"VM {name} in the hands of cordon-hostd")

    def row(self, name):
        found, = transact(self.switch, {"op": "select", "table": "VM", "where": [["name", "==", name]]})[0]["rows"]
        return found

    def start(self, name, zone, number):
        """Its tags, what it sends, and its start, all at once."""
        row = self.row(name)
        port = {"open": OPEN_PORT, "shut": SHUT_PORT}[zone] + number
        command = f"ip=10.0.0.{self.number(name)} -- shout {self.peer.ipv4} {self.peer.mac} {port} {FRAMES}"
        transact(self.switch,
                 {"op": "update", "table": "VM_Vnic", "where": [["_uuid", "==", row["vnics"]]], "row": {"tags": f"zone={zone}"}},
                 {"op": "update", "table": "VM", "where": [["name", "==", name]],
                  "row": {"command_line": command, "wanted": "running", "start_request": row["start_request"] + 1}})

    @staticmethod
    def number(name):
        return int(name.removeprefix("m")) + 1

    def stop(self, name):
        self.switch.cordon("vm", "stop", name, "--force")

    def look(self):
        """Counts what has reached the peer, by port; fails on what must not."""
        for frame in self.peer.packets.pending():
            if frame[12:14] == b"\x08\x00" and frame[23] == 17:
                port = int.from_bytes(frame[36:38], "big")
                self.seen[port] = self.seen.get(port, 0) + 1
        leaked = {port: count for port, count in self.seen.items() if SHUT_PORT <= port < OPEN_PORT}
        assert not leaked, f"frames of zone shut have reached the peer: {leaked}"

    def wait_seen(self, port, seconds=20):
        wait_for(lambda: self.look() or self.seen.get(port, 0) > 0, seconds, f"frames at port {port}")

    def wait_denied(self, name, port, seconds=20):
        record = self.switch.wait_log(kind="denied", source_vm_name=name, destination_transport_port=port, seconds=seconds)[0]
        assert (record["source_zone"], record["destination_zone"], record["rule"]) == ("shut", "secret", "shut-does-not")
        self.look()


@pytest.fixture
def gate(request):
    one = Gate(request.node.name.removeprefix("test_")[:10])
    yield one
    one.switch.close()


class Load:
    """Keeps the switch's main thread and the database busy: ports that come, change and go."""

    def __init__(self, switch):
        self.switch, self.stop = switch, threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def _run(self):
        number = 0
        while not self.stop.is_set():
            number += 1
            name = f"load{number % 4}"
            self.switch.try_cordon("port", "add", name, "--type", "vhost", "--network", "lan", "--tag", "zone=other", "--no-wait")
            self.switch.try_cordon("port", "set", name, "--tag", f"zone=other,n={number}")
            self.switch.try_cordon("port", "del", name)


def test_restarts_under_load(gate):
    """Guests that change their zone from one start to the next, while much else changes."""
    names = ["m0", "m1", "m2"]
    for name in names:
        gate.create(name, gate.number(name))
    with Load(gate.switch):
        for turn in range(4):
            for zone, base in (("open", OPEN_PORT), ("shut", SHUT_PORT)):
                for name in names:
                    gate.start(name, zone, 10 * turn + gate.number(name))
                for name in names:
                    port = base + 10 * turn + gate.number(name)
                    if zone == "open":
                        gate.wait_seen(port)
                    else:
                        gate.wait_denied(name, port)
                for name in names:
                    gate.stop(name)
    gate.look()
    assert len(gate.seen) == 4 * len(names)


def start_behind_the_database(gate, sig):
    """cordon-hostd learns that m0 is to be in zone shut, and to start, and from then on the database does nothing: the
    switch still has the port in zone open."""
    gate.create("m0", 1)
    gate.start("m0", "open", 1)
    gate.wait_seen(OPEN_PORT + 1)
    gate.stop("m0")
    hostd, database = gate.switch.pid("cordon-hostd"), gate.switch.pid("ovsdb-server")
    os.kill(hostd, signal.SIGSTOP)
    try:
        gate.start("m0", "shut", 2)
        time.sleep(0.5)  # The news are in cordon-hostd's socket.
        os.kill(database, sig)
        time.sleep(0.2)
    finally:
        os.kill(hostd, signal.SIGCONT)
    return database


def test_database_that_is_slow(gate):
    """Whoever starts waits until the switch has said that the port is in its new zone."""
    database = start_behind_the_database(gate, signal.SIGSTOP)
    try:
        holds_for(lambda: gate.look() is None, 3, "silence")
    finally:
        os.kill(database, signal.SIGCONT)
    gate.wait_denied("m0", SHUT_PORT + 2)


def test_database_that_goes_away(gate):
    """Without a database what was said last holds: but not for a port that is to be another one by now."""
    start_behind_the_database(gate, signal.SIGKILL)
    holds_for(lambda: gate.look() is None, 4, "silence")
    gate.switch.up()
    gate.wait_denied("m0", SHUT_PORT + 2)


def test_switch_that_comes_late(gate):
    """A switch that starts when the guest has long been wanted knows its zone before it connects to it."""
    gate.create("m0", 1)
    gate.start("m0", "open", 1)
    gate.wait_seen(OPEN_PORT + 1)
    gate.stop("m0")
    gate.switch.kill("cordon-switchd")
    gate.start("m0", "shut", 2)
    wait_for(lambda: gate.row("m0")["state"] == "starting", what="the start")
    holds_for(lambda: gate.row("m0")["state"] == "starting", 1, "waiting for the switch")
    gate.switch.up()
    gate.wait_denied("m0", SHUT_PORT + 2)
    # Nor is anything let through that a guest has in its ring when the switch comes back to it.
    gate.switch.kill("cordon-switchd")
    gate.switch.up()
    holds_for(lambda: gate.look() is None, 1, "silence")
