# SPDX-License-Identifier: Apache-2.0
"""Linux guests with user land, as anybody runs them: Debian's kernel, virtio-net's own driver, QEMU.

    g1 .1 (QEMU)      g2 .2 (QEMU)      server .3 (kernel port; DHCP and router)
      |                 |                  |
    --+-----------------+------------------+--  network lan, VLAN 10; a zone each
"""

import json
import subprocess

import pytest

from cordon import wait_for
from dhcp import LEASE_SECONDS, DhcpServer
from linux_guest import plug

IPERF_PORT = 5201
IPERF_SECONDS = 5

POLICY = """\
zones:
  one: {match: "zone=one"}
  two: {match: "zone=two"}
  server: {match: "zone=server"}
policies:
  - id: guests
    mode: enforce
    rules:
      - {id: ping, from: [one, two], to: [one, two, server], service: [icmp, icmpv6], action: allow, log: session}
      - {id: iperf, from: one, to: two, service: tcp/5201, action: allow, log: session}
      - {id: web, from: [one, server], to: [one, server], service: tcp/80, action: allow, log: session}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

# The same, without the guests' rules for each other.
REFUSING = POLICY.replace("to: [one, two, server]", "to: [server]").replace("service: tcp/5201, action: allow",
                                                                            "service: tcp/5201, action: deny")


class Site:
    """The switch, its guests and its server."""


@pytest.fixture(scope="module")
def site(shared, linux_files, measured):
    one = Site()
    one.switch = shared
    shared.add_network()
    shared.policy(POLICY)
    one.server = shared.host("server", 3, port_options={"serves": "dhcp,router"})
    # It hears its own advertisements, and would speak from an address that its port does not own.
    one.server.run("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra")
    one.g1 = plug(shared, "g1", 1, "one", linux_files)
    one.g2 = plug(shared, "g2", 2, "two", linux_files)
    for guest in (one.g1, one.g2):
        guest.wait_ready()
        guest.take_addresses()
        measured(f"Debian's kernel under QEMU: {guest.name} ready {guest.boot_seconds:.1f} s after its start")
    talk(one.g1, one.g2)
    return one


def talk(one, other, version=4):
    wait_for(lambda: one.ping(other.address(version)) == 1, 20, f"a ping from {one.name} to {other.name}")


class IperfServer:
    """iperf3 -s in a guest's background."""

    def __init__(self, guest):
        self.guest = guest

    def __enter__(self):
        self.guest.run(f"iperf3 -s -p {IPERF_PORT} -D; sleep 1; pidof iperf3")
        return self

    def __exit__(self, *_):
        self.guest.run("kill -9 $(pidof iperf3)")


def iperf(guest, address, *options, seconds=IPERF_SECONDS, port=IPERF_PORT):
    """What iperf3's client measured: its "end"."""
    words = f"iperf3 -c {address} -p {port} -t {seconds} -J {' '.join(options)}"
    return json.loads(guest.run(words, seconds + 30))["end"]


def largest(site, source, port):
    """Of the connections from this address to this port, the one that carried most; closed ones are kept a while."""
    return max(site.switch.connections(source=source, destination_port=port), key=lambda row: row["bytes_forward"])


def wait_stream(site, source):
    """Until iperf3's data flows."""
    def flows():
        live = site.switch.connections(source=source, destination_port=IPERF_PORT)
        return any(row["bytes_forward"] > 1_000_000 for row in live)

    wait_for(flows, 10, "the stream")


def frame_bytes(connection):
    return connection["bytes_forward"] / connection["packets_forward"]


# --- Addresses -------------------------------------------------------------------------------------------------------


def test_pings_of_every_size(site, version):
    talk(site.g1, site.g2, version)
    for size in (0, 56, 1400, 4000, 20000):
        assert site.g1.ping(site.g2.address(version), 3, size) == 3, size
        assert site.g2.ping(site.g1.address(version), 3, size) == 3, size


def test_pings_to_and_from_a_namespace(site, version):
    talk(site.g1, site.server, version)
    assert site.g1.ping(site.server.address(version), 3) == 3
    before = site.switch.drops()["policy"]
    assert site.server.ping(site.g1.address(version), 2, wait=0.5) == 0, "the server may not ping"
    assert site.switch.drops()["policy"] > before


