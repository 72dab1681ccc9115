# SPDX-License-Identifier: Apache-2.0
"""Guests of cordon-vmm and the switch outlive each other: whoever goes comes back to the other as it was.

    g1 .1     g2 .2     web .9 (a namespace)
      |         |          |
    --+---------+----------+--  network lan, VLAN 10; one zone
"""

import pytest

from cordon import wait_for
from vmm import plug

pytestmark = pytest.mark.kvm

POLICY = """\
zones:
  all: {match: "zone=all"}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


class Site:
    pass


@pytest.fixture
def site(switch):
    one = Site()
    one.switch = switch
    switch.add_network()
    switch.policy(POLICY)
    one.web = switch.host("web", 9, zone="all")
    one.g1 = plug(switch, "g1", 1, zone="all")
    return one


def talks(site, guest=None, seconds=30):
    guest = guest or site.g1
    for version in (4, 6):
        wait_for(lambda v=version: site.web.ping(guest.address(v), wait=0.5) == 1, seconds, f"a ping of {guest.name}")


def connected(vmm):
    return vmm.ask("status")["nets"][0]["connected"]


def test_switch_that_is_killed_comes_back_to_its_guests(site):
    talks(site)
    for _ in range(3):
        site.switch.kill()
        wait_for(lambda: not connected(site.g1), 20, "the loss of the switch")
        assert site.g1.command("say alone") == "alone"
        site.switch.up()
        talks(site)
    assert connected(site.g1)
    assert site.g1.ping(site.web.ipv4, 3) == 3


def test_switch_that_stops_in_order_comes_back_too(site):
    talks(site)
    site.switch.down()
    site.switch.up()
    talks(site)


def test_switch_that_comes_late_finds_the_guest_waiting(switch):
    site = Site()
    site.switch = switch
    switch.add_network()
    switch.policy(POLICY)
    site.web = switch.host("web", 9, zone="all")
    switch.kill()
    early = plug(switch, "early", 5, zone="all", start=False, port_options={"no_wait": True})
    early.start()
    assert not connected(early)
    assert early.ping(site.web.ipv4) == 0
    switch.up()
    talks(site, early)


def test_guest_that_crashes_comes_back_to_its_port(site):
    talks(site)
    for _ in range(3):
        site.g1.kill()
        assert site.web.ping(site.g1.ipv4, wait=0.2) == 0
        site.g1.start()
        talks(site)


def test_paused_guest_answers_when_it_is_resumed(site):
    talks(site)
    assert site.g1.ask("pause")["ok"]
    assert site.web.ping(site.g1.ipv4, 2, wait=0.3) == 0
    assert site.g1.ask("resume")["ok"]
    talks(site)


def test_masked_interrupt_is_pending_and_not_lost(site, version):
    """The guest sleeps until its vNIC interrupts it: what comes while the vector is masked waits for its unmasking."""
    talks(site)
    assert site.g1.command("mask") == "masked"
    site.g1.wait_asleep()
    assert site.web.ping(site.g1.address(version), 2, wait=0.3) == 0
    # The switch has given it both, and its VMM has seen that by the time that it answers the second question.
    site.switch.wait_quiet()
    for _ in range(2):
        assert site.g1.ask("status")["ok"]
    answer = site.g1.command("unmask")
    assert answer.startswith("unmasked: pending 1 interrupts "), answer
    assert int(answer.rsplit(maxsplit=1)[1]) >= 1
    talks(site)


def test_sleeping_guest_is_woken_by_each_packet(site):
    """And costs no processor between them."""
    talks(site)
    before = site.g1.stats()["interrupts"]
    for _ in range(20):
        site.g1.wait_asleep()
        assert site.web.ping(site.g1.ipv4) == 1
    assert site.g1.stats()["interrupts"] >= before + 20


def test_driver_that_starts_its_device_again_goes_on(site):
    talks(site)
    for _ in range(5):
        assert site.g1.command("again") == "reset and ready"
        talks(site)


@pytest.mark.parametrize("pairs", [2, 4])
def test_several_pairs_of_queues(site, pairs):
    many = plug(site.switch, "many", 20 + pairs, zone="all", net_options=f",queues={pairs}", words=f"queues={pairs}",
                port_options={"queues": pairs})
    assert f" pairs {pairs} " in many.text()
    assert many.ask("status")["nets"][0]["queues"] == pairs
    talks(site, many)
    assert many.ping(site.web.ipv4, 5) == 5
    flooded = many.command(f"flood {site.web.ipv4} 2000 64")
    assert flooded.startswith("flood: sent 2"), flooded
    talks(site, many)


def test_device_without_interrupts_is_polled(site):
    poller = plug(site.switch, "poller", 30, zone="all", words="interrupts=0")
    talks(site, poller)
    assert poller.stats()["interrupts"] == 0
    poller.close()


@pytest.mark.parametrize("size", [64, 1024])
def test_rings_of_other_sizes(site, size):
    guest = plug(site.switch, "sized", 31, zone="all", net_options=f",queue-size={size}", words="queue=1024")
    assert f" queue {size}\n" in guest.text()
    talks(site, guest)
    assert site.web.ping(guest.ipv4, 100) == 100


def test_guests_flood_each_other(site):
    """In windows that fit the rings nothing is lost; as fast as it goes, everybody is still there afterwards."""
    g2 = plug(site.switch, "g2", 2, zone="all")
    talks(site, g2)
    answer = site.g1.command(f"flood {g2.ipv4} 100000 64 64", 300)
    assert answer.startswith("flood: sent 100000 in "), answer
    # A window that a busy machine did not let anybody answer in time is given up, and may be one too many then; so may
    # be the last two, for whose answers nothing waits.
    windows_lost = int(answer.split()[-2])
    least = 100000 - (64 * (windows_lost + 2) if windows_lost else 0)
    wait_for(lambda: g2.stats()["discarded"] >= least, 20, f"what was sent (at least {least}): {answer}")
    arrived = g2.stats()["discarded"]
    assert arrived <= 100000, answer
    answer = site.g1.command(f"flood {g2.ipv4} 200000 64", 300)
    assert answer.startswith("flood: sent 200"), answer
    wait_for(lambda: g2.stats()["discarded"] > arrived, 20, f"some of what was sent: {answer}")
    talks(site)
    talks(site, g2)


def test_guest_of_two_cards_is_two_ends(site):
    """Each card is a port of its own, with its own addresses."""
    path = site.g1.path("second")
    two = plug(site.switch, "two", 40, zone="all", start=False, words="ip1=10.0.0.41 six1=fd00::29",
               options=["--no-rng"], port_options={"no_wait": True})
    two.options += ["--net", f"socket={path},mac=02:00:00:00:00:29"]
    site.switch.add_port("second", type="vhost", socket=path, role="vnic", network="lan", mac="02:00:00:00:00:29",
                         address="10.0.0.41,fd00::29", tag="zone=all", no_wait=True)
    two.start()
    for name in ("two", "second"):
        site.switch.wait_port(name)
    for address in ("10.0.0.40", "10.0.0.41", "fd00::28", "fd00::29"):
        wait_for(lambda a=address: site.web.ping(a, wait=0.5) == 1, 30, f"a ping of {address}")
    assert [net["name"] for net in two.ask("status")["nets"]] == ["net0", "net1"]
