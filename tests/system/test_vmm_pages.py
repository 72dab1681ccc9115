# SPDX-License-Identifier: Apache-2.0
"""A guest's memory on huge pages: the switch works in it as in any other, and where there are too few, a sentence says so."""

import pytest

from cordon import wait_for
from vmm import Vmm, mapped_kib, plug

pytestmark = pytest.mark.kvm

HUGE_PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB"
MEMORY_MIB = 64

POLICY = """\
zones:
  app: {match: "zone=app"}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""


def huge_pages(which):
    """How many there are ("nr"), and how many of them nobody has ("free")."""
    with open(f"{HUGE_PAGES}/{which}_hugepages", encoding="ascii") as file:
        return int(file.read())


def page_kib_of_guest_memory(pid):
    """The page sizes by which this process has the guest's memory."""
    return set(mapped_kib(pid, True, "KernelPageSize:"))


@pytest.fixture
def vmm(tmp_path):
    one = Vmm(tmp_path, "g1")
    yield one
    one.close()


def test_frames_pass_both_ways_through_memory_on_huge_pages(switch):
    if huge_pages("free") < MEMORY_MIB // 2:
        pytest.skip(f"fewer than {MEMORY_MIB // 2} huge pages of 2 MiB are free")
    switch.add_network()
    switch.policy(POLICY)
    web = switch.host("web", 9, zone="app")
    g1 = plug(switch, "g1", 1, zone="app", memory=MEMORY_MIB, options=["--pages", "huge"])
    g2 = plug(switch, "g2", 2, zone="app")
    assert g1.ask("status")["huge_pages"] and not g2.ask("status")["huge_pages"]
    wait_for(lambda: web.ping(g1.ipv4) == 1, 10, "the first ping")
    for version in (4, 6):
        assert web.ping(g1.address(version), 3) == 3
        assert g1.ping(web.address(version), 3) == 3
        assert g1.ping(g2.address(version), 3) == 3
        assert g2.ping(g1.address(version), 3) == 3
    assert page_kib_of_guest_memory(g1.process.pid) == {2048}
    assert page_kib_of_guest_memory(switch.pid()) == {4, 2048}
    # A switch that comes again maps it again.
    switch.kill()
    switch.up_again()
    wait_for(lambda: web.ping(g1.ipv4) == 1, 15, "a ping again")
    assert g1.ping(g2.ipv4, 3) == 3


def test_too_few_huge_pages_are_refused(vmm):
    vmm.memory = 2 * (huge_pages("nr") + 8)
    vmm.options = ["--pages", "huge"]
    vmm.start(ready=False)
    status, outcome = vmm.ended()
    assert status == 1
    assert f"{vmm.memory} MiB of guest memory on huge pages cannot be had: Cannot allocate memory" in outcome["reason"]
    assert "/proc/sys/vm/nr_hugepages" in outcome["reason"]


def test_too_few_huge_pages_are_told_of_and_done_without(vmm):
    vmm.memory = 2 * (huge_pages("nr") + 8)
    vmm.options = ["--pages", "auto"]
    vmm.start()
    assert not vmm.ask("status")["huge_pages"]
    assert f"the guest's memory is on small pages: fewer than {vmm.memory // 2} huge pages" in vmm.report()
