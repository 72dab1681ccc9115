# SPDX-License-Identifier: Apache-2.0
"""Back ends of cordon-vmm come and go under a running guest: the switch, and a disk's storage daemon.

    g1 .1 (cordon-vmm)             web .9 (a namespace)
      |                              |
    --+------------------------------+--   network lan, VLAN 10
    the switch is killed, stopped, late, silent

The guest notices a pause, the virtual machine monitor answers all the time, and what happened is said in a sentence.
"""

import os
import signal
import socket

import pytest

from cordon import wait_for
from storage import StorageDaemon, needs_storage_daemon
from vmm import GuestOnSwitch, Vmm, plug

pytestmark = pytest.mark.kvm

POLICY = """\
zones:
  app: {match: "zone=app"}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

def net(guest):
    return guest.ask("status")["nets"][0]


def messages(guest):
    with open(guest.path("messages"), encoding="utf-8") as file:
        return file.read()


def answers(guest):
    """Whoever is silent, and stays so."""
    return guest.ask("status")["ok"]


def counter(guest, name):
    """A counter of the first network's."""
    found = []

    def look(value):
        if isinstance(value, dict):
            found.extend([value[name]] if name in value else [])
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                look(one)

    look(guest.ask("metrics"))
    return found[0]


# --- The switch ------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(switch):
    switch.add_network()
    switch.policy(POLICY)
    switch.web = switch.host("web", 9, zone="app")
    yield switch
    # Whatever this side says is what that side expects.
    with open(os.path.join(switch.state, "cordon-switchd.log"), encoding="utf-8") as log:
        assert "refused message" not in log.read()


def test_the_switch_is_killed_and_started_again(site):
    g1 = plug(site, "g1", 1, zone="app")
    wait_for(lambda: site.web.ping(g1.ipv4) == 1, 10, "the first ping")
    links = counter(g1, "link-changes")
    for _ in range(2):
        site.kill()
        wait_for(lambda: not net(g1)["connected"], 20, "the guest without a switch")
        site.up_again()
        wait_for(lambda: net(g1)["connected"], 20, "the guest with a switch")
        wait_for(lambda: site.web.ping(g1.ipv4) == 1, 20, "a ping again")
        assert g1.ping(site.web.ipv4, 3) == 3
    assert "it has gone; waiting for it to come back" in messages(g1)
    assert "it is back" in messages(g1)
    assert counter(g1, "link-changes") - links in (0, 2, 4), "the link came back as often as it went"


def test_a_switch_that_hangs_stops_nothing_else(site):
    """The guest resets its vNIC, which the switch would have to answer: it gets it back all the same."""
    g1 = plug(site, "g1", 1, zone="app")
    wait_for(lambda: site.web.ping(g1.ipv4) == 1, 10, "the first ping")
    pid = site.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        g1.send("again")
        assert answers(g1)
        wait_for(lambda: "it has not given up the rings within 1000 ms; hung up" in messages(g1), 20, "the sentence")
        assert not net(g1)["connected"]
        assert answers(g1)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: net(g1)["connected"], 20, "the guest with a switch")
    wait_for(lambda: site.web.ping(g1.ipv4) == 1, 20, "a ping again")


