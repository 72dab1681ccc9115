# SPDX-License-Identifier: Apache-2.0
"""A guest that breaks virtio's rules on purpose, through a whole VMM: it may lose its own traffic, and nobody else may.

    bad .1     good .2     web .9 (a namespace)
      |          |           |
    --+----------+-----------+--  network lan, VLAN 10; one zone
"""

import threading

import pytest

from cordon import wait_for
from vmm import plug

pytestmark = pytest.mark.kvm

POLICY = """\
zones:
  all: {match: "zone=all"}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

# What the switch counts of each: frames that it could not take, or nothing, where the ring itself is wrong.
KINDS = {"index": None, "head": None, "loop": "guest-descriptor", "next": "guest-descriptor",
         "length": "guest-descriptor", "zero": "guest-descriptor", "address": "guest-descriptor",
         "direction": "guest-descriptor", "twice": "spoofed-mac", "table-loop": "guest-descriptor",
         "table-odd": "guest-descriptor", "table-table": "guest-descriptor", "table-huge": "guest-descriptor",
         "table-changes": "spoofed-mac", "noise": "guest-descriptor"}


class Site:
    pass


@pytest.fixture(scope="module")
def site(shared):
    one = Site()
    one.switch = shared
    shared.add_network()
    shared.policy(POLICY)
    one.web = shared.host("web", 9, zone="all")
    one.bad = plug(shared, "bad", 1, zone="all")
    one.good = plug(shared, "good", 2, zone="all")
    one.pid = shared.pid()
    wait_for(lambda: one.web.ping(one.bad.ipv4) == 1, 10, "the first ping")
    return one


class Neighbours:
    """Pings between the others while the bad one is at work: all must be answered."""

    def __init__(self, site):
        self.site, self.lost, self.done = site, 0, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.done.is_set():
            self.lost += 5 - self.site.web.ping(self.site.good.ipv4, 5)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join(60)


def check(site):
    """Everybody is there, nobody was replaced, and the bad one works again."""
    assert site.switch.pid() == site.pid, "it is the same switch"
    assert site.bad.ask("status")["state"] == "running"
    assert site.good.ask("status")["state"] == "running"
    for version in (4, 6):
        assert site.web.ping(site.good.address(version)) == 1
        wait_for(lambda v=version: site.web.ping(site.bad.address(v), wait=0.5) == 1, 30, "a ping of the bad guest")


@pytest.mark.parametrize("kind", KINDS)
def test_ring_that_breaks_a_rule(site, kind):
    before = site.switch.drops()
    with Neighbours(site) as neighbours:
        for _ in range(3):
            answer = site.bad.command(f"misbehave net {kind}", 40)
            assert answer.startswith("misbehaved: 1 kinds"), answer
    assert neighbours.lost == 0
    counted = KINDS[kind]
    if counted:
        wait_for(lambda: site.switch.drops()[counted] > before[counted], 20, f"drops as {counted}")
    check(site)


def test_all_rules_again_and_again(site):
    with Neighbours(site) as neighbours:
        for _ in range(10):
            site.bad.command("misbehave net all", 60)
    assert neighbours.lost == 0
    check(site)


def test_resets_in_mid_traffic(site):
    with Neighbours(site) as neighbours:
        assert site.bad.command("misbehave net reset 50", 60) == "misbehaved: 50 resets"
    assert neighbours.lost == 0
    check(site)


def test_anything_is_written_to_registers(site):
    with Neighbours(site) as neighbours:
        for _ in range(3):
            assert site.bad.command("misbehave net registers 3000", 60) == "misbehaved: 3000 registers"
    assert neighbours.lost == 0
    check(site)


def test_flood_leaves_the_others_their_share(site):
    """The bad one sends as much as its ring takes, to somebody who is not there to stop it."""
    site.bad.send(f"flood {site.web.ipv4} 0 64")
    try:
        assert site.web.ping(site.good.ipv4, 20) >= 18
    finally:
        site.bad.send("stop")
    assert site.bad.reply(20).startswith("flood: sent ")
    check(site)
