# SPDX-License-Identifier: Apache-2.0
"""A Linux with several processors, and with memory on both sides of PCI's hole, under cordon-vmm.

    one .1     two .2     guest .5 (cordon-vmm: two processors, two pairs of rings, 4 GiB)
      |          |          |
    --+----------+----------+--  lan, VLAN 10

The switch has two workers.  Each of the hosts is polled by another one, and a worker gives its frames to the guest by
a ring of its own, which interrupts a processor of its own.

Emulated, 4 GiB are a million pages to be told of, one by one: most of the time here.  And a processor that has less of
the host's than its ticks take never comes to anything else: no more than two for the longer stories.
"""

import os
import re

import pytest

from cordon import Switch, wait_for
from kernel_guest import IN_INIT, KernelGuest, answers, wait_answer

N = 2
BROUGHT_UP = "smp: Brought up 1 node"
POLICY = """\
zones:
  hosts: {match: "zone=hosts"}
  guests: {match: "zone=guests"}
policies:
  - id: guests
    mode: enforce
    rules:
      - {id: ping, from: hosts, to: guests, service: [icmp, icmpv6], action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""
LOW_MEMORY = "BIOS-e820: [mem 0x0000000000100000-0x00000000bfffffff] usable"

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/kvm"), reason="there is no /dev/kvm here")


class Site:
    """The switch, the hosts, and the guest after its boot."""

    def __init__(self, switch, guest, hosts):
        self.switch, self.guest, self.hosts = switch, guest, hosts

    def pollers(self):
        """{(port, queue): its worker}"""
        return {(queue["port"], queue["queue"]): worker["worker"] for worker in self.switch.json("worker", "list")
                for queue in worker["queues"]}

    def packets(self):
        """{worker: how many it has received}"""
        return {worker["worker"]: worker["packets"] for worker in self.switch.json("worker", "list")}


def boot(switch, kernel, initrd):
    """The guest, in its zone before its first instruction that sends."""
    guest = KernelGuest(switch, "guest", 5, os.path.join(kernel, "vmlinux"), initrd, vcpus=N, memory_mib=4096)
    switch.on_close(guest.close)
    guest.start()
    switch.add_port("guest", type="vhost", socket=guest.socket_path, queues=N, role="vnic", network="lan",
                    mac=guest.mac, address=guest.ipv4, tag="zone=guests", vm_name="guest", vm_id="id-guest")
    return guest


@pytest.fixture(scope="module")
def site(small_kernel, spinning_init, measured):
    switch = Switch("processors", up_options=("--no-huge", "--workers", str(N)))
    try:
        switch.up()
        switch.add_network()
        switch.policy(POLICY)
        hosts = [switch.host(name, number, zone="hosts", port_options={"queues": 1})
                 for number, name in enumerate(("one", "two"), 1)]
        guest = boot(switch, small_kernel, spinning_init)
        guest.wait_console(IN_INIT)
        measured(f"small kernel, {N} processors and 4 GiB under cordon-vmm: /init {guest.seconds_to[IN_INIT]:.1f} s "
                 "after the start")
        yield Site(switch, guest, hosts)
    finally:
        switch.close()


def check_processors(said, n):
    """As the MADT says how many there are, and CPUID that they are the cores of one socket."""
    for text in (f"smpboot: Allowing {n} CPUs, 0 hotplug CPUs", f"{BROUGHT_UP}, {n} CPUs",
                 "smpboot: Max logical packages: 1", f"smpboot: Total of {n} processors activated"):
        assert text in said, said
    booting = said.partition(IN_INIT)[0]
    for text in ("Kernel panic", "BUG:", "Call Trace", "WARNING:", "[Firmware"):
        assert text not in booting, said


def check_memory(said, mib):
    """E820 has both parts of it, and the kernel made pages of all but the hole below 1 MiB."""
    end = (4 << 30) + ((mib - 3072) << 20)
    assert LOW_MEMORY in said, said
    assert f"BIOS-e820: [mem 0x0000000100000000-{end - 1:#018x}] usable" in said, said
    found = re.search(r"Memory: \d+K/(\d+)K available", said)
    assert found and (mib << 10) - 1024 < int(found[1]) <= mib << 10, said


def test_all_processors_are_started(site):
    check_processors(site.guest.console(), N)
    used = [processor["cpu_ns"] for processor in site.guest.command("metrics")["vcpus"]]
    assert len(used) == N and all(used), used


def test_memory_below_and_above_the_hole(site):
    check_memory(site.guest.console(), 4096)


def test_every_processor_has_a_pair_of_rings(site):
    wait_for(lambda: f"{N} queues" in site.switch.port("guest")["status"], 10, f"{N} queues")
    card = site.guest.command("status")["nets"][0]
    assert (card["queues"], card["queues_used"]) == (N, N), card


@pytest.mark.parametrize("i", range(N))
def test_frames_of_each_worker_are_another_processors(site, i):
    """What a processor is interrupted for, it answers by its own ring, which another worker polls."""
    host, pollers = site.hosts[i], site.pollers()
    wait_answer(host, site.guest.ipv4)
    ring = pollers[(host.name, 0)]
    before = site.packets()
    assert answers(host, site.guest.ipv4, 10)
    assert answers(host, site.guest.ipv4, 3, size=4000), "in fragments"
    after = site.packets()
    answered_by = pollers[("guest", ring)]
    assert answered_by != ring
    assert after[answered_by] - before[answered_by] >= 10 + 3 * 3, (ring, before, after)


def test_all_of_them_at_once(site):
    pings = [host.start("ping", "-n", "-q", "-c", "20", "-i", "0.05", "-w", "30", site.guest.ipv4)
             for host in site.hosts]
    assert [ping.wait(40) for ping in pings] == [0] * N


def test_all_processors_are_paused_and_go_on(site):
    site.guest.command("pause")
    before = [processor["cpu_ns"] for processor in site.guest.command("metrics")["vcpus"]]
    assert not any(host.ping(site.guest.ipv4, wait=1) for host in site.hosts)
    assert [processor["cpu_ns"] for processor in site.guest.command("metrics")["vcpus"]] == before
    site.guest.command("resume")
    for host in site.hosts:
        wait_answer(host, site.guest.ipv4)


def test_it_is_stopped(site):
    """The last of its stories."""
    site.guest.command("stop")
    status, outcome = site.guest.wait_end()
    assert (status, outcome["outcome"]) == (13, "stopped"), outcome


def test_four_processors_and_a_bzimage_and_a_panic(site, small_kernel, falling_init, measured):
    """By the other boot protocol, with a little memory above the hole; then it stops its processors and asks for a
    reset, as a kernel does that can do nothing else."""
    guest = KernelGuest(site.switch, "falling", 6, os.path.join(small_kernel, "bzImage"), falling_init, vcpus=4,
                        memory_mib=3072 + 256)
    site.switch.on_close(guest.close)
    guest.start("off")
    guest.wait_console(BROUGHT_UP)
    measured(f"small kernel, bzImage, 4 processors and 3.25 GiB under cordon-vmm: all processors "
             f"{guest.seconds_to[BROUGHT_UP]:.1f} s after the start")
    status, outcome = guest.wait_end(guest.boot_seconds)
    assert (status, outcome["outcome"]) == (10, "reset"), outcome
    assert "Attempted to kill init" in outcome["console_tail"], outcome
    check_processors(guest.console(), 4)
    check_memory(guest.console(), 3072 + 256)
