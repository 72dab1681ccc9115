# SPDX-License-Identifier: Apache-2.0
"""A small Linux kernel under cordon-vmm, in a zone of the switch: it boots by both of the boot protocols, its own
virtio drivers find the devices, and its IP stack answers whom the policy lets in.

    friend .1 (kernel port; router, DHCP)     stranger .2 (kernel port)     other .3 (QEMU)     guest .5 (cordon-vmm)
      |                                          |                            |                   |
    --+------------------------------------------+----------------------------+-------------------+--  lan, VLAN 10

friend and other are in the zone of friends, stranger is in another, and guest in a third.

It runs no user land but a /init without a system call, so that it can be emulated where KVM has no hardware
virtualisation.  A guest whose kernel is emulated takes a processor of its own for as long as it is there: each is ended
as soon as it has shown what it is for.
"""

import os
import struct

import pytest

from cordon import holds_for, wait_for
from dhcp import LEASE_SECONDS, DhcpServer
from kernel_guest import IN_INIT, PING_SECONDS, KernelGuest, answers, wait_answer
from linux_guest import plug

POLICY = """\
zones:
  friends: {match: "zone=friends"}
  strangers: {match: "zone=strangers"}
  guests: {match: "zone=guests"}
policies:
  - id: guests
    mode: enforce
    rules:
      - {id: ping, from: friends, to: guests, service: [icmp, icmpv6, tcp/7], action: allow, log: session}
      - {id: no-strangers, from: strangers, to: guests, action: deny, log: all}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/kvm"), reason="there is no /dev/kvm here")


class Site:
    """The switch and two hosts, one of whom the guest's zone lets in."""

    def __init__(self, switch, kernel, initrd):
        self.switch, self.kernel, self._initrd = switch, kernel, initrd
        self.friend = switch.host("friend", 1, zone="friends", port_options={"serves": "dhcp,router"})
        # It hears its own advertisements, and would speak from an address that its port does not own.
        self.friend.run("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra")
        self.stranger = switch.host("stranger", 2, zone="strangers")

    def boot(self, name, number, image, ip=None, options=()):
        """A guest that is in its zone before its first instruction that sends."""
        guest = KernelGuest(self.switch, name, number, os.path.join(self.kernel, image), self._initrd, options)
        self.switch.on_close(guest.close)
        guest.start(ip)
        self.switch.add_port(name, type="vhost", socket=guest.socket_path, role="vnic", network="lan", mac=guest.mac,
                             address=f"{guest.ipv4},{guest.ipv6}", tag="zone=guests", vm_name=name, vm_id=f"id-{name}")
        return guest

    def end(self, guest):
        guest.close()
        self.switch.cordon("port", "del", guest.name)


@pytest.fixture(scope="module")
def site(shared, small_kernel, spinning_init):
    shared.add_network()
    shared.policy(POLICY)
    return Site(shared, small_kernel, spinning_init)


def router(site, tmp_path):
    return DhcpServer(site.friend, str(tmp_path), "--enable-ra", "--dhcp-range=fd00::,ra-only,64,600",
                      "--ra-param=eth0,1,1800")


def balloon_bytes(guest):
    devices = {device["type"]: device["counters"] for device in guest.command("metrics")["devices"]}
    return devices["balloon"]["actual-bytes"]


def write_disk(path):
    """1 MiB, and in its first sector a table of one partition, of all but that sector (type 0x83, Linux)."""
    sectors = 2048
    partition = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", 1, sectors - 1)
    with open(path, "wb") as file:
        file.write(bytes(446) + partition + bytes(48) + b"\x55\xaa")
        file.truncate(sectors * 512)


@pytest.fixture(scope="module")
def guest(site, measured):
    """The one of the stories of vmlinux, which PVH enters in 32-bit mode."""
    disk = os.path.join(site.switch.directory, "disk")
    write_disk(disk)
    one = site.boot("guest", 5, "vmlinux", options=["--disk", f"path={disk}"])
    one.wait_console(IN_INIT)
    measured(f"small kernel, vmlinux by PVH under cordon-vmm: /init {one.seconds_to[IN_INIT]:.1f} s after the start")
    yield one
    site.end(one)


def test_the_kernel_finds_its_devices(guest):
    said = guest.console()
    for text in ("IP-Config: Complete", f"ipaddr={guest.ipv4}", "[vda] 2048 512-byte logical blocks", "vda: vda1",
                 "random: crng init done"):
        assert text in said, said
    assert "Kernel panic" not in said and "BUG:" not in said and "Call Trace" not in said, said


def test_a_friend_pings_it_through_the_switch(site, guest):
    wait_answer(site.friend, guest.ipv4)
    assert answers(site.friend, guest.ipv4, 5)
    assert answers(site.friend, guest.ipv4, 3, size=4000), "in fragments"
    record = site.switch.wait_log(kind="start", destination_vm_name="guest", destination_address=guest.ipv4)[0]
    assert (record["policy"], record["rule"], record["source_zone"], record["destination_zone"]) == (
        "guests", "ping", "friends", "guests")


