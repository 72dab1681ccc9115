# SPDX-License-Identifier: Apache-2.0
"""A guest reads and writes an image through the real qemu-storage-daemon, which goes and comes again meanwhile.

    small guest ── virtio-blk ── rings ── qemu-storage-daemon ── image (qcow2, VMDK)
                                   │ vhost-user
                               cordon-vmm

What was flushed is in the image although the daemon is killed at once.  What was in flight when it was killed is done
by the next one if the rings tell what that was; if they do not, the device needs a reset, and the guest's driver asks
again.
"""

import re
import signal
import time

import pytest

from cordon import wait_for
from storage import StorageDaemon, needs_storage_daemon
from vmm import Vmm

pytestmark = [pytest.mark.kvm, needs_storage_daemon]

SECTOR = 512
TRAFFIC_FIRST, TRAFFIC_SECTORS = 1024, 64
FORMATS = pytest.mark.parametrize("image_format", ["qcow2", "vmdk"])


@pytest.fixture
def guest_on(tmp_path):
    """Makes a guest on an image and its daemon, which end with the test."""
    made = []

    def make(image_format):
        daemon = StorageDaemon(tmp_path, image_format).start()
        made.append(daemon.end)
        vmm = Vmm(tmp_path, "g1", options=["--disk", f"socket={daemon.socket}"])
        made.append(vmm.close)
        return vmm.start(), daemon

    yield make
    for end in reversed(made):
        end()


def connected(vmm):
    return vmm.ask("status")["disks"][0]["connected"]


def restart(vmm, daemon, sig=signal.SIGKILL):
    daemon.end(sig)
    wait_for(lambda: not connected(vmm), 10, "the disk without a daemon")
    daemon.start()
    wait_for(lambda: connected(vmm), 20, "the disk with a daemon")


def sector(contents, number):
    return contents[number * SECTOR:(number + 1) * SECTOR].rstrip(b"\0").decode()


@FORMATS
def test_what_was_flushed_is_in_the_image_and_comes_back(guest_on, image_format):
    vmm, daemon = guest_on(image_format)
    texts = {0: "the first sector", 9999: "somewhere", 32767: "the last sector"}
    for number, text in texts.items():
        assert vmm.command(f"block-write 0 {number} {text}") == "block: ok "
    answer = vmm.command("block 0")
    assert answer.startswith("block: 32768 sectors ") and "write ok flush ok read same" in answer, answer
    assert "beyond failed" in answer
    daemon.end(signal.SIGKILL)
    sound, words = daemon.check()
    assert sound, words
    contents = daemon.contents()
    assert len(contents) == 16 << 20
    assert {number: sector(contents, number) for number in texts} == texts
    daemon.start()
    wait_for(lambda: connected(vmm), 20, "the disk with a daemon")
    for number, text in texts.items():
        assert vmm.command(f"block-read 0 {number}") == f"block: ok {text}"


@FORMATS
@pytest.mark.parametrize("depth", [1, 8])
def test_a_daemon_that_is_killed_in_mid_traffic_is_followed_by_the_next(guest_on, image_format, depth):
    vmm, daemon = guest_on(image_format)
    vmm.send(f"block-traffic 0 {depth}")
    for sig in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        time.sleep(0.3)
        restart(vmm, daemon, sig)
    time.sleep(0.3)
    vmm.send("stop")
    answer = vmm.reply(40)
    found = re.fullmatch(r"traffic: (\d+) writes, (\d+) failed, (\d+) resets", answer)
    assert found, f"{answer}\n{vmm.report()}"
    writes, failed, resets = map(int, found.groups())
    assert writes > 100 and failed == 0
    # One at a time is finished in order: the rings tell all.
    assert resets == 0 or depth > 1
    assert vmm.ask("status")["state"] == "running"
    daemon.end(signal.SIGKILL)
    contents = daemon.contents()
    for number in range(writes - TRAFFIC_SECTORS, writes):
        assert sector(contents, TRAFFIC_FIRST + number % TRAFFIC_SECTORS) == f"write {number}"