def test_an_address_by_dhcp(site, tmp_path):
    options = [f"--dhcp-range=10.0.0.0,static,255.255.255.0,{LEASE_SECONDS}",
               f"--dhcp-host={site.g1.mac},{site.g1.ipv4}", f"--dhcp-option=option:router,{site.server.ipv4}"]
    site.g1.run(f"ip address del {site.g1.ipv4}/24 dev eth0")
    assert not site.g1.has_address(site.g1.ipv4)
    with DhcpServer(site.server, str(tmp_path), *options) as server:
        site.g1.run("udhcpc -i eth0 -s /lease -n -q -t 5 -T 2", 30)
        assert server.has_done("DHCPACK", site.g1.mac), server.text()
    assert site.g1.has_address(site.g1.ipv4)
    assert f"default via {site.server.ipv4}" in site.g1.run("ip route")
    talk(site.g1, site.g2)


def test_an_address_by_router_advertisement(site, tmp_path):
    """SLAAC, as the guest's own kernel does it; the address serves at once."""
    address = f"fd00::ff:fe00:{int(site.g1.mac[-2:], 16):x}"
    options = ["--enable-ra", "--dhcp-range=fd00::,ra-only,64,600", "--ra-param=eth0,1,1800"]
    with DhcpServer(site.server, str(tmp_path), *options):
        site.g1.run("echo 1 >/proc/sys/net/ipv6/conf/eth0/router_solicitations;"
                    "ip link set eth0 down; ip link set eth0 up")
        wait_for(lambda: site.g1.has_address(address), 20, "an address in the router's prefix")
    site.g1.run(f"ip address replace {site.g1.ipv4}/24 dev eth0; ip address replace {site.g1.ipv6}/64 dev eth0")
    assert site.g1.run(f"ping -c 1 -w 5 -I {address} {site.g2.ipv6}")
    talk(site.g1, site.g2, 6)


# --- TCP -------------------------------------------------------------------------------------------------------------


def test_iperf3_between_guests_with_segmentation_offload(site, version, measured):
    """Large frames go from one guest's memory into the other's as they are; the log names both guests and the rule."""
    talk(site.g1, site.g2, version)
    with IperfServer(site.g2):
        total = iperf(site.g1, site.g2.address(version))["sum_received"]
    measured(f"iperf3 over IPv{version} between two guests under QEMU: {total['bits_per_second'] / 1e9:.2f} Gbit/s")
    # One connection for what iperf3 has to say, one for the data.
    data = largest(site, site.g1.address(version), IPERF_PORT)
    assert data["bytes_forward"] >= total["bytes"]
    assert frame_bytes(data) > 3000, "frames were large"
    for row in site.switch.wait_log(kind="start", count=2, source_address=site.g1.address(version),
                                    destination_transport_port=IPERF_PORT):
        for name, value in (("source_vm_name", "g1"), ("destination_vm_name", "g2"), ("source_zone", "one"),
                            ("destination_zone", "two"), ("policy", "guests"), ("rule", "iperf"),
                            ("verdict", "allowed")):
            assert row[name] == value, (name, row[name])


def test_iperf3_with_several_connections_both_ways(site):
    """Data against the direction in which the connection was opened, and both at once."""
    with IperfServer(site.g2):
        assert iperf(site.g1, site.g2.ipv4, "--reverse", seconds=3)["sum_received"]["bytes"] > 1_000_000
        both = iperf(site.g1, site.g2.ipv4, "--bidir", "--parallel 2", seconds=3)
    for direction in ("sum_received", "sum_received_bidir_reverse"):
        assert both[direction]["bytes"] > 1_000_000, direction


def test_large_frames_of_a_guest_are_cut_for_a_namespace(site, version):
    """Its driver leaves checksums and segmentation to the switch; a kernel port takes neither.  (iperf3 writes much at once:
    what is written bit by bit leaves in small frames wherever it is acknowledged quickly.)"""
    talk(site.g1, site.server, version)
    server = site.server.start("iperf3", "-s", "-1", "-p", 80, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: ":80 " in site.server.run("ss", "-Hltn").stdout, 20, "iperf3 to listen")
        end = iperf(site.g1, site.server.address(version), seconds=2, port=80)
    finally:
        server.kill()
        server.wait()
    assert end["sum_received"]["bytes"] > 8 << 20
    assert frame_bytes(largest(site, site.g1.address(version), 80)) > 3000, "frames were large when they came in"


def test_a_namespace_is_served_by_a_guest(site, version):
    site.g1.run("mkdir -p /www; dd if=/dev/zero of=/www/file bs=1M count=2; httpd -p 80 -h /www")
    address = site.g1.ipv4 if version == 4 else f"[{site.g1.ipv6}]"
    try:
        size = site.server.run("curl", "--silent", "--globoff", "--max-time", 20, "--output", "/dev/null",
                               "--write-out", "%{size_download}", f"http://{address}/file").stdout
    finally:
        site.g1.run("kill $(pidof httpd)")
    assert int(size) == 2 << 20


# --- Refusals --------------------------------------------------------------------------------------------------------