def test_an_address_by_router_advertisement(site, guest, tmp_path):
    with router(site, tmp_path):
        wait_answer(site.friend, guest.ipv6, 40)
    assert answers(site.friend, guest.ipv6, 3)


def test_nobody_listens_there(site, guest):
    """What answers is the guest's TCP, not silence."""
    wait_answer(site.friend, guest.ipv4)
    with pytest.raises(ConnectionRefusedError):
        site.friend.connect(guest.ipv4, 7, 10)


def test_a_stranger_is_refused_and_the_log_names_both(site, guest):
    wait_answer(site.friend, guest.ipv4)
    before = site.switch.drops()["policy"]
    assert site.stranger.ping(guest.ipv4, 3, wait=1) == 0
    assert site.switch.drops()["policy"] >= before + 3
    record = site.switch.wait_log(kind="denied", source_vm_name="stranger", destination_vm_name="guest")[-1]
    for name, value in (("source_zone", "strangers"), ("destination_zone", "guests"), ("policy", "guests"),
                        ("rule", "no-strangers"), ("verdict", "denied"), ("destination_address", guest.ipv4)):
        assert record[name] == value, (name, record[name])
    assert answers(site.friend, guest.ipv4), "a friend is still let in"


def test_memory_is_given_back_and_taken_again(guest):
    """By the balloon's driver of the kernel."""
    for size in (4 << 20, 0):
        guest.command("balloon", bytes=size)
        wait_for(lambda size=size: balloon_bytes(guest) == size, 60, f"a balloon of {size} bytes")


def test_a_guest_of_another_monitor_pings_it(site, guest, linux_files):
    """Debian's kernel under QEMU, in the friends' zone: from one guest's memory into the other's."""
    other = plug(site.switch, "other", 3, "friends", linux_files)
    other.wait_ready()
    other.take_addresses()
    wait_for(lambda: other.ping(guest.ipv4, wait=PING_SECONDS) == 1, 30, "an answer to a guest under QEMU")
    assert site.switch.wait_log(kind="start", source_vm_name="other", destination_vm_name="guest", rule="ping")
    other.close()
    site.switch.cordon("port", "del", "other")


def test_a_pause_and_what_comes_after(site, guest):
    wait_answer(site.friend, guest.ipv4)
    guest.command("pause")
    assert guest.command("status")["state"] == "paused"
    assert site.friend.ping(guest.ipv4, 2, wait=1) == 0
    guest.command("resume")
    wait_answer(site.friend, guest.ipv4)
    assert guest.command("status")["state"] == "running"


def test_a_killed_switch_is_joined_again(site, guest):
    wait_answer(site.friend, guest.ipv4)
    site.switch.kill("cordon-switchd")
    site.switch.up()
    wait_answer(site.friend, guest.ipv4, 30)
    holds_for(lambda: answers(site.friend, guest.ipv4), 2, "the answers")


def test_it_is_stopped(guest):
    """The last of vmlinux's stories."""
    guest.command("stop")
    status, outcome = guest.wait_end()
    assert (status, outcome["outcome"]) == (13, "stopped"), outcome
    assert IN_INIT in outcome["console_tail"]


def test_bzimage_with_an_address_by_dhcp(site, tmp_path, measured):
    """The kernel unpacks itself, entered in 64-bit mode, and asks for its address."""
    options = [f"--dhcp-range=10.0.0.0,static,255.255.255.0,{LEASE_SECONDS}", "--dhcp-host=02:00:00:00:00:06,10.0.0.6"]
    with DhcpServer(site.friend, str(tmp_path), *options) as server:
        guest = site.boot("packed", 6, "bzImage", ip="dhcp")
        guest.wait_console(IN_INIT)
        assert server.has_done("DHCPACK", guest.mac), server.text()
    measured(f"small kernel, bzImage under cordon-vmm: /init {guest.seconds_to[IN_INIT]:.1f} s after the start")
    assert "IP-Config: Got DHCP answer" in guest.console()
    wait_answer(site.friend, guest.ipv4)
    assert not site.stranger.ping(guest.ipv4, wait=1)
    site.end(guest)


def test_a_kernel_that_panics_resets_the_machine(site, falling_init):
    """/init does what no program may; the kernel ends with it, and asks for a reset as ACPI's tables say."""
    guest = KernelGuest(site.switch, "falling", 7, os.path.join(site.kernel, "vmlinux"), falling_init)
    site.switch.on_close(guest.close)
    guest.start("off")
    status, outcome = guest.wait_end(150)
    assert (status, outcome["outcome"]) == (10, "reset"), outcome
    assert "Attempted to kill init" in outcome["console_tail"], outcome