def test_a_late_switch_and_one_that_says_nothing(site):
    """The guest starts with its link down, somebody else sits on its socket, then the switch comes."""
    g1 = GuestOnSwitch(site, "g1", 1)
    site.hosts.append(g1)
    g1.start()
    assert "no switch has connected" in messages(g1)
    assert not net(g1)["link_up"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nobody:
        nobody.connect(g1.socket_path)
        assert answers(g1)
        sentence = "it has not answered GET_FEATURES within 5000 ms; hung up"
        assert sentence not in messages(g1), "who else asks does not wait for that"
        wait_for(lambda: sentence in messages(g1), 20, "the sentence")
        assert answers(g1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nonsense:
        nonsense.connect(g1.socket_path)
        nonsense.sendall(b"GET / HTTP/1.1\r\nHost: switch\r\n\r\n")
        wait_for(lambda: "and none has more than" in messages(g1), 20, "the sentence")
    plug_late(site, g1)
    wait_for(lambda: site.web.ping(g1.ipv4) == 1, 20, "a ping")
    assert net(g1)["link_up"] and "trouble" not in net(g1)


def plug_late(site, guest):
    site.add_port("g1", type="vhost", socket=guest.socket_path, role="vnic", network="lan", mac=guest.mac,
                  address=f"{guest.ipv4},{guest.ipv6}", tag="zone=app")


def test_several_queue_pairs(site):
    g1 = plug(site, "g1", 1, zone="app", net_options=",queues=2", words="queues=2", port_options={"queues": 2})
    wait_for(lambda: site.web.ping(g1.ipv4) == 1, 10, "the first ping")
    assert net(g1)["queues"] == 2 and net(g1)["queues_used"] == 2
    assert counter(g1, "control-commands-refused") == 0
    site.kill()
    site.up_again()
    wait_for(lambda: site.web.ping(g1.ipv4) == 1, 20, "a ping again")
    assert net(g1)["queues_used"] == 2


# --- Disks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def running(tmp_path):
    """Makes virtual machines and daemons that are ended with the test."""
    started = []
    yield started
    for one in started:
        one.close() if isinstance(one, Vmm) else one.end()


@needs_storage_daemon
@pytest.mark.parametrize("image_format", ["qcow2", "vmdk"])
def test_a_storage_daemon_is_connected_to_again_from_the_sandbox(tmp_path, running, image_format):
    daemon = StorageDaemon(tmp_path, image_format)
    daemon.start()
    vmm = Vmm(tmp_path, "g1", options=["--disk", f"socket={daemon.socket},serial=S1"])
    running += [vmm, daemon]
    vmm.start()
    assert "the serial number S1 is not shown to the guest" in messages(vmm)

    def disk():
        return vmm.ask("status")["disks"][0]

    assert disk()["bytes"] == 16 << 20 and disk()["connected"]
    for sig in (signal.SIGTERM, signal.SIGKILL):
        daemon.end(sig)
        wait_for(lambda: not disk()["connected"], 20, "the disk without a daemon")
        daemon.start()
        wait_for(lambda: disk()["connected"], 20, "the disk with a daemon")
    assert vmm.command("say hello")


@needs_storage_daemon
def test_disks_that_cannot_be(tmp_path, running):
    vmm = Vmm(tmp_path, "g1", options=["--disk", f"socket={tmp_path}/nobody.sock"])
    running.append(vmm)
    vmm.start(ready=False)
    status, outcome = vmm.ended()
    assert status == 1
    assert f"{tmp_path}/nobody.sock" in outcome["reason"] and "start the storage daemon first" in outcome["reason"]
    assert outcome["reason"].count("nobody.sock") == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(f"{tmp_path}/silent.sock")
        silent.listen()
        vmm = Vmm(tmp_path, "g3", options=["--disk", f"socket={tmp_path}/silent.sock"])
        running.append(vmm)
        vmm.start(ready=False)
        status, outcome = vmm.ended()
    os.unlink(f"{tmp_path}/silent.sock")
    assert status == 1
    assert f"{tmp_path}/silent.sock has not answered within 3000 ms" in outcome["reason"]
    daemon = StorageDaemon(tmp_path, "qcow2")
    daemon.start()
    running.append(daemon)
    vmm = Vmm(tmp_path, "g2", options=["--disk", f"socket={daemon.socket},readonly=on"])
    running.append(vmm)
    vmm.start(ready=False)
    status, outcome = vmm.ended()
    assert status == 1
    assert "it serves the disk for writing, and readonly=on was asked for" in outcome["reason"]
    left = set(os.listdir(tmp_path)) - {f"{name}.{what}" for name in ("g1", "g2", "g3")
                                    for what in ("messages", "outcome", "serial")}
    assert left == {"image", "disk.sock"}