def test_what_the_policy_does_not_allow(site, version):
    """The other direction, and another port."""
    talk(site.g1, site.g2, version)
    for one, other, port in ((site.g2, site.g1, IPERF_PORT), (site.g1, site.g2, 5202)):
        assert not one.can_connect(other.address(version), port)
        site.switch.wait_log(kind="denied", source_vm_name=one.name, destination_vm_name=other.name,
                             destination_transport_port=port, destination_address=other.address(version))


def test_a_new_policy_cuts_what_is_going_on(site, version):
    """Both are refused from then on: the stream that is open, new ones, and pings."""
    talk(site.g1, site.g2, version)
    with IperfServer(site.g2):
        assert site.g1.can_connect(site.g2.address(version), IPERF_PORT)
        number = site.g1.begin(f"timeout 8 iperf3 -c {site.g2.address(version)} -p {IPERF_PORT} -t 5 -i 0")
        wait_stream(site, site.g1.address(version))
        site.switch.policy(REFUSING)
        try:
            status, output = site.g1.finish(number, 40)
            assert status != 0, output
            assert site.switch.wait_log(kind="end", reason="policy", source_vm_name="g1", destination_vm_name="g2")
            for one, other in ((site.g1, site.g2), (site.g2, site.g1)):
                assert one.ping(other.address(version), 2) == 0
            assert not site.g1.can_connect(site.g2.address(version), IPERF_PORT)
            denied = site.switch.wait_log(kind="denied", source_vm_name="g1", destination_vm_name="g2", rule="iperf",
                                          destination_address=site.g2.address(version))
            assert denied[-1]["source_zone"] == "one" and denied[-1]["destination_zone"] == "two"
        finally:
            site.switch.policy(POLICY)
    talk(site.g1, site.g2, version)


def test_a_guest_that_takes_anothers_address(site):
    before = site.switch.drops()["spoofed-address"]
    site.g2.run("ip address add 10.0.0.77/24 dev eth0")
    assert site.g2.try_run(f"ping -c 2 -w 3 -W 1 -I 10.0.0.77 {site.g1.ipv4}")[0] != 0
    site.g2.run("ip address del 10.0.0.77/24 dev eth0")
    assert site.switch.drops()["spoofed-address"] > before
    assert site.switch.wait_log(kind="spoofed", source_vm_name="g2", source_address="10.0.0.77")


# --- Comings and goings ----------------------------------------------------------------------------------------------


def test_a_killed_switch_is_joined_again(site):
    """A stream between the guests goes on over it: their drivers notice nothing."""
    talk(site.g1, site.g2)
    with IperfServer(site.g2):
        number = site.g1.begin(f"iperf3 -c {site.g2.ipv4} -p {IPERF_PORT} -t 8 -J")
        wait_stream(site, site.g1.ipv4)
        site.switch.kill("cordon-switchd")
        site.switch.up()
        status, output = site.g1.finish(number, 40)
        assert status == 0, output
    assert json.loads(output)["end"]["sum_received"]["seconds"] > 7


def test_a_guest_that_boots_again(site):
    """Its driver gives the rings back in mid-traffic and begins anew; others do not notice."""
    number = site.g1.begin(f"ping -q -c 20 -i 0.2 {site.server.ipv4}")
    site.g2.reboot()
    status, output = site.g1.finish(number, 30)
    assert status == 0 and " 0% packet loss" in output, output
    site.g2.wait_ready()
    site.g2.take_addresses()
    talk(site.g1, site.g2)
    talk(site.g1, site.g2, 6)


def test_a_guest_that_is_killed_and_started_again(site):
    site.g2.kill()
    wait_for(lambda: site.switch.port("g2")["link"] != "up", 10, "the link seen down")
    assert site.g1.ping(site.server.ipv4, 3) == 3
    site.g2.start()
    site.g2.wait_ready()
    site.g2.take_addresses()
    talk(site.g1, site.g2)


def test_a_guest_with_two_queues(site, linux_files):
    """Two vCPUs, each with a pair of rings of its own."""
    guest = plug(site.switch, "g4", 4, "one", linux_files, queues=2)
    guest.wait_ready()
    guest.take_addresses()
    talk(guest, site.g2)
    wait_for(lambda: "2 queues" in site.switch.port("g4")["status"], 10, "two queues")
    for processor in (1, 2):
        guest.run(f"taskset {processor} ping -c 1 -w 5 {site.g2.ipv4}")
    with IperfServer(site.g2):
        assert iperf(guest, site.g2.ipv4, "--parallel 4", seconds=3)["sum_received"]["bytes"] > 1_000_000
    site.switch.cordon("port", "del", "g4")
    guest.close()
