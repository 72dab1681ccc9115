# SPDX-License-Identifier: Apache-2.0
"""The machine that a guest finds, whichever way it is made: consoles that interrupt, a power button, pauses, a reset.

    Vmm (cordon-vmm) ── serial, control ──▶ the small guest: ready, answers commands, switches off
"""

import os
import signal

import pytest

from cordon import wait_for
from vmm import BZIMAGE, KERNEL, Vmm

pytestmark = pytest.mark.kvm

MACHINES = {
    "plain": {},
    "split": {"options": ["--irqchip", "split"]},
    "processors": {"options": ["--vcpus", "4"]},
    "large": {"memory": "5G"},
    "bzimage": {"kernel": BZIMAGE},
    "masked": {"options": ["--cpu-mask", "xsave,avx,smap,rdtscp"]},
    "bare": {"options": ["--no-rng", "--no-balloon", "--no-console"]},
}


@pytest.fixture(params=MACHINES)
def vmm(request, tmp_path):
    one = Vmm(tmp_path, "g", **MACHINES[request.param])
    yield one.start()
    one.close()


def test_it_is_commanded_paused_and_switched_off_by_its_button(vmm):
    assert vmm.command("say hello") == "hello"
    assert vmm.ask("pause")["ok"]
    assert vmm.ask("status")["state"] == "paused"
    # What is typed meanwhile is read afterwards.
    vmm.send("say later")
    assert vmm.ask("resume")["ok"]
    assert vmm.reply() == "later"
    assert not vmm.ask("resume")["ok"]
    assert vmm.ask("power-button")["ok"]
    status, outcome = vmm.ended()
    assert (status, outcome["outcome"]) == (0, "shutdown")


def test_it_is_stopped_while_paused(vmm):
    assert vmm.ask("pause")["ok"]
    assert vmm.ask("stop")["ok"]
    status, outcome = vmm.ended()
    assert (status, outcome["outcome"]) == (13, "stopped")


def test_a_reset_is_an_end_of_its_own(tmp_path):
    vmm = Vmm(tmp_path, "g").start()
    vmm.send("reset")
    status, outcome = vmm.ended()
    assert (status, outcome["outcome"]) == (10, "reset")


@pytest.mark.parametrize("way, words", [("triple", "triple fault"), ("nowhere", "not in its memory")])
def test_a_guest_that_dies_says_how(tmp_path, way, words):
    vmm = Vmm(tmp_path, "g").start()
    vmm.send(f"die {way}")
    status, outcome = vmm.ended()
    assert (status, outcome["outcome"]) == (11, "guest-fault")
    assert words in outcome["reason"]
    assert "rip" in outcome["report"] and "cr3" in outcome["report"]


@pytest.mark.parametrize("way", ["spin", "halt"])
def test_a_guest_that_hangs_is_stopped(tmp_path, way):
    vmm = Vmm(tmp_path, "g").start()
    vmm.send(f"die {way}")
    vmm.wait_text("dies")
    assert vmm.ask("stop")["ok"]
    assert vmm.ended()[0] == 13


def test_a_killed_monitor_leaves_no_socket(tmp_path):
    vmm = Vmm(tmp_path, "g", options=["--net", f"socket={tmp_path}/net"]).start()
    assert os.path.exists(vmm.path("control")) and os.path.exists(tmp_path / "net")
    vmm.process.send_signal(signal.SIGKILL)
    vmm.process.wait()
    wait_for(lambda: not os.path.exists(vmm.path("control")) and not os.path.exists(tmp_path / "net"), 20,
             "the sockets are removed")


def test_one_guest_more_at_the_same_socket_is_refused(tmp_path):
    first = Vmm(tmp_path, "g").start()
    second = Vmm(tmp_path / "other", "g", kernel=KERNEL)
    os.mkdir(tmp_path / "other")
    second.options += ["--control", first.path("control")]
    second.start(ready=False)
    assert second.ended()[0] == 1
    assert first.path("control") in second.report()
    assert first.command("say still here") == "still here"
    first.close()
